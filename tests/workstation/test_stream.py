"""Streaming: after each step, the answer is that of the whole utterance so far; what cannot be streamed is named."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from edgeemo.errors import ExportError
from edgeemo.features import Features
from edgeemo.metadata import Metadata, State
from edgeemo.model import EmotionModel
from edgeemo.stepper import StreamStepper
from edgeemo.workstation.architectures import build
from edgeemo.workstation.graphs.assemble import assemble, save
from edgeemo.workstation.graphs.editing import as_model, to_bytes
from edgeemo.workstation.graphs.network import network_graph
from edgeemo.workstation.graphs.simplify import simplify
from edgeemo.workstation.graphs.stream import stream
from support.graphs import Hand, op_types, run, run_steps, runner
from support.networks import randomise
from support.signals import noise, speech_like

ATOL = 1e-5


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def random_features(n_frames: int, n_mels: int, *, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (n_frames, n_mels)).astype(np.float32)


# --- every architecture --------------------------------------------------------------------------------

SHAPE = {"n_mels": 64, "n_labels": 7}
WINDOW = 320  # frames, as in the shipped recipes
UTTERANCE = np.concatenate([
    np.random.default_rng(0).normal(-30, 15, (WINDOW, 64)),
    np.random.default_rng(1).normal(-20, 8, (64, 64)),
]).astype(np.float32)  # fmt: skip

STREAMED = ("pure_cnn", "cnn_lstm", "pure_lstm", "conv1d_lstm", "attentive_cnn")
each_architecture = pytest.mark.parametrize("name", STREAMED)


@functools.cache
def trained(name: str) -> keras.Model:
    """Random weights; batch normalisations with random statistics and scales of both signs."""
    keras.utils.set_random_seed(len(name))
    model = randomise(build(name, {}, n_frames=WINDOW, **SHAPE), seed=len(name))
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma = layer.gamma.numpy()
            layer.gamma.assign(np.where(np.arange(len(gamma)) % 2, -gamma, gamma))
    return model


@functools.cache
def window_graph(name: str) -> ir.Graph:
    graph = network_graph(trained(name), n_frames=WINDOW, **SHAPE)
    simplify(graph)
    return graph


@functools.cache
def whole_utterance(name: str, n_frames: int) -> np.ndarray:
    """The answer of Keras for this much of `UTTERANCE`: the same weights in a network of another length."""
    model = trained(name)
    rebuilt = build(name, {}, n_frames=n_frames, **SHAPE)
    for layer, source in zip(rebuilt.layers, model.layers, strict=True):
        if not isinstance(layer, layers.Dense):
            layer.set_weights(source.get_weights())
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
    if all(a.shape == b.shape for a, b in zip(rebuilt.weights, model.weights, strict=True)):
        rebuilt.set_weights(model.get_weights())
        return rebuilt(UTTERANCE[np.newaxis, :n_frames], training=False).numpy()
    # What depends on the number of frames is the head of a network that flattens them: it has a window's.
    kind = (
        layers.LSTM if any(isinstance(layer, layers.LSTM) for layer in model.layers) else layers.MaxPooling2D
    )
    end = max(i for i, layer in enumerate(model.layers) if isinstance(layer, kind))
    x = keras.Model(rebuilt.input, rebuilt.layers[end].output)(
        UTTERANCE[np.newaxis, :n_frames], training=False
    )
    if kind is layers.MaxPooling2D:
        n = model.layers[end].output.shape[1]
        x = np.pad(x.numpy(), [(0, 0), (n, 0), (0, 0), (0, 0)])[:, -n:]
    for layer in model.layers[end + 1 :]:
        x = layer(x, training=False)
    return x.numpy()


@each_architecture
@pytest.mark.parametrize("step", [8, 16, 32])
@pytest.mark.slow
def test_architectures_step_by_step(name: str, step: int) -> None:
    """Steps of 80, 160 and 320 ms; also beyond the window that the graph was made for."""
    if (name, step) == ("pure_cnn", 8):
        with pytest.raises(ExportError) as caught:
            stream(window_graph(name), step_frames=step)
        message = str(caught.value)
        assert re.match(
            "MaxPool .*/max_pooling2d.*: one position spans 16 frames, a step 8; use a step that is a mu",
            message,
        )
        assert "\n" not in message
        return
    graph, states = stream(window_graph(name), step_frames=step)
    answers, _ = run_steps(graph, states, UTTERANCE)
    for n_frames in (32, 64, WINDOW, len(UTTERANCE)):
        np.testing.assert_allclose(
            answers[n_frames // step - 1], whole_utterance(name, n_frames), rtol=0, atol=ATOL
        )
    np.testing.assert_allclose(
        answers[WINDOW // step - 1], run(window_graph(name), UTTERANCE[:WINDOW]), rtol=0, atol=ATOL
    )
    # The comparison has something to compare.
    assert np.ptp(answers, axis=0).max() > 0.01
    assert np.max(answers) < 0.999


@pytest.mark.slow
def test_the_reference_is_the_model_itself() -> None:
    for name in STREAMED:
        expected = trained(name)(UTTERANCE[np.newaxis, :WINDOW], training=False)
        np.testing.assert_allclose(whole_utterance(name, WINDOW), expected, rtol=0, atol=1e-6)


@each_architecture
def test_states_of_architectures(name: str) -> None:
    graph, states = stream(window_graph(name), step_frames=16)
    kinds = [state.holds.partition(" ")[2].partition(" ")[0] for state in states if state.holds[0].isdigit()]
    recurrent = [state.holds.split()[0] for state in states if not state.holds[0].isdigit()]
    n_lstm = {"pure_cnn": 0, "cnn_lstm": 2, "pure_lstm": 4, "conv1d_lstm": 1, "attentive_cnn": 0}[name]
    pooled = ["largest", "sum", "weighted", "weighted"] if name == "attentive_cnn" else []
    assert recurrent == ["h", "c"] * n_lstm + pooled
    assert (
        kinds
        == {
            "pure_cnn": ["frames", *["positions"] * 4],
            "cnn_lstm": ["frames", "positions"],
            "pure_lstm": [],
            "conv1d_lstm": [],
            "attentive_cnn": ["frames", *["positions"] * 3],
        }[name]
    )
    assert op_types(graph).count("LSTM") == n_lstm
    # Nothing but the states comes in addition: each needs at most two operators, and what is pooled a blend.
    assert len(op_types(graph)) <= len(op_types(window_graph(name))) + 2 * len(kinds) + 6 * len(pooled)


# --- any causal Keras model ----------------------------------------------------------------------------


def endless_keras_model(seed: int, n_mels: int = 6) -> tuple[keras.Model, int]:
    """A causal model for any number of frames, and how many of them one position of its last layers spans."""
    rng = np.random.default_rng(seed)
    x = inputs = layers.Input((None, n_mels))
    span = 1
    x = layers.Rescaling(1 / 15, offset=2.0)(x)
    if rng.random() < 0.4:
        x = layers.Reshape((-1, n_mels, 1))(x)
        x = layers.ZeroPadding2D(((2, 0), (1, 1)))(x)
        x = layers.BatchNormalization()(x)
        x = layers.Conv2D(3, 3, activation="relu")(x)
        x = layers.MaxPooling2D((2, 2))(x)
        x = layers.BatchNormalization()(x)
        x = layers.Reshape((-1, n_mels // 2 * 3))(x)
        span *= 2
    for _ in range(rng.integers(0, 3)):
        dilation, stride = ((2, 1), (1, 2), (1, 1))[rng.integers(3)]
        x = layers.Conv1D(5, 3, padding="causal", dilation_rate=dilation, strides=stride, activation="relu")(
            x
        )
        x = (layers.BatchNormalization, layers.LayerNormalization)[rng.integers(2)]()(x)
        x = layers.Add()([x, layers.Dense(5, activation="tanh")(x)])
        pooling = (layers.MaxPooling1D, layers.AveragePooling1D)[rng.integers(2)]
        size = int(rng.integers(1, 3))
        x = pooling(size)(x)
        span *= stride * size
    for _ in range(rng.integers(0, 2)):
        x = (layers.LSTM, layers.GRU)[rng.integers(2)](4, return_sequences=True)(x)
    ending = rng.integers(5)
    if ending == 0:
        x = layers.LSTM(5)(x)
    elif ending == 1:
        x = layers.GlobalAveragePooling1D()(x)
    elif ending == 2:
        x = layers.GlobalMaxPooling1D()(x)
    elif ending == 3:
        weights = layers.Softmax(axis=1)(layers.Dense(1)(layers.Dense(4, activation="tanh")(x)))
        x = layers.Lambda(lambda v: keras.ops.sum(v, axis=1))(layers.Multiply()([x, weights]))
    else:
        weights = layers.Softmax(axis=1)(layers.Dense(2)(x))
        x = layers.Dot(axes=1)([weights, x])
        x = layers.Flatten()(x)
    x = layers.BatchNormalization()(layers.Dense(6)(x))
    outputs = layers.Dense(3, activation="softmax")(x)
    return randomise(keras.Model(inputs, outputs, name="endless"), seed=seed), span


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.slow
def test_any_causal_keras_model(seed: int) -> None:
    n_mels = 6
    keras.utils.set_random_seed(seed)
    model, span = endless_keras_model(seed, n_mels)
    step = span * 2
    graph = network_graph(model, n_frames=4 * step, n_mels=n_mels, n_labels=3)
    x = random_features(6 * step, n_mels, seed=seed) * 15 - 30
    for simplified in (False, True):
        if simplified:
            simplify(graph)
        answers, _ = run_steps(*stream(graph, step_frames=step), x)
        for k, answer in enumerate(answers, start=1):
            expected = model(x[np.newaxis, : k * step], training=False)
            np.testing.assert_allclose(answer, expected, rtol=0, atol=ATOL)


# --- any small network ---------------------------------------------------------------------------------

N_MELS = 4


@dataclass(frozen=True)
class Layer:
    """A layer of a random network: its kind, its numbers, and how many positions of its input make one."""

    kind: str
    variant: str = ""
    n: int = 3
    kernel: int = 1
    dilation: int = 1
    stride: int = 1
    begin: int = 0


@dataclass(frozen=True)
class Network:
    """A random network.

    Attributes:
        images: convolutions and pooling over frames and bands.
        layers: layers over frames.
        ending: how time ends.
    """

    images: tuple[Layer, ...]
    layers: tuple[Layer, ...]
    ending: str

    @property
    def span(self) -> int:
        """Feature frames in one of the last positions."""
        return math.prod(layer.stride for layer in (*self.images, *self.layers))


ENDINGS = (
    *("last state", "last output", "last position", "mean", "global mean", "max", "global max", "sum"),
    *("max and mean", "weighted sum", "weighted product", "transposed weights", "heads", "flatten"),
)  # fmt: skip


@st.composite
def convolutions(draw: st.DrawFn, kind: str, variants: tuple[str, ...]) -> Layer:
    kernel, dilation, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    reach = (kernel - 1) * dilation
    # Padded so that a position looks back only; with a stride, not all of what it looks back on need be padding.
    begin = max(0, reach - draw(st.integers(0, stride - 1)))
    return Layer(
        kind, draw(st.sampled_from(variants)), draw(st.integers(2, 4)), kernel, dilation, stride, begin
    )


def poolings(kind: str) -> st.SearchStrategy[Layer]:
    return st.builds(
        lambda variant, size: Layer(kind, variant, stride=size),
        st.sampled_from(["MaxPool", "AveragePool"]),
        st.integers(1, 2),
    )


CONV1D = ("own padding", "Pad", "Pad, Transpose", "Pad, Unsqueeze, Transpose", "Pad, Mul")
LAYERS = st.one_of(
    convolutions("conv1d", CONV1D),
    poolings("pool1d"),
    st.builds(
        Layer, st.just("dense"), st.sampled_from(["Relu", "Tanh", "Sigmoid", "Elu"]), st.integers(2, 4)
    ),
    st.builds(
        Layer, st.just("norm"), st.sampled_from(["LayerNormalization", "by hand", "BatchNormalization"])
    ),
    st.builds(Layer, st.just("residual"), kernel=st.integers(1, 3)),
    st.builds(Layer, st.just("gate")),
    st.builds(Layer, st.just("branches")),
    st.builds(Layer, st.just("recurrent"), st.sampled_from(["LSTM", "GRU", "RNN"]), st.integers(2, 4)),
    st.builds(Layer, st.just("join"), stride=st.integers(2, 3)),
)
NETWORKS = st.builds(
    Network,
    st.lists(st.one_of(convolutions("conv2d", ("own padding", "Pad")), poolings("pool2d")), max_size=2).map(
        tuple
    ),
    st.lists(LAYERS, max_size=4).map(tuple),
    st.sampled_from(ENDINGS),
).filter(lambda network: network.span <= 12)


def write_images(hand: Hand, network: Network) -> tuple[Any, int]:
    """Layers over frames and bands, `(1, channels, frames, bands)`, and back: features, and how many of them."""
    if not network.images:
        return hand.features, N_MELS
    x, channels, bands = hand("Unsqueeze", hand.features, ints(1)), 1, N_MELS
    for layer in network.images:
        if layer.kind == "pool2d":
            size = [layer.stride, 2 if bands > 1 else 1]
            x, bands = hand(layer.variant, x, kernel_shape=size, strides=size), bands // size[1]
            continue
        pads = [layer.begin, 1, 0, 1]
        if layer.variant == "Pad":
            x = hand("Pad", x, ints(0, 0, layer.begin, 0, 0, 0, 0, 0))
            pads[0] = 0
        weights = hand.weights(layer.n, channels, layer.kernel, 3), hand.shift(layer.n)
        numbers = {"dilations": [layer.dilation, 1], "strides": [layer.stride, 1], "pads": pads}
        x, channels = hand("Relu", hand("Conv", x, *weights, **numbers)), layer.n
    x = hand("Transpose", x, perm=[0, 2, 1, 3])
    return hand("Reshape", x, ints(1, -1, channels * bands)), channels * bands


def write_conv1d(hand: Hand, x: Any, n_in: int, layer: Layer) -> Any:
    """Of `(1, frames, channels)`, in the layouts of several exporters."""
    weights, bias = hand.weights(layer.n, n_in, layer.kernel), hand.shift(layer.n)
    numbers = {"dilations": [layer.dilation], "strides": [layer.stride]}
    if layer.variant in ("Pad, Transpose", "Pad, Unsqueeze, Transpose", "Pad, Mul"):
        x = hand("Pad", x, ints(0, layer.begin, 0, 0, 0, 0))
    if layer.variant == "Pad, Mul":
        x = hand("Add", hand("Mul", x, hand.shift(n_in)), hand.shift(n_in))
    if layer.variant == "Pad, Unsqueeze, Transpose":
        x = hand("Transpose", hand("Unsqueeze", x, ints(1)), perm=[0, 3, 1, 2])
        numbers = {"dilations": [1, layer.dilation], "strides": [1, layer.stride]}
        x = hand("Squeeze", hand("Conv", x, weights[:, :, np.newaxis], **numbers), ints(2))
        return hand("Transpose", hand("Add", x, bias[:, np.newaxis]), perm=[0, 2, 1])
    x = hand("Transpose", x, perm=[0, 2, 1])
    if layer.variant == "Pad":
        x = hand("Pad", x, ints(0, 0, layer.begin, 0, 0, 0), np.array(0, np.float32))
    if layer.variant == "own padding":
        numbers["pads"] = [layer.begin, 0]
    return hand("Transpose", hand("Conv", x, weights, bias, **numbers), perm=[0, 2, 1])


def write_norm(hand: Hand, x: Any, n: int, variant: str) -> Any:
    scale, bias = hand.shift(n), hand.shift(n)
    if variant == "LayerNormalization":
        return hand(variant, x, scale, bias, axis=-1, epsilon=0.1)
    if variant == "BatchNormalization":
        x = hand("Transpose", x, perm=[0, 2, 1])
        x = hand(variant, x, scale, bias, hand.shift(n), np.abs(hand.shift(n)) + 0.5)
        return hand("Transpose", x, perm=[0, 2, 1])
    centred = hand("Sub", x, hand("ReduceMean", x, ints(-1)))
    variance = hand("ReduceMean", hand("Mul", centred, centred), ints(-1), keepdims=1)
    deviation = hand("Sqrt", hand("Add", variance, np.array(0.1, np.float32)))
    return hand("Add", hand("Mul", hand("Div", centred, deviation), scale), bias)


def write_layers(hand: Hand, network: Network) -> tuple[Any, int]:
    """Everything before time ends: `(1, positions, n)`, and `n`."""
    x, n = write_images(hand, network)
    for layer in network.layers:
        if layer.kind == "conv1d":
            x, n = hand("Relu", write_conv1d(hand, x, n, layer)), layer.n
        elif layer.kind == "pool1d":
            x = hand("Transpose", x, perm=[0, 2, 1])
            x = hand(layer.variant, x, kernel_shape=[layer.stride], strides=[layer.stride])
            x = hand("Transpose", x, perm=[0, 2, 1])
        elif layer.kind == "dense":
            x, n = hand(layer.variant, hand.dense(x, n, layer.n)), layer.n
        elif layer.kind == "norm":
            x = write_norm(hand, x, n, layer.variant)
        elif layer.kind == "residual":
            same = Layer("conv1d", "own padding", n, layer.kernel, begin=layer.kernel - 1)
            x = hand("Add", x, hand("Relu", write_conv1d(hand, x, n, same)))
        elif layer.kind == "gate":
            x = hand("Mul", x, hand("Softmax", hand.dense(x, n, n), axis=2))
        elif layer.kind == "branches":
            one, other = hand(
                "Split", hand("Concat", hand("Neg", x), x, axis=-1), ints(1, 2 * n - 1), axis=2, outputs=2
            )
            x, n = hand("Concat", other, one, axis=2), 2 * n
        elif layer.kind == "recurrent":
            x = hand("Transpose", x, perm=[1, 0, 2])
            y, _ = hand.lstm(x, n, layer.n, op_type=layer.variant)
            x, n = hand("Transpose", hand("Squeeze", y, ints(1)), perm=[1, 0, 2]), layer.n
        else:
            x, n = hand("Reshape", x, ints(1, -1, layer.stride * n)), layer.stride * n
    return x, n


def write_ending(hand: Hand, x: Any, n: int, ending: str) -> Any:
    """The answer of `(1, positions, n)`, after all but Flatten."""
    if ending in ("last state", "last output"):
        y, state = hand.lstm(hand("Transpose", x, perm=[1, 0, 2]), n, 3)
        if ending == "last output":
            far = np.iinfo(np.int64).max
            state = hand("Slice", hand("Squeeze", y, ints(1)), ints(-1), ints(far), ints(0))
        return hand.head(hand("Squeeze", state, ints(0)), 3)
    if ending == "last position":
        return hand.head(hand("Gather", x, np.array(-1), axis=1), n)
    if ending in ("mean", "max", "sum"):
        op_type = f"Reduce{ending.title()}"
        return hand.head(hand(op_type, x, ints(-2), keepdims=0), n)
    if ending.startswith("global"):
        op_type = {"global mean": "GlobalAveragePool", "global max": "GlobalMaxPool"}[ending]
        return hand.head(hand("Flatten", hand(op_type, hand("Transpose", x, perm=[0, 2, 1]))), n)
    if ending == "max and mean":
        both = [hand(op_type, x, ints(1), keepdims=1) for op_type in ("ReduceMax", "ReduceMean")]
        return hand.head(hand("Reshape", hand("Concat", *both, axis=1), ints(1, 2 * n)), 2 * n)
    heads = 2 if ending == "heads" else 1
    weights = hand("Softmax", hand.dense(hand("Tanh", x), n, heads), axis=1)
    if ending == "weighted sum":
        return hand.head(hand("ReduceSum", hand("Mul", x, weights), ints(1), keepdims=0), n)
    if ending == "transposed weights":
        x = hand("MatMul", hand("Transpose", x, perm=[0, 2, 1]), weights)
        return hand.head(hand("Squeeze", x, ints(2)), n)
    x = hand("MatMul", hand("Transpose", weights, perm=[0, 2, 1]), x)
    return hand.head(hand("Reshape", x, ints(1, -1)), heads * n)


def write(network: Network, n_frames: int, *, seed: int) -> ir.Graph:
    """The whole network for this many frames; for Flatten, what comes before it."""
    hand = Hand(n_frames, N_MELS, seed=seed)
    x, n = write_layers(hand, network)
    if network.ending == "flatten":
        # An activation that is zero for zeros: nothing of the layers can move into the head.
        return hand.graph(hand("Tanh", x))
    return hand.graph(write_ending(hand, x, n, network.ending))


def flattened(
    network: Network, n_frames: int, *, seed: int
) -> tuple[ir.Graph, Callable[[np.ndarray], np.ndarray]]:
    """A network that ends in Flatten, and its head alone, on positions before or within a window."""

    def head(hand: Hand, x: Any, n_positions: int, n: int) -> Any:
        of_head = Hand(1, seed=seed + 1)
        weights = [of_head.weights(n_positions * n, 3), of_head.shift(3)]
        return hand("Softmax", hand("Gemm", hand("Flatten", x), *weights))

    hand = Hand(n_frames, N_MELS, seed=seed)
    x, n = write_layers(hand, network)
    n_positions = n_frames // network.span
    graph = hand.graph(head(hand, hand("Tanh", x), n_positions, n))
    alone = Hand(n_positions, n)
    run_head = runner(alone.graph(head(alone, alone.features, n_positions, n)))
    return graph, lambda positions: run_head(
        np.pad(positions, [(0, 0), (n_positions, 0), (0, 0)])[:, -n_positions:]
    )[0]


@pytest.mark.slow
@settings(max_examples=150, deadline=None, report_multiple_bugs=False)
@given(
    network=NETWORKS,
    spans_in_step=st.integers(1, 3),
    steps_in_window=st.integers(2, 4),
    simplified=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_small_network(
    network: Network, spans_in_step: int, steps_in_window: int, simplified: bool, seed: int
) -> None:
    step = network.span * spans_in_step
    window = step * steps_in_window
    x = random_features(window + 2 * step, N_MELS, seed=seed)
    head: Callable[[np.ndarray], np.ndarray] = lambda answer: answer  # noqa: E731
    if network.ending == "flatten":
        graph, head = flattened(network, window, seed=seed)
    else:
        graph = write(network, window, seed=seed)
    at_window = run(graph, x[:window])
    if simplified:
        simplify(graph)
    answers, _ = run_steps(*stream(graph, step_frames=step), x)
    for k, answer in enumerate(answers, start=1):
        expected = head(run(write(network, k * step, seed=seed), x[: k * step]))
        np.testing.assert_allclose(answer, expected, rtol=0, atol=ATOL)
    np.testing.assert_allclose(answers[steps_in_window - 1], at_window, rtol=0, atol=ATOL)


# --- graphs as third parties export them ---------------------------------------------------------------


def over_time(hand: Hand, x: Any = None) -> Any:
    """`(1, frames, bands)` as recurrent nodes take it."""
    return hand("Transpose", hand.features if x is None else x, perm=[1, 0, 2])


def channels_first(hand: Hand) -> Any:
    return hand("Transpose", hand.features, perm=[0, 2, 1])


def check_steps(
    write: Callable[[Hand], Any], *, step: int = 4, window: int = 16, n_steps: int = 6
) -> ir.Graph:
    """Every answer is that of the graph for that many frames, simplified or not; the stream graph."""

    def graph_for(n_frames: int) -> ir.Graph:
        hand = Hand(n_frames, N_MELS, seed=5)
        return hand.graph(write(hand))

    x = random_features(n_steps * step, N_MELS)
    expected = [run(graph_for(k * step), x[: k * step]) for k in range(1, n_steps + 1)]
    assert np.ptp(expected, axis=0).max() > 1e-3, "the answer depends on the audio"
    graph = graph_for(window)
    for simplified in (True, False):
        source = graph.clone()
        if simplified:
            simplify(source)
        streamed, states = stream(source, step_frames=step)
        answers, _ = run_steps(streamed, states, x)
        np.testing.assert_allclose(answers, expected, rtol=0, atol=ATOL)
    return streamed


def torch_linear(hand: Hand, x: Any, n_in: int, n_out: int) -> Any:
    return hand("Gemm", x, hand.weights(n_out, n_in), hand.shift(n_out), transB=1)


@pytest.mark.parametrize("linear_before_reset", [0, 1])
def test_torch_convolutions_and_gru(linear_before_reset: int) -> None:
    """nn.ConstantPad1d, Conv1d, BatchNorm1d, ReLU, MaxPool1d, GRU (batch_first), x[:, -1], Linear, softmax."""

    def write(hand: Hand) -> Any:
        x, n = channels_first(hand), N_MELS
        for width in (5, 6):
            x = hand("Pad", x, ints(0, 0, 4, 0, 0, 0), np.array(0, np.float32), mode="constant")
            x = hand("Conv", x, hand.weights(width, n, 3), hand.shift(width), kernel_shape=[3], dilations=[2])
            statistics = (
                hand.shift(width),
                hand.shift(width),
                hand.shift(width),
                np.abs(hand.shift(width)) + 0.5,
            )
            x, n = hand("Relu", hand("BatchNormalization", x, *statistics)), width
            x = hand("MaxPool", x, kernel_shape=[2], strides=[2], pads=[0, 0], ceil_mode=0)
        x = hand("Transpose", x, perm=[2, 0, 1])
        weights = hand.weights(1, 15, n), hand.weights(1, 15, 5), hand.shift(1, 30)
        initial = np.zeros((1, 1, 5), np.float32)
        y, _ = hand(
            "GRU",
            x,
            *weights,
            None,
            initial,
            outputs=2,
            hidden_size=5,
            linear_before_reset=linear_before_reset,
        )
        y = hand("Transpose", hand("Squeeze", y, ints(1)), perm=[1, 0, 2])
        x = torch_linear(hand, hand("Gather", y, np.array(-1), axis=1), 5, 3)
        return hand("Softmax", x, axis=-1)

    graph = check_steps(write)
    assert "GRU" in op_types(graph)
    assert "BatchNormalization" in op_types(graph)


def test_torch_lstm_layers() -> None:
    """nn.LSTM of two layers, its last hidden state; weights as Constant nodes, unused outputs without a name."""

    def write(hand: Hand) -> Any:
        x, n = over_time(hand), N_MELS
        for layer in range(2):
            weights = [
                hand("Constant", value=ir.tensor(array))
                for array in (hand.weights(1, 20, n), hand.weights(1, 20, 5), hand.shift(1, 40))
            ]
            y, state, cell = hand("LSTM", x, *weights, outputs=3, hidden_size=5)
            cell.name = ""
            if layer:
                y.name = ""
            else:
                x, n = hand("Squeeze", y, ints(1)), 5
        return hand("Softmax", torch_linear(hand, hand("Squeeze", state, ints(0)), 5, 3))

    check_steps(write)


@pytest.mark.parametrize("activation", ["Tanh", "Relu"])
def test_torch_rnn(activation: str) -> None:
    def write(hand: Hand) -> Any:
        weights = hand.weights(1, 5, N_MELS), hand.weights(1, 5, 5) * np.float32(0.5), hand.shift(1, 10)
        zero = np.zeros((1, 1, 5), np.float32)
        _, state = hand(
            "RNN", over_time(hand), *weights, None, zero, outputs=2, hidden_size=5, activations=[activation]
        )
        return hand.head(hand("Reshape", state, ints(1, 5)), 5)

    check_steps(write)


def test_lstm_with_peepholes() -> None:
    def write(hand: Hand) -> Any:
        weights = hand.weights(1, 20, N_MELS), hand.weights(1, 20, 5), hand.shift(1, 40)
        lengths = np.array([hand.features.shape[1]], np.int32)
        zero = np.zeros((1, 1, 5), np.float32)
        x = over_time(hand)
        _, state = hand("LSTM", x, *weights, lengths, zero, zero, hand.shift(1, 15), outputs=2, hidden_size=5)
        return hand.head(hand("Squeeze", state, ints(0)), 5)

    check_steps(write)


def test_torch_images() -> None:
    """Conv2d over NCHW whose time is the last axis (a spectrogram as an image), AdaptiveAvgPool2d(1), Linear."""

    def write(hand: Hand) -> Any:
        x = hand("Unsqueeze", channels_first(hand), ints(1))  # (1, 1, bands, frames)
        x = hand("Pad", x, ints(0, 0, 1, 2, 0, 0, 1, 0))
        x = hand("LeakyRelu", hand("Conv", x, hand.weights(5, 1, 3, 3), hand.shift(5)), alpha=0.1)
        x = hand("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
        x = hand("Conv", x, hand.weights(5, 1, 1, 2), pads=[0, 1, 0, 0], group=5)
        x = hand("GlobalAveragePool", hand("HardSwish", x))
        return hand("Softmax", torch_linear(hand, hand("Flatten", x), 5, 3))

    check_steps(write)


def test_torch_sequence_without_a_batch() -> None:
    """x.squeeze(0), Linear over frames, x.mean(0, keepdim=True): the answer is a running mean itself."""

    def write(hand: Hand) -> Any:
        x = torch_linear(hand, hand("Squeeze", hand.features, ints(0)), N_MELS, 3)
        return hand("ReduceMean", hand("Softmax", x), ints(0), keepdims=1)

    graph = check_steps(write)
    names = [value.name for value in graph.outputs]
    assert len(set(names)) == len(names) == 3


def test_sum_over_the_window_is_a_flatten() -> None:
    """One value for each position, then Linear over positions: what is seen is the last window."""
    n_positions = 16

    def write(hand: Hand, *, product: str) -> Any:
        x = hand("Tanh", hand.dense(hand.features, N_MELS, 1))
        if product == "Gemm":
            x = hand("Gemm", hand("Flatten", x), hand.weights(3, n_positions), hand.shift(3), transB=1)
        elif product == "transA":
            x = hand("Gemm", hand("Squeeze", x, ints(0)), hand.weights(n_positions, 3), transA=1)
        elif product == "left":
            x = hand("Reshape", hand("MatMul", hand.weights(3, n_positions), x), ints(1, 3))
        else:
            x = hand("MatMul", hand("Squeeze", x, ints(2)), hand.weights(n_positions, 3))
        return hand("Softmax", x)

    x = random_features(24, N_MELS)
    for product in ("Gemm", "transA", "left", "right"):
        hand = Hand(n_positions, N_MELS)
        graph = hand.graph(write(hand, product=product))
        answers, _ = run_steps(*stream(graph, step_frames=4), x)
        for end in (16, 20, 24):
            np.testing.assert_allclose(
                answers[end // 4 - 1], run(graph, x[end - 16 : end]), rtol=0, atol=ATOL
            )


def test_products_within_positions() -> None:
    """Constants on the left, in batches, and rows of Gemm turned into columns."""

    def write(hand: Hand) -> Any:
        x = hand("MatMul", hand.weights(5, N_MELS), channels_first(hand))  # (1, 5, frames)
        x = hand("MatMul", hand.weights(2, 3, 5), x)  # (2, 3, frames)
        x = hand("Reshape", x, ints(6, -1))
        x = hand("Gemm", x, hand.weights(6, 5), hand.shift(1, 5), transA=1)  # (frames, 5)
        x = hand(
            "Transpose", hand("MatMul", hand("Unsqueeze", x, ints(1)), hand.weights(1, 5, 5)), perm=[1, 0, 2]
        )
        return hand.head(hand("ReduceMean", hand("Relu", x), ints(1), keepdims=0), 5)

    check_steps(write)


def test_parts_of_bands() -> None:
    """Slices and gathered indices of other axes than time, and a slice of all of it."""

    def write(hand: Hand) -> Any:
        far = np.iinfo(np.int64).max
        x = hand("Slice", hand.features, ints(1), ints(far), ints(2))  # bands 1 to 3
        x = hand("Slice", x, ints(0, 0), ints(far, 2), ints(1, 2), ints(1, 1))  # bands 1 and 2
        x = hand("Clip", x, None, np.array(0.8, np.float32))
        x = hand("Gather", x, ints(1, 0, 1), axis=-1)
        x = hand("Gather", x, np.array(0), axis=0)  # (frames, 3)
        x = hand("Gather", hand("Transpose", x), np.array([[0], [2]]), axis=0)  # (2, 1, frames)
        return hand.head(hand("Reshape", hand("ReduceMean", x, ints(2)), ints(1, 2)), 2)

    check_steps(write)


@pytest.mark.parametrize("padded_by", ["Conv", "Pad"])
def test_padding_that_is_cut_off_again(padded_by: str) -> None:
    """Temporal convolution networks: Conv1d(padding=2 * dilation), Chomp1d, ReLU, and a residual."""

    def write(hand: Hand) -> Any:
        x = channels_first(hand)
        for dilation in (1, 2):
            n, before, own = 2 * dilation, x, {"pads": [2 * dilation] * 2}
            if padded_by == "Pad":
                x, own = hand("Pad", x, ints(0, 0, n, 0, 0, n)), {}
            y = hand(
                "Conv", x, hand.weights(N_MELS, N_MELS, 3), hand.shift(N_MELS), dilations=[dilation], **own
            )
            far = np.iinfo(np.int64).max
            if dilation == 1:
                y = hand("Relu", hand("Slice", y, ints(0), ints(-n), ints(2)))
            else:  # as Keras' Cropping1D, which names all axes
                y = hand("Transpose", hand("Tanh", y), perm=[0, 2, 1])
                y = hand("Slice", y, ints(0, 0, 0), ints(far, -n, far), ints(0, 1, 2))
                y = hand("Transpose", y, perm=[0, 2, 1])
            x = hand("Add", y, before)
        return hand.head(hand("ReduceMean", x, ints(2), keepdims=0), N_MELS)

    check_steps(write)


@pytest.mark.parametrize("start", [-1, 15], ids=["from the end", "from the beginning"])
@pytest.mark.parametrize("n_bands", [N_MELS, 2], ids=["all bands", "some bands"])
def test_last_position_named_with_all_axes(start: int, n_bands: int) -> None:
    """Keras' x[:, -1, :] and Cropping1D((15, 0)): a Slice of all three axes."""

    def write(hand: Hand) -> Any:
        x = hand("Tanh", hand.dense(hand.features, N_MELS, N_MELS))
        first = start if start < 0 else hand.features.shape[1] - 1
        far = np.iinfo(np.int64).max
        x = hand("Slice", x, ints(0, first, 0), ints(far, far, n_bands), ints(0, 1, 2), ints(1, 1, 1))
        return hand.head(hand("Squeeze", x, ints(1)), n_bands)

    check_steps(write)


