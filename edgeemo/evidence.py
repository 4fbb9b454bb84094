"""How a model was made and judged: what its file says of its training, scores, parity and verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeemo.records import Record
from edgeemo.wording import counted


@dataclass(frozen=True, kw_only=True)
class Training(Record):
    """How the weights were made: one fold and seed of a training run.

    Attributes:
        protocol: how the data were split, such as `speaker`.
        fold: which split of the protocol, such as `fold-1`.
        seed: of the weights and the augmentation.
        corpora: names of the corpora.
        label_map: name of the label map.
        split: digest of the clips or images in all three parts; None in older files.
        n_clips: clips or images that trained the weights.
        train_speakers, validation_speakers, test_speakers: who speaks in each part; empty for images.
        epoch: the one with the lowest validation loss, whose weights these are.
        recipe: the recipe, as JSON.
    """

    protocol: str
    fold: str
    seed: int
    corpora: tuple[str, ...]
    label_map: str
    split: str | None = None
    n_clips: int
    train_speakers: tuple[str, ...]
    validation_speakers: tuple[str, ...]
    test_speakers: tuple[str, ...]
    epoch: int
    recipe: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ScoreRow(Record):
    """Scores on one corpus, with how they were measured.

    Attributes:
        part: `test` or `validation`.
        protocol, fold: as in `Training`.
        corpus: name of the corpus.
        seeds: of the trainings.
        n_speakers: how many speakers the clips are of; 0 for images, and where they are unknown.
        n_clips: how many clips or images.
        uar: unweighted average recall.
        war: weighted average recall, the accuracy.
        macro_f1: mean F1 over the classes.
        recall: of each class; None where no clip is of it.
    """

    part: str
    protocol: str
    corpus: str
    fold: str
    seeds: tuple[int, ...]
    n_speakers: int
    n_clips: int
    uar: float
    war: float
    macro_f1: float
    recall: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Parity(Record):
    """How far a graph is from the model that it was made of, on the same inputs.

    Attributes:
        reference: what it was compared with: "Keras", or the name of an ONNX file.
        max_difference: largest difference of a probability.
        mean_difference: mean difference of a probability.
        tolerance: what `max_difference` may be in fp32.
        n_clips, n_windows: of a model of audio: how many clips were compared, and how many windows they have.
        n_images: of a model of images: how many were compared.
        same_label: share of the windows or images that get the same label, from 0 to 1.
    """

    reference: str
    max_difference: float
    mean_difference: float
    tolerance: float
    n_clips: int | None = None
    n_windows: int | None = None
    n_images: int | None = None
    same_label: float

    @property
    def inputs(self) -> str:
        """On what, for a person: `3 clips`, `256 images`."""
        return counted(self.n_clips, "clip") if self.n_images is None else counted(self.n_images, "image")

    def to_dict(self) -> dict[str, Any]:
        """As `Record.to_dict`, with the counts that there are."""
        return {name: value for name, value in super().to_dict().items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Recognition(Record):
    """How well a variant recognises held-out clips, and what that is against the fp32 window graph.

    Attributes:
        uar: unweighted average recall.
        uar_interval: its 95 % interval, by a bootstrap over speakers.
        uar_change: against the fp32 window graph.
        uar_change_interval: its 95 % interval.
        recall_change: of each class, likewise; None where no clip is of it.
        n_speakers, n_clips: how many.
    """

    uar: float
    uar_interval: tuple[float, float]
    uar_change: float
    uar_change_interval: tuple[float, float]
    recall_change: dict[str, float | None]
    n_speakers: int
    n_clips: int


@dataclass(frozen=True, kw_only=True)
class Timing(Record):
    """What a step of a variant takes, beside another variant's on the same machine.

    Attributes:
        p50_ms: median, front end included.
        p99_ms: what 99 steps in 100 stay below.
        n_steps: how many were timed.
        compared_with: the other variant.
        ratio: of the medians.
        machine: which one, in words.
    """

    p50_ms: float
    p99_ms: float
    n_steps: int
    compared_with: str
    ratio: float
    machine: str


@dataclass(frozen=True, kw_only=True)
class Verdict(Record):
    """What the export gate says of one variant, and what it measured.

    Attributes:
        variant: the file's name without its suffix.
        reasons: why it is rejected; empty if it is not.
        forced: rejected, and kept all the same.
        parity: with the source model; None where the variant could not be built.
        recognition: on held-out clips; None where there were none.
        latency: of a step; None where the variant could not be built.
    """

    variant: str
    reasons: tuple[str, ...] = ()
    forced: bool = False
    parity: Parity | None = None
    recognition: Recognition | None = None
    latency: Timing | None = None

    @property
    def accepted(self) -> bool:
        """Whether it passed, or was forced."""
        return not self.reasons or self.forced

    def to_dict(self) -> dict[str, Any]:
        """As `Record.to_dict`, and whether it is accepted."""
        return {"accepted": self.accepted, **super().to_dict()}


@dataclass(frozen=True, kw_only=True)
class Quantization(Record):
    """How an int8 network came about.

    Attributes:
        keep_float: names of the nodes that stayed float, because that is faster.
        network_ms: median times of the network alone: `fp32`, `int8` (everything quantised), `chosen`.
    """

    keep_float: tuple[str, ...]
    network_ms: dict[str, float]
