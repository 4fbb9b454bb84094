"""From images to batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeemo.errors import RecipeError
from edgeemo.workstation.image_corpora import LabelledImage
from edgeemo.workstation.training.dataset import Batch, FixedExamples, label_indices, label_weights
from edgeemo.workstation.training.plots import images_figure, save_figure
from edgeemo.workstation.training.protocols import Split, split
from edgeemo.workstation.training.recipe import Recipe


class ImageDataset:
    """Images, as pixel values from 0 to 255: scaling them is the network's first layer.

    Args:
        recipe: its image size, labels, protocol and batch size.
        images: of its corpora.

    Raises:
        RecipeError: no image has a label of the recipe, or one has another size.
    """

    def __init__(self, recipe: Recipe, images: Sequence[LabelledImage]) -> None:
        self.recipe = recipe
        self.understood: list[str] = []
        self.items = tuple(image for image in images if recipe.label_map.index(image.label) is not None)
        if not self.items:
            have = ", ".join(sorted({image.label for image in images})) or "none"
            raise RecipeError(
                f"[data] labels {recipe.data.labels!r} has none of the images' classes; they have: {have}"
            )
        for image in self.items:
            if image.pixels.shape != recipe.input_shape:
                raise RecipeError(
                    f"[image] is {recipe.input_shape[0]} x {recipe.input_shape[1]} pixels, {image.corpus} has "
                    f"{image.pixels.shape[0]} x {image.pixels.shape[1]}"
                )

    def splits(self) -> list[Split[LabelledImage]]:
        """The folds of the recipe's protocol."""
        return split(self.items, self.recipe.protocol, self.recipe.label_map)

    def fixed(self, items: Sequence[LabelledImage]) -> FixedExamples:
        """Images as they are scored: one window each."""
        return FixedExamples(
            _pixels(items), np.arange(len(items)), label_indices(items, self.recipe.label_map)
        )

    def batches(
        self, items: Sequence[LabelledImage], *, mask: npt.NDArray[np.float32] | None, seed: int
    ) -> ImageBatches:
        """Images as they are trained on."""
        return ImageBatches(items, self.recipe, seed=seed)

    def illustrate(
        self, items: Sequence[LabelledImage], predicted: npt.NDArray[np.int64], folder: Path
    ) -> None:
        """Write `samples.png`: test images with their true and predicted labels, right and wrong ones."""
        truth = label_indices(items, self.recipe.label_map)
        figure = images_figure(_pixels(items), truth, predicted, self.recipe.label_map.labels)
        save_figure(figure, folder / "samples.png")


class ImageBatches:
    """Batches of training images in an order drawn anew each epoch; see `dataset.Batches`."""

    def __init__(self, images: Sequence[LabelledImage], recipe: Recipe, *, seed: int) -> None:
        self._pixels = np.stack([image.pixels for image in images])
        self._labels = label_indices(images, recipe.label_map)
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

    def __getitem__(self, index: int) -> Batch:
        """A batch of pixels, with labels that are one-hot."""
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        labels = self._labels[chosen]
        one_hot = np.eye(len(self._weights), dtype=np.float32)[labels]
        return Batch(
            self._pixels[chosen].astype(np.float32),
            one_hot,
            self._weights[labels].astype(np.float32),
        )


def _pixels(images: Sequence[LabelledImage]) -> npt.NDArray[np.float32]:
    return np.stack([image.pixels for image in images]).astype(np.float32)