def test_activations_that_choose() -> None:
    """ELU with its slope, as Keras writes it, and a hard shrink: Where, of comparisons with constants."""

    def write(hand: Hand) -> Any:
        x = hand.dense(hand.features, N_MELS, N_MELS)
        zero, half = np.array(0, np.float32), np.array(0.5, np.float32)
        elu = hand("Where", hand("Greater", x, zero), x, hand("Mul", hand("Elu", x), half))
        small = hand("And", hand("Less", elu, half), hand("Not", hand("LessOrEqual", elu, hand("Neg", half))))
        x = hand("Where", small, np.zeros((1, hand.features.shape[1], 1), np.float32), elu)
        return hand.head(hand("ReduceMean", x, ints(1), keepdims=0), N_MELS)

    check_steps(write)


def test_convolution_within_positions() -> None:
    """TimeDistributed(Conv1D): positions are its batch."""

    def write(hand: Hand) -> Any:
        x = hand("Reshape", hand.features, ints(-1, 1, N_MELS))
        x = hand("Conv", x, hand.weights(3, 1, 3), hand.shift(3), pads=[1, 1])
        x = hand("MaxPool", hand("Relu", x), kernel_shape=[2], strides=[2])
        x = hand("Reshape", x, ints(1, -1, 3 * N_MELS // 2))
        return hand.head(hand("ReduceMax", x, ints(1), keepdims=0), 3 * N_MELS // 2)

    check_steps(write)


@pytest.mark.parametrize(
    "way",
    ["Tile", "Expand", "Slice", "Gather", "several", "ReduceMean", "GlobalAveragePool", "cut", "split"],
)
def test_attention_pooling(way: str) -> None:
    """Weights that are repeated for each band, taken from an axis, or reshaped; and the mean of weighted values."""

    def write(hand: Hand) -> Any:
        n_frames = hand.features.shape[1]
        x = hand("Tanh", hand.dense(hand.features, N_MELS, N_MELS))
        scores = hand("Mul", hand.dense(x, N_MELS, 2 if way == "several" else 1), np.array(5, np.float32))
        weights = hand("Softmax", scores, axis=1)
        if way == "Tile":
            weights = hand("Tile", weights, ints(1, 1, N_MELS))
        elif way == "Expand":
            weights = hand("Expand", weights, ints(1, n_frames, N_MELS))
        elif way == "Slice":
            far = np.iinfo(np.int64).max
            weights = hand("Slice", weights, ints(0, 0, 0), ints(far, far, 1), ints(0, 1, 2))
        elif way == "Gather":
            weights = hand("Unsqueeze", hand("Gather", weights, np.array(0), axis=2), ints(2))
        elif way == "several":
            weights = hand("Transpose", hand("Reshape", weights, ints(n_frames, 2)), perm=[1, 0])
            pooled = hand("MatMul", hand("Unsqueeze", weights, ints(0)), x)
            return hand.head(hand("Reshape", pooled, ints(1, -1)), 2 * N_MELS)
        weighted = hand("Mul", weights, x)
        if way == "cut":
            weighted = hand("Slice", weighted, ints(1), ints(3), ints(2))
            return hand.head(hand("ReduceSum", weighted, ints(1), keepdims=0), 2)
        if way == "split":
            weighted = hand("Transpose", hand("Reshape", weighted, ints(n_frames, 2, 2)), perm=[1, 0, 2])
            return hand.head(hand("Reshape", hand("ReduceSum", weighted, ints(1)), ints(1, 4)), N_MELS)
        if way == "ReduceMean":
            pooled = hand("ReduceMean", weighted, ints(1), keepdims=0)
        elif way == "GlobalAveragePool":
            pooled = hand(
                "Squeeze", hand("GlobalAveragePool", hand("Transpose", weighted, perm=[0, 2, 1])), ints(2)
            )
        else:
            pooled = hand("ReduceSum", weighted, ints(1), keepdims=0)
        return hand.head(pooled, N_MELS)

    check_steps(write)


def test_weights_of_several_sums() -> None:
    """One softmax over time weighs two sums, whose answers are combined; weights go through a reshape."""

    def write(hand: Hand) -> Any:
        x = hand("Tanh", hand.dense(hand.features, N_MELS, 5))
        weights = hand("Softmax", hand("Mul", hand.dense(x, 5, 1), np.array(20, np.float32)), axis=1)
        one = hand(
            "ReduceSum", hand("Mul", hand("Mul", weights, np.array(2, np.float32)), x), ints(1), keepdims=0
        )
        rows = hand("Reshape", weights, ints(1, 1, -1))
        other = hand("Reshape", hand("MatMul", rows, hand("Neg", hand.features)), ints(1, N_MELS))
        return hand.head(hand("Concat", one, other, axis=1), 5 + N_MELS)

    check_steps(write)


@pytest.mark.parametrize("offset", [-1000, 1000])
def test_scores_far_from_zero_do_not_overflow(offset: float) -> None:
    def write(hand: Hand) -> Any:
        scores = hand("Add", hand.dense(hand.features, N_MELS, 1), np.array(offset, np.float32))
        weights = hand("Softmax", scores, axis=1)
        product = hand("Mul", weights, hand.features)
        return hand.head(hand("ReduceSum", product, ints(1), keepdims=0), N_MELS)

    check_steps(write)


def test_answers_are_combined() -> None:
    """What is known at the end may meet its like: a gate of the maximum, multiplied with the mean."""

    def write(hand: Hand) -> Any:
        mean, most = (hand(f"Reduce{kind}", hand.features, ints(1), keepdims=0) for kind in ("Mean", "Max"))
        return hand.head(hand("Mul", mean, hand("Sigmoid", hand.dense(most, N_MELS, N_MELS))), N_MELS)

    check_steps(write)


# --- what cannot be streamed ---------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[Hand], Any], list[str]]] = {}
"""What writes a graph, and what its refusal says: the node, the problem, the advice."""


def refused(*words: str) -> Callable[[Callable[[Hand], Any]], None]:
    def register(write: Callable[[Hand], Any]) -> None:
        REFUSED[write.__name__.replace("_", " ")] = (write, list(words))

    return register


@pytest.mark.parametrize("direction", ["bidirectional", "reverse"])
@pytest.mark.parametrize("op_type", ["LSTM", "GRU", "RNN"])
def test_backward_layers_are_refused(direction: str, op_type: str) -> None:
    def write(hand: Hand) -> Any:
        y, _ = hand.lstm(over_time(hand), N_MELS, 3, op_type=op_type, direction=direction)
        return hand("Relu", y)

    check_refusal(write, [f"{op_type} {op_type.lower()}_1", f"runs {direction}", "forward layer"])


@refused("Conv culprit", "pads time on both sides", 'padding="causal"')
def same_padding(hand: Hand) -> Any:
    return hand("Conv", channels_first(hand), hand.weights(5, N_MELS, 3), pads=[1, 1], name="culprit")


@refused("Conv culprit", "pads time on both sides", 'padding="causal"')
def automatic_padding(hand: Hand) -> Any:
    return hand(
        "Conv", channels_first(hand), hand.weights(5, N_MELS, 3), auto_pad="SAME_UPPER", name="culprit"
    )


@refused("Conv culprit", "pads time on both sides", 'padding="causal"')
def padding_that_stays(hand: Hand) -> Any:
    return hand(
        "Relu", hand("Conv", channels_first(hand), hand.weights(5, N_MELS, 3), pads=[2, 2], name="culprit")
    )


@refused("Pad culprit", "pads time by 2 and 2", 'padding="causal"')
def mean_of_padding_behind(hand: Hand) -> Any:
    x = hand("Pad", channels_first(hand), ints(0, 0, 2, 0, 0, 2), name="culprit")
    return hand("ReduceMean", hand("Conv", x, hand.weights(5, N_MELS, 3)), ints(2), keepdims=0)


@refused("Conv culprit", "pads time on both sides", 'padding="causal"')
def too_little_cut_off(hand: Hand) -> Any:
    x = hand("Conv", channels_first(hand), hand.weights(5, N_MELS, 3), pads=[2, 2], name="culprit")
    return hand("ReduceMean", hand("Slice", x, ints(0), ints(-1), ints(2)), ints(2), keepdims=0)


@refused("Conv culprit", "pads time on both sides", 'padding="causal"')
def the_beginning_cut_off(hand: Hand) -> Any:
    x = hand("Conv", channels_first(hand), hand.weights(5, N_MELS, 3), pads=[2, 2], name="culprit")
    return hand("ReduceMean", hand("Slice", x, ints(2), ints(18), ints(2)), ints(2), keepdims=0)


@refused("Conv culprit", "is not padded and so leaves out 2 positions", 'padding="causal"')
def valid_padding(hand: Hand) -> Any:
    return hand("Conv", channels_first(hand), hand.weights(5, N_MELS, 3), name="culprit")


@refused("Conv culprit", "is padded by 1 and so leaves out 1 position;", 'padding="causal"')
def too_little_padding(hand: Hand) -> Any:
    return hand("Conv", channels_first(hand), hand.weights(5, N_MELS, 3), pads=[1, 0], name="culprit")


@refused("Conv culprit", "pads 3 positions and looks back on 2", "pad kernel - 1 positions")
def too_much_padding(hand: Hand) -> Any:
    return hand("Conv", channels_first(hand), hand.weights(5, N_MELS, 3), pads=[3, 0], name="culprit")


@refused("Conv culprit", "pads time on both sides", "looks 10 ms ahead", "past side", "--delay")
def explicit_padding_on_both_sides(hand: Hand) -> Any:
    x = hand("Pad", channels_first(hand), ints(0, 0, 1, 0, 0, 1))
    return hand("Conv", x, hand.weights(5, N_MELS, 3), name="culprit")


@refused("Pad culprit", "pads time", "zeros on the past side")
def padding_by_repetition(hand: Hand) -> Any:
    x = hand("Pad", channels_first(hand), ints(0, 0, 2, 0, 0, 0), mode="edge", name="culprit")
    return hand("Conv", x, hand.weights(5, N_MELS, 3))


@refused("Pad culprit", "values other than zero", "pad with zeros")
def padding_with_ones(hand: Hand) -> Any:
    x = hand("Pad", channels_first(hand), ints(0, 0, 2, 0, 0, 0), np.array(1, np.float32), name="culprit")
    return hand("Conv", x, hand.weights(5, N_MELS, 3))


@refused("Conv culprit", "pads time again", "pad once")
def padding_twice(hand: Hand) -> Any:
    x = hand("Pad", channels_first(hand), ints(0, 0, 1, 0, 0, 0))
    return hand("Conv", x, hand.weights(5, N_MELS, 3), pads=[1, 0], name="culprit")


@refused("ReduceMean culprit", "follows padding in time", "right before a convolution")
def mean_of_padding(hand: Hand) -> Any:
    return hand("ReduceMean", hand("Pad", hand.features, ints(0, 2, 0, 0, 0, 0)), ints(1), name="culprit")


@refused("Reshape culprit", "follows padding in time", "right before a convolution")
def flattened_padding(hand: Hand) -> Any:
    return hand("Reshape", hand("Pad", hand.features, ints(0, 2, 0, 0, 0, 0)), ints(1, -1), name="culprit")


@refused("MaxPool culprit", "pools over padding", "without padding, with a stride as long as the kernel")
def padded_pooling(hand: Hand) -> Any:
    return hand(
        "MaxPool", channels_first(hand), kernel_shape=[2], strides=[2], pads=[1, 1 - 1], name="culprit"
    )


@refused("MaxPool culprit", "is not padded and so leaves out 1 position;", "stride as long as the kernel")
def overlapping_pooling(hand: Hand) -> Any:
    return hand("MaxPool", channels_first(hand), kernel_shape=[2], strides=[1], name="culprit")


@refused("AveragePool culprit", "divides 16 positions by 3", "multiple")
def pooling_with_a_rest(hand: Hand) -> Any:
    return hand("AveragePool", channels_first(hand), kernel_shape=[3], strides=[3], name="culprit")


@refused("MaxPool culprit", "one position spans 8 frames, a step 4", "multiple of 8 frames", "less pooling")
def pooling_longer_than_a_step(hand: Hand) -> Any:
    x = hand("MaxPool", channels_first(hand), kernel_shape=[4], strides=[4])
    return hand("MaxPool", x, kernel_shape=[2], strides=[2], name="culprit")


@refused("Reshape culprit", "one position spans 8 frames, a step 4", "multiple of 8 frames")
def joining_more_than_a_step(hand: Hand) -> Any:
    return hand("Reshape", hand.features, ints(1, 2, 8 * N_MELS), name="culprit")


@refused(
    "MatMul culprit", "compares positions of the window with each other", "attention has no streaming form"
)
def self_attention(hand: Hand) -> Any:
    query, key = (hand.dense(hand.features, N_MELS, 3) for _ in range(2))
    scores = hand("MatMul", query, hand("Transpose", key, perm=[0, 2, 1]), name="culprit")
    return hand("MatMul", hand("Softmax", scores), hand.features)


@refused("MatMul culprit", "compares positions of the window with each other")
def products_of_positions(hand: Hand) -> Any:
    return hand("MatMul", channels_first(hand), hand.features, name="culprit")


@refused("Add culprit", "a constant that changes over the window", "leave out positional encodings")
def positional_encoding(hand: Hand) -> Any:
    return hand("Add", hand.features, hand.shift(16, N_MELS), name="culprit")


@refused("PRelu culprit", "a constant that changes over the window")
def slope_of_each_position(hand: Hand) -> Any:
    return hand("PRelu", hand.features, hand.shift(16, 1), name="culprit")


@refused("Gemm culprit", "a constant that changes over the window")
def bias_of_each_position(hand: Hand) -> Any:
    x = hand("Squeeze", hand.features, ints(0))
    return hand("Gemm", x, hand.weights(N_MELS, 3), hand.shift(16, 3), name="culprit")


@refused("MatMul culprit", "a constant that changes over the window")
def weights_of_each_position(hand: Hand) -> Any:
    return hand("MatMul", over_time(hand), hand.weights(16, N_MELS, 3), name="culprit")


@refused("MatMul culprit", "multiplies by a vector", "two axes")
def product_with_a_vector(hand: Hand) -> Any:
    return hand("MatMul", hand.features, hand.shift(N_MELS), name="culprit")


@refused("LSTM culprit", "starts from values other than zero", "initial state")
def initial_state(hand: Hand) -> Any:
    weights = hand.weights(1, 20, N_MELS), hand.weights(1, 20, 5), hand.shift(1, 40)
    initial = np.zeros((1, 1, 5), np.float32), np.ones((1, 1, 5), np.float32)
    return hand("LSTM", over_time(hand), *weights, None, *initial, hidden_size=5, name="culprit")


@refused("GRU culprit", "brings what is known of the whole window into each position")
def initial_state_of_the_audio(hand: Hand) -> Any:
    weights = hand.weights(1, 12, N_MELS), hand.weights(1, 12, N_MELS), hand.shift(1, 24)
    initial = hand("ReduceMax", over_time(hand), ints(0), keepdims=1)
    return hand("GRU", over_time(hand), *weights, None, initial, hidden_size=N_MELS, name="culprit")


@refused("RNN culprit", "stops before the end", "sequence lengths")
def shorter_sequence(hand: Hand) -> Any:
    weights = hand.weights(1, 5, N_MELS), hand.weights(1, 5, 5), hand.shift(1, 10)
    return hand("RNN", over_time(hand), *weights, np.array([10], np.int32), hidden_size=5, name="culprit")


@refused("LSTM culprit", "treats time as its batch", "axis 0")
def time_as_the_batch(hand: Hand) -> Any:
    return hand(
        "LSTM",
        hand.features,
        hand.weights(1, 20, N_MELS),
        hand.weights(1, 20, 5),
        name="culprit",
        hidden_size=5,
    )


@refused("Mul culprit", "brings what is known of the whole window into each position")
def squeeze_and_excitation(hand: Hand) -> Any:
    mean = hand("ReduceMean", hand.features, ints(1), keepdims=1)
    gated = hand("Mul", hand.features, hand("Sigmoid", hand.dense(mean, N_MELS, N_MELS)), name="culprit")
    return hand.head(hand("ReduceMean", gated, ints(1), keepdims=0), N_MELS)


@refused("Sub culprit", "brings what is known of the whole window into each position", "combine")
def mean_taken_off(hand: Hand) -> Any:
    return hand("Sub", hand.features, hand("ReduceMean", hand.features, ints(1)), name="culprit")


@refused("Sub culprit", "brings what is known of the whole window into each position")
def last_position_taken_off(hand: Hand) -> Any:
    return hand("Sub", hand.features, hand("Gather", hand.features, ints(-1), axis=1), name="culprit")


@refused("MatMul culprit", "brings what is known of the whole window into each position")
def attention_to_the_last_state(hand: Hand) -> Any:
    _, state = hand.lstm(over_time(hand), N_MELS, N_MELS)
    scores = hand("MatMul", hand.features, hand("Transpose", state, perm=[0, 2, 1]), name="culprit")
    return hand("ReduceSum", hand("Mul", hand("Softmax", scores, axis=1), hand.features), ints(1))


@refused("Concat culprit", "brings what is known of the whole window into each position")
def zeros_of_the_window_in_front(hand: Hand) -> Any:
    first = hand("Neg", hand("ReduceMin", hand("ReduceMax", hand.features, ints(1)), ints(2)))
    return hand("Concat", hand("Expand", first, ints(1, 16, 1)), hand.features, axis=2, name="culprit")


@refused("Add culprit", "uses weights over the whole window", "only a weighted sum")
def weights_used_for_something_else(hand: Hand) -> Any:
    return hand("Add", hand("Softmax", hand.features, axis=1), hand.features, name="culprit")


@refused("ReduceMax culprit", "uses weights over the whole window", "only a weighted sum")
def largest_weight(hand: Hand) -> Any:
    return hand("ReduceMax", hand("Softmax", hand.features, axis=1), ints(1), name="culprit")


@refused("ReduceSum culprit", "uses weights over the whole window")
def weights_summed_within_positions(hand: Hand) -> Any:
    product = hand("Mul", hand("Softmax", hand.features, axis=1), hand.features)
    return hand("ReduceSum", hand("ReduceSum", product, ints(2), name="culprit"), ints(1))


@refused("ReduceSum culprit", "uses weights over the whole window")
def weights_summed_over_both(hand: Hand) -> Any:
    product = hand("Mul", hand("Softmax", hand.features, axis=1), hand.features)
    return hand("ReduceSum", product, ints(1, 2), name="culprit")


@refused("MatMul culprit", "uses weights over the whole window")
def weights_through_a_dense_layer(hand: Hand) -> Any:
    product = hand("Mul", hand("Softmax", hand.features, axis=1), hand.features)
    return hand("ReduceSum", hand("MatMul", product, hand.weights(N_MELS, 3), name="culprit"), ints(1))


@refused("Reshape culprit", "uses weights over the whole window")
def weights_flattened(hand: Hand) -> Any:
    return hand("Reshape", hand("Softmax", hand.features, axis=1), ints(1, -1), name="culprit")


@refused("Conv culprit", "pads time on both sides")
def every_other_position(hand: Hand) -> Any:
    """As many as there are frames, but others."""
    x = hand("Conv", channels_first(hand), hand.weights(3, N_MELS, 17), pads=[16, 16], name="culprit")
    return hand("ReduceMax", hand("Slice", x, ints(0), ints(32), ints(2), ints(2)), ints(2))


@refused("ReduceSum culprit", "reduces numbers of type", "float")
def number_of_loud_frames(hand: Hand) -> Any:
    loud = hand("Cast", hand("Greater", hand.features, np.array(0, np.float32)), to=ir.DataType.INT32)
    return hand("Cast", hand("ReduceSum", loud, ints(1), name="culprit"), to=ir.DataType.FLOAT)


@refused("Slice culprit", "uses weights over the whole window")
def last_weight(hand: Hand) -> Any:
    return hand("Slice", hand("Softmax", hand.features, axis=1), ints(-1), ints(16), ints(1), name="culprit")


@refused("Tile culprit", "repeats time", "bands or channels")
def window_twice(hand: Hand) -> Any:
    return hand("ReduceMax", hand("Tile", hand.features, ints(1, 2, 1), name="culprit"), ints(1))


@refused("Mul culprit", "multiplies weights over time by each other", "a weighted sum of its own")
def weights_of_weights(hand: Hand) -> Any:
    one, other = (hand("Softmax", hand.dense(hand.features, N_MELS, 1), axis=1) for _ in range(2))
    return hand("ReduceSum", hand("Mul", one, other, name="culprit"), ints(1))


@refused("LayerNormalization culprit", "normalises over the whole window", "within frames")
def normalisation_over_time(hand: Hand) -> Any:
    return hand("LayerNormalization", hand.features, hand.shift(16, N_MELS), axis=1, name="culprit")


@refused("BatchNormalization culprit", "treats time as its channels", "channels first")
def normalisation_of_each_position(hand: Hand) -> Any:
    return hand(
        "BatchNormalization", hand.features, *[hand.weights(16) ** 2 for _ in range(4)], name="culprit"
    )


@refused("Conv culprit", "treats time as its channels")
def convolution_over_bands(hand: Hand) -> Any:
    return hand("Conv", hand.features, hand.weights(3, 16, 1), name="culprit")


@refused("Conv culprit", "combines audio with audio")
def weights_of_the_audio(hand: Hand) -> Any:
    kernel = hand("Transpose", hand.features, perm=[0, 2, 1])
    return hand("Conv", channels_first(hand), kernel, pads=[15, 0], name="culprit")


@refused("ReduceMin culprit", "reduces the window", "mean or maximum")
def minimum_over_time(hand: Hand) -> Any:
    return hand("ReduceMin", hand.features, ints(1), name="culprit")


@refused("Slice culprit", "cuts time", "last position")
def first_half(hand: Hand) -> Any:
    return hand("Slice", hand.features, ints(0), ints(8), ints(1), name="culprit")


@refused("Slice culprit", "turns time around", "forward")
def reversed_time(hand: Hand) -> Any:
    far = np.iinfo(np.int64).min
    return hand("Slice", hand.features, ints(-1), ints(far), ints(1), ints(-1), name="culprit")


@refused("Gather culprit", "picks positions in time", "last one")
def first_position(hand: Hand) -> Any:
    return hand("Gather", hand.features, np.array(0), axis=1, name="culprit")


@refused("RNN culprit", "computes neg_0:0", "make it a constant")
def computed_initial_state(hand: Hand) -> Any:
    initial = hand("Neg", np.zeros((1, 1, 5), np.float32))
    weights = hand.weights(1, 5, N_MELS), hand.weights(1, 5, 5), hand.shift(1, 10)
    return hand("RNN", over_time(hand), *weights, None, initial, hidden_size=5, name="culprit")


@refused("LSTM culprit", "gives a state as the answer", "softmax")
def state_as_the_answer(hand: Hand) -> Any:
    weights = hand.weights(1, 20, N_MELS), hand.weights(1, 20, 5), hand.shift(1, 40)
    return hand("LSTM", over_time(hand), *weights, outputs=2, hidden_size=5, name="culprit")[1]


@refused("Split culprit", "cuts time", "bands or channels")
def halves(hand: Hand) -> Any:
    one, other = hand("Split", hand.features, ints(8, 8), axis=1, outputs=2, name="culprit")
    return hand("Add", one, other)


@refused("Concat culprit", "joins values of different times", "bands or channels")
def window_after_window(hand: Hand) -> Any:
    return hand("Concat", hand.features, hand.features, axis=1, name="culprit")


@refused("Add culprit", "different pace", "one pace")
def time_meets_time_elsewhere(hand: Hand) -> Any:
    x = hand.dense(hand.features, N_MELS, 1)
    return hand("Add", x, hand("Transpose", x, perm=[0, 2, 1]), name="culprit")


@refused("CumSum culprit", "has no streaming form", "leave it out, or export a window graph")
def unknown_operator(hand: Hand) -> Any:
    return hand("CumSum", hand.features, np.array(1), name="culprit")


@refused("culprit:0 has an answer for each position", "one for the whole window")
def answer_of_each_frame(hand: Hand) -> Any:
    return hand("Relu", hand.features, name="culprit")


def check_refusal(write: Callable[[Hand], Any], words: list[str]) -> None:
    hand = Hand(16, N_MELS)
    graph = hand.graph(write(hand))
    run(graph, random_features(16, N_MELS))  # it is a graph that works
    with pytest.raises(ExportError) as caught:
        stream(graph, step_frames=4)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str) -> None:
    check_refusal(*REFUSED[case])


def test_step_longer_than_the_window() -> None:
    hand = Hand(16, N_MELS)
    graph = hand.graph(hand.head(hand("ReduceMean", hand.features, ints(1), keepdims=0), N_MELS))
    with pytest.raises(
        ExportError, match=r"^a step of 17 frames is longer than the window of 16; use a shorter"
    ):
        stream(graph, step_frames=17)


def test_window_of_one_position_is_refused() -> None:
    """It would leave no time to squeeze."""
    hand = Hand(16, N_MELS)
    x = hand("MaxPool", channels_first(hand), kernel_shape=[16], strides=[16])
    graph = hand.graph(hand.head(hand("Squeeze", x, ints(2), name="culprit"), N_MELS))
    with pytest.raises(ExportError, match=r"Squeeze culprit: it removes the axis of time, .*; pool less"):
        stream(graph, step_frames=16)


def test_open_shapes_are_refused() -> None:
    hand = Hand(16, N_MELS)
    graph = hand.graph(hand.head(hand("ReduceMean", hand.features, ints(1), keepdims=0), N_MELS))
    graph.inputs[0].shape = ir.Shape((1, "n_frames", N_MELS))
    with pytest.raises(
        ExportError, match=r"^the shape of features is .*n_frames.*, expected a number for each"
    ):
        stream(graph, step_frames=4)


def test_operators_of_other_domains_are_refused() -> None:
    """Also those that have the name of a known one."""
    hand = Hand(16, N_MELS)
    x = hand("Relu", hand.features, name="culprit")
    graph = hand.graph(hand.head(hand("ReduceMean", x, ints(1), keepdims=0), N_MELS))
    graph[0].domain = "com.example"
    with pytest.raises(ExportError, match="Relu culprit: it has no streaming form"):
        stream(graph, step_frames=4)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (lambda: layers.Bidirectional(layers.LSTM(3)), ["LSTM ", "runs bidirectional"]),
        (
            lambda: layers.LSTM(3, go_backwards=True, name="mine"),
            ["ReverseSequence ", "/mine", "has no streaming form"],
        ),
        (
            lambda: layers.Conv1D(3, 3, padding="same", name="mine"),
            ["Conv ", "/mine", "pads time on both sides"],
        ),
        (
            lambda: layers.Conv1D(3, 3, padding="valid", name="mine"),
            ["Conv ", "/mine", "leaves out 2 positions"],
        ),
        (
            lambda: layers.GroupNormalization(2, name="mine"),
            ["Sub ", "/mine", "brings what is known of the whole window"],
        ),
        (lambda: attention, ["MatMul ", "compares positions of the window with each other"]),
    ],
    ids=["bidirectional", "backwards", "same", "valid", "group normalisation", "attention"],
)
def test_keras_layers_are_refused(layer: Callable[[], Any], words: list[str]) -> None:
    inputs = layers.Input((16, N_MELS))
    x = layers.Flatten()(layer()(inputs))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x), name="refused")
    graph = network_graph(model, n_frames=16, n_mels=N_MELS, n_labels=3)
    with pytest.raises(ExportError) as caught:
        stream(graph, step_frames=4)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def attention(x: Any) -> Any:
    return layers.MultiHeadAttention(1, 2)(x, x)


