"""Which clips an epoch is made of."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgeemo.corpora.manifest import Clip
from edgeemo.workstation.training.recipe import Training

_WHOLE_CORPUS = 25  # speakers, from which on a corpus weighs as much as any


class Epochs:
    """Draws the clips of an epoch, and their order.

    Args:
        clips: training clips.
        labels: index of each one's label, shape `(n_clips,)`.
        training: how many clips, and how they are balanced.
    """

    def __init__(self, clips: Sequence[Clip], labels: npt.NDArray[np.int64], training: Training) -> None:
        # Whoever is unknown speaks in one clip, as far as anyone knows.
        speakers = np.array([clip.speaker or clip.sha256 for clip in clips])
        self._training = training
        self._chances = balanced(clips, labels) if training.balance else None
        self._of_speaker = [np.flatnonzero(speakers == speaker) for speaker in np.unique(speakers)]

    def draw(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Indices of clips: each at most once, or, balanced, as often as chance has it."""
        n = self._training.clips_per_epoch
        if self._chances is not None:
            return rng.choice(len(self._chances), n or len(self._chances), p=self._chances)
        limit = self._training.clips_per_speaker
        chosen = [rng.permutation(clips)[: limit or None] for clips in self._of_speaker]
        return rng.permutation(np.concatenate(chosen))[: n or None]


def balanced(clips: Sequence[Clip], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The chance of each clip to be drawn, so that every label weighs the same, and within it every corpus.

    Were every label of every corpus alike, ordinary speech would make neutral the most frequent label, and the answer
    wherever a network doubts. A corpus of few speakers weighs less, by the root of their number: at the weight of a
    large one, TESS' two women take a quarter of a training that knows them after a few epochs, and what was odd about
    SAVEE's four men and their hum cost several points on all others.

    Args:
        clips: training clips.
        labels: index of each one's label, shape `(n_clips,)`.

    Returns:
        shape `(n_clips,)`, with a sum of 1.
    """
    speakers: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        speakers[clip.corpus].add(clip.speaker)
    weight_of = {corpus: np.sqrt(min(len(known) / _WHOLE_CORPUS, 1)) for corpus, known in speakers.items()}
    cells = list(zip([clip.corpus for clip in clips], labels.tolist(), strict=True))
    n_in_cell = Counter(cells)
    of_label: Counter[int] = Counter()
    for corpus, label in n_in_cell:
        of_label[label] += weight_of[corpus]
    chances = [weight_of[corpus] / n_in_cell[corpus, label] / of_label[label] for corpus, label in cells]
    return np.array(chances) / len(of_label)
