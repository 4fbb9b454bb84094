"""Keras networks: reading their files, and the same network in float32."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from edgeemo.errors import ModelError
from edgeemo.workstation import networks
from edgeemo.workstation.export.file import export
from edgeemo.workstation.export.source import prepare
from edgeemo.workstation.networks import in_float32, load_network
from edgeemo.workstation.training.recipe import Recipe
from support.networks import randomise
from support.signals import speech_like

LABELS = ("yes", "no", "maybe")
CLIPS = [speech_like(9000, 8000, seed=1), speech_like(3000, 8000, seed=2)]


def network(
    *recurrent: Callable[..., Any], policy: str = "float32", input_type: str = "float32"
) -> keras.Model:
    """A normalisation, a convolution and recurrent layers, made under a policy, with the same weights each time."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    try:
        features = layers.Input((16, 8), dtype=input_type)
        x = layers.Normalization()(features)
        x = layers.Conv1D(4, 3, padding="causal", activation="relu")(x)
        for layer in recurrent:
            x = layer(return_sequences=layer is not recurrent[-1])(x)
        x = layers.Dense(3, activation="softmax", name="probabilities")(
            x if recurrent else layers.Flatten()(x)
        )
        return randomise(keras.Model(features, x, name="mine"))
    finally:
        keras.config.set_dtype_policy(before)


def lstm(**settings: Any) -> Any:
    return layers.LSTM(6, **settings)


def gru(**settings: Any) -> Any:
    return layers.GRU(5, **settings)


def both_ways(**settings: Any) -> Any:
    return layers.Bidirectional(layers.LSTM(4, **settings))


# --- files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no Keras model at"),
        (b"nothing of Keras", "Keras cannot load it"),
        (b"", "Keras cannot load it"),
    ],
)
def test_file_that_is_not_keras(content: bytes | None, words: str, tmp_path: Path) -> None:
    weights = tmp_path / "w.keras"
    if content is not None:
        weights.write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        load_network(weights)
    assert "\n" not in str(caught.value)
    assert str(weights) in str(caught.value)


def test_an_archive_that_unpacks_to_more_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "w.keras"
    network(lstm).save(weights)
    with zipfile.ZipFile(weights) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    monkeypatch.setattr(networks, "MAX_UNPACKED_BYTES", unpacked)
    assert load_network(weights).count_params() > 0
    monkeypatch.setattr(networks, "MAX_UNPACKED_BYTES", unpacked - 1)
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(ModelError, match=r"unpacks to .* GiB, expected at most") as caught:
        load_network(weights)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("with_optimizer", [False, True])
def test_code_in_a_keras_file_is_not_run(with_optimizer: bool, tmp_path: Path) -> None:
    features = layers.Input((16, 8))
    x = layers.LSTM(4)(layers.Lambda(lambda x: x * 2)(features))
    keras.Model(features, x).save(tmp_path / "w.keras")
    with pytest.raises(ModelError, match="Keras cannot load it"):
        load_network(tmp_path / "w.keras", with_optimizer=with_optimizer)


# --- other formats ---------------------------------------------------------------------------------------


