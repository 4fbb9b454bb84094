"""Network conversion: every architecture through the whole assembled file, and its operators."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest

from edgeemo.errors import ExportError
from edgeemo.model import EmotionModel
from edgeemo.places import shipped_models
from edgeemo.workstation.graphs.editing import IR_VERSION, OPSET
from edgeemo.workstation.graphs.frontend import PREFIX
from edgeemo.workstation.graphs.network import network_graph, refuse_control_flow
from support.recipes import SHIPPED
from support.references import as_usually_said, reference_features
from support.signals import noise, speech_like

N_LSTM = dict.fromkeys(SHIPPED, 0) | {"cnn_lstm": 2, "pure_lstm": 4, "conv1d_lstm": 1}
N_CONV = dict.fromkeys(SHIPPED, 5) | {"pure_cnn": 4, "cnn_lstm": 2, "pure_lstm": 0, "conv1d_lstm": 1}
WINDOWS = np.stack([
    *(speech_like(51200, seed=seed) for seed in range(4)),
    *(speech_like(51200, seed=seed) * np.float32(0.02) for seed in (4, 5)),
    noise(51200),
    noise(51200, peak=1.0),
    np.concatenate([np.zeros(40000, np.float32), speech_like(11200, seed=6)]),
    np.zeros(51200, np.float32),
])  # fmt: skip

each_architecture = pytest.mark.parametrize("name", SHIPPED)


@each_architecture
@pytest.mark.slow
def test_file_equals_librosa_then_keras(name: str, exported: Callable[[str], Any]) -> None:
    """Nothing of edgeemo's graphs in the reference: librosa's features, Keras' network."""
    recipe, keras_model, path, _ = exported(name)
    features = np.stack([reference_features(window, recipe.features) for window in WINDOWS])
    expected = as_usually_said(keras_model.predict(features.astype(np.float32), verbose=0), recipe)
    model = EmotionModel(path)
    found = np.stack([model.predict(window) for window in WINDOWS])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    # The comparison has something to compare: the probabilities depend on the audio.
    assert expected.std(axis=0).max() > 0.01
    assert expected.max() < 0.999


@each_architecture
def test_operators(name: str, exported: Callable[[str], Any]) -> None:
    proto = onnx.load(exported(name).path)
    onnx.checker.check_model(proto, full_check=True)
    count = Counter(node.op_type for node in proto.graph.node)
    assert count["LSTM"] == N_LSTM[name]
    assert not {"Loop", "Scan", "If"} & set(count)
    assert {node.domain for node in proto.graph.node} == {""}
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", OPSET)]
    assert proto.ir_version == IR_VERSION
    assert not proto.functions
    assert not proto.training_info
    network = Counter(node.op_type for node in proto.graph.node if not node.name.startswith(PREFIX))
    assert not {"Dropout", "Shape", "Range", "Identity"} & set(network), network
    assert network["Conv"] == N_CONV[name]


def test_the_oldest_onnxruntime_reads_what_is_written() -> None:
    """By trying: 1.20.1 reads version 10 of the format and version 21 of the operators, and none above."""
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    assert "onnxruntime>=1.20" in pyproject.read_text(encoding="utf-8")
    assert IR_VERSION <= 10
    assert OPSET <= 21
    for path in shipped_models():
        proto = onnx.load(path)
        assert proto.ir_version <= IR_VERSION, path.name
        opsets = {opset.domain: opset.version for opset in proto.opset_import}
        assert opsets.pop("") <= OPSET, path.name
        assert opsets in ({}, {"com.microsoft": 1}), path.name


@each_architecture
def test_inputs_outputs_and_batch(name: str, exported: Callable[[str], Any]) -> None:
    made = exported(name)
    graph = onnx.load(made.path).graph
    shapes = [
        (v.name, [d.dim_value for d in v.type.tensor_type.shape.dim]) for v in [*graph.input, *graph.output]
    ]
    assert shapes == [("audio", [1, 51200]), ("probabilities", [1, len(made.metadata.labels)])]
    assert all(v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for v in [*graph.input, *graph.output])


@each_architecture
def test_weights_are_stored_once(name: str, exported: Callable[[str], Any]) -> None:
    """The file is its parameters in single precision, a small front end, and little else."""
    _, _, path, metadata = exported(name)
    graph = onnx.load(path).graph
    frontend = sum(t.ByteSize() for t in graph.initializer if t.name.startswith(PREFIX))
    frontend += sum(n.ByteSize() for n in graph.node if n.name.startswith(PREFIX))
    assert 1_000 < frontend < 25_000
    rest = path.stat().st_size - 4 * metadata.n_parameters - frontend
    assert rest < 25_000 + 8 * 4 * 128 * 4, rest  # ONNX' LSTM has a second bias


@each_architecture
def test_conversion_leaves_the_keras_model_alone(name: str, exported: Callable[[str], Any]) -> None:
    recipe, keras_model, _, _ = exported(name)
    assert keras_model.input_shape == (None, *recipe.input_shape)
    assert len(keras_model.inputs) == 1


# --- what cannot be converted --------------------------------------------------------------------------

SIZE = {"n_frames": 16, "n_mels": 8, "n_labels": 3}


def model_of(*layers: Any, shape: tuple[int | None, ...] = (16, 8)) -> keras.Model:
    return keras.Sequential([keras.layers.Input(shape), *layers], name="mine")


