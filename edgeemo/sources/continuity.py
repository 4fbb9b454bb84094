"""How much audio is missing, by the clock and by how much has come.

A sound system that loses audio seldom says so: blocks simply come later, or fewer of them. What is late catches up;
what is lost does not. So the *lag* of the capture is followed, the time that has passed less the audio that has come:
its smallest values belong to blocks that waited for nobody. Where these rise for good, audio is missing.
"""

from __future__ import annotations

import math
import time

_BOOT = getattr(time, "CLOCK_BOOTTIME", None)

SETTLE_S = 0.5
"""How long blocks may take to catch up after one that was late."""
STRETCH_S = 2.0
"""What is looked at together where none was."""
LATE_S = 0.2
"""A block that comes so long after the one before may follow something that is missing."""
LEAST_S = 0.06
"""Less than this is no loss: sound servers deliver in pieces, some of them of this length."""
MAX_DRIFT = 1e-3
"""How far the clock of a sound card may be off."""


def clock_s() -> float:
    """Seconds of a clock that never jumps and, where the system has one, goes on while it sleeps."""
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)


class Continuity:
    """Follows the lag of a capture.

    The least lag of each stretch is compared with that of those before. A sound card whose clock is
    slow raises it too, by `MAX_DRIFT` at most, without losing anything; one that is fast lowers it.
    """

    def __init__(self) -> None:
        self._start_s: float | None = None
        self._came_s = 0.0
        self._last_s = 0.0
        self._base_s: float | None = None
        self._settled = False
        self._opened_s = 0.0
        self._least_s = math.inf

    def late(self, at_s: float) -> bool:
        """Whether a block that came at `at_s` came late."""
        return self._start_s is not None and at_s - self._last_s > LATE_S

    @property
    def settled(self) -> bool:
        """Whether it is known what is missing before the latest block that came late."""
        return self._settled

    def take(self, at_s: float, length_s: float) -> float:
        """Take a block.

        Args:
            at_s: when it came, by `clock_s`.
            length_s: of its audio.

        Returns:
            seconds that are missing, known now that a stretch is complete; 0 otherwise.
        """
        if self._start_s is None:
            self._start_s = at_s - length_s
            self._open(at_s, settled=True)
        elif self.late(at_s):
            if self._base_s is None:
                self._base_s = self._least_s
            self._open(at_s, settled=False)  # what was before says nothing of what follows
        self._last_s = at_s
        self._came_s += length_s
        self._least_s = min(self._least_s, at_s - self._start_s - self._came_s)
        if at_s - self._opened_s < (STRETCH_S if self._settled else SETTLE_S):
            return 0.0
        passed_s, least_s = at_s - self._opened_s, self._least_s
        self._open(at_s, settled=True)
        lost_s = 0.0 if self._base_s is None else least_s - self._base_s
        if lost_s < LEAST_S:
            drifted_s = math.inf if self._base_s is None else self._base_s + MAX_DRIFT * passed_s
            self._base_s = min(least_s, drifted_s)
            return 0.0
        self.missing(lost_s)
        return lost_s

    def missing(self, seconds: float) -> None:
        """So much is known to be missing here: it counts as if it had come."""
        self._came_s += seconds

    def _open(self, at_s: float, *, settled: bool) -> None:
        """A stretch begins."""
        self._opened_s, self._least_s, self._settled = at_s, math.inf, settled
