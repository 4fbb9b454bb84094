"""Weights that are stored in fewer bits than they are computed in.

Operators on constants cost nothing at inference: onnxruntime computes them once, when it loads a model. So a weight
may be stored as float16 or int8 and widened by ordinary operators. (Not by `DequantizeLinear`: onnxruntime keeps that
for its int8 kernels, and where no such kernel follows it would run each time.)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common

_INT8_MAX = 127
_SMALL = 256  # elements: half of these many float32 values is no more than the operator that widens them


def half(model: ir.Model) -> ir.Model:
    """Store weights as float16; they are computed in float32.

    Args:
        model: a network; it is not changed.

    Returns:
        a copy, half the size. Constants of up to 256 elements stay as they are, and so does a weight with a value
        that float16 cannot hold (beyond 65504).
    """
    model = model.clone()
    graph = model.graph
    for value in list(graph.initializers.values()):
        weights = value.const_value.numpy()
        if weights.dtype != np.float32 or weights.size <= _SMALL or value.is_graph_output():
            continue
        if np.abs(weights).max() > np.finfo(np.float16).max:
            continue
        stored = add_constant(graph, f"{value.name}/float16", weights.astype(np.float16))
        widened = ir.node("Cast", [stored], {"to": ir.DataType.FLOAT}, name=f"{value.name}/widen")
        graph.insert_before(graph[0], widened)
        value.replace_all_uses_with(widened.outputs[0])
    remove_unused(model)
    return model


def store_int8(node: ir.Node, index: int, scale: np.ndarray) -> None:
    """Store a constant input of a node as int8; it is computed in float32.

    Args:
        node: in a graph, which changes.
        index: of the input.
        scale: as `symmetric_scale` gives it.
    """
    name = f"{node.name}/input_{index}"
    stored = to_int8(node.inputs[index].const_value.numpy(), scale)
    constants = (
        add_constant(node.graph, f"{name}/int8", stored),
        add_constant(node.graph, f"{name}/scale", scale),
    )
    cast = ir.node("Cast", [constants[0]], {"to": ir.DataType.FLOAT}, name=f"{name}/cast")
    widened = ir.node("Mul", [cast.outputs[0], constants[1]], name=f"{name}/widen")
    node.graph.insert_before(node, [cast, widened])
    node.replace_input_with(index, widened.outputs[0])


def symmetric_scale(weights: np.ndarray, *, along: tuple[int, ...]) -> np.ndarray:
    """The step between int8 values by which the largest weights become 127 or -127.

    Args:
        weights: float.
        along: axes along which steps differ.

    Returns:
        float32, not 0; broadcasts against `weights`.
    """
    others = tuple(axis for axis in range(weights.ndim) if axis not in along)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    return np.where(largest > 0, largest / _INT8_MAX, 1).astype(np.float32)


def to_int8(weights: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Round to multiples of `scale`, which broadcasts against `weights`; symmetric, -127 to 127."""
    return np.clip(np.rint(weights.astype(np.float64) / scale), -_INT8_MAX, _INT8_MAX).astype(np.int8)


def add_constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """Add an initializer; `name` is one that the graph does not have yet."""
    tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
    value = ir.Value(name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
    graph.register_initializer(value)
    return value


def remove_unused(model: ir.Model) -> None:
    """Remove constants and nodes that nothing uses any more."""
    onnx_ir.passes.common.RemoveUnusedNodesPass()(model)
