"""Measures of answers: of classes by the confusion matrix, of a two-way question, and of stated confidence.

Confusion matrices have shape `(..., n_labels, n_labels)`: rows are true classes, columns predicted ones. What is
computed from them works on any number of them at once, such as those of a bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

N_BINS = 15
"""Of the calibration error, as Guo et al. have it."""


def confusion(truth: Indices, predicted: Indices, n_labels: int) -> Indices:
    """Count clips by true and predicted class.

    Args:
        truth: shape `(n_clips,)`.
        predicted: likewise.
        n_labels: how many classes there are.

    Returns:
        shape `(n_labels, n_labels)`.
    """
    counts = np.zeros((n_labels, n_labels), np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def recall(counts: npt.NDArray[np.number]) -> Floats:
    """Of each class, shape `(..., n_labels)`; NaN where it does not occur."""
    return _divide(_diagonal(counts), counts.sum(axis=-1))


def uar(counts: npt.NDArray[np.number]) -> Floats:
    """Unweighted average recall: the mean recall of the classes that occur, shape `(...)`."""
    return _mean_of_occurring(np.nan_to_num(recall(counts)), counts)


def war(counts: npt.NDArray[np.number]) -> Floats:
    """Weighted average recall, which is the accuracy, shape `(...)`."""
    return _divide(_diagonal(counts).sum(axis=-1), counts.sum(axis=(-2, -1)))


def macro_f1(counts: npt.NDArray[np.number]) -> Floats:
    """The mean F1 of the classes that occur, shape `(...)`."""
    named = counts.sum(axis=-1) + counts.sum(axis=-2)
    return _mean_of_occurring(np.nan_to_num(_divide(2 * _diagonal(counts), named)), counts)


def area_under_curve(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.floating]) -> float:
    """How often a positive scores higher than a negative, ties counting half (Mann and Whitney 1947).

    Args:
        positive: shape `(n_clips,)`.
        score: likewise.

    Returns:
        the area under the ROC curve; NaN where there are no positives or no negatives.
    """
    n_positive = int(positive.sum())
    n_pairs = n_positive * (len(positive) - n_positive)
    if not n_pairs:
        return float("nan")
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]  # mean rank of equal scores
    return float((rank[positive].sum() - n_positive * (n_positive + 1) / 2) / n_pairs)


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence lies between two bounds.

    Attributes:
        n_clips: how many.
        confidence: their mean confidence.
        accuracy: the share of them that is right.
    """

    n_clips: int
    confidence: float
    accuracy: float


def reliability(
    confidence: npt.NDArray[np.floating], right: npt.NDArray[np.bool_], n_bins: int = N_BINS
) -> list[Bin]:
    """Confidence beside accuracy, in bins of equal width over [0, 1]; empty ones are left out.

    Args:
        confidence: the largest probability of each answer, shape `(n_clips,)`.
        right: whether it is right, likewise.
        n_bins: how many bins; the lower bound of each belongs to the one below.
    """
    place = np.clip(np.ceil(np.asarray(confidence, np.float64) * n_bins).astype(int) - 1, 0, n_bins - 1)
    return [
        Bin(int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean()))
        for inside in (place == i for i in range(n_bins))
        if inside.any()
    ]


def calibration_error(
    confidence: npt.NDArray[np.floating], right: npt.NDArray[np.bool_], n_bins: int = N_BINS
) -> float:
    """Expected calibration error: how far accuracy is from confidence, averaged over answers.

    Guo et al. 2017, "On Calibration of Modern Neural Networks". Arguments as of `reliability`.
    """
    bins = reliability(confidence, right, n_bins)
    return sum(b.n_clips * abs(b.confidence - b.accuracy) for b in bins) / len(right)


def brier(probabilities: npt.NDArray[np.floating], truth: Indices) -> float:
    """Mean squared distance of the probabilities from the truth, summed over classes: from 0 to 2 (Brier 1950).

    Args:
        probabilities: shape `(n_clips, n_labels)`.
        truth: shape `(n_clips,)`.
    """
    squares = np.square(np.asarray(probabilities, np.float64))
    hit = np.asarray(probabilities, np.float64)[np.arange(len(truth)), truth]
    return float((squares.sum(axis=1) - 2 * hit + 1).mean())


def _diagonal(counts: npt.NDArray[np.number]) -> npt.NDArray[np.number]:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _divide(a: npt.NDArray[np.number], b: npt.NDArray[np.number]) -> Floats:
    """NaN where nothing is divided by nothing."""
    result: Floats = np.divide(a, b, out=np.full(np.shape(a), np.nan), where=np.asarray(b) > 0)
    return result


def _mean_of_occurring(values: Floats, counts: npt.NDArray[np.number]) -> Floats:
    occurs = counts.sum(axis=-1) > 0
    return _divide((values * occurs).sum(axis=-1), occurs.sum(axis=-1))
