"""Which windows of a clip a window graph sees."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Audio = npt.NDArray[np.float32]


def iter_windows(audio: Audio, window_samples: int) -> Iterator[Audio]:
    """Cut a clip into the windows by which it is scored.

    Windows overlap by at least half; the first starts with the clip, the last ends with it. A clip shorter than
    a window is preceded by silence, as at the start of a stream.

    Args:
        audio: mono float32, shape `(n_samples,)`.
        window_samples: length of a window.

    Yields:
        at least one window, shape `(window_samples,)`; views of `audio`, so that those of an hour take no memory.
    """
    excess = len(audio) - window_samples
    if excess < 0:
        yield np.pad(audio, (-excess, 0))
        return
    n_windows = 1 + math.ceil(excess / (window_samples // 2))
    for start in np.linspace(0, excess, n_windows).round().astype(int):
        yield audio[start : start + window_samples]


def clip_windows(audio: Audio, window_samples: int) -> Audio:
    """The windows of `iter_windows`, stacked: shape `(n_windows, window_samples)`."""
    return np.stack(list(iter_windows(audio, window_samples)))
