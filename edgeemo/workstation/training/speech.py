"""From clips to batches: windows of audio, augmented where they train, and their features by the front-end graph."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from edgeemo.audio import read_audio
from edgeemo.corpora.manifest import Clip, Manifest
from edgeemo.files import replacing
from edgeemo.places import CACHE_DIR
from edgeemo.windows import clip_windows
from edgeemo.workstation.graphs.frontend import FrontEnd
from edgeemo.workstation.training.dataset import Batch, FixedExamples, label_indices, label_weights
from edgeemo.workstation.training.protocols import Split, split
from edgeemo.workstation.training.recipe import Augmentation, Recipe


class AudioCache:
    """Clips as 16-bit audio at one sample rate, each read once: an hour takes 110 MB at 16 kHz."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._clips: dict[str, npt.NDArray[np.int16]] = {}

    def __getitem__(self, clip: Clip) -> npt.NDArray[np.float32]:
        """Mono float32 in [-1, 1], shape `(n_samples,)`.

        Raises:
            AudioError: the file cannot be read.
        """
        if clip.sha256 not in self._clips:
            audio = read_audio(clip.path, self.sample_rate)
            self._clips[clip.sha256] = np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16)
        return self._clips[clip.sha256].astype(np.float32) / np.float32(32767)


class FeatureCache:
    """The features of clips' windows, computed once and kept on disk: an interrupted extraction goes on.

    Args:
        recipe: its features and window; another front end has a folder of its own.
        audio: of the clips.
        frontend: computes the features.
        folder: where they are kept.
    """

    def __init__(self, recipe: Recipe, audio: AudioCache, frontend: FrontEnd, folder: Path) -> None:
        self._audio, self._frontend, self._window_samples = audio, frontend, recipe.window_samples
        settings = json.dumps([dataclasses.asdict(recipe.features), recipe.window_samples])
        self._folder = folder / hashlib.sha256(settings.encode()).hexdigest()[:16]

    def __getitem__(self, clip: Clip) -> npt.NDArray[np.float32]:
        """Features of the windows that a clip is scored by, in dB, shape `(n_windows, n_frames, n_mels)`."""
        path = self._folder / f"{clip.sha256}.npy"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, self._frontend(clip_windows(self._audio[clip], self._window_samples)))
        features: npt.NDArray[np.float32] = np.load(path, mmap_mode="r")
        return features


class SpeechDataset:
    """Clips of speech, as log-mel features in dB.

    Args:
        recipe: its features, window, corpora, labels, protocol and augmentation.
        manifest: clips to choose from.

    Raises:
        CorpusError: the manifest lacks a corpus of the recipe.
    """

    def __init__(self, recipe: Recipe, manifest: Manifest) -> None:
        self.recipe = recipe
        self.items = manifest.select(corpora=recipe.data.corpora, label_map=recipe.label_map)
        self.audio = AudioCache(recipe.features.sample_rate)
        # One thread: TensorFlow has the other cores.
        self._frontend = FrontEnd(recipe.features)
        self._features = (
            FeatureCache(recipe, self.audio, self._frontend, CACHE_DIR / "features")
            if recipe.data.cached
            else None
        )

    def splits(self) -> list[Split[Clip]]:
        """The folds of the recipe's protocol."""
        return split(self.items, self.recipe.protocol, self.recipe.label_map)

    def fixed(self, items: Sequence[Clip]) -> FixedExamples:
        """Clips as they are scored: all their windows, without augmentation."""
        # Copies: what is cached on disk is mapped, a file descriptor each.
        windows = [np.array(self._windows(clip)) for clip in items]
        return FixedExamples(
            np.concatenate(windows),
            np.repeat(np.arange(len(items)), [len(w) for w in windows]),
            label_indices(items, self.recipe.label_map),
        )

    def batches(
        self, items: Sequence[Clip], *, mask: npt.NDArray[np.float32] | None, seed: int
    ) -> SpeechBatches:
        """Clips as they are trained on."""
        return SpeechBatches(
            items, self.audio, self._frontend, self.recipe, mask_db=mask, seed=seed, cached=self._features
        )

    def illustrate(self, items: Sequence[Clip], predicted: npt.NDArray[np.int64], folder: Path) -> None:
        """Nothing: speech is not looked at."""

    def _windows(self, clip: Clip) -> npt.NDArray[np.float32]:
        if self._features is not None:
            return self._features[clip]
        return self._frontend(clip_windows(self.audio[clip], self.recipe.window_samples))


