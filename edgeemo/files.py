"""Writing files so that nothing is ever lost or left half written."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgeemo.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it over `path` only if the block ends without an error.

    The temporary name keeps the suffix of `path`, because many writers choose a format by it. A file that is replaced
    keeps its permissions, and a link keeps pointing to the same place. A pipe or a device is never replaced: the
    block then gets `path` itself.

    Raises:
        OutputError: nothing can be written there: it is a folder, permission is missing, or the disk is full.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            yield path
            return
        path = path.resolve()
        temporary = _temporary(path)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def check_writable(path: Path) -> None:
    """Find out before long work whether its result can be written to `path`.

    Raises:
        OutputError: as `replacing`.
    """
    with suppress(_Unused), replacing(path):
        raise _Unused


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8; bytes of file names that are not UTF-8 become `\\udcXX`."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


class _Unused(Exception):
    """Leaves `replacing` without a file."""


def _temporary(path: Path) -> Path:
    """A new file beside `path`, with its permissions, or those that a new file gets."""
    if path.is_dir():
        raise IsADirectoryError(None, "a folder; expected a file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".edgeemo-{secrets.token_hex(6)}{path.suffix}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    if path.exists():
        temporary.chmod(stat.S_IMODE(path.stat().st_mode))
    return temporary
