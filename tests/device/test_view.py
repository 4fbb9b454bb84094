"""What a person sees of the live loop: in a real pseudo-terminal, in whatever room there is, and in a pipe."""

from __future__ import annotations

import io
import math
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style

from edgeemo.answer import UNSURE
from edgeemo.events import End, Event, Gap, Start, State, Status, Step, Utterance, Why
from edgeemo.utterances import QUIET
from edgeemo.view import PlainView, view_for
from edgeemo.view.draw import rows
from edgeemo.view.live import LiveView
from edgeemo.view.picture import Picture
from edgeemo.voice import NO_SPEECH
from support.terminal import WAIT_S, Terminal

AT = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = ("neutral", "angry", "disgust", "fear", "happy", "sad", "surprise")
SPREAD = (0.06, 0.61, 0.03, 0.12, 0.11, 0.02, 0.05)


def start(**changes: Any) -> Start:
    values: dict[str, Any] = {
        "time_s": 0.0,
        "version": "0",
        "model": "emo_small.stream.int8",
        "graph_sha256": "0" * 64,
        "source": "USB Mic",
        "kind": "microphone",
        "sample_rate": 48000,
        "channels": 2,
        "channel": None,
        "labels": LABELS,
        "step_s": 0.16,
        "delay_s": 0.0,
        "settings": {},
    }
    return Start(**values | changes)


def step(i: int, **changes: Any) -> Step:
    """The step at `0.16 * i` s, in which somebody is angry."""
    values: dict[str, Any] = {
        "time_s": 0.16 * i,
        "label": "angry",
        "reason": None,
        "probabilities": dict(zip(LABELS, SPREAD, strict=True)),
        "arousal": 0.92,
        "utterance": 1,
        "paused": False,
        "level_db": -23.0,
        "peak": 0.3,
        "resample_ms": 0.25,
        "model_ms": 1.0,
    }
    return Step(**values | changes)


def pause(i: int, reason: str = NO_SPEECH, **changes: Any) -> Step:
    """A step in which nobody speaks."""
    nothing: dict[str, Any] = {"label": None, "reason": reason, "arousal": None, "paused": True}
    return step(i, **nothing | {"probabilities": {}, "level_db": -61.0, "peak": 0.002} | changes)


def utterance(number: int, **changes: Any) -> Utterance:
    values: dict[str, Any] = {
        "time_s": 3.36,
        "label": "sad",
        "reason": None,
        "probabilities": dict(zip(LABELS, reversed(SPREAD), strict=True)) | {"sad": 0.43},
        "arousal": 0.29,
        "utterance": number,
        "start_s": 0.22,
        "end_s": 3.2,
        "evolution": (),
        "cut": False,
    }
    return Utterance(**values | changes)


def gap(time_s: float, length_s: float = 1.5) -> Gap:
    return Gap(time_s=time_s, start_s=time_s - length_s, length_s=length_s, why=Why.STALLED)


def status(time_s: float, text: str, state: State = State.CLIPPED, *, active: bool = True) -> Status:
    return Status(time_s=time_s, state=state, active=active, text=text)


def end(time_s: float) -> End:
    return End(
        time_s=time_s,
        reason="stopped",
        heard_s=time_s,
        gap_s=0.0,
        n_gaps=0,
        n_steps=1,
        n_utterances=0,
        label_steps={},
        n_unsure=0,
        flips_per_minute=0.0,
        latency_p50_ms=1.0,
        latency_p99_ms=1.0,
        real_time_factor=0.01,
    )


def picture(*events: Event, n_known: int | None = None) -> Picture:
    built = Picture(n_known)
    for event in events:
        built.add(event)
    return built


def text(lines: list[list[Segment]]) -> list[str]:
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def drawn(*events: Event, width: int = 80, height: int = 24, n_known: int | None = None) -> list[str]:
    """What is shown after these events, which follow a `Start`."""
    return text(rows(picture(start(), *events, n_known=n_known), width, height))


