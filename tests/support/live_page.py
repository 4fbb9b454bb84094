"""`edgeemo listen --serve` as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SAID = "edgeemo: serving at "


@contextmanager
def listening(*arguments: str, port: int = 0) -> Iterator[str]:
    """The address of the page, while it is served.

    Args:
        arguments: of `edgeemo listen`.
        port: 0: any that is free.
    """
    command = [sys.executable, "-m", "edgeemo", "listen", *arguments, "--serve", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            first = process.stderr.readline()
            assert first.startswith(_SAID), first
            yield first.removeprefix(_SAID).strip()
        finally:
            process.terminate()
            process.communicate()
