"""A whole study: plan its cells, train those that are not trained yet, and put the results side by side."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgeemo.corpora.find import find_clips
from edgeemo.files import write_text
from edgeemo.workstation.image_corpora import read_images
from edgeemo.workstation.study.engines import Engine
from edgeemo.workstation.study.grid import Setting
from edgeemo.workstation.study.job import Job
from edgeemo.workstation.study.report import Result, write_report
from edgeemo.workstation.training.cells import Cell, known_cells, planned_cells
from edgeemo.workstation.training.dataset import Dataset
from edgeemo.workstation.training.folder import claim_run, finished, write_run_metrics
from edgeemo.workstation.training.images import ImageDataset
from edgeemo.workstation.training.metrics import summarise
from edgeemo.workstation.training.recipe import Recipe
from edgeemo.workstation.training.speech import SpeechDataset

ERROR_FILE = "error.txt"
MANIFEST_FILE = "manifest.csv"

Progress = Callable[[int, int, str], None]
"""Told how many cells have finished or failed, how many there are, and what became of the last one."""


def study(
    settings: Sequence[Setting],
    data: Path,
    folder: Path,
    engine: Engine,
    *,
    folds: Sequence[int] = (),
    threads: int = 1,
    progress: Progress = lambda done, total, last: None,
) -> list[Result]:
    """Train every fold and seed of every setting, or go on with a study that was interrupted.

    Each setting has a run folder in `folder`, as `edgeemo train` makes them. A cell that has its metrics is not run
    again; one that failed is, and its error stands in the results until then.

    Args:
        settings: what is compared.
        data: folder of corpora, or a manifest.
        folder: of the study.
        engine: where cells run.
        folds: only these (numbered from 1); empty for all.
        threads: TensorFlow's, of each cell.
        progress: told of every cell that ends.

    Returns:
        what is known of each cell, in order: of those asked for, and of those that an earlier call, with other folds
        or seeds, finished.

    Raises:
        CorpusError: the data lack a corpus, or have too few clips for a protocol.
        RecipeError: a network that cannot be built.
        TrainingError: the folder holds a run of another recipe, or on other data.
    """
    planned = plan(settings, data, folder, folds=folds, threads=threads)
    known = [(entry, result(entry)) for entry in planned]
    results = {entry.job.name: of for entry, of in known if entry.wanted or of.metrics}
    todo = {entry.job.name: entry for entry, of in known if entry.wanted and not of.metrics}
    n_wanted = sum(entry.wanted for entry in planned)
    done = n_wanted - len(todo)
    progress(done, n_wanted, "")
    for job, error in engine([entry.job for entry in todo.values()]):
        path = todo[job.name].cell.folder / ERROR_FILE
        if error is None:
            path.unlink(missing_ok=True)
        else:
            write_text(path, f"{error}\n")
        results[job.name] = result(todo[job.name])
        # After each cell: a study is long, and may be interrupted.
        write_report(list(results.values()), folder)
        done += 1
        progress(done, n_wanted, f"{job.name}: {error or 'finished'}")
    write_report(list(results.values()), folder)
    # As planned: their recipes have what they leave to the data.
    for setting in {entry.setting.folder: entry.setting for entry in planned}.values():
        of_setting = [r for r in results.values() if r.setting.folder == setting.folder]
        cells = [r.metrics for r in of_setting if r.metrics]
        if of_setting and len(cells) == len(of_setting):
            write_run_metrics(folder / setting.folder, summarise(setting.recipe, cells))
    return list(results.values())


class Planned(NamedTuple):
    """A cell of a study.

    Attributes:
        setting: what is trained.
        cell: its fold, seed and folder.
        job: the cell as a job.
        wanted: this call asks for it; else it is here because an earlier one may have.
    """

    setting: Setting
    cell: Cell[Any]
    job: Job
    wanted: bool


def plan(
    settings: Sequence[Setting], data: Path, folder: Path, *, folds: Sequence[int] = (), threads: int = 1
) -> list[Planned]:
    """The cells of a study, fold by fold and seed by seed, so that early results compare all settings.

    Corpora of speech are scanned once: the cells read the manifest in the study's folder.
    """

    @functools.cache
    def manifest() -> Path:
        find_clips(data).write_csv(folder / MANIFEST_FILE)
        return folder / MANIFEST_FILE

    images = functools.cache(functools.partial(read_images, data))

    def dataset(recipe: Recipe) -> tuple[Dataset[Any], Path]:
        if recipe.image is not None:
            return ImageDataset(recipe, images(recipe.data.corpora)), data
        return SpeechDataset(recipe, find_clips(manifest())), manifest()

    columns = []
    for setting in settings:
        found, where = dataset(setting.recipe)
        setting = dataclasses.replace(setting, recipe=found.recipe)
        run = folder / setting.folder
        wanted = {cell.folder for cell in planned_cells(setting.recipe, found, run, folds)}
        claim_run(run, setting.recipe)
        columns.append([
            Planned(
                setting,
                cell,
                Job(
                    recipe=setting.recipe.to_dict(),
                    data=str(where.resolve()),
                    fold=cell.split.name,
                    seed=cell.seed,
                    folder=str(cell.folder.resolve()),
                    threads=threads,
                ),
                cell.folder in wanted,
            )
            for cell in known_cells(setting.recipe, found, run)
        ])  # fmt: skip
    longest = max(map(len, columns), default=0)
    return [column[i] for i in range(longest) for column in columns if i < len(column)]


def result(planned: Planned) -> Result:
    """What the folder of a cell says.

    Raises:
        TrainingError: it was trained on other data, or its metrics are damaged.
    """
    folder = planned.cell.folder
    metrics, error = finished(folder, planned.cell.split), ""
    if not metrics and (folder / ERROR_FILE).is_file():
        error = (folder / ERROR_FILE).read_text(encoding="utf-8").strip()
    return Result(planned.setting, planned.job.fold, planned.job.seed, metrics, error, folder)
