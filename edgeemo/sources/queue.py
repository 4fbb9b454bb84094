"""The bounded queue between the capturing thread and the loop."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Captured:
    """A block as it was captured.

    Attributes:
        samples: float32, shape `(n_samples, n_channels)`.
        at_s: when it came, by `continuity.clock_s`.
        overflow: whether the sound system reported that audio before it was lost.
        n_dropped: samples between the block before and this one that the queue dropped.
    """

    samples: npt.NDArray[np.float32]
    at_s: float
    overflow: bool = False
    n_dropped: int = 0


class DropOldestQueue:
    """A bounded queue between a capturing thread and the loop; a full one drops its oldest block.

    The loop is woken up once there is as much as it asked for, not for each block: that would cost more than what it
    does with most of them.

    Attributes:
        closed: whether `close` was called since the last `clear`.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._changed = threading.Condition()
        self._blocks: deque[Captured] = deque()
        self._n_samples = 0
        self._n_wanted = 1
        self._n_dropped = 0
        self.closed = False

    def clear(self) -> None:
        """Empty it and open it."""
        with self._changed:
            self._blocks.clear()
            self._n_samples = self._n_dropped = 0
            self.closed = False

    def put(self, block: Captured) -> None:
        """Add a block; if there is no room, drop the oldest. Never waits."""
        with self._changed:
            if len(self._blocks) == self._capacity:
                self._n_dropped += len(self._pop().samples)
            self._blocks.append(block)
            self._n_samples += len(block.samples)
            if self._enough():
                self._changed.notify()

    def close(self) -> None:
        """Announce that nothing more will come."""
        with self._changed:
            self.closed = True
            self._changed.notify()

    def get(self, n_samples: int, timeout_s: float) -> list[Captured]:
        """The oldest blocks, as many as hold `n_samples`, and one at least, once there are as many.

        Fewer, or none, where `timeout_s` has passed, the queue is half full, or closed.
        """
        with self._changed:
            self._n_wanted = max(n_samples, 1)
            self._changed.wait_for(self._enough, timeout_s)
            found: list[Captured] = []
            n_found = 0
            while self._blocks and n_found < self._n_wanted:
                found.append(self._pop())
                n_found += len(found[-1].samples)
            if found and self._n_dropped:
                found[0] = replace(found[0], n_dropped=self._n_dropped)
                self._n_dropped = 0
        return found

    def _enough(self) -> bool:
        """Whether the loop need not wait; the lock is held."""
        return self._n_samples >= self._n_wanted or self.closed or 2 * len(self._blocks) >= self._capacity

    def _pop(self) -> Captured:
        block = self._blocks.popleft()
        self._n_samples -= len(block.samples)
        return block
