"""`edgeemo classify`: score files and folders."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeemo.cli.extras import extras
from edgeemo.cli.judgement import AnySound, Temperature, UnsureBelow, loaded
from edgeemo.cli.quiet import quiet_libraries
from edgeemo.cli.tables import stderr_console, stdout_console
from edgeemo.errors import AudioError
from edgeemo.places import DEFAULT_MODEL

if TYPE_CHECKING:
    from rich.table import Table

    from edgeemo.classify import Classifier, ClipFailure, Result


_PIPE_COLUMNS = 1000


class Format(StrEnum):
    """How the scores are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def classify_command(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Audio files, or folders to search for them.", show_default=False, readable=False
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A shipped model's name or an ONNX file; repeatable: the mean of the models' probabilities.  "
            rf"\[default: {DEFAULT_MODEL}]",
            show_default=False,
        ),
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="Default: as the suffix of --output says, else a table."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write to this file; with --ray: Parquet, to this new folder.",
            show_default=False,
        ),
    ] = None,
    timeline: Annotated[
        bool,
        typer.Option(
            "--timeline",
            help="For long files: a row for each window of a clip, or each step of a stream model, with its time.",
        ),
    ] = False,
    channel: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Hear this channel of each file; without, the mean of all."),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="PROFILE",
            help="What `edgeemo enrol` learnt of the voice that is in all files.",
            show_default=False,
        ),
    ] = None,
    unsure_below: UnsureBelow = None,
    temperature: Temperature = None,
    any_sound: AnySound = False,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Score in parallel on this Ray cluster: auto, HOST:PORT, ray://HOST:PORT, "
            "or local to start one here. Needs --output.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Score whole clips of any length and rate: the mean probabilities over each clip's windows.

    Where no emotion is named, as in silence or if none is probable enough, the label is empty and a reason is given.

    A file that cannot be read is named and counted, and the others are scored all the same; the exit code is then 1.
    """
    from edgeemo.classify import Classifier
    from edgeemo.profile import read_profile

    if ray is not None and output is None:
        raise typer.BadParameter("needs --output, the folder for the Parquet files", param_hint="--ray")
    if ray is None and output is not None and output.suffix.lower() == ".parquet":
        raise typer.BadParameter(
            f"{output}: Parquet is written with --ray alone; give a .csv or .json file", param_hint="--output"
        )
    if ray is not None and format_ is not None:
        raise typer.BadParameter("--ray writes Parquet", param_hint="--format")
    if ray is not None and profile is not None:
        raise typer.BadParameter("an archive is of many voices; leave out --ray", param_hint="--profile")
    if ray is not None and channel is not None:
        raise typer.BadParameter("an archive is heard as it is; leave out --ray", param_hint="--channel")
    names = model or [DEFAULT_MODEL]
    learnt = None if profile is None else read_profile(profile)
    classifier = Classifier(
        loaded(names, unsure_below=unsure_below, temperature=temperature, any_sound=any_sound),
        profile=learnt,
        channel=channel,
    )
    if ray is not None and output is not None:
        _classify_archive(classifier, files, output, address=ray, timeline=timeline)
    else:
        _classify_here(classifier, files, format_ or _format_of(output), output, timeline=timeline)


def _classify_here(
    classifier: Classifier, files: Sequence[Path], format_: Format, output: Path | None, *, timeline: bool
) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from edgeemo.classify import ClipFailure, ClipScore, TimelineFailure
    from edgeemo.files import check_writable, write_text

    if output is not None:
        check_writable(output)
    found = _find(files, TimelineFailure if timeline else ClipFailure)
    columns = (TextColumn("classify"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    score = classifier.timelines if timeline else classifier.classify
    results: list[Result] = []
    with quiet_libraries():  # MP3 decoders write about damaged files what edgeemo says itself
        console = stderr_console()
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("", total=len(found))
            for item in found:
                of_item = [item] if isinstance(item, ClipFailure) else score([item])
                for result in of_item:
                    if isinstance(result, ClipFailure):
                        progress.console.print(
                            result.error, style="red", markup=False, highlight=False, soft_wrap=True
                        )
                    results.append(result)
                progress.advance(task)

    if output is None and format_ is Format.TABLE and sys.stdout.isatty():
        stdout_console(_PIPE_COLUMNS).print(_table(results, classifier.labels, timeline=timeline))
    else:
        write = {Format.TABLE: as_table, Format.CSV: as_csv, Format.JSON: as_json}[format_]
        text = write(results, classifier.labels, timeline=timeline)
        if output is None:
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            write_text(output, text)
    n_unlabelled = sum(isinstance(result, ClipScore) and result.label is None for result in results)
    if n_unlabelled:
        typer.echo(f"{n_unlabelled} of {len(found)} got no label: silent, too short or unsure", err=True)
    n_failed = sum(isinstance(result, ClipFailure) for result in results)
    if n_failed:
        typer.echo(f"{n_failed} of {len(found)} could not be scored", err=True)
        raise typer.Exit(1)


def _classify_archive(
    classifier: Classifier, files: Sequence[Path], output: Path, *, address: str, timeline: bool
) -> None:
    from edgeemo.archive import classify_archive
    from edgeemo.classify import ClipFailure

    # A path that leads nowhere becomes a row too: no node can read it.
    found = [item.path if isinstance(item, ClipFailure) else item for item in _find(files, ClipFailure)]
    with extras(), quiet_libraries():
        done = classify_archive(
            classifier, found, output, address=address, timeline=timeline, progress_bar=sys.stderr.isatty()
        )
    typer.echo(f"{done.n_scored} scored, {done.n_unreadable} could not be: {output}")
    if done.n_unreadable:
        raise typer.Exit(1)


def as_csv(results: Sequence[Result], labels: tuple[str, ...], *, timeline: bool = False) -> str:
    """CSV text: one row per result, one column `p_LABEL` per class; a file that failed has only its `error`."""
    from edgeemo.classify import columns, to_row

    text = io.StringIO()
    writer = csv.DictWriter(text, columns(labels, timeline=timeline), lineterminator="\n")
    writer.writeheader()
    writer.writerows(to_row(result, labels) for result in results)
    return text.getvalue()


def as_json(results: Sequence[Result], labels: tuple[str, ...], *, timeline: bool = False) -> str:
    """JSON text: a list of one object per result, all with the same keys; `error` is null for a score."""
    del labels, timeline  # the objects name their keys
    # One after another: a long timeline as objects would take hundreds of megabytes.
    objects = (json.dumps(result.to_dict(), ensure_ascii=False, indent=1) for result in results)
    return "[\n" + ",\n".join(" " + text.replace("\n", "\n ") for text in objects) + "\n]\n"


def as_table(results: Sequence[Result], labels: tuple[str, ...], *, timeline: bool = False) -> str:
    """A table as plain text, as wide as its content."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=_PIPE_COLUMNS)
    with console.capture() as capture:
        console.print(_table(results, labels, timeline=timeline))
    return capture.get()


