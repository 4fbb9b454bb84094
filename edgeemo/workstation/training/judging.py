"""How probabilities become answers: fitted to what a recipe says of corpora that were not in its training.

On speakers of known corpora, networks are surer than on strangers: a temperature fitted there is below 1, and makes
the calibration on other corpora worse. So it is fitted where each corpus was left out once, each weighing the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeemo.evaluation.measures import calibration_error
from edgeemo.records import Record

_TEMPERATURES = np.geomspace(0.25, 8, 121)
_LEAST = 1e-7

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What was said of a corpus that was left out.

    Attributes:
        corpus: its name.
        probabilities: shape `(n_clips, n_labels)`.
        truth: index of each label, shape `(n_clips,)`.
    """

    corpus: str
    probabilities: Floats
    truth: Indices


@dataclass(frozen=True, kw_only=True)
class Judging(Record):
    """A fitted judgement, and what it is worth on the corpora that it was fitted on.

    Attributes:
        temperature: see `edgeemo.Judgement`.
        unsure_below: likewise.
        precision: what was asked for: the share of named labels that are right.
        reached: that share, mean over the corpora.
        named: the share of clips of which a label is named, likewise.
        calibration_before: calibration error of each corpus, as the network gives probabilities.
        calibration_after: likewise, with the temperature.
    """

    temperature: float
    unsure_below: float
    precision: float
    reached: float
    named: float
    calibration_before: dict[str, float]
    calibration_after: dict[str, float]


def fit_judging(parts: Sequence[LeftOut], *, precision: float) -> Judging:
    """Fit temperature and threshold.

    The temperature has the least mean negative log-likelihood. The threshold is the least from which on the named
    labels are right often enough; the one that comes closest, where none does.

    Args:
        parts: of corpora with more than one label.
        precision: the share of named labels that are to be right.
    """
    losses = [np.mean([_loss(part, t) for part in parts]) for t in _TEMPERATURES]
    temperature = float(_TEMPERATURES[int(np.argmin(losses))])
    calibrated = [tempered(part.probabilities, temperature) for part in parts]
    thresholds = np.linspace(0, 0.99, 100)
    right, named = (np.array(x) for x in zip(*(_over(calibrated, parts, t) for t in thresholds), strict=True))
    enough = np.flatnonzero(right >= precision)
    chosen = int(enough[0]) if len(enough) else int(np.argmax(right))
    return Judging(
        temperature=round(temperature, 3),
        unsure_below=round(float(thresholds[chosen]), 2),
        precision=precision,
        reached=round(float(right[chosen]), 4),
        named=round(float(named[chosen]), 4),
        calibration_before={p.corpus: _error(p.probabilities, p.truth) for p in parts},
        calibration_after={p.corpus: _error(q, p.truth) for p, q in zip(parts, calibrated, strict=True)},
    )


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities as if the logits had been divided by a temperature.

    What `Judgement.calibrated` says of one clip, which no order of the labels changes by a digit; of all clips at
    once, for many temperatures.
    """
    powers = np.maximum(probabilities, _LEAST) ** (1 / temperature)
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _loss(part: LeftOut, temperature: float) -> float:
    shares = tempered(part.probabilities, temperature)
    return float(-np.log(shares[np.arange(len(part.truth)), part.truth]).mean())


def _over(calibrated: Sequence[Floats], parts: Sequence[LeftOut], threshold: float) -> tuple[float, float]:
    """The share of named labels that are right, and of clips that are named, mean over the corpora that have any."""
    right, named = [], []
    for shares, part in zip(calibrated, parts, strict=True):
        sure = shares.max(axis=1) >= threshold
        named.append(sure.mean())
        if sure.any():
            right.append((shares[sure].argmax(axis=1) == part.truth[sure]).mean())
    return float(np.mean(right)) if right else 0.0, float(np.mean(named))


def _error(probabilities: Floats, truth: Indices) -> float:
    return round(calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == truth), 4)