# --- states --------------------------------------------------------------------------------------------


def several_states(hand: Hand) -> Any:
    """A state of every kind."""
    x = hand("Conv", channels_first(hand), hand.weights(5, N_MELS, 3), hand.shift(5), pads=[2, 0])
    x = hand("MaxPool", hand("Relu", x), kernel_shape=[2], strides=[2])
    x = hand("Pad", x, ints(0, 0, 1, 0, 0, 0))
    x = hand("Transpose", hand("Relu", hand("Conv", x, hand.weights(5, 5, 2))), perm=[2, 0, 1])
    y, state = hand.lstm(x, 5, 4)
    y, other = hand.lstm(hand("Squeeze", y, ints(1)), 4, 3, op_type="GRU")
    y = hand("Squeeze", y, ints(1))
    weights = hand("Softmax", hand.dense(y, 3, 1), axis=0)
    ends = [
        hand("Reshape", end, ints(1, -1))
        for end in (
            *(state, other, hand("ReduceSum", hand("Mul", weights, y), ints(0))),
            *(hand(op_type, y, ints(0)) for op_type in ("ReduceMean", "ReduceMax", "ReduceSum")),
            hand("Transpose", y, perm=[1, 0, 2]),
        )
    ]
    return hand.head(hand("Concat", *ends, axis=1), 4 + 5 * 3 + 8 * 3)


