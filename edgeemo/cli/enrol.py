"""`edgeemo enrol`: a profile of somebody's voice."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeemo.cli.listen import interrupted_by_signals, open_source
from edgeemo.cli.progress import progress_bar
from edgeemo.cli.quiet import quiet_libraries
from edgeemo.places import DEFAULT_MODEL

_DEFAULT_SECONDS = 20.0
_MAX_SECONDS = 3600.0


def enrol_command(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PROFILE", help="The file to write.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="The model that the profile is for.")
    ] = DEFAULT_MODEL,
    file: Annotated[
        Path | None, typer.Option(metavar="CLIP", help="Listen to this file instead of a microphone.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="INDEX|NAME", help="The microphone; part of a name is enough.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(metavar="N", help="How much speech, pauses left out.")
    ] = _DEFAULT_SECONDS,
) -> None:
    """Learn what a voice usually sounds like: speak for 20 seconds, as you do every day.

    The profile holds averages and no audio, and its owner alone can read it. Then `edgeemo listen --profile PROFILE`.
    """
    if device is not None and file is not None:
        raise typer.BadParameter("give a microphone or a file, not both", param_hint="--device")
    if not 0 < seconds <= _MAX_SECONDS:
        raise typer.BadParameter(
            f"{seconds:g}; expected more than 0, at most {_MAX_SECONDS:g}", param_hint="--seconds"
        )

    import edgeemo
    from edgeemo.enrol import enrol
    from edgeemo.files import check_writable

    loaded = edgeemo.load(model)
    check_writable(output)
    with quiet_libraries():
        source = open_source(file, device, fast=True, reconnect=False)
        with interrupted_by_signals() as interruption, source, progress_bar() as report:
            interruption.stops(source)
            profile = enrol(
                source,
                loaded,
                seconds=seconds,
                report=lambda heard_s: report("seconds of speech", round(heard_s), round(seconds)),
            )
    profile.save(output)
    print(f"{output}: {loaded.metadata.variant}, {seconds:g} s of speech")
