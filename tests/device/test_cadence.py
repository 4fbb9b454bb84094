"""Steps at a microphone's cadence: the loop sleeps between them, on a clock of the test's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count, pairwise

import pytest

from edgeemo.bench import cadence
from edgeemo.bench.cadence import at_cadence, n_cadence_steps, take_turns_at_cadence


class Clock:
    """Time that passes only while somebody sleeps or works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.slept_s: list[float] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept_s.append(seconds)
        self.now_s += seconds

    def steps(self, *lengths_s: float) -> Iterator[float]:
        """When each step begins; the last length goes on for ever."""
        for i in count():
            begins_s = self.now_s
            self.now_s += lengths_s[min(i, len(lengths_s) - 1)]
            yield begins_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_each_step_begins_when_it_is_due(clock: Clock) -> None:
    paced = at_cadence(clock.steps(0.01, 0.1, 0.02), 0.16)
    assert [next(paced) for _ in range(4)] == pytest.approx([1000.16, 1000.32, 1000.48, 1000.64])
    assert clock.slept_s == pytest.approx([0.16, 0.15, 0.06, 0.14]), "what a step takes is not slept"


def test_a_late_step_is_due_a_whole_period_later(clock: Clock) -> None:
    """Slow, or others have had their turn: it never follows without a pause."""
    paced = at_cadence(clock.steps(0.5, 0.01), 0.16)
    assert [next(paced) for _ in range(2)] == pytest.approx([1000.16, 1000.82])
    clock.now_s += 10
    assert next(paced) == pytest.approx(1010.99)
    assert clock.slept_s == pytest.approx([0.16] * 3)


def test_they_take_turns_and_sleep_before_every_step(clock: Clock) -> None:
    a, b = take_turns_at_cadence([clock.steps(0.01), clock.steps(0.03)], [0.16, 0.08], 7)
    assert (len(a), len(b)) == (7, 7)
    n_settling = 2 * cadence.SETTLING_STEPS  # each in two turns
    assert len(clock.slept_s) == 2 * 7 + 2 * n_settling
    assert min(clock.slept_s) >= 0.05
    for begin_s, period_s in ((a, 0.16), (b, 0.08)):
        pauses_s = [later - earlier for earlier, later in pairwise(begin_s)]
        within = pauses_s[: cadence.BLOCK_STEPS - 1] + pauses_s[cadence.BLOCK_STEPS :]
        assert within == pytest.approx([period_s] * 5)
        assert pauses_s[cadence.BLOCK_STEPS - 1] > period_s, "the other's turn"


@pytest.mark.parametrize("n_models", [1, 2, 5, 36, 200, 1000])
def test_the_steps_fit_the_budget(n_models: int, clock: Clock) -> None:
    periods_s = [0.16] * n_models
    n_steps = n_cadence_steps(periods_s, 1000)
    assert 1 <= n_steps <= cadence.MAX_STEPS
    took = take_turns_at_cadence([clock.steps(0.001) for _ in periods_s], periods_s, 1000)
    assert [len(own) for own in took] == [n_steps] * n_models
    if n_models <= 200:
        assert clock.now_s - 1000 <= 1.1 * cadence.BUDGET_S
    assert n_cadence_steps(periods_s, 3) <= 3


def test_nothing_to_pace_is_nothing() -> None:
    assert take_turns_at_cadence([], [], 5) == []
