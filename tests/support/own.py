"""Recordings of one's own to test with: a tone for each label, so that there is something to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 8000
TONES = {"joy": 400, "shout": 1500}
"""Label -> Hz."""


def tone(label: str, n: int, seconds: float = 0.4) -> np.ndarray:
    """A clip of a label; another `n` gives another clip."""
    rng = np.random.default_rng(n)
    time_s = np.arange(round(RATE * seconds)) / RATE
    sound = 0.3 * np.sin(2 * np.pi * (TONES[label] + 5 * n) * time_s)
    return sound + 0.01 * rng.standard_normal(len(time_s))


def write_class_folders(
    folder: Path, *, n_clips: int = 20, parts: tuple[str, ...] = ("",), suffix: str = ".wav"
) -> Path:
    """`joy/0_0.wav` and `shout/0_1.wav`, by four speakers, who are in the names; below each of `parts`."""
    for i, part in enumerate(parts):
        for j, label in enumerate(TONES):
            for n in range(n_clips):
                path = folder / part / label / f"s{n % 4}_{n}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, tone(label, 1000 * i + 100 * j + n), RATE)
    return folder
