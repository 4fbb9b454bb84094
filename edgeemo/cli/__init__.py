"""The command line. This module registers the commands, and turns known errors into one line.

The command modules import only what is quick to load at the top, and the rest inside their functions.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgeemo import __version__
from edgeemo.cli import plain
from edgeemo.cli.audit import audit_command
from edgeemo.cli.bench import bench_command
from edgeemo.cli.classify import classify_command
from edgeemo.cli.data import data_command
from edgeemo.cli.doctor import doctor_command
from edgeemo.cli.enrol import enrol_command
from edgeemo.cli.evaluate import evaluate_command
from edgeemo.cli.exit_codes import FAILED, exit_code
from edgeemo.cli.export import export_command
from edgeemo.cli.listen import listen_command
from edgeemo.cli.models import info_command, models_command
from edgeemo.cli.new import new_command
from edgeemo.cli.study import study_command
from edgeemo.cli.train import train_command
from edgeemo.cli.web import web_command
from edgeemo.errors import EdgeEmoError


class _Commands(TyperGroup):
    """Prints errors that edgeemo raises on purpose as one line, with an exit code; others keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except EdgeEmoError as error:
            print("edgeemo: " + " ".join(str(error).split()), file=sys.stderr)
            raise typer.Exit(exit_code(error)) from error
        except OSError as error:
            if error.errno == errno.ENOSPC and error.filename is None:  # what stdout goes to
                print(
                    "edgeemo: no space left for the output; free some space or send it elsewhere",
                    file=sys.stderr,
                )
                raise typer.Exit(FAILED) from error
            if not isinstance(error, BrokenPipeError) and not _lost_terminal(error):
                raise
            # Whoever read stdout has seen enough. Python flushes it once more at exit: into nothing.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
            raise typer.Exit(0) from error
        return result


def _lost_terminal(error: OSError) -> bool:
    """Whether it says that the terminal has gone away that stdout was."""
    if error.errno not in (errno.EIO, errno.EBADF) or error.filename is not None:
        return False
    try:
        os.write(sys.stdout.fileno(), b"")  # a disk whose file cannot be read says EIO too
    except OSError:
        return True
    return False


app = typer.Typer(cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"edgeemo {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Speech emotion recognition on the edge: one ONNX file, raw audio in, emotion probabilities out."""


for _command in (
    listen_command,
    doctor_command,
    enrol_command,
    classify_command,
    evaluate_command,
    bench_command,
    web_command,
    models_command,
    info_command,
    data_command,
    new_command,
    train_command,
    study_command,
    export_command,
    audit_command,
):
    # Not named as the commands are: `edgeemo.cli.bench` stays the module.
    app.command(_command.__name__.removesuffix("_command"))(_command)


def main() -> None:
    """The entry point `edgeemo`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    # File names are bytes, and not every terminal shows block characters.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=plain.ERRORS)
    # Typer makes every registered command, with all its options, before it looks for the one that is wanted.
    named = [command for command in app.registered_commands if [command.name] == sys.argv[1:2]]
    app.registered_commands = named or app.registered_commands
    app()