def graph_of(write: Callable[[Hand], Any], n_frames: int = 16) -> ir.Graph:
    hand = Hand(n_frames, N_MELS)
    return hand.graph(write(hand))


def test_states_are_declared() -> None:
    graph, states = stream(graph_of(several_states), step_frames=4)
    assert [(state.shape, state.holds) for state in states] == [
        ((1, N_MELS, 2), "2 frames before Conv conv_1"),
        ((1, 5, 1), "1 positions before Pad pad_4"),
        ((1, 1, 4), "h of LSTM lstm_8"),
        ((1, 1, 4), "c of LSTM lstm_8"),
        ((1, 1, 3), "h of GRU gru_10"),
        ((1, 1, 1), "largest score of Softmax softmax_14"),
        ((1, 1, 1), "sum of weights of Softmax softmax_14"),
        ((1, 1, 3), "weighted sum of ReduceSum reducesum_16"),
        ((1, 1, 3), "mean of ReduceMean reducemean_17"),
        ((1,), "positions seen by ReduceMean reducemean_17"),
        ((1, 1, 3), "maximum of ReduceMax reducemax_18"),
        ((1,), "whether ReduceMax reducemax_18 has begun"),
        ((1, 1, 3), "sum of ReduceSum reducesum_19"),
        ((1, 6, 3), "6 positions before Reshape reshape_27"),
    ]
    assert [state.name for state in states] == [f"state_{i + 1}" for i in range(len(states))]
    features, *inputs = graph.inputs
    assert tuple(features.shape) == (1, 4, N_MELS)
    probabilities, *outputs = graph.outputs
    assert tuple(probabilities.shape) == (1, 3)
    for state, this, following in zip(states, inputs, outputs, strict=True):
        assert (this.name, following.name) == (state.name, f"{state.name}_next")
        assert state.next_name == following.name
        assert tuple(this.shape) == tuple(following.shape) == state.shape
        assert this.dtype == following.dtype == ir.DataType.FLOAT
    names = [value.name for value in (*graph.inputs, *graph.initializers.values())]
    names += [value.name for node in graph for value in node.outputs if value.name]
    assert len(set(names)) == len(names)


