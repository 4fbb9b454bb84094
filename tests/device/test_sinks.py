"""Where events go: the thread between the loop and a sink, sinks that hear of each other, tables, recordings."""

from __future__ import annotations

import csv
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import edgeemo
from edgeemo.cli import app
from edgeemo.errors import OutputError
from edgeemo.events import Event, State, Status, Step
from edgeemo.places import sample_path
from edgeemo.sinks import recorder, sink
from edgeemo.sinks.recorder import Recorder
from edgeemo.sinks.sink import Background, OnError, RefusedError
from edgeemo.sinks.table import Table
from edgeemo.sinks.together import Together
from support import disks
from support import event_samples as events

WAIT_S = 60  # only so that a hanging thread ends the test


class Gated:
    """A sink that takes an event only when it is let, and fails when it is told to."""

    def __init__(self) -> None:
        self.taken: list[Event] = []
        self._asked: queue.Queue[Event] = queue.Queue()
        self._held: Event | None = None
        self._answers: queue.Queue[Exception | None] = queue.Queue()
        self._open = False

    def holds(self) -> Event:
        """Wait until it is asked to take an event; that event."""
        if self._held is None:
            self._held = self._asked.get(timeout=WAIT_S)
        return self._held

    def let(self, error: Exception | None = None) -> Event:
        """Let it take the event that it holds, or fail with this error; that event."""
        event, self._held = self.holds(), None
        self._answers.put(error)
        return event

    def open(self) -> None:
        """Let it take everything from now on."""
        self._open = True
        self._answers.put(None)

    def take(self, event: Event, at: Any) -> None:
        self._asked.put(event)
        if not self._open and (error := self._answers.get(timeout=WAIT_S)) is not None:
            raise error
        self.taken.append(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def numbered(n: int) -> Step:
    return events.step(float(n))


def steps_of(taken: list[Event]) -> list[int]:
    return [round(event.time_s) for event in taken if isinstance(event, Step)]


def lost_before(taken: list[Event]) -> dict[int, int]:
    """Which step was told to have how many dropped before it."""
    found = {}
    for event, following in pairwise(taken):
        if isinstance(event, Status):
            assert event.state is State.SINK
            found[round(following.time_s)] = int(re.search(r"(\d+) events? dropped", event.text)[1])  # type: ignore[index]
    return found


# --- The thread between


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["give", "give", "let"]), max_size=40),
    st.integers(1, 4),
    st.booleans(),
)
def test_order_and_losses(pattern: list[str], capacity: int, lossless: bool) -> None:
    """The loop gives and the sink takes in any pattern: nothing changes its order, and each loss is counted."""
    gated = Gated()
    n_given = n_let = 0
    with Background(gated, "the sink", capacity=capacity, lossless=lossless) as background:
        for action in pattern:
            # Of what was given, the sink holds one and the queue `capacity`: one more would wait for room.
            n_held = n_given - n_let
            if (action == "let" and n_held) or (lossless and n_held > capacity):
                gated.let()
                n_let += 1
                if lossless:
                    continue
                n_let = n_given - min(n_given - n_let, capacity)
            if action == "give":
                n_given += 1
                background.take(numbered(n_given), events.AT)
        gated.open()
    found = steps_of(gated.taken)
    lost = lost_before(gated.taken)
    if lossless:
        assert found == list(range(1, n_given + 1))
        assert not lost
        return
    assert found == sorted(set(found))
    missing = {n: n - before - 1 for before, n in zip([0, *found], found, strict=False) if n > before + 1}
    assert lost == missing
    assert not n_given or found[-1] == n_given, "the newest is never dropped"
    assert n_given - len(found) == sum(lost.values())


