"""Latency: raw values kept, percentiles as NumPy's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeemo.bench.latency import Latency

VALUES = st.lists(st.floats(0, 1e6), min_size=1, max_size=60)


@given(VALUES)
def test_summary_is_numpys(values: list[float]) -> None:
    latency = Latency("step", np.array(values))
    assert [latency.p50_ms, latency.p90_ms, latency.p99_ms] == list(np.percentile(values, [50, 90, 99]))
    assert latency.max_ms == max(values)
    assert latency.mean_ms == np.mean(values)
    assert latency.n == len(values)


@given(VALUES)
def test_json_keeps_every_raw_value_and_the_unit(values: list[float]) -> None:
    kept = json.loads(json.dumps(Latency("step", np.array(values)).to_dict()))
    assert kept["values"] == values
    assert (kept["name"], kept["unit"], kept["n"]) == ("step", "ms", len(values))
    assert kept["p90"] == np.percentile(values, 90)


def test_percentiles_are_told_apart() -> None:
    latency = Latency("step", np.arange(1001.0)[::-1])
    assert (latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.max_ms) == (500, 900, 990, 1000)


def test_values_are_a_read_only_copy() -> None:
    values = np.array([1.0, 2.0])
    latency = Latency("step", values)
    values[0] = 9
    assert latency.values_ms.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="read-only"):
        latency.values_ms[0] = 9


@pytest.mark.parametrize("values", [[], [[1.0]], [1.0, -0.1], [np.nan], [np.inf]])
def test_impossible_values_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="step"):
        Latency("step", np.array(values))
