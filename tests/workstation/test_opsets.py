"""ONNX files in older and newer versions of the operators: the same answers, or a refusal that names the operator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeemo.errors import ExportError
from edgeemo.workstation.graphs.editing import OPSET
from edgeemo.workstation.graphs.imported import imported_graph, original_probabilities
from edgeemo.workstation.graphs.opsets import converted
from edgeemo.workstation.graphs.simplify import simplify
from edgeemo.workstation.graphs.stream import stream
from support.graphs import op_types, run, run_steps

N_FRAMES, N_MELS = 16, 8
FEATURES = np.random.default_rng(2).normal(0, 1, (N_FRAMES, N_MELS)).astype(np.float32)
RNG = np.random.default_rng(1)
WEIGHTS = {
    "conv": RNG.normal(0, 0.5, (6, N_MELS, 3)).astype(np.float32),
    "channels": RNG.uniform(0.5, 2, 6).astype(np.float32),
    "w": RNG.normal(0, 1, (1, 24, 3)).astype(np.float32),
    "r": RNG.normal(0, 0.5, (1, 24, 6)).astype(np.float32),
    "dense": RNG.normal(0, 1, (9, 3)).astype(np.float32),
}


class Writer:
    """Writes nodes as tools write them in one version: what is an input now was an attribute before.

    Args:
        version: of the operators.
    """

    def __init__(self, version: int) -> None:
        self.version = version
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = dict(WEIGHTS)

    def __call__(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def with_ints(self, op_type: str, x: str, since: int, what: str, *values: int, **more: Any) -> Any:
        """A node whose numbers are an input since this version."""
        before: dict[str, Any] = {what: values}
        if self.version < since:
            return self(op_type, x, **before, **more)
        name = f"c{len(self.nodes)}"
        self.constants[name] = np.array(values, np.int64)
        return self(op_type, x, name, **more)

    def file(
        self, path: Path, answer: str, *, shape: Sequence[int | str | None] = (1, N_FRAMES, N_MELS)
    ) -> Path:
        self.nodes.append(helper.make_node("Identity", [answer], ["out"]))
        graph = helper.make_graph(
            self.nodes,
            "main_graph",
            [helper.make_tensor_value_info("in", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, [shape[0], 3])],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", self.version)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
        return path


def network(w: Writer) -> str:
    """With the operators that versions 11 to 22 write in different ways."""
    x = w("Transpose", "in", perm=[0, 2, 1])
    x = w("Conv", w.with_ints("Pad", x, 11, "pads", 0, 0, 2, 0, 0, 0), "conv", kernel_shape=[3])
    x = w("BatchNormalization", x, "channels", "channels", "channels", "channels")
    own = {"num_outputs": 2} if w.version >= 18 else {}
    part, other = (
        w("Split", x, outputs=2, axis=1, **own)
        if own
        else w.with_ints("Split", x, 13, "split", 3, 3, outputs=2, axis=1)
    )
    x = w("Mul", w("HardSigmoid", part), w("Elu", other))
    x = w.with_ints("Unsqueeze", x, 13, "axes", 3)
    x = w.with_ints("Squeeze", w("MaxPool", x, kernel_shape=[2, 1], strides=[2, 1]), 13, "axes", 3)
    y, _ = w("LSTM", w("Transpose", x, perm=[2, 0, 1]), "w", "r", outputs=2, hidden_size=6)
    y = w("Transpose", w.with_ints("Squeeze", y, 13, "axes", 1), perm=[1, 2, 0])
    weights = w("Softmax", w.with_ints("ReduceSum", y, 13, "axes", 1, keepdims=1), axis=2)
    pooled = w.with_ints("ReduceSum", w("Mul", y, weights), 13, "axes", 2, keepdims=0)
    mean = w.with_ints("ReduceMean", x, 18, "axes", -1, keepdims=0)
    joined = w("Concat", pooled, mean, axis=1)
    return str(w("Softmax", w("MatMul", joined, "dense"), axis=1))


@pytest.mark.parametrize("version", range(11, 23))
def test_opsets(version: int, tmp_path: Path) -> None:
    w = Writer(version)
    path = w.file(tmp_path / "other.onnx", network(w))
    expected = original_probabilities(path, FEATURES[np.newaxis])
    graph = imported_graph(path, n_frames=N_FRAMES, n_mels=N_MELS, n_labels=3)
    assert graph.opset_imports[""] == OPSET
    simplify(graph)
    np.testing.assert_allclose(run(graph, FEATURES), expected, rtol=0, atol=1e-6)
    answers, _ = run_steps(*stream(graph, step_frames=4), FEATURES)
    np.testing.assert_allclose(answers[-1], expected, rtol=0, atol=1e-5)
    assert np.ptp(answers, axis=0).max() > 1e-3, "the answer depends on the audio"


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_an_operator_that_is_newer(approximate: str, tmp_path: Path) -> None:
    """It is replaced by what it is defined as."""
    w = Writer(20)
    x = w("Gelu", "in", approximate=approximate)
    x = w("MatMul", w.with_ints("ReduceMean", x, 18, "axes", 1, keepdims=0), "square")
    w.constants["square"] = RNG.normal(0, 3, (N_MELS, 3)).astype(np.float32)
    path = w.file(tmp_path / "other.onnx", w("Softmax", x))
    expected = original_probabilities(path, FEATURES[np.newaxis])
    graph = imported_graph(path, n_frames=N_FRAMES, n_mels=N_MELS, n_labels=3)
    assert "Gelu" not in op_types(graph)
    np.testing.assert_allclose(run(graph, FEATURES), expected, rtol=0, atol=1e-6)
    answers, _ = run_steps(*stream(graph, step_frames=4), FEATURES)
    np.testing.assert_allclose(answers[-1], expected, rtol=0, atol=1e-5)


def small(version: int, op_type: str, *inputs: str, **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node(op_type, ["x", *inputs], ["y"], name="culprit", **attributes)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 4, 3]) for name in "xy")
    weights = {"w": np.ones((1, 6, 3), np.float32), "r": np.ones((1, 6, 2), np.float32), "n": np.array(3)}
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph([node], "small", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            small(3, "GRU", "w", "r", hidden_size=2),
            r"opset 3, which cannot be raised \(No Adapter .* GRU\); ",
        ),
        (small(20, "DFT"), r"opset 20 and has DFT culprit, which opset 18 has not; "),
        (
            small(19, "AveragePool", kernel_shape=[2, 1], dilations=[2, 1]),
            r"opset 19, and its AveragePool culprit has dilations, which opset 18 has not; ",
        ),
    ],
)
def test_refusals_name_version_operator_and_remedy(model: onnx.ModelProto, words: str) -> None:
    with pytest.raises(
        ExportError, match=rf"^a\.onnx is written with {words}write it with opset 18, "
    ) as caught:
        converted(model, "a.onnx")
    assert "\n" not in str(caught.value)


def test_newer_attributes_with_their_defaults() -> None:
    model = converted(small(19, "AveragePool", kernel_shape=[2, 1], dilations=[1, 1]), "a.onnx")
    assert [a.name for a in model.graph.node[0].attribute] == ["kernel_shape"]
    cast = converted(small(19, "Cast", to=TensorProto.INT32, saturate=1), "a.onnx")
    assert [a.name for a in cast.graph.node[0].attribute] == ["to"]


# --- scikit-learn ----------------------------------------------------------------------------------------


def perceptron(path: Path, *, scaler: bool = False, zipmap: bool = False) -> Path:
    """`MLPClassifier` as skl2onnx writes it: a flat input, and the label as the first output."""
    rng, n = np.random.default_rng(0), N_FRAMES * N_MELS
    ml, x = "ai.onnx.ml", "X"
    nodes = []
    if scaler:
        nodes.append(
            helper.make_node("Scaler", ["X"], ["scaled"], domain=ml, offset=[0.0] * n, scale=[1.0] * n)
        )
        x = "scaled"
    nodes += [
        helper.make_node("MatMul", [x, "w1"], ["m"]),
        helper.make_node("Relu", ["m"], ["a"]),
        helper.make_node("MatMul", ["a", "w2"], ["b"]),
        helper.make_node("Softmax", ["b"], ["probabilities"], axis=-1),
        helper.make_node("ArgMax", ["probabilities"], ["index"], axis=1),
        helper.make_node("ArrayFeatureExtractor", ["classes", "index"], ["label"], domain=ml),
    ]
    answer = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3])
    if zipmap:
        nodes.append(
            helper.make_node("ZipMap", ["probabilities"], ["named"], domain=ml, classlabels_int64s=[0, 1, 2])
        )
        of_label = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        answer = helper.make_value_info(
            "named", helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, of_label))
        )
    constants = {
        "w1": rng.normal(0, 0.3, (n, 5)).astype(np.float32),
        "w2": rng.normal(0, 0.3, (5, 3)).astype(np.float32),
        "classes": np.array([0, 1, 2]),
    }
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, n])],
        [helper.make_tensor_value_info("label", TensorProto.INT64, [None]), answer],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(ml, 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def test_scikit_learn(tmp_path: Path) -> None:
    """What gives the label is left out; frames and bands stand in one axis."""
    path = perceptron(tmp_path / "mlp.onnx")
    graph = imported_graph(path, n_frames=N_FRAMES, n_mels=N_MELS, n_labels=3)
    expected = original_probabilities(path, FEATURES[np.newaxis])
    assert expected.shape == (1, 3)
    np.testing.assert_allclose(run(graph, FEATURES), expected, rtol=0, atol=1e-6)
    answers, _ = run_steps(*stream(graph, step_frames=4), FEATURES)
    np.testing.assert_allclose(answers[-1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"zipmap": True}, r'1 inputs and 2 outputs; .*to_onnx\(..., options={"zipmap": False}\)'),
        ({"scaler": True}, r'has ai.onnx.ml.Scaler; expected standard operators: .*black_op={"Scaler", '),
    ],
)
def test_scikit_learn_by_other_operators(own: dict[str, bool], words: str, tmp_path: Path) -> None:
    path = perceptron(tmp_path / "mlp.onnx", **own)
    with pytest.raises(ExportError, match=words) as caught:
        imported_graph(path, n_frames=N_FRAMES, n_mels=N_MELS, n_labels=3)
    assert "\n" not in str(caught.value)