def test_a_lossless_one_waits_for_room() -> None:
    gated = Gated()
    with Background(gated, "the sink", capacity=1, lossless=True) as background:
        background.take(numbered(1), events.AT)
        gated.holds()  # the queue is empty
        background.take(numbered(2), events.AT)
        given = threading.Event()

        def give() -> None:
            background.take(numbered(3), events.AT)
            given.set()

        thread = threading.Thread(target=give)
        thread.start()
        assert not given.wait(0.3), "it was given though there was no room"
        gated.let()
        assert given.wait(WAIT_S)
        thread.join()
        gated.open()
    assert steps_of(gated.taken) == [1, 2, 3]


def test_only_what_it_is_for() -> None:
    gated = Gated()
    gated.open()
    with Background(gated, "the sink", only=sink.TOLD) as background:
        for event in events.each_kind():
            background.take(event, events.AT)
    assert gated.taken == [event for event in events.each_kind() if not isinstance(event, Step)]


def test_steps_do_not_push_out_what_it_is_for() -> None:
    gated = Gated()
    with Background(gated, "the sink", only=sink.TOLD, capacity=2) as background:
        background.take(events.utterance(1), events.AT)
        for n in range(100):
            background.take(numbered(n), events.AT)
        background.take(events.utterance(2), events.AT)
        gated.open()
    assert gated.taken == [events.utterance(1), events.utterance(2)]


def give_on_after(error: Exception, on_error: OnError) -> None:
    """Have a sink fail with an error, and go on giving."""
    gated = Gated()
    with Background(gated, "the sink", on_error=on_error) as background:
        background.take(numbered(1), events.AT)
        gated.let(error)
        while True:
            background.take(numbered(2), events.AT)


@pytest.mark.parametrize("error", [BrokenPipeError("gone"), OutputError("gone"), ZeroDivisionError("a bug")])
def test_an_error_that_ends_the_loop(error: Exception) -> None:
    with pytest.raises(type(error)):
        give_on_after(error, OnError.END)


@pytest.mark.parametrize("on_error", [OnError.SKIP, OnError.RETRY])
def test_a_bug_always_ends_the_loop(on_error: OnError) -> None:
    with pytest.raises(ZeroDivisionError):
        give_on_after(ZeroDivisionError("a bug"), on_error)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is offered again at once."""
    monkeypatch.setattr(sink, "_RETRY_S", 0.0)


def wait_until_idle(background: Background) -> None:
    """Wait until the sink has taken, or lost, all that was given."""
    with background._changed:
        background._changed.wait_for(lambda: not background._waiting and not background._busy, WAIT_S)


def settled(background: Background, gated: Gated, n: int) -> list[tuple[bool, str]]:
    """The notices after the sink was let take everything up to the event of this number."""
    background.take(numbered(n), events.AT)
    while gated.let() != numbered(n):
        pass
    wait_until_idle(background)
    return background.notices()


def test_a_skipping_sink_loses_what_it_failed_to_take() -> None:
    gated = Gated()
    with Background(gated, "the table", on_error=OnError.SKIP) as background:
        for n in (1, 2):
            background.take(numbered(n), events.AT)
            gated.let(OSError(28, "No space left on device"))
        assert settled(background, gated, 3) == [
            (True, "the table: No space left on device"),
            (False, "the table works again; 2 events lost"),
        ]
        gated.open()
    assert steps_of(gated.taken) == [3]
    assert background.notices() == []


def test_a_retrying_sink_loses_nothing(at_once: None) -> None:
    gated = Gated()
    with Background(gated, "the webhook", on_error=OnError.RETRY) as background:
        background.take(numbered(1), events.AT)
        background.take(numbered(2), events.AT)
        asked = [gated.let(OutputError("Connection refused")) for _ in range(4)]
        assert asked == 4 * [numbered(1)]
        assert settled(background, gated, 3) == [
            (True, "the webhook: Connection refused; trying again"),
            (False, "the webhook works again"),
        ]
        gated.open()
    assert steps_of(gated.taken) == [1, 2, 3]


def test_what_is_refused_is_not_offered_again() -> None:
    gated = Gated()
    with Background(gated, "the webhook", on_error=OnError.RETRY) as background:
        background.take(numbered(1), events.AT)
        gated.let(RefusedError("it answers 404"))
        assert settled(background, gated, 2) == [
            (True, "the webhook: it answers 404"),
            (False, "the webhook works again; 1 event lost"),
        ]
        gated.open()
    assert steps_of(gated.taken) == [2]


def test_the_end_is_tried_once_more_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink that is to be tried again later is asked once more for what it has, and then given up."""
    monkeypatch.setattr(sink, "_RETRY_S", WAIT_S)
    gated = Gated()
    background = Background(gated, "the webhook", on_error=OnError.RETRY)
    with background:
        for n in (1, 2, 3):
            background.take(numbered(n), events.AT)
        assert gated.let(OutputError("Connection refused")) == numbered(1)
        with background._changed:
            background._changed.wait_for(lambda: background._in_trouble, WAIT_S)
        answer = threading.Thread(target=lambda: gated.let(OutputError("Connection refused")))
        answer.start()
    answer.join()
    assert [text for _, text in background.notices()] == [
        "the webhook: Connection refused; trying again",
        "the webhook: 3 events lost",
    ]