def _table(results: Sequence[Result], labels: tuple[str, ...], *, timeline: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    times = {"start_s": "from", "end_s": "to"} if timeline else {"duration_s": "seconds"}
    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    for title in times.values():
        table.add_column(title, justify="right")
    table.add_column("label")
    for name in ("arousal", *labels):
        table.add_column(name, justify="right")
    for result in results:
        row = result.to_dict()
        path = Text(row["path"])
        if row["error"] is not None:
            table.add_row(path, *[""] * len(times), Text("not read", style="red"))
            continue
        seconds = [f"{row[key]:.2f}" for key in times]
        label = (
            Text(f"({row['reason']})", style="dim")
            if row["label"] is None
            else Text(row["label"], style="bold")
        )
        cells = [Text("" if row["arousal"] is None else f"{row['arousal']:.2f}")] + [
            Text(f"{p:.2f}", style="bold" if name == row["label"] else "dim")
            for name, p in (row["probabilities"] or {}).items()
        ]
        table.add_row(path, *seconds, label, *cells)
    return table


def _find(arguments: Sequence[Path], failure: type[ClipFailure]) -> list[Path | ClipFailure]:
    """The files behind each argument, each once; an argument without any, or one that cannot be searched, fails."""
    from edgeemo.audio import find_audio

    found: dict[Path, Path | ClipFailure] = {}

    def unreadable(error: OSError) -> None:
        folder = Path(error.filename)
        found[folder] = failure(folder, f"{folder}: this folder cannot be searched ({error.strerror})")

    for argument in arguments:
        try:
            paths = find_audio([argument], unreadable)
        except AudioError as error:
            found.setdefault(argument, failure(argument, " ".join(str(error).split())))
            continue
        for path in paths:
            found.setdefault(path, path)
    return list(found.values())


def _format_of(output: Path | None) -> Format:
    suffix = output.suffix.lower().lstrip(".") if output is not None else ""
    return Format(suffix) if suffix in ("csv", "json") else Format.TABLE
