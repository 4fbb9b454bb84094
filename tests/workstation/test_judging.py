"""Fitting how probabilities become answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeemo.answer import Judgement
from edgeemo.errors import TrainingError
from edgeemo.workstation.training.folder import JUDGING_FILE, read_judging, write_judging
from edgeemo.workstation.training.judging import LeftOut, fit_judging, tempered


def part(corpus: str, *, sharpness: float, n: int = 4000, seed: int = 0) -> LeftOut:
    """Truth that is drawn from probabilities, which are then told as if their logits had been `sharpness` times."""
    rng = np.random.default_rng(seed)
    honest = rng.dirichlet(np.full(5, 0.6), n)
    truth = np.array([rng.choice(5, p=p) for p in honest])
    return LeftOut(corpus=corpus, probabilities=tempered(honest, 1 / sharpness), truth=truth)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 1.9])
def test_all_clips_at_once_are_calibrated_as_each_is(temperature: float) -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.full(5, 0.6), 50)
    judgement = Judgement(temperature=temperature, arousal={})
    each = [judgement.calibrated(of_clip) for of_clip in probabilities.tolist()]
    np.testing.assert_allclose(tempered(probabilities, temperature), each, atol=1e-6)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.5])
def test_the_temperature_undoes_what_was_overdone(sharpness: float) -> None:
    found = fit_judging(
        [part("a", sharpness=sharpness), part("b", sharpness=sharpness, seed=1)], precision=0.6
    )
    assert found.temperature == pytest.approx(sharpness, rel=0.06)
    assert max(found.calibration_after.values()) < 0.03
    if sharpness != 1:
        assert min(found.calibration_before.values()) > 0.05


@pytest.mark.parametrize("precision", [0.5, 0.7, 0.9])
def test_the_threshold_gives_the_precision(precision: float) -> None:
    parts = [part("a", sharpness=1), part("b", sharpness=1.5, seed=1)]
    found = fit_judging(parts, precision=precision)
    assert found.reached >= precision
    judgement = Judgement(
        temperature=found.temperature, unsure_below=found.unsure_below, arousal={"0": 1.0, "1": 0.0}
    )
    right, named = [], []
    for each in parts:
        answers = [judgement.answer(dict(zip("01234", p, strict=True))) for p in each.probabilities.tolist()]
        sure = [a.label == str(t) for a, t in zip(answers, each.truth, strict=True) if a.label is not None]
        right.append(np.mean(sure))
        named.append(len(sure) / len(answers))
    assert np.mean(right) == pytest.approx(found.reached, abs=0.01)
    assert np.mean(named) == pytest.approx(found.named, abs=0.01)
    lower = fit_judging(parts, precision=precision - 0.2)
    assert lower.unsure_below <= found.unsure_below
    assert lower.named >= found.named


def test_corpora_weigh_the_same_whatever_their_size() -> None:
    large, small = part("large", sharpness=1, n=6000), part("small", sharpness=3, n=600, seed=1)
    both = fit_judging([large, small], precision=0.5).temperature
    assert 1.3 < both < 2.7


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), n=st.integers(1, 30))
def test_anything_can_be_judged(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(3, 0.05), n).round(5)
    found = fit_judging(
        [LeftOut(corpus="a", probabilities=probabilities, truth=rng.integers(3, size=n))], precision=0.99
    )
    Judgement(temperature=found.temperature, unsure_below=found.unsure_below, arousal={})
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_file_in_a_run_folder(tmp_path: Path) -> None:
    assert read_judging(tmp_path) is None
    found = fit_judging([part("a", sharpness=1, n=50)], precision=0.5)
    write_judging(tmp_path, found)
    assert read_judging(tmp_path) == found
    (tmp_path / JUDGING_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"judging\.json is damaged"):
        read_judging(tmp_path)