def row(lines: list[str], part: str) -> str:
    [found] = [line for line in lines if part in line]
    return found


# --- What is shown


def test_a_step() -> None:
    lines = drawn(*(step(i) for i in range(1, 41)), n_known=3)
    assert lines[0] == "0:06   edgeemo emo_small.stream.int8   baseline of 4 utterances"
    assert row(lines, "angry  61 %").strip() == "angry  61 %"
    scale = row(lines, "calm")
    assert scale.strip() == f"calm {'─' * 22}●── agitated 0.92"
    for label, p in zip(LABELS, SPREAD, strict=True):
        bar = next(line for line in lines if line[:10] == f"{label:>8}  ")
        assert bar.endswith(f"{100 * p:5.1f} %")
        assert bar.count("█") == math.floor(p * 59 + 1 / 16), "of 78 columns, 19 are the name and the number"
    assert re.fullmatch(r"level [▁-█]{40} +-23 dB  floor  -23 dB", row(lines, "level"))
    assert row(lines, "step") == "step p50 1.2 ms, p99 1.2 ms   real-time factor 0.008   nothing lost"
    assert row(lines, "USB Mic") == "USB Mic   48000 Hz   mean of 2 channels"


def styles(lines: list[list[Segment]], part: str) -> set[Style | None]:
    """Of the row that has this text, without blanks."""
    [found] = [line for line in lines if part in "".join(s.text for s in line)]
    return {segment.style for segment in found if segment.text.strip()}


DIM = {Style.parse("dim")}


@pytest.mark.parametrize("reason", [NO_SPEECH, QUIET])
def test_in_a_pause_no_emotion_is_shown_and_the_bars_are_dim_and_of_the_last_utterance(reason: str) -> None:
    answered = dict(zip(LABELS, SPREAD, strict=True)) if reason == QUIET else {}
    built = picture(start(), step(20), pause(21, reason, probabilities=answered), utterance(1))
    lines = rows(built, 80, 24)
    assert f"({reason})" in {line.strip() for line in text(lines)}
    assert styles(lines, f"({reason})") == DIM
    assert styles(lines, "calm") == DIM
    assert "●" not in "".join(text(lines))
    assert row(text(lines), " 43.0 %").lstrip().startswith("sad  ")
    for label in LABELS:
        bar = next(line for line in lines if text([line])[0].lstrip().startswith(f"{label}  "))
        assert {segment.style for segment in bar if segment.text.strip()} == DIM
    assert not [line for line in text(lines) if "61." in line], "what was answered in the pause"


def test_an_unsure_step_names_none_of_them() -> None:
    lines = rows(picture(start(), step(1, label=None, reason=UNSURE, arousal=0.25)), 80, 24)
    assert styles(lines, "(unsure)") == DIM
    assert text(lines)[3].endswith("agitated 0.25")
    assert styles(lines, "  angry  ") == {Style.null()}, "current, and no other than the rest"
    assert styles(lines, "neutral  ") == {Style.null()}
    named = rows(picture(start(), step(1)), 80, 24)
    assert Style.parse("bold green") in styles(named, "  angry  █")


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (gap(3.0), "(audio missing)"),
        (status(3.0, "the microphone went away", State.RECONNECTING), "(no microphone)"),
        (end(3.0), "(ended)"),
    ],
)
def test_what_is_no_longer_so_is_not_shown_as_if_it_were(event: Event, shown: str) -> None:
    lines = rows(picture(start(), step(1), event), 80, 24)
    assert styles(lines, shown) == DIM
    assert styles(lines, "  angry  █") == DIM
    assert "●" not in "".join(text(lines))
    assert "●" in "".join(drawn(step(1), event, step(20))), "and is again with the next step"


def test_before_the_first_step() -> None:
    assert text(rows(Picture(), 80, 24))[2].strip() == "(starting)"
    lines = drawn()
    assert "(listening)" in lines[2]
    assert row(lines, "surprise").endswith("  0.0 %")


