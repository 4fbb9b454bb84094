"""Where in a whole clip somebody speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from edgeemo.clip import Clip
from edgeemo.voice import CHUNK_SAMPLES, NO_SPEECH, SAMPLE_RATE, SpeechDetector


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

    def why_not(self, start: int, end: int) -> str | None:
        """Why there is nothing to judge in a part of the clip, in samples; None where there is."""
        if self.chunks is None:
            return None
        first, last = int(max(start, 0) // self.chunk_samples), int(end // self.chunk_samples)
        return None if self.chunks[first : last + 1].any() else NO_SPEECH
