"""Exact rewrites of a network's graph that leave nothing but arithmetic.

What tf2onnx leaves behind: batch normalisation as `Mul` and `Add`, zero initial states, the last output of a
recurrent layer cut out of all of them, transposes that move nothing. Without these, a graph loses less accuracy when
it is quantised, and takes less time to run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgeemo.workstation.graphs.editing import (
    RECURRENT,
    add_constant,
    axis_order,
    bias_index,
    constant,
    is_plain_product,
    known,
    only_user,
    operand,
    optional_input,
    owner,
    remove_unused,
    shape_of,
    substitute,
)
from edgeemo.workstation.graphs.nodes import Nodes

PREFIX = "simplified/"
_RESHAPING = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


def simplify(graph: ir.Graph) -> None:
    """Simplify a network's graph in place; it computes the same, to float rounding.

    Args:
        graph: all shapes known.
    """
    nodes = Nodes(PREFIX)
    again = True
    while again:
        again = False
        for node in list(graph):
            rule = _RULES.get(node.op_type)
            if node.graph is graph and rule is not None and rule(nodes, node):
                nodes.insert(graph, before=node)
                remove_unused(graph)
                again = True


# A rule says whether it changed anything. It may add nodes, which go in front of its own, and leave its own unused.


@dataclass(frozen=True)
class _Change:
    """What becomes of a value `x`: `x * values` or `x + values`, of the same shape as `x`."""

    values: np.ndarray
    is_scale: bool

    def per_channel(self, axis: int) -> np.ndarray | None:
        """The values along one axis; None if they change along another."""
        moved = np.moveaxis(self.values, axis, -1)
        channels = moved.reshape(-1, moved.shape[-1])[0]
        return channels if np.array_equal(moved, np.broadcast_to(channels, moved.shape)) else None


@dataclass(frozen=True)
class _Layer:
    """A layer with constant weights and, if any, a constant bias. A convolution always has one: zeros, if need be."""

    node: ir.Node
    weights: np.ndarray
    bias: np.ndarray | None

    @classmethod
    def of(cls, node: ir.Node) -> _Layer | None:
        """The layer that a node is; None for other operators, and if weights or bias are computed."""
        if node.op_type not in ("Conv", "Gemm", "MatMul", *RECURRENT):
            return None
        weights, given = constant(node.inputs[1]), optional_input(node, bias_index(node))
        bias = constant(given)
        if weights is None or (given is not None and bias is None):
            return None
        if node.op_type in ("Gemm", "MatMul") and not _is_row_by_matrix(node):
            return None
        if node.op_type == "Conv" and bias is None:
            bias = np.zeros(len(weights), np.float32)
        return cls(node, weights, bias)

    @property
    def channel_axis(self) -> int:
        """Of what the layer takes and gives."""
        return 1 if self.node.op_type == "Conv" else -1

    def give(self, *, weights: np.ndarray | None = None, bias: np.ndarray | None = None) -> None:
        """Replace the weights, the bias, or both."""
        if weights is not None:
            _give(self.node, 1, weights)
        if bias is not None:
            if self.node.op_type == "MatMul":
                self.node.op_type = "Gemm"
            _give(self.node, bias_index(self.node), bias)

    def shift(self, amount: np.ndarray) -> None:
        """Add to the bias."""
        self.give(bias=amount if self.bias is None else self.bias + amount)


def _is_row_by_matrix(node: ir.Node) -> bool:
    """Whether a product is that of a row and a matrix, as a Gemm with a bias can be."""
    ranks = [len(operand(node, index).shape or ()) for index in (0, 1)]
    return ranks == [2, 2] and is_plain_product(node) and not node.attributes.get_int("transB", 0)


def _scale_or_shift(nodes: Nodes, node: ir.Node) -> bool:
    """`x * c` or `x + c` with a `c` per channel goes into the layer before, or into the one after."""
    index = next((i for i in (0, 1) if constant(node.inputs[i]) is not None), None)
    if index is None or (node.op_type in ("Sub", "Div") and index == 0):
        return False
    x, result, values = operand(node, 1 - index), node.outputs[0], known(node.inputs[index])
    if values.dtype != np.float32 or x.shape != result.shape:
        return False
    if node.op_type in ("Sub", "Div"):
        values = -values if node.op_type == "Sub" else 1 / values
    change = _Change(np.broadcast_to(values, shape_of(x)), is_scale=node.op_type in ("Mul", "Div"))
    if not _into_layer_before(x, change) and not _into_layer_after(result, change):
        return False
    result.replace_all_uses_with(x, replace_graph_outputs=True)
    return True


def _into_layer_before(value: ir.Value, change: _Change) -> bool:
    """Go through operators that only move values, and through pooling: a maximum can trade places with any shift, and
    with a scale that is nowhere negative.
    """
    while True:
        node = value.producer()
        if node is None or only_user(value) is None:
            return False
        if node.op_type == "MaxPool":
            channels = change.per_channel(axis=1)
            if channels is None or (change.is_scale and channels.min() < 0):
                return False
            before = shape_of(operand(node, 0))
            channels = channels.reshape(-1, *[1] * (len(before) - 2))
            change = replace(change, values=np.broadcast_to(channels, before))
        elif node.op_type == "Transpose":
            change = replace(change, values=change.values.transpose(np.argsort(axis_order(node))))
        elif node.op_type in _RESHAPING:
            change = replace(change, values=change.values.reshape(shape_of(operand(node, 0))))
        else:
            break
        value = operand(node, 0)
    layer = _Layer.of(node)
    return layer is not None and _change_outputs(layer, change)


def _change_outputs(layer: _Layer, change: _Change) -> bool:
    channels = change.per_channel(layer.channel_axis)
    if channels is None or layer.node.op_type in RECURRENT:
        return False
    if not change.is_scale:
        layer.shift(channels)
        return True
    weights, bias = layer.weights, layer.bias
    is_conv = layer.node.op_type == "Conv"
    by_output = channels.reshape(-1, *[1] * (weights.ndim - 1)) if is_conv else channels
    layer.give(weights=weights * by_output, bias=None if bias is None else bias * channels)
    return True


def _into_layer_after(value: ir.Value, change: _Change) -> bool:
    """Go through operators that only move values, into a layer; a shift into one without padding only."""
    while True:
        node = only_user(value)
        if node is None:
            return False
        if node.op_type == "Transpose":
            change = replace(change, values=change.values.transpose(axis_order(node)))
        elif node.op_type in _RESHAPING:
            change = replace(change, values=change.values.reshape(shape_of(node.outputs[0])))
        else:
            break
        value = node.outputs[0]
    layer = _Layer.of(node) if node.inputs[0] is value else None
    return layer is not None and _change_inputs(layer, change)


def _change_inputs(layer: _Layer, change: _Change) -> bool:
    node, weights = layer.node, layer.weights
    channels = change.per_channel(layer.channel_axis)
    if channels is None:
        return False
    if node.op_type == "Conv":
        if node.attributes.get_int("group", 1) != 1 or (_is_padded(node) and not change.is_scale):
            return False
        scaled = weights * channels.reshape(1, -1, *[1] * (weights.ndim - 2))
        shift = scaled.sum(axis=tuple(range(1, weights.ndim)))
    elif node.op_type in RECURRENT:
        scaled = weights * channels
        shift = weights @ channels
        # The first half of the biases is the inputs', the second the recurrence's.
        shift = np.concatenate([shift, np.zeros_like(shift)], axis=1)
    else:
        scaled = weights * channels[:, np.newaxis]
        shift = channels @ weights
    if change.is_scale:
        layer.give(weights=scaled)
    else:
        layer.shift(shift)
    return True


def _pad(nodes: Nodes, node: ir.Node) -> bool:
    """Zeros in front of a convolution become its own padding."""
    padded = node.outputs[0]
    layer, pads, fill = only_user(padded), constant(node.inputs[1]), optional_input(node, 2)
    if layer is None or layer.op_type != "Conv" or layer.inputs[0] is not padded or _pads_by_itself(layer):
        return False
    if len(node.inputs) > 3 or node.attributes.get_string("mode", "constant") != "constant":
        return False
    if pads is None or pads.min() < 0 or (fill is not None and not _is_zero(fill)):
        return False
    by_axis = pads.reshape(2, -1)
    if by_axis[:, :2].any():
        return False
    added = by_axis[:, 2:].ravel()
    together = np.array(layer.attributes.get_ints("pads", [0] * len(added))) + added
    layer.attributes.add(ir.AttrInt64s("pads", together.tolist()))
    padded.replace_all_uses_with(operand(node, 0))
    return True


def _is_padded(conv: ir.Node) -> bool:
    return _pads_by_itself(conv) or any(conv.attributes.get_ints("pads", ()))


def _pads_by_itself(conv: ir.Node) -> bool:
    return conv.attributes.get_string("auto_pad", "NOTSET") != "NOTSET"


def _recurrent(nodes: Nodes, node: ir.Node) -> bool:
    """Initial states of zero go: a recurrent node starts from zero anyway."""
    zeros = [i for i in (5, 6) if _is_zero(optional_input(node, i))]
    for index in zeros:
        node.replace_input_with(index, None)
    return bool(zeros)


def _is_zero(value: ir.Value | None) -> bool:
    array = constant(value)
    return array is not None and not array.any()


def _last_output(nodes: Nodes, node: ir.Node) -> bool:
    """The last position, sliced from all outputs of a recurrent node, is its final state."""
    positions, last = operand(node, 0), node.outputs[0]
    squeeze = positions.producer()
    layer = operand(squeeze, 0).producer() if squeeze is not None and squeeze.op_type == "Squeeze" else None
    if layer is None or layer.op_type not in RECURRENT:
        return False
    if layer.attributes.get_string("direction", "forward") != "forward":
        return False
    if optional_input(layer, 4) is not None:
        return False  # the final state may be of an earlier position
    bounds = [array for array in map(constant, node.inputs[1:]) if array is not None and array.size == 1]
    if len(bounds) < 3 or len(bounds) != len(node.inputs) - 1:
        return False
    n_positions = shape_of(positions)[0]
    start, end, axis, *step = (int(bound.flat[0]) for bound in bounds)
    if axis != 0 or start not in (-1, n_positions - 1) or step not in ([], [1]):
        return False
    if -n_positions <= end < n_positions:
        return False
    layer.resize_outputs(max(2, len(layer.outputs)))
    final, shape = layer.outputs[1], shape_of(last)
    final.name = final.name or f"{layer.outputs[0].name}_final"
    final.type, final.shape = last.type, ir.Shape((1, 1, shape[-1]))
    substitute(last, nodes("Reshape", final, nodes.ints(shape)))
    return True


def _transpose(nodes: Nodes, node: ir.Node) -> bool:
    """One that only moves axes of size 1 becomes a reshape."""
    order, before = axis_order(node), shape_of(operand(node, 0))
    moved = [axis for axis in order if before[axis] != 1]
    if moved != sorted(moved):
        return False
    target = nodes.ints([before[axis] for axis in order])
    substitute(node.outputs[0], nodes("Reshape", node.inputs[0], target))
    return True


def _reshape(nodes: Nodes, node: ir.Node) -> bool:
    """Two in a row become one; one that changes nothing goes."""
    x, reshaped = operand(node, 0), node.outputs[0]
    if x.shape == reshaped.shape and not reshaped.is_graph_output():
        reshaped.replace_all_uses_with(x)
        return True
    before = x.producer()
    if before is None or before.op_type not in _RESHAPING:
        return False
    target = nodes.ints(shape_of(reshaped))
    substitute(reshaped, nodes("Reshape", before.inputs[0], target))
    return True


def _give(node: ir.Node, index: int, array: np.ndarray) -> None:
    """Give a node a new constant for an input: the old one may be shared."""
    graph, name = owner(node), f"{node.name}/{PREFIX}{index}"
    while name in graph.initializers:
        name += "_"
    node.resize_inputs(max(index + 1, len(node.inputs)))
    node.replace_input_with(index, add_constant(graph, name, array.astype(np.float32)))


_RULES: dict[str, Callable[[Nodes, ir.Node], bool]] = {
    **dict.fromkeys(["Mul", "Add", "Sub", "Div"], _scale_or_shift),
    **dict.fromkeys(RECURRENT, _recurrent),
    "Pad": _pad,
    "Slice": _last_output,
    "Transpose": _transpose,
    **dict.fromkeys(_RESHAPING, _reshape),
}
