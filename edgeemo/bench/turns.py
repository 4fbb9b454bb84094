"""The one timer: what is compared takes turns.

In each round, each of those compared does a short block of steps, and each round begins with another one. Whatever
else the machine does then slows all of them alike, and their ratios hold on a busy machine too.

What is compared is an endless iterator: to advance it is to do one step, and what it gives is what was measured of
that step. `timed_steps` makes one that gives milliseconds; `edgeemo.bench.latency.Latency` sums those up.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

BLOCK_STEPS = 25
WARM_UP_STEPS = 25
SETTLING_STEPS = 2

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Taken(Generic[T]):
    """What was measured of one of those compared.

    Attributes:
        warm_up: of the first steps, which are slower and count nowhere else.
        steps: of the steps that count, in the order taken.
    """

    warm_up: list[T]
    steps: list[T]


def take_turns(
    compared: Sequence[Iterator[T]],
    n_steps: int,
    *,
    block_steps: int = BLOCK_STEPS,
    settling_steps: int = SETTLING_STEPS,
    warm_up_steps: int = WARM_UP_STEPS,
    what: str = "steps",
    on_progress: Progress = lambda what, done, total: None,
) -> list[Taken[T]]:
    """Have each of several do `n_steps`, a block at a time.

    Args:
        compared: endless iterators, each of which does one step when it is advanced.
        n_steps: steps of each that count, after warm-up.
        block_steps: steps in a turn; the last round may be shorter.
        settling_steps: steps before each block that bring what runs there back into the caches, and do not count.
        warm_up_steps: steps before the first block.
        what: what `on_progress` calls the steps.
        on_progress: told how far it is before each round, and at the end.

    Returns:
        what the steps gave, in the order of `compared`; `n_steps` of each.
    """
    taken = [Taken(warm_up=list(islice(steps, warm_up_steps)), steps=[]) for steps in compared]
    order = deque(range(len(compared)))
    for done in range(0, n_steps, block_steps):
        on_progress(what, done, n_steps)
        for i in order:
            n_block = min(block_steps, n_steps - done)
            block = islice(compared[i], settling_steps, settling_steps + n_block)
            taken[i].steps.extend(block)
        order.rotate(-1)
    on_progress(what, n_steps, n_steps)
    return taken


def timed(step: Callable[[T], R], given: T) -> tuple[float, R]:
    """Do one step.

    Returns:
        the milliseconds it took, and what it gave.
    """
    start_ns = time.perf_counter_ns()
    result = step(given)
    return (time.perf_counter_ns() - start_ns) / 1e6, result


def timed_steps(step: Callable[[T], object], inputs: Iterable[T]) -> Iterator[float]:
    """The milliseconds of one step after the other, for `take_turns`.

    Args:
        step: what is timed.
        inputs: what it is given, without end; to come by these is not timed.
    """
    return (timed(step, given)[0] for given in inputs)