def test_models_that_tell_no_arousal_have_no_scale() -> None:
    assert not [line for line in drawn(step(1, arousal=None)) if "calm" in line]
    assert [line for line in drawn(pause(1)) if "calm" in line], "it is not known yet"


def test_the_level_shows_the_floor_clipping_and_what_is_missing() -> None:
    quiet = [pause(i, level_db=-60.0) for i in range(1, 20)]
    loud = [step(20, level_db=-3.0, peak=0.9), step(21, level_db=-1.0, peak=1.0), step(22, level_db=-30.0)]
    lines = rows(picture(start(), *quiet, *loud, gap(5.0), step(33)), 80, 24)
    assert re.fullmatch(
        r"level ▁{19}█![▂-▇]x[▂-▇]  clipped +-23 dB  floor  -60 dB", row(text(lines), "level")
    )
    [level] = [line for line in lines if line and line[0].text == "level "]
    assert level[1] == Segment("▁" * 19, Style.parse("dim")), "what is not louder than the floor"
    assert Segment("!", Style.parse("bold red")) in level


def test_the_floor_is_that_of_the_last_ten_seconds() -> None:
    early = [pause(i, level_db=-90.0) for i in range(1, 50)]
    late = [pause(50 + i, level_db=-55.0 + i % 2) for i in range(62)]
    assert picture(start(), *early, *late).floor_db == -55.0
    assert picture(start(), *early, *late[:50]).floor_db == -90.0
    silence = picture(start(), *(pause(i, level_db=-120.0, peak=0.0) for i in range(9)))
    assert "floor -120 dB" in row(text(rows(silence, 80, 24)), "level")


def test_utterances_come_newest_first() -> None:
    unsure = utterance(2, label=None, reason=UNSURE, start_s=4.0, end_s=5.5, arousal=0.5)
    late = utterance(3, label="happy", start_s=3725.0, end_s=3726.0, arousal=None)
    lines = drawn(utterance(1), unsure, late)
    assert lines[-3:] == [
        "1:02:05   1.0 s  happy          3 %",
        "   0:04   1.5 s  (unsure)            arousal 0.50",
        "   0:00   3.0 s  sad           43 %  arousal 0.29",
    ]
    many = drawn(step(1), *(utterance(n, start_s=60.0 * n, end_s=60.0 * n + 1) for n in range(1, 300)))
    assert len(many) == 24, "as many as fit"
    assert [line.split()[0] for line in many[18:]] == [f"4:{n}:00" for n in range(59, 53, -1)]


def test_troubles_stay_until_they_are_over() -> None:
    hint = "only zeros: is the microphone muted? On macOS, allow the terminal to use it in System Settings"
    clipped, muted = status(1.0, "turn the gain down"), status(2.0, hint, State.MUTED)
    lines = drawn(step(1), clipped, muted)
    assert "! turn the gain down" in lines
    assert " ".join(lines).count("System Settings") == 1, "of a long one, nothing is cut off"
    over = drawn(step(1), clipped, muted, status(3.0, "no longer clipped", active=False))
    assert "! turn the gain down" not in over
    assert "! turn the gain down" in drawn(step(1), clipped, muted, height=4), "it matters more than the rest"


def test_what_is_lost() -> None:
    lines = rows(picture(start(), step(1), gap(3.0), gap(6.0, 0.4), step(40)), 80, 24)
    assert "1.90 s lost in 2 gaps" in row(text(lines), "real-time factor")
    assert Style.parse("bold red") in styles(lines, "lost in")


def test_names_can_hold_anything() -> None:
    named = start(source="mic\x1b[2J\n\x07", model="m\x1b]0;x\x07", labels=("a\tb", "c"))
    label = {"label": "a\tb", "probabilities": {"a\tb": 0.9, "c": 0.1}}
    lines = rows(picture(named, step(1, **label), utterance(1, **label)), 80, 24)
    assert all(line.isprintable() for line in text(lines))
    assert row(text(lines), "48000 Hz").startswith(r"mic\x1b[2J\n\x07")


# --- In whatever room there is


