"""What benchmarks and tests are fed with: the same on every machine, and no corpus needed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import numpy as np
import numpy.typing as npt

Audio = npt.NDArray[np.float32]

SEED = 2024
_SIGNAL_S = 12.8
_N_IMAGES = 64


def speech_like(n_samples: int, sample_rate: int, *, seed: int = SEED) -> Audio:
    """Noise with the spectrum and the rhythm of speech, but never silent: silence may be faster to compute.

    Args:
        n_samples: its length.
        sample_rate: Hz.
        seed: of the noise.

    Returns:
        mono float32 in [-1, 1], shape `(n_samples,)`.
    """
    noise = np.random.default_rng(seed).standard_normal(n_samples)
    spectrum = np.fft.rfft(noise)
    frequencies = np.fft.rfftfreq(n_samples, 1 / sample_rate)
    spectrum *= 1 / (1 + (frequencies / 500) ** 2) ** 0.75  # falls by 9 dB per octave above 500 Hz
    shaped = np.fft.irfft(spectrum, n_samples)
    # four syllables a second
    shaped *= 0.55 + 0.45 * np.sin(2 * np.pi * 4 * np.arange(n_samples) / sample_rate)
    result: Audio = np.clip(0.1 * shaped / shaped.std() + 1e-3 * noise, -1, 1).astype(np.float32)
    return result


def endless_blocks(block_samples: int, sample_rate: int) -> Iterator[Audio]:
    """The same `speech_like` seconds over and over, in blocks.

    Args:
        block_samples: length of a block.
        sample_rate: Hz.

    Returns:
        blocks without end, shape `(block_samples,)` each.
    """
    n_blocks = max(2, round(_SIGNAL_S * sample_rate / block_samples))
    return cycle(np.split(speech_like(n_blocks * block_samples, sample_rate), n_blocks))


def endless_images(shape: tuple[int, ...]) -> Iterator[npt.NDArray[np.float32]]:
    """The same images of noise over and over.

    Args:
        shape: `(height, width)`, in pixels.

    Returns:
        images without end, float32 grey values from 0 to 255.
    """
    images = np.random.default_rng(SEED).uniform(0, 255, (_N_IMAGES, *shape))
    return cycle(images.astype(np.float32))
