"""The gate: every variant of a model is measured beside fp32, and one that is not worth shipping is told why.

Three things are compared: the probabilities with Keras', the recalls on speakers that the weights never heard, and
the time of a step with fp32's, side by side on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeemo.bench import machine
from edgeemo.bench.latency import Latency
from edgeemo.bench.report import side_by_side
from edgeemo.classify import Classifier
from edgeemo.evaluation import measures
from edgeemo.evaluation.bootstrap import Bootstrap, interval
from edgeemo.evidence import Parity, Recognition, Timing, Verdict
from edgeemo.metadata import Mode, Precision
from edgeemo.model import EmotionModel
from edgeemo.workstation.export.build import Progress
from edgeemo.workstation.export.parity import disagreement, parity
from edgeemo.workstation.export.source import Source
from edgeemo.workstation.graphs.network import CONTROL_FLOW
from edgeemo.workstation.graphs.quantize import n_saturating
from edgeemo.workstation.training.scores import scores

N_STEPS = 1000
ALLOWED_DROP = 0.005  # of UAR, beyond what the speakers' spread explains
# Of the median step. fp16 is for storage: computation is fp32's, so it must only not be slower beyond noise.
ALLOWED_RATIO = {Precision.INT8: 1.0, Precision.FP16: 1.1, Precision.FP32: 1.0}


@dataclass(frozen=True)
class HeldOut:
    """A clip of a speaker that no weight, epoch or calibration was chosen on.

    Attributes:
        audio: mono float32 at the model's sample rate, shape `(n_samples,)`.
        label: index of its class.
        speaker: who; empty where nobody knows.
    """

    audio: np.ndarray
    label: int
    speaker: str


@dataclass(frozen=True)
class Candidate:
    """A variant to be judged.

    Attributes:
        graph: as it was built.
        model: the file made of it, loaded.
    """

    graph: ir.Model
    model: EmotionModel


def judge(
    candidates: Mapping[str, Candidate],
    source: Source,
    held_out: Sequence[HeldOut] = (),
    *,
    force: bool = False,
    n_steps: int = N_STEPS,
    on_progress: Progress = lambda what, done, total: None,
) -> dict[str, Verdict]:
    """Measure variants and decide.

    Args:
        candidates: by the variants' names. The fp32 window is the reference of recognition, the fp32 variant of the
            same mode that of latency; fp32 streams are compared with fp32 windows. All that are referred to must be
            here.
        source: what they were made of.
        held_out: clips of speakers not trained on; without any, recognition is not judged.
        force: keep rejected variants, and say so.
        n_steps: timed steps per variant.
        on_progress: told what is being done.

    Returns:
        the verdicts by the variants' names, in the order of `candidates`.
    """
    models = {name: candidate.model for name, candidate in candidates.items()}
    answers: dict[str, np.ndarray] = {}
    if held_out:
        for i, (name, model) in enumerate(models.items()):
            on_progress("scoring clips", i, len(models))
            classifier = Classifier([model])
            answers[name] = np.stack([classifier.score_audio(clip.audio)[0] for clip in held_out])
    timed = side_by_side(list(models.values()), n_steps=n_steps, on_progress=on_progress)
    latencies = dict(zip(models, timed, strict=True))
    window = _fp32(models, Mode.WINDOW)
    verdicts = {}
    for name, model in models.items():
        m = model.metadata
        fp32 = _fp32(models, Mode.WINDOW if m.precision == Precision.FP32 else m.mode)
        found = parity(model, source)
        recognition = (
            compare_recognition(answers[name], answers[window], held_out, m.labels) if held_out else None
        )
        latency = _timing(latencies[name], latencies[fp32], fp32)
        reasons = [
            *control_flow(candidates[name].graph),
            *saturating(candidates[name].graph),
            *broken_parity(found, m.precision, source.recipe.export.quantized_tolerance),
            *(lost_recognition(recognition) if recognition else []),
            *(too_slow(latency, m.precision) if name != fp32 else []),
        ]
        verdicts[name] = Verdict(
            variant=name,
            reasons=tuple(reasons),
            forced=force and bool(reasons),
            parity=found,
            recognition=recognition,
            latency=latency,
        )
    return verdicts


# The rules. Each gives the reasons for a rejection, none if there is none.


def control_flow(model: ir.Model) -> list[str]:
    """Recurrence as a loop, several times slower than a native node."""
    found = sorted({node.op_type for node in model.graph} & set(CONTROL_FLOW))
    return [f"it has {', '.join(found)} where a native recurrent node belongs"] if found else []


def saturating(model: ir.Model) -> list[str]:
    """int8 weights by which a file would give other labels on older x86 processors than on newer ones."""
    n = n_saturating(model)
    return [f"{n} of its int8 weights may saturate on x86 without VNNI"] if n else []


def broken_parity(found: Parity, precision: Precision, quantized_tolerance: float) -> list[str]:
    """In fp32 the largest difference counts; rounded weights are allowed a mean difference."""
    if precision == Precision.FP32:
        return [] if found.max_difference <= found.tolerance else [disagreement(found)]
    if found.mean_difference <= quantized_tolerance:
        return []
    return [
        f"its probabilities differ from {found.reference}'s by {found.mean_difference:.2g} on average, more than "
        f"{quantized_tolerance:g}"
    ]


def lost_recognition(recognition: Recognition) -> list[str]:
    """A loss of UAR that the choice of speakers does not explain."""
    low, high = recognition.uar_change_interval
    if high >= -ALLOWED_DROP:
        return []
    n = recognition.n_speakers
    heard = f"{n} speakers" if n else f"{recognition.n_clips} clips of unknown speakers"
    return [
        f"UAR on {heard} changes by {100 * recognition.uar_change:.1f} "
        f"points (95 % interval {100 * low:.1f} to {100 * high:.1f}); at most {100 * ALLOWED_DROP:g} may be lost"
    ]


def too_slow(latency: Timing, precision: Precision) -> list[str]:
    """A variant that is not faster has no reason to be used."""
    if latency.ratio < ALLOWED_RATIO[precision]:
        return []
    return [
        f"a step takes {latency.ratio:.2f} times as long as one of {latency.compared_with} on this machine"
    ]


def compare_recognition(
    answers: np.ndarray, reference: np.ndarray, clips: Sequence[HeldOut], labels: tuple[str, ...]
) -> Recognition:
    """UAR of a variant and its change against a reference, both on the same clips.

    The intervals are those of a bootstrap over speakers; over clips, where speakers are unknown.

    Args:
        answers: probabilities of the variant, shape `(n_clips, n_labels)`.
        reference: likewise of the reference.
        clips: the clips.
        labels: class names.
    """
    truth = np.array([clip.label for clip in clips])
    known = all(clip.speaker for clip in clips)
    bootstrap = Bootstrap([clip.speaker if known else str(i) for i, clip in enumerate(clips)])
    uar, reference_uar = (
        measures.uar(bootstrap.confusions(truth, p.argmax(axis=1), len(labels))) for p in (answers, reference)
    )
    found = scores(truth, answers, labels)
    before = scores(truth, reference, labels)
    return Recognition(
        uar=found.uar,
        uar_interval=interval(uar),
        uar_change=found.uar - before.uar,
        uar_change_interval=interval(uar - reference_uar),
        recall_change={
            label: None if now is None or then is None else now - then
            for label, now, then in (
                (label, found.recall[label], before.recall[label]) for label in found.recall
            )
        },
        n_speakers=bootstrap.n_speakers if known else 0,
        n_clips=len(clips),
    )


def _timing(own: Latency, reference: Latency, name: str) -> Timing:
    return Timing(
        p50_ms=own.p50_ms,
        p99_ms=own.p99_ms,
        n_steps=own.n,
        compared_with=name,
        ratio=own.p50_ms / reference.p50_ms,
        machine=machine.describe().caption(),
    )


def _fp32(models: Mapping[str, EmotionModel], mode: Mode) -> str:
    """The variant that others are compared with."""
    for name, model in models.items():
        if (model.metadata.mode, model.metadata.precision) == (mode, Precision.FP32):
            return name
    raise KeyError(f"no {mode} in fp32, which other variants are compared with")
