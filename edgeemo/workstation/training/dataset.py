"""What a training needs of its data, whatever the data are: clips of speech or grey images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgeemo.workstation.corpora.labels import LabelMap
from edgeemo.workstation.training.protocols import Item, Split
from edgeemo.workstation.training.recipe import Recipe


@dataclass(frozen=True)
class FixedExamples:
    """Items as they are scored: all windows of each, without augmentation.

    Attributes:
        features: what the network takes, shape `(n_windows, *recipe.input_shape)`.
        clip_index: which item a window is of, shape `(n_windows,)`.
        labels: label index of each item, shape `(n_items,)`.
    """

    features: np.ndarray
    clip_index: np.ndarray
    labels: np.ndarray

    def clip_probabilities(self, probabilities: np.ndarray) -> np.ndarray:
        """The mean over each item's windows, as `edgeemo classify` takes it; shape `(n_items, n_labels)`."""
        sums = np.zeros((len(self.labels), probabilities.shape[1]))
        np.add.at(sums, self.clip_index, probabilities)
        return sums / np.bincount(self.clip_index)[:, np.newaxis]


class Batches(Protocol):
    """Training batches, drawn anew each epoch; what an epoch draws depends on the seed and its number alone."""

    def start_epoch(self, epoch: int) -> None:
        """Draw the items of an epoch and their order."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features `(n, *recipe.input_shape)`, soft labels `(n, n_labels)` and loss weights `(n,)` of a batch."""


class Dataset(Protocol):
    """The items that a recipe trains on, and how they become what its network takes."""

    def splits(self) -> list[Split]:
        """The folds of the recipe's protocol.

        Raises:
            CorpusError: too few items, speakers or corpora for it.
        """

    def fixed(self, items: Sequence[Any]) -> FixedExamples:
        """Items as they are scored."""

    def batches(self, items: Sequence[Any], *, mask: np.ndarray | None, seed: int) -> Batches:
        """Items as they are trained on.

        Args:
            items: of the training part.
            mask: what is masked is set to: the mean per mel band, shape `(n_mels,)`; of images, None.
            seed: of the training.
        """

    def illustrate(self, items: Sequence[Any], predicted: np.ndarray, folder: Path) -> None:
        """Write pictures of some items with their predicted label indices, where they are to be looked at."""


def label_indices(items: Sequence[Item], labels: LabelMap) -> np.ndarray:
    """Label index of each item, shape `(n_items,)`."""
    return np.array([labels.index(item.label) for item in items])


def label_weights(indices: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Loss weight of each label, shape `(n_labels,)`: against imbalance, where the recipe wants it; else one."""
    n_labels = len(recipe.label_map.labels)
    if not recipe.training.class_weights:
        return np.ones(n_labels)
    counts = np.bincount(indices, minlength=n_labels)
    return len(indices) / n_labels / np.maximum(counts, 1)
