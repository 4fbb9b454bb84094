"""Scores of a set of clips, unweighted average recall first."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import metrics


def scores(truth: np.ndarray, probabilities: np.ndarray, labels: tuple[str, ...]) -> dict[str, Any]:
    """Score clips.

    Args:
        truth: label indices, shape `(n_clips,)`.
        probabilities: shape `(n_clips, n_labels)`.
        labels: class names.

    Returns:
        plain values: `uar` (unweighted average recall: mean recall of the classes that occur), `war` (weighted
        average recall, the accuracy), `macro_f1`, `recall` per class, `loss` (mean cross-entropy), `n_clips`,
        and `confusion` (rows: truth, columns: predicted).
    """
    predicted = probabilities.argmax(axis=1)
    indices = np.arange(len(labels))
    confusion = metrics.confusion_matrix(truth, predicted, labels=indices)
    n_true = confusion.sum(axis=1)
    occurs = n_true > 0
    recall = np.divide(confusion.diagonal(), n_true, out=np.full(len(labels), np.nan), where=occurs)
    f1 = metrics.f1_score(truth, predicted, labels=indices[occurs], average="macro", zero_division=0)
    likelihood = np.clip(probabilities[np.arange(len(truth)), truth], 1e-7, 1)
    return {
        "uar": float(recall[occurs].mean()),
        "war": float((predicted == truth).mean()),
        "macro_f1": float(f1),
        "loss": float(-np.log(likelihood).mean()),
        "recall": {name: None if np.isnan(r) else float(r) for name, r in zip(labels, recall, strict=True)},
        "n_clips": len(truth),
        "confusion": confusion.tolist(),
    }
