"""A picture as rows of text, for whatever room there is."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from itertools import groupby, islice

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from edgeemo.events import Start, Utterance
from edgeemo.view.picture import Level, Picture
from edgeemo.wording import counted, printable

Line = list[Segment]

_MAIN = 78
"""Columns of all but the utterances."""
_BESIDE = 40
"""Where there are as many columns beside that, the utterances are shown there."""
_APART = 3
_SCALE = 25
_EIGHTHS = " ▏▎▍▌▋▊▉"
_HEIGHTS = "▁▂▃▄▅▆▇█"
_FLOOR_AT_MOST_DB = -40.0
_NEAR_FLOOR_DB = 6.0
_LOUD_DB = -10.0
_PERCENT = 7

_NOW = Style.parse("bold green")
_BAR = Style.parse("green")
_AROUSAL = Style.parse("bold cyan")
_NAME = Style.parse("cyan")
_BOLD = Style.parse("bold")
_DIM = Style.parse("dim")
_WRONG = Style.parse("bold red")
_PLAIN = Style.null()


def rows(picture: Picture, width: int, height: int) -> list[Line]:
    """A picture in at most `height` rows of at most `width` columns; both are at least 1.

    Where there is little room, the utterances go first, then the probabilities, then what else is not the label.
    """
    utterances = list(islice(picture.utterances, height))
    if width < _MAIN + _APART + _BESIDE:
        return [_cut(line, width) for line in _column(picture, min(width, _MAIN), height, utterances)]
    beside = [_utterance(u, width - _MAIN - _APART) for u in utterances]
    main = _column(picture, _MAIN, height, ())
    heading = [[Segment("utterances", _DIM)]] if beside else []
    beside = [*heading, *beside][: len(main)]
    beside += [[] for _ in range(len(main) - len(beside))]
    return [
        _cut([*Segment.adjust_line_length(left, _MAIN + _APART), *right], width)
        for left, right in zip(main, beside, strict=True)
    ]


def _column(picture: Picture, width: int, height: int, utterances: Sequence[Utterance]) -> list[Line]:
    """All of it, one below the other."""
    shown = {
        "heading": [_centred(_heading(picture, width), width)],
        "troubles": _troubles(picture, width),
        "level": [_level(picture, width)],
        "title": _flow(_title(picture), width)[:1],
        "arousal": [_centred(_arousal(picture, width), width)] if picture.tells_arousal else [],
        "numbers": _flow(_numbers(picture), width),
        "source": [] if picture.start is None else _flow(_source(picture.start, width), width),
        "bars": _bars(picture, width),
    }
    room = height
    for name, lines in shown.items():  # in the order of what matters
        kept = lines[:room] if name == "troubles" else lines
        shown[name] = kept if len(kept) <= room else []
        room -= len(shown[name])
    blocks = [
        shown["title"],
        shown["heading"] + shown["arousal"],
        shown["bars"],
        shown["level"],
        shown["numbers"] + shown["source"],
        shown["troubles"],
        [_utterance(u, width) for u in utterances],
    ]
    blocks = [block for block in blocks if block]
    between: list[Line] = [[]] if room >= len(blocks) else []
    lines = [line for block in blocks for line in [*between, *block]]
    return lines[len(between) :][:height]


def _title(picture: Picture) -> list[Line]:
    parts = [[Segment(_clock(picture.time_s), _BOLD)]]
    if picture.start is not None:
        parts.append([Segment("edgeemo ", _BOLD), Segment(printable(picture.start.model), _NAME)])
    if picture.baseline is not None:
        parts.append([Segment(f"baseline of {counted(picture.baseline, 'utterance')}", _DIM)])
    return parts


def _heading(picture: Picture, width: int) -> Line:
    now = picture.now
    if now is None or now.label is None:
        return [Segment(f"({picture.why if now is None else now.reason})", _DIM)]
    label = [Segment(printable(now.label), _NOW)]
    probability = Segment(f"  {100 * now.probabilities[now.label]:.0f} %", _NOW)
    return [*label, probability] if _width([*label, probability]) <= width else label


def _arousal(picture: Picture, width: int) -> Line:
    left, right = "calm ", " agitated"
    length = min(_SCALE, width - len(f"{left}{right} 0.00"))
    arousal = None if picture.now is None else picture.now.arousal
    if length < 2:
        return [] if arousal is None else [Segment(f"arousal {arousal:.2f}", _AROUSAL)]
    if arousal is None:
        return [Segment(f"{left}{'─' * length}{right}     ", _DIM)]
    at = round(arousal * (length - 1))
    return [
        Segment(left + "─" * at, _DIM),
        Segment("●", _AROUSAL),
        Segment("─" * (length - 1 - at) + right, _DIM),
        Segment(f" {arousal:.2f}", _AROUSAL),
    ]


def _bars(picture: Picture, width: int) -> list[Line]:
    """One row for each label; dim where nobody speaks, and the label in green where one is named."""
    labels = {printable(label): p for label, p in picture.probabilities.items()}
    name_width = min(max(map(cell_len, labels), default=0), width // 3)
    length = width - name_width - _PERCENT - 4
    named = None if picture.now is None or picture.now.label is None else printable(picture.now.label)
    lines = []
    for label, p in labels.items():
        style = _NOW if label == named else _PLAIN if picture.judged else _DIM
        name = " " * (name_width - cell_len(label)) + set_cell_size(label, min(cell_len(label), name_width))
        bar = [Segment(_bar(p, length) + "  ", _BAR if label == named else style)] if length > 0 else []
        lines.append([Segment(name + "  ", style), *bar, Segment(f"{100 * p:5.1f} %", style)])
    return lines


def _bar(p: float, width: int) -> str:
    full, rest = divmod(round(8 * width * min(max(p, 0.0), 1.0)), 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def _level(picture: Picture, width: int) -> Line:
    """The last seconds as blocks from the noise floor to as loud as can be: `!` is clipped, `x` is missing."""
    floor_db = picture.floor_db
    if floor_db is None:
        return [Segment("level", _DIM)]
    last_db = picture.levels[-1].db
    now = "" if last_db is None else f"{last_db:.0f} dB"
    numbers = f" {now:>7}  floor {floor_db:4.0f} dB"
    length = width - len("level ") - len(numbers)
    if length < 1:
        return [Segment(now, _DIM)]
    last = list(picture.levels)[-length:]
    cells = [_cell(level, floor_db) for level in last]
    line = [Segment("level ", _DIM)]
    for style, same in groupby(cells, key=lambda cell: cell[1]):
        line.append(Segment("".join(text for text, _ in same), style))
    if any(level.clipped for level in last) and length > len(cells) + len("  clipped"):
        line.append(Segment("  clipped", _WRONG))
    return [*Segment.adjust_line_length(line, width - len(numbers)), Segment(numbers, _DIM)]


def _cell(level: Level, floor_db: float) -> tuple[str, Style]:
    if level.db is None:
        return "x", _WRONG
    if level.clipped:
        return "!", _WRONG
    bottom_db = min(floor_db, _FLOOR_AT_MOST_DB)
    height = math.floor(len(_HEIGHTS) * (level.db - bottom_db) / (_LOUD_DB - bottom_db))
    block = _HEIGHTS[min(max(height, 0), len(_HEIGHTS) - 1)]
    return block, _DIM if level.db < floor_db + _NEAR_FLOOR_DB else _BAR


def _numbers(picture: Picture) -> list[Line]:
    statistics = picture.statistics
    parts = []
    if statistics.n_steps:
        p50_ms, p99_ms = picture.latency_ms
        parts.append([Segment("step ", _DIM), Segment(f"p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms", _BOLD)])
        factor = f"{statistics.real_time_factor:.3f}"
        parts.append([Segment("real-time factor ", _DIM), Segment(factor, _BOLD)])
    lost = statistics.lost
    parts.append([Segment(lost, _WRONG) if lost else Segment("nothing lost", _DIM)])
    return parts


def _source(start: Start, width: int) -> list[Line]:
    parts = [_shortened(printable(start.source), width), f"{start.sample_rate} Hz"]
    if start.channel is not None:
        parts.append(f"channel {start.channel} of {start.channels}")
    elif start.channels > 1:
        parts.append(f"mean of {counted(start.channels, 'channel')}")
    if start.delay_s:
        parts.append(f"labels are {1000 * start.delay_s:.0f} ms late")
    return [[Segment(part, _DIM)] for part in parts]


def _troubles(picture: Picture, width: int) -> list[Line]:
    texts = [printable(status.text) for status in picture.troubles.values()]
    return [[Segment(line, _WRONG)] for text in texts for line in textwrap.wrap(f"! {text}", width)]


def _utterance(utterance: Utterance, width: int) -> Line:
    """When, how long, and what was said of it."""
    length_s = utterance.end_s - utterance.start_s
    line = [Segment(f"{_clock(utterance.start_s):>7} {length_s:5.1f} s  ", _DIM)]
    if utterance.label is None:
        line.append(Segment(_filled(f"({utterance.reason})", 18), _DIM))
    else:
        label, p = printable(utterance.label), utterance.probabilities[utterance.label]
        line.append(Segment(f"{_filled(label, 12)} {100 * p:3.0f} %", _PLAIN))
    if utterance.arousal is not None:
        arousal = Segment(f"  arousal {utterance.arousal:.2f}", _DIM)
        line += [arousal] if _width([*line, arousal]) <= width else []
    return line


def _flow(parts: Sequence[Line], width: int) -> list[Line]:
    """Parts beside each other, in as many rows as they need."""
    lines: list[Line] = []
    for part in parts:
        if lines and _width([*lines[-1], *part]) + _APART <= width:
            lines[-1] += [Segment(" " * _APART), *part]
        else:
            lines.append([*part])
    return lines


def _centred(line: Line, width: int) -> Line:
    return [Segment(" " * max(0, (width - _width(line)) // 2)), *line]


def _cut(line: Line, width: int) -> Line:
    return Segment.adjust_line_length(line, width, pad=False)


def _width(line: Line) -> int:
    return Segment.get_line_length(line)


def _clock(time_s: float) -> str:
    minutes, seconds = divmod(math.floor(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _filled(text: str, width: int) -> str:
    """At least so many columns."""
    return text + " " * (width - cell_len(text))


def _shortened(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"
