"""Scoring whole clips: the mean of the probabilities over a clip's windows, or over the steps of a stream graph."""

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
from edgeemo.stepper import stepper
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
        n_windows: how many windows that mean is over; of a stream graph: steps.
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
    """Score a clip.

    With a window graph: the mean of the probabilities over `edgeemo.windows.iter_windows`. With a stream graph:
    the mean over the steps that end at or after the end of the clip's first full window, each of which has heard
    that much of the clip; of a clip shorter than a window, the last step alone. The clip ends with a step: silence
    fills its first. Pauses in it reset nothing.

    Args:
        model: the model.
        audio: mono float32 in [-1, 1] at the model's sample rate, shape `(n_samples,)`, at least one sample.

    Returns:
        probabilities, shape `(n_labels,)`, summing to 1, and the number of windows or steps that they are of.
    """
    if model.metadata.mode == "stream":
        scored = _scored_steps(model, audio)
    else:
        scored = (model.predict(window) for window in iter_windows(audio, model.metadata.window_samples))
    total = np.zeros(len(model.labels), np.float64)
    n_scored = 0
    for probabilities in scored:
        total += probabilities
        n_scored += 1
    return (total / n_scored).astype(np.float32), n_scored


def _scored_steps(model: EmotionModel, audio: Audio) -> Iterator[Probabilities]:
    """The probabilities of the steps by which a stream graph scores a clip, at least one."""
    step_samples = model.metadata.step_samples
    steps = stepper(model)
    first_scored_end = min(model.metadata.window_samples, len(audio))
    for end in range((len(audio) - 1) % step_samples + 1, len(audio) + 1, step_samples):
        step = audio[max(0, end - step_samples) : end]
        probabilities = steps.step(np.pad(step, (step_samples - len(step), 0)))
        if end >= first_scored_end:
            yield probabilities


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
