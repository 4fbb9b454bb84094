"""Audio to test with: noise and things like voices."""

from __future__ import annotations

import numpy as np


def noise(n_samples: int, *, seed: int = 0, peak: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-peak, peak, n_samples).astype(np.float32)


def speech_like(n_samples: int, sample_rate: int = 16000, *, seed: int = 0) -> np.ndarray:
    """Gliding harmonics in syllables over a little noise: 40 dB between loud and quiet frames."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(n_samples) / sample_rate
    pitch_hz = rng.uniform(100, 250) + 50 * np.sin(2 * np.pi * rng.uniform(0.2, 1.0) * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / sample_rate
    voice = sum(np.sin(k * phase) * rng.uniform(0.3, 1) / k for k in range(1, 16))
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(2, 5) * time_s + rng.uniform(0, 6)), 0, 1)
    return (0.15 * voice * syllables + 0.003 * rng.standard_normal(n_samples)).astype(np.float32)


def voice_like(duration_s: float, sample_rate: int) -> np.ndarray:
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    pitch_hz = 180 + 90 * np.sin(2 * np.pi * 0.31 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / sample_rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * (1.1 + 0.3 * time_s) * time_s), 0, 1)
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    return (0.2 * voice * syllables + 0.003 * noise).astype(np.float32)
