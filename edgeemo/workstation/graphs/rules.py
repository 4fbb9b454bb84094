"""The streaming form of every operator that has one.

Each rule is given a node that time runs into. Most just hand time on; a node that looks back gets its past from a
state, and one that ends time gets its running form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgeemo.wording import counted
from edgeemo.workstation.graphs.editing import (
    RECURRENT,
    axis_order,
    constant,
    operand,
    optional_input,
    shape_of,
)
from edgeemo.workstation.graphs.past import END
from edgeemo.workstation.graphs.walk import (
    Ahead,
    Rule,
    Time,
    Walk,
    constant_input,
    constant_ints,
    look_ahead_refusal,
    refusal,
    title,
    two_sided_refusal,
    weights_refusal,
)


def _elementwise(p: Walk, node: ir.Node) -> None:
    """Any broadcasting operator: time must meet time, and constants must not change over time."""
    out_rank = len(p.output_shape(node))
    found = {
        replace(p.times[value], axis=p.times[value].axis + out_rank - len(p.shape(value)), delay=0)
        for value in node.inputs
        if value in p.times
    }
    if len(found) > 1:
        raise refusal(node, "combines values of different pace", "bring them to one pace first")
    (time,) = found
    time = replace(time, delay=p.together(node).delay)
    for index, value in enumerate(node.inputs):
        if value is not None and value not in p.times:
            _make_timeless(p, node, index, time.axis - (out_rank - len(p.shape(value))))
    p.hand_on(node, time)
    p.hand_on_share(node)


def _make_timeless(p: Walk, node: ir.Node, index: int, axis: int) -> None:
    """Of a constant that has the same value for each position, keep one: `axis` is the one that meets time."""
    array = constant(node.inputs[index])
    if array is not None and axis >= 0 and array.shape[axis] != 1:
        first = array.take([0], axis)
        if (array == first).all():
            node.replace_input_with(index, p.nodes.constant(first))
            return
    _check_constant(node, p.input_shape(node, index), axis)


def _check_constant(node: ir.Node, shape: tuple[int, ...], axis: int) -> None:
    """Refuse a constant that has a value for each position: `axis` is the one that meets time."""
    if axis >= 0 and shape[axis] != 1:
        raise refusal(node, "has a constant that changes over the window", "leave out positional encodings")


def _within_frames(p: Walk, node: ir.Node) -> None:
    """Softmax and the like over one axis, LayerNormalization from an axis onwards; time may not be among them."""
    time = p.only_time(node)
    rank = len(p.input_shape(node))
    axis = node.attributes.get_int("axis", -1) % rank
    touched = range(axis, rank) if node.op_type == "LayerNormalization" else (axis,)
    if time.axis not in touched:
        p.hand_on(node, time)
    elif node.op_type == "Softmax":
        _attention(p, node)
    else:
        raise refusal(node, "normalises over the whole window", "normalise within frames")


def _batch_normalisation(p: Walk, node: ir.Node) -> None:
    time = p.only_time(node, padded=True)
    if time.axis == 1:
        raise refusal(node, "treats time as its channels", "put channels first")
    p.hand_on(node, time)


def _transpose(p: Walk, node: ir.Node) -> None:
    time = p.only_time(node, padded=True)
    order = axis_order(node)
    p.hand_on(node, replace(time, axis=order.index(time.axis)))
    p.hand_on_share(node, lambda share: p.nodes("Transpose", share, perm=order))


def _reshape(p: Walk, node: ir.Node) -> None:
    """Time stays, or positions are joined into longer ones, or the window is flattened."""
    time = p.only_time(node, padded=True)
    before, after = p.input_shape(node), p.output_shape(node)
    outer, n = math.prod(before[: time.axis]), before[time.axis]
    lengths = {
        axis: size for axis, size in enumerate(after) if math.prod(after[:axis]) == outer and n % size == 0
    }
    axis = max(lengths, key=lambda a: lengths[a], default=0)
    joined = n // lengths.get(axis, 1)
    if joined > 1:
        p.refuse_padding(node, time)
    if node.inputs[0] in p.shares and joined > 1:
        raise weights_refusal(node)
    if joined == n:
        _whole_window(p, node)
        return
    if joined > 1:
        time = p.aligned(node, 0, time.stride * joined)
    p.hand_on(node, replace(time, axis=axis, length=time.length // joined, stride=time.stride * joined))
    of_share = [1 if a == axis else size for a, size in enumerate(after)]
    p.hand_on_share(node, lambda share: p.nodes("Reshape", share, p.nodes.ints(of_share)))
    if node.op_type == "Reshape":
        node.replace_input_with(1, p.nodes.ints(shape_of(node.outputs[0])))


def _repeated(p: Walk, node: ir.Node) -> None:
    """Tile and Expand: along other axes than time."""
    time = p.only_time(node)
    before, after = p.input_shape(node), p.output_shape(node)
    time = replace(time, axis=time.axis + len(after) - len(before))
    if after[time.axis] != time.length:
        raise refusal(node, "repeats time", "repeat bands or channels")
    if node.op_type == "Expand":  # an axis of size 1 stays as it is
        shape = [1 if axis == time.axis else size for axis, size in enumerate(after)]
        node.replace_input_with(1, p.nodes.ints(shape))
    p.hand_on(node, time)
    p.hand_on_share(node, lambda share: p.nodes(node.op_type, share, node.inputs[1]))


def _whole_window(p: Walk, node: ir.Node, index: int = 0) -> None:
    """Leave a node as it is, and feed it the last window, from a buffer that each step shifts."""
    time = p.end(node, index)
    n_past = time.length - p.step_length(time)
    if n_past:
        p.put_past(node, index, n_past, time)


def _moved_axes(p: Walk, node: ir.Node) -> None:
    """Squeeze and Unsqueeze: only axes of size 1 come or go."""
    time = p.only_time(node, padded=True)
    before, after = p.input_shape(node), p.output_shape(node)
    axes = constant_ints(node, 1)
    if node.op_type == "Squeeze":
        gone = {a % len(before) for a in axes} if axes else {i for i, size in enumerate(before) if size == 1}
        if time.axis in gone:
            raise refusal(node, "removes the axis of time, which has one position", "pool less")
        axis = time.axis - sum(a < time.axis for a in gone)
    else:
        new = {a % len(after) for a in axes}
        axis = [a for a in range(len(after)) if a not in new][time.axis]
    p.hand_on(node, replace(time, axis=axis))
    p.hand_on_share(node, lambda share: p.nodes(node.op_type, share, *node.inputs[1:]))


def _pad(p: Walk, node: ir.Node) -> None:
    """Zeros before the first position are the past, those behind the last are to be cut off again; padding of other
    axes stays.
    """
    time = p.only_time(node)
    rank = len(p.input_shape(node))
    pads = np.zeros((2, rank), np.int64)
    axes = constant_ints(node, 3) or list(range(rank))
    pads[:, axes] = np.reshape(constant_ints(node, 1), (2, -1))
    begin, end = pads[:, time.axis]
    by_zeros = node.attributes.get_string("mode", "constant") == "constant"
    only_behind = end and not begin and p.delay is None
    if min(begin, end) < 0 or only_behind or ((begin or end) and not by_zeros):
        raise two_sided_refusal(node, int(begin), int(end))
    if (begin or end) and optional_input(node, 2) is not None and constant_input(node, 2).any():
        raise refusal(node, "pads time with values other than zero", "pad with zeros")
    pads[:, time.axis] = 0
    if begin or end:
        p.put_past(node, 0, int(begin), time, looks_ahead=bool(end) and p.delay is not None)
    node.resize_inputs(min(len(node.inputs), 3))
    node.replace_input_with(1, p.nodes.ints(pads.ravel()))
    ahead = Ahead(int(end), two_sided_refusal(node, int(begin), int(end))) if end else None
    p.hand_on(node, replace(time, past=int(begin), ahead=ahead))


def _sliding(p: Walk, node: ir.Node) -> None:
    """Convolutions and pooling: what a position looks back on comes from a state; none may look ahead."""
    time = p.only_time(node, padded=True)
    if time.axis == 0:  # within positions, as in TimeDistributed
        p.refuse_padding(node, time)
        p.hand_on(node, time)
        return
    n_spatial = len(p.input_shape(node)) - 2
    where = time.axis - 2
    if where < 0:
        raise refusal(node, "treats time as its channels", "put time on an axis it slides over")
    is_conv = node.op_type == "Conv"
    kernel = p.input_shape(node, 1)[2:] if is_conv else node.attributes.get_ints("kernel_shape", [])
    _state_padding(p, node, kernel)
    stride = node.attributes.get_ints("strides", [1] * n_spatial)[where]
    reach = (kernel[where] - 1) * node.attributes.get_ints("dilations", [1] * n_spatial)[where]
    pads = list(node.attributes.get_ints("pads", [0] * 2 * n_spatial))
    begin, end = pads[where], pads[n_spatial + where]
    ahead = time.ahead
    if _look_ahead(p, node, reach=reach, stride=stride, begin=begin, end=end):
        return
    if end and not ahead:
        ahead = Ahead(end, two_sided_refusal(node))
    if end and time.ahead:
        raise two_sided_refusal(node)
    if ahead and not (is_conv and stride == 1 and begin + time.past == reach):
        raise ahead.refusal
    if not is_conv and (begin or time.past):
        raise refusal(
            node, "pools over padding in time", "pool without padding, with a stride as long as the kernel"
        )
    if begin and time.past:
        raise refusal(node, "pads time again", "pad once, in front of it or within it")
    past = begin + time.past
    if past > reach:
        raise refusal(node, f"pads {past} positions and looks back on {reach}", "pad kernel - 1 positions")
    if reach - past > stride - 1:
        n_out = reach - past - (stride - 1)
        padded = f"is padded by {past}" if past else "is not padded"
        remedy = (
            'pad it on the past side (padding="causal")'
            if is_conv
            else "give it a stride as long as the kernel"
        )
        raise refusal(node, f"{padded} and so leaves out {counted(n_out, 'position')}", remedy)
    n_ahead = ahead.n if ahead else 0
    if time.length % stride or p.output_shape(node)[time.axis] != time.length // stride + n_ahead:
        raise refusal(
            node,
            f"divides {time.length} positions by {stride} and leaves a remainder",
            "make the window a multiple",
        )
    if stride > 1:
        time = p.aligned(node, 0, time.stride * stride)
    if begin:
        p.put_past(node, 0, begin, time)
    _take_off_padding(node, where)
    p.hand_on(
        node, Time(time.axis, time.length // stride, time.stride * stride, ahead=ahead, delay=time.delay)
    )


def _look_ahead(p: Walk, node: ir.Node, *, reach: int, stride: int, begin: int, end: int) -> bool:
    """If a convolution or maximum is padded on both sides and keeps the pace, wait for what it looks ahead to.

    Args:
        p, node: the rule's.
        reach: positions from the first that one position is computed of, to the last.
        stride: its own.
        begin, end: its own padding.

    Raises:
        ExportError: that would be so, and nothing may look ahead.
    """
    time = p.times[operand(node, 0)]
    past, behind = begin + time.past, end + (time.ahead.n if time.ahead else 0)
    n_ahead = reach - past - (stride - 1)
    padded_by_itself = not time.past and not time.ahead
    if (
        n_ahead <= 0
        or not behind
        or not (padded_by_itself or not (begin or end))
        or not (node.op_type == "Conv" or (node.op_type == "MaxPool" and padded_by_itself))
        or time.length % stride
        or p.output_shape(node)[time.axis] != time.length // stride
    ):
        return False
    if p.delay is None:
        raise look_ahead_refusal(node, n_ahead * time.stride * p.frame_ms)
    pace = stride * time.stride
    delay = math.ceil((time.delay + n_ahead * time.stride) / pace) * pace
    n_waiting = (delay - time.delay) // time.stride
    nothing = float(np.finfo(np.float32).min) if node.op_type == "MaxPool" else 0.0
    p.put_past(
        node, 0, begin + n_waiting, time, looks_ahead=True, nothing=nothing if padded_by_itself else None
    )
    _take_off_padding(node, time.axis - 2)
    p.hand_on(node, Time(time.axis, time.length // stride, pace, delay=delay))
    return True


def _state_padding(p: Walk, node: ir.Node, kernel: Sequence[int]) -> None:
    """Of a convolution or pooling that leaves its padding to be computed: compute it, in the window."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return
    n = len(kernel)
    strides = node.attributes.get_ints("strides", [1] * n)
    dilations = node.attributes.get_ints("dilations", [1] * n)
    pads = [0] * 2 * n
    for i, size in enumerate(p.input_shape(node)[2:]):
        if mode != "VALID":
            reach = (kernel[i] - 1) * dilations[i]
            whole = max((math.ceil(size / strides[i]) - 1) * strides[i] + reach + 1 - size, 0)
            pads[i] = whole // 2 if mode == "SAME_UPPER" else whole - whole // 2
            pads[n + i] = whole - pads[i]
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    node.attributes["auto_pad"] = ir.AttrString("auto_pad", "NOTSET")


