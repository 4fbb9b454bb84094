"""Made-up sentences that differ from take to take as spoken ones do: pitch, timing, formants and noise."""

from __future__ import annotations

import numpy as np

_FORMANTS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (530, 1840, 2480), (570, 840, 2410), (300, 870, 2240))
"""Of five vowels (Peterson and Barney 1952)."""


def spoken(
    *,
    speaker: int,
    sentence: int,
    take: int,
    seconds: float = 1.6,
    sample_rate: int = 16000,
    level: float = 0.1,
) -> np.ndarray:
    """A sentence, mono float32: the same vowels in every take of it, with other timing, pitch and noise.

    Args:
        speaker: gives the pitch and the length of the vocal tract.
        sentence: gives the vowels.
        take: gives all else.
        seconds: how long.
        sample_rate: Hz.
        level: root mean square.
    """
    voice = np.random.default_rng([speaker, 1])
    pitch_hz, tract = voice.uniform(90, 240), voice.uniform(0.9, 1.15)
    vowels = np.random.default_rng([sentence, 2]).integers(len(_FORMANTS_HZ), size=6)
    rng = np.random.default_rng([speaker, sentence, take, 3])
    n_samples = round(seconds * sample_rate)
    time = np.arange(n_samples) / n_samples
    # Where each syllable begins, and how loud it is.
    edges = np.cumsum(rng.uniform(0.7, 1.3, len(vowels) + 1))
    syllable = np.minimum(np.searchsorted(edges / edges[-1], time), len(vowels) - 1)
    start = np.concatenate([[0], edges[:-1]])[syllable] / edges[-1]
    inside = np.clip((time - start) * len(vowels), 0, 1)
    loudness = np.sin(np.pi * inside) ** 0.7 * rng.uniform(0.5, 1, len(vowels))[syllable]
    wander = np.cumsum(rng.standard_normal(n_samples)) / np.sqrt(n_samples)
    glide = 1 + 0.15 * np.sin(2 * np.pi * (rng.uniform(0.5, 2) * time + rng.uniform())) + 0.1 * wander
    phase = 2 * np.pi * np.cumsum(pitch_hz * glide) / sample_rate
    formants = np.array(_FORMANTS_HZ)[vowels][syllable] * tract * rng.uniform(0.95, 1.05, (1, 3))
    audio = np.zeros(n_samples)
    for k in range(1, 25):
        hz = pitch_hz * glide * k
        gain = sum(1 / (1 + ((hz - formants[:, i]) / 90) ** 2) for i in range(3)) / k**0.5
        audio += np.where(hz < 0.45 * sample_rate, gain, 0) * np.sin(k * phase)
    audio = audio * loudness + 0.002 * rng.standard_normal(n_samples)
    return (audio * level / np.sqrt(np.mean(audio**2))).astype(np.float32)
