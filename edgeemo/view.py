"""What a person sees of the live loop: a display that is redrawn in a terminal, plain lines elsewhere.

A view shows one `Picture` after another. Rich is loaded only where something is drawn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Self, TextIO

from edgeemo.events import Event, Gap, Start, Status, Step
from edgeemo.live import LoopStatistics
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
        lost: audio that is missing so far, for a person; empty if none is.
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
    lost: str
    baseline: int | None = None

    @classmethod
    def of(cls, start: Start, step: Step, statistics: LoopStatistics, baseline: int | None = None) -> Self:
        """The picture after a step that `statistics` has counted."""
        return cls(
            source=f"{start.source}, {start.sample_rate} Hz",
            model=start.model,
            time_s=step.time_s,
            label=step.label,
            reason=step.reason,
            probabilities=step.probabilities,
            arousal=step.arousal,
            latency_p50_ms=statistics.latency_ms(50),
            latency_p99_ms=statistics.latency_ms(99),
            real_time_factor=statistics.real_time_factor,
            lost=statistics.lost,
            baseline=baseline,
        )


def view_for(file: TextIO, n_known: int | None = None) -> LiveView | PlainView:
    """A `LiveView` where `file` is a terminal that can be drawn in, else a `PlainView`.

    Args:
        file: to show in.
        n_known: how many utterances of this voice the model knows from before; None of one that learns nothing of it.
    """
    if not file.isatty():
        return PlainView(file)

    from rich.console import Console

    console = Console(file=file)
    return PlainView(file) if console.is_dumb_terminal else LiveView(console, n_known)


class LiveView:
    """Redraws `render(picture)` in place, at most ten times a second; the last picture stays."""

    def __init__(self, console: Console, n_known: int | None = None) -> None:
        from rich.live import Live

        self._start: Start | None = None
        self._statistics = LoopStatistics()
        self._n_known = n_known

        self._live = Live(console=console, auto_refresh=False)
        self._last_s = -math.inf
        self._waiting: Picture | None = None

    def take(self, event: Event, at: datetime) -> None:
        """Show what has changed, now or when it is time to redraw."""
        self._statistics.add(event)
        if isinstance(event, Start):
            self._start = event
        elif isinstance(event, Step) and self._start is not None:
            baseline = None if self._n_known is None else self._n_known + event.utterance
            self.show(Picture.of(self._start, event, self._statistics, baseline))

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
    """Writes a line for each new label or reason, one for each second of the stream, and what else is told.

    For pipes and log files.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._said: tuple[str | None, str | None] = None, None
        self._second = -1

    def take(self, event: Event, at: datetime) -> None:
        """Write the line of an event, if it is due one.

        Raises:
            BrokenPipeError: nobody is reading any more.
        """
        if isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Gap):
            self._write(event.time_s, f"[{event.length_s:.2f} s lost: {event.why}]")
        elif isinstance(event, Status):
            self._write(event.time_s, f"[{event.text}]")

    def _step(self, step: Step) -> None:
        second = math.floor(step.time_s)
        said = step.label, step.reason
        if said == self._said and second == self._second:
            return
        self._said, self._second = said, second
        shown = f"({step.reason})"
        if step.label is not None:
            shown = f"{step.label:<12} {step.probabilities[step.label]:.2f}"
        arousal = "" if step.arousal is None else f"  {_AROUSAL} {step.arousal:.2f}"
        self._write(step.time_s, f"{shown:<17}{arousal}")

    def _write(self, time_s: float, text: str) -> None:
        self._file.write(f"{time_s:8.2f} s  {text}".rstrip() + "\n")
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
        _number("lost", picture.lost or "nothing", "bold red" if picture.lost else "bold"),
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
