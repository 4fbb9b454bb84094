"""Simplification: the same function in fewer operators, and what must be left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import onnx_ir as ir
import pytest
from keras import layers

from edgeemo.places import EXPORT_DIR
from edgeemo.workstation.architectures import build
from edgeemo.workstation.graphs.network import network_graph
from edgeemo.workstation.graphs.simplify import simplify
from edgeemo.workstation.training.recipe import load_recipe
from support.graphs import Hand, op_types, run
from support.networks import randomise
from support.recipes import SHIPPED

N_FRAMES, N_MELS = 16, 8
SETTINGS: dict[str, dict[str, Any]] = {
    "pure_cnn": {"filters": (4, 5, 6, 7), "pools": ((2, 2), (2, 2), (2, 1), (2, 1))},
    "cnn_lstm": {"filters": (4, 6), "pools": ((2, 2), (2, 2)), "units": (5, 6)},
    "pure_lstm": {"stack": 2, "units": (5, 6, 7, 5)},
    "conv1d_lstm": {"kernel": 3, "pool": 2, "units": 6},
    "attentive_cnn": {"filters": (4, 5, 6), "strides": ((2, 2), (1, 2), (2, 2)), "hidden": 5},
}


def features(n_frames: int = N_FRAMES, n_mels: int = N_MELS, *, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (n_frames, n_mels)).astype(np.float32)


def decibels(n_frames: int = N_FRAMES, n_mels: int = N_MELS, *, seed: int = 1) -> np.ndarray:
    """Features of the size that `randomise` fits the normalisation to."""
    return features(n_frames, n_mels, seed=seed) * 15 - 30


def with_negative_scales(model: keras.Model, *, seed: int = 0) -> keras.Model:
    """Turn the sign of every second scale of the batch normalisations."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma = layer.gamma.numpy()
            layer.gamma.assign(np.where(np.arange(len(gamma)) % 2 == seed % 2, -gamma, gamma))
    return model


def check(graph: ir.Graph, x: np.ndarray, *, atol: float = 1e-5) -> ir.Graph:
    """Simplify a copy: it computes the same, in no more nodes, with all shapes still known and right."""
    simplified = graph.clone()
    simplify(simplified)
    np.testing.assert_allclose(run(simplified, x), run(graph, x), rtol=0, atol=atol)
    assert len(op_types(simplified)) <= len(op_types(graph))
    assert all(
        value.shape is not None and all(isinstance(size, int) for size in value.shape)
        for node in simplified
        for value in node.outputs
        if value.uses()
    )
    return simplified


def check_hand(write: Callable[[Hand], Any]) -> tuple[list[str], list[str]]:
    """Operators before and after, of a graph with an answer of any shape."""
    hand = Hand(N_FRAMES, N_MELS)
    graph = hand.graph(write(hand))
    return op_types(graph), op_types(check(graph, features()))


# --- Keras models --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.slow
def test_architectures(name: str) -> None:
    """No arithmetic of a batch normalisation is left, and nothing that only a recurrent layer's conversion needs."""
    size = {"n_frames": N_FRAMES, "n_mels": N_MELS, "n_labels": 3}
    model = with_negative_scales(randomise(build(name, SETTINGS[name], **size)))
    graph = network_graph(model, **size)
    x = decibels()
    np.testing.assert_allclose(run(graph, x), model(x[np.newaxis], training=False), rtol=0, atol=1e-5)
    simplified = check(graph, x)
    assert len(op_types(simplified)) < len(op_types(graph))
    count = Counter(op_types(simplified))
    # Before a padded convolution, the model's own normalisation stays; and attentive statistics are arithmetic.
    own = {"pure_lstm": [], "attentive_cnn": [*["Mul"] * 4, *["Sub"] * 2]}.get(name, ["Mul", "Sub"])
    assert sorted(op for op in count.elements() if op in ("Add", "Div", "Mul", "Sub")) == own
    assert not {"BatchNormalization", "Slice", "Expand"} & set(count)
    for node in simplified:
        if node.op_type == "LSTM":
            assert all(value is None for value in node.inputs[4:])


def test_every_shipped_architecture_is_tested() -> None:
    builders = {load_recipe(EXPORT_DIR / f"{name}.toml").architecture.builder for name in SHIPPED}
    assert builders <= set(SETTINGS)


