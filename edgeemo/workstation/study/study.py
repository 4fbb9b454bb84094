"""A whole study: plan its cells, train those that are not trained yet, and put the results side by side."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from edgeemo.files import write_text
from edgeemo.workstation.corpora.manifest import find_clips
from edgeemo.workstation.corpora.pictures import read_pictures
from edgeemo.workstation.study.engines import Engine
from edgeemo.workstation.study.grid import Variant
from edgeemo.workstation.study.job import Job
from edgeemo.workstation.study.report import Result, write_report
from edgeemo.workstation.training.dataset import Dataset
from edgeemo.workstation.training.fit import METRICS_FILE, finished
from edgeemo.workstation.training.images import ImageDataset
from edgeemo.workstation.training.recipe import Recipe
from edgeemo.workstation.training.run import Cell, claim, known_cells, planned_cells, summarise
from edgeemo.workstation.training.speech import SpeechDataset

ERROR_FILE = "error.txt"
MANIFEST_FILE = "manifest.csv"

Progress = Callable[[int, int, str], None]
"""Told how many cells are finished or have failed, how many there are, and of the last one."""


def study(
    variants: Sequence[Variant],
    data: Path,
    folder: Path,
    engine: Engine,
    *,
    folds: Sequence[int] = (),
    threads: int = 1,
    progress: Progress = lambda done, total, last: None,
) -> list[Result]:
    """Train every fold and seed of every variant, or go on with a study that was interrupted.

    Each variant has a run folder in `folder`, as `edgeemo train` makes them. A cell that has its metrics is not run
    again; one that failed is, and its error stands in the results until then.

    Args:
        variants: what is compared.
        data: folder of corpora, or a manifest.
        folder: of the study.
        engine: where cells run.
        folds: only these (numbered from 1); empty for all.
        threads: TensorFlow's, of each cell.
        progress: told of every cell that ends.

    Returns:
        what is known of each cell, in order: of those asked for, and of those that an earlier call with other folds
        or seeds has finished.

    Raises:
        CorpusError: the data lack a corpus, or have too few clips for a protocol.
        RecipeError: a network that cannot be built.
        TrainingError: the folder holds a run of another recipe, or on other data.
    """
    planned = plan(variants, data, folder, folds=folds, threads=threads)
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
        # As soon as there is something: a study is long, and may be interrupted.
        write_report(list(results.values()), folder)
        done += 1
        progress(done, n_wanted, f"{job.name}: {error or 'finished'}")
    write_report(list(results.values()), folder)
    for variant in variants:
        cells = [r.metrics for r in results.values() if r.variant is variant]
        if all(cells):
            summary = summarise(variant.recipe, cells)
            write_text(folder / variant.folder / METRICS_FILE, json.dumps(summary, indent=1))
    return list(results.values())


class Planned(NamedTuple):
    """A cell of a study: of which variant, as a job, and whether it is to be run; else it may have been before."""

    variant: Variant
    cell: Cell
    job: Job
    wanted: bool


def plan(
    variants: Sequence[Variant], data: Path, folder: Path, *, folds: Sequence[int] = (), threads: int = 1
) -> list[Planned]:
    """The cells of a study, fold by fold and seed by seed, so that early results compare all variants.

    Speech is scanned once: the cells read the manifest in the study's folder.
    """

    @functools.cache
    def manifest() -> Path:
        find_clips(data).write_csv(folder / MANIFEST_FILE)
        return folder / MANIFEST_FILE

    pictures = functools.cache(lambda corpora: read_pictures(data, corpora))

    def dataset(recipe: Recipe) -> tuple[Dataset, Path]:
        if recipe.image is not None:
            return ImageDataset(recipe, pictures(recipe.data.corpora)), data
        return SpeechDataset(recipe, find_clips(manifest())), manifest()

    columns = []
    for variant in variants:
        found, where = dataset(variant.recipe)
        run = folder / variant.folder
        wanted = {cell.folder for cell in planned_cells(variant.recipe, found, run, folds)}
        claim(run, variant.recipe)
        columns.append([
            Planned(
                variant,
                cell,
                Job(
                    recipe=variant.recipe.to_dict(),
                    data=str(where.resolve()),
                    fold=cell.split.name,
                    seed=cell.seed,
                    folder=str(cell.folder.resolve()),
                    threads=threads,
                ),
                cell.folder in wanted,
            )
            for cell in known_cells(variant.recipe, found, run)
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
    return Result(planned.variant, planned.job.fold, planned.job.seed, metrics, error, folder)
