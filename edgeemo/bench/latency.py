"""A latency: every measured value, its unit, and the percentiles people quote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Milliseconds = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Latency:
    """Measured durations of one thing.

    Attributes:
        name: what was timed, such as `step`.
        values_ms: every measured value in milliseconds, in the order measured, shape `(n,)`; read-only.

    Raises:
        ValueError: no values, more than one axis, or a value that no clock gives (negative, infinite, NaN).
    """

    name: str
    values_ms: Milliseconds

    def __post_init__(self) -> None:
        values = np.array(self.values_ms, dtype=np.float64)
        if values.ndim != 1 or len(values) == 0:
            raise ValueError(
                f"latency {self.name!r}: values of shape {values.shape}, expected (n,) with n >= 1"
            )
        if not np.isfinite(values).all() or values.min() < 0:
            raise ValueError(f"latency {self.name!r}: a value is negative or not finite")
        values.flags.writeable = False
        object.__setattr__(self, "values_ms", values)

    @property
    def n(self) -> int:
        """How many values were measured."""
        return len(self.values_ms)

    @property
    def mean_ms(self) -> float:
        """Arithmetic mean."""
        return float(self.values_ms.mean())

    @property
    def p50_ms(self) -> float:
        """Median."""
        return self.percentile_ms(50)

    @property
    def p90_ms(self) -> float:
        """What nine values in ten stay below."""
        return self.percentile_ms(90)

    @property
    def p99_ms(self) -> float:
        """What 99 values in 100 stay below."""
        return self.percentile_ms(99)

    @property
    def max_ms(self) -> float:
        """The worst value."""
        return float(self.values_ms.max())

    def percentile_ms(self, percent: float) -> float:
        """The percentile `percent` (0 to 100), linear between neighbouring values as in NumPy."""
        return float(np.percentile(self.values_ms, percent))

    def to_dict(self) -> dict[str, Any]:
        """What JSON keeps: name, unit, count, summary, and `values`, all raw values in the order measured."""
        return {
            "name": self.name,
            "unit": "ms",
            "n": self.n,
            "mean": self.mean_ms,
            "p50": self.p50_ms,
            "p90": self.p90_ms,
            "p99": self.p99_ms,
            "max": self.max_ms,
            "values": self.values_ms.tolist(),
        }

    def __repr__(self) -> str:
        return f"Latency({self.name}: p50 {self.p50_ms:.3f} ms, p99 {self.p99_ms:.3f} ms, n {self.n})"