def flat_model(shape: tuple[int, ...]) -> keras.Model:
    return model_of(keras.layers.Flatten(), keras.layers.Dense(3), shape=shape)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: flat_model((17, 8)), ["(batch, 17, 8)", "(batch, 16, 8)"]),
        (lambda: flat_model((8, 17)), ["(batch, 8, 17)"]),
        (lambda: flat_model((16, 8, 2)), ["(batch, 16, 8, 2)"]),
        (lambda: model_of(keras.layers.Dense(3), shape=(127,)), ["(batch, 127)"]),
        (lambda: model_of(keras.layers.Flatten(), keras.layers.Dense(4)), ["(batch, 4)", "(batch, 3)"]),
        (lambda: model_of(keras.layers.Dense(3)), ["(batch, 16, 3)", "(batch, 3)"]),
        (lambda: two_inputs(), ["(batch, 16, 8) and (batch, 2)"]),
        (lambda: two_outputs(), ["(batch, 3) and (batch, 2)"]),
    ],
    ids=["frames", "swapped", "channels", "flat", "labels", "sequence", "two inputs", "two outputs"],
)  # fmt: skip
def test_wrong_shape_is_named(model: Callable[[], keras.Model], words: list[str]) -> None:
    with pytest.raises(ExportError) as caught:
        network_graph(model(), **SIZE)
    message = str(caught.value)
    assert message.startswith("mine ")
    assert all(word in message for word in words), message
    assert "\n" not in message


def two_inputs() -> keras.Model:
    features, other = keras.layers.Input((16, 8)), keras.layers.Input((2,))
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(features), other])
    return keras.Model([features, other], keras.layers.Dense(3)(joined), name="mine")


def two_outputs() -> keras.Model:
    features = keras.layers.Input((16, 8))
    flat = keras.layers.Flatten()(features)
    return keras.Model(features, [keras.layers.Dense(3)(flat), keras.layers.Dense(2)(flat)], name="mine")


@pytest.mark.parametrize("op_type", ["Loop", "Scan", "If", "Identity"])
def test_control_flow_is_refused(op_type: str) -> None:
    import onnx_ir as ir

    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=(1,))
    node = ir.node(op_type, [x], name="while")
    graph = ir.Graph([x], node.outputs, nodes=[node], name="g")
    if op_type == "Identity":
        refuse_control_flow(graph)
    else:
        with pytest.raises(ExportError, match=f"{op_type} while where a native LSTM or GRU node"):
            refuse_control_flow(graph)


def test_operators_that_tf2onnx_only_logs_are_refused() -> None:
    class LogGamma(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            import tensorflow as tf

            return tf.math.lgamma(x)

    model = model_of(LogGamma(name="of_gamma"), keras.layers.Flatten(), keras.layers.Dense(3))
    with pytest.raises(
        ExportError, match=r"knows no ONNX operator for Lgamma .*of_gamma.*; use another"
    ) as caught:
        network_graph(model, **SIZE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrapper", [lambda layer: layer, keras.layers.Bidirectional])
def test_masks_before_recurrent_layers_are_refused(wrapper: Callable[..., Any]) -> None:
    model = model_of(
        keras.layers.Masking(name="padding"), wrapper(keras.layers.LSTM(4)), keras.layers.Dense(3)
    )
    with pytest.raises(
        ExportError,
        match=r"masks frames before a recurrent layer, by padding \(Masking\); build it again without",
    ) as caught:
        network_graph(model, **SIZE)
    assert "\n" not in str(caught.value)


def test_a_mask_without_recurrent_layers_changes_nothing() -> None:
    model = model_of(keras.layers.Masking(), keras.layers.Flatten(), keras.layers.Dense(3))
    assert "MatMul" in {node.op_type for node in network_graph(model, **SIZE)}


@pytest.mark.slow
def test_nodes_have_the_names_of_their_layers() -> None:
    """Also those that tf2onnx makes names for: its LSTM is called after nothing."""
    model = model_of(
        keras.layers.LSTM(4, return_sequences=True, name="lower"),
        keras.layers.LSTM(4, return_sequences=True, name="upper"),
        keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True), name="both"),
        keras.layers.GRU(3, name="top"),
        keras.layers.Dense(3),
    )
    nodes = list(network_graph(model, **SIZE))
    recurrent = [str(node.name) for node in nodes if node.op_type in ("LSTM", "GRU")]
    assert [re.findall("lower|upper|both|top", name) for name in recurrent] == [
        ["lower"],
        ["upper"],
        ["both"],
        ["top"],
    ]
    assert all("/" in str(node.name) for node in nodes)
    assert len({node.name for node in nodes}) == len(nodes)


def test_tracing_leaves_the_layers_as_they_were() -> None:
    model = model_of(
        keras.layers.TimeDistributed(keras.layers.Dense(4)), keras.layers.GRU(4), keras.layers.Dense(3)
    )
    network_graph(model, **SIZE)
    for layer in model.layers:
        assert not {"call", "inner_loop"} & set(vars(layer))


def test_open_number_of_frames_is_fixed() -> None:
    """A model for any number of frames is exported for the recipe's."""
    model = model_of(keras.layers.LSTM(4), keras.layers.Dense(3, activation="softmax"), shape=(None, 8))
    graph = network_graph(model, **SIZE)
    assert tuple(graph.inputs[0].shape) == (1, 16, 8)
    assert [node.op_type for node in graph].count("LSTM") == 1
