"""From pictures to batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from edgeemo.errors import RecipeError
from edgeemo.workstation.corpora.pictures import Picture
from edgeemo.workstation.training.dataset import FixedExamples, label_indices, label_weights
from edgeemo.workstation.training.plots import plot_pictures
from edgeemo.workstation.training.protocols import Split, split
from edgeemo.workstation.training.recipe import Recipe


class ImageDataset:
    """Pictures, as pixel values from 0 to 255: scaling them is the network's first layer.

    Args:
        recipe: its image size, labels, protocol and batch size.
        pictures: of its corpora.

    Raises:
        RecipeError: pictures of another size, or none with a label of the recipe.
    """

    def __init__(self, recipe: Recipe, pictures: Sequence[Picture]) -> None:
        self.recipe = recipe
        self.items = tuple(p for p in pictures if recipe.label_map.index(p.label) is not None)
        if not self.items:
            have = ", ".join(sorted({p.label for p in pictures})) or "none"
            raise RecipeError(
                f"[data] labels {recipe.data.labels!r} has none of the pictures' classes: {have}"
            )
        for picture in self.items:
            if picture.pixels.shape != recipe.input_shape:
                raise RecipeError(
                    f"[image] is {recipe.input_shape[0]} x {recipe.input_shape[1]} pixels, {picture.corpus} has "
                    f"{picture.pixels.shape[0]} x {picture.pixels.shape[1]}"
                )

    def splits(self) -> list[Split]:
        """The folds of the recipe's protocol."""
        return split(self.items, self.recipe.protocol, self.recipe.label_map)

    def fixed(self, items: Sequence[Picture]) -> FixedExamples:
        """Pictures as they are scored: one window each."""
        return FixedExamples(
            _pixels(items), np.arange(len(items)), label_indices(items, self.recipe.label_map)
        )

    def batches(self, items: Sequence[Picture], *, mask: np.ndarray | None, seed: int) -> PictureBatches:
        """Pictures as they are trained on."""
        return PictureBatches(items, self.recipe, seed=seed)

    def illustrate(self, items: Sequence[Picture], predicted: np.ndarray, folder: Path) -> None:
        """Write `samples.png`: test pictures with their true and predicted labels, right and wrong ones."""
        truth = label_indices(items, self.recipe.label_map)
        plot_pictures(_pixels(items), truth, predicted, self.recipe.label_map.labels, folder / "samples.png")


class PictureBatches(keras.utils.PyDataset):
    """Batches of training pictures in an order drawn anew each epoch; see `dataset.Batches`."""

    def __init__(self, pictures: Sequence[Picture], recipe: Recipe, *, seed: int) -> None:
        super().__init__()
        self._pixels = np.stack([picture.pixels for picture in pictures])
        self._labels = label_indices(pictures, recipe.label_map)
        self._weights = label_weights(self._labels, recipe)
        self._batch_size = recipe.training.batch_size
        self._seed = seed
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draw the order of an epoch."""
        self._order = np.random.default_rng([self._seed, epoch]).permutation(len(self._labels))

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self._order) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels `(n, height, width)`, one-hot labels `(n, n_labels)` and loss weights `(n,)` of a batch."""
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        labels = self._labels[chosen]
        one_hot = np.eye(len(self._weights), dtype=np.float32)[labels]
        return self._pixels[chosen].astype(np.float32), one_hot, self._weights[labels].astype(np.float32)


def _pixels(pictures: Sequence[Picture]) -> np.ndarray:
    return np.stack([picture.pixels for picture in pictures]).astype(np.float32)
