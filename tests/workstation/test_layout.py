"""How networks take features: which layout is found, and that it is the right one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeemo.errors import ExportError
from edgeemo.workstation.graphs.editing import as_model, open_session
from edgeemo.workstation.graphs.layout import Layout, find_layout

FRAMES, BANDS = 20, 8
FOUND = {
    (20, 8): Layout(),
    (20, 8, 1): Layout(n_channels=1),
    (1, 20, 8): Layout(n_channels=1, channels_first=True),
    (8, 20): Layout(bands_first=True),
    (8, 20, 1): Layout(bands_first=True, n_channels=1),
    (1, 8, 20): Layout(bands_first=True, n_channels=1, channels_first=True),
    (20, 8, 3): Layout(n_channels=3),
    (3, 20, 8): Layout(n_channels=3, channels_first=True),
    (8, 20, 3): Layout(bands_first=True, n_channels=3),
    (3, 8, 20): Layout(bands_first=True, n_channels=3, channels_first=True),
}


@pytest.mark.parametrize("shape", FOUND)
def test_a_shape_says_its_layout(shape: tuple[int, ...]) -> None:
    layout = find_layout(shape, FRAMES, BANDS)
    assert layout == FOUND[shape]
    assert layout.shape(FRAMES, BANDS) == shape
    features = np.random.default_rng(0).random((2, FRAMES, BANDS)).astype(np.float32)
    arranged = layout.arranged(features)
    assert arranged.shape == (2, *shape)
    one_channel = arranged.take(0, layout.channel_axis) if layout.n_channels else arranged
    np.testing.assert_array_equal(
        one_channel.transpose(0, 2, 1) if layout.bands_first else one_channel, features
    )


@pytest.mark.parametrize(
    ("wanted", "bands_first"), [("auto", False), ("time_first", False), ("bands_first", True)]
)
def test_where_several_fit_a_key_says_it(wanted: str, bands_first: bool) -> None:
    for shape, frames in (((8, 8), 8), ((None, None), 20), ((None, "bands", 1), 20)):
        layout = find_layout(shape, frames, 8, wanted=wanted)
        assert layout is not None
        assert layout.bands_first == bands_first


@pytest.mark.parametrize("shape", [(20, 9), (20, 8, 2), (20,), (1, 1, 20, 8), ()])
def test_what_fits_none(shape: tuple[int, ...]) -> None:
    assert find_layout(shape, FRAMES, BANDS) is None


@pytest.mark.slow
@pytest.mark.parametrize("shape", FOUND)
def test_a_keras_network_of_any_layout_converts(shape: tuple[int, ...]) -> None:
    import keras

    from edgeemo.workstation.graphs.network import input_layout, network_graph

    keras.utils.set_random_seed(1)
    model = keras.Sequential([
        keras.layers.Input(shape), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    features = np.random.default_rng(0).random((1, FRAMES, BANDS)).astype(np.float32)
    expected = model.predict(input_layout(model, FRAMES, BANDS).arranged(features), verbose=0)
    graph = network_graph(model, n_frames=FRAMES, n_mels=BANDS, n_labels=3)
    found = open_session(as_model(graph)).run(None, {graph.inputs[0].name: features})[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 3, 8, 20), (1, 20, 8, 1), (1, 8, 20)])
def test_an_onnx_file_of_any_layout_is_read(shape: tuple[int, ...], tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from edgeemo.workstation.graphs.imported import imported_graph, original_probabilities

    weights = np.random.default_rng(0).random((int(np.prod(shape)), 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["y"]),
        ],
        "layout",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 3))],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "own.onnx")
    features = np.random.default_rng(1).random((1, FRAMES, BANDS)).astype(np.float32)
    network = imported_graph(tmp_path / "own.onnx", n_frames=FRAMES, n_mels=BANDS, n_labels=3)
    found = open_session(as_model(network)).run(None, {"features": features})[0]
    expected = original_probabilities(tmp_path / "own.onnx", features)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_another_shape_is_refused_with_what_would_fit() -> None:
    import keras

    from edgeemo.workstation.graphs.network import network_graph

    model = keras.Sequential([
        keras.layers.Input((20, 9)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    with pytest.raises(ExportError, match=r"takes \(batch, 20, 9\); the recipe says \(batch, 20, 8\)"):
        network_graph(model, n_frames=FRAMES, n_mels=BANDS, n_labels=3)
