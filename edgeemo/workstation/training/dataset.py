"""What a training needs of its data, whatever the data are: clips of speech or grey images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edgeemo.corpora.labels import LabelMap
from edgeemo.workstation.training.protocols import Item, ItemT, Split
from edgeemo.workstation.training.recipe import Recipe


@dataclass(frozen=True)
class FixedExamples:
    """Items as they are scored: all windows of each, without augmentation.

    Attributes:
        features: what the network takes, shape `(n_windows, *recipe.input_shape)`.
        clip_index: which item a window is of, shape `(n_windows,)`.
        labels: label index of each item, shape `(n_items,)`.
    """

    features: npt.NDArray[np.float32]
    clip_index: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    def clip_probabilities(self, probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """The mean over each item's windows, as `edgeemo classify` takes it; shape `(n_items, n_labels)`."""
        sums = np.zeros((len(self.labels), probabilities.shape[1]))
        np.add.at(sums, self.clip_index, probabilities)
        return sums / np.bincount(self.clip_index)[:, np.newaxis]


class Batch(NamedTuple):
    """What a network is trained on at once.

    Attributes:
        features: what it takes, shape `(n, *recipe.input_shape)`.
        labels: soft ones, shape `(n, n_labels)`.
        weights: in the loss, shape `(n,)`.
    """

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]


class Batches(Protocol):
    """Training batches, drawn anew each epoch; what an epoch draws depends on the seed and its number alone."""

    def start_epoch(self, epoch: int) -> None:
        """Draw the items of an epoch and their order."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def __getitem__(self, index: int) -> Batch:
        """A batch by its place in the epoch."""


class Dataset(Protocol[ItemT]):
    """The items that a recipe trains on, and how they become what its network takes."""

    @property
    def recipe(self) -> Recipe:
        """The recipe, with what it leaves to the data."""

    @property
    def understood(self) -> list[str]:
        """How data of one's own were understood, in lines for a person."""

    @property
    def items(self) -> tuple[ItemT, ...]:
        """All items that have a label of the recipe."""

    def splits(self) -> list[Split[ItemT]]:
        """The folds of the recipe's protocol.

        Raises:
            CorpusError: too few items, speakers or corpora for it.
        """

    def fixed(self, items: Sequence[ItemT]) -> FixedExamples:
        """Items as they are scored."""

    def batches(self, items: Sequence[ItemT], *, mask: npt.NDArray[np.float32] | None, seed: int) -> Batches:
        """Items as they are trained on.

        Args:
            items: of the training part.
            mask: what is masked is set to: the mean per mel band, shape `(n_mels,)`; of images, None.
            seed: of the training.
        """

    def illustrate(self, items: Sequence[ItemT], predicted: npt.NDArray[np.int64], folder: Path) -> None:
        """Write images of some items with their predicted labels, if there is something to look at.

        Args:
            items: of the test part.
            predicted: index of each item's predicted label, shape `(n_items,)`.
            folder: where the images go.
        """


def label_indices(items: Sequence[Item], labels: LabelMap) -> npt.NDArray[np.int64]:
    """Label index of each item, shape `(n_items,)`."""
    return np.array([labels.index(item.label) for item in items], np.int64)


def label_weights(indices: npt.NDArray[np.int64], recipe: Recipe) -> npt.NDArray[np.float64]:
    """Loss weight of each label, shape `(n_labels,)`: against imbalance if the recipe wants it, else one."""
    n_labels = len(recipe.label_map.labels)
    if not recipe.training.class_weights:
        return np.ones(n_labels)
    counts = np.bincount(indices, minlength=n_labels)
    weights: npt.NDArray[np.float64] = len(indices) / n_labels / np.maximum(counts, 1)
    return weights
