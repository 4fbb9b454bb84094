"""The programs in `examples/`: each, on a file, prints what the API gives."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import soundfile

import edgeemo
from edgeemo.places import sample_path
from support.events import steps_in

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = (
    "home_assistant",
    "live_callback",
    "meter",
    "one_label_per_file",
    "own_blocks",
    "robot",
    "several_streams_asyncio",
    "subscribe",
)


def run(program: str, *arguments: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, EXAMPLES / f"{program}.py", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
    )


def lines(program: str, *arguments: Path, stdin: bytes = b"") -> list[str]:
    result = run(program, *arguments, stdin=stdin)
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout.decode().splitlines()


@pytest.fixture(scope="module")
def model() -> edgeemo.EmotionModel:
    return edgeemo.load("cnn_lstm")


@pytest.fixture(scope="module")
def sample_48k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled sample as 16-bit audio of 48 kHz, each sample three times: other steps than the sample itself."""
    path = tmp_path_factory.mktemp("examples") / "sample_48k.wav"
    samples, _ = soundfile.read(sample_path(), dtype="int16")
    soundfile.write(path, np.repeat(samples, 3), 48_000)
    return path


def steps(path: Path, model: edgeemo.EmotionModel) -> list[edgeemo.Step]:
    return steps_in(edgeemo.listen(edgeemo.AudioFile(path, realtime=False), model))


def labels(path: Path, model: edgeemo.EmotionModel) -> list[str]:
    """A line for each step: its time, and its label or `-` where none is named."""
    return [f"{s.time_s:.2f}\t{s.label or '-'}" for s in steps(path, model)]


def test_there_are_these_programs() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == list(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_is_a_screen_and_says_how_to_run_it(program: str) -> None:
    text = (EXAMPLES / f"{program}.py").read_text(encoding="utf-8")
    assert text.count("\n") <= 50
    assert re.search(rf"python examples/{program}\.py (\w+\.wav|mqtt://|ws://)", text)


def test_one_label_per_file(model: edgeemo.EmotionModel, sample_48k: Path, tmp_path: Path) -> None:
    def line(path: Path) -> str:
        score = model.classify(path)
        return f"{path}\t{score.label}\t{max(score.probabilities.values()):.2f}"

    missing = tmp_path / "missing.wav"
    result = run("one_label_per_file", sample_path(), missing, sample_48k)
    assert result.stdout.decode().splitlines() == [line(sample_path()), line(sample_48k)]
    with pytest.raises(edgeemo.AudioError) as error:
        model.classify(missing)
    assert result.stderr.decode().splitlines() == [str(error.value)]
    assert result.returncode == 1
    assert run("one_label_per_file", sample_path()).returncode == 0


def test_live_callback(model: edgeemo.EmotionModel) -> None:
    expected = labels(sample_path(), model)
    assert len({line.split("\t")[1] for line in expected}) > 2, "the sample does not sound alike throughout"
    assert lines("live_callback", sample_path()) == expected


def test_several_streams(model: edgeemo.EmotionModel, sample_48k: Path) -> None:
    """Each prints what it prints alone, whatever the others do."""

    def changes(path: Path) -> Iterator[str]:
        heard = (step for step in steps(path, model) if step.label is not None)
        for label, group in groupby(heard, key=lambda step: step.label):
            yield f"{path.name}\t{next(group).time_s:.2f}\t{label}"

    printed = lines("several_streams_asyncio", sample_path(), sample_48k)
    for path in (sample_path(), sample_48k):
        assert [line for line in printed if line.startswith(path.name)] == list(changes(path))
    assert len(printed) == len(list(changes(sample_path()))) + len(list(changes(sample_48k)))


def test_own_blocks_of_a_file(model: edgeemo.EmotionModel) -> None:
    assert lines("own_blocks", sample_path()) == labels(sample_path(), model)


def test_own_blocks_from_stdin(model: edgeemo.EmotionModel, sample_48k: Path) -> None:
    """16-bit PCM of 48 kHz; a byte too many at the end is left out."""
    samples, _ = soundfile.read(sample_48k, dtype="int16")
    expected = labels(sample_48k, model)
    assert lines("own_blocks", stdin=samples.astype("<i2").tobytes() + b"\0") == expected


def test_the_robot_acts_on_what_stays_confident(model: edgeemo.EmotionModel) -> None:
    heard = steps(sample_path(), model)
    certain = [s.label if s.label and s.probabilities[s.label] >= 0.45 else None for s in heard]
    # A run of one label begins at i: it has lasted for three steps with the one at i + 2.
    acts = [
        f"{heard[i + 2].time_s:.2f}\t{label}"
        for i, label in enumerate(certain)
        if label and (i == 0 or certain[i - 1] != label) and certain[i : i + 3] == [label] * 3
    ]
    assert 1 < len(acts) < sum(label is not None for label in certain) / 3
    assert lines("robot", sample_path()) == acts


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="no Xvfb here: a window needs a screen")
def test_the_meter_is_a_window(tmp_path: Path) -> None:
    """It opens, runs through the whole sample, and is still there when nothing more comes."""
    screen = subprocess.Popen(["Xvfb", ":97", "-screen", "0", "640x480x24"], stderr=subprocess.DEVNULL)
    try:
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / "meter.py", sample_path()],
            env=os.environ | {"DISPLAY": ":97"},
            stderr=subprocess.PIPE,
        )
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(15)
        process.terminate()
        assert process.communicate()[1] == b""
    finally:
        screen.terminate()
        screen.wait()


def test_the_meter_shows_label_and_arousal(model: edgeemo.EmotionModel) -> None:
    show = runpy.run_path(str(EXAMPLES / "meter.py"))["show"]
    label: dict[str, str] = {}
    meter: dict[str, float] = {}
    for step in steps(sample_path(), model):
        show(step, label, meter)
        assert label["text"] == (step.label or f"({step.reason})")
        assert meter["value"] == 100 * (step.arousal or 0)
