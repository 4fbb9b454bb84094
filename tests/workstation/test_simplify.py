"""Simplification: the same function in fewer operators, and what must be left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import onnx_ir as ir
import pytest
from conftest import SHIPPED, randomise
from handmade import Hand, op_types, run
from keras import layers

from edgeemo.workstation.architectures import ARCHITECTURES, build
from edgeemo.workstation.graphs.network import network_graph
from edgeemo.workstation.graphs.simplify import simplify

N_FRAMES, N_MELS = 16, 8
SETTINGS: dict[str, dict[str, Any]] = {
    "pure_cnn": {"filters": (4, 5, 6, 7), "pools": ((2, 2), (2, 2), (2, 1), (2, 1))},
    "cnn_lstm": {"filters": (4, 6), "pools": ((2, 2), (2, 2)), "units": (5, 6)},
    "pure_lstm": {"stack": 2, "units": (5, 6, 7, 5)},
    "conv1d_lstm": {"kernel": 3, "pool": 2, "units": 6},
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


@pytest.mark.parametrize("name", ARCHITECTURES)
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
    # The model's own normalisation: before a padded convolution its shift must stay.
    own = [node.op_type for node in simplified if node.inputs[0] in simplified.inputs]
    arithmetic = sum(count[op_type] for op_type in ("Mul", "Add", "Sub", "Div"))
    if name in ("pure_cnn", "cnn_lstm"):
        assert own in (["Mul"], ["Sub"]), own
        assert arithmetic == 2
    elif name == "pure_lstm":
        assert arithmetic == 0
    assert not {"BatchNormalization", "Slice", "Pad", "Expand", "Squeeze", "Unsqueeze"} & set(count)
    for node in simplified:
        if node.op_type == "LSTM":
            assert all(value is None for value in node.inputs[4:])


def test_shipped_architectures_are_among_them() -> None:
    assert set(SHIPPED) <= set(SETTINGS) == set(ARCHITECTURES)
