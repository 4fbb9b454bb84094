"""Exact rewrites of a network's graph that leave arithmetic and take away what is none.

What tf2onnx leaves behind: batch normalisation as `Mul` and `Add`, zero initial states, the last output of a
recurrent layer cut out of all of them, transposes that move nothing. Quantising a graph without these costs less
accuracy, and running it less time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common

from edgeemo.workstation.graphs.frontend import IR_VERSION
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
                _remove_unused(graph)
                again = True


def _remove_unused(graph: ir.Graph) -> None:
    onnx_ir.passes.common.RemoveUnusedNodesPass()(ir.Model(graph, ir_version=IR_VERSION))


# A rule says whether it changed anything. It may add nodes, which end up before its own, and unuse its own.


def _scale_or_shift(nodes: Nodes, node: ir.Node) -> bool:
    """`x * c` or `x + c`, `c` per channel: into the layer before, or into the one after."""
    index = next((i for i in (0, 1) if _constant(node.inputs[i]) is not None), None)
    if index is None or (node.op_type in ("Sub", "Div") and index == 0):
        return False
    x, constant = node.inputs[1 - index], _constant(node.inputs[index])
    if constant.dtype != np.float32 or x.shape != node.outputs[0].shape:
        return False
    if node.op_type in ("Sub", "Div"):
        constant = -constant if node.op_type == "Sub" else 1 / constant
    is_scale = node.op_type in ("Mul", "Div")
    return _into_layer_before(nodes, node, x, constant, is_scale) or _into_layer_after(
        nodes, node, x, constant, is_scale
    )


def _into_layer_before(
    nodes: Nodes, node: ir.Node, x: ir.Value, constant: np.ndarray, is_scale: bool
) -> bool:
    """Through operators that only move values, and through pooling: a maximum changes places with any shift, and with
    a scale that is nowhere negative.
    """
    values, value = np.broadcast_to(constant, x.shape.numpy()), x
    while True:
        layer = value.producer()
        if layer is None or _only_user(value) is None:
            return False
        if layer.op_type == "MaxPool":
            channels = _per_channel(values, axis=1)
            if channels is None or (is_scale and channels.min() < 0):
                return False
            before = layer.inputs[0].shape.numpy()
            values = np.broadcast_to(channels.reshape(-1, *[1] * (len(before) - 2)), before)
        elif layer.op_type == "Transpose":
            values = values.transpose(np.argsort(_order(layer)))
        elif layer.op_type in _RESHAPING:
            values = values.reshape(layer.inputs[0].shape.numpy())
        else:
            break
        value = layer.inputs[0]
    if layer.op_type == "Conv":
        channels = _per_channel(values, axis=1)
        weights, bias = _constant(layer.inputs[1]), _optional(layer, 2)
        if channels is None or weights is None or _is_computed(layer, 2):
            return False
        bias = np.zeros(len(weights), np.float32) if bias is None else bias
        layer.resize_inputs(3)
        if is_scale:
            _give(layer, 1, weights * channels.reshape(-1, *[1] * (weights.ndim - 1)))
            _give(layer, 2, bias * channels)
        else:
            _give(layer, 2, bias + channels)
    elif layer.op_type in ("MatMul", "Gemm"):
        channels, weights = _per_channel(values, axis=-1), _constant(layer.inputs[1])
        if channels is None or weights is None or not _plain_product(layer):
            return False
        bias = _optional(layer, 2)
        if is_scale:
            _give(layer, 1, weights * channels)
            if bias is not None:
                _give(layer, 2, bias * channels)
        else:
            layer.op_type = "Gemm"
            layer.resize_inputs(3)
            _give(layer, 2, channels + (0 if bias is None else bias))
    else:
        return False
    node.outputs[0].replace_all_uses_with(x, replace_graph_outputs=True)
    return True


def _into_layer_after(nodes: Nodes, node: ir.Node, x: ir.Value, constant: np.ndarray, is_scale: bool) -> bool:
    """Through operators that only move values, into a layer without padding of its own."""
    values = np.broadcast_to(constant, x.shape.numpy())
    value = node.outputs[0]
    while True:
        user = _only_user(value)
        if user is None:
            return False
        if user.op_type == "Transpose":
            values = values.transpose(_order(user))
        elif user.op_type in _RESHAPING:
            values = values.reshape(user.outputs[0].shape.numpy())
        else:
            break
        value = user.outputs[0]
    if user.inputs[0] is not value:
        return False
    if user.op_type == "Conv":
        weights, channels = _constant(user.inputs[1]), _per_channel(values, axis=1)
        bias = _optional(user, 2)
        padded = _pads_by_itself(user) or (
            "pads" in user.attributes and any(user.attributes["pads"].as_ints())
        )
        grouped = "group" in user.attributes and user.attributes["group"].as_int() != 1
        if (
            channels is None
            or weights is None
            or grouped
            or (padded and not is_scale)
            or _is_computed(user, 2)
        ):
            return False
        by_input = channels.reshape(1, -1, *[1] * (weights.ndim - 2))
        if is_scale:
            _give(user, 1, weights * by_input)
        else:
            shift = (weights * by_input).sum(axis=tuple(range(1, weights.ndim)))
            user.resize_inputs(3)
            _give(user, 2, shift if bias is None else bias + shift)
    elif user.op_type in ("MatMul", "Gemm"):
        weights, channels = _constant(user.inputs[1]), _per_channel(values, axis=-1)
        if channels is None or weights is None or not _plain_product(user):
            return False
        bias = _optional(user, 2)
        if is_scale:
            _give(user, 1, weights * channels[:, np.newaxis])
        else:
            user.op_type = "Gemm"
            user.resize_inputs(3)
            _give(user, 2, channels @ weights + (0 if bias is None else bias))
    elif user.op_type in ("LSTM", "GRU", "RNN"):
        weights, channels = _constant(user.inputs[1]), _per_channel(values, axis=-1)
        bias = _optional(user, 3)
        if channels is None or weights is None or _is_computed(user, 3):
            return False
        if is_scale:
            _give(user, 1, weights * channels)
        else:
            # The first half of the biases is the inputs', the second the recurrence's.
            shift = weights @ channels
            shift = np.concatenate([shift, np.zeros_like(shift)], axis=1)
            user.resize_inputs(max(4, len(user.inputs)))
            _give(user, 3, shift if bias is None else bias + shift)
    else:
        return False
    node.outputs[0].replace_all_uses_with(x, replace_graph_outputs=True)
    return True


def _plain_product(node: ir.Node) -> bool:
    """Whether it is a row of inputs by a constant matrix, with or without a constant bias: what Gemm can be."""
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
    return (
        len(node.inputs[0].shape) == 2
        and len(node.inputs[1].shape) == 2
        and all(a.value == plain.get(a.name) for a in node.attributes.values())
        and not _is_computed(node, 2)
    )


def _pad(nodes: Nodes, node: ir.Node) -> bool:
    """Zeros before a convolution are padding of the convolution."""
    layer = _only_user(node.outputs[0])
    pads = _constant(node.inputs[1])
    fill = _constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros(1)
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
    if layer is None or layer.op_type != "Conv" or len(node.inputs) > 3 or mode != "constant":
        return False
    if pads is None or fill is None or fill.any() or pads.min() < 0:
        return False
    if layer.inputs[0] is not node.outputs[0] or _pads_by_itself(layer):
        return False
    rank = len(pads) // 2
    by_axis = pads.reshape(2, rank)
    if by_axis[:, :2].any():
        return False
    own = layer.attributes["pads"].as_ints() if "pads" in layer.attributes else [0] * 2 * (rank - 2)
    together = np.array(own) + by_axis[:, 2:].ravel()
    layer.attributes["pads"] = ir.AttrInt64s("pads", [int(n) for n in together])
    node.outputs[0].replace_all_uses_with(node.inputs[0])
    return True


def _pads_by_itself(conv: ir.Node) -> bool:
    return "auto_pad" in conv.attributes and conv.attributes["auto_pad"].as_string() != "NOTSET"


def _recurrent(nodes: Nodes, node: ir.Node) -> bool:
    """Zero initial states are what a recurrent node starts from anyway."""
    changed = False
    for index in (5, 6):
        initial = node.inputs[index] if index < len(node.inputs) else None
        if initial is not None and _constant(initial) is not None and not _constant(initial).any():
            node.replace_input_with(index, None)
            changed = True
    return changed


def _last_output(nodes: Nodes, node: ir.Node) -> bool:
    """`Slice` of the last position of all outputs of a recurrent node: its final state."""
    squeeze = node.inputs[0].producer()
    layer = squeeze.inputs[0].producer() if squeeze is not None and squeeze.op_type == "Squeeze" else None
    if layer is None or layer.op_type not in ("LSTM", "GRU", "RNN"):
        return False
    if "direction" in layer.attributes and layer.attributes["direction"].as_string() != "forward":
        return False
    if len(layer.inputs) > 4 and layer.inputs[4] is not None:
        return False  # the final state may be of an earlier position
    bounds = [_constant(value) for value in node.inputs[1:]]
    n_positions = int(node.inputs[0].shape[0])
    if len(bounds) < 3 or any(bound is None or bound.size != 1 for bound in bounds):
        return False
    start, end, axis, *step = (int(bound.flat[0]) for bound in bounds)
    if (
        axis != 0
        or start not in (-1, n_positions - 1)
        or -n_positions <= end < n_positions
        or step not in ([], [1])
    ):
        return False
    layer.resize_outputs(max(2, len(layer.outputs)))
    final, last = layer.outputs[1], node.outputs[0]
    final.name = final.name or f"{layer.outputs[0].name}_final"
    final.type, final.shape = last.type, ir.Shape((1, 1, last.shape[-1]))
    reshaped = nodes("Reshape", final, nodes.ints(last.shape.numpy()))
    last.replace_all_uses_with(_like(reshaped, last), replace_graph_outputs=True)
    return True


def _transpose(nodes: Nodes, node: ir.Node) -> bool:
    """One that only moves axes of size 1 is a reshape."""
    order, before = _order(node), node.inputs[0].shape
    moved = [axis for axis in order if before[axis] != 1]
    if moved != sorted(moved):
        return False
    after = nodes("Reshape", node.inputs[0], nodes.ints([int(before[axis]) for axis in order]))
    node.outputs[0].replace_all_uses_with(_like(after, node.outputs[0]), replace_graph_outputs=True)
    return True


def _order(transpose: ir.Node) -> Sequence[int]:
    rank = len(transpose.inputs[0].shape)
    return transpose.attributes["perm"].as_ints() if "perm" in transpose.attributes else range(rank)[::-1]


def _reshape(nodes: Nodes, node: ir.Node) -> bool:
    """Two in a row are one; one that changes nothing is none."""
    x = node.inputs[0]
    if x.shape == node.outputs[0].shape and not node.outputs[0].is_graph_output():
        node.outputs[0].replace_all_uses_with(x)
        return True
    before = x.producer()
    if before is None or before.op_type not in _RESHAPING:
        return False
    target = nodes.ints([int(size) for size in node.outputs[0].shape])
    merged = nodes("Reshape", before.inputs[0], target)
    node.outputs[0].replace_all_uses_with(_like(merged, node.outputs[0]), replace_graph_outputs=True)
    return True


def _like(value: ir.Value, model: ir.Value) -> ir.Value:
    value.type, value.shape = model.type, model.shape
    return value


def _constant(value: ir.Value | None) -> np.ndarray | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def _optional(node: ir.Node, index: int) -> np.ndarray | None:
    """The constant of an input that may be left out."""
    return _constant(node.inputs[index]) if index < len(node.inputs) else None


def _is_computed(node: ir.Node, index: int) -> bool:
    """Whether an input is there, and no constant."""
    return index < len(node.inputs) and node.inputs[index] is not None and _optional(node, index) is None


def _only_user(value: ir.Value) -> ir.Node | None:
    users = value.consumers()
    return users[0] if len(users) == 1 and not value.is_graph_output() else None


def _per_channel(values: np.ndarray, *, axis: int) -> np.ndarray | None:
    """The values along one axis; None if they change along another."""
    moved = np.moveaxis(values, axis, -1)
    channels = moved.reshape(-1, moved.shape[-1])[0]
    return channels if np.array_equal(moved, np.broadcast_to(channels, moved.shape)) else None


def _give(node: ir.Node, index: int, array: np.ndarray) -> None:
    """A new constant for an input: the old one may be shared."""
    graph, old = node.graph, node.inputs[index]
    name = f"{node.name}/{PREFIX}{index}"
    while name in graph.initializers:
        name += "_"
    value = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(array, np.float32), name=name))
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(array.shape)
    graph.register_initializer(value)
    node.replace_input_with(index, value)
    if old is not None and old.is_initializer() and not old.uses():
        graph.initializers.pop(old.name)


_RULES: dict[str, Callable[[Nodes, ir.Node], bool]] = {
    **dict.fromkeys(["Mul", "Add", "Sub", "Div"], _scale_or_shift),
    **dict.fromkeys(["LSTM", "GRU", "RNN"], _recurrent),
    "Pad": _pad,
    "Slice": _last_output,
    "Transpose": _transpose,
    **dict.fromkeys(_RESHAPING, _reshape),
}