class SpeechBatches:
    """Batches of augmented training windows, drawn anew each epoch.

    What an epoch draws depends only on `seed` and the epoch's number, so that a resumed run goes on exactly.

    Args:
        clips: training clips.
        cache: their audio.
        frontend: computes the features.
        recipe: window, augmentation and batch size.
        mask_db: what masked bands are set to, per mel band, shape `(n_mels,)`; None: nothing is masked.
        seed: of the training.
        cached: features of each clip's windows, one of which is drawn, instead of augmented audio.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        cache: AudioCache,
        frontend: FrontEnd,
        recipe: Recipe,
        *,
        mask_db: npt.NDArray[np.float32] | None,
        seed: int,
        cached: FeatureCache | None = None,
    ) -> None:
        self._clips = list(clips)
        self._labels = label_indices(clips, recipe.label_map)
        self._speakers = np.array([clip.speaker for clip in clips])
        self._cache, self._frontend, self._recipe = cache, frontend, recipe
        self._mask_db, self._cached = mask_db, cached
        self._seed = seed
        self._weights = label_weights(self._labels, recipe)
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

    def __getitem__(self, index: int) -> Batch:
        """Features `(n, n_frames, n_mels)`, soft labels `(n, n_labels)` and loss weights `(n,)` of a batch."""
        size, rng, augmentation = self._recipe.training.batch_size, self._rng, self._recipe.augmentation
        chosen = self._order[index * size : (index + 1) * size]
        features = self._features([self._clips[i] for i in chosen])
        if self._mask_db is not None:
            for window in features:
                mask(window, augmentation, self._mask_db, rng)
        labels = np.eye(len(self._weights), dtype=np.float32)[self._labels[chosen]]
        if augmentation.mixup:
            share = rng.beta(augmentation.mixup, augmentation.mixup, len(chosen)).astype(np.float32)
            partner = rng.permutation(len(chosen))
            features = _mix(features, features[partner], share[:, np.newaxis, np.newaxis])
            labels = _mix(labels, labels[partner], share[:, np.newaxis])
        return features, labels, (labels @ self._weights).astype(np.float32)

    def _features(self, clips: Sequence[Clip]) -> npt.NDArray[np.float32]:
        """One window of each clip, shape `(n, n_frames, n_mels)`; the caller's own."""
        if self._cached is not None:
            windows = (self._cached[clip] for clip in clips)
            return np.stack([w[self._rng.integers(len(w))] for w in windows])
        recipe = self._recipe
        return self._frontend(np.stack([
            augmented_window(
                self._cache[clip],
                recipe.window_samples,
                recipe.features.sample_rate,
                recipe.augmentation,
                self._rng,
            )
            for clip in clips
        ]))  # fmt: skip


def augmented_window(
    audio: npt.NDArray[np.float32],
    window_samples: int,
    sample_rate: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
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
    heard: npt.NDArray[np.float32] = np.clip(window * 10 ** (gain_db / 20), -1, 1).astype(np.float32)
    return heard


def mask(
    features: npt.NDArray[np.float32],
    augmentation: Augmentation,
    mask_db: npt.NDArray[np.float32],
    rng: np.random.Generator,
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


def _noise(
    window: npt.NDArray[np.float32], snr_db: tuple[float, float], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Noise with a spectrum from white to brown (power falling as 1/f^0 to 1/f^2), at a random ratio."""
    spectrum = np.fft.rfft(rng.standard_normal(len(window), dtype=np.float32))
    frequency = np.maximum(np.arange(len(spectrum), dtype=np.float32), 1)
    noise = np.fft.irfft(spectrum / frequency ** np.float32(rng.uniform(0, 1)), len(window))
    ratio = 10 ** (rng.uniform(*snr_db) / 20)
    loudness = np.sqrt(np.mean(window**2)) / max(float(np.sqrt(np.mean(noise**2))), 1e-12)
    scaled: npt.NDArray[np.float32] = (noise * loudness / ratio).astype(np.float32)
    return scaled


def _mix(
    a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], share: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    return share * a + (1 - share) * b
