"""From probabilities to what is said: calibrated probabilities, a label or the reason why there is none, arousal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgeemo.corpora.labels import AROUSAL
from edgeemo.records import Record

UNSURE = "unsure"
"""The reason where no label is probable enough."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is said of a clip, a window or a step.

    Attributes:
        label: the most probable emotion; None where none is named.
        reason: why there is no label: `unsure` where none is probable enough, else why nothing was judged, such as
            `silence`. None where there is one.
        probabilities: label -> calibrated probability, in the model's order, summing to 1. Where nothing was judged,
            they describe silence or noise.
        arousal: from 0 (calm) to 1 (agitated), also where no label is probable enough. None where nothing was judged,
            or where the model's labels do not tell the two apart.
    """

    label: str | None
    reason: str | None
    probabilities: dict[str, float]
    arousal: float | None

    @property
    def judged(self) -> bool:
        """Whether there was something to judge: a label is named, or none is probable enough."""
        return self.reason in (None, UNSURE)


@dataclass(frozen=True, kw_only=True)
class Judgement(Record):
    """How probabilities become an answer; a model file carries its own.

    Attributes:
        temperature: calibrates probabilities as if the network's logits were divided by it: above 1, the model claims
            less.
        unsure_below: the most probable label is named only if its calibrated probability is at least this: from 0,
            which is always, to below 1.
        needs_voice: nothing is judged where nobody speaks, by the voice detector; else any sound is judged.
        arousal: 1 for agitated labels, 0 for calm ones; labels that are neither are absent.

    Raises:
        ValueError: one line: a value, and what it must be.

    Examples:
        >>> import edgeemo
        >>> careful = edgeemo.Judgement(unsure_below=0.6, arousal={"angry": 1.0, "sad": 0.0})
        >>> answer = careful.answer({"angry": 0.3, "disgust": 0.5, "sad": 0.2})
        >>> answer.label, answer.reason, round(answer.arousal, 2)
        (None, 'unsure', 0.6)
    """

    temperature: float = 1.0
    unsure_below: float = 0.0
    needs_voice: bool = True
    arousal: dict[str, float] = field(hash=False)

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature is {self.temperature!r}; it must be positive")
        if not 0 <= self.unsure_below < 1:
            raise ValueError(f"unsure_below is {self.unsure_below!r}; it must be from 0 to below 1")
        for label, value in self.arousal.items():
            if not 0 <= value <= 1:
                raise ValueError(f"arousal of {label[:50]!r} is {value!r}; it must be from 0 to 1")

    @classmethod
    def of(cls, labels: Iterable[str]) -> Judgement:
        """The default for these labels: probabilities stay as they are, and a label is always named."""
        return cls(arousal={label: AROUSAL[label] for label in labels if label in AROUSAL})

    def calibrated(self, probabilities: Sequence[float]) -> list[float]:
        """Probabilities as the model should have claimed them; their order stays.

        Args:
            probabilities: of all labels, summing to 1.

        Returns:
            likewise.
        """
        top = max(probabilities)
        if self.temperature == 1 or not top > 0:
            return list(probabilities)
        powers = [(max(p, 0.0) / top) ** (1 / self.temperature) for p in probabilities]
        total = math.fsum(powers)
        return [power / total for power in powers]

    def answer(self, probabilities: Mapping[str, float], *, reason: str | None = None) -> Answer:
        """Calibrate and judge.

        Args:
            probabilities: label -> probability as the graph gives it, or the mean of such over a clip; summing to 1.
            reason: why there is nothing to judge, such as `silence`; None where there is.
        """
        found = dict(zip(probabilities, self.calibrated(list(probabilities.values())), strict=True))
        if reason is not None:
            return Answer(label=None, reason=reason, probabilities=found, arousal=None)
        label = max(found, key=found.__getitem__)
        unsure = found[label] < self.unsure_below
        return Answer(
            label=None if unsure else label,
            reason=UNSURE if unsure else None,
            probabilities=found,
            arousal=self._arousal(found),
        )

    def _arousal(self, probabilities: Mapping[str, float]) -> float | None:
        """The agitated labels' share of what the calm and the agitated ones have together."""
        sides = {label: value for label, value in self.arousal.items() if label in probabilities}
        total = math.fsum(probabilities[label] for label in sides)
        if not sides or not min(sides.values()) < 0.5 < max(sides.values()) or not total > 0:
            return None
        return min(1.0, math.fsum(probabilities[label] * value for label, value in sides.items()) / total)
