"""Which stretches of a clip a graph sees: windows, or the steps of a stream."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

Audio = npt.NDArray[np.float32]
Bounds = tuple[int, int]
"""Of a stretch of a clip: its first sample, and the one after its last."""


def window_bounds(n_samples: int, window_samples: int) -> Iterator[Bounds]:
    """The windows by which a clip is scored.

    Windows overlap by at least half; the first starts with the clip, the last ends with it. A clip shorter than a
    window is one stretch.

    Args:
        n_samples: length of the clip.
        window_samples: length of a window.

    Yields:
        the bounds of at least one window.
    """
    excess = n_samples - window_samples
    if excess < 0:
        yield 0, n_samples
        return
    n_windows = 1 + math.ceil(excess / (window_samples // 2))
    for start in np.linspace(0, excess, n_windows).round().astype(int).tolist():
        yield start, start + window_samples


def step_bounds(n_samples: int, step_samples: int) -> Iterator[Bounds]:
    """The steps of a stream graph over a clip: one after the other, the last ends with the clip.

    Args:
        n_samples: length of the clip, at least 1.
        step_samples: length of a step; the first stretch may be shorter.
    """
    for end in range((n_samples - 1) % step_samples + 1, n_samples + 1, step_samples):
        yield max(0, end - step_samples), end


def moved(bounds: Iterable[Bounds], by: int) -> Iterator[Bounds]:
    """Bounds so many samples later."""
    return ((start + by, end + by) for start, end in bounds)


def stretches(blocks: Iterable[Audio], bounds: Iterable[Bounds]) -> Iterator[tuple[Bounds, Audio]]:
    """Cut stretches out of a clip that comes in blocks, keeping no more of it than the next one needs.

    Args:
        blocks: the clip, mono float32 `(n_samples,)` each.
        bounds: where the stretches are, by rising starts; they may overlap.

    Yields:
        each stretch with its bounds: a view of a block, where it lies in one.
    """
    coming, held, offset = iter(blocks), np.zeros(0, np.float32), 0
    for start, end in bounds:
        while offset + len(held) < end:
            block = next(coming, None)
            if block is None:
                return
            rest = held[start - offset :]
            offset += len(held) - len(rest)
            held = np.concatenate([rest, block]) if len(rest) else block
        yield (start, end), held[start - offset : end - offset]


def preceded_by_silence(stretch: Audio, n_samples: int) -> Audio:
    """A stretch of `n_samples`: zeros before one that is shorter, as at the start of a stream."""
    return np.pad(stretch, (n_samples - len(stretch), 0)) if len(stretch) < n_samples else stretch


def clip_windows(audio: Audio, window_samples: int) -> Audio:
    """The windows of a clip in memory, mono float32 `(n_samples,)`: shape `(n_windows, window_samples)`."""
    windows = stretches([audio], window_bounds(len(audio), window_samples))
    return np.stack([preceded_by_silence(window, window_samples) for _, window in windows])
