"""`edgeemo study`: compare recipes, and values in them, over folds and seeds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeemo.cli.extras import extras, workstation
from edgeemo.cli.progress import resumable
from edgeemo.cli.tables import screen_table, stderr_console, stdout_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeemo.workstation.study.report import Result

_PIPE_COLUMNS = 220


def study_command(
    recipes: Annotated[
        list[str],
        typer.Argument(metavar="RECIPE...", help="Names in export/, or TOML files.", show_default=False),
    ],
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="KEY=VALUE,VALUE,...",
            help="Compare values of any key of the recipe or its builder; repeatable: all combinations.",
        ),
    ] = None,
    data: Annotated[
        Path, typer.Option("--data", "-d", help="Folder of corpora, or a manifest of `edgeemo data`.")
    ] = Path("data"),
    folds: Annotated[
        int | None, typer.Option(min=2, help="How many folds.  \\[default: the recipe's]")
    ] = None,
    fold: Annotated[
        list[int] | None, typer.Option(help="Run only this fold, from 1; repeatable.  \\[default: all]")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds: 0, 1, 2, ...  \\[default: the recipe's]")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="A value for all recipes; repeatable."),
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Start from ImageNet weights (resnet50_lstm; fetched once).")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the study.  \\[default: runs/study-RECIPE-...]"),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="How many cells run at a time on this machine.")
    ] = os.cpu_count() or 1,
    threads: Annotated[int, typer.Option(min=1, help="TensorFlow's threads in each cell.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run the cells on this Ray cluster (`local` starts one here) instead of in processes.",
        ),
    ] = None,
) -> None:
    """Train and compare every recipe and every combination of varied values, in every fold and with every seed.

    An interrupted study goes on where it stopped: finished cells are not run again, failed ones are.
    """
    with workstation():
        from edgeemo.places import recipe_path
        from edgeemo.workstation.study.engines import local_processes, ray_cluster
        from edgeemo.workstation.study.grid import settings, with_folds
        from edgeemo.workstation.study.study import study as run_study

    paths = [recipe_path(name) for name in recipes]
    overrides = list(override or [])
    if pretrained:
        overrides.append("architecture.pretrained=true")
    if seeds is not None:
        overrides.append(f"training.seeds={list(range(seeds))}")
    if folds is not None:
        overrides = with_folds(overrides, paths, folds)
    compared = settings(paths, vary or (), overrides)
    folder = output or Path("runs") / "-".join(["study", *(path.stem for path in paths)])
    with extras():
        engine = local_processes(jobs) if ray is None else ray_cluster(ray)
    with resumable(), _Bar() as bar:
        results = run_study(
            compared, data, folder, engine, folds=fold or (), threads=threads, progress=bar.cell
        )
    _report(results, folder)


class _Bar:
    """A progress bar over the cells on stderr, and a line for each cell that ends."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("cells"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=stderr_console())
        self._task = self._progress.add_task("cells", total=None)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def cell(self, done: int, total: int, last: str) -> None:
        self._progress.update(self._task, completed=done, total=total)
        if last:
            self._progress.console.print(last, highlight=False, markup=False)


def _report(results: Sequence[Result], folder: Path) -> None:
    """The table on the screen; failed cells make the exit code 1."""
    from edgeemo.workstation.study.report import table_rows

    stdout_console(_PIPE_COLUMNS).print(screen_table(table_rows(results), left=["setting"]))
    for result in results:
        if result.error:
            typer.echo(
                f"failed: {result.setting.name}, {result.fold}, seed {result.seed}: {result.error}", err=True
            )
    typer.echo(f"results.csv, results.md and plots: {folder}")
    if any(result.error for result in results):
        raise typer.Exit(1)
