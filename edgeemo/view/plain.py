"""Lines of text, for pipes and log files."""

from __future__ import annotations

import math
from datetime import datetime
from types import TracebackType
from typing import Self, TextIO

from edgeemo.answer import Answer
from edgeemo.events import Event, Gap, Status, Step, Utterance
from edgeemo.wording import printable


class PlainView:
    """Writes a line for each new label or reason, one for each second of the stream, and what else is told.

    Args:
        file: to write to; it stays open.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._said: tuple[str | None, str | None] = None, None
        self._second = -1

    def take(self, event: Event, at: datetime) -> None:
        """Write the line of an event, if it is due one.

        Raises:
            BrokenPipeError: nobody is reading any more.
        """
        if isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Utterance):
            span = f"{event.start_s:.2f} to {event.end_s:.2f} s"
            parts = f"utterance {event.utterance}: {span}", _said(event), _arousal(event)
            self._write(event.time_s, ", ".join(filter(None, parts)))
        elif isinstance(event, Gap):
            self._write(event.time_s, f"[{event.length_s:.2f} s lost: {event.why}]")
        elif isinstance(event, Status):
            self._write(event.time_s, f"[{event.text}]")

    def _step(self, step: Step) -> None:
        second = math.floor(step.time_s)
        said = step.label, step.reason
        if said == self._said and second == self._second:
            return
        self._said, self._second = said, second
        self._write(step.time_s, f"{_said(step, 12):<17}  {_arousal(step)}")

    def _write(self, time_s: float, text: str) -> None:
        self._file.write(f"{time_s:8.2f} s  {printable(text.rstrip())}\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def _said(answer: Answer, width: int = 0) -> str:
    """The label, in so many columns, and how probable it is; or why there is none."""
    if answer.label is None:
        return f"({answer.reason})"
    return f"{answer.label:<{width}} {answer.probabilities[answer.label]:.2f}"


def _arousal(answer: Answer) -> str:
    return "" if answer.arousal is None else f"arousal {answer.arousal:.2f}"
