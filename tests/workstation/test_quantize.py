"""int8 per operator, fp16 storage and onnxruntime's format: what is computed, by which kernels, in how many bytes."""

from __future__ import annotations

import functools
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
from conftest import noise, randomise, speech_like

from edgeemo.metadata import Features
from edgeemo.model import session_options
from edgeemo.workstation.architectures import build
from edgeemo.workstation.graphs.frontend import IR_VERSION, OPSET, FrontEnd
from edgeemo.workstation.graphs.network import network_graph
from edgeemo.workstation.graphs.quantize import quantize
from edgeemo.workstation.graphs.simplify import simplify

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
MAX_MEAN_DIFFERENCE, MAX_OTHER_LABELS = 0.012, 0.1

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


def as_model(graph: ir.Graph) -> ir.Model:
    graph.inputs[0].name, graph.outputs[0].name = "features", "probabilities"
    graph.opset_imports.clear()
    graph.opset_imports[""] = OPSET
    return ir.Model(graph, ir_version=IR_VERSION)


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
    return as_model(graph)


@functools.cache
def int8_network(name: str) -> ir.Model:
    return quantize(network(name), BATCHES)


def session(model: ir.Model, optimized: Path | None = None) -> ort.InferenceSession:
    options = session_options()
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return ort.InferenceSession(to_bytes(model), options, providers=["CPUExecutionProvider"])


def to_bytes(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString()


def run(model: ir.Model, windows: np.ndarray = HELD_OUT) -> np.ndarray:
    loaded = session(model)
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
def test_int8_is_close_to_float(name: str) -> None:
    expected = run(network(name))
    assert expected.std(axis=0).max() > 0.05  # the answers differ from window to window
    assert len(set(expected.argmax(axis=1))) >= 3
    found = run(int8_network(name))
    assert_close(found, expected)
    assert not np.array_equal(found, expected)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "constant"),
    [("pure_cnn", "/scale"), ("cnn_lstm", "/input_1/scale"), ("pure_lstm", "/input_2/scale")],
)
def test_a_wrong_scale_is_found(name: str, constant: str) -> None:
    """The bounds of `assert_close` can fail: the last scale of its kind, half as large as it must be."""
    broken = int8_network(name).clone()
    value = [v for v in broken.graph.initializers.values() if v.name.endswith(constant)][-1]
    value.const_value = ir.tensor(value.const_value.numpy() / 2, name=value.name)
    with pytest.raises(AssertionError, match=r"mean difference|other labels"):
        assert_close(run(broken), run(network(name)))
