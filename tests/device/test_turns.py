"""The one timer: whose turn it is, and which steps count."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count, cycle

import pytest

from edgeemo.bench.turns import SETTLING_STEPS, WARM_UP_STEPS, take_turns, timed, timed_steps


def numbered(name: str, log: list[str]) -> Iterator[tuple[str, int]]:
    """Endless steps that say whose they are and which."""
    for i in count():
        log.append(name)
        yield name, i


def test_each_does_its_steps_and_the_first_ones_are_kept_apart() -> None:
    log: list[str] = []
    a, b = take_turns([numbered("a", log), numbered("b", log)], 7, block_steps=3)
    for name, taken in (("a", a), ("b", b)):
        assert taken.warm_up == [(name, i) for i in range(WARM_UP_STEPS)]
        blocks, at = [], WARM_UP_STEPS
        for n in (3, 3, 1):
            at += SETTLING_STEPS  # these are nowhere
            blocks += [(name, i) for i in range(at, at + n)]
            at += n
        assert taken.steps == blocks


@pytest.mark.parametrize("settling_steps", [0, 1])
def test_each_round_begins_with_another(settling_steps: int) -> None:
    log: list[str] = []
    take_turns([numbered(name, log) for name in "abc"], 10, block_steps=3, settling_steps=settling_steps)
    n, rest = 3 + settling_steps, 1 + settling_steps
    rounds = [name for order in ("abc", "bca", "cab") for name in order for _ in range(n)]
    last = [name for name in "abc" for _ in range(rest)]
    assert log == ["a"] * WARM_UP_STEPS + ["b"] * WARM_UP_STEPS + ["c"] * WARM_UP_STEPS + rounds + last


def test_progress_is_told_before_each_round_and_at_the_end() -> None:
    told: list[tuple[str, int, int]] = []
    take_turns(
        [iter(range(1000))],
        7,
        block_steps=3,
        what="training steps",
        on_progress=lambda *given: told.append(given),
    )
    assert told == [("training steps", done, 7) for done in (0, 3, 6, 7)]


def test_nothing_to_compare_is_nothing() -> None:
    assert take_turns([], 5) == []


def test_only_the_step_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_ms = 0.0

    def wait(ms: float) -> float:
        nonlocal clock_ms
        clock_ms += ms
        return ms

    def slow_inputs() -> Iterator[float]:
        for ms in cycle([1.5, 2.5]):
            wait(1000)
            yield ms

    monkeypatch.setattr(time, "perf_counter_ns", lambda: round(clock_ms * 1e6))
    assert timed(wait, 0.25) == (0.25, 0.25)
    steps = timed_steps(wait, slow_inputs())
    assert [next(steps) for _ in range(4)] == [1.5, 2.5, 1.5, 2.5]
