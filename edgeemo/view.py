"""What a person sees of the live loop: a display that is redrawn in a terminal, plain lines elsewhere.

A view shows one `Picture` after another. Rich is loaded only where something is drawn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from edgeemo.live import Step
from edgeemo.statistics import LoopStatistics
from edgeemo.wording import counted

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, RenderableType
    from rich.text import Text

WIDTH = 78
_REDRAW_S = 0.1
_EIGHTHS = " ▏▎▍▌▋▊▉"
_AROUSAL = "arousal"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One moment of the live loop.

    Attributes:
        source: name of the microphone or file, and its rate.
        model: name of the model.
        time_s: position in the stream.
        label: the current one; None where none is named.
        reason: why there is no label.
        probabilities: label -> probability, in the order to show them.
        arousal: from 0 (calm) to 1 (agitated); None where it is not claimed.
        latency_p50_ms: median latency of a step.
        latency_p99_ms: its 99th percentile.
        real_time_factor: processing time / audio time.
        drops: blocks lost.
        baseline: utterances that a model knows this voice from; None if it learns nothing of a voice.
    """

    source: str
    model: str
    time_s: float
    label: str | None
    reason: str | None
    probabilities: Mapping[str, float]
    arousal: float | None
    latency_p50_ms: float
    latency_p99_ms: float
    real_time_factor: float
    drops: int
    baseline: int | None = None

    @classmethod
    def of(
        cls, source: str, model: str, step: Step, statistics: LoopStatistics, baseline: int | None = None
    ) -> Self:
        """The picture after a step that `statistics` has counted."""
        return cls(
            source=f"{source}, {statistics.source_rate} Hz",
            model=model,
            time_s=step.time_s,
            label=step.label,
            reason=step.reason,
            probabilities=step.probabilities,
            arousal=step.arousal,
            latency_p50_ms=statistics.latency_ms(50),
            latency_p99_ms=statistics.latency_ms(99),
            real_time_factor=statistics.real_time_factor,
            drops=statistics.drops,
            baseline=baseline,
        )


class View(Protocol):
    """Shows pictures while it is entered."""

    def show(self, picture: Picture) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def view_for(file: TextIO) -> View:
    """A `LiveView` where `file` is a terminal that can be drawn in, else a `PlainView`."""
    if not file.isatty():
        return PlainView(file)

    from rich.console import Console

    console = Console(file=file)
    return PlainView(file) if console.is_dumb_terminal else LiveView(console)


class LiveView:
    """Redraws `render(picture)` in place, at most ten times a second; the last picture stays."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._live = Live(console=console, auto_refresh=False)
        self._last_s = -math.inf
        self._waiting: Picture | None = None

    def show(self, picture: Picture) -> None:
        """Show a picture, or keep it until it is time to redraw."""
        self._waiting = picture
        if time.monotonic() - self._last_s >= _REDRAW_S:
            self._draw()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw()
        self._live.stop()

    def _draw(self) -> None:
        if self._waiting is not None:
            width = min(WIDTH, self._live.console.width)
            self._live.update(render(self._waiting, width), refresh=True)
            self._last_s = time.monotonic()
            self._waiting = None


class PlainView:
    """Writes a line for each new label or reason, and one for each second of the stream: for pipes and log files."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._said: tuple[str | None, str | None] = None, None
        self._second = -1

    def show(self, picture: Picture) -> None:
        """Write the line of a picture, if it is due one.

        Raises:
            BrokenPipeError: nobody is reading any more.
        """
        second = math.floor(picture.time_s)
        said = picture.label, picture.reason
        if said == self._said and second == self._second:
            return
        self._said, self._second = said, second
        shown = f"({picture.reason})"
        if picture.label is not None:
            shown = f"{picture.label:<12} {picture.probabilities[picture.label]:.2f}"
        arousal = "" if picture.arousal is None else f"  {_AROUSAL} {picture.arousal:.2f}"
        drops = f"  drops {picture.drops}" if picture.drops else ""
        self._file.write(f"{picture.time_s:8.2f} s  {shown:<17}{arousal}".rstrip() + f"{drops}\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def render(picture: Picture, width: int = WIDTH) -> RenderableType:
    """A picture, `width` columns wide, with 9 rows and one more for each label.

    `benchmarks/listen_picture.py` makes the one in the README.
    """
    from rich.align import Align
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    name_width = max(map(len, (_AROUSAL, *picture.probabilities)))
    bar_width = max(10, width - name_width - 20)
    bars = Table.grid(padding=(0, 2))
    for label, p in picture.probabilities.items():
        current = label == picture.label
        style = "bold green" if current else "dim"
        bars.add_row(
            Text(label.rjust(name_width), style=style),
            _bar(p, bar_width, "green" if current else "bright_black"),
            Text(f"{100 * p:5.1f} %", style=style),
        )
    bars.add_row()
    bars.add_row(
        Text(_AROUSAL.rjust(name_width)),
        _bar(picture.arousal or 0.0, bar_width, "cyan"),
        Text("" if picture.arousal is None else f"{100 * picture.arousal:5.1f} %"),
    )
    numbers = Table.grid(expand=True)
    for _ in range(4):
        numbers.add_column(justify="center")
    numbers.add_row(
        _number("stream", _clock(picture.time_s)),
        _number("step p50/p99", f"{picture.latency_p50_ms:.1f}/{picture.latency_p99_ms:.1f} ms"),
        _number("real-time factor", f"{picture.real_time_factor:.3f}"),
        _number("drops", f"{picture.drops}", "bold red" if picture.drops else "bold"),
    )
    heading = Text(f"({picture.reason})", style="dim")
    if picture.label is not None:
        heading = Text(picture.label, style="bold green")
    knows = "" if picture.baseline is None else f", baseline of {counted(picture.baseline, 'utterance')}"
    return Panel(
        Group(Text(), Align.center(heading), Text(), Align.center(bars), Text(), numbers),
        title=Text.assemble(("edgeemo ", "bold"), (picture.model, "cyan"), knows),
        subtitle=Text(_shortened(picture.source, width - 8), style="dim"),
        width=width,
        border_style="bright_black",
    )


def _bar(p: float, width: int, style: str) -> Text:
    from rich.text import Text

    eighths = round(8 * width * min(max(p, 0.0), 1.0))
    full, rest = divmod(eighths, 8)
    bar = "█" * full + (_EIGHTHS[rest] if rest else "")
    return Text(bar.ljust(width), style=style)


def _number(name: str, value: str, style: str = "bold") -> Text:
    from rich.text import Text

    return Text.assemble((f"{name} ", "dim"), (value, style))


def _clock(time_s: float) -> str:
    minutes, seconds = divmod(time_s, 60)
    return f"{int(minutes)}:{math.floor(seconds):02d}"


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[1 - width :]