@pytest.mark.parametrize("width", [40, 78, 80, 120, 200])
def test_bars_are_as_wide_as_there_is_room(width: int) -> None:
    even = {"happy": 0.5, "sad": 0.5}
    lines = drawn(step(1, label="sad", probabilities=even), width=width)
    bar = next(line for line in lines if line.startswith("happy  "))[:78].rstrip()
    assert len(bar) == min(width, 78)
    assert bar.endswith(" 50.0 %")
    assert bar.count("█") == pytest.approx((len(bar) - len("happy") - 11) / 2, abs=0.5)


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-9, 1.0000001])
def test_bars_stay_inside(p: float) -> None:
    lines = drawn(step(1, label="sad", probabilities={"happy": p, "sad": 1 - p}), width=60)
    assert {len(line) for line in lines if line.endswith("%") and "  " in line.strip()} >= {60}
    assert max(map(len, lines)) <= 60


def test_wide_terminals_have_the_utterances_beside_the_rest() -> None:
    events = [step(1), *(utterance(n) for n in range(40))]
    beside = [(line[:78].rstrip(), line[81:]) for line in drawn(*events, width=130)]
    assert [left for left, _ in beside] == drawn(step(1), utterance(0), width=78)[: len(beside)]
    said = "   0:00   3.0 s  sad           43 %  arousal 0.29"
    assert [right for _, right in beside] == ["utterances"] + [said] * (len(beside) - 1)


def test_the_history_goes_first_then_the_bars() -> None:
    events = [step(1), utterance(1), utterance(2)]
    shown = ["3.0 s", "disgust", "step p50", "calm", "edgeemo", "level", "angry  61 %"]
    left = []
    for height in range(24, 0, -1):
        lines = drawn(*events, height=height)
        assert len(lines) <= height
        left.append([part for part in shown if any(part in line for line in lines)])
    assert left[0] == shown
    assert left[-1] == ["angry  61 %"]
    bars = [("disgust" in parts) for parts in left]
    assert bars == sorted(bars, reverse=True)
    assert shown[1:] in left, "the bars without the history"
    for part in shown[1:]:
        assert [part in parts for parts in left] == sorted([part in parts for parts in left], reverse=True)


@pytest.mark.parametrize("width", range(5, 40))
def test_the_label_is_there_in_any_width(width: int) -> None:
    lines = drawn(step(1), utterance(1), width=width, height=3)
    assert [line for line in lines if line.strip().startswith("angry")]


NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs", "Cc"]), min_size=1, max_size=60)


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    """Events of one stream, in any order that may come."""
    labels = draw(st.lists(NAMES, min_size=1, max_size=9, unique=True))
    events: list[Event] = [start(labels=tuple(labels), source=draw(NAMES), model=draw(NAMES))]
    share = st.floats(0, 1)
    time_s, number = 0.0, 0
    for kind in draw(st.lists(st.sampled_from("ssssspppuugtto"), max_size=40)):
        time_s += draw(st.sampled_from([0.16, 4.0, 5000.0]))
        answer = {
            "label": draw(st.sampled_from([None, *labels])),
            "probabilities": {label: draw(share) for label in labels},
            "arousal": draw(st.none() | share),
            "time_s": time_s,
        }
        answer["reason"] = UNSURE if answer["label"] is None else None
        level = {"level_db": draw(st.floats(-120, 3)), "peak": draw(share)}
        if kind == "s":
            events.append(step(0, **answer, **level))
        elif kind == "p":
            events.append(pause(0, time_s=time_s, **level))
        elif kind == "u":
            number += 1
            events.append(utterance(number, **answer, start_s=time_s - 0.1, end_s=time_s))
        elif kind == "g":
            events.append(gap(time_s, draw(st.floats(0.01, 1e6))))
        elif kind == "t":
            state = draw(st.sampled_from(State))
            events.append(status(time_s, draw(NAMES), state, active=draw(st.booleans())))
        else:
            events.append(end(time_s))
    return events


