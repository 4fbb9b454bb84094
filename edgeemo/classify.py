"""Scoring many clips, with one model or with the mean of several, such as those of different folds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgeemo.clip import SILENCE, Clip
from edgeemo.errors import AudioError, ModelError
from edgeemo.model import EmotionModel, why_unlabelled

Audio = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ClipScore:
    """What a classifier says of one whole clip.

    Attributes:
        path: the file.
        duration_s: seconds of audio in it.
        label: the most probable class; None where there is none to name.
        probabilities: mean over the windows, shape `(n_labels,)`, summing to 1, in the order of the model's
            labels. Where `label` is None they describe silence, and tables leave them out.
        n_windows: how many windows that mean is over, or steps of a stream graph; of several models: all of theirs.
        reason: why there is no label, as in `edgeemo.Score`; None where there is one.
    """

    path: Path
    duration_s: float
    label: str | None
    probabilities: Probabilities
    n_windows: int
    reason: str | None

    def to_dict(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """What JSON keeps; `labels` are the model's, for the names of the probabilities."""
        return {
            "path": str(self.path),
            "duration_s": round(self.duration_s, 3),
            "label": self.label,
            "reason": self.reason,
            "probabilities": None if self.label is None else _named(self.probabilities, labels),
            "n_windows": self.n_windows,
            "error": None,
        }


