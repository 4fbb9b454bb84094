"""What commands share that read people's own recordings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

SpeakerPattern = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Find unknown speakers in the paths of clips: a regular expression with one group, such as '(\\d+)_'.",
        show_default=False,
    ),
]


def show(line: str) -> None:
    """Print how data were understood: to stderr, where it is in no output's way."""
    typer.echo(f"data: {line}", err=True)


def show_all(lines: Iterable[str]) -> None:
    """Print several such lines."""
    for line in lines:
        show(line)
