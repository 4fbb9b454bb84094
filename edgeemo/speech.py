"""Where in a whole clip somebody speaks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from edgeemo.voice import (
    CHUNK_SAMPLES,
    HANG_CHUNKS,
    MARGIN_CHUNKS,
    NO_SPEECH,
    RECENT_CHUNKS,
    SAMPLE_RATE,
    SpeechDetector,
)


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
    def of(cls, blocks: Iterable[npt.NDArray[np.float32]], sample_rate: int, n_samples: int) -> Self:
        """Have a clip heard by the voice detector.

        Args:
            blocks: mono float32 `(n_samples,)` a block, from the clip's start.
            sample_rate: Hz of them.
            n_samples: of the clip.
        """
        detector = SpeechDetector(sample_rate)
        found = [left for block in blocks for left in detector.follow(block)]
        return cls(np.array(found, int), CHUNK_SAMPLES * sample_rate / SAMPLE_RATE, n_samples)

    @classmethod
    def everywhere(cls, n_samples: int) -> Self:
        """Of a clip of which any sound is to be judged."""
        return cls(None, 1, n_samples)

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
