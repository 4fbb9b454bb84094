"""Real capture without a sound card: a private PulseAudio, its null sink's monitor as the microphone.

PulseAudio and the capture run at 48 kHz, so nothing but the resampler of the loop touches what is played at that
rate; but the capture starts at an unknown position between two steps. So it is compared with the file at the best
of many shifts, with tolerances; the equalities are in `test_listen.py`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edgeemo.audio import read_audio
from edgeemo.live import Listener
from edgeemo.model import EmotionModel
from edgeemo.places import DEFAULT_MODEL, model_path, sample_path, shipped_models, stands_for
from support.virtual_microphone import WAIT_S, VirtualMicrophone, wait_for

pytestmark = pytest.mark.microphone

N_SHIFTS = 64


class Listening:
    """`edgeemo listen --json` as a process, its lines read as they come."""

    def __init__(self, command: list[str], model: Path, microphone: VirtualMicrophone) -> None:
        self.process = subprocess.Popen(
            [*command, "listen", "--json", "--model", str(model)],
            env=microphone.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.steps: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.steps.append(json.loads(line))

    def wait_for_steps(self, n: int) -> None:
        """Wait for `n` more steps."""
        wanted = len(self.steps) + n
        wait_for(lambda: len(self.steps) >= wanted or self.process.poll() is not None)
        assert len(self.steps) >= wanted, self.end()

    def end(self) -> tuple[int, str]:
        """The exit code and what stderr says, once the process has ended by itself."""
        self._reader.join(WAIT_S)
        assert self.process.stderr is not None
        return self.process.wait(WAIT_S), self.process.stderr.read()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def listening(edgeemo: list[str], microphone: VirtualMicrophone) -> Iterator[Callable[[Path], Listening]]:
    started: list[Listening] = []

    def start(model: Path) -> Listening:
        started.append(Listening(edgeemo, model, microphone))
        return started[-1]

    yield start
    for process in started:
        process.close()


def rows(of_steps: list[dict[str, float]], n_labels: int) -> np.ndarray:
    """Probabilities `(n_steps, n_labels)`; zeros where nobody speaks."""
    return np.array([list(each.values()) or [0.0] * n_labels for each in of_steps])


def agreement(captured: np.ndarray, audio: np.ndarray, model: EmotionModel) -> tuple[float, float]:
    """How well captured steps fit a file played meanwhile, at the best shift.

    Args:
        captured: probabilities `(n_steps, n_labels)` of all steps, also in the silence around the file.
        audio: the file at the model's rate.

    Returns:
        correlation of the probabilities with the file's, and the part of the steps with the file's label.
    """
    step_samples = model.metadata.step_samples
    found = []
    for shift in range(N_SHIFTS):
        listener = Listener(model, sample_rate=model.sample_rate)
        padded = np.pad(audio, (shift * step_samples // N_SHIFTS, step_samples))
        played = rows([step.probabilities for step in listener.push(padded)], len(model.labels))
        for start in range(len(captured) - len(played) + 1):
            part = captured[start : start + len(played)]
            correlation = np.corrcoef(part.ravel(), played.ravel())[0, 1]
            found.append((float(correlation), float(np.mean(part.argmax(1) == played.argmax(1)))))
    return max(found)


def capture(listening: Listening, microphone: VirtualMicrophone, clip: Path) -> np.ndarray:
    listening.wait_for_steps(2)
    microphone.play(clip)
    listening.wait_for_steps(20)  # what PulseAudio still holds
    listening.process.send_signal(signal.SIGINT)
    code, errors = listening.end()
    assert code == 0, errors
    assert "real-time factor" in errors
    assert len(errors.splitlines()) == 3
    assert "s of stream at 48000 Hz" in errors.splitlines()[0]
    times_s = [step["time_s"] for step in listening.steps]
    np.testing.assert_allclose(np.diff(times_s), times_s[0], atol=1e-5)
    assert listening.steps[-1]["drops"] == 0
    found = [step["probabilities"] for step in listening.steps]
    return rows(found, max(map(len, found)))


@pytest.mark.parametrize(
    "shipped",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(
                stands_for(DEFAULT_MODEL) not in [path.stem for path in shipped_models()],
                reason="no shipped model",
            ),
        ),
    ],
    ids=["tiny", "shipped"],
)
def test_the_microphone_hears_what_the_file_holds(
    listening: Callable[[Path], Listening],
    microphone: VirtualMicrophone,
    tiny_model: EmotionModel,
    clip_48k: Path,
    tmp_path: Path,
    shipped: bool,
) -> None:
    """The steps of a capture are those of the file.

    At the best of 64 shifts the two are at most 1/128 of a step apart. Seen with either model: correlations of 0.998
    to 1 (a stream also remembers how far into a step its utterance began), and at most 1 label in 20 another, at a
    near-tie. With 16 shifts, labels at near-ties differed in up to a quarter of the steps. With the same sound
    backwards: 0.5 (tiny), 0.84 (shipped).
    """
    model, clip = tiny_model, clip_48k
    if shipped:
        model, clip = EmotionModel(model_path(DEFAULT_MODEL)), tmp_path / "sample.wav"
        soundfile.write(clip, read_audio(sample_path(), 48000), 48000)
    captured = capture(listening(model.path), microphone, clip)
    audio = read_audio(clip, model.metadata.features.sample_rate)
    correlation, same_labels = agreement(captured, audio, model)
    assert correlation > 0.98
    assert same_labels > 0.85
    # The comparison can fail: the same sound backwards is not what was heard.
    assert agreement(captured, audio[::-1].copy(), model)[0] < correlation - 0.1


def test_opened_at_48_khz_in_mono(
    edgeemo: list[str],
    listening: Callable[[Path], Listening],
    microphone: VirtualMicrophone,
    tiny_model_path: Path,
) -> None:
    """At the sound server's rate, not at the one that PortAudio reports for ALSA's `pulse`."""
    devices = subprocess.run(
        [*edgeemo, "listen", "--list-devices", "--json"],
        env=microphone.environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert devices.stderr == ""
    assert sum(json.loads(line)["is_default"] for line in devices.stdout.splitlines()) == 1
    process = listening(tiny_model_path)
    process.wait_for_steps(1)
    streams = microphone.pactl("list", "source-outputs")  # the remapped source is one too, of 16 bits
    assert streams.count("float32le ") == 1
    assert "float32le 1ch 48000Hz" in streams


@pytest.mark.parametrize("how", ["the daemon ends", "the source is unloaded"])
def test_unplugging_ends_with_the_summary_and_one_line(
    listening: Callable[[Path], Listening], microphone: VirtualMicrophone, tiny_model_path: Path, how: str
) -> None:
    process = listening(tiny_model_path)
    process.wait_for_steps(2)
    if how == "the daemon ends":
        microphone.kill()
    else:
        microphone.pactl("unload-module", "module-null-sink")  # and with it the source made of its monitor
    code, errors = process.end()
    *summary, error = errors.splitlines()
    assert (code, len(summary)) == (4, 2), errors
    assert summary[0].endswith("s of stream at 48000 Hz, nothing heard")
    assert error.startswith("edgeemo: the microphone 'default' ")


def test_the_stream_goes_on_with_the_source_that_pulseaudio_moves_it_to(
    listening: Callable[[Path], Listening], microphone: VirtualMicrophone, tiny_model_path: Path
) -> None:
    process = listening(tiny_model_path)
    process.wait_for_steps(2)
    microphone.pactl("unload-module", "module-remap-source")  # leaves mic_sink.monitor
    process.wait_for_steps(10)


def test_plugged_in_again(
    listening: Callable[[Path], Listening], microphone: VirtualMicrophone, tiny_model_path: Path
) -> None:
    process = listening(tiny_model_path)
    process.wait_for_steps(1)
    microphone.pactl("unload-module", "module-null-sink")
    assert process.end()[0] == 4
    microphone.pactl("load-module", "module-null-sink", "sink_name=mic_sink", "rate=48000", "channels=1")
    microphone.pactl(
        "load-module", "module-remap-source", "source_name=virtual_mic", "master=mic_sink.monitor"
    )
    microphone.pactl("set-default-source", "virtual_mic")
    listening(tiny_model_path).wait_for_steps(2)


def test_no_daemon_is_no_microphone(
    edgeemo: list[str], microphone: VirtualMicrophone, tiny_model_path: Path
) -> None:
    microphone.kill()
    result = subprocess.run(
        [*edgeemo, "listen", "--model", str(tiny_model_path)],
        env=microphone.environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (4, "", 1), result.stderr


def test_a_slow_reader_costs_counted_blocks_not_the_stream(
    microphone: VirtualMicrophone, tiny_model_path: Path
) -> None:
    """A loop that does not keep up: blocks go missing, are counted, and the newest audio is there."""
    code = """
import time
from edgeemo.sources import Microphone
with Microphone(queue_s=0.2) as source:
    blocks = source.blocks()
    while not len(next(blocks)):
        pass
    while source.drops < 5:
        time.sleep(0.05)
    for _ in range(20):
        next(blocks)
    print("drops", source.drops)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=microphone.environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.split()[1]) >= 5
