"""A receiver of events, and a thread of its own for one that may be slow or fail."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from enum import Enum
from types import TracebackType
from typing import Protocol, Self

from edgeemo.errors import EdgeEmoError, OutputError
from edgeemo.events import End, Event, Gap, Start, State, Status, Utterance
from edgeemo.wording import counted

TOLD = (Start, Utterance, Gap, Status, End)
"""What is worth a message of its own: all but steps."""

_POLL_S = 0.1
_LAST_S = 1.0
"""How long the last events may take once the loop has been stopped; where they are kept or sent, `_LAST_KEPT_S`."""
_LAST_KEPT_S = 5.0
_RETRY_S = 1.0
"""After which an event is offered again; twice as long after each failure, `_RETRY_MOST_S` at most."""
_RETRY_MOST_S = 30.0


class RefusedError(OutputError):
    """A receiver will never take this event: there is no use in offering it again."""


class OnError(Enum):
    """What becomes of an event that a sink fails to take, and of the loop."""

    END = "the loop ends with the error"
    SKIP = "the event is lost; the loop goes on"
    RETRY = "it is offered again and again; the loop goes on"


class Sink(Protocol):
    """Receives events while it is entered."""

    def take(self, event: Event, at: datetime) -> None:
        """Receive an event.

        Args:
            event: the next one.
            at: when it was told, with its time zone.

        Raises:
            OSError, EdgeEmoError: it could not take this one.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Background:
    """Hands events to a sink in a thread of its own: however slow that is, the loop goes on.

    Events stay in order. Those that did not fit into the queue are counted: before the next event the sink is given a
    `Status` that says how many are missing there. `notices` says what others should know of the sink.

    Args:
        sink: the receiver; it is left in that thread.
        name: of it, for a person.
        only: the kinds of events that it is given.
        capacity: how many events may wait.
        lossless: where the queue is full, wait; else the oldest event is dropped.
        on_error: what becomes of an event that the sink fails to take.
        stopped: whether the loop has been stopped: then nothing waits any longer.

    Attributes:
        name: as given.
    """

    def __init__(
        self,
        sink: Sink,
        name: str,
        *,
        only: tuple[type[Event], ...] = (Event,),
        capacity: int = 1000,
        lossless: bool = False,
        on_error: OnError = OnError.END,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self._sink, self._only = sink, only
        self._capacity, self._lossless, self._stopped = capacity, lossless, stopped
        self._on_error = on_error
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Event, datetime]] = deque()
        self._notices: list[tuple[bool, str]] = []
        self._n_dropped = 0
        """Since the sink was last told."""
        self._n_lost = 0
        """Since others were last told."""
        self._in_trouble = self._busy = self._closing = False
        self._closed_s = 0.0
        self._error: BaseException | None = None
        self._entered = ExitStack()
        self._thread = threading.Thread(target=self._run, name=f"edgeemo {name}", daemon=True)

    def take(self, event: Event, at: datetime) -> None:
        """Leave an event to the thread.

        Raises:
            OSError, EdgeEmoError: what the sink raised before, where that ends the loop.
        """
        if not isinstance(event, self._only):
            return
        with self._changed:
            while len(self._waiting) >= self._capacity and self._error is None:
                if not self._lossless:
                    self._waiting.popleft()
                    self._n_dropped += 1
                    self._n_lost += 1
                    self._begin_trouble(f"{self.name} is slow: its oldest events are dropped")
                elif self._stopped():
                    break
                else:
                    self._changed.wait(_POLL_S)
            if self._error is not None:
                raise self._error
            self._waiting.append((event, at))
            self._changed.notify_all()

    def notices(self) -> list[tuple[bool, str]]:
        """What others should know of the sink since this was last asked: whether it is in trouble now, and a text."""
        with self._changed:
            found, self._notices = self._notices, []
        return found

    def close(self) -> None:
        """No event will come any more; leaving it waits for the last ones."""
        with self._changed:
            if not self._closing:
                self._closing, self._closed_s = True, time.monotonic()
                self._changed.notify_all()

    def __enter__(self) -> Self:
        self._entered.enter_context(self._sink)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        shown = self._on_error is OnError.END
        while (self._lossless or not shown) and self._thread.is_alive() and not self._stopped():
            self._thread.join(_POLL_S)
        last_s = _LAST_S if shown else _LAST_KEPT_S
        self._thread.join(max(0.0, self._closed_s + last_s - time.monotonic()))
        with self._changed:
            if self._thread.is_alive():
                self._n_lost += len(self._waiting) + self._busy
            if self._n_lost and self._error is None:
                self._notices.append((True, f"{self.name}: {counted(self._n_lost, 'event')} lost"))
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with self._entered:
                while (found := self._next()) is not None:
                    n_dropped, event, at = found
                    if n_dropped and issubclass(Status, self._only):
                        text = f"{self.name} is slow: {counted(n_dropped, 'event')} dropped"
                        lost = Status(
                            time_s=event.time_s, state=State.SINK, subject=self.name, active=True, text=text
                        )
                        self._offer(lost, at)
                    self._offer(event, at)
        except BaseException as error:  # noqa: BLE001 - raised again in the loop's thread
            with self._changed:
                if isinstance(error, (OSError, EdgeEmoError)) and self._on_error is not OnError.END:
                    self._begin_trouble(f"{self.name}: {_why(error)}")  # as it was left: the loop has ended
                else:
                    self._error = error
                self._changed.notify_all()

    def _next(self) -> tuple[int, Event, datetime] | None:
        """How many events were dropped, then the next one and its time; None once no more will come."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            self._busy = True
            event, at = self._waiting.popleft()
            n_dropped, self._n_dropped = self._n_dropped, 0
            self._changed.notify_all()
        return n_dropped, event, at

    def _offer(self, event: Event, at: datetime) -> None:
        """Have the sink take an event, at last, or give it up."""
        delay_s = _RETRY_S
        while True:
            try:
                self._sink.take(event, at)
            except (OSError, EdgeEmoError) as error:
                if self._on_error is OnError.END:
                    raise
                with self._changed:
                    again = self._on_error is OnError.RETRY and not isinstance(error, RefusedError)
                    self._begin_trouble(f"{self.name}: {_why(error)}{'; trying again' if again else ''}")
                    if again and not self._closing:
                        self._changed.wait_for(lambda: self._closing, delay_s)
                        delay_s = min(2 * delay_s, _RETRY_MOST_S)
                        continue
                    self._n_lost += 1
                    if again:  # nor will it take what still waits
                        self._n_lost += len(self._waiting)
                        self._waiting.clear()
                return
            with self._changed:
                self._end_trouble()
            return

    def _begin_trouble(self, text: str) -> None:
        """Tell of it, once; the lock is held."""
        if not self._in_trouble:
            self._in_trouble = True
            self._notices.append((True, text))
            self._changed.notify_all()

    def _end_trouble(self) -> None:
        """Tell that it is over as soon as nothing waits; the lock is held."""
        if self._in_trouble and not self._waiting:
            lost = f"; {counted(self._n_lost, 'event')} lost" if self._n_lost else ""
            self._notices.append((False, f"{self.name} works again{lost}"))
            self._in_trouble, self._n_lost = False, 0


def _why(error: Exception) -> str:
    """What went wrong, in one line, without what Python adds."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(text.split())
