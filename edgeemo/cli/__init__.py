"""The command line. This module registers the commands, and turns known errors into one line.

The modules of the commands import at their top only what is quick; the rest inside their functions.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgeemo import __version__
from edgeemo.cli.bench import bench
from edgeemo.cli.classify import classify
from edgeemo.cli.data import data
from edgeemo.cli.export import export
from edgeemo.cli.listen import listen
from edgeemo.cli.models import info, models
from edgeemo.cli.study import study
from edgeemo.cli.train import train
from edgeemo.errors import EdgeEmoError


class _Commands(TyperGroup):
    """One line and exit code 1 for an error that edgeemo raises on purpose; others keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except EdgeEmoError as error:
            print("edgeemo: " + " ".join(str(error).split()), file=sys.stderr)
            raise typer.Exit(1) from error
        except BrokenPipeError as error:
            # Whoever read stdout has seen enough. Python flushes it once more at exit: into nothing.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
            raise typer.Exit(0) from error
        return result


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


for _command in (listen, classify, bench, models, info, data, train, study, export):
    app.command()(_command)


def main() -> None:
    """The entry point `edgeemo`."""
    app()
