"""The run folder: `recipe.json`, `metrics.json`, and a folder `FOLD_seed-N` for each cell, a training of one fold
and seed. A run that leaves each corpus out once writes `judging.json` too: what a network of the recipe may claim.

A cell's folder holds `history.csv`, `model.keras`, plots, and, once the training is finished, `metrics.json`. Where
everything is in a run folder, and what is in its files, is known here alone.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeemo.errors import TrainingError
from edgeemo.files import write_text
from edgeemo.workstation.training.judging import Judging
from edgeemo.workstation.training.metrics import CellMetrics, HistoryRow, RunMetrics
from edgeemo.workstation.training.protocols import Split
from edgeemo.workstation.training.recipe import Recipe, differences, recipe_from_dict

RECIPE_FILE = "recipe.json"
JUDGING_FILE = "judging.json"
METRICS_FILE = "metrics.json"
"""Of a run, and of each of its cells."""
HISTORY_FILE = "history.csv"
MODEL_FILE = "model.keras"
_SPLIT_FILE = "split.txt"  # the digest of the split, while the cell is in training

_CELL_NAME = re.compile(r"(?P<fold>.+)_seed-(?P<seed>[0-9]+)")
_UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)  # what damaged files raise


# --- a run ---------------------------------------------------------------------------------------------


def cell_folder(run: Path, fold: str, seed: int) -> Path:
    """The folder of one cell of a run."""
    return run / f"{fold}_seed-{seed}"


def cell_folders(run: Path) -> list[Path]:
    """The folders of cells that are in a run folder, finished or not, by name."""
    return sorted(path for path in run.glob("*") if _CELL_NAME.fullmatch(path.name))


def seeds_of(run: Path) -> set[int]:
    """The seeds of the cells that are in a run folder."""
    names = (_CELL_NAME.fullmatch(path.name) for path in cell_folders(run))
    return {int(name["seed"]) for name in names if name}


def check_run(run: Path, recipe: Recipe) -> None:
    """Check that a run folder is this recipe's, or nobody's.

    Raises:
        TrainingError: it belongs to another.
    """
    path = run / RECIPE_FILE
    if not path.is_file():
        return
    try:
        held = recipe_from_dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise TrainingError(f"{path} is damaged ({error}); give another --output or delete it") from error
    if held.trained_by != recipe.trained_by:
        others = differences(recipe, held)
        remedy = "give another --output or delete that folder"
        if len(others) == 1 and others[0].startswith("[training] epochs "):
            # The learning rate falls over the epochs: a longer training does not begin with a shorter one.
            remedy += f", or go on from its weights with --set training.start={run} and another --output"
        raise TrainingError(f"{run} holds a run of another recipe ({'; '.join(others)}); {remedy}")


def claim_run(run: Path, recipe: Recipe) -> None:
    """Make a run folder this recipe's, or check that it is this recipe's already.

    Raises:
        TrainingError: it belongs to another.
    """
    check_run(run, recipe)
    write_text(run / RECIPE_FILE, json.dumps(recipe.to_dict(), indent=1))


def write_run_metrics(run: Path, metrics: RunMetrics) -> None:
    """Write the metrics of all cells of a run."""
    write_text(run / METRICS_FILE, json.dumps(metrics.to_dict(), indent=1))


def write_judging(run: Path, judging: Judging) -> None:
    """Write how probabilities become answers."""
    write_text(run / JUDGING_FILE, json.dumps(judging.to_dict(), indent=1) + "\n")


def read_judging(run: Path) -> Judging | None:
    """How probabilities become answers; None of a run in whose folder nothing says so.

    Raises:
        TrainingError: the file is damaged.
    """
    path = run / JUDGING_FILE
    if not path.is_file():
        return None
    try:
        return Judging.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise TrainingError(f"{path} is damaged ({error}); copy it again, or delete it") from error


def load_run(run: Path) -> tuple[Recipe, RunMetrics]:
    """The recipe and metrics of a finished run.

    Raises:
        TrainingError: there is none in `run`.
    """
    try:
        recipe = recipe_from_dict(json.loads((run / RECIPE_FILE).read_text(encoding="utf-8")))
        metrics = RunMetrics.from_dict(json.loads((run / METRICS_FILE).read_text(encoding="utf-8")))
    except OSError as error:
        raise TrainingError(f"{run}: no finished run here ({error.strerror}: {error.filename})") from error
    except _UNREADABLE as error:
        raise TrainingError(f"{run}: the run is damaged ({error!r}); train it again") from error
    return recipe, metrics


def best_cell(run: Path, cells: Sequence[CellMetrics]) -> tuple[Path, CellMetrics]:
    """The folder and metrics of the cell with the highest validation UAR: test speakers have no say in what ships.

    Without validation it is the first.
    """
    cell = max(cells, key=lambda c: c.validation.scores.uar if c.validation else 0.0)
    return cell_folder(run, cell.fold, cell.seed), cell


# --- a cell --------------------------------------------------------------------------------------------


def claim_cell(cell: Path, split: Split[Any]) -> None:
    """Make a cell's folder this split's, or check that it is this split's already.

    Raises:
        TrainingError: it belongs to another.
    """
    path = cell / _SPLIT_FILE
    if path.is_file():
        _check_split(cell, path.read_text(encoding="utf-8").strip(), split)
    write_text(path, f"{split.digest}\n")


def finish_cell(cell: Path, metrics: CellMetrics) -> None:
    """Write the metrics of a cell, which say that its training is finished."""
    write_text(cell / METRICS_FILE, json.dumps(metrics.to_dict()))
    (cell / _SPLIT_FILE).unlink(missing_ok=True)


def read_cell(cell: Path) -> CellMetrics | None:
    """The metrics of a cell; None before its training is finished.

    Raises:
        TrainingError: they cannot be read.
    """
    path = cell / METRICS_FILE
    if not path.is_file():
        return None
    try:
        return CellMetrics.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except _UNREADABLE as error:
        raise TrainingError(f"{path} is damaged ({error!r}); delete it to train again") from error


def finished(cell: Path, split: Split[Any]) -> CellMetrics | None:
    """The metrics of a cell that was trained on this split; None before its training is finished.

    Raises:
        TrainingError: it was trained on another split, or its metrics cannot be read.
    """
    metrics = read_cell(cell)
    if metrics is not None and metrics.split is not None:
        _check_split(cell, metrics.split, split)
    return metrics


def _check_split(cell: Path, digest: str, split: Split[Any]) -> None:
    if digest != split.digest:
        raise TrainingError(
            f"{cell} was trained on other clips than {split.name} of these data has, so test speakers may be among "
            "them; give the same --data, another --output, or delete that folder"
        )


def write_history(cell: Path, history: Sequence[HistoryRow]) -> None:
    """Write a row for each epoch."""
    columns = [field.name for field in dataclasses.fields(HistoryRow)]
    rows = [
        ",".join("" if value is None else repr(value) for value in row.to_dict().values()) for row in history
    ]
    write_text(cell / HISTORY_FILE, "\n".join([",".join(columns), *rows]) + "\n")


def read_history(cell: Path) -> list[HistoryRow]:
    """The epochs so far; none before the first.

    Raises:
        TrainingError: they cannot be read.
    """
    path = cell / HISTORY_FILE
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [HistoryRow.from_dict(row) for row in csv.DictReader(file)]
    except _UNREADABLE as error:
        raise TrainingError(f"{path} is damaged ({error!r}); delete it to train again") from error
