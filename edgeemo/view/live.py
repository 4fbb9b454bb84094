"""A display that is redrawn in a terminal."""

from __future__ import annotations

import os
import threading
import time
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.control import Control
from rich.segment import Segment, SegmentLines, Segments

from edgeemo.events import Event
from edgeemo.view.draw import Line, rows
from edgeemo.view.picture import Picture

_REDRAW_S = 0.1
_LOOK_S = 0.5
"""After which it looks whether the terminal has another size, though no event has come."""
_REPAINT_S = 5.0
"""After which it draws also what has not changed: other programs write to terminals too."""
_USUAL_SIZE = 80, 24
_CUT_ROWS, _WRAP_ROWS = "\x1b[?7l", "\x1b[?7h"
"""What rows do that are too long, for a moment, while a window becomes smaller: if they wrap, they scroll."""
_SUMMARY_ROWS = 5
"""What is left free below the last picture, for the summary and the prompt."""


class LiveView:
    """Draws on the terminal's other screen, at most ten times a second, and only rows that have changed.

    A thread of its own draws, so that the last event before a silence is seen too, and a new size. At the end the
    last picture is left on the usual screen.

    Args:
        console: of a terminal that knows control codes.
        n_known: how many utterances of this voice the model knows from before; None of one that learns nothing of it.
    """

    def __init__(self, console: Console, n_known: int | None = None) -> None:
        self._console = console
        self._picture = Picture(n_known)
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._error: OSError | None = None
        self._drawn: list[Line] = []
        self._size = 0, 0
        self._painted_s = 0.0
        self._thread = threading.Thread(target=self._run, name="edgeemo view", daemon=True)

    def take(self, event: Event, at: datetime) -> None:
        """Show what has changed, now or when it is time to redraw.

        Raises:
            BrokenPipeError: the terminal has gone away.
        """
        self._raise_if_gone()
        with self._lock:
            self._picture.add(event)
        self._changed.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._changed.set()
        self._thread.join()
        if kind is None:
            self._raise_if_gone()

    def _raise_if_gone(self) -> None:
        if self._error is not None:
            raise BrokenPipeError(self._error.errno, self._error.strerror) from self._error

    def _run(self) -> None:
        try:
            self._console.set_alt_screen(True)
            self._console.file.write(_CUT_ROWS)
            self._console.show_cursor(False)
            while not self._closing.is_set():
                self._changed.clear()
                self._draw()
                self._closing.wait(_REDRAW_S)
                self._changed.wait(_LOOK_S)
            self._console.file.write(_WRAP_ROWS)
            self._console.show_cursor(True)
            self._console.set_alt_screen(False)
            width, height = self._terminal_size()
            last = rows(self._picture, width, max(height - _SUMMARY_ROWS, 1))
            self._console.print(SegmentLines(last, new_lines=True), end="", crop=False)
        except OSError as error:
            self._error = error

    def _draw(self) -> None:
        size = width, height = self._terminal_size()
        with self._lock:
            lines = rows(self._picture, width, height)
        lines += [[] for _ in range(height - len(lines))]
        lines = [Segment.adjust_line_length(line, width) for line in lines]
        now_s = time.monotonic()
        if size != self._size or now_s - self._painted_s >= _REPAINT_S:
            self._size, self._painted_s, self._drawn = size, now_s, [[] for _ in lines]
        output: list[Segment] = []
        for y, (line, before) in enumerate(zip(lines, self._drawn, strict=True)):
            if line != before:
                output += [Control.move_to(0, y).segment, *line]
        if output:
            self._console.print(Segments(output), end="", crop=False)
        self._drawn = lines

    def _terminal_size(self) -> tuple[int, int]:
        """Columns and rows, as they are now."""
        try:
            size = os.get_terminal_size(self._console.file.fileno())
        except (OSError, ValueError):  # no descriptor; or it has gone, which writing will tell
            return self._console.size
        return (size.columns, size.lines) if min(size) else _USUAL_SIZE
