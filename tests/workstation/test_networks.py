"""Keras networks: reading their files, and the same network in float32."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    """A normalisation, a convolution and recurrent layers, made under a policy, with random weights."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
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
