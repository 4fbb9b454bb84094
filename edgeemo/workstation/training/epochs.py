"""Which clips an epoch is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgeemo.corpora.manifest import Clip
from edgeemo.workstation.training.recipe import Training
from edgeemo.workstation.training.voices import voices

_WHOLE_CORPUS = 1000  # clips, from which on a corpus weighs as much as any


class Epochs:
    """Draws the clips of an epoch, and their order.

    Args:
        clips: training clips.
        labels: index of each one's label, shape `(n_clips,)`.
        training: how many clips, and how they are balanced.
    """

    def __init__(self, clips: Sequence[Clip], labels: npt.NDArray[np.int64], training: Training) -> None:
        self._speakers = np.array(voices(clips) if training.balance else [clip.speaker for clip in clips])
        self._training = training
        self._chances = balanced([clip.corpus for clip in clips], labels) if training.balance else None
        self._of_speaker = {s: np.flatnonzero(self._speakers == s) for s in np.unique(self._speakers)}

    def draw(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Indices of clips: each at most once, or, balanced, as often as chance has it."""
        n = self._training.clips_per_epoch
        if self._chances is not None:
            return self._balanced(n or len(self._chances), self._chances, rng)
        limit = self._training.clips_per_speaker
        chosen = [rng.permutation(clips)[: limit or None] for clips in self._of_speaker.values()]
        return rng.permutation(np.concatenate(chosen))[: n or None]

    def _balanced(
        self, n: int, chances: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """In runs of `speaker_run` clips of one speaker, or as many as there are.

        The chance of a run is that of its clips: a speaker of one clip is drawn as often as that clip is to be.
        """
        longest = {s: min(self._training.speaker_run, len(clips)) for s, clips in self._of_speaker.items()}
        firsts = chances / [longest[s] for s in self._speakers]
        firsts /= firsts.sum()
        drawn: list[npt.NDArray[np.int64]] = []
        n_drawn = 0
        while n_drawn < n:
            for first in rng.choice(len(firsts), n, p=firsts):
                speaker = self._speakers[first]
                others = self._of_speaker[speaker]
                others = others[others != first]
                run = np.array([first])
                if longest[speaker] > 1:
                    of_others = chances[others] / chances[others].sum()
                    run = np.append(run, rng.choice(others, longest[speaker] - 1, replace=False, p=of_others))
                drawn.append(run)
                n_drawn += len(run)
                if n_drawn >= n:
                    break
        return np.concatenate(drawn)[:n]


def balanced(corpora: Sequence[str], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The chance of each clip to be drawn, so that every label of every corpus weighs the same.

    A small corpus weighs less, in proportion to its clips: at the weight of a large one, what is odd about it costs
    several points on all others, as SAVEE's four men and their hum did.

    Args:
        corpora: of each clip.
        labels: index of each one's label, shape `(n_clips,)`.

    Returns:
        shape `(n_clips,)`, with a sum of 1.
    """
    _, corpus, n_in_corpus = np.unique(np.asarray(corpora), return_inverse=True, return_counts=True)
    cells = np.stack([corpus, labels], axis=1)
    _, cell, n_in_cell = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    weights = np.minimum(n_in_corpus / _WHOLE_CORPUS, 1)[corpus] / n_in_cell[cell.ravel()]
    chances: npt.NDArray[np.float64] = weights / weights.sum()
    return chances
