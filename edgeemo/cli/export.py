"""`edgeemo export`: a trained Keras model to one checked ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeemo.cli.extras import workstation

if TYPE_CHECKING:
    import numpy as np

    from edgeemo.metadata import Metadata
    from edgeemo.workstation.training.recipe import Recipe

_N_CLIPS = 32


def export(
    model: Annotated[
        str, typer.Option("--model", "-m", help="Recipe: a name in export/, or a TOML file.")
    ] = "cnn_lstm",
    run: Annotated[
        Path | None,
        typer.Option(
            help="Run folder of `edgeemo train`.  [default: the shipped weights' run, export/MODEL/]"
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Your own .keras file instead; the recipe says its features.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="With --weights: class names, comma-separated, in the model's order.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "-d",
            help="Folder of audio to compare with Keras on.  [default: the bundled speech sample]",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write.  [default: models/MODEL.onnx]")
    ] = None,
) -> None:
    """Export a model with its front end and metadata to one ONNX file (and a card), compared with Keras."""
    if weights and run:
        raise typer.BadParameter("give either --weights or --run, not both")
    if labels and not weights:
        raise typer.BadParameter("--labels goes with --weights; a trained run knows its labels")

    with workstation():
        from edgeemo.files import write_text
        from edgeemo.places import EXPORT_DIR, recipe_path
        from edgeemo.workstation.card import model_card
        from edgeemo.workstation.export import export as export_model
        from edgeemo.workstation.export import load_keras
        from edgeemo.workstation.training.recipe import load_recipe
        from edgeemo.workstation.training.run import best_cell, load_run, score_rows, training_facts

    facts: dict[str, Any] = {}
    scores: list[dict[str, Any]] = []
    if weights:
        recipe = load_recipe(recipe_path(model))
    else:
        run = run or EXPORT_DIR / load_recipe(recipe_path(model)).name
        recipe, metrics = load_run(run)
        folder, cell = best_cell(run, metrics)
        weights = folder / "model.keras"
        facts, scores = training_facts(recipe, cell), score_rows(recipe, cell)

    target = output or Path("models") / f"{recipe.name}.onnx"
    metadata = export_model(
        load_keras(weights),
        recipe,
        target,
        clips=_parity_clips(data, recipe),
        labels=tuple(label.strip() for label in labels.split(",")) if labels else (),
        training=facts,
        scores=scores,
    )
    write_text(target.with_suffix(".md"), model_card(metadata, n_bytes=target.stat().st_size))
    _report(metadata, target)


def _parity_clips(data: Path | None, recipe: Recipe) -> list[np.ndarray]:
    """Clips to compare on: some of a folder, evenly chosen, or the bundled sample."""
    from edgeemo.audio import find_audio, read_audio
    from edgeemo.places import sample_path

    paths = find_audio([data]) if data else [sample_path()]
    return [read_audio(path, recipe.features.sample_rate) for path in paths[:: -(-len(paths) // _N_CLIPS)]]


def _report(metadata: Metadata, path: Path) -> None:
    parity = metadata.parity
    typer.echo(
        f"{path}: {path.stat().st_size:,} bytes, {metadata.n_parameters:,} parameters, "
        f"labels {', '.join(metadata.labels)}"
    )
    typer.echo(
        f"parity with Keras on {parity['n_windows']} windows (clips: {parity['n_clips']}): largest difference "
        f"{parity['max_difference']:.2g} (tolerance {parity['tolerance']:g}), "
        f"same label in {parity['same_label']:.0%}"
    )