def random_keras_model(seed: int) -> keras.Model:
    """Convolutions, pooling, normalisations and recurrent layers in any order that can be built."""
    rng = np.random.default_rng(seed)
    x = inputs = layers.Input((N_FRAMES, N_MELS))
    if rng.random() < 0.5:
        x = layers.Normalization()(x)
    if rng.random() < 0.5:
        x = layers.Reshape((N_FRAMES, N_MELS, 1))(x)
        for _ in range(rng.integers(1, 3)):
            padding = str(rng.choice(["same", "valid"]))
            if rng.random() < 0.3:
                x = layers.ZeroPadding2D(((2, 0), (1, 1)))(x)
            activation = str(rng.choice(["relu", "linear", "tanh"]))
            x = layers.Conv2D(int(rng.integers(2, 6)), 3, padding=padding, activation=activation)(x)
            for make in rng.permutation([layers.BatchNormalization, layers.MaxPooling2D]):
                x = make()(x)
        x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]))(x)
    else:
        for _ in range(rng.integers(0, 3)):
            padding = str(rng.choice(["causal", "same", "valid"]))
            activation = str(rng.choice(["relu", "linear"]))
            x = layers.Conv1D(int(rng.integers(2, 6)), 3, padding=padding, activation=activation)(x)
            for make in rng.permutation([layers.BatchNormalization, lambda: layers.AveragePooling1D(2)]):
                x = make()(x)
    ending = rng.choice(["lstm", "two lstm", "bidirectional", "flatten", "mean", "maximum"])
    if ending == "two lstm":
        x = layers.BatchNormalization()(layers.LSTM(4, return_sequences=True)(x))
    if "lstm" in ending:
        x = layers.LSTM(5)(x)
    elif ending == "bidirectional":
        x = layers.Bidirectional(layers.LSTM(3))(x)
    elif ending == "flatten":
        x = layers.Flatten()(x)
    else:
        x = layers.GlobalAveragePooling1D()(x) if ending == "mean" else layers.GlobalMaxPooling1D()(x)
    for _ in range(rng.integers(0, 3)):
        x = layers.Dense(6, activation=str(rng.choice(["relu", "linear"])))(x)
        x = layers.BatchNormalization()(x)
    outputs = layers.Dense(3, activation="softmax", name="probabilities")(x)
    return with_negative_scales(randomise(keras.Model(inputs, outputs, name="random"), seed=seed), seed=seed)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.slow
def test_random_keras_models(seed: int) -> None:
    model = random_keras_model(seed)
    graph = network_graph(model, n_frames=N_FRAMES, n_mels=N_MELS, n_labels=3)
    x = decibels(seed=seed)
    simplified = check(graph, x)
    assert len(op_types(simplified)) < len(op_types(graph))
    np.testing.assert_allclose(run(simplified, x), model(x[np.newaxis], training=False), rtol=0, atol=1e-5)


# --- batch normalisation and other scales and shifts: into the layer before ----------------------------


def image(hand: Hand) -> Any:
    """The features as an image of one channel."""
    return hand("Unsqueeze", hand.features, ints(1))


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def normalised(hand: Hand, x: Any, *shape: int, sign: float = -1.0) -> Any:
    """A batch normalisation as it arrives: a scale and a shift per channel. The first scale has this sign."""
    scale = np.abs(hand.shift(*shape)) + 0.5
    scale.flat[0] *= sign
    return hand("Add", hand("Mul", x, scale), hand.shift(*shape))


def conv(hand: Hand, x: Any, n_in: int, n_out: int, *, kernel: int = 3, **attributes: Any) -> Any:
    return hand("Conv", x, hand.weights(n_out, n_in, kernel, kernel), hand.shift(n_out), **attributes)