def as_keras_2(config: Any) -> Any:
    """The description of a network or layer, as Keras 2.15 writes it into HDF5 files."""
    if isinstance(config, list):
        return [as_keras_2(value) for value in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        name = config["config"]["name"]
        return name if name == "float32" else {"class_name": "Policy", "config": {"name": name}}
    known = {
        key: as_keras_2(value) for key, value in config.items() if key not in ("module", "registered_name")
    }
    own: Any = known.get("config")
    match known.get("class_name"):
        case "InputLayer":
            own["batch_input_shape"] = own.pop("batch_shape")
            own |= {"sparse": False, "ragged": False}
        case "LSTM" | "GRU":
            own |= {"time_major": False, "implementation": 2}
        case "SimpleRNN" | "RNN":
            own["time_major"] = False
        case "DepthwiseConv1D":
            own["groups"] = 1
        case "SeparableConv1D":
            own |= {
                "groups": 1,
                "kernel_initializer": None,
                "kernel_regularizer": None,
                "kernel_constraint": None,
            }
        case "BatchNormalization":
            own["axis"] = [own["axis"]]
    return known


def keras_2_file(
    path: Path, model: keras.Model, change: Callable[[dict[str, Any]], Any] = lambda config: config
) -> Path:
    """A network as Keras 2 saves it, with a change to its description."""
    model.save(path)
    with h5py.File(path, "r+") as file:
        config: Any = as_keras_2(json.loads(file.attrs["model_config"]))
        file.attrs["model_config"] = json.dumps(change(config) or config).encode()
        file.attrs["keras_version"] = b"2.15.0"
    return path


def several_layers() -> keras.Model:
    """With everything whose settings Keras 3 has left out."""
    parts = [
        layers.Input((16, 8)),
        layers.SeparableConv1D(6, 3, padding="same"),
        layers.BatchNormalization(),
        layers.DepthwiseConv1D(3),
        layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
        layers.GRU(5, return_sequences=True),
        layers.SimpleRNN(4, return_sequences=True),
        layers.TimeDistributed(layers.Dense(4)),
        layers.RNN(layers.LSTMCell(3)),
        layers.Dense(3, activation="softmax"),
    ]
    return randomise(keras.Sequential(parts))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
@pytest.mark.parametrize("of_keras_2", [False, True])
def test_hdf5(of_keras_2: bool, suffix: str, tmp_path: Path) -> None:
    path, model = tmp_path / f"w{suffix}", several_layers()
    if of_keras_2:
        keras_2_file(path, model)
        with pytest.raises(Exception, match=r"time_major|groups"):
            keras.saving.load_model(path)
    else:
        model.save(path)
    before = path.read_bytes()
    features = np.random.default_rng(0).normal(0, 1, (4, 16, 8)).astype(np.float32)
    found = load_network(path)(features).numpy()
    np.testing.assert_allclose(found, model(features).numpy(), rtol=0, atol=1e-6)
    assert found.std(axis=0).max() > 1e-4
    assert path.read_bytes() == before


@pytest.mark.slow
def test_whole_export_of_keras_2_in_mixed_precision(small_recipe: Recipe, tmp_path: Path) -> None:
    path = keras_2_file(tmp_path / "w.h5", network(lstm, gru, policy="mixed_float16"))
    metadata = export(load_network(path), small_recipe, tmp_path / "m.onnx", clips=CLIPS, labels=LABELS)
    assert metadata.parity is not None
    assert metadata.parity.max_difference < 1e-5


@pytest.mark.slow
def test_a_sequential_network_of_early_keras_2(tmp_path: Path) -> None:
    """Until 2.2.2 its description was the list of its layers."""

    def change(config: dict[str, Any]) -> dict[str, Any]:
        return {**config, "config": config["config"]["layers"][1:], "name": "sequential"}

    model = keras.Sequential([layers.Input((16, 8)), layers.LSTM(4), layers.Dense(3, activation="softmax")])

    def with_shape(config: dict[str, Any]) -> dict[str, Any]:
        changed = change(config)
        changed["config"][0]["config"]["batch_input_shape"] = [None, 16, 8]
        return changed

    path = keras_2_file(tmp_path / "w.h5", model, with_shape)
    features = np.random.default_rng(0).normal(0, 1, (2, 16, 8)).astype(np.float32)
    np.testing.assert_allclose(load_network(path)(features), model(features), rtol=0, atol=1e-6)


def small_h5(path: Path, change: Callable[[dict[str, Any]], Any] = lambda config: config) -> Path:
    model = keras.Sequential([layers.Input((4, 2)), layers.LSTM(2, name="mine"), layers.Dense(3)])
    return keras_2_file(path, model, change)


def time_first(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["config"]["time_major"] = True


def operation_of_tensorflow(config: dict[str, Any]) -> None:
    config["config"]["layers"][1] = {"class_name": "TFOpLambda", "config": {"name": "tf.math.multiply"}}


def layer_of_keras_2(config: dict[str, Any]) -> None:
    config["config"]["layers"].append(
        {"class_name": "ThresholdedReLU", "config": {"name": "mine", "theta": 1.0}}
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (time_first, r"the layer mine \(LSTM\) has time_major = True, .*; put time on axis 1"),
        (layer_of_keras_2, r"Keras cannot load it \(.*ThresholdedReLU.*; .*tf2onnx.convert --keras FILE"),
        (operation_of_tensorflow, r"Keras cannot load it \(.*TFOpLambda.*; .*tf2onnx.convert --keras FILE"),
    ],
)
def test_settings_of_keras_2_that_keras_3_lacks(
    change: Callable[[dict[str, Any]], Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        load_network(small_h5(tmp_path / "w.h5", change))
    assert "\n" not in str(caught.value)


def saved_model(path: Path) -> None:
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"")


def weights_alone(path: Path) -> None:
    small_h5(path)
    with h5py.File(path, "r+") as file:  # as Keras 2's save_weights leaves them
        del file.attrs["model_config"]


def of_keras_2(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))


OTHER_FORMATS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "SavedModel": ("net", saved_model, r"a SavedModel of TensorFlow, .*tf2onnx.convert --saved-model .*net "),
    "a folder": ("net", lambda path: path.mkdir(), r"a folder, expected .*; give the file"),
    "TFLite": (
        "net.tflite",
        lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(20)),
        r"a network of TensorFlow Lite, .*tf2onnx.convert --tflite .*net.tflite --output net.onnx",
    ),
    "pt": ("net.pt", lambda path: path.write_bytes(b"PK"), r"weights of PyTorch, .*torch.onnx.export"),
    "pth": ("net.pth", lambda path: path.write_bytes(b"PK"), r"weights of PyTorch, .*torch.onnx.export"),
    "weights, Keras 2": ("w.h5", weights_alone, r"weights without their network, .*load_weights.*model.save"),
    "weights, Keras 3": (
        "w.weights.h5",
        lambda path: network().save_weights(path),
        r"weights without their network, .*load_weights.*model.save",
    ),
    "Keras 2's .keras": ("w.keras", of_keras_2, r"a file of Keras 2.15, .*; save it there as HDF5"),
}


