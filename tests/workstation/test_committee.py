"""Networks that answer together, each trained for itself."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from edgeemo.errors import RecipeError
from edgeemo.workstation.architectures import build
from edgeemo.workstation.committee import Committee, CommitteeCrossEntropy, cross_entropy, members
from edgeemo.workstation.networks import load_network

SMALL = {"filters": (3, 4), "kernels": (3, 3), "strides": ((2, 4), (2, 2)), "hidden": 5, "units": (4,)}
N_FRAMES, N_BANDS, N_LABELS = 16, 16, 3


def softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 4), k=st.integers(1, 3), seed=st.integers(0, 99), smoothing=st.sampled_from([0, 0.1]))
def test_each_learns_as_if_alone(n: int, k: int, seed: int, smoothing: float) -> None:
    """The loss of the common answer is the mean of what Keras' cross-entropy says of each."""
    rng = np.random.default_rng(seed)
    logits = [rng.normal(0, 2, (n, N_LABELS)).astype(np.float32) for _ in range(k)]
    labels = np.eye(N_LABELS, dtype=np.float32)[rng.integers(N_LABELS, size=n)]
    found = CommitteeCrossEntropy(smoothing)(labels, Committee()(logits, training=True))
    alone = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    expected = np.mean([float(alone(labels, one)) for one in logits])
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_together_they_answer_by_their_mean_logits() -> None:
    logits = [np.random.default_rng(i).normal(0, 2, (4, N_LABELS)).astype(np.float32) for i in range(2)]
    found = np.array(Committee()(logits))
    np.testing.assert_allclose(found, softmax((logits[0] + logits[1]) / 2), rtol=1e-5)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build("committee", SMALL, n_frames=N_FRAMES, n_mels=2 * N_BANDS + 1, n_labels=N_LABELS)


def test_neither_hears_the_bands_of_the_other(network: keras.Model) -> None:
    """The first member, the bands relative to their mean; the second, those relative to the loudest frame."""
    heard = keras.Model(network.inputs, [network.get_layer("own").output, network.get_layer("other").output])
    rng = np.random.default_rng(1)
    features = rng.normal(0, 1, (1, N_FRAMES, 2 * N_BANDS + 1)).astype(np.float32)
    features[..., -1] = 1
    before = [np.array(x) for x in heard(features)]
    for bands, changes in ((slice(N_BANDS), (True, False)), (slice(N_BANDS, 2 * N_BANDS), (False, True))):
        other = features.copy()
        other[..., bands] += rng.normal(0, 1, (N_FRAMES, N_BANDS))
        after = [np.array(x) for x in heard(other)]
        assert tuple(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)) == changes


def test_training_makes_both_better(network: keras.Model) -> None:
    """Each alone, not only their common answer."""
    rng = np.random.default_rng(2)
    labels = np.eye(N_LABELS, dtype=np.float32)[np.arange(24) % N_LABELS]
    features = rng.normal(0, 0.3, (24, N_FRAMES, 2 * N_BANDS + 1)).astype(np.float32)
    features[..., -1] = 1
    for i, label in enumerate(labels.argmax(axis=1)):
        features[i, :, 4 * label : 4 * label + 4] += 1
        features[i, :, N_BANDS + 4 * label : N_BANDS + 4 * label + 4] += 1
    model = keras.models.clone_model(network)
    model.compile(keras.optimizers.Adam(0.01), cross_entropy(model, 0.0))
    for _ in range(60):
        model.train_on_batch(features, labels)
    alone = keras.Model(model.inputs, [model.get_layer("own").output, model.get_layer("other").output])
    for logits in alone(features):
        assert (np.array(logits).argmax(axis=1) == labels.argmax(axis=1)).mean() > 0.9


def test_a_committee_has_members(network: keras.Model) -> None:
    assert members(network) == 2
    other = build("attentive_cnn", {}, n_frames=160, n_mels=64, n_labels=N_LABELS)
    assert members(other) == 1
    assert isinstance(cross_entropy(other, 0.1), keras.losses.CategoricalCrossentropy)
    assert isinstance(layers.deserialize(layers.serialize(Committee(name="x"))), Committee)


def test_a_file_gives_the_same_network(network: keras.Model, tmp_path: Path) -> None:
    network.save(tmp_path / "network.keras")
    again = load_network(tmp_path / "network.keras")
    features = np.random.default_rng(3).normal(-5, 8, (3, *network.input_shape[1:])).astype(np.float32)
    np.testing.assert_array_equal(again.predict(features, verbose=0), network.predict(features, verbose=0))


def test_features_without_both_kinds_of_bands_are_refused() -> None:
    with pytest.raises(
        RecipeError, match=r"64 columns, expected bands twice and one more: set .* peak_bands"
    ):
        build("committee", SMALL, n_frames=N_FRAMES, n_mels=64, n_labels=N_LABELS)
