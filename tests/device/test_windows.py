"""Which windows a clip is cut into."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeemo.windows import clip_windows, step_bounds, stretches, window_bounds


@settings(deadline=None, max_examples=200)
@given(window_samples=st.integers(2, 40), n_samples=st.integers(2, 500))
def test_windows_cover_the_clip_and_overlap_by_half(window_samples: int, n_samples: int) -> None:
    audio = np.arange(1, max(n_samples, window_samples) + 1, dtype=np.float32)
    windows = [window for _, window in stretches([audio], window_bounds(len(audio), window_samples))]
    starts = np.array([window[0] - 1 for window in windows]).astype(int)
    for start, window in zip(starts, windows, strict=True):
        np.testing.assert_array_equal(window, audio[start : start + window_samples])
        assert np.shares_memory(window, audio)
    assert (starts[0], windows[-1][-1]) == (0, audio[-1])
    hop = window_samples // 2
    assert len(windows) == 1 + math.ceil((len(audio) - window_samples) / hop)  # no more than that needs
    assert (np.diff(starts) <= hop).all()
    assert (np.diff(starts) > 0).all()
    np.testing.assert_array_equal(clip_windows(audio, window_samples), np.stack(windows))


@pytest.mark.parametrize("n_samples", [0, 1, 7, 9])
def test_a_short_clip_follows_silence(n_samples: int) -> None:
    audio = np.arange(1, n_samples + 1, dtype=np.float32)
    (window,) = clip_windows(audio, 10)
    assert window.dtype == np.float32
    np.testing.assert_array_equal(window[10 - n_samples :], audio)
    assert (window[: 10 - n_samples] == 0).all()


@settings(deadline=None, max_examples=200)
@given(step_samples=st.integers(1, 40), n_samples=st.integers(1, 500))
def test_steps_follow_each_other_and_end_with_the_clip(step_samples: int, n_samples: int) -> None:
    bounds = list(step_bounds(n_samples, step_samples))
    assert [0, *(end for _, end in bounds)] == [*(start for start, _ in bounds), n_samples]
    lengths = [end - start for start, end in bounds]
    assert 0 < lengths[0] <= step_samples
    assert set(lengths[1:]) <= {step_samples}


@settings(deadline=None, max_examples=200)
@given(
    window_samples=st.integers(2, 40),
    n_samples=st.integers(1, 500),
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=5).filter(any),
)
def test_stretches_do_not_depend_on_the_blocks(window_samples: int, n_samples: int, sizes: list[int]) -> None:
    audio = np.arange(n_samples, dtype=np.float32)
    blocks, start = [], 0
    while start < n_samples:
        blocks.append(audio[start : start + sizes[len(blocks) % len(sizes)]])
        start += len(blocks[-1])
    for bounds in (
        list(window_bounds(n_samples, window_samples)),
        list(step_bounds(n_samples, window_samples)),
    ):
        found = list(stretches(blocks, bounds))
        assert [where for where, _ in found] == bounds
        for (first, end), stretch in found:
            np.testing.assert_array_equal(stretch, audio[first:end])
