"""Which Keras layer a node comes from, in the node's name: tf2onnx keeps the names of some operators only."""

from __future__ import annotations

import re
from collections.abc import Iterable

import keras
import numpy as np
import onnx_ir as ir

from edgeemo.workstation.graphs.editing import RECURRENT, constant


def name_after_layers(model: keras.Model, graph: ir.Graph) -> None:
    """Put the layer in front of the names that tf2onnx made up.

    A recurrent node is known by its weights. Any other has the layer of its outputs' names, or of what it is computed
    from, or of what is computed from it.

    Args:
        model: what the graph was converted from.
        graph: all nodes keep their names, as the end of the new ones.
    """
    layers = list(model._flatten_layers(include_self=False))
    names = sorted({layer.name for layer in layers}, key=len, reverse=True)
    by_weights = _recurrent_layers(layers)
    found = {node: _named(names, str(node.name)) for node in graph}
    unnamed = [node for node in graph if "/" not in str(node.name)]
    for node in unnamed:
        weights = _digest(constant(node.inputs[1])) if node.op_type in RECURRENT else None
        producers = [p for value in node.inputs if value is not None and (p := value.producer()) is not None]
        of_outputs = (_named(names, str(value.name)) for value in node.outputs)
        of_producers = (found.get(node) for node in producers if node is not None)
        candidates = [by_weights.get(weights), *of_outputs, *of_producers]
        found[node] = next(filter(None, candidates), None)
    for node in reversed(unnamed):
        uses = (use.node for value in node.outputs for use in value.uses())
        found[node] = found[node] or next(filter(None, map(found.get, uses)), None)
        if found[node]:
            node.name = f"{found[node]}/{node.name}"


def _named(names: Iterable[str], path: str) -> str | None:
    """The layers that a path of scopes goes through, from the outermost: a scope is a layer's name and a number."""
    found = [
        name
        for scope in path.split("/")
        for name in names
        if re.fullmatch(rf"{re.escape(name)}_\d+(_[A-Z]\w*)?(:\d+)?", scope)
    ]
    return "/".join(found) or None


def _recurrent_layers(layers: Iterable[keras.layers.Layer]) -> dict[bytes | None, str]:
    """Layers with a kernel of their own, by its values; what a wrapper wraps has the wrapper's name."""
    found: dict[bytes | None, str] = {}
    for layer in layers:
        if isinstance(layer, keras.layers.LSTM):
            found.setdefault(_digest(layer.cell.kernel.numpy()), layer.name)
        elif isinstance(layer, keras.layers.Bidirectional) and isinstance(
            layer.forward_layer, keras.layers.LSTM
        ):
            found[_digest(layer.forward_layer.cell.kernel.numpy())] = layer.name
    return found


def _digest(weights: np.ndarray | None) -> bytes | None:
    """The same for both orders of gates, and for both directions of a matrix; of several directions, the first."""
    if weights is None:
        return None
    return np.sort(weights[0] if weights.ndim == 3 else weights, axis=None).tobytes()
