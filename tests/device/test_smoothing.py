"""Smoothed labels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeemo.smoothing import Smooth, Smoother

STEP_S = 0.16
STEPS = arrays(np.float64, st.tuples(st.integers(1, 40), st.just(4)), elements=st.floats(0.01, 1.0)).map(
    lambda values: (values / values.sum(axis=1, keepdims=True)).astype(np.float32)
)


def n_flips(rows: list[np.ndarray]) -> int:
    labels = [int(row.argmax()) for row in rows]
    return sum(a != b for a, b in itertools.pairwise(labels))


@pytest.mark.parametrize("how", list(Smooth))
@given(steps=STEPS)
def test_they_stay_probabilities_and_flip_less(how: Smooth, steps: np.ndarray) -> None:
    smoother = Smoother(how, STEP_S)
    smoothed = [smoother(row) for row in steps]
    assert all(row.sum() == pytest.approx(1, abs=1e-5) and (row >= 0).all() for row in smoothed)
    assert n_flips(smoothed) <= n_flips(list(steps))
    if how is Smooth.OFF:
        np.testing.assert_array_equal(smoothed, steps)


@pytest.mark.parametrize("how", [Smooth.LIGHT, Smooth.STEADY])
def test_a_lasting_change_shows(how: Smooth) -> None:
    smoother = Smoother(how, STEP_S)
    a, b = np.float32([0.8, 0.2]), np.float32([0.2, 0.8])
    labels = [int(smoother(row).argmax()) for row in [a] * 10 + [b] * 20]
    assert labels[:10] == [0] * 10
    assert labels[10] == 0, "one step is not enough"
    assert labels[-1] == 1
    smoother.reset()
    assert int(smoother(b).argmax()) == 1, "nothing of the utterance before"
