"""int8 per operator, fp16 storage and onnxruntime's format: what is computed, by which kernels, in how many bytes."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgeemo.errors import ExportError
from edgeemo.features import Features
from edgeemo.session import session_options
from edgeemo.workstation.architectures import build
from edgeemo.workstation.graphs import choose
from edgeemo.workstation.graphs.calibrate import observe
from edgeemo.workstation.graphs.choose import choose_float
from edgeemo.workstation.graphs.editing import IR_VERSION, OPSET, as_model, open_session, to_bytes
from edgeemo.workstation.graphs.frontend import FrontEnd
from edgeemo.workstation.graphs.network import network_graph
from edgeemo.workstation.graphs.ort_format import to_ort_format
from edgeemo.workstation.graphs.quantize import COMPUTED_MAX, Quantizer, n_saturating, quantize
from edgeemo.workstation.graphs.simplify import simplify
from edgeemo.workstation.graphs.stream import stream
from edgeemo.workstation.graphs.widen import half
from support.networks import randomise
from support.recipes import SHIPPED
from support.signals import noise, speech_like

N_FRAMES, N_MELS, N_LABELS = 64, 32, 5
STEP_FRAMES = 16
FEATURES = Features(n_fft=512, hop_samples=160, n_mels=N_MELS, level="running_peak")
SMALL: dict[str, dict[str, Any]] = {
    "pure_cnn": {"filters": (8, 16, 16), "pools": ((2, 2), (2, 2), (2, 2)), "dropouts": (0.0, 0.0, 0.0)},
    "cnn_lstm": {"filters": (8, 16), "pools": ((2, 2), (2, 2)), "units": (32, 24)},
    "pure_lstm": {"stack": 4, "units": (32, 24)},
}
N_CONV = {"pure_cnn": 3, "cnn_lstm": 2, "pure_lstm": 0}
N_LSTM = {"pure_cnn": 0, "cnn_lstm": 2, "pure_lstm": 2}
# A quantised network differs from float by this much at most: mean difference in probability, share of other labels.
MAX_MEAN_DIFFERENCE, MAX_OTHER_LABELS = 0.018, 0.08  # of weights in seven bits

each_network = pytest.mark.parametrize("name", SMALL)

Batch = dict[str, np.ndarray]


# --- networks, features, and running them ----------------------------------------------------------------


def features_of(seeds: Sequence[int]) -> np.ndarray:
    """Log-mel features of speech-like audio from loud to quiet, shape `(n, N_FRAMES, N_MELS)`."""
    audio = [
        speech_like(N_FRAMES * 160, seed=seed) * np.float32(10 ** -(seed % 3))
        + noise(N_FRAMES * 160, peak=1e-4)
        for seed in seeds
    ]
    return FrontEnd(FEATURES)(np.stack(audio))


CALIBRATION = features_of(range(100, 132))
HELD_OUT = features_of(range(64))
BATCHES = [{"features": window[np.newaxis]} for window in CALIBRATION]


@functools.cache
def network(name: str) -> ir.Model:
    """A small network of a shipped architecture, random, with normalisation fitted on the calibration data."""
    keras.utils.set_random_seed(1)
    model = build(name, SMALL[name], n_frames=N_FRAMES, n_mels=N_MELS, n_labels=N_LABELS)
    randomise(model, seed=1)
    model.get_layer("normalisation").adapt(CALIBRATION)
    # Every label has its windows: the classifier's mean is taken out, and its differences are made larger.
    kernel, bias = model.get_layer("probabilities").weights
    kernel.assign(3 * kernel)
    bias.assign(bias - np.log(model.predict(CALIBRATION, verbose=0)).mean(axis=0))
    graph = network_graph(model, n_frames=N_FRAMES, n_mels=N_MELS, n_labels=N_LABELS)
    simplify(graph)
    graph.outputs[0].name = "probabilities"
    return as_model(graph)


@functools.cache
def int8_network(name: str) -> ir.Model:
    return quantize(network(name), BATCHES)


def session(model: ir.Model, optimized: Path | None = None) -> ort.InferenceSession:
    """Exact on any processor: those without VNNI would let sums saturate."""
    options = session_options()
    options.add_session_config_entry("session.x64quantprecision", "1")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return open_session(model, options)


def run(model: ir.Model, windows: np.ndarray = HELD_OUT) -> np.ndarray:
    return run_session(session(model), windows)


def run_session(loaded: ort.InferenceSession, windows: np.ndarray = HELD_OUT) -> np.ndarray:
    return np.concatenate([loaded.run(None, {"features": window[np.newaxis]})[0] for window in windows])


@pytest.fixture
def kernels(tmp_path: Path) -> Callable[[ir.Model], list[onnx.NodeProto]]:
    """The nodes that onnxruntime really runs."""

    def optimized(model: ir.Model) -> list[onnx.NodeProto]:
        session(model, tmp_path / "optimized.onnx")
        return list(onnx.load(tmp_path / "optimized.onnx").graph.node)

    return optimized


def types(nodes: Sequence[onnx.NodeProto]) -> Counter[str]:
    return Counter(node.op_type for node in nodes)


FLOAT_KERNELS = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "LSTM"}


# --- accuracy ------------------------------------------------------------------------------------------


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    mean = np.abs(found - expected).mean()
    other = (found.argmax(axis=1) != expected.argmax(axis=1)).mean()
    assert mean <= MAX_MEAN_DIFFERENCE, f"mean difference {mean:.4f}"
    assert other <= MAX_OTHER_LABELS, f"other labels {other:.3f}"


@each_network
@pytest.mark.slow
def test_int8_is_close_to_float(name: str) -> None:
    expected = run(network(name))
    assert expected.std(axis=0).max() > 0.05  # the answers differ from window to window
    assert len(set(expected.argmax(axis=1))) >= 3
    found = run(int8_network(name))
    assert_close(found, expected)
    assert not np.array_equal(found, expected)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


@each_network
def test_a_wrong_scale_is_found(name: str) -> None:
    """The bounds of `assert_close` can fail: each layer's weights in turn, half as large as they must be."""
    expected = run(network(name))
    scales = [n for n in int8_network(name).graph.initializers if n.endswith("/input_1/scale")]
    assert len(scales) == N_CONV[name] + N_LSTM[name] + 3
    for scale in scales:
        broken = int8_network(name).clone()
        value = broken.graph.initializers[scale]
        value.const_value = ir.tensor(value.const_value.numpy() / 2, name=scale)
        with pytest.raises(AssertionError, match=r"mean difference|other labels"):
            assert_close(run(broken), expected)


