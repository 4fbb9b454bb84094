"""A source that others are told of, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from edgeemo.sources.source import Audio, Lost, Notice, Source


class Tapped:
    """A source that calls functions with each thing that it yields, before it yields it; otherwise as it is.

    Args:
        source: any.
        taps: called in the loop's thread, also with the empty blocks of a microphone that is away.
    """

    def __init__(self, source: Source, *taps: Callable[[Audio | Lost | Notice], None]) -> None:
        self._source, self._taps = source, taps

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def kind(self) -> str:
        return self._source.kind

    @property
    def sample_rate(self) -> int:
        return self._source.sample_rate

    @property
    def channels(self) -> int:
        return self._source.channels

    @property
    def channel(self) -> int | None:
        return self._source.channel

    @property
    def ended(self) -> str:
        return self._source.ended

    def blocks(self) -> Iterator[Audio | Lost | Notice]:
        """As those of the source."""
        for heard in self._source.blocks():
            for tap in self._taps:
                tap(heard)
            yield heard

    def wants(self, seconds: float) -> None:
        """Tell the source."""
        self._source.wants(seconds)

    def stop(self) -> None:
        """Stop the source."""
        self._source.stop()

    def __enter__(self) -> Self:
        self._source.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.__exit__(kind, error, trace)
