"""Keeping what native libraries write to stderr off the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Throw away what is written to file descriptor 2 from C; Python's own stderr stays as it is.

    Does nothing where Python's stderr is not that descriptor (a test's, an embedding program's).
    """
    sys.stderr.flush()
    try:
        is_native = sys.stderr.fileno() == 2
    except (OSError, ValueError):
        is_native = False
    if not is_native:
        yield
        return
    python_stderr = sys.stderr
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        # Never closed: a library's logger that is made meanwhile goes on writing to it.
        sys.stderr = os.fdopen(
            os.dup(kept), "w", 1, encoding=python_stderr.encoding, errors=python_stderr.errors
        )
        yield
    finally:
        sys.stderr = python_stderr
        os.dup2(kept, 2)
        os.close(kept)