def test_biases_take_back_the_mean_error() -> None:
    """A dense layer on inputs far from zero: its rounding errors would add up to an offset."""
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(0, 1, (64, 16)).astype(np.float32), np.zeros(16, np.float32)
    model = parsed(
        "(float[1,64] features) => (float[1,16] probabilities) { probabilities = Gemm(features, w, b) }",
        w=weights,
        b=bias,
    )
    windows = (rng.normal(0, 1, (200, 1, 64)) + rng.uniform(20, 40, 64)).astype(np.float32)
    found = quantize(model, [{"features": window} for window in windows])
    error = np.concatenate([session(found).run(None, {"features": x})[0] - x @ weights for x in windows])
    # Rounded activations leave an error of their own; the offset, several times that without a correction, is gone.
    assert np.abs(error.mean(axis=0)).max() < 0.5 * error.std(axis=0).min()


# --- kernels -------------------------------------------------------------------------------------------


@each_network
def test_every_operator_runs_in_int8(name: str, kernels: Callable[[ir.Model], list[onnx.NodeProto]]) -> None:
    count = types(kernels(int8_network(name)))
    assert not FLOAT_KERNELS & set(count), count
    assert count["QLinearConv"] == count["NhwcMaxPool"] == N_CONV[name]
    assert count["DynamicQuantizeLSTM"] == N_LSTM[name]
    assert count["QGemm"] == 3
    assert not {"Clip", "Relu", "MaxPool", "Cast"} & set(count), count
    # Into uint8 once before the convolutions, and once after recurrent layers; back once between these.
    assert count["QuantizeLinear"] == (N_CONV[name] > 0) + (N_LSTM[name] > 0)
    assert count["DequantizeLinear"] == (N_CONV[name] > 0 and N_LSTM[name] > 0)
    assert count["Transpose"] <= 1 + (N_LSTM[name] > 0)