def _take_off_padding(node: ir.Node, where: int) -> None:
    """Of a convolution or pooling, along one of the axes that it slides over."""
    pads = list(node.attributes.get_ints("pads", []))
    if pads:
        pads[where] = pads[len(pads) // 2 + where] = 0
        node.attributes["pads"] = ir.AttrInt64s("pads", pads)


def _recurrent(p: Walk, node: ir.Node) -> None:
    """LSTM, GRU, RNN: they start from the states that the last step ended with."""
    time = p.only_time(node)
    direction = node.attributes.get_string("direction", "forward")
    if direction != "forward":
        raise refusal(node, f"runs {direction}", "use a forward layer: the future is not there yet")
    if time.axis != 0 or node.attributes.get_int("layout", 0) == 1:
        raise refusal(node, "treats time as its batch", "put time on axis 0")
    gives_states = any(output.uses() or output.is_graph_output() for output in node.outputs[1:])
    time = p.end(node) if gives_states else p.aligned(node, 0, p.step_frames)
    node.resize_inputs(max(len(node.inputs), 7 if node.op_type == "LSTM" else 6))
    if node.inputs[4] is not None and np.any(constant_input(node, 4) != time.length):
        raise refusal(node, "stops before the end of the window", "leave out its sequence lengths")
    node.replace_input_with(4, None)
    names = ("h", "c") if node.op_type == "LSTM" else ("h",)
    node.resize_outputs(1 + len(names))
    shape = (1, 1, p.input_shape(node, 2)[2])
    for i, name in enumerate(names):
        output = node.outputs[1 + i]
        if node.inputs[5 + i] is not None and constant_input(node, 5 + i).any():
            raise refusal(node, "starts from values other than zero", "leave out its initial state")
        state = p.carried.add(shape, f"{name} of {title(node)}")
        node.replace_input_with(5 + i, state)
        if output.is_graph_output():
            raise refusal(node, "gives a state as the answer", "end the network with a softmax")
        p.carry(state, output, time)
    if node.outputs[0].uses():
        p.hand_on(node, Time(axis=0, length=time.length, stride=time.stride, delay=time.delay))


def _gather(p: Walk, node: ir.Node) -> None:
    """From time it can take the last position only, from other axes anything."""
    time = p.only_time(node)
    axis = node.attributes.get_int("axis", 0) % len(p.input_shape(node))
    index = constant_input(node, 1)
    if axis != time.axis:
        p.hand_on(node, replace(time, axis=time.axis + (index.ndim - 1 if axis < time.axis else 0)))
        p.hand_on_share(node, lambda share: p.nodes("Gather", share, node.inputs[1], axis=axis))
    elif node.inputs[0] in p.shares:
        raise weights_refusal(node)
    elif index.size == 1 and int(index.flat[0]) in (-1, time.length - 1):
        p.end(node)
        node.replace_input_with(1, p.nodes.ints(np.full(index.shape, p.step_length(time) - 1)))
    else:
        raise refusal(node, "picks positions in time", "take the last one")


def _slice(p: Walk, node: ir.Node) -> None:
    """From time it can take the last position, or cut off what padding added behind; from other axes anything."""
    time = p.only_time(node, padded=True)
    shape, kept = p.input_shape(node), p.output_shape(node)[time.axis]
    starts, ends = constant_ints(node, 1), constant_ints(node, 2)
    axes = [axis % len(shape) for axis in constant_ints(node, 3) or range(len(starts))]
    if time.axis not in axes:
        p.hand_on(node, time)
        p.hand_on_share(node, lambda share: p.nodes("Slice", share, *node.inputs[1:]))
        return
    i = axes.index(time.axis)
    start = starts[i] + shape[time.axis] if starts[i] < 0 else starts[i]
    step = (constant_ints(node, 4) or [1] * len(axes))[i]
    if step < 0:
        raise refusal(node, "turns time around", "use a forward layer: the future is not there yet")
    if kept == shape[time.axis]:
        starts[i], ends[i] = 0, END
        bounds = p.nodes.ints(starts), p.nodes.ints(ends)
        p.hand_on(node, time)
        p.hand_on_share(node, lambda share: p.nodes("Slice", share, *bounds, *node.inputs[3:]))
    elif node.inputs[0] in p.shares:
        raise weights_refusal(node)
    elif time.ahead and not time.past and (max(start, 0), kept, step) == (0, time.length, 1):
        starts[i], ends[i] = 0, END
        p.hand_on(node, replace(time, ahead=None))
    elif not time.past and not time.ahead and (start, kept) == (time.length - 1, 1):
        p.end(node)
        starts[i], ends[i] = p.step_length(time) - 1, END
    else:
        p.refuse_padding(node, time)
        raise refusal(node, "cuts time", "take the last position")
    node.replace_input_with(1, p.nodes.ints(starts))
    node.replace_input_with(2, p.nodes.ints(ends))


def _matmul(p: Walk, node: ir.Node) -> None:
    """Constant weights, within positions or over the whole window, as after Flatten."""
    if all(value in p.times for value in node.inputs):
        _weighted_matmul(p, node)
        return
    index = 0 if node.inputs[0] in p.times else 1
    time = p.only_time(node, index)
    if node.inputs[index] in p.shares:
        raise weights_refusal(node)
    shape, constant = p.input_shape(node, index), p.input_shape(node, 1 - index)
    if min(len(shape), len(constant)) < 2:
        raise refusal(node, "multiplies by a vector", "give it two axes, as a matrix")
    if time.axis == len(shape) - 1 - index:
        _whole_window(p, node, index)
        return
    out_rank = len(p.output_shape(node))
    axis = time.axis + out_rank - len(shape)
    if axis < out_rank - 2:
        _check_constant(node, constant, axis - (out_rank - len(constant)))
    p.hand_on(node, replace(time, axis=axis))


def _weighted_matmul(p: Walk, node: ir.Node) -> None:
    """Attention pooling as a matrix product: weights over time by values over time."""
    factors = operand(node, 0), operand(node, 1)
    shares = [p.shares[value] for value in factors if value in p.shares]
    summed = [p.times[value].axis == len(p.shape(value)) - 1 - i for i, value in enumerate(factors)]
    if len(shares) != 1 or not all(summed):
        raise refusal(
            node,
            "compares positions of the window with each other",
            "whole-sequence attention has no streaming form",
        )
    p.together(node)
    time, _ = (p.end(node, i) for i in (0, 1))
    factors = operand(node, 0), operand(node, 1)
    (share,) = (p.shares[value] for value in factors if value in p.shares)
    step = p.nodes("MatMul", *factors)
    p.end_time(node, _blended(p, step, share, p.output_shape(node), node, time))


def _gemm(p: Walk, node: ir.Node) -> None:
    """As `_matmul`."""
    time = p.only_time(node)
    if time.axis != node.attributes.get_int("transA", 0):
        _whole_window(p, node)
        return
    bias = optional_input(node, 2)
    if bias is not None:
        shape = p.shape(bias)
        _check_constant(node, shape, len(shape) - 2)
    p.hand_on(node, replace(time, axis=0))


def _joined(p: Walk, node: ir.Node) -> None:
    """Concat along an axis other than time."""
    found = [p.times.get(operand(node, index)) for index in range(len(node.inputs))]
    times = {time and replace(time, delay=0) for time in found}
    time = next(iter(times))
    axis = node.attributes.get_int("axis", 0) % len(p.output_shape(node))
    if len(times) != 1 or time is None or axis == time.axis:
        raise refusal(node, "joins values of different times", "join along bands or channels")
    p.refuse_padding(node, time)
    p.hand_on(node, p.together(node))


def _parts(p: Walk, node: ir.Node) -> None:
    """Split along an axis other than time."""
    time = p.only_time(node)
    if node.attributes.get_int("axis", 0) % len(p.input_shape(node)) == time.axis:
        raise refusal(node, "cuts time", "split along bands or channels")
    for output in range(len(node.outputs)):
        p.hand_on(node, time, output=output)


def _reduce(p: Walk, node: ir.Node) -> None:
    """Within frames, as it is; over time, in its running form."""
    time = p.only_time(node)
    shape = p.input_shape(node)
    if node.op_type.startswith("Global"):
        axes, keep = list(range(2, len(shape))), True
    else:
        given = constant_ints(node, 1) or node.attributes.get_ints("axes", list(range(len(shape))))
        axes = [axis % len(shape) for axis in given]
        keep = bool(node.attributes.get_int("keepdims", 1))
    share = p.shares.get(operand(node, 0))
    if share is not None and axes != [time.axis]:
        raise weights_refusal(node)
    if time.axis not in axes:
        p.hand_on(node, replace(time, axis=time.axis - (0 if keep else sum(a < time.axis for a in axes))))
        return
    of_pooling = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}
    kind = of_pooling.get(node.op_type, node.op_type)
    running = {"ReduceMean": _running_mean, "ReduceMax": _running_max, "ReduceSum": _running_sum}.get(kind)
    if running is None:
        raise refusal(node, "reduces the window", "pool time by its mean or maximum")
    if node.outputs[0].dtype not in (None, ir.DataType.FLOAT):
        raise refusal(
            node, f"reduces numbers of type {node.outputs[0].dtype} over time", "cast them to float"
        )
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    time = p.end(node)
    value = operand(node, 0)
    if share is not None:
        step = p.nodes("ReduceSum", value, p.nodes.ints(axes), keepdims=1)
        result = _blended(p, step, p.shares[value], kept, node, time)
        if kind == "ReduceMean":
            result = p.nodes("Div", result, _positions(p, node, time))
    else:
        step = p.nodes(kind, value, p.nodes.ints(axes), keepdims=1)
        result = running(p, step, kept, node, time)
    p.end_time(node, result if keep else p.nodes("Squeeze", result, p.nodes.ints(axes)))


