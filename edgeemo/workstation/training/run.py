"""A whole `edgeemo train`: every fold and seed of a recipe, into one run folder that can be resumed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeemo.workstation.graphs.usual import adjusted
from edgeemo.workstation.training.cells import Cell, known_cells, planned_cells
from edgeemo.workstation.training.dataset import Dataset
from edgeemo.workstation.training.fit import build_network, fit
from edgeemo.workstation.training.folder import (
    cell_folders,
    claim_run,
    finished,
    read_cell,
    write_judging,
    write_run_metrics,
)
from edgeemo.workstation.training.judging import LeftOut, fit_judging
from edgeemo.workstation.training.metrics import HistoryRow, RunMetrics, summarise
from edgeemo.workstation.training.protocols import WITHOUT, ItemT
from edgeemo.workstation.training.recipe import Recipe

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
    if recipe.protocol.kind == "corpus" and (parts := left_out(recipe, folder)):
        write_judging(folder, fit_judging(parts, precision=recipe.export.precision))
    return metrics


def left_out(recipe: Recipe, folder: Path) -> list[LeftOut]:
    """What files would say of each corpus that was left out, if it has more than one label."""
    found = []
    for path in cell_folders(folder):
        cell = read_cell(path)
        if cell is not None and cell.test_answers is not None and len(set(cell.test_answers.truth)) > 1:
            answers = cell.test_answers
            probabilities = np.array(answers.probabilities)
            if recipe.export.usual:
                probabilities = adjusted(probabilities, recipe.label_map.labels)
            found.append(
                LeftOut(
                    corpus=cell.fold.removeprefix(WITHOUT),
                    probabilities=probabilities,
                    truth=np.array(answers.truth),
                )
            )
    return found
