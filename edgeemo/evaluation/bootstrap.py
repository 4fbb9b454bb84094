"""Intervals: what a score could have been with other speakers.

Speakers are drawn, not clips: the clips of a speaker succeed and fail together (Bisani and Ney 2004, "Bootstrap
estimates for confidence intervals in ASR performance evaluation"). An interval over clips of few speakers is far too
narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgeemo.evaluation.measures import Floats, Indices

N_RESAMPLES = 2000
LEVEL = 0.95

Interval = tuple[float, float]


class Bootstrap:
    """Draws of speakers, the same for everything that is computed of the same clips.

    Args:
        speakers: who speaks in each clip, shape `(n_clips,)`; where nobody knows, a name of its own for each clip,
            and the intervals are over clips.
        n_resamples: how many draws.
    """

    def __init__(self, speakers: Sequence[str], n_resamples: int = N_RESAMPLES) -> None:
        names, of = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
        self.n_speakers = len(names)
        self._of: Indices = of
        draws = np.random.default_rng(0).integers(self.n_speakers, size=(n_resamples, self.n_speakers))
        self._times = np.stack([np.bincount(draw, minlength=self.n_speakers) for draw in draws])

    def confusions(self, truth: Indices, predicted: Indices, n_labels: int) -> Floats:
        """The confusion matrix of each draw, shape `(n_resamples, n_labels, n_labels)`.

        Args:
            truth: shape `(n_clips,)`.
            predicted: likewise.
            n_labels: how many classes there are.
        """
        counts = np.zeros((self.n_speakers, n_labels * n_labels))
        np.add.at(counts, (self._of, truth * n_labels + predicted), 1)
        result: Floats = (self._times @ counts).reshape(-1, n_labels, n_labels)
        return result

    def each(self, measure: Callable[[Indices], float]) -> Floats:
        """A measure of each draw, shape `(n_resamples,)`.

        Args:
            measure: takes the indices of the drawn clips, some of them several times.
        """
        by_speaker = [np.flatnonzero(self._of == i) for i in range(self.n_speakers)]
        return np.array(
            [
                measure(np.concatenate([np.tile(by_speaker[i], n) for i, n in enumerate(times) if n]))
                for times in self._times
            ]
        )


def interval(values: npt.NDArray[np.floating]) -> Interval:
    """The 95 % interval of the draws of a score, those that are not NaN."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)