@settings(deadline=None)
@given(
    events=streams(),
    width=st.integers(1, 220),
    height=st.integers(1, 70),
    known=st.none() | st.integers(0, 9),
)
def test_it_never_needs_more_room_than_there_is(
    events: list[Event], width: int, height: int, known: int | None
) -> None:
    built = Picture(known)
    for event in events:
        built.add(event)
        lines = rows(built, width, height)
        assert 1 <= len(lines) <= height
        for line in text(lines):
            assert line.isprintable()
            assert cell_len(line) <= width


# --- In a terminal


@contextmanager
def live(terminal: Terminal) -> Iterator[LiveView]:
    view = LiveView(Console(file=terminal.file, force_terminal=True, color_system="256"))
    with terminal, view:
        view.take(start(), AT)
        yield view


def test_the_screen_is_what_is_drawn() -> None:
    events = [step(1), utterance(1), step(22)]
    terminal = Terminal(80, 24)
    with live(terminal) as view:
        for event in events:
            view.take(event, AT)
        terminal.wait_for(lambda: terminal.shows("3.0 s"))
        expected = drawn(*events)
        assert terminal.screen == expected + [""] * (24 - len(expected))


@settings(deadline=None, max_examples=10)
@given(
    events=streams(),
    sizes=st.lists(st.tuples(st.integers(1, 200), st.integers(1, 60)), min_size=1, max_size=3),
)
def test_nothing_scrolls_whatever_the_size_becomes(events: list[Event], sizes: list[tuple[int, int]]) -> None:
    terminal = Terminal(80, 24)
    with live(terminal) as view:
        for i, (columns, n_rows) in enumerate(sizes):
            terminal.resize(columns, n_rows)
            for event in events[i :: len(sizes)]:
                view.take(event, AT)
            time.sleep(0.25)
        assert terminal.n_scrolled == 0
        os.write(terminal.descriptor, b"\n" * 60)
        terminal.wait_for(lambda: terminal.n_scrolled > 0)


def test_a_new_size_is_seen_without_an_event() -> None:
    terminal = Terminal(80, 24)
    with live(terminal) as view:
        view.take(step(1), AT)
        for columns, n_rows in ((40, 12), (130, 40), (60, 20), (20, 3)):
            terminal.resize(columns, n_rows)
            expected = drawn(step(1), width=columns, height=n_rows)
            expected += [""] * (n_rows - len(expected))
            terminal.wait_for(lambda expected=expected: terminal.screen == expected)


def test_the_last_event_before_a_silence_is_seen() -> None:
    terminal = Terminal(80, 24)
    with live(terminal) as view:
        view.take(step(1), AT)
        view.take(status(1.0, "the microphone went away", State.RECONNECTING), AT)
        terminal.wait_for(lambda: terminal.shows("(no microphone)"))


def test_what_others_write_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeemo.view.live._REPAINT_S", 0.5)
    terminal = Terminal(80, 24)
    with live(terminal) as view:
        view.take(step(1), AT)
        terminal.wait_for(lambda: terminal.shows("angry  61 %"))
        os.write(terminal.descriptor, b"\x1b[H" + b"somebody else's line" * 40)
        terminal.wait_for(lambda: terminal.shows("somebody else"))
        terminal.wait_for(lambda: not terminal.shows("somebody else") and terminal.shows("angry  61 %"))


def test_it_is_redrawn_at_most_ten_times_a_second() -> None:
    terminal = Terminal(80, 24)
    started_s = time.monotonic()
    with live(terminal) as view:
        for i in range(1, 200):
            view.take(step(i, arousal=i % 100 / 100), AT)
            time.sleep(0.005)
    took_s = time.monotonic() - started_s
    n_drawn = len(re.findall(rb"agitated.{0,20} 0\.\d\d", terminal.output))
    assert 3 <= n_drawn <= 10 * took_s + 2


