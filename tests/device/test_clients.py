"""`examples/c/` and `examples/node/` print what `edgeemo listen --json` prints."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import edgeemo
from edgeemo.errors import DownloadError
from edgeemo.places import model_path, sample_path
from edgeemo.voice import VOICE_PATH
from edgeemo.web.runtime import runtime_files
from edgeemo.web.site import write_site
from support import native
from support.node import FLAGS, NODE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not native.SOURCE.is_dir(), reason="examples/ is in the repository only"),
]
MODELS = ("emo_small.stream.int8", "emo_small.window", "cnn_lstm.stream")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := native.why_not():
        pytest.skip(reason)
    return native.built(tmp_path_factory.mktemp("c"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled sample, then 33 s of talk without a pause, as 16-bit WAV with a chunk after its samples."""
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    samples, rate = soundfile.read(sample_path(), dtype="int16")
    soundfile.write(path, np.concatenate([samples, np.tile(samples[9600:48000], 14)]), rate, subtype="PCM_16")
    with path.open("ab") as file:
        file.write(b"LIST\x04\0\0\0more")
    return path


def lines(*command: str | Path, stdin: bytes = b"") -> list[dict[str, Any]]:
    result = subprocess.run([*map(str, command)], input=stdin, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    return [event for event in events if event["event"] == "step"]


def check(found: list[dict[str, Any]], path: Path, model: str, tolerance: float) -> None:
    listener = edgeemo.Listener(edgeemo.load(model), sample_rate=16000)
    audio, _ = soundfile.read(path, dtype="float32")
    expected = [event.to_dict() for event in listener.push(audio) if isinstance(event, edgeemo.Step)]
    said = ("time_s", "utterance", "paused", "label", "reason")
    assert [[round(s[k], 6) if k == "time_s" else s[k] for k in said] for s in found] == [
        [s[k] for k in said] for s in expected
    ]
    assert max(step["utterance"] for step in expected) > 4, "an utterance was cut"
    for f, e in zip(found, expected, strict=True):
        assert f["probabilities"] == pytest.approx(e["probabilities"], abs=tolerance)
        assert f["arousal"] == (None if e["arousal"] is None else pytest.approx(e["arousal"], abs=tolerance))


@pytest.mark.parametrize("model", MODELS)
def test_c(program: Path, clip: Path, model: str) -> None:
    found = lines(program, model_path(model), VOICE_PATH, clip)
    check(found, clip, model, 1e-5)


def test_c_takes_pcm(program: Path, clip: Path) -> None:
    samples, _ = soundfile.read(clip, dtype="int16")
    found = lines(program, model_path(MODELS[0]), VOICE_PATH, "-", stdin=samples.tobytes() + b"\0")
    check(found, clip, MODELS[0], 1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: listen MODEL.onnx VOICE.onnx CLIP.wav, or - for 16-bit mono PCM on stdin"),
        ([model_path(MODELS[0]), VOICE_PATH, "missing.wav"], "missing.wav: cannot be read"),
        ([model_path(MODELS[0]), VOICE_PATH, sample_path()], f"{sample_path()}: no WAV file"),
        ([VOICE_PATH, VOICE_PATH, "-"], f"{VOICE_PATH}: no model of audio"),
        ([sample_path(), VOICE_PATH, "-"], "Load model from"),
    ],
)
def test_c_says_what_is_wrong(program: Path, arguments: list[str | Path], message: str) -> None:
    result = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"listen: {message}")


@pytest.mark.skipif(NODE is None, reason="node absent")
def test_node(clip: Path, tmp_path: Path) -> None:
    try:
        write_site(tmp_path, MODELS[0], runtime_files())
    except DownloadError as error:
        pytest.skip(str(error))
    node = [str(NODE), *FLAGS, native.SOURCE.parent / "node" / "listen.mjs", tmp_path]
    check(lines(*node, clip), clip, MODELS[0], 5e-3)
    samples, _ = soundfile.read(clip, dtype="int16")
    check(lines(*node, "-", stdin=samples.tobytes()), clip, MODELS[0], 5e-3)
