"""Labels that do not flicker: probabilities averaged over the last steps, and a label that has to be beaten."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line reads `Smooth` before it knows whether numpy is needed
    import numpy as np
    import numpy.typing as npt

    Probabilities = npt.NDArray[np.float32]


class Smooth(StrEnum):
    """How the labels of steps are smoothed."""

    OFF = "off"
    LIGHT = "light"
    STEADY = "steady"


@dataclass(frozen=True)
class _Setting:
    """`time_s`: after which a step counts by 1/e. `lead`: what another label must have more than the one shown."""

    time_s: float
    lead: float


_SETTINGS = {Smooth.LIGHT: _Setting(0.4, 0.03), Smooth.STEADY: _Setting(1.2, 0.08)}


class Smoother:
    """An exponential mean of the probabilities since the utterance began, with hysteresis.

    A label that is shown stays until another's mean is ahead by the setting's lead: its probability is then raised to
    the largest, so that what is shown is always the most probable.

    Args:
        how: `off` changes nothing.
        step_s: seconds between steps.
    """

    def __init__(self, how: Smooth, step_s: float) -> None:
        self._setting = _SETTINGS.get(how)
        self._step_s = step_s
        self.reset()

    def reset(self) -> None:
        """An utterance begins."""
        self._mean: npt.NDArray[np.float64] | None = None
        self._shown: int | None = None

    def __call__(self, probabilities: Probabilities) -> Probabilities:
        """The smoothed probabilities of the next step, summing to 1, shape `(n_labels,)`."""
        if self._setting is None:
            return probabilities
        if self._mean is None:
            self._mean = probabilities.astype("float64")
        else:
            self._mean += (1 - math.exp(-self._step_s / self._setting.time_s)) * (probabilities - self._mean)
        found = self._mean.copy()
        best = int(found.argmax())
        if self._shown is not None and found[best] - found[self._shown] < self._setting.lead:
            # They change places: still probabilities, and the label that is shown still leads.
            found[[best, self._shown]] = found[[self._shown, best]]
        else:
            self._shown = best
        smoothed: Probabilities = found.astype("float32")
        return smoothed