def pool(hand: Hand, x: Any) -> Any:
    return hand("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])


def test_convolution_takes_what_follows() -> None:
    _, after = check_hand(lambda h: h("Relu", normalised(h, conv(h, image(h), 1, 4), 4, 1, 1)))
    assert after == ["Reshape", "Conv", "Relu"] or after == ["Unsqueeze", "Conv", "Relu"]


def test_convolution_without_bias_takes_what_follows() -> None:
    _, after = check_hand(
        lambda h: h("Relu", normalised(h, h("Conv", image(h), h.weights(4, 1, 3, 3), group=1), 4, 1, 1))
    )
    assert after == ["Unsqueeze", "Conv", "Relu"]


def test_groups_take_what_follows() -> None:
    def write(hand: Hand) -> Any:
        x = conv(hand, image(hand), 1, 4)
        return hand("Relu", normalised(hand, conv(hand, x, 2, 6, group=2), 6, 1, 1))

    _, after = check_hand(write)
    assert after == ["Unsqueeze", "Conv", "Conv", "Relu"]


@pytest.mark.parametrize(("sign", "left"), [(1.0, []), (-1.0, ["Mul", "Add"])])
def test_only_a_positive_scale_passes_a_maximum(sign: float, left: list[str]) -> None:
    def write(hand: Hand) -> Any:
        x = pool(hand, pool(hand, conv(hand, image(hand), 1, 4)))
        return hand("Relu", normalised(hand, x, 4, 1, 1, sign=sign))

    _, after = check_hand(write)
    assert after == ["Unsqueeze", "Conv", "MaxPool", "MaxPool", *left, "Relu"]


def test_any_shift_passes_a_maximum() -> None:
    _, after = check_hand(
        lambda h: h("Relu", h("Sub", pool(h, conv(h, image(h), 1, 4)), h.shift(1, 4, 1, 1)))
    )
    assert after == ["Unsqueeze", "Conv", "MaxPool", "Relu"]


def test_scale_of_each_position_does_not_pass_a_maximum() -> None:
    _, after = check_hand(
        lambda h: h("Relu", h("Mul", pool(h, conv(h, image(h), 1, 4)), np.abs(h.shift(7, 3))))
    )
    assert after == ["Unsqueeze", "Conv", "MaxPool", "Mul", "Relu"]


def test_what_only_moves_values_is_passed_backwards() -> None:
    """A convolution in one dimension, as tf2onnx writes it: its bias comes after the squeeze."""

    def write(hand: Hand) -> Any:
        x = hand("Unsqueeze", hand("Transpose", hand.features, perm=[0, 2, 1]), ints(2))
        x = hand("Squeeze", hand("Conv", x, hand.weights(4, 8, 1, 3)), ints(2))
        x = hand("Add", x, hand.shift(4, 1))
        x = hand("Reshape", hand("Transpose", x, perm=[0, 2, 1]), ints(1, 7, 8))
        return hand("Relu", hand("Mul", x, np.tile(hand.shift(4), 2)))

    before, after = check_hand(write)
    assert {"Add", "Mul"} <= set(before)
    assert not {"Add", "Mul"} & set(after)


def test_dense_takes_what_follows() -> None:
    def write(hand: Hand) -> Any:
        x = hand("Flatten", hand.features)
        x = normalised(hand, hand.dense(x, N_FRAMES * N_MELS, 5), 5)
        x = normalised(hand, hand("Gemm", x, hand.weights(5, 6), hand.shift(6)), 1, 6)
        return hand("Relu", normalised(hand, hand("Gemm", x, hand.weights(6, 6)), 6))

    _, after = check_hand(write)
    assert after == ["Flatten", "Gemm", "Gemm", "Gemm", "Relu"]


@pytest.mark.parametrize(
    "attributes", [{"alpha": 0.5}, {"beta": 2.0}, {"transB": 1}, {"transA": 1}], ids=lambda a: next(iter(a))
)
def test_other_products_are_left_alone(attributes: dict[str, Any]) -> None:
    def write(hand: Hand) -> Any:
        x = hand("Squeeze", hand.features, ints(0))
        n = N_FRAMES if "transA" in attributes else N_MELS
        x = hand("Gemm", normalised(hand, x, N_MELS), hand.weights(n, n), hand.shift(n), **attributes)
        return hand("Relu", normalised(hand, x, n))

    before, after = check_hand(write)
    assert after == before


def test_what_has_another_user_is_left_alone() -> None:
    def write(hand: Hand) -> Any:
        x = conv(hand, image(hand), 1, 4)
        y = hand("Relu", normalised(hand, pool(hand, x), 4, 1, 1, sign=1))
        return hand("Concat", hand("Flatten", x), hand("Flatten", y), axis=1)

    before, after = check_hand(write)
    assert after == before


def test_constants_that_broadcast_the_value_are_left_alone() -> None:
    def write(hand: Hand) -> Any:
        x = hand("ReduceMean", hand.features, ints(1), keepdims=0)
        x = hand("Mul", hand.dense(x, N_MELS, 1), np.full((1, 4), 2, np.float32))
        return hand("Add", hand("Relu", x), np.full((3, 1), 0.5, np.float32))

    _, after = check_hand(write)
    assert after == ["ReduceMean", "Gemm", "Mul", "Relu", "Add"]


def test_constant_minus_value_is_left_alone() -> None:
    def write(hand: Hand) -> Any:
        x = hand("Sub", hand.shift(4, 1, 1), conv(hand, image(hand), 1, 4))
        return hand("Relu", hand("Div", np.ones((4, 1, 1), np.float32), hand("Exp", x)))

    before, after = check_hand(write)
    assert after == before


def test_division_is_a_scale() -> None:
    _, after = check_hand(
        lambda h: h("Relu", h("Div", conv(h, image(h), 1, 4), np.abs(h.shift(4, 1, 1)) + 0.5))
    )
    assert after == ["Unsqueeze", "Conv", "Relu"]


# --- into the layer after ------------------------------------------------------------------------------


def test_dense_takes_what_precedes_a_relu_and_a_pool() -> None:
    """Convolution, ReLU, pooling, normalisation, flatten, dense: negative scales have nowhere else to go."""

    def write(hand: Hand) -> Any:
        x = pool(hand, hand("Relu", conv(hand, image(hand), 1, 4)))
        x = hand("Transpose", normalised(hand, x, 4, 1, 1), perm=[0, 2, 3, 1])
        return hand("Relu", hand.dense(hand("Reshape", x, ints(1, -1)), 4 * 7 * 3, 5))

    _, after = check_hand(write)
    assert not {"Mul", "Add"} & set(after)


@pytest.mark.parametrize(
    ("attributes", "left"),
    [
        ({}, []),
        ({"auto_pad": "NOTSET", "pads": [0, 0, 0, 0]}, []),
        ({"auto_pad": "SAME_UPPER"}, ["Add"]),
        ({"auto_pad": "SAME_LOWER"}, ["Add"]),
        ({"pads": [2, 0, 0, 0]}, ["Add"]),
        ({"pads": [0, 0, 0, 1]}, ["Add"]),
    ],
    ids=str,
)
def test_shift_stays_before_padding(attributes: dict[str, Any], left: list[str]) -> None:
    """The padding of a padded convolution is zero, not what the shift would make of it."""

    def write(hand: Hand) -> Any:
        x = hand("Relu", conv(hand, image(hand), 1, 4))
        x = hand("Mul", hand("Add", x, hand.shift(4, 1, 1)), hand.shift(4, 1, 1))
        return hand("Relu", conv(hand, x, 4, 5, **attributes))

    _, after = check_hand(write)
    assert after == ["Unsqueeze", "Conv", "Relu", *left, "Conv", "Relu"]


def test_shift_after_explicit_padding_is_folded_then_the_padding() -> None:
    """The shipped blocks: zeros, normalisation, convolution."""

    def write(hand: Hand) -> Any:
        x = hand("Pad", hand("Relu", conv(hand, image(hand), 1, 4)), ints(0, 0, 2, 1, 0, 0, 0, 1))
        return hand("Relu", conv(hand, normalised(hand, x, 4, 1, 1), 4, 5))

    _, after = check_hand(write)
    assert after == ["Unsqueeze", "Conv", "Relu", "Conv", "Relu"]


def test_groups_are_left_alone() -> None:
    def write(hand: Hand) -> Any:
        x = hand("Relu", conv(hand, image(hand), 1, 4))
        return hand("Relu", conv(hand, normalised(hand, x, 4, 1, 1), 2, 6, group=2))

    before, after = check_hand(write)
    assert after == before


@pytest.mark.parametrize("op_type", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_layers_take_what_precedes(op_type: str, direction: str) -> None:
    def write(hand: Hand) -> Any:
        x = hand("Transpose", normalised(hand, hand.features, N_MELS), perm=[1, 0, 2])
        return hand("Relu", hand.lstm(x, N_MELS, 5, op_type=op_type, direction=direction)[0])

    _, after = check_hand(write)
    assert after == ["Reshape", op_type, "Relu"]


def test_layers_without_a_bias_get_one() -> None:
    def write(hand: Hand) -> Any:
        x = hand("Relu", hand("Conv", normalised(hand, image(hand), 1, 1), hand.weights(4, 1, 3, 3)))
        x = hand("Reshape", hand("Transpose", x, perm=[2, 0, 3, 1]), ints(14, 1, -1))
        weights = hand.weights(1, 20, 6 * 4), hand.weights(1, 20, 5)
        x = hand("LSTM", normalised(hand, x, 6 * 4), *weights, hidden_size=5)
        x = normalised(hand, hand("Relu", hand("Reshape", x, ints(1, -1))), 14 * 5)
        return hand("Relu", hand("MatMul", x, hand.weights(14 * 5, 3)))

    _, after = check_hand(write)
    assert not {"Mul", "Add"} & set(after)
    assert after[-2:] == ["Gemm", "Relu"]


def test_scale_of_each_frame_is_left_alone() -> None:
    def write(hand: Hand) -> Any:
        x = over_time(hand)
        x, _ = hand.lstm(hand("Mul", x, hand.shift(N_FRAMES, 1, 1)), N_MELS, 5)
        x = hand("Squeeze", x, ints(1, 2))
        x = hand("MatMul", hand("Add", hand("Relu", x), hand.shift(N_FRAMES, 1)), hand.weights(5, 3))
        x = hand("Reshape", hand("Transpose", hand("Mul", x, hand.shift(N_FRAMES, 3))), ints(1, 3, N_FRAMES))
        x = hand("Conv", hand("Mul", hand("Relu", x), hand.shift(1, N_FRAMES)), hand.weights(4, 3, 2))
        return hand("Relu", hand("Mul", x, hand.shift(N_FRAMES - 1)))

    before, after = check_hand(write)
    assert [Counter(after)[op] for op in ("Mul", "Add")] == [Counter(before)[op] for op in ("Mul", "Add")]


def test_computed_weights_are_left_alone() -> None:
    def write(hand: Hand) -> Any:
        bias = hand("ReduceMean", hand.features, ints(0, 1), keepdims=0)
        x = hand("Conv", normalised(hand, image(hand), 1, 1), hand.weights(8, 1, 3, 3), bias)
        x = hand("Relu", normalised(hand, x, 8, 1, 1))
        x = hand("Gemm", hand("Flatten", x), hand.weights(8 * 14 * 6, 8), hand("Neg", bias))
        return hand("Relu", normalised(hand, x, 8))

    before, after = check_hand(write)
    assert sorted(after) == sorted(before)


def test_not_into_other_inputs_of_a_layer() -> None:
    """What is scaled is the initial state, or the right side of a product."""

    def write(hand: Hand) -> Any:
        x = hand("Transpose", hand.features, perm=[1, 0, 2])
        initial = hand("Mul", hand("ReduceMean", x, ints(0), keepdims=1), hand.shift(N_MELS))
        weights = hand.weights(1, 32, N_MELS), hand.weights(1, 32, N_MELS), hand.shift(1, 64)
        y = hand("LSTM", x, *weights, None, initial, hidden_size=N_MELS)
        scaled = hand("Mul", hand("Squeeze", hand.features, ints(0)), hand.shift(N_MELS))
        return hand("Add", hand("Squeeze", y), hand("MatMul", hand.weights(N_FRAMES, N_FRAMES), scaled))

    before, after = check_hand(write)
    assert Counter(after)["Mul"] == Counter(before)["Mul"] == 2


# --- shared constants ----------------------------------------------------------------------------------


def test_shared_weights_keep_their_other_use() -> None:
    """Two layers share weights and bias, two normalisations a scale; one of the layers cannot take it."""

    def write(hand: Hand) -> Any:
        weights, bias = hand.constant(hand.weights(4, 1, 3, 3)), hand.constant(hand.shift(4))
        scale = hand.constant(hand.shift(4, 1, 1))
        one, other = (hand("Conv", image(hand), weights, bias) for _ in range(2))
        x = hand("Concat", hand("Mul", one, scale), hand("Mul", hand("Relu", other), scale), axis=1)
        return hand("Relu", x)

    _, after = check_hand(write)
    assert Counter(after)["Mul"] == 1


def test_unused_constants_are_gone() -> None:
    hand = Hand(N_FRAMES, N_MELS)
    graph = hand.graph(hand("Relu", normalised(hand, conv(hand, image(hand), 1, 4), 4, 1, 1)))
    simplified = check(graph, features())
    used = {value.name for node in simplified for value in node.inputs if value is not None}
    assert set(simplified.initializers) <= used
    floats = [v for v in simplified.initializers.values() if v.dtype == ir.DataType.FLOAT]
    assert sorted(tuple(v.shape) for v in floats) == [(4,), (4, 1, 3, 3)]


# --- padding -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pads", "fill", "mode", "merged"),
    [
        ([0, 0, 2, 1, 0, 0, 0, 1], 0.0, "constant", True),
        ([0, 0, 2, 1, 0, 0, 0, 1], None, "constant", True),
        ([0, 0, 2, 1, 0, 0, 0, 1], 0.5, "constant", False),
        ([0, 0, 2, 1, 0, 0, 0, 1], None, "edge", False),
        ([0, 0, -2, 1, 0, 0, 0, 1], None, "constant", False),
        ([0, 1, 0, 0, 0, 2, 0, 0], None, "constant", False),
    ],
)
@pytest.mark.parametrize("own", [{}, {"pads": [0, 1, 2, 0]}, {"auto_pad": "SAME_UPPER"}], ids=str)
def test_padding(pads: list[int], fill: float | None, mode: str, merged: bool, own: dict[str, Any]) -> None:
    def write(hand: Hand) -> Any:
        x = conv(hand, image(hand), 1, 4, kernel=1)
        n = 4 + pads[1] + pads[5]
        value = () if fill is None else (np.array(fill, np.float32),)
        return conv(hand, hand("Pad", x, ints(*pads), *value, mode=mode), n, 5, **own)

    before, after = check_hand(write)
    assert before == ["Unsqueeze", "Conv", "Pad", "Conv"]
    assert ("Pad" not in after) == (merged and "auto_pad" not in own)


def test_padding_that_others_see_stays() -> None:
    def write(hand: Hand) -> Any:
        x = hand("Pad", image(hand), ints(0, 0, 2, 0, 0, 0, 0, 0))
        return hand("Concat", conv(hand, x, 1, 2), conv(hand, x, 1, 2), axis=1)

    before, after = check_hand(write)
    assert after == before


# --- recurrent layers ----------------------------------------------------------------------------------


def over_time(hand: Hand) -> Any:
    return hand("Transpose", hand.features, perm=[1, 0, 2])


@pytest.mark.parametrize("op_type", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_zero_initial_states(op_type: str, value: float) -> None:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op_type]
    hand = Hand(N_FRAMES, N_MELS)
    weights = hand.weights(1, gates * 5, N_MELS), hand.weights(1, gates * 5, 5), hand.shift(1, 2 * gates * 5)
    initial = [np.full((1, 1, 5), value, np.float32)] * (2 if op_type == "LSTM" else 1)
    graph = hand.graph(hand(op_type, over_time(hand), *weights, None, *initial, hidden_size=5))
    simplified = check(graph, features())
    (node,) = (node for node in simplified if node.op_type == op_type)
    assert all((given is None) == (value == 0) for given in node.inputs[5:])
    assert any(v.shape == (1, 1, 5) for v in simplified.initializers.values()) == (value != 0)


FAR = np.iinfo(np.int32).max


@pytest.mark.parametrize("op_type", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(
    ("axes", "start", "end", "step", "is_last"),
    [
        ((1,), -1, FAR, None, True),
        ((1,), N_FRAMES - 1, N_FRAMES, 1, True),
        ((1, 2), -1, FAR, 1, True),
        ((1,), -1, -FAR, -1, False),
        ((1,), -2, FAR, None, False),
        ((1,), -2, -1, None, False),
        ((1,), 0, 1, None, False),
    ],
)
def test_last_output(
    op_type: str, axes: tuple[int, ...], start: int, end: int, step: int | None, is_last: bool
) -> None:
    """Whatever follows must find the shape that it found before: here a product."""

    def write(hand: Hand) -> Any:
        y, _ = hand.lstm(over_time(hand), N_MELS, 5, op_type=op_type)
        steps = () if step is None else (ints(step),)
        x = hand("Slice", hand("Squeeze", y, ints(*axes)), ints(start), ints(end), ints(0), *steps)
        return hand("MatMul", x, hand.weights(5, 3))

    _, after = check_hand(write)
    assert ("Slice" not in after) == is_last


def test_a_part_of_the_last_output() -> None:
    def write(hand: Hand) -> Any:
        y, _ = hand.lstm(over_time(hand), N_MELS, 5)
        return hand(
            "Relu", hand("Slice", hand("Squeeze", y, ints(1)), ints(-1, 2), ints(FAR, FAR), ints(0, 2))
        )

    assert "Slice" in check_hand(write)[1]


def test_last_output_as_the_answer() -> None:
    def write(hand: Hand) -> Any:
        y, _ = hand.lstm(over_time(hand), N_MELS, 5)
        return hand("Slice", hand("Squeeze", y, ints(1)), ints(-1), ints(FAR), ints(0))

    assert "Slice" not in check_hand(write)[1]


@pytest.mark.parametrize("why", ["reverse", "lengths", "no layer"])
def test_not_the_last_output(why: str) -> None:
    def write(hand: Hand) -> Any:
        x = over_time(hand)
        if why == "no layer":
            y = hand("Unsqueeze", hand("Relu", x), ints(1))
        elif why == "reverse":
            y, _ = hand.lstm(x, N_MELS, 5, direction="reverse")
        else:
            weights = hand.weights(1, 20, N_MELS), hand.weights(1, 20, 5), hand.shift(1, 40)
            y = hand("LSTM", x, *weights, np.array([N_FRAMES - 3], np.int32), hidden_size=5)
        return hand("Relu", hand("Slice", hand("Squeeze", y, ints(1)), ints(-1), ints(FAR), ints(0)))

    assert "Slice" in check_hand(write)[1]


# --- moving values -------------------------------------------------------------------------------------


def test_transposes() -> None:
    """One that moves axes of size 1 is a reshape; the others stay, also those without an order."""

    def write(hand: Hand) -> Any:
        x = hand("Relu", hand("Transpose", hand.features, perm=[1, 0, 2]))
        x = hand("Relu", hand("Transpose", x))  # (bands, 1, frames)
        x = hand("Relu", hand("Transpose", x, perm=[1, 0, 2]))  # (1, bands, frames)
        return hand("Relu", hand("Transpose", x, perm=[0, 2, 1]))

    _, after = check_hand(write)
    assert after == ["Reshape", "Relu", "Transpose", "Relu", "Reshape", "Relu", "Transpose", "Relu"]


def test_scales_pass_a_transpose_without_an_order() -> None:
    def write(hand: Hand) -> Any:
        x = hand("Transpose", hand("Mul", hand("Squeeze", hand.features, ints(0)), hand.shift(N_FRAMES, 1)))
        x = hand("Transpose", hand("MatMul", x, hand.weights(N_FRAMES, N_FRAMES)))
        return hand("Relu", hand("Mul", x, hand.shift(N_FRAMES, 1)))

    _, after = check_hand(write)
    assert "Mul" not in after


def test_reshapes() -> None:
    def write(hand: Hand) -> Any:
        x = hand("Squeeze", hand("Unsqueeze", hand("Relu", hand.features), ints(1)), ints(0))
        x = hand("Relu", hand("Reshape", x, ints(0, -1)))
        x = hand("Reshape", hand("Relu", hand("Reshape", x, ints(1, 16, 8))), ints(1, 16, 8))
        return hand("Flatten", hand("Reshape", x, ints(4, 4, 8)), axis=0)

    _, after = check_hand(write)
    assert after == ["Relu", "Reshape", "Relu", "Reshape", "Relu", "Reshape"]


def test_nothing_to_simplify() -> None:
    """An answer that is a reshape which changes nothing; a graph without a rule."""
    assert check_hand(lambda h: h("Reshape", h("Relu", h.features), ints(1, 16, 8)))[1] == ["Relu", "Reshape"]
    assert check_hand(lambda h: h("Relu", h.features))[1] == ["Relu"]


def test_twice_is_once() -> None:
    size = {"n_frames": N_FRAMES, "n_mels": N_MELS, "n_labels": 3}
    model = with_negative_scales(randomise(build("cnn_lstm", SETTINGS["cnn_lstm"], **size)))
    graph = network_graph(model, **size)
    simplify(graph)
    once = op_types(graph)
    simplify(graph)
    assert op_types(graph) == once