def test_a_hanging_sink_does_not_keep_a_stopped_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "_LAST_KEPT_S", 0.2)
    gated = Gated()
    background = Background(gated, "the webhook", on_error=OnError.RETRY, stopped=lambda: True)
    with background:
        for n in (1, 2, 3):
            background.take(numbered(n), events.AT)
    assert background.notices() == [(True, "the webhook: 3 events lost")]
    gated.open()


def test_a_slow_sink_is_told_of_once() -> None:
    gated = Gated()
    with Background(gated, "the webhook", only=sink.TOLD, capacity=1) as background:
        background.take(events.utterance(0), events.AT)
        gated.holds()
        for n in (1, 2, 3):
            background.take(events.utterance(n), events.AT)
        assert background.notices() == [(True, "the webhook is slow: its oldest events are dropped")]
        gated.open()
    assert background.notices() == [(False, "the webhook works again; 2 events lost")]
    assert [type(event).__name__ for event in gated.taken] == ["Utterance", "Status", "Utterance"]


@pytest.mark.parametrize("on_error", OnError)
def test_a_sink_that_fails_as_it_is_left(on_error: OnError) -> None:
    class Failing(Gated):
        def __exit__(self, *_: Any) -> None:
            raise OSError(28, "No space left on device")

    failing = Failing()
    failing.open()
    background = Background(failing, "the table", on_error=on_error)
    ends = on_error is OnError.END
    with pytest.raises(OSError, match="No space") if ends else nullcontext(), background:
        background.take(numbered(1), events.AT)
    assert steps_of(failing.taken) == [1]
    assert background.notices() == ([] if ends else [(True, "the table: No space left on device")])


# --- Together


def test_sinks_hear_of_each_other() -> None:
    good, bad = Gated(), Gated()
    good.open()
    failing = Background(bad, "the table", on_error=OnError.SKIP)
    together = Together([Background(good, "the reader"), failing])
    with together:
        for n in (1, 2):
            together.take(numbered(n), events.AT)
            bad.let(OSError(28, "No space left on device"))
            wait_until_idle(failing)
        together.take(numbered(3), events.AT)
        bad.open()
    told = [event for event in good.taken if isinstance(event, Status)]
    assert [(event.state, event.active, event.text) for event in told] == [
        (State.SINK, True, "the table: No space left on device")
    ]
    assert steps_of(good.taken) == [1, 2, 3]
    assert steps_of(bad.taken) == [3]
    assert not [event for event in bad.taken if isinstance(event, Status)]
    assert together.untold() == ["the table works again; 2 events lost"]


