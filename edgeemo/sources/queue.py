"""The bounded queue between the capturing thread and the loop."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

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

    Attributes:
        closed: whether `close` was called since the last `clear`.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._changed = threading.Condition()
        self._blocks: deque[Captured] = deque()
        self._n_dropped = 0
        self.closed = False

    def clear(self) -> None:
        """Empty it and open it."""
        with self._changed:
            self._blocks.clear()
            self._n_dropped = 0
            self.closed = False

    def put(self, block: Captured) -> None:
        """Add a block; if there is no room, drop the oldest. Never waits."""
        with self._changed:
            if len(self._blocks) == self._capacity:
                self._n_dropped += len(self._blocks.popleft().samples)
            self._blocks.append(block)
            self._changed.notify()

    def close(self) -> None:
        """Announce that nothing more will come."""
        with self._changed:
            self.closed = True
            self._changed.notify()

    def get(self, timeout_s: float) -> Captured | None:
        """The oldest block; None if there is none within `timeout_s`, or the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._blocks or self.closed, timeout_s)
            if not self._blocks:
                return None
            block = self._blocks.popleft()
            n_dropped, self._n_dropped = self._n_dropped, 0
        if not n_dropped:
            return block
        return Captured(block.samples, block.at_s, block.overflow, n_dropped)
