"""The compared architectures: the published layer sequences, causality in time, and settings that are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from conftest import SHIPPED, randomise
from keras import layers

from edgeemo.errors import RecipeError
from edgeemo.workstation.architectures import ARCHITECTURES, build, count_parameters
from edgeemo.workstation.training.recipe import Recipe

SEQUENCES = {
    "pure_cnn": [
        *("Conv2D", "MaxPooling2D", "BatchNormalization"),
        *("Conv2D", "MaxPooling2D", "BatchNormalization", "Dropout"),
        *("Conv2D", "MaxPooling2D", "BatchNormalization", "Dropout"),
        *("Conv2D", "MaxPooling2D", "BatchNormalization", "Dropout"),
        *("Flatten", "Dense 128", "Dense 64", "Dense 7"),
    ],
    "cnn_lstm": [
        *("Conv2D", "MaxPooling2D", "BatchNormalization"),
        *("Conv2D", "MaxPooling2D", "BatchNormalization", "Dropout"),
        *("LSTM", "Dropout", "LSTM", "Dropout"),
        *("Dense 128", "Dense 64", "Dense 7"),
    ],
    "pure_lstm": [
        *("LSTM", "Dropout", "LSTM", "Dropout", "LSTM", "Dropout", "LSTM", "Dropout"),
        *("Dense 128", "Dense 64", "Dense 7"),
    ],
}
NOT_SHIPPED = {"conv1d_lstm"}  # no recipe of their own: for small devices, by a user's recipe
SILENT = (layers.InputLayer, layers.Normalization, layers.Reshape, layers.ZeroPadding2D)


def sequence(model: keras.Model) -> list[str]:
    """The layers that a published description lists."""
    found = []
    for layer in model.layers:
        if isinstance(layer, layers.Dense):
            found.append(f"Dense {layer.units}")
        elif isinstance(layer, layers.Dropout | layers.SpatialDropout2D):
            found.append("Dropout")
        elif not isinstance(layer, SILENT):
            found.append(type(layer).__name__)
    return found


def test_every_architecture_is_tested_and_shipped() -> None:
    assert set(SEQUENCES) == set(SHIPPED)
    assert set(SHIPPED) | NOT_SHIPPED == set(ARCHITECTURES)


@pytest.mark.parametrize("name", SHIPPED)
def test_layers_are_the_published_ones(name: str, random_model: Callable[[str], Any]) -> None:
    model = random_model(name)
    assert sequence(model) == SEQUENCES[name]
    assert all(layer.rate > 0 for layer in model.layers if "dropout" in layer.name)
    head = [layer.activation.__name__ for layer in model.layers if isinstance(layer, layers.Dense)]
    assert head == ["relu", "relu", "softmax"]
    for layer in model.layers:
        if isinstance(layer, layers.LSTM):  # what onnxruntime's native node computes
            assert (layer.activation.__name__, layer.recurrent_activation.__name__) == ("tanh", "sigmoid")


@pytest.mark.parametrize("name", SHIPPED)
def test_input_and_output(name: str, random_model: Callable[[str], Any], shipped_recipe: Any) -> None:
    model, recipe = random_model(name), shipped_recipe(name)
    assert model.input_shape == (None, recipe.n_frames, recipe.features.n_mels) == (None, 320, 64)
    assert model.output_shape == (None, 7)
    assert isinstance(model.layers[1], layers.Normalization)
    assert model.layers[1].name == "normalisation"
    assert model.layers[1].mean.shape[-1] == recipe.features.n_mels, "per mel band"


@pytest.mark.parametrize("name", ["pure_cnn", "cnn_lstm"])
def test_pooling_stride_is_its_size(name: str, random_model: Callable[[str], Any]) -> None:
    pools = [layer for layer in random_model(name).layers if isinstance(layer, layers.MaxPooling2D)]
    assert len(pools) == (4 if name == "pure_cnn" else 2)
    for pool in pools:
        assert tuple(pool.strides) == tuple(pool.pool_size)
        assert pool.padding == "valid"


@pytest.mark.parametrize("name", ["pure_cnn", "cnn_lstm"])
@pytest.mark.parametrize("kernel", [2, 3, 5])
def test_convolutions_are_causal(name: str, kernel: int, shipped_recipe: Callable[[str], Recipe]) -> None:
    """A frame of the last block's output changes with no later frame of the input, and with its own."""
    settings = shipped_recipe(name).architecture.settings | {"kernel": kernel}
    model = randomise(build(name, settings, n_frames=64, n_mels=64, n_labels=7), seed=kernel)
    last = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)][-1]
    convolutions = keras.Model(model.input, last.output)
    size = int(np.prod([pool[0] for pool in settings["pools"]]))
    assert convolutions.output_shape[1] == 64 // size

    rng = np.random.default_rng(kernel)
    features = rng.normal(-30, 15, (64, 64)).astype(np.float32)
    kept = np.arange(0, 64, 3)  # frames up to this one are kept, later ones are other ones
    batch = np.stack(
        [features, *(np.where(np.arange(64)[:, None] <= t, features, -features - 60) for t in kept)]
    )
    original, *others = convolutions(batch, training=False).numpy()
    for t, output in zip(kept, others, strict=True):
        done = (t + 1) // size  # output frames whose input frames are all kept
        np.testing.assert_allclose(output[:done], original[:done], rtol=0, atol=1e-5)
        assert (np.abs(output[done:] - original[done:]).max(axis=(1, 2)) > 1e-3).all()


