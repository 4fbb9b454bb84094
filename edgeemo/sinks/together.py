"""Several sinks as one: each hears how the others are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from types import TracebackType
from typing import Self

from edgeemo.events import Event, State, Status
from edgeemo.sinks.sink import Background


class Together:
    """Hands each event to several sinks, and what one of them has to tell of itself to all others.

    A sink is never told of its own trouble, and tells of it once: no message can go round in a circle.

    Args:
        sinks: in the order in which they are given an event. They are left in the opposite order.
        also: called with every event too, and with what is told of any sink.
    """

    def __init__(
        self, sinks: Sequence[Background], *, also: Sequence[Callable[[Event, datetime], None]] = ()
    ) -> None:
        self._sinks, self._also = sinks, also
        self._entered = ExitStack()

    def take(self, event: Event, at: datetime) -> None:
        """Hand out what is to be told of sinks, as of this event, then the event: the last event stays the last.

        Raises:
            OSError, EdgeEmoError: what a sink raised that ends the loop.
        """
        for sink in self._sinks:
            for active, text in sink.notices():
                status = Status(
                    time_s=event.time_s, state=State.SINK, subject=sink.name, active=active, text=text
                )
                for take in self._all_but(sink):
                    take(status, at)
        for take in self._all_but(None):
            take(event, at)

    def untold(self) -> list[str]:
        """What is to be told of sinks since the last event, in lines for a person."""
        return [text for sink in self._sinks for _, text in sink.notices()]

    def __enter__(self) -> Self:
        with ExitStack() as entered:
            for sink in self._sinks:
                entered.enter_context(sink)
            self._entered = entered.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sink in self._sinks:
            sink.close()  # so that all have the same time for their last events
        self._entered.__exit__(kind, error, trace)

    def _all_but(self, one: Background | None) -> list[Callable[[Event, datetime], None]]:
        return [sink.take for sink in self._sinks if sink is not one] + [*self._also]