def test_the_same_from_stock_nodes(kernels: Callable[[ir.Model], list[onnx.NodeProto]]) -> None:
    """Not simplified: MatMul and Add in the place of Gemm."""
    keras.utils.set_random_seed(1)
    model = build("pure_lstm", SMALL["pure_lstm"], n_frames=N_FRAMES, n_mels=N_MELS, n_labels=N_LABELS)
    randomise(model)
    graph = network_graph(model, n_frames=N_FRAMES, n_mels=N_MELS, n_labels=N_LABELS)
    plain = as_model(graph)
    assert {"MatMul", "Add"} <= {node.op_type for node in graph}
    found = quantize(plain, BATCHES)
    count = types(kernels(found))
    assert count["DynamicQuantizeLSTM"] == 2
    # onnxruntime joins MatMul and Add; of the last, whose result is float, it dequantises the weights.
    assert (count["QGemm"], count["Gemm"]) == (2, 1)
    assert_close(run(found), run(plain))


@each_network
def test_keep_float(name: str, kernels: Callable[[ir.Model], list[onnx.NodeProto]]) -> None:
    quantizer = Quantizer(network(name), BATCHES)
    assert Counter(quantizer.candidates.values()) == +Counter(
        {"Conv": N_CONV[name], "LSTM": N_LSTM[name], "Gemm": 3}
    )
    for kept, op_type in quantizer.candidates.items():
        count = types(kernels(quantizer([kept])))
        assert sum(count[kernel] for kernel in FLOAT_KERNELS) == 1, (kept, count)
        assert count["QLinearConv"] == N_CONV[name] - (op_type == "Conv")
        assert count["DynamicQuantizeLSTM"] == N_LSTM[name] - (op_type == "LSTM")
        assert count["QGemm"] == 3 - (op_type == "Gemm")
    everything = quantizer(list(quantizer.candidates))
    count = types(kernels(everything))
    assert not {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLSTM", "Cast"} & set(count)
    assert count == types(kernels(network(name)))
    assert_close(run(everything), run(network(name)))


def test_float_convolution_is_pooled_in_float(kernels: Callable[[ir.Model], list[onnx.NodeProto]]) -> None:
    """onnxruntime would quantise before the pooling, which has only a slow kernel for uint8 there."""
    first = next(node.name for node in network("pure_cnn").graph if node.op_type == "Conv")
    order = [node.op_type for node in kernels(quantize(network("pure_cnn"), BATCHES, keep_float=[first]))]
    pools = [i for i, op_type in enumerate(order) if op_type == "MaxPool"]
    assert len(pools) == 1
    assert pools[0] < order.index("QuantizeLinear")
    assert order.count("NhwcMaxPool") == 2
    assert "Clip" not in order


def test_keep_float_names_what_there_is() -> None:
    with pytest.raises(ExportError) as caught:
        quantize(network("pure_lstm"), BATCHES, keep_float=["conv9"])
    assert "cannot keep conv9 in float: no such node" in str(caught.value)
    assert "LSTM" in str(caught.value)


# --- graphs of other shapes ----------------------------------------------------------------------------


def parsed(graph: str, **constants: np.ndarray) -> ir.Model:
    """A model from ONNX' text, with constants by their names in it."""
    text = f'<ir_version: {IR_VERSION}, opset_import: ["" : {OPSET}]> g {graph}'
    proto = onnx.parser.parse_model(text)
    for name, array in constants.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return ir.from_proto(proto)


def random_batches(model: ir.Model, n: int = 16) -> list[Batch]:
    rng = np.random.default_rng(0)
    return [
        {
            str(v.name): rng.normal(0, 1, [int(d) for d in v.shape]).astype(np.float32)
            for v in model.graph.inputs
        }
        for _ in range(n)
    ]


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


GRAPHS = {
    "conv that is an output, and pooled": (
        """(float[1,4,8] features) => (float[1,8,6] probabilities, float[1,8,3] pooled) {
            probabilities = Conv(features, w, b)
            pooled = MaxPool <kernel_shape = [2], strides = [2]> (probabilities) }""",
        {"w": weights(8, 4, 3), "b": weights(8)},
        {"QLinearConv": 1},
    ),
    "two convs of one value, concatenated": (
        """(float[1,4,8,8] features) => (float[1,8,8,8] probabilities) {
            a = Conv <pads = [1, 1, 1, 1]> (features, w, b)
            c = Conv <pads = [1, 1, 1, 1]> (features, v)
            joined = Concat <axis = 1> (a, c)
            probabilities = Conv <pads = [1, 1, 1, 1]> (joined, u) }""",
        {"w": weights(8, 4, 3, 3), "b": weights(8), "v": weights(4, 4, 3, 3), "u": weights(8, 12, 3, 3)},
        {"QLinearConv": 3, "QLinearConcat": 1, "QuantizeLinear": 1},
    ),
    "conv in groups, relu with another user": (
        """(float[1,4,8,8] features) => (float[1,8,8,8] probabilities, float[1,8,8,8] other) {
            a = Conv <group = 2, pads = [1, 1, 1, 1]> (features, w, b)
            probabilities = Relu(a)
            other = Abs(a) }""",
        {"w": weights(8, 2, 3, 3), "b": weights(8)},
        {"QLinearConv": 1},
    ),
    "dense over time, transposed dense, no bias": (
        """(float[1,6,16] features) => (float[1,4] probabilities) {
            a = MatMul(features, w)
            s = Slice(a, five, six, one)
            q = Squeeze(s, one)
            r = Relu(q)
            probabilities = Gemm <transB = 1> (r, v) }""",
        {
            "w": weights(16, 8),
            "v": weights(4, 8),
            "five": np.array([5]),
            "six": np.array([6]),
            "one": np.array([1]),
        },
        {"MatMulIntegerToFloat": 1, "QGemm": 1},
    ),
    "bidirectional lstm with states": (
        """(float[5,1,8] features, float[2,1,6] h, float[2,1,6] c)
            => (float[5,2,1,6] probabilities, float[2,1,6] h_next, float[2,1,6] c_next) {
            probabilities, h_next, c_next =
                LSTM <hidden_size = 6, direction = "bidirectional"> (features, w, r, b, , h, c) }""",
        {"w": weights(2, 24, 8), "r": weights(2, 24, 6, seed=1), "b": weights(2, 48)},
        {"DynamicQuantizeLSTM": 1},
    ),
    "gru": (
        """(float[5,1,64] features) => (float[1,1,64] probabilities) {
            all, probabilities = GRU <hidden_size = 64> (features, w, r) }""",
        {"w": weights(1, 192, 64) / 2, "r": weights(1, 192, 64, seed=1) / 2},
        {"GRU": 1},
    ),
    "one value, its channels on two axes": (
        """(float[6,6,6] features) => (float[6,1,6,6] probabilities, float[6,6,6] convolved) {
            probabilities = LSTM <hidden_size = 6> (features, w, r, b)
            convolved = Conv(features, v, u) }""",
        {
            "w": weights(1, 24, 6),
            "r": weights(1, 24, 6, seed=1),
            "b": weights(1, 48),
            "v": weights(6, 6, 1),
            "u": weights(6),
        },
        {"DynamicQuantizeLSTM": 1, "QLinearConv": 1},
    ),
    "a channel of zeros, one of bias only": (
        "(float[1,8] features) => (float[1,4] probabilities) { probabilities = Gemm(features, w, b) }",
        {
            "w": weights(8, 4) * np.array([1, 0, 1e-30, 1], np.float32),
            "b": np.array([1, 0, 100, 0], np.float32),
        },
        {"QGemm": 1},
    ),
    "weights that are computed, layers that are not plain": (
        """(float[8,8] features) => (float[8,8] probabilities) {
            a = MatMul(features, features)
            b = Gemm <alpha = 0.5> (a, w)
            c = MatMul(w, b)
            probabilities = Gemm <transA = 1> (c, w) }""",
        {"w": weights(8, 8)},
        {},
    ),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_other_graphs(case: str, kernels: Callable[[ir.Model], list[onnx.NodeProto]]) -> None:
    text, constants, expected_kernels = GRAPHS[case]
    model = parsed(text, **constants)
    batches = random_batches(model)
    found = quantize(model, batches)
    onnx.checker.check_model(ir.to_proto(found), full_check=True)
    count = types(kernels(found))
    assert {op_type: count[op_type] for op_type in expected_kernels} == expected_kernels
    assert [(v.name, v.shape) for v in found.graph.inputs] == [(v.name, v.shape) for v in model.graph.inputs]
    assert [(v.name, v.shape) for v in found.graph.outputs] == [
        (v.name, v.shape) for v in model.graph.outputs
    ]
    for name in (str(output.name) for output in model.graph.outputs):
        expected = np.stack([session(model).run([name], batch)[0] for batch in batches])
        computed = np.stack([session(found).run([name], batch)[0] for batch in batches])
        assert np.abs(computed - expected).max() < 0.05 * np.abs(expected).max(), name
        if expected_kernels:
            assert not np.array_equal(computed, expected)


def test_gru_is_stored_in_int8(kernels: Callable[[ir.Model], list[onnx.NodeProto]]) -> None:
    """onnxruntime has no int8 kernel for it, and widens the weights when it loads the model."""
    text, constants, _ = GRAPHS["gru"]
    model = parsed(text, **constants)
    found = quantize(model, random_batches(model))
    assert len(to_bytes(found)) < 0.3 * len(to_bytes(model))
    assert types(kernels(found)) == {"GRU": 1}


def test_unnamed_nodes_get_names() -> None:
    text, constants, _ = GRAPHS["dense over time, transposed dense, no bias"]
    model = parsed(text, **constants)
    quantizer = Quantizer(model, random_batches(model))
    assert list(quantizer.candidates) == ["MatMul_0", "Gemm_4"]


class Stream:
    """Runs a stream graph over windows of features, each from zero states.

    Attributes:
        inputs: of every step so far.
    """

    def __init__(self, model: ir.Model) -> None:
        self.inputs: list[Batch] = []
        self._session = session(model)
        self._outputs = [value.name for value in self._session.get_outputs()]
        self._states = {v.name: v.shape for v in self._session.get_inputs() if v.name != "features"}

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """The probabilities after the last step, shape `(n_windows, n_labels)`."""
        return np.concatenate([self._last(window) for window in windows])

    def _last(self, window: np.ndarray) -> np.ndarray:
        states = {name: np.zeros(shape, np.float32) for name, shape in self._states.items()}
        for start in range(0, N_FRAMES, STEP_FRAMES):
            self.inputs.append({"features": window[np.newaxis, start : start + STEP_FRAMES], **states})
            found = dict(zip(self._outputs, self._session.run(None, self.inputs[-1]), strict=True))
            states = {name: found[f"{name}_next"] for name in states}
        return found["probabilities"]


@each_network
def test_stream_graph(name: str, kernels: Callable[[ir.Model], list[onnx.NodeProto]]) -> None:
    """Calibrated on successive steps with their states."""
    graph, _ = stream(network(name).graph, step_frames=STEP_FRAMES)
    model = as_model(graph)
    np.testing.assert_allclose(Stream(model)(HELD_OUT), run(network(name)), atol=1e-4)
    calibration = Stream(model)
    calibration(CALIBRATION)
    found = quantize(model, calibration.inputs)
    count = types(kernels(found))
    assert not FLOAT_KERNELS & set(count), count
    assert count["QLinearConv"] == count["NhwcMaxPool"] == N_CONV[name]
    assert count["DynamicQuantizeLSTM"] == N_LSTM[name]
    probabilities = Stream(found)(HELD_OUT)
    assert_close(probabilities, run(network(name)))
    if not N_LSTM[name]:
        # The same scales; means over the past, which the states repeat after zeros, differ a little.
        assert np.abs(probabilities - run(int8_network(name))).mean() < 0.01


# --- calibration ---------------------------------------------------------------------------------------


def test_ranges_and_means_are_those_of_the_batches() -> None:
    model = parsed(
        "(float[1,2,3] features) => (float[1,2,3] probabilities) { a = Neg(features) probabilities = Abs(a) }"
    )
    batches = [{"features": np.full((1, 2, 3), value, np.float32)} for value in (-2, 3, 1)]
    observed = observe(model, batches, channel_axes={"features": -1, "a": 1})
    assert {name: (o.least, o.greatest) for name, o in observed.items()} == {
        "features": (-2, 3),
        "a": (-3, 2),
        "probabilities": (1, 3),
    }
    np.testing.assert_allclose(observed["features"].mean, np.full(3, 2 / 3))
    np.testing.assert_allclose(observed["a"].mean, np.full(2, -2 / 3))
    assert observed["probabilities"].mean is None


def test_calibration_data_decides_and_nothing_else() -> None:
    model = network("pure_cnn")
    before = to_bytes(model)
    few = quantize(model, BATCHES[:4])
    assert to_bytes(quantize(model, BATCHES[:4])) == to_bytes(few)
    assert to_bytes(quantize(model, BATCHES[:5])) != to_bytes(few)
    assert to_bytes(model) == before


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "needs calibration data"),
        ([{"audio": CALIBRATION[:1]}], "is for audio; the network takes features"),
        ([BATCHES[0], {"features": np.full_like(CALIBRATION[:1], np.nan)}], "not finite"),
    ],
    ids=["none", "other inputs", "nan"],
)
def test_calibration_data_that_cannot_be(batches: list[Batch], words: str) -> None:
    with pytest.raises(ExportError, match=words):
        quantize(network("pure_cnn"), batches)


