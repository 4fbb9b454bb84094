"""`examples/c/` on a file in onnxruntime's own format, which `edgeemo export --format ort` writes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import soundfile

from edgeemo.places import model_path, sample_path
from edgeemo.voice import VOICE_PATH
from edgeemo.workstation.graphs.ort_format import to_ort_format
from support import native

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("model", ["emo_small.stream.int8", "cnn_lstm.stream.int8"])
def test_c_says_the_same(tmp_path: Path, model: str) -> None:
    if reason := native.why_not():
        pytest.skip(reason)
    program = native.built(tmp_path)
    audio, rate = soundfile.read(sample_path(), dtype="int16")
    soundfile.write(tmp_path / "clip.wav", audio, rate, subtype="PCM_16")
    config = to_ort_format(model_path(model), tmp_path / "model.ort")

    def steps(file: Path) -> list[dict[str, Any]]:
        command = [program, file, VOICE_PATH, tmp_path / "clip.wav"]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in result.stdout.splitlines()]

    expected, found = steps(model_path(model)), steps(tmp_path / "model.ort")
    assert [step["label"] for step in found] == [step["label"] for step in expected]
    assert {step["label"] for step in found} - {None}
    for f, e in zip(found, expected, strict=True):
        assert f["probabilities"] == pytest.approx(e["probabilities"], abs=1e-5)
    assert "com.microsoft;1;" in config.read_text(encoding="utf-8")
