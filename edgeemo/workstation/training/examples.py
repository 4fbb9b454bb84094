"""From clips to batches: windows of audio, augmented where they train, and their features by the front-end graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import soxr

from edgeemo.audio import read_audio
from edgeemo.windows import clip_windows
from edgeemo.workstation.corpora.labels import LabelMap
from edgeemo.workstation.corpora.manifest import Clip
from edgeemo.workstation.graphs.frontend import FrontEnd
from edgeemo.workstation.training.recipe import Augmentation, Recipe


class AudioCache:
    """Clips as 16-bit audio at one sample rate, each read once: an hour takes 110 MB at 16 kHz."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._clips: dict[str, np.ndarray] = {}

    def __getitem__(self, clip: Clip) -> np.ndarray:
        """Mono float32 in [-1, 1], shape `(n_samples,)`.

        Raises:
            AudioError: the file cannot be read.
        """
        if clip.sha256 not in self._clips:
            audio = read_audio(clip.path, self.sample_rate)
            self._clips[clip.sha256] = np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16)
        return self._clips[clip.sha256].astype(np.float32) / 32767


@dataclass(frozen=True)
class FixedExamples:
    """Clips as they are scored: all their windows, without augmentation.

    Attributes:
        features: dB, shape `(n_windows, n_frames, n_mels)`.
        clip_index: which clip a window is of, shape `(n_windows,)`.
        labels: label index of each clip, shape `(n_clips,)`.
    """

    features: np.ndarray
    clip_index: np.ndarray
    labels: np.ndarray

    def clip_probabilities(self, probabilities: np.ndarray) -> np.ndarray:
        """The mean over each clip's windows, as `edgeemo classify` takes it; shape `(n_clips, n_labels)`."""
        sums = np.zeros((len(self.labels), probabilities.shape[1]))
        np.add.at(sums, self.clip_index, probabilities)
        return sums / np.bincount(self.clip_index)[:, np.newaxis]


def fixed_examples(
    clips: Sequence[Clip], cache: AudioCache, frontend: FrontEnd, recipe: Recipe
) -> FixedExamples:
    """The windows and features of validation or test clips."""
    features, clip_index = [], []
    for i, clip in enumerate(clips):
        windows = frontend(clip_windows(cache[clip], recipe.window_samples))
        features.append(windows)
        clip_index += [i] * len(windows)
    return FixedExamples(
        np.concatenate(features), np.array(clip_index), label_indices(clips, recipe.label_map)
    )


def label_indices(clips: Sequence[Clip], labels: LabelMap) -> np.ndarray:
    """Label index of each clip, shape `(n_clips,)`."""
    return np.array([labels.index(clip.emotion) for clip in clips])