# --- bytes ---------------------------------------------------------------------------------------------


@functools.cache
def shipped_network(make: Callable[[str], Any], name: str) -> ir.Model:
    """A shipped recipe's network, random."""
    model = make(name)
    _, n_frames, n_mels = model.input_shape
    graph = network_graph(model, n_frames=n_frames, n_mels=n_mels, n_labels=7)
    simplify(graph)
    graph.outputs[0].name = "probabilities"
    return as_model(graph)


# Of the smallest, the nodes weigh as much as the weights, and of attentive networks half as much.
ATTENTIVE = ("emo_open", "emo_small", "emo_tiny")


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in ("conv1d_lstm", *ATTENTIVE)])
@pytest.mark.slow
def test_bytes_of_shipped_sizes(name: str, random_model: Callable[[str], Any]) -> None:
    model = shipped_network(random_model, name)
    _, *shape = random_model(name).input_shape
    batch = {"features": np.random.default_rng(0).normal(-30, 15, (1, *shape)).astype(np.float32)}
    quantizer = Quantizer(model, [batch])
    n_bytes = len(to_bytes(model))
    assert len(to_bytes(quantizer())) <= 0.3 * n_bytes
    # Nodes that go back to float keep their weights in int8.
    assert len(to_bytes(quantizer(list(quantizer.candidates)))) <= 0.3 * n_bytes
    assert 0.49 * n_bytes < len(to_bytes(half(model))) < 0.53 * n_bytes


