"""`edgeemo bench`: latency of the shipped models on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeemo.cli.progress import progress_bar
from edgeemo.cli.tables import screen_table, stdout_console
from edgeemo.files import check_writable, write_text
from edgeemo.places import model_path, recipe_path, shipped_models

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from edgeemo.bench.report import BenchReport, ModelBench

_BAR_CELLS = 24
_PIPE_COLUMNS, _TRAINING_PIPE_COLUMNS = 110, 160
TRAINED = ["fashion_cnn", "fashion_lstm", "fashion_lstm2", "pure_cnn", "cnn_lstm", "pure_lstm", "conv1d_lstm"]
"""What `--training` compares: the published comparison, and the speech models."""


def bench_command(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="A shipped model's name or an ONNX file; repeatable. Default: all shipped."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Timed inferences per model, after warm-up.")] = 1000,
    training: Annotated[
        bool,
        typer.Option(
            "--training",
            help="Measure Keras' training steps beside inference instead: --model is then a recipe, by its name in "
            "export/ or as a TOML file.",
        ),
    ] = False,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="onnxruntime threads.")] = 1,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the table to this Markdown file.", show_default=False)
    ] = None,
    json_: Annotated[
        Path | None,
        typer.Option("--json", help="Write all raw values to this JSON file.", show_default=False),
    ] = None,
) -> None:
    """Measure models side by side: one step is what the live loop does per 160 ms of microphone audio, or one image.

    Steps are timed back to back, and for up to a minute more at a microphone's cadence, where the loop sleeps between
    them: that is what `edgeemo listen` shows. The models take turns, so that their ratios hold on a busy machine too;
    for absolute times, let it be idle.
    """
    for path in filter(None, (markdown, json_)):
        check_writable(path)
    if training:
        _training(model or TRAINED, steps, threads, markdown, json_)
        return

    from edgeemo.bench.report import bench

    paths = [model_path(name) for name in dict.fromkeys(model)] if model else shipped_models()
    with progress_bar() as on_progress:
        report = bench(paths, n_steps=steps, n_threads=threads, on_progress=on_progress)

    if markdown is not None:
        write_text(markdown, report.to_markdown())
    if json_ is not None:
        write_text(json_, report.to_json())
    console = stdout_console(_PIPE_COLUMNS)
    for table in tables(report):
        console.print(table)
        console.print()
    console.print(report.caption(), style="dim", highlight=False, markup=False)


def _training(
    names: list[str], n_inferences: int, n_threads: int, markdown: Path | None, json_: Path | None
) -> None:
    """`--training`: the table on the screen; where a Markdown file is asked for, a plot beside it."""
    from edgeemo.cli.extras import workstation

    with workstation():
        from edgeemo.workstation import training_speed
        from edgeemo.workstation.training.recipe import load_recipe

    recipes = [load_recipe(recipe_path(name)) for name in dict.fromkeys(names)]
    with progress_bar() as on_progress:
        speeds = training_speed.training_speed(
            recipes, n_inferences=n_inferences, n_threads=n_threads, on_progress=on_progress
        )
    if markdown is not None:
        plot = markdown.with_suffix(".png")
        training_speed.plot(speeds, plot)
        text = training_speed.to_markdown(speeds)
        write_text(markdown, f"{text}\n![training and inference, ms]({plot.name})\n")
    if json_ is not None:
        write_text(json_, training_speed.to_json(speeds))
    console = stdout_console(_TRAINING_PIPE_COLUMNS)
    console.print(screen_table(training_speed.rows(speeds), left=["network"]))
    console.print(training_speed.caption(speeds), style="dim", highlight=False, markup=False)


def tables(report: BenchReport) -> list[Table]:
    """The report for the screen.

    The steps; what else a model costs, beside a bar of its median step; and, of audio, the steps back to back beside
    those at the cadence of a microphone.
    """
    from rich.table import Table
    from rich.text import Text

    def started(*names: str) -> Table:
        table = Table(box=None, pad_edge=False)
        table.add_column("model", no_wrap=True, style="bold")
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        return table

    steps = started("front ms", "net ms", "p50 ms", "p90", "p99", "max", report.ratio_title, "RTF")
    costs = started("parameters", "KiB", "1st ms", "start ms", "MiB")
    legend = Text.assemble(("resample ", "green"), ("front end ", "cyan"), ("network", "magenta"))
    costs.add_column(legend, no_wrap=True)
    slowest_ms = max(m.step_ms.p50_ms for m in report.models)
    for m in report.models:
        steps.add_row(
            Text(m.name),
            *("" if part is None else f"{part:.3f}" for part in (m.frontend_ms, m.network_ms)),
            Text(f"{m.step_ms.p50_ms:.3f}", style="bold"),
            f"{m.step_ms.p90_ms:.3f}",
            f"{m.step_ms.p99_ms:.3f}",
            f"{m.step_ms.max_ms:.2f}",
            f"{report.ratio(m):.2f}",
            "" if m.real_time_factor is None else f"{m.real_time_factor:.4f}",
        )
        memory = m.cold.peak_memory_mib
        costs.add_row(
            Text(m.name),
            f"{m.n_parameters:,}",
            f"{m.n_bytes / 1024:,.0f}",
            f"{m.cold.first_inference_ms.p50_ms:.1f}",
            f"{m.cold.first_label_ms.p50_ms:.0f}",
            "" if memory is None else f"{memory:.0f}",
            _bar(m, slowest_ms),
        )
    return [steps, costs, *_cadence_tables(report, started)]


def _cadence_tables(report: BenchReport, started: Callable[..., Table]) -> Iterator[Table]:
    from rich.text import Text

    rows = [(m.name, m.step_ms, m.audio.cadence_ms) for m in report.models if m.audio]
    if report.voice is not None:
        rows.append(("+ voice detector", report.voice.step_ms, report.voice.cadence_ms))
    if not rows:
        return
    table = started("back to back p50 ms", "at cadence p50 ms", "p90", "p99", "x back to back")
    for name, step_ms, cadence_ms in rows:
        table.add_row(
            Text(name),
            f"{step_ms.p50_ms:.3f}",
            Text(f"{cadence_ms.p50_ms:.3f}", style="bold"),
            f"{cadence_ms.p90_ms:.3f}",
            f"{cadence_ms.p99_ms:.3f}",
            f"{cadence_ms.p50_ms / step_ms.p50_ms:.2f}",
        )
    yield table


def _bar(m: ModelBench, slowest_ms: float) -> Text:
    from rich.text import Text

    bar, drawn, end_ms = Text(), 0, 0.0
    frontend_ms = m.frontend_ms or 0.0
    parts = (
        (m.audio.resample_ms.p50_ms if m.audio else 0.0, "green"),
        (frontend_ms, "cyan"),
        (m.model_ms.p50_ms - frontend_ms, "magenta"),
    )
    for part_ms, style in parts:
        end_ms += part_ms
        cells = round(_BAR_CELLS * min(1.0, end_ms / slowest_ms))
        bar.append("█" * (cells - drawn), style=style)
        drawn = cells
    return bar
