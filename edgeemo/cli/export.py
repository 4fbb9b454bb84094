"""`edgeemo export`: a trained network to ONNX files, every variant judged."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeemo.cli.extras import extras, workstation
from edgeemo.cli.own import SpeakerPattern, show_all
from edgeemo.cli.progress import progress_bar
from edgeemo.cli.tables import screen_table, stdout_console
from edgeemo.metadata import Kind, Mode, Precision

if TYPE_CHECKING:
    from edgeemo.workstation.export.policy import Plan
    from edgeemo.workstation.export.variants import Exported

_PIPE_COLUMNS = 180


class FileFormat(StrEnum):
    """What files an export writes."""

    ONNX = "onnx"
    ORT = "ort"


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
        Path | None,
        typer.Option(
            help="Your own .keras or .onnx file instead. The recipe describes its features; with a recipe in export/ "
            "the model gets the file's name."
        ),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="With --weights: class names, comma-separated, in the model's order.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="With --weights: what the model is called.  \\[default: the file's name]"),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="With --weights: its terms, for the metadata and the card.")
    ] = None,
    softmax: Annotated[
        bool, typer.Option("--softmax", help="With --weights: the network gives logits; add a softmax.")
    ] = False,
    features: Annotated[
        str | None,
        typer.Option(
            help="With --weights: a preset in place of the recipe's features: edgeemo, librosa, torchaudio, kaldi or "
            "whisper."
        ),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="With --weights: any value of the recipe, such as features.n_mels=40; repeatable.",
        ),
    ] = None,
    check: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="CLIP FEATURES",
            help="With --weights: a clip, and what your own pipeline computed of it (numpy.save). Where the features "
            "differ, nothing is written, and you are told what to change.",
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="With --check: what your network said of the clip (numpy.save)."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "-d",
            help="Folder with the recipe's corpora: to calibrate int8 on training speakers and to measure UAR on "
            "held-out ones. With any other audio, or none (the bundled sample), variants are only compared with "
            "Keras, and int8 is rejected. A network over images always needs the folder with its images.",
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="Any speech, a file or a folder, to calibrate int8 on where --data is not fit for that. It needs no "
            "labels; UAR is not measured."
        ),
    ] = None,
    speaker_pattern: SpeakerPattern = None,
    mode: Annotated[list[Mode] | None, typer.Option(help="Repeatable.  \\[default: both]")] = None,
    precision: Annotated[list[Precision] | None, typer.Option(help="Repeatable.  \\[default: all]")] = None,
    step_ms: Annotated[
        float | None, typer.Option(help="New audio per step.  \\[default: the recipe's, 160]")
    ] = None,
    file_format: Annotated[
        FileFormat,
        typer.Option(
            "--format", help="With ort, files for reduced builds of onnxruntime too, beside the .onnx files."
        ),
    ] = FileFormat.ONNX,
    force: Annotated[
        bool, typer.Option("--force", help="Keep variants that the gate rejects; their metadata says so.")
    ] = False,
    delay: Annotated[
        bool,
        typer.Option(
            "--delay",
            help="Stream a network that looks ahead too: its answers come as much later as it looks ahead, in whole "
            "steps.",
        ),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a shipped model: one in models/ of a checkout.")
    ] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")] = Path("models"),
) -> None:
    """Export a model with its front end and metadata: every variant, compared with Keras and judged side by side.

    A network over images (its recipe has a table `image`) becomes one file in fp32, with its card.
    """
    if weights and run:
        raise typer.BadParameter("give either --weights or --run, not both")
    if weights and fold:
        raise typer.BadParameter("--fold goes with a trained run; --weights is one network already")
    described = {
        "--labels": labels,
        "--name": name,
        "--licence": licence,
        "--softmax": softmax,
        "--features": features,
        "--set": override,
        "--check": check,
    }
    if not weights and (given := [option for option, value in described.items() if value]):
        raise typer.BadParameter(f"{given[0]} goes with --weights; a trained run says it itself")

    if predictions and not check:
        raise typer.BadParameter("--predictions goes with --check: it is of the same clip")

    # Before TensorFlow, which takes seconds to load: a slip of the pen costs none.
    with extras():
        from edgeemo.workstation.export import request
        from edgeemo.workstation.export.given import read_given
        from edgeemo.workstation.training.start import shipped_run

    if weights:
        network = request.own(
            weights,
            model,
            labels=tuple(label.strip() for label in labels.split(",")) if labels else (),
            name=name,
            licence=licence,
            overrides=override or (),
            features=features,
            softmax=softmax,
        )
    else:
        network = request.trained(run or shipped_run(model), fold=fold)
    options = request.Options(
        modes=tuple(mode or ()),
        precisions=tuple(precision or ()),
        step_ms=step_ms,
        ort_format=file_format is FileFormat.ORT,
        force=force,
        delay=delay,
    )
    request.checked(network, output, data=data, calibrate=calibrate, options=options, replace=replace)
    theirs = None if check is None else read_given(network.recipe, *check, predictions)

    with workstation():
        from edgeemo.workstation.export import policy

    if theirs:
        typer.echo(policy.check_features(network.recipe, theirs))
    plan = policy.plan_export(
        network,
        output,
        data=data,
        calibrate=calibrate,
        options=options,
        replace=replace,
        speaker_pattern=speaker_pattern,
    )
    if weights and not check and plan.source.metadata.kind is Kind.AUDIO:
        typer.echo(
            "note: features are as the recipe says, and were not compared with yours (--check CLIP FEATURES)",
            err=True,
        )
    if theirs and predictions:
        typer.echo(policy.check_predictions(plan.source, theirs))
    show_all(plan.understood)
    if plan.unfit is not None:
        not_done = "" if calibrate else " and int8 not calibrated"
        typer.echo(f"note: UAR is not measured{not_done}: {plan.unfit}", err=True)
    with progress_bar() as on_progress:
        exported = policy.carry_out(plan, on_progress=on_progress)
    report = _report_image if plan.source.metadata.kind is Kind.IMAGE else _report
    report(exported, plan)


def _report_image(exported: Exported, plan: Plan) -> None:
    """What was written, and how far it is from Keras."""
    m, p = plan.source.metadata, exported.verdicts[0].parity
    assert p is not None
    typer.echo(
        f"wrote {plan.folder / m.variant}.onnx: {exported.n_bytes[m.variant]:,} bytes, {m.takes} pixels -> "
        f"{len(m.labels)} labels"
    )
    typer.echo(
        f"parity with {p.reference} on {p.inputs}: probabilities differ by {p.mean_difference:.0e} on average, "
        f"{p.max_difference:.0e} at most ({p.tolerance:g} allowed); same label for {p.same_label:.1%}"
    )


def _report(exported: Exported, plan: Plan) -> None:
    """The gate's table on the screen, and why a variant was rejected."""
    from edgeemo.workstation.export.card import legend, variant_row

    rows = [
        variant_row(v.variant, v, parity=v.parity, n_bytes=exported.n_bytes.get(v.variant))
        for v in exported.verdicts
    ]
    for row in rows:
        row["variant"] += " *" if row["variant"] == exported.listen else ""
    styles = ["dim" if row["verdict"] == "rejected" else None for row in rows]
    table = screen_table(rows, left=("variant", "verdict"), styles=styles, no_wrap=True)
    console = stdout_console(_PIPE_COLUMNS)
    console.print(table)
    console.print(legend(plan.source.metadata.training), style="dim", highlight=False, markup=False)
    for v in exported.verdicts:
        if v.reasons:
            typer.echo(f"{v.variant} {'forced' if v.forced else 'rejected'}: {'; '.join(v.reasons)}")
    if exported.delay_ms:
        typer.echo(f"the network looks ahead: a stream's answers come {exported.delay_ms:g} ms late")
    file, card = plan.folder / f"{exported.listen}.onnx", plan.folder / f"{plan.source.metadata.name}.md"
    typer.echo(f"* the fastest: edgeemo listen --model {file}; card: {card}")