@each_network
def test_half_computes_in_float32(name: str, kernels: Callable[[ir.Model], list[onnx.NodeProto]]) -> None:
    model = network(name)
    before = to_bytes(model)
    found = half(model)
    assert to_bytes(model) == before
    assert types(kernels(found)) == types(kernels(model))
    difference = np.abs(run(found) - run(model)).max()
    assert 0 < difference < 5e-3
    stored = [v.const_value for v in found.graph.initializers.values()]
    assert all(t.dtype == ir.DataType.FLOAT16 for t in stored if t.size > 256)
    onnx.checker.check_model(ir.to_proto(found), full_check=True)


def test_half_leaves_what_float16_cannot_hold() -> None:
    model = parsed(
        """(float[1,32] features) => (float[1,32] probabilities) {
            a = MatMul(features, w)
            probabilities = MatMul(a, v) }""",
        w=weights(32, 32) * np.float32(1e6),
        v=weights(32, 32),
    )
    dtypes = {name: value.dtype for name, value in half(model).graph.initializers.items()}
    assert dtypes == {"w": ir.DataType.FLOAT, "v/float16": ir.DataType.FLOAT16}


# --- the choice of what stays float --------------------------------------------------------------------


def fake_race(cost: Callable[[set[str]], float]) -> Callable[..., np.ndarray]:
    """Instead of a clock: what a model costs, by the names of its nodes in float; `{"*"}` for one not quantised."""

    def race(models: Sequence[ir.Model], inputs: Batch, *, rounds: int, runs: int) -> np.ndarray:
        return np.array([[cost(in_float(model))] * rounds for model in models])

    def in_float(model: ir.Model) -> set[str]:
        int8 = {n.name.split("/input_")[0] for n in model.graph if n.op_type == "DequantizeLinear"}
        int8 |= {n.name for n in model.graph if n.op_type == "DynamicQuantizeLSTM"}
        names = {n.name for n in model.graph if n.op_type in ("Conv", "Gemm", "LSTM")}
        return names - int8

    return race


