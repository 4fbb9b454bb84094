"""The test signal."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from edgeemo.bench.signals import endless_blocks, endless_images, speech_like


def test_signal_is_loud_enough_never_silent_and_the_same_each_time() -> None:
    audio = speech_like(48000, 48000)
    assert audio.dtype == np.float32
    assert np.abs(audio).max() <= 1
    assert 0.05 < audio.std() < 0.2
    frames = audio.reshape(-1, 480)
    assert frames.std(axis=1).min() > 1e-3
    np.testing.assert_array_equal(audio, speech_like(48000, 48000))
    assert not np.array_equal(audio, speech_like(48000, 48000, seed=1))


@pytest.mark.parametrize(
    ("block_samples", "sample_rate", "n_blocks"),
    [(2560, 16000, 80), (7680, 48000, 80), (1000, 8000, 102), (200_000, 8000, 2)],
)
def test_blocks_repeat_one_signal_without_a_gap(block_samples: int, sample_rate: int, n_blocks: int) -> None:
    found = list(islice(endless_blocks(block_samples, sample_rate), 2 * n_blocks))
    assert {block.shape for block in found} == {(block_samples,)}
    audio = speech_like(n_blocks * block_samples, sample_rate)
    np.testing.assert_array_equal(np.concatenate(found), np.tile(audio, 2))


def test_images_repeat_and_use_the_range_of_grey_values() -> None:
    images = list(islice(endless_images((6, 5)), 128))
    assert {(image.shape, image.dtype.name) for image in images} == {((6, 5), "float32")}
    np.testing.assert_array_equal(images[:64], images[64:])
    assert not np.array_equal(images[0], images[1])
    assert 0 <= np.min(images) < 5
    assert 250 < np.max(images) <= 255
