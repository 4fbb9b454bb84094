"""`edgeemo train`: train a recipe's model on corpora, under its protocol."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeemo.cli.extras import extras, workstation
from edgeemo.cli.own import SpeakerPattern, show_all
from edgeemo.cli.progress import resumable
from edgeemo.cli.tables import stderr_console

if TYPE_CHECKING:
    from edgeemo.workstation.training.cells import Cell
    from edgeemo.workstation.training.metrics import HistoryRow, RunMetrics


class Backend(StrEnum):
    """Libraries that Keras computes with."""

    tensorflow = "tensorflow"
    jax = "jax"
    torch = "torch"


def train_command(
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Recipe: a name in export/, or a TOML file.  \\[default: cnn_lstm]"
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL|RUN",
            help="Instead of a recipe: a shipped model, or a run folder, that is adapted to your clips and labels.",
        ),
    ] = None,
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            "-d",
            help="Folder of corpora or of your own clips, a table, or a manifest of `edgeemo data`.",
        ),
    ] = Path("data"),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder.  \\[default: runs/NAME-PROTOCOL]")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="random, speaker, corpus, session, clips or holdout, instead of the recipe's."),
    ] = None,
    corpora: Annotated[
        str | None,
        typer.Option(help="Corpora, comma-separated, instead of the recipe's; '' for all in the data."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Label map, labels separated by commas, or own (those of the data), instead of the recipe's."
        ),
    ] = None,
    speaker_pattern: SpeakerPattern = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs at most, instead of the recipe's.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, such as 0,1,2, instead of the recipe's.")] = None,
    fold: Annotated[
        list[int] | None, typer.Option(help="Only this fold, from 1; repeatable.  \\[default: all]")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any value of the recipe; repeatable."),
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Start from ImageNet weights (resnet50_lstm; fetched once).")
    ] = False,
    threads: Annotated[int, typer.Option(min=0, max=1024, help="Threads; 0: one for each core.")] = 0,
    backend: Annotated[
        Backend, typer.Option(help="What Keras trains with: the other two where they have a GPU.")
    ] = Backend.tensorflow,
) -> None:
    """Train a model, or adapt one to your voice and labels. An interrupted run goes on where it stopped."""
    if start and model:
        raise typer.BadParameter("--from has a recipe of its own; leave out --model")
    overrides = list(override or [])
    for key, value in (
        ("protocol.kind", protocol),
        ("data.corpora", None if corpora is None else _words(corpora)),
        ("data.labels", _words(labels) if labels and "," in labels else labels),
        ("training.epochs", epochs),
        ("training.seeds", seeds and f"[{seeds}]"),
        ("architecture.pretrained", "true" if pretrained else None),
    ):
        if value is not None:
            overrides.append(f"{key}={value}")

    # Before TensorFlow, which takes seconds to load: a slip of the pen costs none.
    from edgeemo.places import recipe_path
    from edgeemo.workstation.backend import limit_threads, use_backend
    from edgeemo.workstation.training.folder import check_run
    from edgeemo.workstation.training.recipe import load_recipe
    from edgeemo.workstation.training.start import recipe_from, too_few

    recipe = (
        recipe_from(start, overrides) if start else load_recipe(recipe_path(model or "cnn_lstm"), overrides)
    )
    with extras():
        from edgeemo.workstation.training.cells import open_dataset, planned_cells
    dataset = open_dataset(recipe, data, speaker_pattern=speaker_pattern)
    recipe = dataset.recipe
    show_all(dataset.understood)
    if start:
        show_all(too_few(dataset.items, recipe.label_map))
    folder = output or Path("runs") / f"{recipe.name}-{recipe.protocol.kind}"
    check_run(folder, recipe)
    cells = planned_cells(recipe, dataset, folder, fold or ())
    with workstation():
        use_backend(backend)
        from edgeemo.workstation.training.run import train as run_training

        limit_threads(threads)

    with resumable(), _Bar(len(cells), recipe.training.epochs) as bar:
        metrics = run_training(recipe, dataset, folder, folds=fold or (), progress=bar.epoch)
    _report(metrics, folder)


def _words(text: str) -> str:
    return json.dumps([word.strip() for word in text.split(",") if word.strip()])


class _Bar:
    """A progress bar over all epochs of all cells, on stderr; early stopping makes it jump."""

    def __init__(self, n_cells: int, n_epochs: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._n_epochs = n_epochs
        self._cells: list[Path] = []
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} epochs"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=stderr_console(),
        )
        self._task = self._progress.add_task("starting", total=n_cells * n_epochs)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def epoch(self, cell: Cell[Any], row: HistoryRow) -> None:
        if cell.folder not in self._cells:
            self._cells.append(cell.folder)
        text = f"{cell.name}: loss {row.loss:.3f}"
        if row.val_loss is not None:
            text += f", validation loss {row.val_loss:.3f} UAR {row.val_uar:.3f}"
        done = (len(self._cells) - 1) * self._n_epochs + row.epoch
        self._progress.update(self._task, completed=done, description=text)
        if not self._progress.console.is_terminal:
            self._progress.console.print(f"epoch {row.epoch}, {text}", highlight=False)


def _report(metrics: RunMetrics, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    seeds = ", ".join(map(str, metrics.seeds))
    speakers = f", {metrics.n_test_speakers} test speakers" if metrics.n_test_speakers else ""
    table = Table(
        title=f"{metrics.name}: {metrics.protocol} protocol, {' + '.join(metrics.corpora)}, "
        f"{len(metrics.labels)} classes, seeds {seeds}{speakers}"
    )
    table.add_column("fold")
    v, t = metrics.validation, metrics.test
    validated = () if v is None else ("val UAR", "val loss")
    for title in ("seed", "epoch", *validated, "test UAR", "test WAR", "test F1", "test loss"):
        table.add_column(title, justify="right")
    for cell in metrics.cells:
        test = cell.test.scores
        numbers = [test.uar, test.war, test.macro_f1, test.loss]
        if cell.validation is not None:
            numbers = [cell.validation.scores.uar, cell.validation.scores.loss, *numbers]
        table.add_row(cell.fold, str(cell.seed), str(cell.best_epoch), *(f"{n:.3f}" for n in numbers))
    table.add_section()
    means = [t.uar, t.war, t.macro_f1, t.loss]
    if v is not None:
        means = [v.uar, v.loss, *means]
    table.add_row("mean", "", "", *(f"{score.mean:.3f}" for score in means))
    Console().print(table)
    typer.echo(f"curves, confusion matrices, scores and models: {folder}")
