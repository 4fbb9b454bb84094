"""From blocks as they were captured to the stream that the loop hears: without holes that nobody tells of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeemo.audio import Resampler
from edgeemo.events import Why
from edgeemo.sources.blocks import Audio, Mixer
from edgeemo.sources.continuity import Continuity
from edgeemo.sources.queue import Captured
from edgeemo.sources.source import Lost, Notice


class Assembly:
    """Puts a stream together, block by block, and tells what is missing before each.

    A block that comes late, and those after it, are held back for `continuity.SETTLE_S`, until it is known whether
    something is missing before it.

    Args:
        sample_rate: Hz of the stream.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._continuity = Continuity()
        self._held: list[Captured] | None = None
        self._why = Why.STALLED

    def opened(self, mixer: Mixer, sample_rate: int) -> None:
        """What comes next is captured by another stream of the device.

        Args:
            mixer: for its channels.
            sample_rate: Hz of it.
        """
        self._mixer, self._rate = mixer, sample_rate
        self._resampler = None
        if sample_rate != self._sample_rate:
            self._resampler = Resampler(sample_rate, self._sample_rate)

    def away(self) -> None:
        """The microphone went away: what is missing until the next block is for that reason."""
        self._why = Why.RECONNECTED

    def take(self, blocks: Sequence[Captured]) -> Iterator[Audio | Lost | Notice]:
        """The stream up to the last of these blocks, as far as it is known; what is without a hole comes as one."""
        whole: list[Captured] = []
        for captured in blocks:
            for found in self._in_order(captured):
                if isinstance(found, Captured):
                    whole.append(found)
                else:
                    yield from self._heard(whole)
                    whole = []
                    yield found
        yield from self._heard(whole)

    def rest(self) -> Iterator[Audio | Notice]:
        """What is held back."""
        yield from self._heard(self._released())

    def end(self) -> Iterator[Audio | Notice]:
        """What is held back, and what no longer holds: the device's stream has ended."""
        yield from self.rest()
        yield from self._mixer.end()

    def _in_order(self, captured: Captured) -> Iterator[Captured | Lost]:
        """The blocks up to this one, as far as it is known what is missing before them."""
        if captured.n_dropped:
            yield from self._released()
            dropped_s = captured.n_dropped / self._rate
            self._continuity.missing(dropped_s)
            yield Lost(dropped_s, Why.SLOW_LOOP)
        if captured.overflow:
            self._why = Why.OVERFLOW
        if self._continuity.late(captured.at_s):
            yield from self._released()
            self._held = []
        lost_s = self._continuity.take(captured.at_s, len(captured.samples) / self._rate)
        if self._held is not None:
            self._held.append(captured)
            if not self._continuity.settled:
                return
        if lost_s:
            yield Lost(lost_s, self._why)
        if self._continuity.settled:
            self._why = Why.STALLED
        yield from [captured] if self._held is None else self._released()

    def _released(self) -> list[Captured]:
        """What was held back until now."""
        held, self._held = self._held or [], None
        return held

    def _heard(self, blocks: Sequence[Captured]) -> Iterator[Audio | Notice]:
        if not blocks:
            return
        for found in self._mixer(*(captured.samples for captured in blocks)):
            if self._resampler is None or isinstance(found, Notice):
                yield found
            else:
                yield self._resampler.push(found)
