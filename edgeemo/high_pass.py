"""A high-pass that takes a constant away: in front of whatever hears audio, live, in files and in training.

Some microphones have a constant in their signal, I2S ones of 0.01 of full scale. It is no sound, but frames cut it
into pieces that are, and it hides quiet speech from levels.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Audio = npt.NDArray[np.float32]

CUTOFF_HZ = 10.0
_MOST = 4096
"""Samples that are filtered together: powers of the pole stay far from the limits of double precision."""


class HighPass:
    """One pole at `CUTOFF_HZ`: `y[n] = a (y[n-1] + x[n] - x[n-1])`, with `a = exp(-2 pi f / rate)`.

    What precedes the first sample is taken to be as it is: a recording that begins with a constant begins without.

    Args:
        sample_rate: Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        pole = math.exp(-2 * math.pi * CUTOFF_HZ / sample_rate)
        self._powers = pole ** np.arange(_MOST + 1)
        self.reset()

    def reset(self) -> None:
        """The next sample is the first."""
        self._input: float | None = None
        self._output = 0.0

    def __call__(self, audio: Audio) -> Audio:
        """The next samples, filtered, shape `(n_samples,)`. How a stream is cut changes no more than rounding."""
        parts = [self._filtered(audio[at : at + _MOST]) for at in range(0, len(audio), _MOST)]
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.float32), *parts])

    def _filtered(self, audio: Audio) -> Audio:
        before = float(audio[0]) if self._input is None else self._input
        powers = self._powers[: len(audio) + 1]
        # The recurrence, summed up: y[n] = a^(n+1) (y[-1] + sum of rises[k] / a^k). In place: it runs in silence too.
        values = np.empty(len(audio))
        values[0] = float(audio[0]) - before
        np.subtract(audio[1:], audio[:-1], out=values[1:], dtype=np.float64)
        values /= powers[:-1]
        np.cumsum(values, out=values)
        values += self._output
        values *= powers[1:]
        self._input, self._output = float(audio[-1]), float(values[-1])
        filtered: Audio = values.astype(np.float32)
        return filtered


def without_constant(audio: Audio, sample_rate: int) -> Audio:
    """A whole recording, filtered.

    Args:
        audio: mono float32 in [-1, 1], shape `(n_samples,)`.
        sample_rate: Hz.
    """
    return HighPass(sample_rate)(audio)
