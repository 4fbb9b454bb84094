"""Clips of speech to train and score on: their features, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeemo.corpora.find import understood
from edgeemo.corpora.manifest import Clip, Manifest
from edgeemo.corpora.votes import votes_on
from edgeemo.places import CACHE_DIR
from edgeemo.workstation.graphs.frontend import FrontEnd
from edgeemo.workstation.training.caches import AudioCache, FeatureCache, PowerCache, scored_windows
from edgeemo.workstation.training.dataset import Batch, FixedExamples, label_indices, label_weights
from edgeemo.workstation.training.epochs import Epochs
from edgeemo.workstation.training.protocols import Split, split
from edgeemo.workstation.training.recipe import Augmentation, Recipe, with_data
from edgeemo.workstation.training.windows import AudioWindows, CachedWindows, PowerWindows, Windows


class SpeechDataset:
    """Clips of speech, as log-mel features in dB.

    Args:
        recipe: its features, window, corpora, labels, protocol and augmentation.
        manifest: clips to choose from.

    Attributes:
        recipe: the same, with the corpora and labels of the data where it leaves them to the data.
        understood: how data of one's own were understood, in lines for a person.

    Raises:
        CorpusError: the manifest lacks a corpus of the recipe.
        RecipeError: the labels are left to the data, which have one alone.
    """

    def __init__(self, recipe: Recipe, manifest: Manifest) -> None:
        self.recipe = recipe = with_data(recipe, manifest.select(corpora=recipe.data.corpora))
        self.understood = understood(manifest, recipe.label_map)
        self.items = manifest.select(corpora=recipe.data.corpora, label_map=recipe.label_map)
        self.audio = AudioCache(recipe.features)
        # One thread: TensorFlow has the other cores.
        self._frontend = FrontEnd(recipe.features)
        self._features = (
            FeatureCache(recipe, self.audio, self._frontend, CACHE_DIR / "features")
            if recipe.data.cached
            else None
        )
        self._power = PowerCache(recipe.features, CACHE_DIR / "power") if recipe.channel else None

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
        if mask is not None and self.recipe.features.level == "running_mean":
            # The mean of what is heard; over all frames, pauses would count.
            mask = np.zeros_like(mask)
        return SpeechBatches(items, self._drawn(items), self.recipe, mask_db=mask, seed=seed)

    def illustrate(self, items: Sequence[Clip], predicted: npt.NDArray[np.int64], folder: Path) -> None:
        """Nothing: speech is not looked at."""

    def _drawn(self, items: Sequence[Clip]) -> Windows:
        if self.recipe.channel is not None and self._power is not None:
            return PowerWindows(items, self._power, self.recipe.channel, self.recipe)
        if self._features is not None:
            return CachedWindows(self._features)
        return AudioWindows(self.audio, self._frontend, self.recipe)

    def _windows(self, clip: Clip) -> npt.NDArray[np.float32]:
        if self._features is not None:
            return self._features[clip]
        return scored_windows(self._frontend, self.audio[clip], self.recipe.window_samples)


class SpeechBatches:
    """Batches of training windows, drawn anew each epoch.

    What an epoch draws depends only on `seed` and the epoch's number, so that a resumed run goes on exactly.

    Args:
        clips: training clips.
        windows: draws a window of each.
        recipe: augmentation and batch size.
        mask_db: what masked bands are set to, per mel band, shape `(n_mels,)`; None: nothing is masked.
        seed: of the training.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        windows: Windows,
        recipe: Recipe,
        *,
        mask_db: npt.NDArray[np.float32] | None,
        seed: int,
    ) -> None:
        self._clips = list(clips)
        self._labels = label_indices(clips, recipe.label_map)
        self._epochs = Epochs(clips, self._labels, recipe.training)
        self._windows, self._recipe, self._mask_db, self._seed = windows, recipe, mask_db, seed
        self._weights = label_weights(self._labels, recipe)
        self._soft_labels = soft_labels(clips, recipe)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draw the clips of an epoch and their order."""
        self._rng = np.random.default_rng([self._seed, epoch])
        self._order = self._epochs.draw(self._rng)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self._order) / self._recipe.training.batch_size)

    def __getitem__(self, index: int) -> Batch:
        """A batch of features, shape `(n, n_frames, n_mels)`."""
        size, rng, augmentation = self._recipe.training.batch_size, self._rng, self._recipe.augmentation
        chosen = self._order[index * size : (index + 1) * size]
        features = self._windows([self._clips[i] for i in chosen], rng)
        if self._mask_db is not None:
            n = self._recipe.features.n_spectral
            for window in features:
                mask(window[:, :n], augmentation, self._mask_db[:n], rng)
        labels = self._soft_labels[chosen]
        if augmentation.mixup:
            share = rng.beta(augmentation.mixup, augmentation.mixup, len(chosen)).astype(np.float32)
            partner = rng.permutation(len(chosen))
            features = _mix(features, features[partner], share[:, np.newaxis, np.newaxis])
            labels = _mix(labels, labels[partner], share[:, np.newaxis])
        weights = (labels @ self._weights).astype(np.float32)
        return Batch(features, labels, weights)


def soft_labels(clips: Sequence[Clip], recipe: Recipe) -> npt.NDArray[np.float32]:
    """What each clip is trained as, shape `(n_clips, n_labels)`: its label, and in part what listeners heard.

    Votes for an emotion that is no label are left out; a clip without votes for a label has its label alone.
    """
    label_map, share = recipe.label_map, recipe.training.votes
    soft = np.eye(len(label_map.labels), dtype=np.float32)[label_indices(clips, label_map)]
    if not share:
        return soft
    votes = votes_on(clips)
    for row, clip in zip(soft, clips, strict=True):
        heard = np.zeros_like(row)
        for emotion, n in votes.get(clip.path.stem, {}).items() if clip.corpus == "crema_d" else ():
            if (index := label_map.index(emotion)) is not None:
                heard[index] += n
        if heard.any():
            row[:] = (1 - share) * row + share * heard / heard.sum()
    return soft


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


def _mix(
    a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], share: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    return share * a + (1 - share) * b
