"""Where in a whole clip somebody speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from edgeemo.clip import Clip
from edgeemo.voice import (
    CHUNK_SAMPLES,
    HANG_CHUNKS,
    NO_SPEECH,
    RECENT_CHUNKS,
    SAMPLE_RATE,
    SpeechDetector,
)

_MARGIN_CHUNKS = 4
"""0.13 s."""


def spoken(audio: npt.NDArray[np.float32], sample_rate: int) -> npt.NDArray[np.float32]:
    """The part of a clip in which somebody speaks; all of it where nobody does.

    Args:
        audio: mono float32 in [-1, 1], shape `(n_samples,)`.
        sample_rate: Hz of it.
    """
    span = Speech.of(Clip.of_samples(audio, sample_rate, sample_rate)).span()
    return audio if span is None else audio[span[0] : span[1]]


@dataclass(frozen=True, eq=False)
class Speech:
    """Where in a clip somebody speaks.

    Attributes:
        chunks: whether somebody speaks, once each chunk of the clip is heard, shape `(n_chunks,)`; None: everywhere.
        chunk_samples: of a chunk, at the clip's rate.
    """

    chunks: npt.NDArray[np.bool_] | None
    chunk_samples: float

    @classmethod
    def of(cls, clip: Clip) -> Self:
        """Have a clip heard by the voice detector.

        Raises:
            AudioError: the clip's file cannot be read a second time.
        """
        detector = SpeechDetector(clip.sample_rate)
        found = [speaks for block in clip.blocks() for speaks in detector.follow(block)]
        return cls(np.array(found, bool), CHUNK_SAMPLES * clip.sample_rate / SAMPLE_RATE)

    @classmethod
    def everywhere(cls) -> Self:
        """Of a clip of which any sound is to be judged."""
        return cls(None, 1)

    def span(self) -> tuple[int, int] | None:
        """From shortly before the first voice to shortly after the last, in samples; None where nobody speaks.

        What the live loop hears of an utterance, but for the end of the pause after it.
        """
        if self.chunks is None or not self.chunks.any():
            return None
        found = np.flatnonzero(self.chunks)
        first = max(int(found[0]) + 1 - RECENT_CHUNKS - _MARGIN_CHUNKS, 0)
        last = int(found[-1]) + 1 - HANG_CHUNKS + _MARGIN_CHUNKS
        return int(first * self.chunk_samples), int(last * self.chunk_samples)

    def why_not(self, start: int, end: int) -> str | None:
        """Why there is nothing to judge in a part of the clip, in samples; None where there is."""
        if self.chunks is None:
            return None
        first, last = int(max(start, 0) // self.chunk_samples), int(end // self.chunk_samples)
        return None if self.chunks[first : last + 1].any() else NO_SPEECH
