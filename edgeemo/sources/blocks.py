"""From what is captured, or read from a file, to blocks of one channel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edgeemo.audio import check_channel, one_channel
from edgeemo.sources.signal import SignalWatch
from edgeemo.sources.source import Notice

Audio = npt.NDArray[np.float32]


def block_samples(block_s: float, sample_rate: int) -> int:
    """The length of a block, in samples: at least one."""
    return max(1, round(block_s * sample_rate))


class Mixer:
    """Picks a channel, or the mean of all, and looks at all of them.

    Args:
        sample_rate: Hz.
        channels: how many there are.
        channel: the one that is listened to, from 1; None: the mean of all.
        microphone: whether they are a microphone's.

    Raises:
        AudioError: there is no such channel.
    """

    def __init__(self, sample_rate: int, channels: int, channel: int | None, *, microphone: bool) -> None:
        check_channel(channel, channels)
        self._channel = channel
        self._watch = SignalWatch(sample_rate, channels, channel, microphone=microphone)

    def end(self) -> Iterator[Notice]:
        """What is to be told where nothing more will come of this stream, though of another one."""
        return self._watch.end()

    def __call__(self, *blocks: npt.NDArray[np.float32]) -> Iterator[Audio | Notice]:
        """Blocks of all channels, shape `(n_samples, n_channels)`: what is to be told of them, then one channel.

        Blocks of numbers come as one, which costs less. Where there are others, each comes by itself.
        """
        block = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        if np.isfinite(block).all():
            yield from self._watch.push(block)
        elif len(blocks) > 1:
            for each in blocks:
                yield from self(each)
            return
        yield one_channel(block, self._channel)