def test_a_reset_gives_the_same_bits() -> None:
    graph, states = stream(graph_of(several_states), step_frames=4)
    x = random_features(40, N_MELS)
    first, carried = run_steps(graph, states, x)
    again, carried_again = run_steps(graph, states, x)
    np.testing.assert_array_equal(first, again)
    for one, other, state in zip(carried, carried_again, states, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.shape == state.shape
        assert one.dtype == np.float32
    # They are carried: another past gives another answer.
    other_past, _ = run_steps(graph, states, np.concatenate([-x[:20], x[20:]]))
    assert np.abs(other_past[-1] - first[-1]).max() > 1e-6


def test_the_window_graph_is_not_changed() -> None:
    graph = graph_of(several_states)
    before = to_bytes(as_model(graph))
    first, states = stream(graph, step_frames=4)
    assert to_bytes(as_model(graph)) == before
    second, states_again = stream(graph, step_frames=4)
    assert to_bytes(as_model(first)) == to_bytes(as_model(second))
    assert states == states_again
    with pytest.raises(ExportError):
        stream(graph, step_frames=3)
    assert to_bytes(as_model(graph)) == before


def test_names_like_those_of_states_give_way() -> None:
    """Of a constant, of a value within, of the features and of the answer."""
    graph = graph_of(several_states)
    x = random_features(16, N_MELS)
    expected = run(graph, x)
    graph.inputs[0].name = "state_1"
    graph.outputs[0].name = "state_2_next"
    graph[0].outputs[0].name = "state_3"
    next(iter(graph.initializers.values())).name = "state_4_next"
    streamed, states = stream(graph, step_frames=4)
    answers, _ = run_steps(streamed, states, x)
    np.testing.assert_allclose(answers[-1], expected, rtol=0, atol=ATOL)


def test_running_states_stay_in_bounds() -> None:
    """After hours, means and weighted sums are no larger than what they are of."""

    def write(hand: Hand) -> Any:
        weights = hand("Softmax", hand.dense(hand.features, N_MELS, 1), axis=1)
        ends = [
            hand("ReduceSum", hand("Mul", weights, hand.features), ints(1), keepdims=0),
            *(hand(op_type, hand.features, ints(1), keepdims=0) for op_type in ("ReduceMean", "ReduceMax")),
        ]
        return hand("Concat", *ends, axis=1)

    graph, states = stream(graph_of(write), step_frames=16)
    x = np.tile(random_features(16, N_MELS), (3000, 1))
    answers, _ = run_steps(graph, states, x)
    np.testing.assert_allclose(answers[-1], answers[0], rtol=0, atol=1e-4)


# --- whole files ---------------------------------------------------------------------------------------

SMALL = {"sample_rate": 8000, "n_mels": 8, "fmax_hz": 4000.0}
FEATURES = {
    "running peak": Features(**SMALL, n_fft=256, hop_samples=80, level_frames=20),
    "none": Features(**SMALL, n_fft=256, hop_samples=128, level="none"),
    "long peak": Features(**SMALL, n_fft=400, hop_samples=160, level_frames=320),
    "peak of the frame": Features(**SMALL, n_fft=256, hop_samples=100, level_frames=1),
    "running mean": Features(
        **SMALL, n_fft=256, hop_samples=80, level="running_mean", mean_s=0.2, mean_start_s=0.05
    ),
    "no overlap": Features(**SMALL, n_fft=160, hop_samples=160, level="none"),
    "shipped": Features(),
}


def over_features(hand: Hand, features: Features) -> Any:
    """A network on decibels."""
    scale, shift = np.array(0.05, np.float32), np.array(1.5, np.float32)
    x = hand("Add", hand("Mul", hand.features, scale), shift)
    x = hand("Transpose", x, perm=[0, 2, 1])
    x = hand("Relu", hand("Conv", x, hand.weights(6, features.n_columns, 3), hand.shift(6), pads=[2, 0]))
    x = hand("Transpose", hand("MaxPool", x, kernel_shape=[2], strides=[2]), perm=[2, 0, 1])
    y, state = hand.lstm(x, 6, 5)
    mean = hand("ReduceMean", hand("Squeeze", y, ints(1)), ints(0), keepdims=0)
    return hand.head(hand("Concat", hand("Squeeze", state, ints(0)), mean, axis=1), 10)


def file_of(
    graph: ir.Graph, features: Features, path: Path, *, n_frames: int, step: int, states: list[State]
) -> Path:
    metadata = Metadata(
        name="by_hand",
        summary="for tests",
        labels=("a", "b", "c"),
        mode="stream" if states else "window",
        window_samples=n_frames * features.hop_samples,
        step_samples=step * features.hop_samples,
        states=tuple(states),
        features=features,
        n_parameters=1,
        licence="none",
    )
    save(assemble(graph, metadata), path)
    return path


@pytest.mark.parametrize("step", [2, 6])
@pytest.mark.parametrize("name", FEATURES)
def test_whole_file(name: str, step: int, tmp_path: Path) -> None:
    """Front end and network, from the zero states: the answer of the window file of all audio so far."""
    features, window = FEATURES[name], 24

    def network(n_frames: int) -> ir.Graph:
        hand = Hand(n_frames, features.n_columns, seed=3)
        graph = hand.graph(over_features(hand, features))
        simplify(graph)
        return graph

    graph, states = stream(network(window), step_frames=step)
    path = file_of(graph, features, tmp_path / "stream.onnx", n_frames=window, step=step, states=states)
    model = EmotionModel(path)
    own = [state.name for state in states]
    carried = {state.name: np.zeros(state.shape, np.float32) for state in model.metadata.states}
    assert list(carried)[: len(own)] == own
    assert len(carried) == len(model.metadata.states)
    assert [n for n in carried if n not in own] == [
        f"frontend_state_{i + 1}" for i in range(len(carried) - len(own))
    ]

    n = features.hop_samples
    audio = np.concatenate([
        speech_like(20 * n, features.sample_rate, seed=1),
        noise(4 * n),
        speech_like(24 * n, features.sample_rate, seed=2) * np.float32(0.05),
    ])  # fmt: skip
    for k in range(1, len(audio) // (step * n) + 1):
        new = audio[(k - 1) * step * n : k * step * n]
        names = ["probabilities", *(state.next_name for state in model.metadata.states)]
        answer, *following = model.session.run(names, {"audio": new[np.newaxis], **carried})
        carried = dict(zip(carried, following, strict=True))
        if k * step in (6, 12, window, 36, 48):
            expected = EmotionModel(
                file_of(
                    network(k * step),
                    features,
                    tmp_path / f"{k}.onnx",
                    n_frames=k * step,
                    step=step,
                    states=[],
                )
            ).predict(audio[: k * step * n])
            np.testing.assert_allclose(answer[0], expected, rtol=0, atol=ATOL)


def test_what_was_learnt_of_the_voice_outlasts_an_utterance(tmp_path: Path) -> None:
    features, step = FEATURES["running mean"], 6
    hand = Hand(24, features.n_columns, seed=3)
    graph = hand.graph(over_features(hand, features))
    simplify(graph)
    graph, states = stream(graph, step_frames=step)
    model = EmotionModel(file_of(graph, features, tmp_path / "a.onnx", n_frames=24, step=step, states=states))
    lasting = [state.lasting for state in model.metadata.states]
    assert [s.holds for s in model.metadata.states if s.lasting] == [
        "voiced frames heard",
        "bands' running mean",
    ]

    new, used = (cast("StreamStepper", model.stepper()) for _ in range(2))
    n = step * features.hop_samples
    speech = speech_like(4 * n, features.sample_rate, seed=1)
    for k in range(4):
        used.step(speech[k * n : (k + 1) * n])
    learnt = used.states
    used.begin_utterance()
    for kept, before, now, fresh in zip(lasting, learnt, used.states, new.states, strict=True):
        np.testing.assert_array_equal(now, before if kept else fresh)
    other = speech_like(n, features.sample_rate, seed=2)
    assert np.abs(used.step(other) - new.step(other)).max() > 1e-3, "nothing was learnt"
    used.reset()
    fresh_again = cast("StreamStepper", model.stepper())
    np.testing.assert_array_equal(used.step(other), fresh_again.step(other))
