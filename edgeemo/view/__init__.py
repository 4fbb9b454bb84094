"""What a person sees of the live loop: a display that is redrawn in a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from edgeemo.view.plain import PlainView

if TYPE_CHECKING:
    from edgeemo.view.live import LiveView


def view_for(file: TextIO, n_known: int | None = None) -> LiveView | PlainView:
    """A `LiveView` where `file` is a terminal that can be drawn in, else a `PlainView`.

    Args:
        file: to show in.
        n_known: how many utterances of this voice the model knows from before; None of one that learns nothing of it.
    """
    if not file.isatty():
        return PlainView(file)

    from rich.console import Console  # only where something is drawn

    from edgeemo.view.live import LiveView

    console = Console(file=file)
    drawable = console.is_terminal and not console.is_dumb_terminal and not console.legacy_windows
    return LiveView(console, n_known) if drawable else PlainView(file)
