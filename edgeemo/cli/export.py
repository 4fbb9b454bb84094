"""`edgeemo export`: a trained Keras model to ONNX files, every variant judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeemo.cli.extras import workstation
from edgeemo.cli.progress import progress_bar
from edgeemo.cli.tables import screen_table, stdout_console
from edgeemo.errors import AudioError, ExportError
from edgeemo.files import write_text
from edgeemo.metadata import MODES, PRECISIONS

if TYPE_CHECKING:
    import numpy as np

    from edgeemo.metadata import ImageMetadata
    from edgeemo.workstation.export.build import Source
    from edgeemo.workstation.export.gate import Verdict
    from edgeemo.workstation.export.variants import Evaluation
    from edgeemo.workstation.training.metrics import CellMetrics, RunMetrics
    from edgeemo.workstation.training.recipe import Recipe

_N_CLIPS = 32
_N_PICTURES = 256
_PIPE_COLUMNS = 180


def export_command(
    model: Annotated[
        str, typer.Option("--model", "-m", help="Recipe: a name in export/, or a TOML file.")
    ] = "cnn_lstm",
    run: Annotated[
        Path | None,
        typer.Option(
            help="Run folder of `edgeemo train`.  \\[default: the shipped weights' run, export/MODEL/]"
        ),
    ] = None,
    fold: Annotated[
        str | None,
        typer.Option(help="The run's weights of this fold, such as 3 or fold-3.  \\[default: its best fold]"),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Your own .keras or .onnx file instead; the recipe says its features.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="With --weights: class names, comma-separated, in the model's order.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "-d",
            help="Folder with the recipe's corpora: to calibrate int8 on training speakers and to measure UAR on "
            "held-out ones. With any other audio, or none (the bundled sample), variants are only compared with "
            "Keras, and int8 is rejected. Of a network over images, the folder with its pictures, always needed.",
        ),
    ] = None,
    mode: Annotated[
        list[str] | None, typer.Option(help="window or stream; repeatable.  \\[default: both]")
    ] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="fp32, int8 or fp16; repeatable.  \\[default: all]")
    ] = None,
    step_ms: Annotated[
        float | None, typer.Option(help="New audio per step.  \\[default: the recipe's, 160]")
    ] = None,
    file_format: Annotated[
        str,
        typer.Option(
            "--format", help="onnx; or ort, for reduced builds of onnxruntime, beside the .onnx files."
        ),
    ] = "onnx",
    force: Annotated[
        bool, typer.Option("--force", help="Keep variants that the gate rejects; their metadata says so.")
    ] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")] = Path("models"),
) -> None:
    """Export a model with its front end and metadata: every variant, compared with Keras and judged side by side.

    A network over images (its recipe has a table `image`) becomes one file in fp32, and its card.
    """
    if weights and run:
        raise typer.BadParameter("give either --weights or --run, not both")
    if weights and fold:
        raise typer.BadParameter("--fold goes with a trained run; --weights is one network already")
    if labels and not weights:
        raise typer.BadParameter("--labels goes with --weights; a trained run knows its labels")

    _check_choice("--mode", mode, MODES)
    _check_choice("--precision", precision, PRECISIONS)
    _check_choice("--format", [file_format], ("onnx", "ort"))

    if output.is_file():
        raise ExportError(f"{output} is a file; give a folder to write the variants into")

    with workstation():
        from edgeemo.places import EXPORT_DIR, recipe_path
        from edgeemo.workstation.export.build import load_keras, prepare, write
        from edgeemo.workstation.export.card import image_card
        from edgeemo.workstation.export.variants import export_variants
        from edgeemo.workstation.training.folder import load_run
        from edgeemo.workstation.training.metrics import score_rows, training_facts
        from edgeemo.workstation.training.recipe import load_recipe, with_step

    facts: dict[str, Any] = {}
    scores: list[dict[str, Any]] = []
    if weights:
        recipe = load_recipe(recipe_path(model))
    else:
        run = run or EXPORT_DIR / load_recipe(recipe_path(model)).name
        recipe, metrics = load_run(run)
        cell_folder, cell = _cell(run, metrics, fold)
        weights = cell_folder / "model.keras"
        facts, scores = training_facts(recipe, cell), score_rows(recipe, cell)
    of_images = recipe.image is not None
    if of_images:
        of_audio = {
            "--mode": mode,
            "--precision": precision,
            "--step-ms": step_ms is not None,
            "--format": file_format != "onnx",
            "--force": force,
        }
        if given := [option for option, value in of_audio.items() if value]:
            raise ExportError(
                f"{recipe.name} is a network over images, which becomes one ONNX file in fp32; leave out "
                f"{', '.join(given)}"
            )
    elif step_ms is not None:
        recipe = with_step(recipe, step_ms / 1000)

    clips = _parity_pictures(data, recipe) if of_images else _parity_clips(data, recipe)
    source = prepare(
        weights if weights.suffix == ".onnx" else load_keras(weights),
        recipe,
        clips=clips,
        labels=tuple(label.strip() for label in labels.split(",")) if labels else (),
        training=facts,
        scores=scores,
    )
    if of_images:
        path = output / f"{source.metadata.variant}.onnx"
        written = write(source, path)
        write_text(path.with_suffix(".md"), image_card(written))
        _report_image(written, path)
        return
    with progress_bar() as on_progress:
        evaluated = _evaluation(data, source)
        verdicts = export_variants(
            source,
            output,
            modes=mode or MODES,
            precisions=precision or PRECISIONS,
            data=evaluated,
            file_format=file_format,
            force=force,
            on_progress=on_progress,
        )
    _report(verdicts, source, output)


def _check_choice(option: str, values: list[str] | None, known: Sequence[str]) -> None:
    for value in values or ():
        if value not in known:
            raise typer.BadParameter(f"{option} is {value!r}; known: {', '.join(known)}")


def _cell(run: Path, metrics: RunMetrics, fold: str | None) -> tuple[Path, CellMetrics]:
    """Folder and metrics of the run's best cell, or of the best one of a fold."""
    from edgeemo.workstation.training.folder import best_cell

    cells = [cell for cell in metrics.cells if fold is None or cell.fold in (fold, f"fold-{fold}")]
    if not cells:
        known = ", ".join(dict.fromkeys(cell.fold for cell in metrics.cells))
        raise ExportError(f"{run} has no fold {fold!r}; it has {known}")
    best: tuple[Path, CellMetrics] = best_cell(run, cells)
    return best


