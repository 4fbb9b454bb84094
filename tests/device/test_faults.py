"""What happens to a microphone that is listened to for weeks: each fault, with a real PulseAudio."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from support.signals import voice_like
from support.virtual_microphone import WAIT_S, Listening, VirtualMicrophone

pytestmark = pytest.mark.microphone

Start = Callable[..., Listening]


@pytest.fixture
def start(start_listening: Start, stream_model_path: Path) -> Start:
    return lambda microphone, *arguments: start_listening(
        microphone, "--model", str(stream_model_path), *arguments
    )


def accounted(process: Listening, began_s: float) -> tuple[dict[str, Any], float]:
    """End it; what its last line says, after checking that nothing is missing without a word.

    Returns:
        the end, and how many seconds of the time that passed are not in the stream: what the sound server needs to
        begin, and what was on its way when it was stopped.
    """
    passed_s = time.monotonic() - began_s
    code, errors = process.end(signal.SIGTERM)
    assert code == 143, errors
    end = process.lines[-1]
    assert end["event"] == "end"
    assert end["heard_s"] + end["gap_s"] == pytest.approx(end["time_s"], abs=1e-4)
    assert end["gap_s"] == pytest.approx(sum(gap["length_s"] for gap in process.events("gap")), abs=1e-4)
    steps = process.steps
    holes_s = [after["time_s"] - before["time_s"] for before, after in itertools.pairwise(steps)]
    assert all(hole_s < 0.2 for hole_s in holes_s) or process.events("gap"), "a hole without a gap"
    return end, passed_s - end["time_s"]


def started(process: Listening) -> float:
    """Wait for its first steps; about when its stream began."""
    process.wait_for_steps(3)
    return time.monotonic() - process.steps[-1]["time_s"]


def test_a_sound_server_that_is_killed_and_comes_back(start: Start, microphone: VirtualMicrophone) -> None:
    process = start(microphone)
    began_s = started(process)
    microphone.kill()
    process.wait_for_status("reconnecting", active=True)
    time.sleep(2)
    microphone.start()
    process.wait_for_status("reconnecting", active=False)
    assert "is back" in process.wait_for_status("reconnected", active=False)["text"]
    process.wait_for_steps(10)
    (gap,) = process.events("gap")
    assert gap["why"] == "reconnected"
    assert gap["length_s"] > 2
    assert process.steps[-1]["time_s"] > gap["time_s"]
    _, missing_s = accounted(process, began_s)
    assert abs(missing_s) < 1


def test_a_microphone_that_is_unplugged_and_plugged_in_again(
    start: Start, microphone: VirtualMicrophone
) -> None:
    process = start(microphone)
    began_s = started(process)
    microphone.unplug()
    process.wait_for_status("reconnecting", active=True)
    microphone.plug_in()
    process.wait_for_status("reconnecting", active=False)
    process.wait_for_steps(10)
    assert {gap["why"] for gap in process.events("gap")} == {"reconnected"}
    assert abs(accounted(process, began_s)[1]) < 1


def test_once_ends_with_the_summary_and_one_line(start: Start, microphone: VirtualMicrophone) -> None:
    process = start(microphone, "--once")
    process.wait_for_steps(2)
    microphone.kill()
    code, errors = process.end()
    *summary, error = errors.splitlines()
    assert code != 0
    assert summary[0].endswith("s of stream at 48000 Hz, nothing heard")
    assert error.startswith("edgeemo: the microphone 'default' ")
    assert process.lines[-1]["event"] == "end"
    assert process.lines[-1]["reason"] in error


def test_a_microphone_that_is_not_there_yet(start: Start, make_microphone: Callable[..., Any]) -> None:
    microphone = make_microphone(started=False)
    process = start(microphone, "--wait")
    process.wait_for(lambda: "waiting for it\n" in process.errors)
    assert process.process.poll() is None
    microphone.start()
    process.wait_for_steps(2)
    code, errors = process.end(signal.SIGTERM)
    assert code == 143
    assert errors.startswith("edgeemo: no microphone found")


def test_waiting_can_be_interrupted(start: Start, make_microphone: Callable[..., Any]) -> None:
    process = start(make_microphone(started=False), "--wait")
    process.wait_for(lambda: "waiting for it\n" in process.errors)
    assert process.end(signal.SIGINT)[0] == 130


def test_another_source_is_told(start: Start, microphone: VirtualMicrophone) -> None:
    """PulseAudio moves the stream to another source when its own goes, and PortAudio is not told."""
    process = start(microphone)
    process.wait_for_steps(8)
    microphone.pactl("unload-module", "module-remap-source")  # leaves mic_sink.monitor
    status = process.wait_for_status("other device", active=True)
    assert "Monitor of" in status["text"]
    process.wait_for_steps(5)


def test_another_default_is_told(start: Start, microphone: VirtualMicrophone) -> None:
    microphone.load("module-null-sink", "sink_name=other", "rate=48000", "channels=1")
    process = start(microphone)
    process.wait_for_steps(8)
    microphone.pactl("set-default-source", "other.monitor")
    microphone.pactl("move-source-output", own_output(microphone, process), "other.monitor")
    process.wait_for_status("other device", active=True)
    microphone.pactl("move-source-output", own_output(microphone, process), "virtual_mic")
    process.wait_for_status("other device", active=False)


def own_output(microphone: VirtualMicrophone, process: Listening) -> str:
    """The number by which PulseAudio knows the stream of a process."""
    number = ""
    for line in microphone.pactl("list", "source-outputs").splitlines():
        if line.startswith("Source Output #"):
            number = line.partition("#")[2]
        if f'application.process.id = "{process.process.pid}"' in line:
            return number
    raise AssertionError("no such stream")


@pytest.mark.parametrize("seconds", [3, 8])
def test_a_source_that_is_suspended(start: Start, microphone: VirtualMicrophone, seconds: int) -> None:
    """For longer than a microphone may be silent, too."""
    process = start(microphone)
    began_s = started(process)
    microphone.pactl("suspend-source", "virtual_mic", "1")
    time.sleep(seconds)
    microphone.pactl("suspend-source", "virtual_mic", "0")
    process.wait_for(lambda: bool(process.events("gap")))
    process.wait_for_steps(10)
    gap = process.events("gap")[0]
    assert gap["why"] == ("stalled" if seconds < 5 else "reconnected")
    assert sum(gap["length_s"] for gap in process.events("gap")) == pytest.approx(seconds, abs=1.5)
    assert abs(accounted(process, began_s)[1]) < 1


@pytest.mark.parametrize("seconds", [7, 20])
def test_a_process_that_is_stopped(start: Start, microphone: VirtualMicrophone, seconds: int) -> None:
    """A container's pause: the microphone is not to blame, and what no buffer kept is a gap."""
    process = start(microphone)
    began_s = started(process)
    process.process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    process.process.send_signal(signal.SIGCONT)
    process.wait_for_steps(10)
    time.sleep(2)
    assert process.events("status") == [] or {s["state"] for s in process.events("status")} == {"muted"}
    assert {gap["why"] for gap in process.events("gap")} <= {"stalled", "overflow", "slow loop"}
    assert abs(accounted(process, began_s)[1]) < 1


