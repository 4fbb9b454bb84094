"""What is checked of a model file when it is loaded, for window and stream graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeemo.errors import ModelError
from edgeemo.metadata import State
from edgeemo.model import EmotionModel
from support.models import patched


def in_json(state: State) -> str:
    """The beginning of a state in the metadata."""
    return f'{{"name": "{state.name}", "shape": {list(state.shape)}'


def test_what_they_say_of_themselves(tiny_model: EmotionModel, stream_model: EmotionModel) -> None:
    for model, mode in ((tiny_model, "window"), (stream_model, "stream")):
        assert repr(model) == (
            f"EmotionModel(tiny.{mode}: low, middle, high; 16000 Hz, {mode} of 0.64 s, a step every 0.16 s; "
            f"{model.metadata.n_parameters} parameters, 0.0 MB)"
        )


@pytest.mark.parametrize("length", ["window_samples", "step_samples"])
def test_a_stream_graph_predicts_no_window(stream_model: EmotionModel, length: str) -> None:
    audio = np.zeros(getattr(stream_model.metadata, length), np.float32)
    with pytest.raises(ModelError, match=r"tiny\.stream\.onnx: a stream graph.*use stepper"):
        stream_model.predict(audio)


def test_a_stream_graph_is_no_window_graph(stream_model_path: Path, tmp_path: Path) -> None:
    path = patched(stream_model_path, tmp_path, ('"mode": "stream"', '"mode": "window"'))
    with pytest.raises(ModelError, match="lists states of a window graph"):
        EmotionModel(path)
    path = patched(path, tmp_path, ('"states": [', '"stateX": ['))  # a field nobody knows
    with pytest.raises(ModelError, match=r"graph has inputs .*2560.*metadata says audio: .*10240"):
        EmotionModel(path)


def test_a_window_graph_is_no_stream_graph(tiny_model_path: Path, tmp_path: Path) -> None:
    path = patched(tiny_model_path, tmp_path, ('"mode": "window"', '"mode": "stream"'))
    with pytest.raises(ModelError, match=r"graph has inputs audio: .*10240.*metadata says audio: .*2560"):
        EmotionModel(path)


def test_other_steps_than_the_graphs(stream_model_path: Path, tmp_path: Path) -> None:
    path = patched(stream_model_path, tmp_path, ('"step_samples": 2560', '"step_samples": 3200'))
    with pytest.raises(ModelError, match=r"graph has inputs .*2560.*metadata says .*3200"):
        EmotionModel(path)


def test_other_states_than_the_graphs(
    stream_model: EmotionModel, stream_model_path: Path, tmp_path: Path
) -> None:
    state = stream_model.metadata.states[0]
    found = in_json(state)
    larger = list(state.shape)
    larger[-1] += 1 if larger[-1] % 10 < 9 else -1
    for wrong in (
        found.replace(state.name, "x" * len(state.name)),
        found.replace(str(list(state.shape)), str(larger)),
    ):
        path = patched(stream_model_path, tmp_path, (found, wrong))
        with pytest.raises(ModelError, match=r"graph has inputs .*metadata says .*export the model again"):
            EmotionModel(path)


def test_states_that_the_metadata_forgets(stream_model_path: Path, tmp_path: Path) -> None:
    path = patched(stream_model_path, tmp_path, ('"states": [', '"stateX": ['))
    with pytest.raises(ModelError, match=r"metadata says audio: tensor\(float\) \[1, 2560\];"):
        EmotionModel(path)


def test_other_labels_than_the_graphs(either_model_path: Path, tmp_path: Path) -> None:
    path = patched(either_model_path, tmp_path, ('"low", "middle"', '"a", "b", "cde"'))
    with pytest.raises(ModelError, match=r"graph has outputs .*\[1, 3\].*metadata says .*\[1, 4\]"):
        EmotionModel(path)
