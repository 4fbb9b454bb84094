"""Somebody's own features beside a front end's: the same, or what differs."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeemo.audio import read_audio
from edgeemo.errors import ExportError
from edgeemo.features import Features, preset_values
from edgeemo.places import sample_path
from edgeemo.workstation.export.comparison import compare
from edgeemo.workstation.export.given import read_features

BENCHMARK: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "front_ends.py"))
CASES = BENCHMARK["cases"]()


def of(preset: str, **values: object) -> Features:
    return Features.from_dict(preset_values(preset, values))


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return read_audio(sample_path(), 16000)[16000:80000]


def plainly(audio: np.ndarray) -> np.ndarray:
    return np.asarray(CASES["librosa, 16 kHz"].reference(audio))


DIFFERENT: dict[str, tuple[Features, Callable[[np.ndarray], np.ndarray], dict[str, Any]]] = {
    "shifted by half a frame": (of("edgeemo", level="none"), plainly, {"framing": "centre_zero"}),
    "another base, and a clip": (
        of("edgeemo", n_fft=400, n_mels=80),
        CASES["whisper"].reference,
        {"framing": "centre_reflect", "compression": "log10", "top_db": 80.0},
    ),
    "an offset": (
        of("torchaudio", n_mels=64),
        CASES["torchaudio, ln"].reference,
        {"compression": "ln", "offset": 1e-6},
    ),
    "16-bit samples": (of("kaldi", scale=1.0), CASES["kaldi"].reference, {"scale": 32768.0}),
    "another mel scale": (of("torchaudio", mel_scale="slaney"), CASES["torchaudio"].reference, {"mel_scale": "htk"}),
    "a factor and a constant": (
        of("edgeemo", level="none", framing="centre_zero"),
        lambda audio: 0.0125 * plainly(audio) + 0.7,
        {"mean": (-56.0,), "std": (80.0,)},
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", DIFFERENT)
def test_what_differs_is_told(what: str, clip: np.ndarray) -> None:
    features, pipeline, expected = DIFFERENT[what]
    found = compare(features, clip, pipeline(clip))
    assert not found.same
    for key, value in expected.items():
        assert found.changes[key] == (pytest.approx(value, rel=1e-3) if key in ("mean", "std") else value)
    assert "they are the same with [features] " in found.text
    assert "\n" not in found.text


@pytest.mark.slow
def test_the_same(clip: np.ndarray) -> None:
    found = compare(of("whisper"), clip, CASES["whisper"].reference(clip))
    assert (found.same, found.changes) == (True, {})
    assert found.text.startswith("the features are yours: 400 frames of 80 values differ by ")


@pytest.mark.slow
def test_what_nothing_explains(clip: np.ndarray) -> None:
    found = compare(of("edgeemo"), clip, np.random.default_rng(0).standard_normal((400, 64)))
    assert not found.same
    assert "no keys were found that make them the same" in found.text


def test_any_layout_is_read(tmp_path: Path) -> None:
    features = np.random.default_rng(0).random((30, 8)).astype(np.float32)
    layouts = {
        "plain": features,
        "bands first": features.T,
        "batch and channel": features[np.newaxis, ..., np.newaxis],
        "image": np.repeat(features.T[np.newaxis], 3, axis=0),
    }
    for name, array in layouts.items():
        np.save(tmp_path / f"{name}.npy", array)
        np.testing.assert_array_equal(read_features(tmp_path / f"{name}.npy", 8), features)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 5, 7)), r"an array of shape \(3, 5, 7\); the recipe says 8 values a frame"),
        (np.full((3, 8), np.nan), "expected one array of finite numbers"),
        (np.array(["a"]), "expected one array of finite numbers"),
    ],
)
def test_what_is_not_features(array: np.ndarray, words: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ExportError, match=words):
        read_features(tmp_path / "x.npy", 8)
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(ExportError, match=r"text\.npy: not an array of numpy\.save"):
        read_features(tmp_path / "text.npy", 8)
