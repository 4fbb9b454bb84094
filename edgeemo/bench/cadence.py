"""Steps as a microphone has them: a step's length after one another, while the loop sleeps.

Back to back, a step finds its code and its weights in the processor's caches. In the live loop others use these, and
the processor itself may sleep, until the next step is due: the same step then takes a multiple of the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from edgeemo.bench.turns import Progress, take_turns

BUDGET_S = 60.0
"""What all steps at the cadence may take together."""
MAX_STEPS = 100
BLOCK_STEPS = 5
SETTLING_STEPS = 1

T = TypeVar("T")


def at_cadence(steps: Iterator[T], period_s: float) -> Iterator[T]:
    """The same steps, each as soon as it is due.

    Args:
        steps: endless, one done by each advance.
        period_s: between two steps. The first, and one that is late since others took their turn, is due that long
            after it was asked for.

    Returns:
        what `steps` gives.
    """
    due_s = 0.0
    while True:
        now_s = time.monotonic()
        if due_s < now_s:
            due_s = now_s + period_s
        time.sleep(due_s - now_s)
        yield next(steps)
        due_s += period_s


def take_turns_at_cadence(
    compared: Sequence[Iterator[T]],
    periods_s: Sequence[float],
    n_steps: int,
    *,
    on_progress: Progress = lambda what, done, total: None,
) -> list[list[T]]:
    """Have each of several do steps at its cadence, a block at a time.

    Args:
        compared: as for `take_turns`; warm already.
        periods_s: seconds between the steps of each.
        n_steps: how many of each are wanted; it is fewer where they would not fit into `BUDGET_S`.
        on_progress: as for `take_turns`.

    Returns:
        what the steps gave, in the order of `compared`; equally many of each.
    """
    taken = take_turns(
        [at_cadence(steps, period_s) for steps, period_s in zip(compared, periods_s, strict=True)],
        n_cadence_steps(periods_s, n_steps),
        block_steps=BLOCK_STEPS,
        settling_steps=SETTLING_STEPS,
        warm_up_steps=0,
        what="steps at a microphone's cadence",
        on_progress=on_progress,
    )
    return [own.steps for own in taken]


def n_cadence_steps(periods_s: Sequence[float], n_steps: int) -> int:
    """How many steps each does at its cadence: at least one, at most `MAX_STEPS`, and no more than fit `BUDGET_S`.

    Args:
        periods_s: seconds between the steps of each.
        n_steps: how many are wanted.
    """
    if not periods_s:
        return min(n_steps, MAX_STEPS)
    share = BLOCK_STEPS / (BLOCK_STEPS + SETTLING_STEPS)
    return max(1, min(n_steps, MAX_STEPS, int(share * BUDGET_S / sum(periods_s))))
