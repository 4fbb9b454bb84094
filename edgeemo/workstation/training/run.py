"""A whole `edgeemo train`: every fold and seed of a recipe, into one run folder that can be resumed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from edgeemo.errors import CorpusError, TrainingError
from edgeemo.files import write_text
from edgeemo.workstation.corpora.manifest import find_clips
from edgeemo.workstation.corpora.pictures import read_pictures
from edgeemo.workstation.training.dataset import Dataset
from edgeemo.workstation.training.fit import METRICS_FILE, build_network, finished, fit
from edgeemo.workstation.training.images import ImageDataset
from edgeemo.workstation.training.protocols import Split
from edgeemo.workstation.training.recipe import Recipe, recipe_from_dict
from edgeemo.workstation.training.speech import SpeechDataset

RECIPE_FILE = "recipe.json"


@dataclass(frozen=True)
class Cell:
    """One training of a run: a fold and a seed, in a folder of its own."""

    split: Split
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """Such as `fold-1, seed 0`."""
        return f"{self.split.name}, seed {self.seed}"


Progress = Callable[[Cell, int, dict[str, float]], None]


def train(
    recipe: Recipe,
    dataset: Dataset,
    folder: Path,
    *,
    folds: Sequence[int] = (),
    progress: Progress = lambda cell, epoch, row: None,
) -> dict[str, Any]:
    """Train all folds and seeds, or go on with a run that was interrupted; finished cells are not run again.

    Args:
        recipe: what to train.
        dataset: its data, see `open_dataset`.
        folder: the run folder: `recipe.json`, `metrics.json`, and a folder per fold and seed.
        folds: only these (numbered from 1); empty for all.
        progress: told of every epoch of every cell.

    Returns:
        the values of `metrics.json`: mean and standard deviation over folds and seeds, and the scores of every cell
        in the folder, be it of this call or of an earlier one with other folds or seeds.

    Raises:
        CorpusError: too few clips for the protocol.
        RecipeError: an unknown builder or setting.
        TrainingError: the folder holds a run of another recipe, or on other data.
    """
    build_network(recipe)
    cells = planned_cells(recipe, dataset, folder, folds)
    claim(folder, recipe)
    for cell in cells:
        if not finished(cell.folder, cell.split):
            fit(
                recipe,
                cell.split,
                seed=cell.seed,
                folder=cell.folder,
                dataset=dataset,
                progress=lambda epoch, row, cell=cell: progress(cell, epoch, row),
            )
    known = (finished(cell.folder, cell.split) for cell in known_cells(recipe, dataset, folder))
    summary = summarise(recipe, [metrics for metrics in known if metrics])
    write_text(folder / METRICS_FILE, json.dumps(summary, indent=1))
    return summary


def open_dataset(recipe: Recipe, data: Path) -> Dataset:
    """The data of a recipe in a folder of corpora, or, of speech, in a manifest of `edgeemo data`.

    Raises:
        CorpusError: a corpus of the recipe is not there.
    """
    if recipe.image is not None:
        return ImageDataset(recipe, read_pictures(data, recipe.data.corpora))
    return SpeechDataset(recipe, find_clips(data))


def limit_threads(n_threads: int) -> None:
    """Let TensorFlow use so many threads in this process, before its first operation; 0: as many as it likes."""
    if n_threads:
        tf.config.threading.set_intra_op_parallelism_threads(n_threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def planned_cells(recipe: Recipe, dataset: Dataset, folder: Path, folds: Sequence[int] = ()) -> list[Cell]:
    """The trainings of a run, in order.

    Raises:
        CorpusError: as `train`, or `folds` names one that the protocol does not have.
    """
    splits = dataset.splits()
    for number in folds:
        if not 1 <= number <= len(splits):
            raise CorpusError(f"no fold {number}; the {recipe.protocol.kind} protocol has 1 to {len(splits)}")
    chosen = [splits[number - 1] for number in dict.fromkeys(folds)] or splits
    return [Cell(s, seed, folder / f"{s.name}_seed-{seed}") for seed in recipe.training.seeds for s in chosen]


def known_cells(recipe: Recipe, dataset: Dataset, folder: Path) -> list[Cell]:
    """All folds of the recipe's seeds, and of other seeds that are in the run folder."""
    names = [path.name.rpartition("_seed-")[2] for path in folder.glob("*_seed-*")]
    seeds = sorted({*recipe.training.seeds, *(int(name) for name in names if name.isdecimal())})
    training = dataclasses.replace(recipe.training, seeds=tuple(seeds))
    return planned_cells(dataclasses.replace(recipe, training=training), dataset, folder)


