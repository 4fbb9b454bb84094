"""Measures of answers against scikit-learn's, and intervals against draws made one by one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics

from edgeemo.answer import Judgement
from edgeemo.corpora.manifest import Clip
from edgeemo.evaluation import conclusions, measures
from edgeemo.evaluation.bootstrap import Bootstrap, interval
from edgeemo.evaluation.conclusions import Answers
from edgeemo.evaluation.material import Material

SEEDS = st.integers(0, 2**32 - 1)


def answers(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and probabilities of a few clips; some classes may not occur."""
    rng = np.random.default_rng(seed)
    n_clips, n_labels = int(rng.integers(1, 40)), int(rng.integers(2, 9))
    truth = rng.choice(rng.choice(n_labels, rng.integers(1, n_labels + 1), replace=False), n_clips)
    return truth, rng.dirichlet(np.full(n_labels, 0.5), n_clips)


@given(SEEDS)
def test_of_classes(seed: int) -> None:
    truth, probabilities = answers(seed)
    predicted, n_labels = probabilities.argmax(axis=1), probabilities.shape[1]
    counts = measures.confusion(truth, predicted, n_labels)
    labels, occurring = np.arange(n_labels), np.unique(truth)
    assert (counts == metrics.confusion_matrix(truth, predicted, labels=labels)).all()
    assert measures.war(counts) == pytest.approx(metrics.accuracy_score(truth, predicted))
    recalls = metrics.recall_score(truth, predicted, labels=occurring, average=None)
    np.testing.assert_allclose(measures.recall(counts)[occurring], recalls)
    assert np.isnan(np.delete(measures.recall(counts), occurring)).all()
    assert measures.uar(counts) == pytest.approx(recalls.mean())
    f1 = metrics.f1_score(truth, predicted, labels=occurring, average="macro", zero_division=0)
    assert measures.macro_f1(counts) == pytest.approx(f1)


@given(SEEDS)
def test_several_matrices_at_once(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 4, (3, 5, 5))
    for measure in (measures.uar, measures.war, measures.macro_f1, measures.recall):
        np.testing.assert_array_equal(measure(counts), [measure(one) for one in counts])


@given(SEEDS, st.booleans())
def test_area_under_curve(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.random(rng.integers(1, 50)) < 0.4
    score = rng.random(len(positive))
    if ties:
        score = np.round(score, 1)
    found = measures.area_under_curve(positive, score)
    if positive.all() or not positive.any():
        assert math.isnan(found)
    else:
        assert found == pytest.approx(metrics.roc_auc_score(positive, score))


@given(SEEDS)
def test_brier(seed: int) -> None:
    truth, probabilities = answers(seed)
    expected = metrics.brier_score_loss(
        truth, probabilities, labels=np.arange(probabilities.shape[1]), scale_by_half=False
    )
    assert measures.brier(probabilities, truth) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seed", "temperature", "unsure_below"), [(0, 0.5, 0.7), (1, 1.0, 0.0), (2, 3.0, 0.3)]
)
def test_of_calibrated_answers(seed: int, temperature: float, unsure_below: float) -> None:
    """What is concluded of a model that passes is what scikit-learn says of the answers that its users get."""
    labels = ("neutral", "angry", "disgust", "fear", "happy", "sad", "surprise")
    rng = np.random.default_rng(seed)
    truth, probabilities = rng.integers(0, len(labels), 40), rng.dirichlet(np.full(7, 0.5), 40)
    clips = tuple(map(_clip, range(40)))
    judgement = Judgement(
        temperature=temperature, unsure_below=unsure_below, arousal=Judgement.of(labels).arousal
    )
    answers = Answers.from_lists(Material(clips, truth, labels), probabilities.tolist(), judgement)

    calibrated = softmax(np.log(probabilities) / temperature, axis=1)
    np.testing.assert_allclose(answers.probabilities, calibrated, atol=1e-9)
    named = calibrated.max(axis=1) >= unsure_below
    predicted = np.where(named, calibrated.argmax(axis=1), 7)
    assert (answers.labels == predicted).all()
    found = conclusions.scores(answers)
    occurring = np.unique(truth)
    recalls = metrics.recall_score(truth, predicted, labels=occurring, average=None, zero_division=0)
    assert found.uar.value == pytest.approx(recalls.mean(), abs=1e-6)
    assert found.unnamed == pytest.approx(1 - named.mean(), abs=1e-6)
    assert 0 < named.sum() <= 40
    brier = metrics.brier_score_loss(truth[named], calibrated[named], labels=range(7), scale_by_half=False)
    assert conclusions.calibration(answers).brier == pytest.approx(brier, abs=1e-6)
    agitated, sided = np.isin(truth, [1, 3, 4, 6]), truth != 2
    shares = calibrated[:, [1, 3, 4, 6]].sum(axis=1) / np.delete(calibrated, 2, axis=1).sum(axis=1)
    area = metrics.roc_auc_score(agitated[sided], shares[sided])
    assert conclusions.arousal_auc(answers).value == pytest.approx(area, abs=1e-6)


def _clip(n: int) -> Clip:
    values = {"corpus": "mine", "emotion": "sad", "sentence": "", "intensity": "", "session": ""}
    numbers = {"sample_rate": 16_000, "n_samples": 16_000, "n_channels": 1}
    return Clip(path=Path(f"{n}.wav"), speaker=str(n % 3), sha256=str(n), **values, **numbers)


@given(SEEDS, st.integers(1, 20))
def test_calibration_error_is_what_it_is_defined_as(seed: int, n_bins: int) -> None:
    truth, probabilities = answers(seed)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    expected = 0.0
    for i in range(n_bins):
        inside = (confidence > i / n_bins) & (confidence <= (i + 1) / n_bins)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert measures.calibration_error(confidence, right, n_bins) == pytest.approx(expected)
    assert sum(b.n_clips for b in measures.reliability(confidence, right, n_bins)) == len(truth)


def test_calibration_error_where_it_is_known() -> None:
    sure = np.ones(10)
    assert measures.calibration_error(sure, np.ones(10, bool)) == 0
    assert measures.calibration_error(sure, np.arange(10) < 3) == pytest.approx(0.7)


@given(SEEDS)
def test_draws_of_speakers(seed: int) -> None:
    truth, probabilities = answers(seed)
    predicted, n_labels = probabilities.argmax(axis=1), probabilities.shape[1]
    speakers = [f"s{i}" for i in np.random.default_rng(seed).integers(0, 4, len(truth))]
    bootstrap = Bootstrap(speakers, n_resamples=20)
    confusions = bootstrap.confusions(truth, predicted, n_labels)
    one_by_one = bootstrap.each(
        lambda drawn: float(measures.uar(measures.confusion(truth[drawn], predicted[drawn], n_labels)))
    )
    np.testing.assert_allclose(measures.uar(confusions), one_by_one)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    n_trials, covered = 200, 0
    for _ in range(n_trials):
        skill = rng.normal(0.6, 0.1, 40)  # of each speaker
        right = rng.random((40, 20)) < skill[:, np.newaxis]
        speakers = np.repeat(np.arange(40), 20).astype(str)
        draws = Bootstrap(list(speakers), 300).each(lambda drawn, right=right: right.ravel()[drawn].mean())
        low, high = interval(draws)
        covered += low <= 0.6 <= high
    assert 0.88 <= covered / n_trials <= 0.99
