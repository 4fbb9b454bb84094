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
    MARGIN_CHUNKS,
    NO_SPEECH,
    RECENT_CHUNKS,
    SAMPLE_RATE,
    SpeechDetector,
)


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
        left: for how many chunks longer somebody counts as speaking, once each chunk of the clip is heard, as
            `SpeechDetector.follow` says; shape `(n_chunks,)`; None: everywhere.
        chunk_samples: of a chunk, at the clip's rate.
        n_samples: of the clip.
    """

    left: npt.NDArray[np.int64] | None
    chunk_samples: float
    n_samples: int

    @classmethod
    def of(cls, clip: Clip) -> Self:
        """Have a clip heard by the voice detector.

        Raises:
            AudioError: the clip's file cannot be read a second time.
        """
        detector = SpeechDetector(clip.sample_rate)
        found = [left for block in clip.blocks() for left in detector.follow(block)]
        return cls(np.array(found, int), CHUNK_SAMPLES * clip.sample_rate / SAMPLE_RATE, clip.n_samples)

    @classmethod
    def everywhere(cls, clip: Clip) -> Self:
        """Of a clip of which any sound is to be judged."""
        return cls(None, 1, clip.n_samples)

    def span(self) -> tuple[int, int] | None:
        """From shortly before the first voice to shortly after the last, in samples; None where nobody speaks.

        What the live loop hears of an utterance, but for the end of the pause after it.
        """
        if self.left is None or not self.left.any():
            return None
        voiced = np.flatnonzero(self.left == HANG_CHUNKS)
        first = max(int(voiced[0]) + 1 - RECENT_CHUNKS - MARGIN_CHUNKS, 0)
        last = int(voiced[-1]) + 1 + MARGIN_CHUNKS
        return int(first * self.chunk_samples), min(int(last * self.chunk_samples), self.n_samples)

    def why_not(self, start: int, end: int) -> str | None:
        """Why there is nothing to judge in a part of the clip, in samples; None where there is."""
        if self.left is None:
            return None
        first, last = int(max(start, 0) // self.chunk_samples), int(end // self.chunk_samples)
        return None if self.left[first : last + 1].any() else NO_SPEECH