def test_the_last_picture_stays_on_the_usual_screen() -> None:
    terminal = Terminal(80, 24)
    with live(terminal) as view:
        view.take(step(1), AT)
        view.take(step(40, label="fear"), AT)
    before, after = terminal.output.split(b"\x1b[?1049l")
    assert before.startswith(b"\x1b[?1049h")
    assert b"\x1b[?25l" in before
    for mode in (b"?25", b"?7"):
        assert before.rindex(b"\x1b[" + mode + b"h") > before.rindex(b"\x1b[" + mode + b"l"), "as it was"
    assert "fear" in after.decode()
    assert after.count(b"\n") <= 24 - 5


def listened_until_lost(view: LiveView, terminal: Terminal) -> None:
    with view:
        view.take(start(), AT)
        terminal.wait_for(lambda: terminal.shows("listening"))
        terminal.lose()
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s:
            view.take(step(1), AT)
            time.sleep(0.01)


def test_a_terminal_that_goes_away_is_a_closed_pipe() -> None:
    terminal = Terminal(80, 24)
    with terminal:
        view = LiveView(Console(file=terminal.file, force_terminal=True))
        with pytest.raises(BrokenPipeError):
            listened_until_lost(view, terminal)


def test_the_view_fits_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with Terminal(80, 24) as terminal:
        monkeypatch.setenv("TERM", "xterm")
        assert isinstance(view_for(terminal.file), LiveView)
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert isinstance(view_for(io.StringIO()), PlainView), "a log is no terminal, whatever its colours"
        monkeypatch.setenv("TERM", "dumb")
        assert isinstance(view_for(terminal.file), PlainView)


# --- The command in a terminal


