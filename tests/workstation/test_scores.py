"""Scores of clips: by hand, by their definitions, and as scikit-learn has them."""

from __future__ import annotations

import json
import statistics
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from edgeemo.workstation.training.scores import Scores, scores

LABELS = tuple("abcdefgh")


def test_scores_by_hand() -> None:
    """Classes a (3 clips, 2 right), b (1 clip, right), c (never), d (2 clips, none right)."""
    truth = np.array([0, 0, 0, 1, 3, 3])
    predicted = [0, 0, 1, 1, 0, 2]
    probabilities = np.full((6, 4), 0.1)
    probabilities[np.arange(6), predicted] = 0.7
    found = scores(truth, probabilities, ("a", "b", "c", "d"))
    assert found.recall == {"a": pytest.approx(2 / 3), "b": 1.0, "c": None, "d": 0.0}
    assert found.uar == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found.war == pytest.approx(3 / 6)
    assert found.macro_f1 == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)  # a: 2·2/(3+3), b: 2·1/(2+1)
    assert found.loss == pytest.approx(-(3 * np.log(0.7) + 3 * np.log(0.1)) / 6)
    assert found.confusion == ((2, 1, 0, 0), (0, 1, 0, 0), (0, 0, 0, 0), (1, 0, 1, 0))
    assert found.n_clips == 6
    assert Scores.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """True label indices, probabilities, and labels."""
    n, n_labels, seed = draw(st.integers(1, 40)), draw(st.integers(2, 8)), draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    return rng.integers(n_labels, size=n), rng.dirichlet(np.ones(n_labels), n), LABELS[:n_labels]


@settings(deadline=None)
@given(answers())
def test_recall_and_f1_are_what_they_are_defined_as(
    given: tuple[np.ndarray, np.ndarray, tuple[str, ...]],
) -> None:
    truth, probabilities, labels = given
    found = scores(truth, probabilities, labels)
    pairs = Counter(zip(truth.tolist(), probabilities.argmax(axis=1).tolist(), strict=True))
    recalls, f1s = {}, []
    for index, label in enumerate(labels):
        hits = pairs[index, index]
        n_true = sum(n for (true, _), n in pairs.items() if true == index)
        n_predicted = sum(n for (_, predicted), n in pairs.items() if predicted == index)
        recalls[label] = hits / n_true if n_true else None
        if n_true:
            precision = hits / n_predicted if n_predicted else 0.0
            f1s.append(statistics.harmonic_mean([hits / n_true, precision]))
    assert found.recall == pytest.approx(recalls)
    assert found.macro_f1 == pytest.approx(statistics.fmean(f1s))
    assert found.confusion == tuple(
        tuple(pairs[row, column] for column in range(len(labels))) for row in range(len(labels))
    )


@settings(max_examples=50, deadline=None)
@given(answers())
@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label", "ignore:invalid value")
def test_scores_equal_scikit_learn(given: tuple[np.ndarray, np.ndarray, tuple[str, ...]]) -> None:
    truth, probabilities, labels = given
    found = scores(truth, probabilities, labels)
    predicted = probabilities.argmax(axis=1)
    assert found.uar == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
    assert found.war == pytest.approx(sk.accuracy_score(truth, predicted))
    assert found.loss == pytest.approx(
        sk.log_loss(truth, probabilities, labels=np.arange(len(labels))), rel=1e-4
    )


def test_certain_and_wrong_has_a_finite_loss() -> None:
    assert np.isfinite(scores(np.array([0]), np.array([[0.0, 1.0]]), ("a", "b")).loss)
