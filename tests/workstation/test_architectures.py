"""The compared architectures: the published layers and sizes, causality in time, conversion, and what is refused."""

from __future__ import annotations

import dataclasses
import socket
import urllib.error
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx_ir as ir
import pytest
from keras import layers
from keras.src.utils import file_utils  # what Keras' applications fetch their weights with

from edgeemo.errors import ExportError, RecipeError
from edgeemo.workstation.architectures import ARCHITECTURES, build, count_parameters
from edgeemo.workstation.architectures.fer_mlp import ACTIVATIONS
from edgeemo.workstation.architectures.resnet50_lstm import IMAGENET_DEVIATION, WEIGHTS_FILE
from edgeemo.workstation.graphs.network import network_graph
from edgeemo.workstation.graphs.simplify import simplify
from edgeemo.workstation.graphs.stream import stream
from edgeemo.workstation.training.recipe import Recipe
from support.graphs import op_types, runner
from support.networks import narrow_resnet50, randomise
from support.recipes import IMAGES, RECIPES, SPEECH

PUBLISHED = ("cnn_lstm", "pure_cnn", "pure_lstm")  # with the published head

ATTENTIVE_CNN = [
    *("Conv2D", "BatchNormalization", "ReLU") * 3,
    *("Conv1D", "BatchNormalization", "ReLU"),
    *("MaxPooling1D", "Conv1D", "Softmax", "Dropout"),
]
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
    "conv1d_lstm": ["Conv1D", "MaxPooling1D", "LSTM", "Dense 16", "Dense 7"],
    "emo_small": [*ATTENTIVE_CNN, "Dense 7"],
    "emo_tiny": [*ATTENTIVE_CNN, "Dense 7"],
    "emo_open": [*ATTENTIVE_CNN, "Dense 6"],
    "resnet50_lstm": ["resnet50", "AveragePooling2D", "LSTM", "Dropout", "Dense 7"],
    "fashion_lstm": ["LSTM", "Dense 10"],
    "fashion_lstm2": ["LSTM", "LSTM", "Dense 10"],
    "fashion_cnn": [
        *("Conv2D", "MaxPooling2D", "Conv2D", "MaxPooling2D", "Conv2D", "MaxPooling2D"),
        *("Flatten", "Dropout", "Dense 128", "Dropout", "Dense 10"),
    ],
    "fer_mlp": ["Flatten", "Dense 128", "Dense 7"],
}
SILENT = (
    *(layers.InputLayer, layers.Normalization, layers.Rescaling),
    *(layers.Reshape, layers.ZeroPadding1D, layers.ZeroPadding2D, layers.Concatenate),
)


def sequence(model: keras.Model) -> list[str]:
    """The layers that a published description lists."""
    found = []
    for layer in model.layers:
        if isinstance(layer, layers.Dense):
            found.append(f"Dense {layer.units}")
        elif isinstance(layer, layers.Dropout | layers.SpatialDropout2D):
            found.append("Dropout")
        elif isinstance(layer, keras.Model):
            found.append(layer.name)
        elif not isinstance(layer, SILENT):
            found.append(type(layer).__name__)
    return found


def random_inputs(recipe: Recipe, n: int = 2) -> np.ndarray:
    """Log-mel features or pixels, shape `(n, *recipe.input_shape)`."""
    rng = np.random.default_rng(0)
    shape = (n, *recipe.input_shape)
    values = rng.integers(0, 256, shape) if recipe.image is not None else rng.normal(-30, 15, shape)
    return values.astype(np.float32)


def test_every_architecture_has_a_recipe_and_is_tested(shipped_recipe: Callable[[str], Recipe]) -> None:
    assert set(SEQUENCES) == set(RECIPES)
    assert {shipped_recipe(name).architecture.builder for name in RECIPES} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", RECIPES)
def test_layers_are_the_published_ones(name: str, random_model: Callable[[str], Any]) -> None:
    model = random_model(name)
    assert sequence(model) == SEQUENCES[name]
    assert all(layer.rate > 0 for layer in model.layers if "dropout" in layer.name)
    head = [layer.activation.__name__ for layer in model.layers if isinstance(layer, layers.Dense)]
    assert head == ["relu"] * (len(head) - 1) + ["softmax"]
    if name in PUBLISHED:
        assert len(head) == 3
    for layer in model.layers:
        if isinstance(layer, layers.LSTM):  # what onnxruntime's native node computes
            assert (layer.activation.__name__, layer.recurrent_activation.__name__) == ("tanh", "sigmoid")


@pytest.mark.parametrize("name", SPEECH)
def test_input_of_speech(name: str, random_model: Callable[[str], Any], shipped_recipe: Any) -> None:
    model, recipe = random_model(name), shipped_recipe(name)
    assert model.input_shape == (None, recipe.n_frames, recipe.features.n_columns)
    assert recipe.n_frames * recipe.features.hop_samples == 3.2 * 16_000
    assert isinstance(model.layers[1], layers.Normalization)
    assert model.layers[1].name == "normalisation"
    assert model.layers[1].mean.shape[-1] == recipe.features.n_columns, "per mel band"