class TrainingExamples(keras.utils.PyDataset):
    """Batches of augmented training windows, drawn anew each epoch.

    What an epoch draws depends only on `seed` and the epoch's number, so that a resumed run goes on exactly.

    Args:
        clips: training clips.
        cache: their audio.
        frontend: computes the features.
        recipe: window, augmentation and batch size.
        mask_db: what masked bands are set to, per mel band: shape `(n_mels,)`.
        seed: of the training.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        cache: AudioCache,
        frontend: FrontEnd,
        recipe: Recipe,
        *,
        mask_db: np.ndarray,
        seed: int,
    ) -> None:
        super().__init__()
        self._clips = list(clips)
        self._labels = label_indices(clips, recipe.label_map)
        self._speakers = np.array([clip.speaker for clip in clips])
        self._cache, self._frontend, self._recipe = cache, frontend, recipe
        self._mask_db = mask_db
        self._seed = seed
        n_labels = len(recipe.label_map.labels)
        counts = np.bincount(self._labels, minlength=n_labels)
        self._weights = np.ones(n_labels)
        if recipe.training.class_weights:
            self._weights = len(clips) / n_labels / np.maximum(counts, 1)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draw the clips of an epoch and their order."""
        self._rng = np.random.default_rng([self._seed, epoch])
        limit = self._recipe.training.clips_per_speaker
        chosen = [
            self._rng.permutation(np.flatnonzero(self._speakers == speaker))[: limit or None]
            for speaker in np.unique(self._speakers)
        ]
        self._order = self._rng.permutation(np.concatenate(chosen))

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self._order) / self._recipe.training.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features `(n, n_frames, n_mels)`, soft labels `(n, n_labels)` and loss weights `(n,)` of a batch."""
        size, rng, augmentation = self._recipe.training.batch_size, self._rng, self._recipe.augmentation
        chosen = self._order[index * size : (index + 1) * size]
        audio = np.stack([
            augmented_window(
                self._cache[self._clips[i]],
                self._recipe.window_samples,
                self._recipe.features.sample_rate,
                augmentation,
                rng,
            )
            for i in chosen
        ])  # fmt: skip
        features = self._frontend(audio)
        for window in features:
            mask(window, augmentation, self._mask_db, rng)
        labels = np.eye(len(self._weights), dtype=np.float32)[self._labels[chosen]]
        if augmentation.mixup:
            share = rng.beta(augmentation.mixup, augmentation.mixup, len(chosen)).astype(np.float32)
            partner = rng.permutation(len(chosen))
            features = _mix(features, features[partner], share[:, np.newaxis, np.newaxis])
            labels = _mix(labels, labels[partner], share[:, np.newaxis])
        return features, labels, (labels @ self._weights).astype(np.float32)


def augmented_window(
    audio: np.ndarray,
    window_samples: int,
    sample_rate: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> np.ndarray:
    """One window of a clip at a random place, with speed, noise and gain changed.

    Args:
        audio: a whole clip, mono float32, shape `(n_samples,)`.
        window_samples: length of the window.
        sample_rate: Hz.
        augmentation: which changes and how much.
        rng: where chance comes from.

    Returns:
        shape `(window_samples,)`, in [-1, 1].
    """
    if augmentation.speed:
        speed = rng.uniform(1 - augmentation.speed, 1 + augmentation.speed)
        audio = soxr.resample(audio, sample_rate * speed, sample_rate)
    # Anywhere from "ends with the clip" to "starts with it", whichever of clip and window is longer.
    slack = len(audio) - window_samples
    shift = round(augmentation.shift_s * sample_rate)
    start = int(rng.integers(min(slack, 0) - shift, max(slack, 0) + shift, endpoint=True))
    window = np.zeros(window_samples, np.float32)
    there = audio[max(start, 0) : max(start + window_samples, 0)]
    offset = max(-start, 0)
    there = there[: max(window_samples - offset, 0)]
    window[offset : offset + len(there)] = there
    if rng.random() < augmentation.noise_share:
        window += _noise(window, augmentation.noise_snr_db, rng)
    gain_db = rng.uniform(-augmentation.gain_db, augmentation.gain_db)
    return np.clip(window * 10 ** (gain_db / 20), -1, 1).astype(np.float32)


def mask(
    features: np.ndarray, augmentation: Augmentation, mask_db: np.ndarray, rng: np.random.Generator
) -> None:
    """SpecAugment's masks, in place: spans of frames and of mel bands are set to `mask_db`."""
    n_frames, n_mels = features.shape
    for _ in range(augmentation.time_masks):
        length = rng.integers(augmentation.time_mask_frames, endpoint=True)
        start = rng.integers(n_frames - length, endpoint=True)
        features[start : start + length] = mask_db
    for _ in range(augmentation.mel_masks):
        length = rng.integers(augmentation.mel_mask_bands, endpoint=True)
        start = rng.integers(n_mels - length, endpoint=True)
        features[:, start : start + length] = mask_db[start : start + length]


def _noise(window: np.ndarray, snr_db: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Noise with a spectrum from white to brown (power falling as 1/f^0 to 1/f^2), at a random ratio."""
    spectrum = np.fft.rfft(rng.standard_normal(len(window), dtype=np.float32))
    frequency = np.maximum(np.arange(len(spectrum), dtype=np.float32), 1)
    noise = np.fft.irfft(spectrum / frequency ** np.float32(rng.uniform(0, 1)), len(window))
    ratio = 10 ** (rng.uniform(*snr_db) / 20)
    loudness = np.sqrt(np.mean(window**2)) / max(float(np.sqrt(np.mean(noise**2))), 1e-12)
    return (noise * loudness / ratio).astype(np.float32)


def _mix(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    return share * a + (1 - share) * b
