"""The benchmark in rooms: where mouth and microphones are, and how loud it is there."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.signals import noise

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rooms() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "rooms.py"))


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_everybody_is_in_the_room_and_as_far_away_as_told(rooms: dict[str, Any], seed: int) -> None:
    random = np.random.default_rng(seed)
    size = random.uniform(rooms["SMALLEST_M"], rooms["LARGEST_M"])
    mouth, microphones = rooms["positions"](size, random)
    np.testing.assert_allclose(np.linalg.norm(microphones - mouth, axis=1), rooms["DISTANCES_M"])
    for point in (mouth, *microphones):
        assert np.all((point > 0) & (point < size))


def test_speech_is_as_loud_in_every_room(rooms: dict[str, Any]) -> None:
    place = rooms["Place"](0.3, 2.0)
    speech = noise(16_000)
    response = np.exp(-np.arange(4000) / 500).astype(np.float32)
    there = rooms["at"](place, speech, {place: [response]}, 5)
    assert np.abs(there - speech).max() > 0.1 * np.abs(speech).max()
    np.testing.assert_allclose(np.linalg.norm(there), np.linalg.norm(speech), rtol=1e-5)
    assert rooms["at"](rooms["Place"](), speech, {place: [response]}, 5) is speech