def _running_mean(p: Walk, step: ir.Value, shape: tuple[int, ...], node: ir.Node, time: Time) -> ir.Value:
    """The mean so far, moved towards the step's by the step's share: nothing in it grows with the stream."""
    mean = p.carried.add(shape, f"mean of {title(node)}")
    share = p.nodes("Div", p.nodes.floats([p.step_length(time)]), _positions(p, node, time))
    new_mean = p.nodes("Add", mean, p.nodes("Mul", p.nodes("Sub", step, mean), share))
    return p.carry(mean, new_mean, time)


def _positions(p: Walk, node: ir.Node, time: Time) -> ir.Value:
    """How many positions there have been, after this step."""
    n = p.nodes.floats([p.step_length(time)])
    count = p.carried.add((1,), f"positions seen by {title(node)}")
    new_count = p.nodes("Add", count, n)
    p.carry(count, new_count, time)
    return new_count


def _running_max(p: Walk, step: ir.Value, shape: tuple[int, ...], node: ir.Node, time: Time) -> ir.Value:
    # Zero is a value like any other, so a second state says whether there has been one.
    maximum, seen = (
        p.carried.add(shape, f"maximum of {title(node)}"),
        p.carried.add((1,), f"whether {title(node)} has begun"),
    )
    begun = p.nodes("Greater", seen, p.nodes.floats(0.0))
    new = p.nodes("Where", begun, p.nodes("Max", maximum, step), step)
    p.carry(seen, p.nodes("Max", seen, p.nodes.floats(1.0)), time)
    return p.carry(maximum, new, time)


