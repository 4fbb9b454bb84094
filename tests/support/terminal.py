"""A terminal for tests: a real pseudo-terminal, and an emulator that knows what is on its screen."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pyte

WAIT_S = 120  # only so that what never comes ends the test


class Terminal:
    """Reads what programs write to it while it is entered, and shows it.

    Args:
        columns, rows: its size.

    Attributes:
        descriptor: what programs write to.
        file: the same, as text.
        output: all that was written.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self._reader, self.descriptor = os.openpty()
        self.file = os.fdopen(self.descriptor, "w", encoding="utf-8", closefd=False)
        self.output = b""
        self._screen = pyte.HistoryScreen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._left = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size."""
        with self._lock:
            self._screen.resize(rows, columns)
            fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def screen(self) -> list[str]:
        """What is to be seen, a string for each row, without the blanks at its end."""
        with self._lock:
            return [row.rstrip() for row in self._screen.display]

    @property
    def n_scrolled(self) -> int:
        """How many rows have left the screen at its top."""
        with self._lock:
            return len(self._screen.history.top)

    def shows(self, text: str) -> bool:
        """Whether a row has this text."""
        return any(text in row for row in self.screen)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        end_s = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < end_s, "\n".join(["waited too long; on the screen:", *self.screen])
            time.sleep(0.01)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._reader, text.encode())

    def lose(self) -> None:
        """Close the window: whoever writes to it from now on gets an error."""
        self._left = True
        self._thread.join()
        os.close(self._reader)
        self._reader = -1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader >= 0:
            self.lose()
        os.close(self.descriptor)

    def _read(self) -> None:
        while True:
            if select.select([self._reader], [], [], 0.02)[0]:
                data = os.read(self._reader, 65536)
                with self._lock:
                    self.output += data
                    self._stream.feed(data)
            elif self._left:
                return
