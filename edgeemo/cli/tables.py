"""Consoles, and tables on the screen."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def stdout_console(pipe_columns: int) -> Console:
    """A console as wide as the terminal; where stdout is not one, as wide as given."""
    from rich.console import Console

    class Stdout(Console):
        def on_broken_pipe(self) -> None:
            raise  # whoever called rich decides; it would end the program as if something had failed

    return Stdout(width=None if sys.stdout.isatty() else pipe_columns)


def stderr_console() -> Console:
    """A console on stderr that moves no cursor where that is a file, whatever `FORCE_COLOR` says."""
    from rich.console import Console

    return Console(stderr=True, force_terminal=sys.stderr.isatty())


def screen_table(
    rows: Sequence[Mapping[str, str]],
    *,
    left: Collection[str],
    styles: Iterable[str | None] | None = None,
    no_wrap: bool = False,
) -> Table:
    """A table of text cells.

    Args:
        rows: cells by the columns' titles; at least one row.
        left: columns of text; the others are of numbers, to the right.
        styles: rich's style of each row.
        no_wrap: keep every cell in one line.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in rows[0]:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=no_wrap)
    for row, style in zip(rows, styles or [None] * len(rows), strict=True):
        table.add_row(*row.values(), style=style)
    return table
