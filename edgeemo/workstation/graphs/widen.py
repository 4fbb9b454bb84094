"""Weights that are stored in fewer bits than they are computed in.

Operators on constants cost nothing at inference: onnxruntime computes them once, when it loads a model. So a weight
may be stored as float16 or int8 and widened by ordinary operators. (Not by `DequantizeLinear`: onnxruntime keeps that
for its int8 kernels, and where no such kernel follows it would run each time.)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common

INT8_MAX = 127
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


def store_int8(node: ir.Node, index: int, *, axis: int) -> None:
    """Store a constant input of a node as int8; it is computed in float32.

    Args:
        node: in a graph, which changes.
        index: of the input.
        axis: the input's axis of output channels, each of which gets a scale.
    """
    value = node.inputs[index]
    weights = value.const_value.numpy()
    others = tuple(i for i in range(weights.ndim) if i != axis)
    scale = symmetric_scale(np.abs(weights).max(axis=others, keepdims=True))
    name = f"{node.name}/input_{index}"
    stored = add_constant(node.graph, f"{name}/int8", to_int8(weights, scale))
    cast = ir.node("Cast", [stored], {"to": ir.DataType.FLOAT}, name=f"{name}/cast")
    scaled = ir.node(
        "Mul", [cast.outputs[0], add_constant(node.graph, f"{name}/scale", scale)], name=f"{name}/widen"
    )
    node.graph.insert_before(node, [cast, scaled])
    node.replace_input_with(index, scaled.outputs[0])


def symmetric_scale(largest: np.ndarray) -> np.ndarray:
    """The step between int8 values, float32, by which `largest` (absolute values, >= 0) becomes 127."""
    return np.where(largest > 0, largest / INT8_MAX, 1).astype(np.float32)


def to_int8(weights: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Round to multiples of `scale`, which broadcasts against `weights`; symmetric, -127 to 127."""
    return np.clip(np.rint(weights.astype(np.float64) / scale), -INT8_MAX, INT8_MAX).astype(np.int8)


def add_constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """Add an initializer; `name` is one that the graph does not have yet."""
    tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
    value = ir.Value(name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
    graph.register_initializer(value)
    return value


def remove_unused(model: ir.Model) -> None:
    """Remove constants and nodes that nothing uses any more."""
    onnx_ir.passes.common.RemoveUnusedNodesPass()(model)