@pytest.mark.parametrize("name", IMAGES)
def test_input_of_images(name: str, random_model: Callable[[str], Any]) -> None:
    model = random_model(name)
    side = 48 if name == "fer_mlp" else 28
    assert model.input_shape == (None, side, side)
    assert not any(isinstance(layer, layers.Normalization) for layer in model.layers), "nothing to be fitted"
    scaled = model.layers[1](np.full((1, side, side), 255.0))
    np.testing.assert_allclose(scaled, 1, rtol=1e-6)


@pytest.mark.parametrize("name", RECIPES)
def test_output(name: str, random_model: Callable[[str], Any], shipped_recipe: Any) -> None:
    model, recipe = random_model(name), shipped_recipe(name)
    assert [(v.name, v.dtype) for v in model.inputs] == [("features", "float32")]
    assert model.layers[-1].name == "probabilities"
    found = model(random_inputs(recipe), training=False).numpy()
    assert found.shape == (2, len(recipe.label_map.labels))
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


# --- speech --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", SPEECH)
def test_parameters_are_counted_without_normalisation(name: str, random_model: Callable[[str], Any]) -> None:
    model = random_model(name)
    by_hand = sum(
        int(np.prod(weight.shape))
        for layer in model.layers
        if layer.name != "normalisation"
        for weight in layer.weights
    )
    assert count_parameters(model) == by_hand
    assert model.count_params() == by_hand + 2 * model.input_shape[-1] + 1  # mean, variance, count


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


def resnet(model: keras.Model) -> keras.Model:
    (found,) = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return found


def test_resnet50_lstm(random_model: Callable[[str], Any]) -> None:
    model = random_model("resnet50_lstm")
    assert resnet(model).output_shape == (None, 320 // 32, 64 // 32, 2048)
    (lstm,) = [layer for layer in model.layers if isinstance(layer, layers.LSTM)]
    assert lstm.input.shape == (None, 10, 2048)
    assert count_parameters(model) == 23_587_712 + 4 * 128 * (2048 + 128 + 1) + 129 * 7
    norms = [layer for layer in resnet(model).layers if isinstance(layer, layers.BatchNormalization)]
    assert len(norms) == 53
    assert {layer.momentum for layer in norms} == {0.9}


@pytest.mark.parametrize(("n_frames", "n_mels", "words"), [(48, 64, "48 frames"), (64, 80, "80 mel bands")])
def test_resnet50_lstm_sizes(n_frames: int, n_mels: int, words: str) -> None:
    with pytest.raises(RecipeError, match=f"{words}; ResNet50 needs a multiple of 32"):
        build("resnet50_lstm", {}, n_frames=n_frames, n_mels=n_mels, n_labels=7)


@pytest.mark.slow
def test_imagenet_weights_are_loaded_and_given_what_they_expect(
    random_model: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = resnet(random_model("resnet50_lstm"))
    path = tmp_path / "mine.weights.h5"
    source.save_weights(path)
    monkeypatch.setattr(file_utils, "get_file", lambda name, url, **_: str(path))
    model = build("resnet50_lstm", {"pretrained": True}, n_frames=64, n_mels=32, n_labels=7)
    for found, expected in zip(resnet(model).weights, source.weights, strict=True):
        np.testing.assert_array_equal(found, expected)

    features = np.random.default_rng(0).normal(-30, 15, (8, 64, 32)).astype(np.float32)
    model.get_layer("normalisation").adapt(features)
    image = keras.Model(model.input, model.get_layer("channels").output)(features).numpy()
    assert image.shape == (8, 64, 32, 3)
    np.testing.assert_allclose(image.mean(), 0, atol=0.1)
    np.testing.assert_allclose(image.std(), IMAGENET_DEVIATION, rtol=1e-3)


def test_imagenet_weights_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts_s = []

    def unreachable(*_: Any) -> None:
        timeouts_s.append(socket.getdefaulttimeout())
        raise urllib.error.URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setattr(file_utils, "urlretrieve", unreachable)
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    with pytest.raises(RecipeError) as caught:
        build("resnet50_lstm", {"pretrained": True}, n_frames=32, n_mels=32, n_labels=7)
    message = str(caught.value)
    assert "\n" not in message
    words = ["https://", WEIGHTS_FILE, "Name or service not known", "~/.keras/models", "pretrained=false"]
    assert all(word in message for word in words), message
    assert 0 < timeouts_s[0] < 60, "an address that does not answer would hold a training up"
    assert socket.getdefaulttimeout() is None


# --- images --------------------------------------------------------------------------------------------


def test_sizes_of_the_image_lstm(random_model: Callable[[str], Any]) -> None:
    def n_parameters(*units: int) -> int:
        return count_parameters(build("fashion_lstm", {"units": units}, n_frames=28, n_mels=28, n_labels=10))

    assert random_model("fashion_lstm").layers[-2].units == 2 * 28 * 10 // 3
    assert count_parameters(random_model("fashion_lstm")) == n_parameters(186) == 161_830
    assert (n_parameters(56), n_parameters(280)) == (19_610, 348_890)
    # Published as 3.2 million.
    assert count_parameters(random_model("fashion_lstm2")) == 12 * 512**2 + 130 * 512 + 10 == 3_212_298
    assert n_parameters(186, 186) == 12 * 186**2 + 130 * 186 + 10 == 439_342


def test_sizes_of_the_other_image_networks(random_model: Callable[[str], Any]) -> None:
    convolutions = 32 * (9 + 1) + 64 * (32 * 9 + 1) + 128 * (64 * 9 + 1)
    assert (
        count_parameters(random_model("fashion_cnn"))
        == convolutions + 128 * (9 * 128 + 1) + 129 * 10
        == 241_546
    )
    assert count_parameters(random_model("fer_mlp")) == 128 * (48 * 48 + 1) + 129 * 7 == 295_943


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_of_the_image_mlp(activation: str) -> None:
    settings = {"units": [6, 5], "activation": activation, "dropout": 0.2}
    model = build("fer_mlp", settings, n_frames=4, n_mels=3, n_labels=7)
    assert sequence(model) == ["Flatten", "Dense 6", "Dropout", "Dense 5", "Dropout", "Dense 7"]
    found = [layer.activation.__name__ for layer in model.layers if isinstance(layer, layers.Dense)]
    assert found == [activation, activation, "softmax"]


# --- conversion ----------------------------------------------------------------------------------------


def check_conversion(model: keras.Model, inputs: np.ndarray) -> ir.Graph:
    """The simplified graph of a network, which computes what Keras does."""
    _, n_frames, n_mels = model.input_shape
    graph = network_graph(model, n_frames=n_frames, n_mels=n_mels, n_labels=model.output_shape[-1])
    simplify(graph)
    expected = model(inputs, training=False).numpy()
    session = runner(graph)
    found = np.concatenate([session(x[np.newaxis])[0] for x in inputs])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    # The comparison has something to compare.
    assert np.ptp(found, axis=0).max() > 1e-3
    assert found.max() < 0.999
    return graph


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.slow
def test_conversion_of_image_networks(
    name: str, random_model: Callable[[str], Any], shipped_recipe: Callable[[str], Recipe]
) -> None:
    graph = check_conversion(random_model(name), random_inputs(shipped_recipe(name)))
    assert op_types(graph).count("LSTM") == SEQUENCES[name].count("LSTM")


@pytest.mark.slow
def test_conversion_of_resnet50_lstm(monkeypatch: pytest.MonkeyPatch) -> None:
    full = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 32, 3))
    monkeypatch.setattr(keras.applications, "ResNet50", narrow_resnet50)
    model = randomise(build("resnet50_lstm", {"units": [16]}, n_frames=64, n_mels=32, n_labels=7))
    assert [type(layer) for layer in resnet(model).layers] == [type(layer) for layer in full.layers]
    inputs = np.random.default_rng(0).normal(-30, 15, (3, 64, 32)).astype(np.float32)
    graph = check_conversion(model, inputs)
    count = Counter(op_types(graph))
    # All batch normalisations are in the convolutions: what is left adds the shortcuts, and is the model's own.
    assert (count["Conv"], count["Add"], count["Mul"], count["Sub"]) == (53, 16, 1, 1)
    assert not {"BatchNormalization", "Div", "Slice"} & set(count)
    assert count["LSTM"] == 1
    with pytest.raises(ExportError, match=r"cannot stream .*pads time on both sides"):
        stream(graph, step_frames=32)


