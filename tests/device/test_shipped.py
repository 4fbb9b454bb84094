"""What ships in models/: every file loads, has its card, and computes what its siblings compute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeemo.audio import read_audio
from edgeemo.images import ImageModel, load_model
from edgeemo.metadata import KEY, Mode, Precision
from edgeemo.model import EmotionModel
from edgeemo.places import sample_path, shipped_models

FILES = shipped_models()
TOLERANCE = {Precision.FP32: 1e-5, Precision.FP16: 5e-3, Precision.INT8: 0.15}  # of seven bits


def probabilities(model: EmotionModel, audio: np.ndarray) -> np.ndarray:
    """What a model says at the end of one window of audio; a stream from zero states on."""
    m = model.metadata
    if m.mode is Mode.WINDOW:
        return model.predict(audio)
    states = {state.name: np.zeros(state.shape, np.float32) for state in m.states}
    for step in audio.reshape(-1, 1, m.step_samples):
        found, *following = model.session.run(
            ["probabilities", *(state.next_name for state in m.states)], {"audio": step, **states}
        )
        states = dict(zip(states, following, strict=True))
    return found[0]


def test_there_is_something() -> None:
    assert len(FILES) >= 6


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_file_its_card_and_its_siblings(path: Path) -> None:
    model = load_model(path)
    m = model.metadata
    assert m.variant == path.stem
    card = (path.parent / f"{m.name}.md").read_text(encoding="utf-8")
    assert m.licence in card
    assert m.training is not None
    assert f"Trained on {m.training.n_clips} " in card
    if isinstance(model, ImageModel):
        images = np.random.default_rng(0).uniform(0, 255, (2, m.height, m.width))
        found = np.stack([model.predict(image) for image in images])
        assert np.ptp(found, axis=0).max() > 1e-6, "it says the same of everything"
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
        return
    assert m.verdict is not None
    assert m.verdict.accepted
    reference = EmotionModel(path.with_name(f"{m.name}.window.onnx"))
    audio = read_audio(sample_path(), m.features.sample_rate)
    windows = [audio[start : start + m.window_samples] for start in (0, 16000, 32000)]
    assert all(len(window) == m.window_samples for window in windows)
    expected = np.stack([reference.predict(window) for window in windows])
    found = np.stack([probabilities(model, window) for window in windows])
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[m.precision])


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_what_is_read_is_written_again(path: Path) -> None:
    """Nothing that a file says is lost or changed, but its own size, which older files carry."""
    model = load_model(path)
    stored = json.loads(model.session.get_modelmeta().custom_metadata_map[KEY])
    assert json.loads(model.metadata.to_json()) == as_of_today(stored)


def as_of_today(stored: dict[str, Any]) -> dict[str, Any]:
    """What an older file says, as it would be written now."""
    stored["verdict"].pop("n_bytes", None)
    stored["training"].setdefault("split", None)
    return stored