def _parity_pictures(data: Path | None, recipe: Recipe) -> list[np.ndarray]:
    """Pictures to compare on: some of the corpus' test part, evenly chosen."""
    from edgeemo.workstation.training.run import open_dataset

    if data is None:
        raise ExportError(
            f"{recipe.name} is compared with Keras on pictures; give --data with the folder of "
            f"{', '.join(recipe.data.corpora)}"
        )
    pictures = [picture for picture in open_dataset(recipe, data).items if picture.part == "test"]
    return [picture.pixels for picture in pictures[:: -(-len(pictures) // _N_PICTURES)]]


def _evaluation(data: Path | None, source: Source) -> Evaluation | None:
    """Calibration and held-out clips, where `data` has the recipe's corpora."""
    from edgeemo.errors import CorpusError
    from edgeemo.workstation.corpora.manifest import find_clips
    from edgeemo.workstation.export.variants import evaluation
    from edgeemo.workstation.training.speech import SpeechDataset

    if data is None:
        return None
    try:
        return evaluation(source, SpeechDataset(source.recipe, find_clips(data)))
    except CorpusError as error:
        typer.echo(f"note: UAR is not measured and int8 not calibrated: {error}", err=True)
        return None


def _parity_clips(data: Path | None, recipe: Recipe) -> list[np.ndarray]:
    """Clips to compare on: some of a folder or manifest, evenly chosen, broken ones left out; or the sample."""
    from edgeemo.audio import find_audio, read_audio
    from edgeemo.places import sample_path
    from edgeemo.workstation.corpora.manifest import find_clips

    rate = recipe.features.sample_rate
    if data is None:
        return [read_audio(sample_path(), rate)]
    is_manifest = data.suffix.lower() == ".csv"
    paths = [clip.path for clip in find_clips(data).clips] if is_manifest else find_audio([data])
    clips, problem = [], None
    for path in paths[:: -(-len(paths) // _N_CLIPS)]:
        try:
            clips.append(read_audio(path, rate))
        except AudioError as error:
            problem = error
    if problem and not clips:
        raise problem
    return clips


def _report_image(metadata: ImageMetadata, path: Path) -> None:
    """What was written, and how far it is from Keras."""
    p = metadata.parity
    typer.echo(
        f"wrote {path}: {path.stat().st_size:,} bytes, {metadata.takes} pixels -> "
        f"{len(metadata.labels)} labels"
    )
    typer.echo(
        f"parity with {p['reference']} on {p['n_images']} pictures: probabilities differ by "
        f"{p['mean_difference']:.0e} in the mean, {p['max_difference']:.0e} at most ({p['tolerance']:g} allowed); "
        f"same label for {p['same_label']:.1%}"
    )


def _report(verdicts: list[Verdict], source: Source, folder: Path) -> None:
    """The gate's table on the screen, and why a variant was rejected."""
    from edgeemo.workstation.export.card import legend, verdict_rows

    name = source.metadata.name
    listen = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["listen"]
    rows = verdict_rows([verdict.to_dict() for verdict in verdicts])
    for row in rows:
        row["variant"] += " *" if row["variant"] == listen else ""
    styles = ["dim" if row["verdict"] == "rejected" else None for row in rows]
    table = screen_table(rows, left=("variant", "verdict"), styles=styles, no_wrap=True)
    console = stdout_console(_PIPE_COLUMNS)
    console.print(table)
    console.print(legend(source.metadata.training), style="dim", highlight=False, markup=False)
    for verdict in verdicts:
        if verdict.reasons:
            what = "forced" if verdict.forced else "rejected"
            typer.echo(f"{verdict.variant} {what}: {'; '.join(verdict.reasons)}")
    typer.echo(f"* the fastest: edgeemo listen --model {folder / listen}.onnx; card: {folder / name}.md")
