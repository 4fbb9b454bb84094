"""Missing audio, found by the clock: simulated captures with jitter, bursts, drift and losses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeemo.events import Why
from edgeemo.sources.assembly import Assembly
from edgeemo.sources.blocks import Mixer
from edgeemo.sources.continuity import LATE_S, LEAST_S, STRETCH_S, Continuity
from edgeemo.sources.queue import Captured
from edgeemo.sources.source import Lost

BLOCK_S = 0.02
RATE = 8000


def taken(blocks: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """When something was found to be missing, and how much, in a capture of (when, length) blocks."""
    continuity = Continuity()
    found = [(at_s, continuity.take(at_s, length_s)) for at_s, length_s in blocks]
    return [(at_s, lost_s) for at_s, lost_s in found if lost_s]


def capture(
    seconds: float, *, drift: float = 0.0, jitter_s: float = 0.0, seed: int = 0
) -> list[tuple[float, float]]:
    """Blocks of a sound card whose clock is off by `drift`, each late by up to `jitter_s`."""
    random = np.random.default_rng(seed)
    n = round(seconds / BLOCK_S)
    due_s = (1 + drift) * BLOCK_S * np.arange(1, n + 1)
    came_s = np.maximum.accumulate(due_s + random.uniform(0, jitter_s, n) if jitter_s else due_s)
    return [(float(at_s), BLOCK_S) for at_s in came_s]


@settings(deadline=None, max_examples=50)
@given(drift=st.floats(-5e-4, 5e-4), jitter_s=st.floats(0, 0.15), seed=st.integers(0, 99))
def test_neither_drift_nor_jitter_is_a_loss(drift: float, jitter_s: float, seed: int) -> None:
    assert taken(capture(120, drift=drift, jitter_s=jitter_s, seed=seed)) == []


def test_a_card_that_drifts_for_hours_loses_nothing() -> None:
    assert taken(capture(4 * 3600, drift=2e-4, jitter_s=0.03)) == []


@settings(deadline=None, max_examples=50)
@given(
    lost_s=st.floats(2 * LEAST_S, 60),
    at=st.integers(100, 900),
    jitter_s=st.floats(0, 0.04),
    drift=st.floats(-2e-4, 2e-4),
)
def test_what_is_lost_is_found(lost_s: float, at: int, jitter_s: float, drift: float) -> None:
    blocks = capture(40, drift=drift, jitter_s=jitter_s)
    found = taken(blocks[:at] + [(at_s + lost_s, length_s) for at_s, length_s in blocks[at:]])
    assert len(found) == 1
    assert found[0][1] == pytest.approx(lost_s, abs=jitter_s + 0.03)
    assert 0 <= found[0][0] - lost_s - blocks[at][0] <= 2 * STRETCH_S + LATE_S


@settings(deadline=None, max_examples=50)
@given(stopped_s=st.floats(0.3, 60), kept_s=st.floats(0, 10), at=st.integers(100, 900))
def test_of_a_process_that_was_stopped_only_what_no_buffer_kept_is_lost(
    stopped_s: float, kept_s: float, at: int
) -> None:
    """While it is stopped nothing comes; then what was kept comes at once, and the rest as usual."""
    blocks = capture(100)
    resumed_s = blocks[at][0] + stopped_s
    kept_s = min(kept_s, stopped_s)
    after = [(max(at_s, resumed_s), length_s) for at_s, length_s in blocks[at:]]
    n_lost = sum(at_s <= resumed_s for at_s, _ in blocks[at:]) - round(kept_s / BLOCK_S)
    after = after[max(n_lost, 0) :]
    found = taken(blocks[:at] + after)
    lost_s = max(n_lost, 0) * BLOCK_S
    if lost_s > LEAST_S + 0.03:
        assert sum(lost for _, lost in found) == pytest.approx(lost_s, abs=0.03)
    elif lost_s < LEAST_S - 0.03:
        assert found == []


def assembled(blocks: list[Captured], n_together: int) -> list[np.ndarray | Lost]:
    """What comes of blocks that are taken some together, again in blocks."""
    assembly = Assembly(RATE)
    assembly.opened(Mixer(RATE, 1, None, microphone=False), RATE)
    found: list[np.ndarray | Lost] = []
    for start in range(0, len(blocks), n_together):
        found += assembly.take(blocks[start : start + n_together])
    found += assembly.rest()
    n = len(blocks[0].samples)
    return [
        part
        for one in found
        for part in (np.split(one, len(one) // n) if isinstance(one, np.ndarray) else [one])
    ]


def numbered(times_s: list[float]) -> list[Captured]:
    """Blocks of samples that count."""
    n = round(BLOCK_S * RATE)
    return [Captured(np.full((n, 1), i + 1, np.float32) / 1e6, at_s) for i, at_s in enumerate(times_s)]


@pytest.mark.parametrize("n_together", [1, 8, 400])
def test_a_hole_is_told_where_it_is(n_together: int) -> None:
    """Not between the blocks at which it is found, but before the one that came late."""
    times_s = [BLOCK_S * (i + 1) + (3.0 if i >= 200 else 0.0) for i in range(400)]
    found = assembled(numbered(times_s), n_together)
    ((place, lost),) = ((i, one) for i, one in enumerate(found) if isinstance(one, Lost))
    assert (place, lost) == (200, Lost(pytest.approx(3.0), Why.STALLED))
    blocks = [one for one in found if not isinstance(one, Lost)]
    np.testing.assert_array_equal([b[0] for b in blocks], np.float32(np.arange(1, 401) / 1e6))


@pytest.mark.parametrize("n_together", [1, 8, 500])
def test_what_only_came_late_is_not_lost_and_stays_in_order(n_together: int) -> None:
    times_s = [max(BLOCK_S * (i + 1), 6.5 if 200 <= i < 325 else 0.0) for i in range(500)]
    found = assembled(numbered(times_s), n_together)
    assert not any(isinstance(one, Lost) for one in found)
    np.testing.assert_array_equal([b[0] for b in found], np.float32(np.arange(1, 501) / 1e6))
