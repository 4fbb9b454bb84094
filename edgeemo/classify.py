"""Scoring many clips, with one model or with the mean of several, such as those of different folds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeemo.audio import read_audio
from edgeemo.errors import AudioError, ModelError
from edgeemo.model import EmotionModel

Audio = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ClipScore:
    """What a classifier says of one whole clip.

    Attributes:
        path: the file.
        duration_s: seconds of audio in it.
        label: the most probable class.
        probabilities: mean over the windows, shape `(n_labels,)`, summing to 1, in the order of the model's
            labels.
        n_windows: how many windows that mean is over, or steps of a stream graph; of several models: all of theirs.
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
        """What JSON keeps: the same keys as for a `ClipScore`."""
        del labels
        return {
            "path": str(self.path),
            "duration_s": None,
            "label": None,
            "probabilities": None,
            "n_windows": 0,
            "error": self.error,
        }


def columns(labels: tuple[str, ...]) -> list[str]:
    """The columns of a table of clips, in order: what `to_row` gives."""
    return ["path", "duration_s", "n_windows", "label", *(f"p_{name}" for name in labels), "error"]


def to_row(result: ClipScore | ClipFailure, labels: tuple[str, ...]) -> dict[str, Any]:
    """One row of a table of clips: `to_dict`, with a column `p_LABEL` per class, None where there is no score."""
    row = result.to_dict(labels)
    probabilities = row.pop("probabilities") or dict.fromkeys(labels)
    return row | {f"p_{name}": p for name, p in probabilities.items()}


class Classifier:
    """Scores whole clips with one model, or with the mean of several models' probabilities.

    Args:
        models: at least one; of one sample rate, and with the same labels in the same order. Modes and windows
            may differ.

    Raises:
        ModelError: two of them differ in labels or sample rate.
    """

    def __init__(self, models: Sequence[EmotionModel]) -> None:
        self.models = tuple(models)
        self.labels = self.models[0].labels
        self.sample_rate = self.models[0].metadata.features.sample_rate
        for model in self.models[1:]:
            rate = model.metadata.features.sample_rate
            if model.labels != self.labels or rate != self.sample_rate:
                raise ModelError(
                    f"{model.path} has labels {', '.join(model.labels)} at {rate} Hz, {self.models[0].path} "
                    f"{', '.join(self.labels)} at {self.sample_rate} Hz; only models with the same labels in the "
                    "same order and of the same sample rate can be averaged"
                )

    def score_audio(self, audio: Audio) -> tuple[Probabilities, int]:
        """Score a clip: the mean of what `EmotionModel.score` gives for each model, each of the same weight.

        Args:
            audio: mono float32 in [-1, 1] at `sample_rate`, shape `(n_samples,)`, at least one sample.

        Returns:
            probabilities, shape `(n_labels,)`, summing to 1, and the number of windows or steps that they are of.
        """
        of_models = [model.score(audio) for model in self.models]
        mean = np.mean([probabilities for probabilities, _ in of_models], axis=0)
        return mean.astype(np.float32), sum(n_scored for _, n_scored in of_models)

    def score_clip(self, path: Path) -> ClipScore:
        """Read a file of any length and rate, and score it.

        Raises:
            AudioError: it cannot be read, or holds no audio.
        """
        audio = read_audio(path, self.sample_rate)
        if len(audio) == 0:
            raise AudioError(f"{path}: no audio in it; expected at least one sample")
        probabilities, n_windows = self.score_audio(audio)
        label = self.labels[int(probabilities.argmax())]
        return ClipScore(path, len(audio) / self.sample_rate, label, probabilities, n_windows)

    def classify(self, paths: Iterable[Path]) -> Iterator[ClipScore | ClipFailure]:
        """Score files one after another, in order; one that cannot be read does not stop the rest."""
        for path in paths:
            try:
                yield self.score_clip(path)
            except AudioError as error:
                yield ClipFailure(path, " ".join(str(error).split()))
            except OSError as error:  # a disk, a network share or permissions, before libsndfile saw the file
                yield ClipFailure(path, f"{path}: cannot be read ({error.strerror or error})")
