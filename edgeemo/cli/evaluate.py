"""`edgeemo evaluate`: what models are worth on speakers that they never heard."""

from __future__ import annotations

import json
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from edgeemo.cli.judgement import AnySound, Temperature, UnsureBelow, loaded
from edgeemo.cli.own import SpeakerPattern, show
from edgeemo.cli.progress import progress_bar, resumable
from edgeemo.cli.tables import screen_table, stdout_console

_PIPE_COLUMNS = 200
_TEXT_COLUMNS = ("model", "corpus", "the model", "less", "condition", "sound", "heard", "clips answered")


def evaluate_command(
    model: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Shipped models' names, or ONNX files.", show_default=False),
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            "-d",
            help="A folder of corpora or of your own clips, a table, or a manifest of `edgeemo data`.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder for evaluation.html, evaluation.json and the answers, with which a run that was interrupted "
            "goes on.",
        ),
    ] = Path("evaluation"),
    heard: Annotated[
        bool,
        typer.Option(
            "--heard",
            help="Judge by speakers that trained a model, or chose its epoch, too: strangers will score less.",
        ),
    ] = False,
    robustness: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="CLIPS",
            help="How many clips are heard in noise, rooms and codecs, and second by second; of every speaker and "
            "emotion alike. 0: none.",
        ),
    ] = 500,
    history: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Hear the clips of --robustness again after N others of the speaker; repeatable. For models that "
            "learn what a voice usually sounds like.",
            show_default=False,
        ),
    ] = None,
    enrolled: Annotated[
        list[float] | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Likewise after so much neutral speech of the speaker; repeatable.",
            show_default=False,
        ),
    ] = None,
    no_voice: Annotated[
        Path | None,
        typer.Option(
            help="Folder of sounds without a voice, besides silence, noise and tones that are made here.",
            show_default=False,
        ),
    ] = None,
    plain: Annotated[
        Path | None,
        typer.Option(help="Folder of ordinary speech, which is neutral if anything.", show_default=False),
    ] = None,
    speaker_pattern: SpeakerPattern = None,
    unsure_below: UnsureBelow = None,
    temperature: Temperature = None,
    any_sound: AnySound = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=1024, help="Processes that hear clips.")
    ] = 1,
    json_: Annotated[bool, typer.Option("--json", help="Print evaluation.json instead of tables.")] = False,
) -> None:
    """Score models on speakers that they never heard: in noise, on a telephone, after a second, with intervals.

    Writes a page with all tables and figures that can be handed on.
    """
    from edgeemo.evaluation.evaluate import Plan, evaluate
    from edgeemo.evaluation.page import html_page
    from edgeemo.evaluation.tables import notes, tables
    from edgeemo.files import write_text

    models = loaded(model, unsure_below=unsure_below, temperature=temperature, any_sound=any_sound)
    plan = Plan(
        data=data,
        output=output,
        heard_too=heard,
        n_robustness=robustness,
        history=tuple(history or ()),
        enrolled=tuple(enrolled or ()),
        no_voice=no_voice,
        plain=plain,
        n_jobs=jobs,
        speaker_pattern=speaker_pattern,
        command=shlex.join(["edgeemo", *sys.argv[1:]]),
    )
    with resumable(), progress_bar() as report:
        evaluation = evaluate(models, plan, report, notice=show)
    drawn = None
    if find_spec("matplotlib") is not None:  # else a page of tables
        from edgeemo.evaluation.figures import figures

        drawn = figures(evaluation)
    page = output / "evaluation.html"
    write_text(page, html_page(evaluation, drawn))
    if json_:
        typer.echo(json.dumps(evaluation.to_dict(), indent=1))
        return
    console = stdout_console(_PIPE_COLUMNS)
    for table in tables(evaluation):
        console.print(table.title, style="bold", highlight=False)
        console.print(screen_table(table.rows, left=_TEXT_COLUMNS))
        console.print(table.about, style="dim", highlight=False, markup=False)
        console.print()
    for note in notes(evaluation):
        console.print(note, style="dim", highlight=False, markup=False)
    console.print(f"the page: {page}", highlight=False, markup=False)