COSTS: dict[str, tuple[Callable[[set[str]], float], Callable[[dict[str, str]], set[str]]]] = {
    "nothing gains": (lambda kept: 10 + len(kept), lambda candidates: set()),
    "less than the margin": (lambda kept: 10 - 0.02 * len(kept), lambda candidates: set()),
    "one node": (
        lambda kept: 10 + len(kept) - 5 * any("Conv" in name for name in kept),
        lambda candidates: {next(name for name in candidates if "Conv" in name)},
    ),
    "each gains by itself": (lambda kept: 10 - len(kept), set),
    "all dense layers together": (
        lambda kept: 10 + (-3 if sum("MatMul" in name for name in kept) == 3 else len(kept)),
        lambda candidates: {name for name, kind in candidates.items() if kind == "Gemm"},
    ),
}


@pytest.mark.parametrize("case", COSTS)
def test_choice_is_greedy(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cost, wanted = COSTS[case]
    monkeypatch.setattr(choose, "race", fake_race(cost))
    candidates = Quantizer(network("cnn_lstm"), BATCHES).candidates
    choice = choose_float(network("cnn_lstm"), BATCHES)
    assert set(choice.keep_float) == wanted(candidates)
    assert list(choice.keep_float) == [name for name in candidates if name in choice.keep_float]
    assert to_bytes(choice.model) == to_bytes(
        quantize(network("cnn_lstm"), BATCHES, keep_float=choice.keep_float)
    )
    assert choice.latency_ms["int8"] == 10
    assert choice.latency_ms["chosen"] == cost(set(choice.keep_float))


def test_choice_is_measured() -> None:
    choice = choose_float(network("pure_cnn"), BATCHES, rounds=3, runs=2)
    assert set(choice.latency_ms) == {"fp32", "int8", "chosen"}
    assert all(0 < latency_ms < 1000 for latency_ms in choice.latency_ms.values())
    json.dumps(choice.latency_ms)
    assert_close(run(choice.model), run(network("pure_cnn")))


# --- onnxruntime's format ------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "int8", "fp16"])
@each_network
def test_ort_file_is_the_same_model(name: str, precision: str, tmp_path: Path) -> None:
    model = {"fp32": network, "int8": int8_network, "fp16": lambda name: half(network(name))}[precision](
        name
    ).clone()
    model.metadata_props["edgeemo"] = '{"labels": ["ä"]}'
    path = tmp_path / "model.onnx"
    path.write_bytes(to_bytes(model))
    config = to_ort_format(path, tmp_path / "model.ort")
    loaded = ort.InferenceSession(
        str(tmp_path / "model.ort"), session_options(), providers=["CPUExecutionProvider"]
    )
    assert loaded.get_modelmeta().custom_metadata_map == {"edgeemo": '{"labels": ["ä"]}'}
    # Both as the device loads them.
    np.testing.assert_allclose(run_session(loaded), run_session(open_session(model)), atol=1e-5)
    text = config.read_text(encoding="utf-8")
    assert config.parent == tmp_path
    assert str(tmp_path) not in text
    assert ("QLinearConv" in text) == (precision == "int8" and N_CONV[name] > 0)
    assert ("DynamicQuantizeLSTM" in text) == (precision == "int8" and N_LSTM[name] > 0)
    assert "Softmax" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["model.onnx", "model.ort", config.name])