@dataclass(frozen=True, eq=False)
class ClipMoment:
    """What a classifier says of one window of a clip, or of one step of a stream: a row of a timeline.

    Attributes:
        path: the file.
        start_s: where the window or step begins, in seconds from the start of the clip.
        end_s: where it ends. A stream graph has heard the clip from its start to here.
        label: the most probable class; None in silence.
        probabilities: shape `(n_labels,)`, summing to 1. Where `label` is None they describe silence, and tables
            leave them out.
        reason: why there is no label; None where there is one.
    """

    path: Path
    start_s: float
    end_s: float
    label: str | None
    probabilities: Probabilities
    reason: str | None

    def to_dict(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """What JSON keeps; `labels` are the model's, for the names of the probabilities."""
        return {
            "path": str(self.path),
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "label": self.label,
            "reason": self.reason,
            "probabilities": None if self.label is None else _named(self.probabilities, labels),
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
            "reason": None,
            "probabilities": None,
            "n_windows": 0,
            "error": self.error,
        }


@dataclass(frozen=True)
class TimelineFailure(ClipFailure):
    """A file of which there is no timeline."""

    def to_dict(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """What JSON keeps: the same keys as for a `ClipMoment`."""
        of_clip = super().to_dict(labels)
        of_moment = ("path", "start_s", "end_s", "label", "reason", "probabilities", "error")
        return {key: of_clip.get(key) for key in of_moment}


Result = ClipScore | ClipMoment | ClipFailure


def columns(labels: tuple[str, ...], *, timeline: bool = False) -> list[str]:
    """The columns of a table of clips, or of a timeline, in order: what `to_row` gives."""
    facts = ["start_s", "end_s"] if timeline else ["duration_s", "n_windows"]
    return ["path", *facts, "label", "reason", *(f"p_{name}" for name in labels), "error"]


def to_row(result: Result, labels: tuple[str, ...]) -> dict[str, Any]:
    """One row of a table: `to_dict`, with a column `p_LABEL` per class, None where no emotion is named."""
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
        self._step_samples = max(model.metadata.step_samples for model in self.models)
        for model in self.models[1:]:
            rate = model.metadata.features.sample_rate
            if model.labels != self.labels or rate != self.sample_rate:
                raise ModelError(
                    f"{model.path} has labels {', '.join(model.labels)} at {rate} Hz, {self.models[0].path} "
                    f"{', '.join(self.labels)} at {self.sample_rate} Hz; only models with the same labels in the "
                    "same order and of the same sample rate can be averaged"
                )

    def score_audio(self, audio: Audio) -> tuple[Probabilities, int]:
        """Score a clip: the mean of what `EmotionModel.mean` gives for each model, each of the same weight.

        Args:
            audio: mono float32 in [-1, 1] at `sample_rate`, shape `(n_samples,)`, at least one sample.

        Returns:
            probabilities, shape `(n_labels,)`, summing to 1, and the number of windows or steps that they are of;
            also of silence.
        """
        probabilities, n_windows, _ = self._mean(Clip.of_samples(audio, self.sample_rate, self.sample_rate))
        return probabilities, n_windows

    def score_clip(self, path: Path) -> ClipScore:
        """Score a file of any length and rate.

        Raises:
            AudioError: it cannot be read, or holds no audio.
        """
        clip = Clip.of_file(path, self.sample_rate)
        probabilities, n_windows, silent = self._mean(clip)
        reason = why_unlabelled(clip, self._step_samples, is_silent=silent)
        label = self._label(probabilities) if reason is None else None
        return ClipScore(path, clip.duration_s, label, probabilities, n_windows, reason)

    def timeline(self, path: Path) -> Iterator[ClipMoment]:
        """Each window of a file of any length and rate, or each step: those that `score_clip` takes the mean of.

        Raises:
            AudioError: it cannot be read, or holds no audio.
            ModelError: the models differ in mode, window or step: they do not hear the same moments.
        """
        kinds = {
            (m.mode, m.window_samples, m.step_samples) for m in (model.metadata for model in self.models)
        }
        if len(kinds) > 1:
            raise ModelError(
                f"{len(self.models)} models that differ in mode, window or step; expected the same for a timeline"
            )
        clip = Clip.of_file(path, self.sample_rate)
        too_short = why_unlabelled(clip, self._step_samples, is_silent=False)
        for moments in zip(*(model.moments(clip) for model in self.models), strict=True):
            first = moments[0]
            probabilities = np.mean([moment.probabilities for moment in moments], axis=0)
            reason = too_short or (SILENCE if first.is_silent else None)
            label = self._label(probabilities) if reason is None else None
            start_s, end_s = first.start / self.sample_rate, first.end / self.sample_rate
            yield ClipMoment(path, start_s, end_s, label, probabilities, reason)

    def classify(self, paths: Iterable[Path]) -> Iterator[ClipScore | ClipFailure]:
        """Score files one after another, in order; one that cannot be read does not stop the rest."""
        for path in paths:
            yield from _or_failure(path, lambda path: iter([self.score_clip(path)]), ClipFailure)

    def timelines(self, paths: Iterable[Path]) -> Iterator[ClipMoment | ClipFailure]:
        """The rows of `timeline` of files, one after another; one that cannot be read does not stop the rest."""
        for path in paths:
            yield from _or_failure(path, self.timeline, TimelineFailure)

    def _mean(self, clip: Clip) -> tuple[Probabilities, int, bool]:
        """The mean probabilities, the number of windows they are of, and whether all of them are silent."""
        means = [model.mean(clip) for model in self.models]
        mean = np.mean([each.probabilities for each in means], axis=0)
        silent = all(each.is_silent for each in means)
        return mean.astype(np.float32), sum(each.n_windows for each in means), silent

    def _label(self, probabilities: Probabilities) -> str:
        return self.labels[int(probabilities.argmax())]


def _or_failure(
    path: Path, scored: Callable[[Path], Iterator[T]], failure: type[ClipFailure]
) -> Iterator[T | ClipFailure]:
    try:
        yield from scored(path)
    except AudioError as error:
        yield failure(path, " ".join(str(error).split()))
    except OSError as error:  # a disk, a network share or permissions, before libsndfile saw the file
        yield failure(path, f"{path}: cannot be read ({error.strerror or error})")


def _named(probabilities: Probabilities, labels: tuple[str, ...]) -> dict[str, float]:
    return {name: round(float(p), 6) for name, p in zip(labels, probabilities, strict=True)}
