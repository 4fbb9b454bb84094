"""Utterances as a table, CSV, that can be read while it grows."""

from __future__ import annotations

import csv
import io
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgeemo.errors import OutputError
from edgeemo.events import Event, Start, Utterance

TAKEN = (Start, Utterance)
"""The kinds of events that a table is made of."""
_COLUMNS = ("utterance", "start_s", "end_s", "label", "reason", "arousal")


class Table:
    """Writes a row for each utterance, as soon as it is over, with one column `p_LABEL` for each label.

    Each row reaches the file at once, as a whole: it can be read at any time, and a killed process leaves whole rows.

    Args:
        path: of the file, which is opened; its folder is made where it is missing.

    Raises:
        OutputError: there is a file already, which is not empty, or none can be written there.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file() and path.stat().st_size:
                raise OutputError(
                    f"{path}: holds something already; name another file, or move that one away"
                )
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
        self._labels: tuple[str, ...] = ()
        self._header = b""

    def take(self, event: Event, at: datetime) -> None:
        """Write the header, or a row.

        Raises:
            OSError: it cannot be written; what is there stays as it was.
        """
        if isinstance(event, Start):
            self._labels = event.labels
            self._header = _line(["time", *_COLUMNS, *(f"p_{label}" for label in event.labels)])
            self._append(b"")
        elif isinstance(event, Utterance):
            values = event.to_dict(at)
            probabilities = [values["probabilities"][label] for label in self._labels]
            self._append(_line([values["time"], *(values[column] for column in _COLUMNS), *probabilities]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _append(self, row: bytes) -> None:
        """Write a row, and before the first one the header: all or nothing."""
        data = memoryview(self._header + row)
        before_bytes = os.fstat(self._file.fileno()).st_size
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError:
            with suppress(OSError):  # a pipe cannot be cut
                self._file.truncate(before_bytes)
            raise
        self._header = b""


def _line(cells: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace")
