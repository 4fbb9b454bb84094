"""A whole `edgeemo train`: every fold and seed of a recipe, into one run folder that can be resumed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import numpy as np

from edgeemo.corpora.find import find_clips
from edgeemo.errors import CorpusError
from edgeemo.workstation.image_corpora import read_images
from edgeemo.workstation.training.dataset import Dataset
from edgeemo.workstation.training.fit import build_network, fit
from edgeemo.workstation.training.folder import (
    cell_folder,
    cell_folders,
    claim_run,
    finished,
    read_cell,
    seeds_of,
    write_judging,
    write_run_metrics,
)
from edgeemo.workstation.training.images import ImageDataset
from edgeemo.workstation.training.judging import LeftOut, fit_judging
from edgeemo.workstation.training.metrics import HistoryRow, RunMetrics, summarise
from edgeemo.workstation.training.protocols import ItemT, Split
from edgeemo.workstation.training.recipe import Recipe
from edgeemo.workstation.training.speech import SpeechDataset


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


Progress = Callable[[Cell[Any], HistoryRow], None]
"""Called after each epoch of a cell."""


def train(
    recipe: Recipe,
    dataset: Dataset[ItemT],
    folder: Path,
    *,
    folds: Sequence[int] = (),
    progress: Progress = lambda cell, row: None,
) -> RunMetrics:
    """Train all folds and seeds, or go on with a run that was interrupted; finished cells are not run again.

    Args:
        recipe: what to train.
        dataset: its data, see `open_dataset`.
        folder: the run folder.
        folds: only these (numbered from 1); empty for all.
        progress: told of every epoch of every cell.

    Returns:
        what `metrics.json` holds: the scores of every finished cell in the folder, of this call or of an earlier one
        with other folds or seeds, and their mean and standard deviation.

    Raises:
        CorpusError: too few clips for the protocol.
        RecipeError: an unknown builder or setting.
        TrainingError: the folder holds a run of another recipe, or on other data.
    """
    build_network(recipe)
    cells = planned_cells(recipe, dataset, folder, folds)
    claim_run(folder, recipe)
    for cell in cells:
        if not finished(cell.folder, cell.split):
            fit(
                recipe,
                cell.split,
                seed=cell.seed,
                folder=cell.folder,
                dataset=dataset,
                progress=functools.partial(progress, cell),
            )
    known = (finished(cell.folder, cell.split) for cell in known_cells(recipe, dataset, folder))
    metrics = summarise(recipe, [cell for cell in known if cell])
    write_run_metrics(folder, metrics)
    if recipe.protocol.kind == "corpus" and (parts := _left_out(recipe, folder)):
        write_judging(folder, fit_judging(parts, precision=recipe.export.precision))
    return metrics


def _left_out(recipe: Recipe, folder: Path) -> list[LeftOut]:
    """What was said of each corpus that was left out, if it has more than one label."""
    found = []
    for path in cell_folders(folder):
        cell = read_cell(path)
        if cell is not None and cell.test_answers is not None and len(set(cell.test_answers.truth)) > 1:
            answers = cell.test_answers
            found.append(
                LeftOut(
                    corpus=cell.fold.removeprefix("without-"),
                    probabilities=np.array(answers.probabilities),
                    truth=np.array(answers.truth),
                )
            )
    return found


def open_dataset(recipe: Recipe, data: Path, *, speaker_pattern: str | None = None) -> Dataset[Any]:
    """The data of a recipe: in a folder of images, or, of speech, whatever `corpora.find` finds.

    Args:
        recipe: what is to be trained; the dataset's own one has what it leaves to the data.
        data: the folder, manifest or table.
        speaker_pattern: of speech: finds speakers in paths.

    Raises:
        CorpusError: a corpus of the recipe is not there.
    """
    if recipe.image is not None:
        return ImageDataset(recipe, read_images(data, recipe.data.corpora))
    return SpeechDataset(recipe, find_clips(data, speaker_pattern=speaker_pattern))


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
