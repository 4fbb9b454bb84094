"""The README's image of `edgeemo listen`, and a recording of it, drawn by the real loop.

    python benchmarks/listen_picture.py

listens to the bundled sample of speech without waiting for real time, and writes what a terminal would show: at
`--seconds` to `results/listen.svg` beside this file, and from the first event to the last, at the speed of the
stream, to `results/listen_recording.svg`, which moves without a script. The numbers in them are those of that run on
this machine.
"""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.segment import Segment, SegmentLines
from rich.style import Style
from rich.terminal_theme import SVG_EXPORT_THEME

import edgeemo
from edgeemo.files import write_text
from edgeemo.places import DEFAULT_MODEL, sample_path
from edgeemo.view.draw import Line, rows
from edgeemo.view.picture import Picture

RESULTS = Path(__file__).parent / "results"
TITLE = "edgeemo listen"
COLUMNS, ROWS = 80, 21
REST_S = 2.0
"""How long the recording shows its last frame, before it begins again."""

CELL_WIDTH, CELL_HEIGHT, FONT_SIZE = 8.4, 19, 14
FONTS = '"Fira Code",Menlo,Consolas,"DejaVu Sans Mono",monospace'
MARGIN, BAR_HEIGHT = 12, 34


@dataclass(frozen=True)
class Frame:
    """What is on the screen from `time_s` on, until the next frame."""

    time_s: float
    lines: list[Line]


def main() -> None:
    """Listen, then write what the view shows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or path (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="moment of the image (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the SVG files")
    arguments = parser.parse_args()

    frames = listened(arguments.model)
    until = [frame for frame in frames if frame.time_s <= arguments.seconds]
    if not until:
        parser.error(f"--seconds {arguments.seconds:g} is before the stream")
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(SegmentLines(until[-1].lines, new_lines=True), end="")
    for name, svg in (
        ("listen.svg", console.export_svg(title=TITLE)),
        ("listen_recording.svg", recording(frames, still=len(until) - 1)),
    ):
        write_text(arguments.output / name, svg)
        print(f"wrote {arguments.output / name}")


def listened(model: str) -> list[Frame]:
    """The screen after each moment at which something was told."""
    picture = Picture()
    frames: list[Frame] = []
    source = edgeemo.AudioFile(sample_path(), realtime=False)
    for event in edgeemo.listen(source, edgeemo.load(model)):
        picture.add(event)
        if frames and frames[-1].time_s == event.time_s:
            frames.pop()
        frames.append(Frame(event.time_s, rows(picture, COLUMNS, ROWS)))
    return frames


def recording(frames: list[Frame], *, still: int) -> str:
    """An SVG that shows one frame after the other, for ever; to who wants no motion, only the one with this number.

    The frames are a strip that is moved past a window. A row that is in several frames is written once.
    """
    end_s = frames[-1].time_s + REST_S
    width, height = COLUMNS * CELL_WIDTH, ROWS * CELL_HEIGHT
    written: dict[str, str] = {}
    styles: dict[Style, str] = {}
    strip = []
    for i, frame in enumerate(frames):
        for y, line in enumerate(frame.lines):
            if drawn := _row(line, styles):
                name = written.setdefault(drawn, f"r{len(written)}")
                strip.append(f'<use href="#{name}" y="{i * height + y * CELL_HEIGHT}"/>')
    steps = "".join(
        f"{100 * frame.time_s / end_s:.2f}%{{transform:translateY({-i * height}px)}}"
        for i, frame in enumerate(frames)
    )
    assert all(before.time_s < after.time_s for before, after in pairwise(frames))
    rules = "".join(f".{name}{{{_css(style)}}}" for style, name in styles.items())
    rows_ = "".join(f'<g id="{name}">{drawn}</g>' for drawn, name in written.items())
    outer_width, outer_height = width + 2 * MARGIN, height + BAR_HEIGHT + MARGIN
    lights = "".join(
        f'<circle cx="{20 + 20 * i}" cy="17" r="6" fill="{colour}"/>'
        for i, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {outer_width:g} {outer_height:g}">
<style>
text{{font:{FONT_SIZE}px {FONTS};fill:{_colour(None)};white-space:pre}}
{rules}
@keyframes play{{{steps}}}
.strip{{transform:translateY({-still * height}px)}}
@media (prefers-reduced-motion:no-preference){{.strip{{animation:play {end_s:g}s step-end infinite}}}}
</style>
<rect width="100%" height="100%" rx="8" fill="{SVG_EXPORT_THEME.background_color.hex}"/>
{lights}<text x="50%" y="22" text-anchor="middle">{TITLE}</text>
<defs>{rows_}</defs>
<svg x="{MARGIN}" y="{BAR_HEIGHT}" width="{width:g}" height="{height}"><g class="strip">{"".join(strip)}</g></svg>
</svg>
"""


def _row(line: Line, styles: dict[Style, str]) -> str:
    """A row's text, each piece at its column; new styles get a name."""
    texts = []
    column = 0
    for text, style, _ in Segment.simplify(line):
        shown = text.strip()
        if shown:
            at = column + len(text) - len(text.lstrip())
            name = styles.setdefault(style or Style.null(), f"s{len(styles)}")
            place = f'x="{at * CELL_WIDTH:g}" y="{FONT_SIZE}" textLength="{len(shown) * CELL_WIDTH:g}"'
            texts.append(f'<text class="{name}" {place}>{escape(shown)}</text>')
        column += len(text)
    return "".join(texts)


def _css(style: Style) -> str:
    weight = "font-weight:bold;" if style.bold else ""
    faint = "fill-opacity:.55;" if style.dim else ""
    return f"{weight}{faint}fill:{_colour(style)}"


def _colour(style: Style | None) -> str:
    if style is None or style.color is None:
        return SVG_EXPORT_THEME.foreground_color.hex
    return style.color.get_truecolor(SVG_EXPORT_THEME).hex


if __name__ == "__main__":
    main()
