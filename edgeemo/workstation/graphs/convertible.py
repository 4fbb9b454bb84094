"""Keras layers that tf2onnx converts badly, called in a form that it converts well.

tf2onnx recognises recurrent layers by the operators of Keras 2's cells. Keras 3's LSTM still has these; GRU and
SimpleRNN become a `Loop`, several times slower than a native node, and refused in a stream. So each puts a mark in
place of its loop, which becomes the native node. `TimeDistributed` calls its layer for one position after the other,
as many times as there are positions; here it calls it once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf

Handlers = dict[str, tuple[Callable[..., None], list[Any]]]
"""What tf2onnx takes as `custom_op_handlers`."""

_MARK = "edgeemo_native_"
_MARK_OPERATOR = "PyFuncStateless"
_FLOAT = onnx.TensorProto.FLOAT
_ACTIVATIONS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "softsign": "Softsign"}


@dataclass(frozen=True)
class _NativeNode:
    """What ONNX says of a recurrent layer.

    Attributes:
        op_type: of the node.
        attributes: of the node.
        weights: of the input, of the recurrence, and both biases in a row; each with one direction.
    """

    op_type: str
    attributes: dict[str, Any]
    weights: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(cls, layer: keras.layers.Layer) -> _NativeNode:
        """That of a layer that has a native form."""
        cell = layer.cell
        kernel, recurrent = (np.ascontiguousarray(w.numpy().T) for w in (cell.kernel, cell.recurrent_kernel))
        biases = np.zeros((2, len(kernel)), np.float32)
        if cell.use_bias:
            given = cell.bias.numpy().reshape(-1, len(kernel))
            biases[: len(given)] = given
        attributes: dict[str, Any] = {
            "hidden_size": layer.units,
            "activations": [_ACTIVATIONS[activation.__name__] for activation in _activations(layer)],
        }
        if _is_gru(layer):
            attributes["linear_before_reset"] = int(cell.reset_after)
        weights = kernel[np.newaxis], recurrent[np.newaxis], biases.reshape(1, -1)
        return cls("GRU" if _is_gru(layer) else "RNN", attributes, weights)


@contextmanager
def convertible(model: keras.Model) -> Iterator[Handlers]:
    """While this lasts, the model's layers are called in the form that converts well; only trace it, do not run it.

    Args:
        model: in float32; nothing of it is changed afterwards.

    Yields:
        how tf2onnx is to convert the operators that it does not know.
    """
    layers = list(model._flatten_layers())
    recurrent = [layer for layer in layers if _has_native_form(layer)]
    native = [_NativeNode.of(layer) for layer in recurrent]
    distributed = [layer for layer in layers if type(layer) is keras.layers.TimeDistributed]
    # Keras would take what is set in its own way for a part of the layer's state.
    for i, layer in enumerate(recurrent):
        object.__setattr__(layer, "inner_loop", partial(_mark, layer, f"{_MARK}{i}"))
    for layer in distributed:
        object.__setattr__(layer, "call", partial(_all_positions, layer))
    try:
        yield {
            _MARK_OPERATOR: (partial(_put_native_node, native), []),
            "Erfc": (_put_erfc, []),
            "Expm1": (_put_expm1, []),
        }
    finally:
        for layer in recurrent:
            object.__delattr__(layer, "inner_loop")
        for layer in distributed:
            object.__delattr__(layer, "call")


def _has_native_form(layer: keras.layers.Layer) -> bool:
    return type(layer) in (keras.layers.GRU, keras.layers.SimpleRNN) and all(
        getattr(activation, "__name__", None) in _ACTIVATIONS for activation in _activations(layer)
    )


def _activations(layer: keras.layers.Layer) -> list[Any]:
    """In the order in which ONNX names them."""
    cell = layer.cell
    return [cell.recurrent_activation, cell.activation] if _is_gru(layer) else [cell.activation]


def _is_gru(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.GRU)


def _mark(
    layer: keras.layers.Layer,
    name: str,
    sequences: tf.Tensor,
    initial_state: Sequence[tf.Tensor],
    mask: tf.Tensor | None,
    training: bool = False,
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """Stand in for a layer's `inner_loop`: the last output, all outputs and the states."""
    if mask is not None:
        result: tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]] = type(layer).inner_loop(
            layer, sequences, initial_state, mask, training=training
        )
        return result
    if layer.go_backwards:
        sequences = tf.reverse(sequences, axis=[1])
    outputs, last = tf.numpy_function(
        lambda *_: None, [sequences, initial_state[0]], [tf.float32] * 2, stateful=False, name=name
    )
    outputs = tf.reshape(outputs, (-1, sequences.shape[1], layer.units))
    last = tf.reshape(last, (-1, layer.units))
    return last, outputs, [last]