def test_sinks_that_all_fail_tell_each_other_once() -> None:
    """Each event fails in each sink, what they tell of each other too: still one notice from each."""

    class Failing(Gated):
        def take(self, event: Event, at: Any) -> None:
            self.taken.append(event)
            raise OSError(28, "No space left on device")

    failing = [Failing(), Failing()]
    together = Together([Background(s, f"table {n}", on_error=OnError.SKIP) for n, s in enumerate(failing)])
    with together:
        for n in range(200):
            together.take(numbered(n), events.AT)
    for one in failing:
        assert sum(isinstance(event, Status) for event in one.taken) <= 1
        assert steps_of(one.taken) == list(range(200))


def test_hanging_sinks_are_waited_for_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for the last events begins for all of them when the first is left."""
    clock_s = 100.0
    monkeypatch.setattr(sink.time, "monotonic", lambda: clock_s)
    waits_s: list[float] = []
    hanging = [Gated() for _ in range(3)]
    sinks = [Background(s, "a webhook", on_error=OnError.RETRY, stopped=lambda: True) for s in hanging]

    def join(timeout_s: float) -> None:
        nonlocal clock_s
        waits_s.append(timeout_s)
        clock_s += timeout_s

    with Together(sinks) as together:
        together.take(numbered(1), events.AT)
        for one in hanging:
            one.holds()
        for background in sinks:
            monkeypatch.setattr(background._thread, "join", join)
    assert waits_s == [sink._LAST_KEPT_S, 0, 0]
    assert together.untold() == 3 * ["a webhook: 1 event lost"]
    for one in hanging:
        one.open()


def test_an_entered_sink_is_left_where_another_cannot_be_entered() -> None:
    left = []

    class Leaving(Gated):
        def __exit__(self, *_: Any) -> None:
            left.append(self)

    class Broken(Gated):
        def __enter__(self) -> Self:
            raise OutputError("no")

    first = Leaving()
    with pytest.raises(OutputError), Together([Background(first, "a"), Background(Broken(), "b")]):
        pass
    assert left == [first]


# --- The table


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_table_can_be_read_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "calls.csv"
    with Table(path) as growing:
        growing.take(events.start(), events.AT)
        assert path.read_text() == "time,utterance,start_s,end_s,label,reason,arousal,p_angry,p_sad\n"
        growing.take(events.utterance(1), events.AT)
        growing.take(events.utterance(2, label=None, reason="unsure"), events.AT + timedelta(seconds=1.5))
        found = rows(path)
    assert found == [
        {
            "time": "2026-03-29T01:59:59.999-03:30",
            "utterance": "1",
            "start_s": "2.0",
            "end_s": "3.0",
            "label": "angry",
            "reason": "",
            "arousal": "0.75",
            "p_angry": "0.75",
            "p_sad": "0.25",
        },
        found[0]
        | {
            "time": "2026-03-29T02:00:01.499-03:30",
            "utterance": "2",
            "start_s": "4.0",
            "end_s": "5.0",
            "label": "",
            "reason": "unsure",
        },
    ]


def test_labels_that_need_quotes(tmp_path: Path) -> None:
    labels = ('so "so"', "ja, nein", "ärger\n")
    start = edgeemo.Start(**(vars(events.start()) | {"labels": labels}))
    probabilities = dict.fromkeys(labels, 0.25)
    with Table(tmp_path / "calls.csv") as growing:
        growing.take(start, events.AT)
        growing.take(events.utterance(label=labels[0], probabilities=probabilities), events.AT)
    [row] = rows(tmp_path / "calls.csv")
    assert row["label"] == labels[0]
    assert [row[f"p_{label}"] for label in labels] == 3 * ["0.25"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    path.touch()
    with Table(path):
        pass
    path.write_text("mine\n")
    with pytest.raises(OutputError, match="holds something already"):
        Table(path)
    assert path.read_text() == "mine\n"
    for impossible in (tmp_path, path / "calls.csv", Path("/proc/calls.csv")):
        with pytest.raises(OutputError, match="cannot be written"):
            Table(impossible)


def full(folder: Path, *, room_bytes: int) -> Callable[[], None]:
    """Fill a disk but for some bytes; what empties it again."""
    return disks.fill(folder, but_bytes=room_bytes).unlink


def read_only(folder: Path, *, room_bytes: int) -> Callable[[], None]:
    disks.make_read_only(folder, True)
    return lambda: disks.make_read_only(folder, False)


def test_a_table_on_a_full_disk_has_whole_rows_alone(tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "disk", kilobytes=64) as disk:
        path = disk / "calls.csv"
        with Table(path) as growing:
            growing.take(events.start(), events.AT)
            growing.take(events.utterance(1), events.AT)
            end_full = full(disk, room_bytes=0)
            n_failed = 0
            for _ in range(200):  # what is left of the last page takes some
                try:
                    growing.take(events.utterance(2), events.AT)
                except OSError:
                    n_failed += 1
                text = path.read_bytes()
                assert text.endswith(b"\n")
            assert n_failed > 100
            end_full()
            growing.take(events.utterance(3), events.AT)
        numbers = [row["utterance"] for row in rows(path)]
        assert numbers == ["1", *(200 - n_failed) * ["2"], "3"]
        assert all(None not in row.values() for row in rows(path))


def test_a_table_whose_header_found_no_room(tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "disk", kilobytes=64) as disk:
        growing = Table(disk / "calls.csv")
        end_full = full(disk, room_bytes=0)
        with growing:
            for event in (events.start(), events.utterance(1)):
                with pytest.raises(OSError, match="No space"):
                    growing.take(event, events.AT)
            end_full()
            growing.take(events.utterance(2), events.AT)
        assert [row["utterance"] for row in rows(disk / "calls.csv")] == ["2"]


# --- Recordings


def recordings(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("edgeemo-"))


def record(folder: Path, *utterances: edgeemo.Utterance, limit_mb: float = 1000.0) -> None:
    with Recorder(folder, sample_rate=16000, limit_mb=limit_mb) as recording:
        recording.take(events.start(), events.AT)
        for n, utterance in enumerate(utterances):
            recording.take(utterance, events.AT + timedelta(seconds=n))


def test_a_recording_is_what_was_said_and_heard(tmp_path: Path) -> None:
    told = events.utterance(7, seconds=1.0)
    record(tmp_path / "new", told)
    name = "edgeemo-20260329T052959.999000Z-000007"
    assert recordings(tmp_path / "new") == [f"{name}.flac", f"{name}.json"]
    samples, sample_rate = soundfile.read(tmp_path / "new" / f"{name}.flac", dtype="float32")
    assert sample_rate == 16000
    np.testing.assert_allclose(samples, told.audio, atol=2**-15)
    heard = json.loads((tmp_path / "new" / f"{name}.json").read_text())
    assert heard == {"start": events.start().to_dict(events.AT), "utterance": told.to_dict(events.AT)} | {
        "start": json.loads(json.dumps(events.start().to_dict(events.AT)))
    }


def test_names_sort_by_time_where_the_clock_is_put_back(tmp_path: Path) -> None:
    """In autumn, local time has an hour twice."""
    from zoneinfo import ZoneInfo

    berlin = ZoneInfo("Europe/Berlin")
    first = events.AT.replace(year=2026, month=10, day=25, hour=0, minute=45, tzinfo=ZoneInfo("UTC"))
    with Recorder(tmp_path, sample_rate=16000, limit_mb=10) as recording:
        recording.take(events.start(), events.AT)
        for n in range(3):
            at = (first + n * timedelta(minutes=20)).astimezone(berlin)
            recording.take(events.utterance(9 - n, seconds=0.1), at)
    audio = [path for path in recordings(tmp_path) if path.endswith(".flac")]
    assert [name[-6:-5] for name in audio] == ["9", "8", "7"]


def test_loud_audio_is_clipped_not_wrapped(tmp_path: Path) -> None:
    loud = np.array([1.5, -1.5, 0.0], np.float32)
    record(tmp_path, events.utterance(1, audio=loud))
    samples, _ = soundfile.read(next(tmp_path.glob("*.flac")))
    np.testing.assert_allclose(samples, [1, -1, 0], atol=1e-4)


def noise(number: int) -> edgeemo.Utterance:
    """Two seconds that hardly compress: 60 KB."""
    audio = np.random.default_rng(number).uniform(-1, 1, 32000).astype(np.float32)
    return events.utterance(number, audio=audio)


def test_the_oldest_recordings_make_room(tmp_path: Path) -> None:
    others = [
        "notes.txt",
        "edgeemo-20000101.flac",
        "edgeemo-20000101T000000.000000Z-000001.wav",
        ".edgeemo-x",
    ]
    for name in others:
        (tmp_path / name).write_bytes(bytes(500_000))
    (tmp_path / "edgeemo-20000101T000000.000000Z-000001.flac").mkdir()
    below = tmp_path / "below"
    below.mkdir()
    (below / "edgeemo-20000101T000000.000000Z-000001.flac").write_bytes(bytes(500_000))
    (tmp_path / "edgeemo-20000101T000000.000000Z-000002.flac").write_bytes(bytes(500_000))
    with Recorder(tmp_path, sample_rate=16000, limit_mb=1) as recording:
        recording.take(events.start(), events.AT)
        for n in range(50):
            recording.take(noise(n), events.AT + timedelta(seconds=n))
            own = list(tmp_path.glob("edgeemo-2026*"))
            assert sum(path.stat().st_size for path in own) <= 1_000_000
            assert {path.stem for path in own if path.suffix == ".flac"} == {
                path.stem for path in own if path.suffix == ".json"
            }
    kept = [int(path.stem[-6:]) for path in sorted(tmp_path.glob("edgeemo-2026*.json"))]
    assert kept == list(range(50 - len(kept), 50))
    assert 13 <= len(kept) <= 16
    assert all((tmp_path / name).exists() for name in others[:3])
    assert not (tmp_path / "edgeemo-20000101T000000.000000Z-000002.flac").exists()
    assert (tmp_path / "edgeemo-20000101T000000.000000Z-000001.flac").is_dir()
    assert (below / "edgeemo-20000101T000000.000000Z-000001.flac").exists()


def test_what_was_there_before_counts(tmp_path: Path) -> None:
    record(tmp_path, *map(noise, range(10)))
    with Recorder(tmp_path, sample_rate=16000, limit_mb=1) as recording:
        for n in range(10, 20):
            recording.take(noise(n), events.AT + timedelta(seconds=n))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1_000_000
    assert not list(tmp_path.glob("*-000000.*"))


@pytest.mark.parametrize("spoil", [full, read_only])
@pytest.mark.parametrize("room_bytes", [0, 8192])
def test_a_disk_that_takes_nothing_is_one_notice(
    tmp_path: Path, spoil: Callable[..., Callable[[], None]], room_bytes: int
) -> None:
    with disks.small_disk(tmp_path / "disk", kilobytes=512) as disk:
        recording = Recorder(disk, sample_rate=16000, limit_mb=1)
        reader = Gated()
        reader.open()
        background = Background(
            recording, "recording", only=recorder.TAKEN, lossless=True, on_error=OnError.SKIP
        )
        together = Together([Background(reader, "the reader", lossless=True), background])

        def say(*numbers: int) -> list[str]:
            """Say some utterances and wait until the recorder has dealt with them; what the reader is told of it."""
            for number in numbers:
                together.take(noise(number), events.AT + timedelta(seconds=number))
            wait_until_idle(background)
            return [event.text for event in reader.taken if isinstance(event, Status)]

        with together:
            together.take(events.start(), events.AT)
            say(1)
            mend = spoil(disk, room_bytes=room_bytes)
            say(2, 3, 4)
            mend()
            say(5, 6)
            say(7)
        told = [event.text for event in reader.taken if isinstance(event, Status)]
        assert len(told) == 2
        assert re.search("No space left|Read-only", told[0])
        assert told[1] == "recording works again; 3 events lost"
        kept = [name[-11:] for name in recordings(disk)]
        assert kept == [f"{n:06}.{kind}" for n in (1, 5, 6, 7) for kind in ("flac", "json")]
        assert not [path for path in disk.iterdir() if path.name.startswith(".")]
        for path in disk.glob("*.flac"):
            assert len(soundfile.read(path)[0]) == 32000


def test_room_for_the_audio_alone(tmp_path: Path) -> None:
    """A FLAC file without what was heard in it does not stay."""
    record(tmp_path / "elsewhere", noise(1))
    [audio] = (tmp_path / "elsewhere").glob("*.flac")
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    with disks.small_disk(tmp_path / "disk", kilobytes=512) as disk:
        recording = Recorder(disk, sample_rate=16000, limit_mb=1)
        full(disk, room_bytes=-(-audio.stat().st_size // page_bytes) * page_bytes)
        with pytest.raises(OutputError, match=r"json: cannot be written \(No space"):
            recording.take(noise(1), events.AT)
        assert [path.name for path in disk.iterdir()] == ["full"]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for impossible in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/recordings")):
        with pytest.raises(OutputError, match="cannot be written"):
            Recorder(impossible, sample_rate=16000, limit_mb=1)


KILLED = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from edgeemo.sinks.recorder import Recorder
from support import event_samples as events

def record(folder, at):
    n = 0

    def count(event, arguments):
        nonlocal n
        n += event.startswith(("os.", "open", "fcntl."))
        if n == at:
            os.kill(os.getpid(), signal.SIGKILL)

    with Recorder(folder, sample_rate=16000, limit_mb=1) as recording:
        recording.take(events.start(), events.AT)
        sys.addaudithook(count)
        for utterance in said:
            recording.take(utterance, events.AT + timedelta(seconds=utterance.utterance))
    os._exit(0)

said = [events.utterance(number, seconds=1.0) for number in (1, 2)]
os.fsync = lambda descriptor: None  # a killed process loses nothing that it has written
at, killed = 0, True
while killed:
    at += 1
    pid = os.fork()
    if not pid:
        record(Path(sys.argv[1]) / str(at), at)
    status = os.waitpid(pid, 0)[1]
    killed = os.WIFSIGNALED(status)
assert status == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_killed_recording_leaves_whole_files(tmp_path: Path) -> None:
    """Killed before each of its calls to the system; what is there then is whole, and the next start sweeps."""
    folders = tmp_path / "folders"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", KILLED, str(folders)]
    subprocess.run(command, env=environment, check=True, timeout=WAIT_S)
    seen, n_temporary = set(), 0
    for folder in folders.iterdir():
        n_temporary += len([path for path in folder.iterdir() if path.name.startswith(".")])
        Recorder(folder, sample_rate=16000, limit_mb=1)
        left = sorted(path.name for path in folder.iterdir())
        assert left == recordings(folder), "no temporary file is left"
        for path in folder.glob("*.flac"):
            assert len(soundfile.read(path)[0]) == 16000
        for path in folder.glob("*.json"):
            assert json.loads(path.read_text())["utterance"]["utterance"] == int(path.stem[-6:])
            assert path.with_suffix(".flac").exists()
        seen.add(tuple(name[-11:] for name in left))
    files = [f"{number:06}.{kind}" for number in (1, 2) for kind in ("flac", "json")]
    assert seen == {tuple(files[:n]) for n in range(5)}, "it was killed before, between and after files"
    assert n_temporary >= 4


# --- From the command line


def test_all_at_once(tmp_path: Path) -> None:
    arguments = ["--csv", str(tmp_path / "calls.csv"), "--record", str(tmp_path / "recordings"), "--json"]
    result = CliRunner().invoke(app, ["listen", "--sample", "--fast", *arguments])
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    said = [line for line in lines if line["event"] == "utterance"]
    assert said
    table_rows = rows(tmp_path / "calls.csv")
    assert [float(row["start_s"]) for row in table_rows] == [line["start_s"] for line in said]
    model = edgeemo.load("emo_small")
    for line, path in zip(said, sorted((tmp_path / "recordings").glob("*.json")), strict=True):
        heard = json.loads(path.read_text())
        assert heard == {"start": lines[0], "utterance": line}
        duration_s = soundfile.info(path.with_suffix(".flac")).duration
        assert duration_s == pytest.approx(line["end_s"] - line["start_s"], abs=0.001)
        assert model.classify(path.with_suffix(".flac")).judged, "it holds what was said"


def test_no_audio_is_kept_without_recording(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = []
    listen = edgeemo.listen
    monkeypatch.setattr(
        edgeemo, "listen", lambda *a, **options: kept.append(options["keep_audio"]) or listen(*a, **options)
    )
    for arguments in ([], ["--record", str(tmp_path)]):
        CliRunner().invoke(app, ["listen", "--sample", "--fast", *arguments])
    assert kept == [False, True]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--record-limit", "10"],
        ["--record", "{tmp}", "--record-limit", "0"],
        ["--record", "{tmp}", "--record-limit", "nan"],
        ["--list-devices", "--csv", "calls.csv"],
        ["--list-devices", "--record", "recordings"],
        ["--post", "ftp://example.org"],
        ["--post", "file:///etc/passwd"],
        ["--post", "https://"],
        ["--post", "http://[::1/x"],
        ["--post", "http://host:port/"],
        ["--mqtt", "mqtt://host"],
        ["--mqtt", "mqtt://host/a/+/b"],
        ["--mqtt", "http://host/topic"],
    ],
    ids=" ".join,
)
def test_wrong_options_are_usage_errors(tmp_path: Path, arguments: list[str]) -> None:
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    result = CliRunner().invoke(app, ["listen", "--sample", "--fast", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize(
    "address", ["mqtt://me:pa/sec/ret@host/x", "https://me:sec/ret@host/x", "mqtt://me:secret@host/#"]
)
def test_a_wrong_address_is_not_repeated(address: str) -> None:
    option = "--mqtt" if address.startswith("mqtt") else "--post"
    result = CliRunner().invoke(app, ["listen", "--sample", option, address])
    assert result.exit_code == 2
    assert "sec" not in result.output


def test_files_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "full.csv").write_text("mine\n")
    for option, path in (("--csv", "full.csv"), ("--csv", "full.csv/x"), ("--record", "full.csv")):
        result = CliRunner().invoke(app, ["listen", "--sample", option, str(tmp_path / path)])
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)


def test_a_killed_table_has_whole_rows(edgeemo: list[str], tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    clip = tmp_path / "clip.wav"
    samples, sample_rate = soundfile.read(sample_path())
    soundfile.write(clip, np.tile(samples, 100), sample_rate)
    with subprocess.Popen(
        [*edgeemo, "listen", "--file", str(clip), "--fast", "--csv", str(path)], stdout=-3
    ) as process:
        while not path.exists() or path.read_bytes().count(b"\n") < 2:
            assert process.poll() is None
        process.kill()
    assert path.read_bytes().endswith(b"\n")
    assert [row["utterance"] for row in rows(path)] == [str(n + 1) for n in range(len(rows(path)))]


def test_the_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    result = CliRunner().invoke(app, ["listen", "--sample", "--mqtt", "mqtt://broker/topic"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("edgeemo: --mqtt needs paho-mqtt")
    assert "pip install 'edgeemo[mqtt]'" in result.stderr
    assert result.stderr.count("\n") == 1