def test_a_muted_microphone_is_told(start: Start, microphone: VirtualMicrophone, tmp_path: Path) -> None:
    process = start(microphone)
    assert "is the microphone muted?" in process.wait_for_status("muted", active=True)["text"]
    soundfile.write(tmp_path / "clip.wav", np.tile(voice_like(4.0, 48000), 2), 48000)
    microphone.play(tmp_path / "clip.wav")
    process.wait_for_status("muted", active=False)


def test_channels_that_cancel_each_other_are_told(
    start: Start, make_microphone: Callable[..., VirtualMicrophone], tmp_path: Path
) -> None:
    microphone = make_microphone(channels=2)
    one = np.tile(voice_like(4.0, 48000), 2)
    soundfile.write(tmp_path / "opposite.wav", np.stack([one, -one], axis=1), 48000)
    process, first = start(microphone), start(microphone, "--channel", "1")
    process.wait_for_steps(1)
    first.wait_for_steps(1)
    microphone.play(tmp_path / "opposite.wav")
    status = process.wait_for_status("channels cancel", active=True)
    assert re.search(r"try --channel [12]$", status["text"])
    first.wait_for_steps(1)
    assert max(step["level_db"] for step in process.steps) < -60
    assert max(step["level_db"] for step in first.steps) > -30
    assert not [s for s in first.events("status") if s["state"] == "channels cancel"]


def test_a_reader_that_stops_reading_costs_events_not_audio(
    edgeemo: list[str], microphone: VirtualMicrophone, stream_model_path: Path
) -> None:
    """And SIGTERM ends it, though its pipe is full."""
    command = [*edgeemo, "listen", "--json", "--model", str(stream_model_path)]
    read, write = os.pipe()
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(write, 1031, 4096)  # F_SETPIPE_SZ: full after a dozen lines
    process = subprocess.Popen(
        command, env=microphone.environment, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    time.sleep(12)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=WAIT_S)
    os.close(read)
    assert process.returncode == 143, errors
    assert "nothing lost" in errors


def test_a_machine_that_is_busy_loses_nothing_without_a_word(
    start: Start, microphone: VirtualMicrophone
) -> None:
    """Three processes on each core that do nothing but run."""
    process = start(microphone)
    began_s = started(process)
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * (os.cpu_count() or 1))
    ]
    try:
        time.sleep(8)
        process.wait_for_steps(10)
    finally:
        for one in busy:
            one.kill()
            one.wait()
    process.wait_for_steps(10)
    assert not [status for status in process.events("status") if status["state"] == "reconnecting"]
    _, missing_s = accounted(process, began_s)
    assert -0.5 < missing_s < 2


def test_a_loop_that_is_too_slow_loses_audio_and_says_so(microphone: VirtualMicrophone) -> None:
    code = """
import time
from edgeemo.sources import Lost, Microphone
with Microphone(queue_s=0.2) as source:
    n = 0
    for block in source.blocks():
        if isinstance(block, Lost):
            print(block.why, block.seconds)
            break
        n += len(block) > 0
        time.sleep(0.06 if n else 0)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=microphone.environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("slow loop 0.0")
