"""How numbers of things, and names that hold anything, are written for a person."""

from __future__ import annotations


def counted(n: int | None, thing: str) -> str:
    """A number of things: `1 clip`, `2 clips`."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def printable(text: str) -> str:
    """File names can hold line breaks, terminal codes or bytes that are not UTF-8: those are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
