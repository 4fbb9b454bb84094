"""A receiver of events, and a thread of its own for one that may be slow."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from edgeemo.events import Event, State, Status

_POLL_S = 0.1
_LAST_S = 1.0
"""How long the last events may take once the loop has been stopped."""


class Sink(Protocol):
    """Receives events while it is entered."""

    def take(self, event: Event, at: datetime) -> None:
        """Receive an event.

        Args:
            event: the next one.
            at: when it was told, with its time zone.

        Raises:
            OSError, EdgeEmoError: it cannot go on.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Background:
    """Hands events to a sink in a thread of its own: however slow that is, the loop goes on.

    Args:
        sink: the receiver; it is entered and left in that thread.
        name: of it, for a person.
        capacity: how many events may wait.
        lossless: where the queue is full, wait; else the oldest event is dropped, and a `Status` says how many.
        stopped: whether the loop has been stopped: then nothing waits any longer.
    """

    def __init__(
        self,
        sink: Sink,
        name: str,
        *,
        capacity: int = 1000,
        lossless: bool = False,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._sink, self._name = sink, name
        self._capacity, self._lossless, self._stopped = capacity, lossless, stopped
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Event, datetime]] = deque()
        self._n_dropped = 0
        self._closing = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"edgeemo {name}", daemon=True)

    def take(self, event: Event, at: datetime) -> None:
        """Leave an event to the thread.

        Raises:
            OSError, EdgeEmoError: what the sink raised before.
        """
        with self._changed:
            while len(self._waiting) == self._capacity and self._error is None and not self._stopped():
                if self._lossless:
                    self._changed.wait(_POLL_S)
                    continue
                self._waiting.popleft()
                self._n_dropped += 1
            if self._error is not None:
                raise self._error
            self._waiting.append((event, at))
            self._changed.notify_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        while self._lossless and self._thread.is_alive() and not self._stopped():
            self._thread.join(_POLL_S)
        self._thread.join(_LAST_S)
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with self._sink:
                while (found := self._next()) is not None:
                    n_dropped, event, at = found
                    if n_dropped:
                        text = f"{self._name} is slow: {n_dropped} events were dropped"
                        lost = Status(time_s=event.time_s, state=State.SINK, active=True, text=text)
                        self._sink.take(lost, at)
                    self._sink.take(event, at)
        except BaseException as error:  # noqa: BLE001 - raised again in the loop's thread
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self) -> tuple[int, Event, datetime] | None:
        """How many events were dropped, then the next one and its time; None once no more will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            event, at = self._waiting.popleft()
            n_dropped, self._n_dropped = self._n_dropped, 0
            self._changed.notify_all()
        return n_dropped, event, at
