"""Scoring whole clips: the mean of the probabilities over the windows of a clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeemo.audio import read_audio
from edgeemo.errors import AudioError
from edgeemo.model import EmotionModel
from edgeemo.windows import iter_windows

Audio = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ClipScore:
    """What a model says of one whole clip.

    Attributes:
        path: the file.
        duration_s: seconds of audio in it.
        label: the most probable class.
        probabilities: mean over the windows, shape `(n_labels,)`, summing to 1, in the order of the model's
            labels.
        n_windows: how many windows that mean is over.
    """

    path: Path
    duration_s: float
    label: str
    probabilities: Probabilities
    n_windows: int

    def to_dict(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """What JSON keeps; `labels` are the model's, for the names of the probabilities."""
        probabilities = {name: round(float(p), 6) for name, p in zip(labels, self.probabilities, strict=True)}
        return {
            "path": str(self.path),
            "duration_s": round(self.duration_s, 3),
            "label": self.label,
            "probabilities": probabilities,
            "n_windows": self.n_windows,
            "error": None,
        }


@dataclass(frozen=True)
class ClipFailure:
    """A file that could not be scored.

    Attributes:
        path: the file.
        error: one line: why.
    """

    path: Path
    error: str

    def to_dict(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """What JSON keeps: the same keys as of a `ClipScore`."""
        del labels
        return {
            "path": str(self.path),
            "duration_s": None,
            "label": None,
            "probabilities": None,
            "n_windows": 0,
            "error": self.error,
        }


def score_audio(model: EmotionModel, audio: Audio) -> tuple[Probabilities, int]:
    """Score a clip: the mean of the model's probabilities over `edgeemo.windows.iter_windows`.

    Args:
        model: the model.
        audio: mono float32 in [-1, 1] at the model's sample rate, shape `(n_samples,)`, at least one sample.

    Returns:
        probabilities, shape `(n_labels,)`, summing to 1, and the number of windows.
    """
    total = np.zeros(len(model.labels), np.float64)
    n_windows = 0
    for window in iter_windows(audio, model.metadata.window_samples):
        total += model.predict(window)
        n_windows += 1
    return (total / n_windows).astype(np.float32), n_windows


def score_clip(model: EmotionModel, path: Path) -> ClipScore:
    """Read a file of any length and rate, and score it.

    Raises:
        AudioError: it cannot be read, or holds no audio.
    """
    sample_rate = model.metadata.features.sample_rate
    audio = read_audio(path, sample_rate)
    if len(audio) == 0:
        raise AudioError(f"{path}: no audio in it; expected at least one sample")
    probabilities, n_windows = score_audio(model, audio)
    label = model.labels[int(probabilities.argmax())]
    return ClipScore(path, len(audio) / sample_rate, label, probabilities, n_windows)


def classify(model: EmotionModel, paths: Iterable[Path]) -> Iterator[ClipScore | ClipFailure]:
    """Score files one after the other, in their order; one that cannot be read does not stop the rest."""
    for path in paths:
        try:
            yield score_clip(model, path)
        except AudioError as error:
            yield ClipFailure(path, " ".join(str(error).split()))
