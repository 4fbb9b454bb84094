"""What a run is made of, before anything is trained: its data, and a cell for each fold and seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from edgeemo.corpora.find import find_clips
from edgeemo.errors import CorpusError
from edgeemo.workstation.image_corpora import read_images
from edgeemo.workstation.training.dataset import Dataset
from edgeemo.workstation.training.folder import cell_folder, seeds_of
from edgeemo.workstation.training.protocols import ItemT, Split
from edgeemo.workstation.training.recipe import Recipe


@dataclass(frozen=True)
class Cell(Generic[ItemT]):
    """One training of a run: a fold and a seed, in a folder of its own."""

    split: Split[ItemT]
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """Such as `fold-1, seed 0`."""
        return f"{self.split.name}, seed {self.seed}"


def open_dataset(recipe: Recipe, data: Path, *, speaker_pattern: str | None = None) -> Dataset[Any]:
    """The data of a recipe: in a folder of images, or, of speech, whatever `corpora.find` finds.

    Args:
        recipe: what is to be trained; the dataset's own one has what it leaves to the data.
        data: the folder, manifest or table.
        speaker_pattern: of speech: finds speakers in paths.

    Raises:
        CorpusError: a corpus of the recipe is not there.
    """
    # What turns them into batches takes a second to load: after the data, so that no folder costs nothing.
    if recipe.image is not None:
        images = read_images(data, recipe.data.corpora)
        from edgeemo.workstation.training.images import ImageDataset

        return ImageDataset(recipe, images)
    manifest = find_clips(data, speaker_pattern=speaker_pattern)
    from edgeemo.workstation.training.speech import SpeechDataset

    return SpeechDataset(recipe, manifest)


def planned_cells(
    recipe: Recipe, dataset: Dataset[ItemT], folder: Path, folds: Sequence[int] = ()
) -> list[Cell[ItemT]]:
    """The trainings of a run, in order.

    Raises:
        CorpusError: as `train`, or `folds` names one that the protocol does not have.
    """
    splits = dataset.splits()
    for number in folds:
        if not 1 <= number <= len(splits):
            raise CorpusError(f"no fold {number}; the {recipe.protocol.kind} protocol has 1 to {len(splits)}")
    chosen = [splits[number - 1] for number in dict.fromkeys(folds)] or splits
    return [
        Cell(split, seed, cell_folder(folder, split.name, seed))
        for seed in recipe.training.seeds
        for split in chosen
    ]


def known_cells(recipe: Recipe, dataset: Dataset[ItemT], folder: Path) -> list[Cell[ItemT]]:
    """All folds of the recipe's seeds, and of other seeds that are in the run folder."""
    seeds = sorted({*recipe.training.seeds, *seeds_of(folder)})
    training = dataclasses.replace(recipe.training, seeds=tuple(seeds))
    return planned_cells(dataclasses.replace(recipe, training=training), dataset, folder)
