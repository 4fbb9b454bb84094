"""WAV files that nobody finished: a recorder that is switched off leaves a header that says 0 bytes of samples."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_UNKNOWN = b"\xff\xff\xff\xff"  # what libsndfile takes for: until the end of the file

_MAX_CHUNKS = 1000


def unfinished_length(path: Path) -> int | None:
    """Where a WAV file gives the length of its samples as 0, though samples follow.

    Returns:
        the position of that length in the file; None for any other file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(4) != b"RIFF" or file.seek(8) != 8 or file.read(4) != b"WAVE":
            return None
        n_bytes = os.fstat(file.fileno()).st_size
        for name, start, size in _chunks(file, 12):
            if name == b"data":
                rest = n_bytes - start
                return start - 4 if size == 0 < rest and not _is_chunks(file, start, n_bytes) else None
    return None


class UntilItsEnd(io.FileIO):
    """A WAV file as it would be if its header gave the length of the samples as unknown.

    Args:
        path: the file.
        length_at: position of that length in it.
    """

    def __init__(self, path: Path, length_at: int) -> None:
        super().__init__(path)
        self._length_at = length_at

    def readinto(self, buffer: Any) -> int:
        """Read as `io.FileIO` does, with the length replaced."""
        start = self.tell()
        n_read = super().readinto(buffer) or 0
        view = memoryview(buffer).cast("B")
        for i, byte in enumerate(_UNKNOWN, self._length_at - start):
            if 0 <= i < n_read:
                view[i] = byte
        return n_read


def _chunks(file: io.BufferedReader, start: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and size of each chunk from a position on, up to a number that no recorder writes."""
    for _ in range(_MAX_CHUNKS):
        file.seek(start)
        header = file.read(8)
        if len(header) < 8:
            return
        size = int.from_bytes(header[4:], "little")
        yield header[:4], start + 8, size
        start += 8 + size + size % 2


def _is_chunks(file: io.BufferedReader, start: int, end: int) -> bool:
    """Whether there is nothing but whole chunks from a position to the end: then the file is finished, and empty."""
    for name, begin, size in _chunks(file, start):
        if not (name.isascii() and name.decode("ascii").isprintable()) or begin + size > end:
            return False
        start = begin + size + size % 2
    return start >= end