# --- settings ------------------------------------------------------------------------------------------


OF_OTHER_SIZE = ("emo_open", "emo_tiny", "fashion_lstm2", "resnet50_lstm")


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in OF_OTHER_SIZE])
def test_settings_of_the_recipes_are_the_defaults(name: str, shipped_recipe: Any) -> None:
    """A user's recipe that names only the builder gets the shipped network."""
    recipe = shipped_recipe(name)
    bare = dataclasses.replace(recipe.architecture, settings={})
    size = {"n_frames": recipe.input_shape[0], "n_mels": recipe.input_shape[1], "n_labels": 7}
    switches = {key: value for key, value in recipe.architecture.settings.items() if value is True}
    shipped = build(recipe.architecture.builder, recipe.architecture.settings, **size)
    default = build(bare.builder, switches, **size)
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
    "no layers": ("fashion_lstm", {"units": []}, ["fashion_lstm", "units is empty"]),
    "one number for a list": ("fashion_lstm", {"units": 186}, ["fashion_lstm", "units"]),
    "unknown activation": (
        "fer_mlp",
        {"activation": "swish"},
        ["'swish'", "sigmoid, softmax, relu, leaky_relu, tanh"],
    ),
    "activation is a number": ("fer_mlp", {"activation": 3}, ["fer_mlp", "activation is 3"]),
    "rate above one": ("fer_mlp", {"dropout": 1.5}, ["fer_mlp", "dropout"]),
    "image pooled away": ("fashion_cnn", {"filters": [2] * 8}, ["fashion_cnn", "filters"]),
    "even pretrained is true or false": ("resnet50_lstm", {"trained": True}, ["'trained'", "pretrained"]),
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
