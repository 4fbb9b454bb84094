"""Streaming: after each step, the answer is that of the whole utterance so far; what cannot be streamed is named."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx_ir as ir
import pytest
from conftest import noise, randomise, speech_like
from handmade import Hand, op_types, run, run_steps, runner, to_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from edgeemo.errors import ExportError
from edgeemo.metadata import Features, Metadata, State
from edgeemo.model import EmotionModel
from edgeemo.workstation.architectures import ARCHITECTURES, build
from edgeemo.workstation.graphs.assemble import assemble, save
from edgeemo.workstation.graphs.network import network_graph
from edgeemo.workstation.graphs.simplify import simplify
from edgeemo.workstation.graphs.stream import stream

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

each_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


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
    # What depends on the number of frames is the head of a network without a recurrent layer: it has a window's.
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
def test_architectures_step_by_step(name: str, step: int) -> None:
    """Steps of 80, 160 and 320 ms; also beyond the window that the graph was made for."""
    if (name, step) == ("pure_cnn", 8):
        with pytest.raises(ExportError) as caught:
            stream(window_graph(name), step_frames=step)
        message = str(caught.value)
        assert re.match(
            "MaxPool .*/max_pooling2d.*: one position spans 16 frames, a step 8; use a step of a mu", message
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


def test_the_reference_is_the_model_itself() -> None:
    for name in ARCHITECTURES:
        expected = trained(name)(UTTERANCE[np.newaxis, :WINDOW], training=False)
        np.testing.assert_allclose(whole_utterance(name, WINDOW), expected, rtol=0, atol=1e-6)


@each_architecture
def test_states_of_architectures(name: str) -> None:
    graph, states = stream(window_graph(name), step_frames=16)
    kinds = [state.holds.partition(" ")[2].partition(" ")[0] for state in states if state.holds[0].isdigit()]
    recurrent = [state.holds.split()[0] for state in states if not state.holds[0].isdigit()]
    n_lstm = {"pure_cnn": 0, "cnn_lstm": 2, "pure_lstm": 4, "conv1d_lstm": 1}[name]
    assert recurrent == ["h", "c"] * n_lstm
    assert (
        kinds
        == {
            "pure_cnn": ["frames", *["positions"] * 4],
            "cnn_lstm": ["frames", "positions"],
            "pure_lstm": [],
            "conv1d_lstm": [],
        }[name]
    )
    assert op_types(graph).count("LSTM") == n_lstm
    # Nothing but the states comes in addition: each needs at most two operators.
    assert len(op_types(graph)) <= len(op_types(window_graph(name))) + 2 * len(kinds)


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
    *("last state", "last output", "last position", "mean", "global mean", "max", "global max", "sum", "max and mean"),
    *("weighted sum", "weighted product", "transposed weights", "heads", "flatten"),
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


@settings(max_examples=4000, deadline=None, report_multiple_bugs=False)
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
