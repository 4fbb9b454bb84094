"""A file as a source."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from edgeemo.audio import check_channel, native_format, read_channels
from edgeemo.sources.blocks import Mixer, block_samples
from edgeemo.sources.source import Notice

Audio = npt.NDArray[np.float32]


class AudioFile:
    """A file, played as a microphone would deliver it. It may be entered like a `Microphone`; it need not be.

    Args:
        path: anything `edgeemo.audio.read_blocks` reads.
        block_s: seconds in a block.
        realtime: hand each block out when a microphone would have captured all of it; otherwise at once.
        channel: which to listen to, from 1; None is the mean of all.

    Raises:
        AudioError: the file is missing or not audio, or has no such channel.

    Examples:
        >>> import edgeemo
        >>> with edgeemo.AudioFile("call.wav", realtime=False) as source:
        ...     n_samples = sum(len(block) for block in source.blocks() if isinstance(block, np.ndarray))
        >>> round(n_samples / source.sample_rate)
        9
    """

    kind = "file"

    def __init__(
        self,
        path: Path | str,
        block_s: float = 0.02,
        realtime: bool = True,
        *,
        channel: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self.sample_rate, self.channels = native_format(self.path)
        self.channel = channel
        check_channel(channel, self.channels)
        self.realtime = realtime
        self._block_samples = block_samples(block_s, self.sample_rate)
        self._stopped = False

    @property
    def ended(self) -> str:
        """Why `blocks` ended: `stopped` or `end of file`."""
        return "stopped" if self._stopped else "end of file"

    def blocks(self) -> Iterator[Audio | Notice]:
        """The file from its start, mono float32 `(n_samples,)` a block; the last one may be shorter.

        Raises:
            AudioError: the file is broken further on.
        """
        self._stopped = False
        mixer = Mixer(self.sample_rate, self.channels, self.channel, microphone=False)
        start_s = time.monotonic()
        n_samples = 0
        for block in read_channels(self.path, self._block_samples):
            if self._stopped:
                return
            n_samples += len(block)
            if self.realtime:
                # From the start, not from the last block: lateness does not add up.
                wait_s = start_s + n_samples / self.sample_rate - time.monotonic()
                if wait_s > 0:
                    time.sleep(wait_s)
            yield from mixer(block)

    def wants(self, seconds: float) -> None:
        """Nothing: each block is handed out at its time."""

    def stop(self) -> None:
        """End `blocks` before its next block; the next call starts anew."""
        self._stopped = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
