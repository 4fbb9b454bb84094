"""From answers to results. Pure: nothing is read, and no model runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgeemo.answer import Judgement
from edgeemo.corpora.labels import AROUSAL
from edgeemo.evaluation.bootstrap import N_RESAMPLES, Bootstrap, interval
from edgeemo.evaluation.material import UNKNOWN_SPEAKERS, Material, exposure, has_heard
from edgeemo.evaluation.measures import (
    Floats,
    Indices,
    area_under_curve,
    brier,
    calibration_error,
    confusion,
    macro_f1,
    recall,
    reliability,
    uar,
    war,
)
from edgeemo.evaluation.results import (
    Calibration,
    CorpusScores,
    Coverage,
    Decision,
    Estimate,
    History,
    ReliabilityBin,
    Robustness,
    Scores,
    SecondsHeard,
    SpeakerScores,
)
from edgeemo.evidence import Training

SECONDS = (0.5, 1.0, 1.5, 2.0, 3.0)
COVERAGES = tuple(n / 10 for n in range(10, 0, -1))
_DIGITS = 6
_N_SORTING_RESAMPLES = 400
"""Of what sorts all clips in each draw: fewer than of a confusion matrix."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model said of the clips of a material.

    Attributes:
        material: the clips.
        probabilities: calibrated, shape `(n_clips, n_labels)`; zeros where nothing was judged.
        judged: whether there was something to judge, shape `(n_clips,)`.
        named: whether an emotion is named, shape `(n_clips,)`.
        arousal: shape `(n_clips,)`; NaN where it is not claimed.
    """

    material: Material
    probabilities: Floats
    judged: npt.NDArray[np.bool_]
    named: npt.NDArray[np.bool_]
    arousal: Floats

    @classmethod
    def from_lists(
        cls,
        material: Material,
        answers: Sequence[Sequence[float] | None],
        judgement: Judgement | None = None,
    ) -> Answers:
        """Of what a journal holds of each clip.

        Args:
            material: the clips.
            answers: of each, the mean probabilities as the graph gives them; None where there is nothing to judge.
            judgement: how they become answers; without it, they are not calibrated, and always name an emotion.
        """
        labels, judgement = material.labels, judgement or Judgement.of(material.labels)
        said = [None if p is None else judgement.answer(dict(zip(labels, p, strict=True))) for p in answers]
        nothing = [0.0] * len(labels)
        return cls(
            material,
            np.array([nothing if a is None else list(a.probabilities.values()) for a in said], np.float64),
            np.array([a is not None for a in said]),
            np.array([a is not None and a.label is not None for a in said]),
            np.array([np.nan if a is None or a.arousal is None else a.arousal for a in said]),
        )

    def of(self, indices: Indices) -> Answers:
        """Those of some of the clips."""
        return Answers(
            self.material.of(indices),
            self.probabilities[indices],
            self.judged[indices],
            self.named[indices],
            self.arousal[indices],
        )

    @property
    def labels(self) -> Indices:
        """The index of each label; the number of labels where none is named."""
        return np.where(self.named, self.probabilities.argmax(axis=1), len(self.material.labels))

    @property
    def labels_present(self) -> Indices:
        """Likewise, among the labels that occur."""
        present = np.unique(self.material.truth)
        best = present[self.probabilities[:, present].argmax(axis=1)]
        return np.where(self.named, best, len(self.material.labels))

    @property
    def always(self) -> Answers:
        """As if an emotion were named wherever there was something to judge."""
        return replace(self, named=self.judged)

    def counts(self) -> Indices:
        """The confusion matrix, shape `(n_labels + 1, n_labels + 1)`: the last class is none."""
        return confusion(self.material.truth, self.labels, len(self.material.labels) + 1)


def draws_of(material: Material, n_resamples: int = N_RESAMPLES) -> Bootstrap:
    """Draws of the speakers of a material, or of its clips where speakers are unknown."""
    names = material.speakers if material.over_speakers else [str(i) for i in range(len(material.clips))]
    return Bootstrap(names, n_resamples)


def scores(answers: Answers) -> Scores:
    """How well clips are recognised."""
    material, n = answers.material, len(answers.material.labels) + 1
    draws = draws_of(material)

    def counted(labels: Indices) -> tuple[Indices, Floats]:
        return confusion(material.truth, labels, n), draws.confusions(material.truth, labels, n)

    all_labels, present = counted(answers.labels), counted(answers.labels_present)

    def estimate(measure: Callable[..., Floats], counts: tuple[Indices, Floats]) -> Estimate:
        return _estimate(float(measure(counts[0])), measure(counts[1]))

    return Scores(
        n_clips=len(material.clips),
        n_speakers=material.n_speakers,
        uar=estimate(uar, all_labels),
        uar_present=estimate(uar, present),
        uar_always=estimate(uar, counted(answers.always.labels_present)),
        war=estimate(war, all_labels),
        macro_f1=estimate(macro_f1, all_labels),
        recall=_by_label(material.labels, recall(all_labels[0])[:-1]),
        unnamed=_share(~answers.named),
    )


def by_corpus(answers: Answers, training: Training | None) -> dict[str, CorpusScores]:
    """The scores on each corpus."""
    clips = answers.material.clips
    found = {}
    for corpus, of in _groups([clip.corpus for clip in clips]).items():
        part = answers.of(of)
        heard = any(has_heard(training, clip) for clip in part.material.clips)
        found[corpus] = CorpusScores(
            exposure="heard in training" if heard else exposure(training, corpus),
            scores=scores(part),
            arousal_auc=arousal_auc(part),
        )
    return found


def by_speaker(answers: Answers) -> dict[str, SpeakerScores]:
    """The scores on each speaker who is known."""
    found = {}
    for speaker, of in _groups(answers.material.speakers).items():
        if speaker in UNKNOWN_SPEAKERS:
            continue
        part = answers.of(of)
        n = len(part.material.labels) + 1
        found[speaker] = SpeakerScores(
            n_clips=len(of),
            uar=_number(uar(part.counts())),
            uar_present=_number(uar(confusion(part.material.truth, part.labels_present, n))),
        )
    return found


def arousal_auc(answers: Answers) -> Estimate:
    """How well agitated speech is told from calm speech, where arousal is claimed; other emotions are left out."""
    of_label = np.array([AROUSAL.get(label, np.nan) for label in answers.material.labels])
    truth = of_label[answers.material.truth]
    rows = np.flatnonzero(~np.isnan(answers.arousal) & ~np.isnan(truth))
    part, positive = answers.of(rows), truth[rows] == 1
    value = area_under_curve(positive, part.arousal)
    if np.isnan(value):
        return Estimate(value=None)
    draws = draws_of(part.material, _N_SORTING_RESAMPLES)
    return _estimate(value, draws.each(lambda of: area_under_curve(positive[of], part.arousal[of])))


def calibration(answers: Answers) -> Calibration:
    """Whether the model is as often right as it claims, where it names an emotion."""
    part = answers.of(np.flatnonzero(answers.named))
    if not len(part.material.clips):
        return Calibration(ece=Estimate(value=None), brier=None, confidence=None, accuracy=None, bins=())
    confidence, right = part.probabilities.max(axis=1), part.labels == part.material.truth
    draws = draws_of(part.material, _N_SORTING_RESAMPLES)
    return Calibration(
        ece=_estimate(
            calibration_error(confidence, right),
            draws.each(lambda of: calibration_error(confidence[of], right[of])),
        ),
        brier=_number(brier(part.probabilities, part.material.truth)),
        confidence=_number(confidence.mean()),
        accuracy=_share(right),
        bins=tuple(
            ReliabilityBin(n_clips=b.n_clips, confidence=_number(b.confidence), accuracy=_number(b.accuracy))
            for b in reliability(confidence, right)
        ),
    )


def coverage(answers: Answers) -> tuple[Coverage, ...]:
    """What is left when the model passes on the clips that it is least sure of, whatever it is told to pass on."""
    answers = replace(answers, named=answers.judged)
    confidence = answers.probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    rows = []
    for share in COVERAGES:
        kept = order[: max(1, round(share * len(order)))]
        counts = answers.of(kept).counts()
        rows.append(
            Coverage(
                coverage=share,
                threshold=_number(confidence[kept[-1]]),
                uar=_number(uar(counts)),
                war=_number(war(counts)),
            )
        )
    return tuple(rows)


def step_labels(
    steps: Sequence[Sequence[Sequence[float]]], labels: Sequence[str], judgement: Judgement
) -> list[Indices]:
    """The index of the label at each of each clip's steps; the number of labels where none is named.

    Args:
        steps: the probabilities of each clip's steps, as the graph gives them.
        labels: in their order.
        judgement: how they become answers.
    """
    places: dict[str | None, int] = {None: len(labels), **{label: i for i, label in enumerate(labels)}}

    def place(probabilities: Sequence[float]) -> int:
        return places[judgement.answer(dict(zip(labels, probabilities, strict=True))).label]

    return [np.array([place(probabilities) for probabilities in each], np.int64) for each in steps]


def seconds_heard(steps: Sequence[Indices], whole: Answers, step_s: float) -> tuple[SecondsHeard, ...]:
    """What is recognised after the first seconds.

    Args:
        steps: what `step_labels` gives of each clip, shape `(n_steps,)` each.
        whole: what the model said of the same clips, whole.
        step_s: the length of a step.
    """
    rows = []
    n = len(whole.material.labels) + 1
    for seconds in SECONDS:
        place = int(seconds / step_s + 1e-9) - 1
        of = np.array([i for i, each in enumerate(steps) if 0 <= place < len(each)], np.int64)
        if not len(of):
            continue
        part = whole.of(of)
        labels = np.array([steps[i][place] for i in of], np.int64)
        truth = part.material.truth
        rows.append(
            SecondsHeard(
                seconds=seconds,
                n_clips=len(of),
                uar=_estimate(
                    _number(uar(confusion(truth, labels, n))),
                    uar(draws_of(part.material).confusions(truth, labels, n)),
                ),
                uar_whole=_number(uar(part.counts())),
            )
        )
    draws = draws_of(whole.material).confusions(whole.material.truth, whole.labels, n)
    value = _number(uar(whole.counts()))
    rows.append(
        SecondsHeard(
            seconds=None, n_clips=len(whole.named), uar=_estimate(value, uar(draws)), uar_whole=value
        )
    )
    return tuple(rows)


def decision(steps: Sequence[Indices], step_s: float) -> Decision | None:
    """When the label is the one that stays. Arguments as of `seconds_heard`."""
    labels = [each for each in steps if len(each) > 1]
    if not labels:
        return None
    decided = [step_s * (max(np.flatnonzero(each != each[-1]), default=-1) + 2) for each in labels]
    return Decision(
        n_clips=len(labels),
        median_s=_number(np.median(decided)),
        p90_s=_number(np.percentile(decided, 90)),
        changes=_number(np.mean([np.count_nonzero(np.diff(each)) for each in labels])),
    )


def robustness(group: str, condition: str, under: Answers, clean: Answers) -> Robustness:
    """What a condition costs: both are of the same clips."""
    value, before = _number(uar(under.counts())), _number(uar(clean.counts()))
    return Robustness(
        group=group,
        condition=condition,
        n_clips=len(under.named),
        uar=value,
        clean=before,
        change=difference(under, clean),
        unnamed=_share(~under.named),
    )


def history(heard: str, after: Answers, first: Answers) -> History:
    """What it is worth to have heard the speaker before: both answers are to the same clips."""
    return History(
        heard=heard,
        n_clips=len(after.named),
        uar=_number(uar(after.counts())),
        first=_number(uar(first.counts())),
        change=difference(after, first),
        arousal_auc=arousal_auc(after),
    )


def difference(one: Answers, other: Answers) -> Estimate:
    """The UAR of the one less that of the other, of the same clips, with an interval over the same draws."""
    truth, n = one.material.truth, len(one.material.labels) + 1
    draws = draws_of(one.material)
    changes = uar(draws.confusions(truth, one.labels, n)) - uar(draws.confusions(truth, other.labels, n))
    return _estimate(_number(uar(one.counts())) - _number(uar(other.counts())), changes)


def _estimate(value: float, draws: Floats) -> Estimate:
    low, high = interval(draws)
    return Estimate(value=_number(value), low=_number(low), high=_number(high))


def _groups(names: Sequence[str]) -> Mapping[str, Indices]:
    """The positions of each name, by the names in alphabetical order."""
    every = np.asarray(names, dtype=str)
    return {str(name): np.flatnonzero(every == name) for name in np.unique(every)}


def _by_label(labels: Sequence[str], values: Floats) -> dict[str, float | None]:
    return {label: None if np.isnan(v) else _number(v) for label, v in zip(labels, values, strict=True)}


def _share(which: npt.NDArray[np.bool_]) -> float:
    return _number(np.mean(which))


def _number(value: npt.NDArray[np.floating] | np.floating | float) -> float:
    return round(float(value), _DIGITS)
