"""File and microphone as sources; the microphone here is made of a PortAudio that a test drives."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edgeemo.audio import read_blocks
from edgeemo.errors import AudioError, DeviceError
from edgeemo.events import End, Event, Gap, State, Status, Step, Why
from edgeemo.live import listen
from edgeemo.model import EmotionModel
from edgeemo.sources import AudioFile, InputDevice, Lost, Microphone, Notice, blocks, list_devices
from edgeemo.sources import file as source_file
from edgeemo.sources.queue import Captured, DropOldestQueue
from support.signals import voice_like

Install = Callable[..., Any]
BLOCK = 960  # 0.02 s at 48 kHz


class Clock:
    """A clock that only sleeping, and a slow consumer, moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.oversleep_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, wait_s: float) -> None:
        assert wait_s > 0
        self.now_s += wait_s + self.oversleep_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(source_file, "time", clock)
    return clock


# --- AudioFile


@pytest.mark.parametrize("realtime", [False, True])
def test_a_file_source_gives_the_file(clip_48k: Path, clock: Clock, realtime: bool) -> None:
    with AudioFile(clip_48k, block_s=0.05, realtime=realtime) as source:
        assert (source.sample_rate, source.channels, source.name) == (48000, 1, "clip.wav")
        blocks = list(source.blocks())
        again = list(source.blocks())
    np.testing.assert_array_equal(np.concatenate(blocks), np.concatenate(list(read_blocks(clip_48k, 999))))
    np.testing.assert_array_equal(np.concatenate(blocks), np.concatenate(again))
    assert all(b.dtype == np.float32 and b.ndim == 1 for b in blocks)
    assert {len(b) for b in blocks} == {2400}


def test_pacing_keeps_absolute_deadlines(clip_48k: Path, clock: Clock) -> None:
    clock.oversleep_s = 0.003  # every sleep is late; lateness must not add up
    with AudioFile(clip_48k) as source:
        for i, _ in enumerate(source.blocks()):
            assert clock.now_s - 100 == pytest.approx(0.02 * (i + 1) + 0.003)


def test_pacing_catches_up_after_a_pause(clip_48k: Path, clock: Clock) -> None:
    with AudioFile(clip_48k) as source:
        for i, _ in enumerate(source.blocks()):
            if i == 50:
                clock.now_s += 0.5  # a consumer that is slow once
    assert clock.now_s - 100 == pytest.approx(4.0)


def test_not_realtime_never_sleeps(clip_48k: Path, clock: Clock) -> None:
    list(AudioFile(clip_48k, realtime=False).blocks())
    assert clock.now_s == 100


