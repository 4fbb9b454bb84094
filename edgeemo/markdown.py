"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence


def markdown_table(rows: Sequence[Mapping[str, str]], *, left: Collection[str] = ()) -> list[str]:
    """The lines of a table.

    Args:
        rows: cells by the columns' titles; at least one row.
        left: columns of text besides the first; the others are of numbers, to the right.
    """
    first, *rest = rows[0]
    rule = ["---", *("---" if column in left else "--:" for column in rest)]
    return [_line([first, *rest]), f"|{'|'.join(rule)}|", *(_line(row.values()) for row in rows)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