def _put_native_node(native: Sequence[_NativeNode], graph: Any, node: Any, name: str, _: Any) -> None:
    """Put a GRU or RNN node in place of a mark, in tf2onnx's graph."""
    found = re.search(rf"{_MARK}(\d+)", name)
    assert found, f"{name} is no mark"
    scope, layer = name[: found.start()], native[int(found.group(1))]
    (x, state), (all_outputs, last) = node.input, node.output
    graph.remove_node(name)

    def const(what: str, array: np.ndarray) -> str:
        made: str = graph.make_const(f"{name}_{what}", array).output[0]
        return made

    def put(op_type: str, *inputs: str, **options: Any) -> list[str]:
        made: list[str] = graph.make_node(
            op_type, list(inputs), op_name_scope=scope.rstrip("/"), **options
        ).output
        return made

    first, second = const("axis_0", np.array([0])), const("axis_1", np.array([1]))
    weights = [const(f"weights_{i}", array) for i, array in enumerate(layer.weights)]
    (time_first,), (initial,) = put("Transpose", x, attr={"perm": [1, 0, 2]}), put("Unsqueeze", state, first)
    y, y_h = put(
        layer.op_type,
        time_first,
        *weights,
        "",
        initial,
        attr=layer.attributes,
        output_count=2,
        dtypes=[_FLOAT] * 2,
    )
    (y,) = put("Squeeze", y, second, dtypes=[_FLOAT])
    put("Transpose", y, attr={"perm": [1, 0, 2]}, outputs=[all_outputs], dtypes=[_FLOAT])
    put("Squeeze", y_h, first, outputs=[last], dtypes=[_FLOAT])


def _all_positions(
    layer: keras.layers.Layer, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None
) -> tf.Tensor:
    """Stand in for the `call` of `TimeDistributed`: all positions at once, as a batch."""
    if mask is not None:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    outputs = layer.layer(tf.reshape(inputs, (-1, *inputs.shape[2:])), training=training)
    return tf.reshape(outputs, (-1, inputs.shape[1], *outputs.shape[1:]))


def _put_erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """1 - erf(x)."""
    one = graph.make_const(f"{name}/one", np.array(1, np.float32)).output[0]
    _replace(graph, node, "Sub", lambda x: [one, graph.make_node("Erf", [x]).output[0]])


def _put_expm1(graph: Any, node: Any, name: str, _: Any) -> None:
    """exp(x) - 1."""
    one = graph.make_const(f"{name}/one", np.array(1, np.float32)).output[0]
    _replace(graph, node, "Sub", lambda x: [graph.make_node("Exp", [x]).output[0], one])


def _replace(graph: Any, node: Any, op_type: str, inputs: Callable[[str], list[str]]) -> None:
    (x,), outputs = node.input, list(node.output)
    types, shapes = [graph.get_dtype(outputs[0])], [graph.get_shape(outputs[0])]
    graph.remove_node(node.name)
    graph.make_node(op_type, inputs(x), name=node.name, outputs=outputs, dtypes=types, shapes=shapes)