def load_run(folder: Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe and metrics of a finished run.

    Raises:
        TrainingError: there is none in `folder`.
    """
    try:
        recipe = recipe_from_dict(json.loads((folder / RECIPE_FILE).read_text(encoding="utf-8")))
        metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
        metrics["cells"][0]
    except OSError as error:
        raise TrainingError(f"{folder}: no finished run here ({error.strerror}: {error.filename})") from error
    except (ValueError, LookupError, TypeError) as error:
        raise TrainingError(f"{folder}: a damaged run ({error!r}); train it again") from error
    return recipe, metrics


def best_cell(folder: Path, metrics: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Folder and metrics of the cell with the highest validation UAR: test speakers have no say in what ships."""
    cell = max(metrics["cells"], key=lambda c: c["validation"]["uar"])
    return folder / f"{cell['fold']}_seed-{cell['seed']}", cell


def training_facts(recipe: Recipe, cell: dict[str, Any]) -> dict[str, Any]:
    """How a cell's weights were made: the `training` of a model file's metadata."""
    return {
        "protocol": recipe.protocol.kind,
        "fold": cell["fold"],
        "seed": cell["seed"],
        "corpora": list(recipe.data.corpora),
        "label_map": recipe.data.labels,
        "split": cell.get("split"),
        "n_clips": cell["n_train"],
        "train_speakers": cell["train_speakers"],
        "validation_speakers": cell["validation_speakers"],
        "test_speakers": cell["test_speakers"],
        "epoch": cell["best_epoch"],
        "recipe": recipe.to_dict(),
    }


def score_rows(recipe: Recipe, cell: dict[str, Any]) -> list[dict[str, Any]]:
    """The scores of a cell's weights as rows of a model file's metadata: test first, then validation."""
    rows = []
    for part in ("test", "validation"):
        for corpus, values in cell[f"{part}_by_corpus"].items():
            speakers = [s for s in cell[f"{part}_speakers"] if s.startswith(f"{corpus}-")]
            rows.append(
                {
                    "part": part,
                    "protocol": recipe.protocol.kind,
                    "corpus": corpus,
                    "fold": cell["fold"],
                    "seeds": [cell["seed"]],
                    "n_speakers": len(speakers),
                    "n_clips": values["n_clips"],
                    "uar": values["uar"],
                    "war": values["war"],
                    "macro_f1": values["macro_f1"],
                    "recall": values["recall"],
                }
            )
    return rows


def summarise(recipe: Recipe, cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Pool the folds of each seed, then take mean and standard deviation over the seeds.

    Pooling first: a fold has few speakers, and the spread over folds is the spread over speakers, not over
    trainings. It is given too.
    """
    seeds = sorted({cell["seed"] for cell in cells})
    summary: dict[str, Any] = {
        "name": recipe.name,
        "protocol": recipe.protocol.kind,
        "corpora": list(recipe.data.corpora),
        "labels": list(recipe.label_map.labels),
        "seeds": seeds,
        "folds": sorted({cell["fold"] for cell in cells}),
        "n_parameters": cells[0]["n_parameters"],
        "n_test_speakers": len({s for cell in cells for s in cell["test_speakers"]}),
    }
    for part in ("validation", "test"):
        for key in ("uar", "war", "macro_f1", "loss"):
            by_seed = [float(np.mean([c[part][key] for c in cells if c["seed"] == seed])) for seed in seeds]
            by_fold = [c[part][key] for c in cells]
            summary[f"{part}_{key}"] = {
                "mean": float(np.mean(by_seed)),
                "std_over_seeds": float(np.std(by_seed, ddof=1)) if len(seeds) > 1 else None,
                "std_over_folds": float(np.std(by_fold, ddof=1)) if len(by_fold) > 1 else None,
            }
    keep = ("test_probabilities", "test_truth")
    summary["cells"] = [{k: v for k, v in cell.items() if k not in keep} for cell in cells]
    return summary


def claim(folder: Path, recipe: Recipe) -> None:
    """Make a run folder this recipe's, or check that it is.

    Raises:
        TrainingError: it is another's.
    """
    path = folder / RECIPE_FILE
    if path.is_file():
        try:
            held = recipe_from_dict(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise TrainingError(f"{path} is damaged ({error}); give another --output or delete it") from error
        if held.trained_by != recipe.trained_by:
            raise TrainingError(
                f"{folder} holds a run of another recipe; give another --output or delete that folder"
            )
    write_text(path, json.dumps(recipe.to_dict(), indent=1))