@contextmanager
def listening(
    edgeemo: list[str],
    model: Path,
    terminal: Terminal,
    *arguments: str,
    session: bool = True,
    **environment: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """`edgeemo listen` in this terminal, which controls it if it has a session of its own."""
    command = [*edgeemo, "listen", "--model", str(model), *arguments]
    if session:
        command = ["setsid", "--ctty", "--wait", *command]
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")}
    with (
        terminal,
        subprocess.Popen(
            command,
            stdin=terminal.descriptor,
            stdout=terminal.descriptor,
            stderr=subprocess.PIPE,
            env=kept | {"TERM": "xterm-256color"} | environment,
        ) as process,
    ):
        yield process


COLOUR = re.compile(rb"\x1b\[[0-9;]*(?<![0-9])(3[0-8]|4[0-8]|9[0-7])[;m]")


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_command_in_a_terminal(edgeemo: list[str], tiny_model_path: Path, columns: int) -> None:
    terminal = Terminal(columns, 24)
    seconds = ("--seconds", "3")  # in real time: at once, nothing but the first picture may be drawn
    with listening(edgeemo, tiny_model_path, terminal, "--sample", *seconds) as process:
        assert process.wait(WAIT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    live, after = terminal.output.split(b"\x1b[?1049l")
    assert b"(starting)" in live or b"(listening)" in live or b"level" in live
    assert b"speech.flac" in after
    assert b"real-time factor" in after.splitlines()[-1], "the summary"
    assert COLOUR.search(live)


def test_no_colour(edgeemo: list[str], tiny_model_path: Path) -> None:
    terminal = Terminal(80, 24)
    with listening(edgeemo, tiny_model_path, terminal, "--sample", "--fast", NO_COLOR="1") as process:
        assert process.wait(WAIT_S) == 0
    assert not COLOUR.search(terminal.output)
    assert b"\x1b[2m" in terminal.output, "what is not current is still dim"


def test_a_dumb_terminal_gets_lines(edgeemo: list[str], tiny_model_path: Path) -> None:
    terminal = Terminal(80, 24)
    with listening(edgeemo, tiny_model_path, terminal, "--sample", "--fast", TERM="dumb") as process:
        assert process.wait(WAIT_S) == 0
    assert b"\x1b" not in terminal.output
    assert b" s  utterance 1: " in terminal.output


def test_a_terminal_without_block_characters(edgeemo: list[str], tiny_model_path: Path) -> None:
    terminal = Terminal(80, 24)
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    with listening(edgeemo, tiny_model_path, terminal, "--sample", "--fast", **ascii_only) as process:
        assert process.wait(WAIT_S) == 0
    assert terminal.output.isascii()
    assert b"\\u" not in terminal.output, "each has a character that stands for it"
    assert b"##" in terminal.output


def test_ctrl_c_leaves_the_terminal_as_it_was(edgeemo: list[str], tiny_model_path: Path) -> None:
    terminal = Terminal(80, 24)
    with listening(edgeemo, tiny_model_path, terminal, "--sample") as process:
        terminal.wait_for(lambda: terminal.shows("level "))
        terminal.type("\x03")
        assert process.wait(WAIT_S) in (0, 130)
    after = terminal.output.split(b"\x1b[?1049l")[1]
    assert b"real-time factor" in after.splitlines()[-1], "the summary"
    assert b"\x1b[?25h" in terminal.output


@pytest.mark.slow
@pytest.mark.parametrize("term", ["xterm", "dumb"])
@pytest.mark.parametrize("session", [True, False])
def test_a_lost_terminal_ends_it_quietly(
    edgeemo: list[str], tiny_model_path: Path, tmp_path: Path, session: bool, term: str
) -> None:
    """With a signal, where the terminal controls the process; by the error of writing to it, elsewhere."""
    clip = tmp_path / "long.flac"
    soundfile.write(clip, np.zeros(600 * 8000, np.int16), 8000)  # in real time, no test sees its end
    terminal = Terminal(80, 24)
    options = "--file", str(clip)
    with listening(edgeemo, tiny_model_path, terminal, *options, session=session, TERM=term) as process:
        terminal.wait_for(lambda: any(terminal.shows(part) for part in ("0:01", "1.12 s")))
        terminal.lose()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(WAIT_S) in (0, 129)


# --- In a pipe


def plain(*events: Event) -> list[str]:
    file = io.StringIO()
    with PlainView(file) as view:
        for event in events:
            view.take(event, AT)
    return file.getvalue().splitlines()


def test_lines_for_labels_and_seconds() -> None:
    labels = ["sad", "sad", "fear", "fear", "fear", "fear", "fear", "sad"]
    lines = plain(*(step(0, time_s=0.4 * (i + 1), label=label) for i, label in enumerate(labels)))
    times = [line.split()[0] for line in lines]
    assert times == ["0.40", "1.20", "2.00", "3.20"]  # sad; fear; second 2; second 3 and sad


def test_lines_of_everything_else() -> None:
    unsure = {"label": None, "reason": UNSURE}
    assert plain(
        start(),
        step(1),
        step(2, **unsure, arousal=0.25),
        step(3, **unsure, arousal=None),
        status(0.5, "turn the gain\ndown"),
        pause(4),
        utterance(1),
        utterance(2, **unsure, time_s=4.0),
        utterance(3, arousal=None, time_s=5.0),
        gap(6.5),
        end(6.5),
    ) == [
        "    0.16 s  angry        0.61  arousal 0.92",
        "    0.32 s  (unsure)           arousal 0.25",
        "    0.50 s  [turn the gain\\ndown]",
        "    0.64 s  (no speech)",
        "    3.36 s  utterance 1: 0.22 to 3.20 s, sad 0.43, arousal 0.29",
        "    4.00 s  utterance 2: 0.22 to 3.20 s, (unsure), arousal 0.29",
        "    5.00 s  utterance 3: 0.22 to 3.20 s, sad 0.43",
        "    6.50 s  [1.50 s lost: stalled]",
    ]


def test_the_lines_of_the_sample(edgeemo: list[str]) -> None:
    """What docs/device.md shows."""
    command = [*edgeemo, "listen", "--sample", "--fast"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert re.search(
        r"^ +\d+\.\d\d s  utterance 1: 0\.\d\d to \d\.\d\d s, \w+ 0\.\d\d, arousal 0\.\d\d$",
        result.stdout,
        re.M,
    )
