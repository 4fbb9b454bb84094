"""Corpora to test with: generated files under the names that real ones have."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

from edgeemo.bench.signals import speech_like
from edgeemo.corpora.manifest import Clip

EMOTION_CODES = {"neutral": 1, "happy": 3, "sad": 4, "angry": 5}


def write_corpus(folder: Path, *, n_actors: int = 6, n_takes: int = 2) -> Path:
    """Audio under RAVDESS' names: an emotion is a pitch, so that there is something to learn."""
    for actor in range(1, n_actors + 1):
        for code in EMOTION_CODES.values():
            for take in range(1, n_takes + 1):
                seed = actor * 100 + code * 10 + take
                rng = np.random.default_rng(seed)
                n = int(rng.integers(1500, 6000))
                time_s = np.arange(n) / 8000
                tone = np.sin(2 * np.pi * (200 + 300 * code + 20 * actor) * time_s)
                audio = 0.3 * tone * rng.uniform(0.5, 1) + 0.01 * rng.standard_normal(n)
                name = f"Actor_{actor:02d}/03-01-{code:02d}-01-01-{take:02d}-{actor:02d}.wav"
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(folder / name, audio, 8000, subtype="PCM_16")
    return folder


def write_crema_d(
    folder: Path, *, speakers: Iterable[int], emotions: Iterable[str], seconds: float = 1.2
) -> Path:
    """Audio under CREMA-D's names, a clip for each speaker and emotion: no two alike."""
    folder.mkdir(parents=True, exist_ok=True)
    emotions = tuple(emotions)
    for speaker in speakers:
        for code, emotion in enumerate(emotions):
            audio = speech_like(round(16_000 * seconds), 16_000, seed=10 * speaker + code)
            soundfile.write(folder / f"{speaker}_IEO_{emotion}_XX.wav", audio, 16_000, subtype="PCM_16")
    return folder


IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""Fashion-MNIST's files."""


def idx(array: np.ndarray) -> bytes:
    """An idx file, by its description: magic, lengths of the axes, bytes."""
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.astype(np.uint8).tobytes()


def write_fashion(folder: Path, *arrays: np.ndarray, zipped: bool = True) -> Path:
    """Fashion-MNIST under its names: training images and labels, test images and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(IDX_FILES, arrays, strict=True):
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return folder


def bars(n: int, size: int, n_labels: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Square images to learn from, and their labels: a class is the place of a bright bar."""
    labels = np.arange(n) % n_labels
    pixels = np.random.default_rng(seed).integers(0, 60, (n, size, size))
    width = size // n_labels
    for image, label in zip(pixels, labels, strict=True):
        image[:, width * label : width * label + 3] = 250
    return pixels.astype(np.uint8), labels


def clip(n: int, *, speaker: str = "a", emotion: str = "sad", corpus: str = "mine") -> Clip:
    """A clip of a manifest whose file is not there, `n` telling it from others."""
    return Clip(
        path=Path(f"{n}.wav"),
        corpus=corpus,
        emotion=emotion,
        speaker=speaker,
        sentence="",
        intensity="",
        sample_rate=16_000,
        n_samples=16_000,
        n_channels=1,
        sha256=f"{n * 2654435761 % 2**256:064x}",
        session="",
    )