def _running_sum(p: Walk, step: ir.Value, shape: tuple[int, ...], node: ir.Node, time: Time) -> ir.Value:
    total = p.carried.add(shape, f"sum of {title(node)}")
    return p.carry(total, p.nodes("Add", total, step), time)


def _attention(p: Walk, node: ir.Node) -> None:
    """Weights over time, for a sum: the step's own weights, and the step's share of all weights so far.

    Softmax's sum is carried relative to the largest score so far (Milakov and Gimelshein 2018, "Online normalizer
    calculation for softmax"). `_blended` blends the weighted sum by that share.
    """
    time = p.aligned(node, 0, p.step_frames)
    scores, axes = operand(node, 0), p.nodes.ints([time.axis])
    shape = tuple(1 if axis == time.axis else size for axis, size in enumerate(p.shape(scores)))
    largest = p.carried.add(shape, f"largest score of {title(node)}")
    weight = p.carried.add(shape, f"sum of weights of {title(node)}")
    begun = p.nodes("Greater", weight, p.nodes.floats(0.0))
    step_largest = p.nodes("ReduceMax", scores, axes, keepdims=1)
    new_largest = p.nodes("Where", begun, p.nodes("Max", largest, step_largest), step_largest)
    step_weight = p.nodes("ReduceSum", p.nodes("Exp", p.nodes("Sub", scores, new_largest)), axes, keepdims=1)
    faded = p.nodes("Exp", p.nodes("Sub", p.nodes("Where", begun, largest, new_largest), new_largest))
    new_weight = p.nodes("Add", p.nodes("Mul", weight, faded), step_weight)
    p.carry(largest, new_largest, time)
    p.carry(weight, new_weight, time)
    share = p.nodes("Div", step_weight, new_weight)
    share.shape = ir.Shape(shape)
    p.shares[node.outputs[0]] = share
    p.hand_on(node, time)


