"""Scores of a set of clips or images, unweighted average recall first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeemo.evaluation import measures


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How well a set of clips or images was recognised.

    Attributes:
        uar: unweighted average recall: the mean recall of the classes that occur.
        war: weighted average recall, which is the accuracy.
        macro_f1: the mean F1 of the classes that occur.
        loss: mean cross-entropy.
        recall: of each class; None if it does not occur.
        n_clips: how many clips or images.
        confusion: numbers of clips; rows are true classes, columns predicted ones.
    """

    uar: float
    war: float
    macro_f1: float
    loss: float
    recall: Mapping[str, float | None]
    n_clips: int
    confusion: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "uar": self.uar,
            "war": self.war,
            "macro_f1": self.macro_f1,
            "loss": self.loss,
            "recall": dict(self.recall),
            "n_clips": self.n_clips,
            "confusion": [list(row) for row in self.confusion],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Scores:
        """What `to_dict` gave.

        Raises:
            LookupError, TypeError, ValueError: it did not give this.
        """
        return cls(
            uar=float(values["uar"]),
            war=float(values["war"]),
            macro_f1=float(values["macro_f1"]),
            loss=float(values["loss"]),
            recall={name: None if r is None else float(r) for name, r in values["recall"].items()},
            n_clips=int(values["n_clips"]),
            confusion=tuple(tuple(int(n) for n in row) for row in values["confusion"]),
        )


def scores(
    truth: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating], labels: tuple[str, ...]
) -> Scores:
    """Score clips or images.

    Args:
        truth: label indices, shape `(n_clips,)`.
        probabilities: shape `(n_clips, n_labels)`.
        labels: class names.
    """
    predicted = probabilities.argmax(axis=1)
    counts = measures.confusion(truth, predicted, len(labels))
    likelihood = np.clip(probabilities[np.arange(len(truth)), truth], 1e-7, 1)
    return Scores(
        uar=float(measures.uar(counts)),
        war=float(measures.war(counts)),
        macro_f1=float(measures.macro_f1(counts)),
        loss=float(-np.log(likelihood).mean()),
        recall={
            name: None if np.isnan(r) else float(r)
            for name, r in zip(labels, measures.recall(counts), strict=True)
        },
        n_clips=len(truth),
        confusion=tuple(tuple(row) for row in counts.tolist()),
    )
