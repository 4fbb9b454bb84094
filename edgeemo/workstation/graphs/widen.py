"""Weights that are stored in fewer bits than they are computed in.

Operators on constants cost nothing at inference: onnxruntime computes them once, when it loads a model. So a weight
can be stored as float16 or int8, and widened by ordinary operators. (Not by `DequantizeLinear`: onnxruntime keeps
that for its int8 kernels, and where no such kernel follows, it would run every time.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeemo.workstation.graphs.editing import add_constant, known, owner, remove_unused

INT8_MAX = 127
_SMALL = 256  # elements; halving so few saves no more bytes than the operator that widens them takes


def half(model: ir.Model) -> ir.Model:
    """Store weights as float16; they are computed in float32.

    Args:
        model: a network; it is not changed.

    Returns:
        a copy, half the size. Constants of up to 256 elements stay as they are, as do weights with a value that
        float16 cannot hold (beyond 65504).
    """
    model = model.clone()
    graph = model.graph
    for value in list(graph.initializers.values()):
        weights = known(value)
        if weights.dtype != np.float32 or weights.size <= _SMALL or value.is_graph_output():
            continue
        if np.abs(weights).max() > np.finfo(np.float16).max:
            continue
        stored = add_constant(graph, f"{value.name}/float16", weights.astype(np.float16))
        widened = ir.node("Cast", [stored], {"to": ir.DataType.FLOAT}, name=f"{value.name}/widen")
        graph.insert_before(graph[0], widened)
        value.replace_all_uses_with(widened.outputs[0])
    remove_unused(graph)
    return model


def store_int8(node: ir.Node, index: int, scale: npt.NDArray[np.float32]) -> None:
    """Store a constant input of a node as int8; it is computed in float32.

    Args:
        node: in a graph, which changes.
        index: of the input.
        scale: as `symmetric_scale` gives it.
    """
    graph, name = owner(node), f"{node.name}/input_{index}"
    stored = add_constant(graph, f"{name}/int8", to_int8(known(node.inputs[index]), scale))
    steps = add_constant(graph, f"{name}/scale", scale)
    cast = ir.node("Cast", [stored], {"to": ir.DataType.FLOAT}, name=f"{name}/cast")
    widened = ir.node("Mul", [cast.outputs[0], steps], name=f"{name}/widen")
    graph.insert_before(node, [cast, widened])
    node.replace_input_with(index, widened.outputs[0])


def symmetric_scale(
    weights: npt.NDArray[np.float32], *, along: tuple[int, ...], largest: int = INT8_MAX
) -> npt.NDArray[np.float32]:
    """The step between int8 values by which the largest weights become `largest` or its negative.

    Args:
        weights: of any shape.
        along: axes along which steps differ.
        largest: at most 127.

    Returns:
        not 0; broadcasts against `weights`.
    """
    others = tuple(axis for axis in range(weights.ndim) if axis not in along)
    peak = np.abs(weights).max(axis=others, keepdims=True)
    return np.where(peak > 0, peak / largest, 1).astype(np.float32)


def to_int8(
    weights: npt.NDArray[np.float32], scale: npt.NDArray[np.float32 | np.float64]
) -> npt.NDArray[np.int8]:
    """Round to multiples of `scale`, which broadcasts against `weights`; symmetric, -127 to 127."""
    return np.clip(np.rint(weights.astype(np.float64) / scale), -INT8_MAX, INT8_MAX).astype(np.int8)