def test_ort_file_has_its_suffix(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end with \.ort"):
        to_ort_format(tmp_path / "model.onnx", tmp_path / "model.bin")


# --- x86 without VNNI ----------------------------------------------------------------------------------


@each_network
def test_no_product_can_saturate(name: str) -> None:
    """Two products of uint8 and int8 have to fit into int16, whatever the audio."""
    model = int8_network(name)
    assert n_saturating(model) == 0
    stored = [value.const_value.numpy() for value in model.graph.initializers.values()]
    largest = max(int(np.abs(w.astype(int)).max()) for w in stored if w.dtype == np.int8 and w.ndim > 1)
    assert largest == COMPUTED_MAX, "all seven bits are used"
    assert np.iinfo(np.int16).max >= 2 * 255 * COMPUTED_MAX


def test_weights_that_would_saturate_are_counted() -> None:
    model = int8_network("pure_lstm").clone()
    (node, *_) = (node for node in model.graph if node.op_type == "DynamicQuantizeLSTM")
    weights = node.inputs[1].const_value.numpy().copy()
    weights.flat[:3] = (65, -128, 64)
    node.inputs[1].const_value = ir.tensor(weights)
    assert n_saturating(model) == 2


@pytest.mark.parametrize("name", [name for name in SMALL if N_LSTM[name]])
def test_a_zero_point_for_each_output(name: str) -> None:
    """onnxruntime before 1.28 reads as many of the recurrent weights as of the input's, and refuses the file."""
    for node in int8_network(name).graph:
        if node.op_type == "DynamicQuantizeLSTM":
            shapes = [tuple(node.inputs[index].shape) for index in (1, 9, 11)]
            assert shapes[1:] == [(1, shapes[0][2])] * 2
