"""Numbers of speakers, as networks with a history are given them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNKNOWN = -1
"""The number of a speaker without other clips."""


def numbered(speakers: list[str]) -> npt.NDArray[np.int32]:
    """A number for each speaker, the same for the same one."""
    numbers: npt.NDArray[np.int32] = np.unique(speakers, return_inverse=True)[1].astype(np.int32)
    return numbers
