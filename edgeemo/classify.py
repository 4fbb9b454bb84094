"""Scoring many clips, with one model or with the mean of several, such as those of different folds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgeemo.answer import Answer
from edgeemo.clip import Clip
from edgeemo.errors import AudioError, ModelError
from edgeemo.model import EmotionModel, Score, why_unlabelled
from edgeemo.profile import Profile

Audio = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.floating]
T = TypeVar("T")

_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class ClipScore(Score):
    """What a classifier says of one whole file: a `Score`; of several models, `n_windows` counts all of theirs.

    Attributes:
        path: the file.
    """

    path: Path

    def to_dict(self) -> dict[str, Any]:
        """What JSON keeps."""
        return {
            "path": str(self.path),
            "duration_s": round(self.duration_s, 3),
            **_said(self),
            "n_windows": self.n_windows,
            "error": None,
        }


@dataclass(frozen=True, kw_only=True)
class ClipMoment(Answer):
    """What a classifier says of one window of a clip, or of one step of a stream: a row of a timeline.

    Attributes:
        path: the file.
        start_s: where the window or step begins, in seconds from the start of the clip.
        end_s: where it ends. A stream graph has heard the clip from its start to here.
    """

    path: Path
    start_s: float
    end_s: float

    def to_dict(self) -> dict[str, Any]:
        """What JSON keeps."""
        return {
            "path": str(self.path),
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            **_said(self),
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

    def to_dict(self) -> dict[str, Any]:
        """What JSON keeps: the same keys as for a `ClipScore`."""
        return {
            "path": str(self.path),
            "duration_s": None,
            "label": None,
            "reason": None,
            "arousal": None,
            "probabilities": None,
            "n_windows": 0,
            "error": self.error,
        }


@dataclass(frozen=True)
class TimelineFailure(ClipFailure):
    """A file of which there is no timeline."""

    def to_dict(self) -> dict[str, Any]:
        """What JSON keeps: the same keys as for a `ClipMoment`."""
        of_clip = super().to_dict()
        of_moment = ("path", "start_s", "end_s", "label", "reason", "arousal", "probabilities", "error")
        return {key: of_clip.get(key) for key in of_moment}


Result = ClipScore | ClipMoment | ClipFailure


def columns(labels: tuple[str, ...], *, timeline: bool = False) -> list[str]:
    """The columns of a table of clips, or of a timeline, in order: what `to_row` gives."""
    facts = ["start_s", "end_s"] if timeline else ["duration_s", "n_windows"]
    return ["path", *facts, "label", "reason", "arousal", *(f"p_{name}" for name in labels), "error"]


def to_row(result: Result, labels: tuple[str, ...]) -> dict[str, Any]:
    """One row of a table: `to_dict`, with a column `p_LABEL` per class, None where nothing was judged."""
    row = result.to_dict()
    probabilities = row.pop("probabilities") or dict.fromkeys(labels)
    return row | {f"p_{name}": p for name, p in probabilities.items()}


class Classifier:
    """Scores whole clips with one model, or with the mean of several models' probabilities.

    Each model's probabilities are calibrated by its own temperature, and their mean is judged by what all have in
    common: from which probability a label is named, and which labels are agitated or calm.

    Args:
        models: at least one; of one sample rate, with the same labels in the same order, and unsure below the same
            probability. Modes, windows and temperatures may differ.
        profile: of the voice in all clips, for one model alone.
        channel: which channel of files is heard, from 1; None: the mean of all.

    Raises:
        ModelError: two of them differ in labels, sample rate, or in what an answer is.
        ProfileError: the profile is another model's, or the model learns nothing of a voice.
    """

    def __init__(
        self,
        models: Sequence[EmotionModel],
        *,
        profile: Profile | None = None,
        channel: int | None = None,
    ) -> None:
        self.models = tuple(models)
        self.profile = profile
        self.channel = channel
        if profile is not None:
            for model in self.models:
                model.stepper(profile)  # one that the profile is not for is told before the first clip
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
        self._judgement = dataclasses.replace(self.models[0].judgement, temperature=1.0)  # of calibrated ones
        for model in self.models[1:]:
            if dataclasses.replace(model.judgement, temperature=1.0) != self._judgement:
                raise ModelError(
                    f"{model.path} is unsure below {model.judgement.unsure_below:g}, {self.models[0].path} below "
                    f"{self._judgement.unsure_below:g}, or they differ in which labels are agitated; only models "
                    "that agree can be averaged (--unsure-below X holds for all)"
                )

    def score_audio(self, audio: Audio) -> tuple[Probabilities, int]:
        """Score a clip: the mean of what `EmotionModel.mean` gives for each model, calibrated; all weigh the same.

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
        clip = Clip.of_file(path, self.sample_rate, channel=self.channel)
        probabilities, n_windows, reason = self._mean(clip)
        reason = why_unlabelled(clip, self._step_samples, reason)
        answer = self._answer(probabilities, reason)
        return ClipScore(**vars(answer), path=path, duration_s=clip.duration_s, n_windows=n_windows)

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
        clip = Clip.of_file(path, self.sample_rate, channel=self.channel)
        too_short = why_unlabelled(clip, self._step_samples, None)
        for moments in zip(*(model.moments(clip, self.profile) for model in self.models), strict=True):
            first = moments[0]
            probabilities = self._calibrated([moment.probabilities for moment in moments])
            answer = self._answer(probabilities, too_short or first.reason)
            start_s, end_s = first.start / self.sample_rate, first.end / self.sample_rate
            yield ClipMoment(**vars(answer), path=path, start_s=start_s, end_s=end_s)

    def classify(self, paths: Iterable[Path]) -> Iterator[ClipScore | ClipFailure]:
        """Score files one after another, in order; one that cannot be read does not stop the rest."""
        for path in paths:
            yield from _or_failure(path, lambda path: iter([self.score_clip(path)]), ClipFailure)

    def timelines(self, paths: Iterable[Path]) -> Iterator[ClipMoment | ClipFailure]:
        """The rows of `timeline` of files, one after another; one that cannot be read does not stop the rest."""
        for path in paths:
            yield from _or_failure(path, self.timeline, TimelineFailure)

    def _mean(self, clip: Clip) -> tuple[Probabilities, int, str | None]:
        """The mean probabilities, the number of windows they are of, and why there is nothing to judge in them."""
        means = [model.mean(clip, self.profile) for model in self.models]
        reasons = {each.reason for each in means}
        mean = self._calibrated([each.probabilities for each in means])
        return mean, sum(each.n_windows for each in means), None if None in reasons else means[0].reason

    def _calibrated(self, of_models: Sequence[Probabilities]) -> Probabilities:
        """The mean of what each model gives, calibrated by its own temperature."""
        pairs = zip(self.models, of_models, strict=True)
        mean: Probabilities = np.mean([model.judgement.calibrated(p.tolist()) for model, p in pairs], axis=0)
        return mean

    def _answer(self, probabilities: Probabilities, reason: str | None) -> Answer:
        """What is said of calibrated probabilities."""
        return self._judgement.answer(
            dict(zip(self.labels, probabilities.tolist(), strict=True)), reason=reason
        )


def _or_failure(
    path: Path, scored: Callable[[Path], Iterator[T]], failure: type[ClipFailure]
) -> Iterator[T | ClipFailure]:
    try:
        yield from scored(path)
    except AudioError as error:
        yield failure(path, " ".join(str(error).split()))
    except OSError as error:  # a disk, a network share or permissions, before libsndfile saw the file
        yield failure(path, f"{path}: cannot be read ({error.strerror or error})")


def _said(answer: Answer) -> dict[str, Any]:
    """What JSON keeps of an answer: probabilities only where something was judged."""
    probabilities = {label: round(p, _DIGITS) for label, p in answer.probabilities.items()}
    return {
        "label": answer.label,
        "reason": answer.reason,
        "arousal": None if answer.arousal is None else round(answer.arousal, _DIGITS),
        "probabilities": probabilities if answer.judged else None,
    }