def test_lstm_stack_joins_successive_frames(random_model: Callable[[str], Any]) -> None:
    (stack,) = [layer for layer in random_model("pure_lstm").layers if isinstance(layer, layers.Reshape)]
    features = np.arange(320 * 64, dtype=np.float32).reshape(1, 320, 64)
    stacked = stack(features).numpy()[0]
    assert stacked.shape == (40, 8 * 64)
    np.testing.assert_array_equal(stacked[1], features[0, 8:16].ravel())


@pytest.mark.parametrize("name", SHIPPED)
def test_parameters_are_counted_without_normalisation(name: str, random_model: Callable[[str], Any]) -> None:
    model = random_model(name)
    by_hand = sum(
        int(np.prod(weight.shape))
        for layer in model.layers
        if layer.name != "normalisation"
        for weight in layer.weights
    )
    assert count_parameters(model) == by_hand
    assert model.count_params() == by_hand + 2 * 64 + 1  # mean, variance, count


def test_conv1d_lstm() -> None:
    model = build("conv1d_lstm", {}, n_frames=4, n_mels=8, n_labels=3)
    counts = [
        (type(layer).__name__, layer.count_params())
        for layer in model.layers
        if not isinstance(layer, layers.InputLayer | layers.Normalization)
    ]
    assert counts == [("Conv1D", 288), ("MaxPooling1D", 0), ("LSTM", 8320), ("Dense", 528), ("Dense", 51)]
    assert count_parameters(model) == 288 + 8320 + 528 + 51
    assert model.layers[1].name == "normalisation"
    assert [model.layers[i].activation.__name__ for i in (2, 5, 6)] == ["relu", "relu", "softmax"]


def test_conv1d_lstm_is_causal_and_takes_its_settings() -> None:
    settings = {"filters": 5, "kernel": 4, "pool": 2, "units": 6, "hidden": 7}
    model = randomise(build("conv1d_lstm", settings, n_frames=16, n_mels=8, n_labels=3))
    assert [tuple(w.shape) for w in model.layers[2].weights] == [(4, 8, 5), (5,)]
    assert [layer.output.shape[1:] for layer in model.layers[2:]] == [(16, 5), (8, 5), (6,), (7,), (3,)]
    pooled = keras.Model(model.input, model.layers[3].output)
    features = np.random.default_rng(0).normal(-30, 15, (1, 16, 8)).astype(np.float32)
    changed = features.copy()
    changed[:, 10] -= 60
    difference = np.abs(pooled(changed).numpy() - pooled(features).numpy())[0].max(axis=1)
    assert (difference > 1e-3).tolist() == [False] * 5 + [True] * 2 + [False]


@pytest.mark.parametrize("name", SHIPPED)
def test_settings_of_the_shipped_recipes_are_the_defaults(name: str, shipped_recipe: Any) -> None:
    """A user's recipe that names only the builder gets the shipped network."""
    recipe = shipped_recipe(name)
    bare = dataclasses.replace(recipe.architecture, settings={})
    size = {"n_frames": 320, "n_mels": 64, "n_labels": 7}
    shipped = build(name, recipe.architecture.settings, **size)
    default = build(bare.builder, bare.settings, **size)
    assert [w.shape for w in shipped.weights] == [w.shape for w in default.weights]


REFUSED = {
    "unknown builder": (
        "transformer",
        {},
        ["builder", "'transformer'", "pure_cnn, cnn_lstm, pure_lstm, conv1d_lstm"],
    ),
    "unknown setting": ("pure_cnn", {"unitz": 3}, ["pure_cnn", "'unitz'", "filters"]),
    "shape as setting": ("cnn_lstm", {"n_mels": 3}, ["cnn_lstm", "'n_mels'"]),
    "lengths differ": ("pure_cnn", {"filters": [8, 8]}, ["pure_cnn", "filters"]),
    "wrong type": ("pure_lstm", {"units": 64}, ["pure_lstm", "units"]),
    "text": ("cnn_lstm", {"dropout": "much"}, ["cnn_lstm", "dropout"]),
    "stack does not divide": ("pure_lstm", {"stack": 7}, ["pure_lstm", "stack"]),
    "pooled away": ("pure_cnn", {"pools": [[8, 8]] * 4}, ["pure_cnn", "pools"]),
    "pool does not divide": ("conv1d_lstm", {"pool": 3}, ["conv1d_lstm", "pool"]),
    "zero pool": ("conv1d_lstm", {"pool": 0}, ["conv1d_lstm", "pool"]),
    "no units": ("cnn_lstm", {"units": [0, 8]}, ["cnn_lstm", "units"]),
    "zero stack": ("pure_lstm", {"stack": 0}, ["pure_lstm", "stack"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str) -> None:
    builder, settings, words = REFUSED[case]
    with pytest.raises(RecipeError) as caught:
        build(builder, settings, n_frames=320, n_mels=64, n_labels=7)
    message = str(caught.value)
    assert message.startswith("[architecture] ")
    assert "\n" not in message
    assert all(word in message for word in words), message
