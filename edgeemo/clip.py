"""A whole clip at a model's rate: of any length, in little memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from edgeemo.audio import Resampler, as_float32, check_samples, native_rate, read_blocks, read_channels
from edgeemo.errors import AudioError
from edgeemo.high_pass import HighPass
from edgeemo.speech import Speech
from edgeemo.utterances import is_silent

Audio = npt.NDArray[np.float32]

SILENCE = "silence"
CANCELLED = "the channels cancel in their mean"
"""Then `--channel` helps."""

_BLOCK_SAMPLES = 1 << 16
_KEPT_SAMPLES = 1 << 21  # 8 MB, two minutes at 16 kHz


class Clip:
    """A clip that is read once to check it and to learn its length, and then as often as somebody wants its blocks.

    A constant in it is taken away (`edgeemo.high_pass`), as the live loop does.

    A short clip is kept. A long one is read again each time: from a disk that costs little beside a model's work,
    while three hours in memory are 700 MB.

    Args:
        read: gives the clip from its start: mono float32 blocks `(n_samples,)`.
        source_rate: Hz of these.
        sample_rate: Hz of the clip, which they are resampled to.
        path: of the file, if it is one.

    Attributes:
        sample_rate: Hz.
        n_samples: the clip's length at that rate; at least 1.

    Raises:
        AudioError: it cannot be read, or holds no audio.
    """

    def __init__(
        self,
        read: Callable[[], Iterator[Audio]],
        source_rate: int,
        sample_rate: int,
        *,
        path: Path | None = None,
    ) -> None:
        self._read = read
        self._source_rate = source_rate
        self._path = path
        self.sample_rate = sample_rate
        self.n_samples = 0
        kept: list[Audio] = []
        for block in self._resampled():
            self.n_samples += len(block)
            kept = [*kept, block] if self.n_samples <= _KEPT_SAMPLES else []
        if self.n_samples == 0:
            raise AudioError(f"{self._name}no audio in it; expected at least one sample")
        self._kept = np.concatenate(kept) if kept else None

    @classmethod
    def of_file(cls, path: Path | str, sample_rate: int, *, channel: int | None = None) -> Self:
        """A file of any length, rate and number of channels, of which one is taken, or the mean of all.

        Raises:
            AudioError: as `edgeemo.audio.read_blocks`.
        """
        path = Path(path)

        def read() -> Iterator[Audio]:
            return read_blocks(path, _BLOCK_SAMPLES, channel=channel)

        return cls(read, native_rate(path), sample_rate, path=path)

    @classmethod
    def of_samples(cls, samples: npt.NDArray[Any], source_rate: int, sample_rate: int) -> Self:
        """Samples of the caller's, which are not copied: as `edgeemo.audio.as_float32` takes them.

        Raises:
            AudioError: they are of another type or shape, NaN or infinite; there are none; a rate is not positive.
        """
        check_samples(samples)

        def read() -> Iterator[Audio]:
            for start in range(0, len(samples), _BLOCK_SAMPLES):
                yield as_float32(samples[start : start + _BLOCK_SAMPLES])

        return cls(read, source_rate, sample_rate)

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return self.n_samples / self.sample_rate

    def blocks(self) -> Iterator[Audio]:
        """The clip from its start: mono float32 `(n_samples,)` a block, `n_samples` or more of them in all.

        Raises:
            AudioError: the file has become shorter, or cannot be read any more.
        """
        if self._kept is not None:
            yield self._kept
            return
        n_samples = 0
        for block in self._resampled():
            n_samples += len(block)
            yield block
        if n_samples < self.n_samples:
            raise AudioError(f"{self._name}changed while it was read; try again")

    @functools.cached_property
    def speech(self) -> Speech:
        """Where somebody speaks. The voice detector hears a clip once, however many models ask.

        Raises:
            AudioError: as `blocks`.
        """
        return Speech.of(self.blocks(), self.sample_rate, self.n_samples)

    def why_silent(self) -> str:
        """Why nothing is to be heard, in a clip that is silent: nor is it in its channels, or they cancel."""
        if self._path is None:
            return SILENCE
        rate = self._source_rate
        for block in read_channels(self._path, _BLOCK_SAMPLES):
            if block.shape[1] > 1 and not all(is_silent(channel, rate) for channel in block.T):
                return CANCELLED
        return SILENCE

    @property
    def _name(self) -> str:
        return "" if self._path is None else f"{self._path}: "

    def _resampled(self) -> Iterator[Audio]:
        resampler, high_pass = Resampler(self._source_rate, self.sample_rate), HighPass(self.sample_rate)
        for block in self._read():
            yield high_pass(resampler.push(block))
        yield high_pass(resampler.flush())


def spoken(audio: Audio, sample_rate: int) -> Audio:
    """The part of a clip in which somebody speaks; all of it where nobody does.

    Args:
        audio: mono float32 in [-1, 1], shape `(n_samples,)`.
        sample_rate: Hz of it.
    """
    span = Clip.of_samples(audio, sample_rate, sample_rate).speech.span()
    return audio if span is None else audio[span[0] : span[1]]
