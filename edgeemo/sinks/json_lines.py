"""Events as lines of JSON, for other programs."""

from __future__ import annotations

import json
from datetime import datetime
from types import TracebackType
from typing import Self, TextIO

from edgeemo.events import Event


class JsonLines:
    """Writes one JSON object a line.

    Args:
        file: to write to; it stays open.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def take(self, event: Event, at: datetime) -> None:
        """Write the line of an event.

        Raises:
            BrokenPipeError: nobody is reading any more.
        """
        self._file.write(json.dumps(event.to_dict(at), allow_nan=False) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