def _blended(
    p: Walk, step: ir.Value, share: ir.Value, shape: tuple[int, ...], node: ir.Node, time: Time
) -> ir.Value:
    """The weighted sum so far, moved towards the step's by the step's share of the weights."""
    total = p.carried.add(shape, f"weighted sum of {title(node)}")
    new = p.nodes("Add", total, p.nodes("Mul", p.nodes("Sub", step, total), share))
    return p.carry(total, new, time)


_UNARY = [
    "Abs",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Not",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
    "ThresholdedRelu",
]
_BINARY = ["Add", "Div", "Max", "Mean", "Min", "Mul", "Pow", "PRelu", "Sub", "Sum"]
_MOVING = ["Transpose", "Reshape", "Squeeze", "Unsqueeze", "Tile", "Expand", "Slice", "Gather"]
_CHOOSING = ["And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Where", "Xor"]
RULES: dict[str, Rule] = {
    **dict.fromkeys(_UNARY + _BINARY + _CHOOSING, _elementwise),
    **dict.fromkeys(["Softmax", "LogSoftmax", "LayerNormalization"], _within_frames),
    "BatchNormalization": _batch_normalisation,
    "Transpose": _transpose,
    **dict.fromkeys(["Reshape", "Flatten"], _reshape),
    **dict.fromkeys(["Squeeze", "Unsqueeze"], _moved_axes),
    **dict.fromkeys(["Tile", "Expand"], _repeated),
    "Pad": _pad,
    **dict.fromkeys(["Conv", "MaxPool", "AveragePool"], _sliding),
    **dict.fromkeys(RECURRENT, _recurrent),
    "Slice": _slice,
    "Gather": _gather,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Concat": _joined,
    "Split": _parts,
    **dict.fromkeys(
        [
            "ReduceMean",
            "ReduceMax",
            "ReduceSum",
            "ReduceMin",
            "ReduceL2",
            "GlobalAveragePool",
            "GlobalMaxPool",
        ],
        _reduce,
    ),
}
# What weights over time may pass on their way to their sum.
ATTENTION = ("Mul", "MatMul", "ReduceSum", "ReduceMean", "GlobalAveragePool", *_MOVING)