def test_a_broken_file_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file or folder"):
        AudioFile(tmp_path / "missing.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    with pytest.raises(AudioError, match="0 samples"):
        list(AudioFile(tmp_path / "empty.wav").blocks())


# --- The queue


def captured(value: float, at_s: float = 0.0, n_samples: int = 4) -> Captured:
    return Captured(np.full((n_samples, 1), value, np.float32), at_s)


def test_a_full_queue_drops_its_oldest_block_and_counts() -> None:
    queue = DropOldestQueue(3)
    for value in range(8):
        queue.put(captured(value))
    found = [*queue.get(1, 0), *queue.get(8, 0)]
    assert [(block.samples[0, 0], block.n_dropped) for block in found] == [(5, 20), (6, 0), (7, 0)]
    assert queue.get(1, 0) == []
    for value in range(5):
        queue.put(captured(value))
    queue.clear()
    queue.put(captured(9))
    assert queue.get(1, 0)[0].n_dropped == 0


def test_a_closed_queue_gives_the_rest_first() -> None:
    queue = DropOldestQueue(3)
    queue.put(captured(0))
    queue.close()
    assert len(queue.get(100, 60)) == 1
    assert queue.get(1, 60) == []  # at once: nothing will come
    assert queue.closed


def test_a_waiting_reader_is_woken() -> None:
    queue = DropOldestQueue(3)
    found = []
    reader = threading.Thread(target=lambda: found.extend(queue.get(1, 60)))
    reader.start()
    queue.put(captured(1))
    reader.join(60)
    np.testing.assert_array_equal(found[0].samples, np.ones((4, 1)))


def test_a_reader_is_woken_once_there_is_as_much_as_it_wants() -> None:
    queue = DropOldestQueue(100)
    wakes: list[int] = []
    enough = queue._enough

    def counted() -> bool:
        wakes.append(queue._n_samples)
        return enough()

    queue._enough = counted
    found: list[Captured] = []
    reader = threading.Thread(target=lambda: found.extend(queue.get(17, 60)))
    reader.start()
    while not wakes:
        time.sleep(0.001)
    for value in range(9):
        queue.put(captured(value))
    reader.join(60)
    assert [block.samples[0, 0] for block in found] == [0, 1, 2, 3, 4]
    assert len(queue.get(100, 0)) == 4
    # Who wants more than there is room for gets what there is before anything is dropped.
    for value in range(50):
        queue.put(captured(value))
    assert len(queue.get(1000, 60)) == 50


# --- Microphone

DEVICES = [("Speakers", 0, 44100.0), ("USB Mic", 1, 48000.0), ("Array Mic", 4, 96000.0)]


def first(source: Microphone, n: int) -> list[np.ndarray]:
    """The first blocks that are not empty."""
    blocks = (block for block in source.blocks() if isinstance(block, np.ndarray) and len(block))
    return list(itertools.islice(blocks, n))


def test_captures_in_mono(install_portaudio: Install) -> None:
    portaudio = install_portaudio(DEVICES, default=1)
    with Microphone() as source:
        (stream,) = portaudio.streams
        assert stream.is_open
        options = stream.options
        assert (source.sample_rate, source.channels, source.name) == (48000, 1, "USB Mic")
        assert (options["samplerate"], options["channels"], options["blocksize"]) == (48000, 1, BLOCK)
        assert (options["device"], options["dtype"]) == (1, "float32")
        sent = [np.full((BLOCK, 1), value, np.float32) for value in (0.1, 0.2, 0.3)]
        for block in sent:
            stream.capture(block)
        got = first(source, 3)
        np.testing.assert_array_equal(np.stack(got), np.stack(sent)[..., 0])  # copied, in order, mono
    assert not stream.is_open


@pytest.mark.parametrize(
    ("native", "only_rates", "opened"),
    [
        (44100.0, None, 48000),  # a sound server takes any rate
        (44100.0, (44100, 48000), 48000),
        (44100.0, (44100,), 44100),
        (96000.0, (44100, 96000), 96000),
        (16000.0, (16000,), 16000),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_opens_at_48_khz_where_the_device_takes_it(
    install_portaudio: Install,
    native: float,
    only_rates: tuple[int, ...] | None,
    opened: int,
    channels: int,
) -> None:
    devices = [("USB Mic", 2, native)]
    portaudio = install_portaudio(devices, only_channels=channels, only_rates=only_rates)
    with Microphone() as source:
        options = portaudio.streams[0].options
        assert (source.sample_rate, source.channels) == (opened, channels)
        assert (options["samplerate"], options["channels"]) == (opened, channels)
        assert options["blocksize"] == round(0.02 * opened)


def test_averages_the_channels_of_a_device_without_mono(install_portaudio: Install) -> None:
    portaudio = install_portaudio(DEVICES, only_channels=4, only_rates=(96000,))
    with Microphone("array") as source:
        assert (source.channels, source.sample_rate) == (4, 96000)
        block = np.random.default_rng(0).standard_normal((1920, 4)).astype(np.float32)
        portaudio.streams[-1].capture(block)
        np.testing.assert_allclose(first(source, 1)[0], block.mean(axis=1), atol=1e-6)


def test_what_the_queue_drops_is_lost_audio(install_portaudio: Install) -> None:
    portaudio = install_portaudio(DEVICES, default=1)
    with Microphone(queue_s=0.1) as source:  # 5 blocks
        for value in range(12):
            portaudio.streams[0].capture(np.full((BLOCK, 1), value, np.float32))
        lost, *found = itertools.islice(source.blocks(), 6)
        assert lost == Lost(pytest.approx(7 * 0.02), Why.SLOW_LOOP)
        assert [b[0] for b in found] == [7, 8, 9, 10, 11]


def test_waiting_gives_empty_blocks(install_portaudio: Install) -> None:
    install_portaudio(DEVICES, default=1)
    with Microphone() as source:
        assert next(source.blocks()).shape == (0,)


def test_without_reconnecting_a_microphone_that_ends_is_an_error_after_its_last_block(
    install_portaudio: Install,
) -> None:
    portaudio = install_portaudio(DEVICES, default=1)
    with Microphone(reconnect=False) as source:
        portaudio.streams[0].capture(np.ones((BLOCK, 1), np.float32))
        portaudio.streams[0].finished()
        blocks = source.blocks()
        assert next(blocks)[0] == 1
        with pytest.raises(DeviceError, match="'USB Mic' went away"):
            next(blocks)


def test_without_reconnecting_a_silent_microphone_is_an_error(install_portaudio: Install) -> None:
    install_portaudio(DEVICES, default=1)
    with (
        Microphone(stall_s=0.2, reconnect=False) as source,
        pytest.raises(DeviceError, match=r"no audio for 0\.2 s"),
    ):
        list(source.blocks())


def test_it_is_opened_again_at_another_rate(install_portaudio: Install) -> None:
    """The device that comes back takes other rates and channels: the stream keeps its own."""
    portaudio = install_portaudio([("USB Mic", 1, 48000.0)])
    with Microphone() as source:
        blocks = source.blocks()
        portaudio.streams[0].capture(np.ones((BLOCK, 1), np.float32))
        assert len(next(blocks)) == BLOCK
        portaudio.plug_in([("USB Mic", 2, 16000.0)], only_rates=(16000,), only_channels=2)
        portaudio.streams[0].finished()
        notice = next(block for block in blocks if isinstance(block, Notice))
        assert (notice.state, notice.active) == (State.RECONNECTING, True)
        while len(portaudio.streams) == 1:
            next(blocks)
        assert not portaudio.streams[0].is_open
        for _ in range(100):  # two seconds
            portaudio.streams[-1].capture(np.full((320, 2), 0.5, np.float32))
        found = []
        for block in blocks:
            found.append(block)
            if sum(len(b) for b in found if isinstance(b, np.ndarray)) > 1.5 * 48000:
                break
        assert [b for b in found if isinstance(b, Notice)] == [
            Notice(State.RECONNECTING, False, "a microphone answers again"),
            Notice(State.RECONNECTED, False, "the microphone 'USB Mic' is back"),
        ]
        assert source.sample_rate == 48000
        source.stop()


def test_another_microphone_that_takes_its_place_is_told(install_portaudio: Install) -> None:
    """What was wrong with the first one is not said of the second."""
    portaudio = install_portaudio([("USB Mic", 1, 48000.0)])
    told: list[Notice] = []
    with Microphone() as source:
        blocks = source.blocks()

        def until(state: State, *, active: bool) -> None:
            while not (told and (told[-1].state, told[-1].active) == (state, active)):
                told.extend(one for one in [next(blocks)] if isinstance(one, Notice))

        for name in "Array Mic", "USB Mic":
            n_streams = len(portaudio.streams)
            for _ in range(300):  # six seconds of zeros
                portaudio.streams[-1].capture(np.zeros((BLOCK, 1), np.float32))
                next(blocks)
            portaudio.plug_in([(name, 1, 48000.0)])
            portaudio.streams[-1].finished()
            until(State.RECONNECTING, active=True)
            while len(portaudio.streams) == n_streams:
                next(blocks)
            portaudio.streams[-1].capture(np.full((BLOCK, 1), 0.1, np.float32))
            until(State.RECONNECTED, active=name == "Array Mic")
        source.stop()
    assert [one.text for one in told if one.state is State.RECONNECTED] == [
        "listening to another microphone: 'Array Mic', not 'USB Mic'",
        "the microphone 'USB Mic' is back",
    ]
    assert [one.active for one in told if one.state is State.MUTED][-1] is False


def test_waiting_audio_comes_as_one_block_once_there_is_as_much_as_wanted(install_portaudio: Install) -> None:
    portaudio = install_portaudio(DEVICES, default=1)
    values = np.random.default_rng(0).standard_normal((10 * BLOCK, 1)).astype(np.float32)
    values[-BLOCK // 2] = np.nan
    with Microphone() as source:
        blocks = source.blocks()
        assert len(next(blocks)) == 0
        source.wants(0.16)
        for part in np.split(values, 10):
            portaudio.streams[0].capture(part)
        found = [next(blocks), next(blocks), next(blocks)]
    np.testing.assert_array_equal(found[0], values[: 8 * BLOCK, 0])
    # What is no number is alone, so that no more than it is missing.
    np.testing.assert_array_equal(found[1], values[8 * BLOCK : 9 * BLOCK, 0])
    np.testing.assert_array_equal(found[2], values[9 * BLOCK :, 0])


@pytest.mark.parametrize("channel", [None, 1, 2])
@pytest.mark.parametrize("rate", [16000, 48000])
def test_a_microphone_tells_what_a_file_of_the_same_audio_tells(
    install_portaudio: Install, stream_model: EmotionModel, tmp_path: Path, channel: int | None, rate: int
) -> None:
    """All of it but names and times by a clock: also what is wrong with it, and what is no number."""
    voice = voice_like(6.0, rate)
    audio = np.stack([voice, -0.9 * np.roll(voice, rate // 50)], axis=1)
    audio[4 * rate : 4 * rate + 100] = np.nan  # block 200
    audio[5 * rate :] = np.clip(40 * audio[5 * rate :], -1, 1)
    audio = audio.astype(np.float32)
    soundfile.write(tmp_path / "two.wav", audio, rate, subtype="FLOAT")
    portaudio = install_portaudio([("USB Mic", 2, float(rate))], only_channels=2, only_rates=(rate,))

    def told(events: Iterator[Event]) -> list[dict[str, Any]]:
        changing = {"source", "kind", "resample_ms", "model_ms"}
        changing |= {"latency_p50_ms", "latency_p99_ms", "real_time_factor"}
        found = []
        for event in events:
            # A microphone's blocks come several at once: what is wrong with them may be told a step earlier.
            left_out = {Status: {"time_s"}, End: {"reason"}}.get(type(event), set()) | changing
            found.append({key: value for key, value in event.to_dict().items() if key not in left_out})
        return sorted(found, key=lambda line: line["event"] == "status")

    expected = told(listen(AudioFile(tmp_path / "two.wav", realtime=False, channel=channel), stream_model))
    with Microphone(channel=channel, queue_s=10) as source:
        for block in np.split(audio, 300):
            portaudio.streams[0].capture(block)
        found = told(listen(source, stream_model, seconds=6.0))
    assert found == expected
    assert {line["event"] for line in found} == {"start", "step", "utterance", "gap", "status", "end"}


def test_a_wall_clock_that_is_set_loses_nothing(
    install_portaudio: Install, stream_model: EmotionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time that it is read, it is an hour earlier or two later."""
    hours = itertools.accumulate(itertools.cycle((-1, 2)))
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + 3600 * next(hours))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * time.time()))
    portaudio = install_portaudio([("USB Mic", 1, 16000.0)], only_rates=(16000,))
    with Microphone(queue_s=10) as source:
        for block in np.split(voice_like(4.0, 16000).astype(np.float32)[:, np.newaxis], 200):
            portaudio.streams[0].capture(block)
        events = list(listen(source, stream_model, seconds=4.0))
    assert not [event for event in events if isinstance(event, Gap | Status)]
    steps = [event.time_s for event in events if isinstance(event, Step)]
    np.testing.assert_allclose(steps, 0.16 * np.arange(1, 26), atol=1e-9)


def test_the_callback_only_copies(install_portaudio: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    portaudio = install_portaudio(DEVICES, only_channels=4)
    with Microphone(2) as source:
        monkeypatch.setattr(blocks, "one_channel", None)  # averaging is the reader's work
        portaudio.streams[-1].capture(np.zeros((BLOCK, 4), np.float32))
        assert source.channels == 4


# --- Channels


def test_a_channel_of_a_file(tmp_path: Path) -> None:
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, (5000, 3)).astype(np.float32)
    soundfile.write(tmp_path / "three.wav", audio, 16000, subtype="FLOAT")
    for channel, expected in ((None, audio.mean(axis=1)), (1, audio[:, 0]), (3, audio[:, 2])):
        source = AudioFile(tmp_path / "three.wav", realtime=False, channel=channel)
        np.testing.assert_allclose(np.concatenate(list(source.blocks())), expected, atol=1e-7)
    with pytest.raises(AudioError, match="no channel 4: it has 3 channels; give --channel from 1 to 3"):
        AudioFile(tmp_path / "three.wav", channel=4)


@pytest.mark.parametrize(("channel", "captured_channels"), [(None, 2), (1, 2), (2, 2), (4, 4)])
def test_two_channels_are_captured_where_there_are_several(
    install_portaudio: Install, channel: int | None, captured_channels: int
) -> None:
    portaudio = install_portaudio(DEVICES)
    with Microphone("array", channel=channel) as source:
        block = np.random.default_rng(0).uniform(-0.5, 0.5, (BLOCK, captured_channels)).astype(np.float32)
        portaudio.streams[0].capture(block)
        expected = block.mean(axis=1) if channel is None else block[:, channel - 1]
        np.testing.assert_allclose(first(source, 1)[0], expected, atol=1e-7)


# --- Choosing a device


def test_list_devices(install_portaudio: Install) -> None:
    install_portaudio(DEVICES, default=2)
    usb, array = list_devices()
    assert usb == InputDevice(1, "USB Mic", "ALSA", channels=1, sample_rate=48000, is_default=False)
    assert array == InputDevice(2, "Array Mic", "ALSA", channels=4, sample_rate=96000, is_default=True)


@pytest.mark.parametrize(
    ("wanted", "index"), [(2, 2), ("Array Mic", 2), ("array", 2), ("USB", 1), (1, 1), (None, 1)]
)
def test_devices_are_found(install_portaudio: Install, wanted: int | str | None, index: int) -> None:
    install_portaudio(DEVICES, default=1)
    assert Microphone(wanted).device.index == index


def test_an_exact_name_beats_a_part(install_portaudio: Install) -> None:
    install_portaudio([("Mic 2", 1, 48000.0), ("Mic", 1, 48000.0)])
    assert Microphone("Mic").device.index == 1


@pytest.mark.parametrize(
    ("wanted", "default", "message"),
    [
        ("nope", 1, "no input device 'nope'"),
        (7, 1, "no input device 7"),
        (0, 1, "no input device 0"),  # it only plays
        ("mic", 1, "2 input devices match 'mic'"),
        (None, None, "no default microphone"),
    ],
)
def test_wrong_devices_name_the_right_ones(
    install_portaudio: Install, wanted: int | str | None, default: int | None, message: str
) -> None:
    install_portaudio(DEVICES, default=default)
    with pytest.raises(DeviceError, match=message) as caught:
        Microphone(wanted)
    assert "1 'USB Mic', 2 'Array Mic'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_microphone(install_portaudio: Install) -> None:
    install_portaudio([("Speakers", 0, 44100.0)], default=None)
    assert list_devices() == []
    with pytest.raises(DeviceError, match="no microphone found"):
        Microphone()


def test_a_device_that_does_not_open(install_portaudio: Install) -> None:
    portaudio = install_portaudio(DEVICES, default=1, only_channels=99)
    with pytest.raises(DeviceError, match=r"'USB Mic' does not open at 48000 Hz.*-9998") as caught:
        Microphone().__enter__()
    assert "\n" not in str(caught.value)
    assert portaudio.streams == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("OSError('PortAudio library not found')", "sudo apt install libportaudio2"),
        (
            "type('PortAudioError', (Exception,), {})('Unanticipated host error')",
            r"does not start \(Unanticipated host error\).*asoundrc",
        ),
    ],
)
def test_portaudio_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: str, expected: str
) -> None:
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    (tmp_path / "sounddevice.py").write_text(f"raise {error}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for call in (Microphone, list_devices):
        with pytest.raises(DeviceError, match=expected) as caught:
            call()
        assert "\n" not in str(caught.value)
