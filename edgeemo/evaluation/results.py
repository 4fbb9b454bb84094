"""What `edgeemo evaluate` finds out: the records that `evaluation.json` holds, from the top down."""

from __future__ import annotations

from dataclasses import dataclass

from edgeemo.records import Record

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Estimate(Record):
    """A score and its 95 % interval.

    Attributes:
        value: the score; None where there is nothing to compute it from.
        low: lower end of the interval.
        high: its upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Scores(Record):
    """How well clips are recognised. A clip of which no emotion is named counts as wrong.

    Attributes:
        n_clips: how many.
        n_speakers: how many speakers they are of; 0 where they are unknown.
        uar: unweighted average recall, by the most probable of all labels.
        uar_present: likewise, by the most probable of the labels that occur in these clips.
        uar_always: likewise, also where none is probable enough to be named; None in earlier files.
        war: weighted average recall, the accuracy.
        macro_f1: mean F1 of the classes that occur.
        recall: of each class; None where no clip is of it.
        unnamed: share of the clips of which no emotion is named.
    """

    n_clips: int
    n_speakers: int
    uar: Estimate
    uar_present: Estimate
    uar_always: Estimate = Estimate(value=None)
    war: Estimate
    macro_f1: Estimate
    recall: dict[str, float | None]
    unnamed: float


@dataclass(frozen=True, kw_only=True)
class CorpusScores(Record):
    """The scores on one corpus.

    Attributes:
        exposure: what the model knows of it: `never heard`, `speakers never heard`, `heard in training`, or
            `training not stated`.
        scores: of its clips.
        arousal_auc: of its clips, as in `ModelResult`.
    """

    exposure: str
    scores: Scores
    arousal_auc: Estimate


@dataclass(frozen=True, kw_only=True)
class SpeakerScores(Record):
    """The scores on one speaker.

    Attributes:
        n_clips: how many.
        uar: as in `Scores`, without an interval.
        uar_present: likewise.
    """

    n_clips: int
    uar: float
    uar_present: float


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin(Record):
    """The answers whose confidence lies in one bin.

    Attributes:
        n_clips: how many.
        confidence: their mean confidence.
        accuracy: share of them that is right.
    """

    n_clips: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Calibration(Record):
    """Whether the model is as often right as it claims, where it names an emotion.

    Confidence is the largest probability, calibrated as the model's users get it.

    Attributes:
        ece: expected calibration error.
        brier: mean squared distance of the probabilities from the truth, from 0 to 2.
        confidence: mean confidence.
        accuracy: share of the answers that is right.
        bins: for a reliability plot.
    """

    ece: Estimate
    brier: float | None
    confidence: float | None
    accuracy: float | None
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, kw_only=True)
class Coverage(Record):
    """What is left when the model may pass, from whichever probability on; not as `unsure_below` says.

    Attributes:
        coverage: share of the clips that it answers, the most confident ones.
        threshold: the least confidence among these.
        uar: of these.
        war: of these.
    """

    coverage: float
    threshold: float
    uar: float
    war: float


@dataclass(frozen=True, kw_only=True)
class SecondsHeard(Record):
    """What is recognised after the first seconds of clips, by the step that ends then.

    Attributes:
        seconds: from the start of the clip; None: the whole clip.
        n_clips: clips that last so long.
        uar: of the label at that step.
        uar_whole: of the label after the whole of the same clips.
    """

    seconds: float | None
    n_clips: int
    uar: Estimate
    uar_whole: float


@dataclass(frozen=True, kw_only=True)
class Decision(Record):
    """When the label of a clip's steps is the one that stays to its end.

    Attributes:
        n_clips: clips of at least two steps.
        median_s: half of them are decided by then, in seconds from the start.
        p90_s: nine in ten.
        changes: how often the label changes in a clip, on average.
    """

    n_clips: int
    median_s: float
    p90_s: float
    changes: float


@dataclass(frozen=True, kw_only=True)
class Robustness(Record):
    """What is recognised under a condition, beside the same clips as they are.

    Attributes:
        group: kind of condition.
        condition: what is done to the clips.
        n_clips: how many.
        uar: under the condition.
        clean: UAR of the same clips as they are.
        change: the difference, and its interval.
        unnamed: share of the clips of which no emotion is named.
    """

    group: str
    condition: str
    n_clips: int
    uar: float
    clean: float
    change: Estimate
    unnamed: float


@dataclass(frozen=True, kw_only=True)
class History(Record):
    """What is recognised after other speech of the speaker, beside the same clips heard as the first.

    Attributes:
        heard: when, such as `after 10 utterances`, `after 10 utterances in one emotion`, `after 10 utterances of two
            people in turn` or `after 20 s of neutral speech`; or all that the speaker has.
        n_clips: how many are judged.
        uar: after these.
        first: UAR of the same clips heard first.
        change: the difference, and its interval.
        arousal_auc: after these.
    """

    heard: str
    n_clips: int
    uar: float
    first: float
    change: Estimate
    arousal_auc: Estimate


@dataclass(frozen=True, kw_only=True)
class NoVoice(Record):
    """What the live loop says where nobody speaks.

    Attributes:
        sound: what it hears.
        n_steps: how many steps.
        named: share of them that name an emotion.
    """

    sound: str
    n_steps: int
    named: float


@dataclass(frozen=True, kw_only=True)
class PlainSpeech(Record):
    """What is said of ordinary speech.

    Attributes:
        n_clips: how many.
        neutral_or_unnamed: share that is named neutral, or nothing.
        shares: of each label.
    """

    n_clips: int
    neutral_or_unnamed: float
    shares: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class ModelResult(Record):
    """One model.

    Attributes:
        name: the variant.
        checksum: SHA-256 of the file.
        trained_on: corpora; empty where that is not stated.
        temperature: by which its probabilities were calibrated.
        unsure_below: it named no emotion that was less probable than this.
        scores: of all clips.
        corpora: by corpus.
        speakers: by speaker.
        confusion: how many clips of each label (rows) are named each label (columns), the last column none.
        arousal_auc: how often a clip of angry, fear, happy or surprise has more arousal than one of neutral, calm or
            sad; also where no emotion is probable enough to be named.
        calibration: of the clips of which an emotion is named.
        coverage: from all clips to the surest tenth.
        heard: by seconds.
        decision: None where no clip has two steps.
        robustness: by condition.
        history: by what of the speaker was heard before; of models that learn what a voice usually sounds like.
        no_voice: by sound.
        plain: None without `--plain`.
    """

    name: str
    checksum: str
    trained_on: tuple[str, ...]
    temperature: float = 1.0
    unsure_below: float = 0.0
    scores: Scores
    corpora: dict[str, CorpusScores]
    speakers: dict[str, SpeakerScores]
    confusion: tuple[tuple[int, ...], ...]
    arousal_auc: Estimate
    calibration: Calibration
    coverage: tuple[Coverage, ...]
    heard: tuple[SecondsHeard, ...]
    decision: Decision | None
    robustness: tuple[Robustness, ...]
    history: tuple[History, ...] = ()
    no_voice: tuple[NoVoice, ...]
    plain: PlainSpeech | None


@dataclass(frozen=True, kw_only=True)
class Difference(Record):
    """Two models on the same clips.

    Attributes:
        model: the one.
        other: the first that was named, which it is compared with.
        uar: UAR of the one less that of the other, also where none is probable enough to be named, with an interval
            over the same draws.
    """

    model: str
    other: str
    uar: Estimate


@dataclass(frozen=True, kw_only=True)
class Evaluation(Record):
    """All of it.

    Attributes:
        schema: version of this structure.
        edgeemo: version of the program.
        onnxruntime: version of what ran the models.
        date: when, ISO 8601.
        command: what was typed.
        data: what was read.
        clips: digest of the clips: two evaluations with the same one are of the same audio and labels.
        labels: in the order of all lists.
        left_out: why clips of the data were not scored, and how many.
        interval: what intervals are over: `speakers`, or `clips` where speakers are unknown.
        not_measured: conditions that this machine cannot make, and why.
        models: one each.
        differences: between the first model and each of the others.
    """

    schema: int = SCHEMA
    edgeemo: str
    onnxruntime: str
    date: str
    command: str
    data: str
    clips: str
    labels: tuple[str, ...]
    left_out: dict[str, int]
    interval: str
    not_measured: dict[str, str]
    models: tuple[ModelResult, ...]
    differences: tuple[Difference, ...]