@pytest.mark.parametrize("format", OTHER_FORMATS)
def test_other_formats_are_named_with_the_way_to_convert_them(format: str, tmp_path: Path) -> None:
    name, write, words = OTHER_FORMATS[format]
    write(tmp_path / name)
    with pytest.raises(ModelError, match=f"{name}: {words}") as caught:
        load_network(tmp_path / name)
    assert "\n" not in str(caught.value)


# --- float32 ---------------------------------------------------------------------------------------------


def test_a_network_in_float32_stays_itself() -> None:
    model = network(lstm, both_ways)
    assert in_float32(model) is model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "recurrent"),
    [
        ("mixed_float16", ()),
        ("mixed_float16", (gru, lstm)),
        ("mixed_float16", (both_ways,)),
        ("mixed_bfloat16", (lstm,)),
        ("float16", (lstm,)),
        ("float64", (lstm,)),
    ],
)
def test_the_same_weights_in_float32(policy: str, recurrent: tuple[Callable[..., Any], ...]) -> None:
    model = network(*recurrent, policy=policy, input_type="float16" if policy == "float16" else "float32")
    clone = in_float32(model)
    assert {layer.compute_dtype for layer in clone.layers} == {"float32"}
    assert {str(tensor.dtype) for tensor in (*clone.inputs, *clone.outputs)} == {"float32"}
    for found, expected in zip(clone.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected.astype(found.dtype), rtol=1e-6)
    features = np.random.default_rng(0).normal(-30, 15, (4, 16, 8)).astype(np.float32)
    expected = model.predict(features, verbose=0).astype(np.float32)
    assert expected.std(axis=0).max() > 0.01
    np.testing.assert_allclose(clone.predict(features, verbose=0), expected, rtol=0, atol=0.05)


@pytest.mark.slow
def test_a_network_that_was_trained_on_stays_whole() -> None:
    """With its optimizer, and a network inside it."""
    inner = network(lstm, policy="mixed_float16")
    features = layers.Input((16, 8))
    model = keras.Model(features, layers.Dense(3, activation="softmax")(inner(features)))
    model.compile("adam", "categorical_crossentropy")
    batch = np.random.default_rng(0).normal(-30, 15, (4, 16, 8)).astype(np.float32)
    model.train_on_batch(batch, np.eye(3)[[0, 1, 2, 0]])
    clone = in_float32(model)
    assert clone.layers[1].layers[-1].compute_dtype == "float32"
    difference = np.abs(clone.predict(batch, verbose=0) - model.predict(batch, verbose=0))
    assert difference.max() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("recurrent", [(), (lstm, gru)])
def test_whole_export_of_mixed_precision(
    recurrent: tuple[Callable[..., Any], ...], small_recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "w.keras"
    network(*recurrent, policy="mixed_float16").save(path)
    model = load_network(path)
    source = prepare(model, small_recipe, clips=CLIPS, labels=LABELS)
    kinds = Counter(node.op_type for node in source.network)
    assert [kinds[kind] for kind in ("LSTM", "GRU", "Loop", "Cast")] == [
        sum(layer is kind for layer in recurrent) for kind in (lstm, gru)
    ] + [0, 0]
    metadata = export(model, small_recipe, tmp_path / "mine.onnx", clips=CLIPS, labels=LABELS)
    assert metadata.parity is not None
    assert metadata.parity.max_difference < 1e-5
