"""int8, operator by operator: what each one in a network is computed in.

- **Conv, Gemm, MatMul with constant weights: static QDQ.** Weights int8, symmetric, with a scale per output channel;
  biases int32; activations uint8, with ranges from calibration data. onnxruntime turns these into `QLinearConv` and
  `QGemm`. (On x86 it turns int8 activations into uint8 when it loads a model: they are as fast and as accurate.)
- **MaxPool, Concat, Slice, Reshape and others that only select and move values** stay in uint8 after a convolution.
- **LSTM: `DynamicQuantizeLSTM`.** Its input weights have a scale per gate and unit. Its recurrent weights have just
  one: with many, onnxruntime combines them with the input's scale anew at every step, and four LSTM-128 took 15 %
  longer, for no gain in accuracy.
- **GRU: float.** onnxruntime has no int8 kernel for it.
- **The rest: float**, such as the normalisation of features, and softmax.

Biases take back what rounding the weights adds on average (Nagel et al. 2019, "Data-free quantization through weight
equalization and bias correction"): a quarter to a half of the error of recurrent networks, whose inputs are not
centred. Large weights of whatever stays in float are stored as int8, and widened when the model is loaded.

On an x86 processor without VNNI, sums of two products of uint8 and int8 saturate at int16. onnxruntime's session
option `session.x64quantprecision` prevents that; Arm is not affected.

Best after `simplify`, when a dense layer is one Gemm with its bias, and nothing but a Relu follows a convolution.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeemo.errors import ExportError
from edgeemo.workstation.graphs.calibrate import Batch, Observed, observe
from edgeemo.workstation.graphs.editing import (
    RECURRENT,
    add_constant,
    bias_index,
    constant,
    is_plain_product,
    known,
    only_user,
    operand,
    optional_input,
    owner,
    remove_unused,
    substitute,
)
from edgeemo.workstation.graphs.widen import store_int8, symmetric_scale, to_int8

CONTRIB = "com.microsoft"
_MOVING = ("Concat", "Flatten", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
_UINT8_MAX = 255
_WORTH_STORING_INT8 = 4096  # elements of a float operator's weights; 16 KB


def quantize(model: ir.Model, batches: Sequence[Batch], *, keep_float: Collection[str] = ()) -> ir.Model:
    """Quantise a network.

    Args:
        model: a network without its front end, float inputs and outputs; it is not changed.
        batches: calibration data, one run each. For a stream graph, successive steps with their states.
        keep_float: names of nodes to compute in float.

    Returns:
        a quantised copy, with the same inputs and outputs.

    Raises:
        ExportError: calibration data is missing, does not fit or gives numbers that are not finite, or `keep_float`
            names a node that is not there.
    """
    return Quantizer(model, batches)(keep_float)


class Quantizer:
    """A network and the ranges of its values: makes quantised copies that differ in what stays in float.

    Args:
        model: as for `quantize`.
        batches: as for `quantize`.

    Attributes:
        candidates: names of the nodes that can be quantised, and their operators, in the graph's order.

    Raises:
        ExportError: as `quantize`.
    """

    def __init__(self, model: ir.Model, batches: Sequence[Batch]) -> None:
        self._model = model.clone()
        _name_nodes(self._model.graph)
        nodes = [node for node in self._model.graph if _has_weights(node)]
        self.candidates = {str(node.name): node.op_type for node in nodes if node.op_type != "GRU"}
        axes = {(_input_name(node), 1 if node.op_type == "Conv" else -1) for node in nodes}
        names = Counter(name for name, _ in axes)
        # A value whose channels are along two axes, for two kinds of layers, does without a mean.
        wanted = {name: axis for name, axis in axes if names[name] == 1}
        self._observed = observe(self._model, batches, channel_axes=wanted)

    def __call__(self, keep_float: Collection[str] = ()) -> ir.Model:
        """A quantised copy, except for the nodes of these names."""
        unknown = set(keep_float) - set(self.candidates)
        if unknown:
            raise ExportError(
                f"cannot keep {', '.join(sorted(unknown))} in float: no such node; "
                f"those that can be quantised are {', '.join(self.candidates)}"
            )
        model = self._model.clone()
        with_weights = [node for node in model.graph if _has_weights(node)]
        nodes = [node for node in with_weights if node.name in set(self.candidates) - set(keep_float)]
        stored = [node for node in with_weights if node not in nodes and _is_worth_storing(node)]
        for node in [*nodes, *stored]:
            _take_back_rounding(node, self._observed[_input_name(node)])
        for node in stored:
            _store_weights(node)
        _quantize_static([node for node in nodes if node.op_type != "LSTM"], self._observed)
        for node in nodes:
            if node.op_type == "LSTM":
                _quantize_lstm(node)
        remove_unused(model.graph)
        return model


def _name_nodes(graph: ir.Graph) -> None:
    """Give every node a name of its own: constants and results are named after it."""
    taken = {""}
    for index, node in enumerate(graph):
        if not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}_{index}"
        taken.add(node.name)


def _input_name(node: ir.Node) -> str:
    return str(operand(node, 0).name)


def _has_weights(node: ir.Node) -> bool:
    """Whether a node has constant weights that can be int8."""
    if node.domain:
        return False
    if node.op_type in ("LSTM", "GRU"):
        batch_first = node.attributes.get_int("layout", 0) == 1
        return not batch_first and all(constant(value) is not None for value in node.inputs[1:3])
    if node.op_type not in ("Conv", "Gemm", "MatMul") or not is_plain_product(node):
        return False
    is_matrix = node.op_type == "Conv" or len(operand(node, 1).shape or ()) == 2
    return is_matrix and all(constant(value) is not None for value in node.inputs[1:])


def _output_axis(node: ir.Node) -> int:
    """The axis of a node's weights (its input 1) that its outputs are along."""
    if node.op_type == "Conv" or node.attributes.get_int("transB", 0) == 1:
        return 0
    return 1  # of recurrent layers, after the directions


def _scale_of_weights(node: ir.Node) -> npt.NDArray[np.float32]:
    """The step between int8 weights, for each output; broadcasts against the weights."""
    along = (0, 1) if node.op_type in RECURRENT else (_output_axis(node),)
    return symmetric_scale(known(node.inputs[1]), along=along)


def _take_back_rounding(node: ir.Node, observed: Observed) -> None:
    """Correct a node's bias by the error that rounded weights make on the mean of its input."""
    index = bias_index(node)
    bias = constant(optional_input(node, index))
    if bias is None or observed.mean is None:
        return
    weights, scale = known(node.inputs[1]), _scale_of_weights(node).astype(np.float64)
    error = weights - to_int8(weights, scale) * scale
    bias = bias.astype(np.float64)
    if node.op_type in RECURRENT:
        bias[:, : error.shape[1]] += error @ observed.mean  # the other half is the recurrence's
    else:
        by_input = np.moveaxis(error, _output_axis(node), 0)
        by_input = by_input.reshape(*by_input.shape[:2], -1).sum(axis=2)
        if by_input.shape[1] != len(observed.mean):  # a convolution in groups
            return
        bias += (by_input @ observed.mean).reshape(bias.shape[-1:])
    name = f"{node.name}/input_{index}/corrected"
    corrected = add_constant(owner(node), name, bias.astype(np.float32))
    node.replace_input_with(index, corrected)


# --- Conv, Gemm, MatMul ----------------------------------------------------------------------------------


def _quantize_static(nodes: list[ir.Node], observed: Mapping[str, Observed]) -> None:
    plan = _plan(nodes)
    groups: dict[ir.Value, list[ir.Value]] = {}
    for value in plan.values():
        groups.setdefault(plan.find(value), []).append(value)
    scales: dict[ir.Value, _Scale] = {}
    for values in groups.values():
        scale = _Scale.of(values[0], [observed[str(value.name)] for value in values])
        scales |= dict.fromkeys(values, scale)
    # Users first: the operators inserted below become users too.
    by_int8 = {value: _int8_users(value, plan, nodes) for value in scales}
    for node in nodes:
        _quantize_weights(node, scales[operand(node, 0)])
    for value, users in by_int8.items():
        _through_uint8(value, scales[value], users, plan, nodes)


class _Plan:
    """Which values are uint8 somewhere, and which of these share a scale.

    Attributes:
        computed: values that int8 operators give. All their users get them from uint8.
        fed: float values that int8 operators take. Other users of theirs keep the float ones.
    """

    def __init__(self) -> None:
        self.computed: set[ir.Value] = set()
        self.fed: set[ir.Value] = set()
        self._shares: dict[ir.Value, ir.Value] = {}

    def compute(self, value: ir.Value) -> None:
        """`value` is computed in int8, and so is everything that only selects from it and moves it."""
        if value in self.computed:
            return
        self.computed.add(value)
        self.fed.discard(value)
        for node in value.consumers():
            if not _is_moved(value, node):
                continue
            self._share(value, node.outputs[0])
            self.compute(node.outputs[0])
            if node.op_type == "Concat":
                for index in range(len(node.inputs)):
                    other = operand(node, index)
                    self._share(value, other)
                    self.feed(other)

    def feed(self, value: ir.Value) -> None:
        """An int8 operator takes `value`."""
        if value not in self.computed:
            self.fed.add(value)

    def find(self, value: ir.Value) -> ir.Value:
        """The value that stands for all that share a scale with `value`."""
        while value in self._shares:
            value = self._shares[value]
        return value

    def values(self) -> list[ir.Value]:
        """All values, in an order that does not change from run to run."""
        return sorted(self.computed | self.fed, key=lambda value: str(value.name))

    def _share(self, one: ir.Value, other: ir.Value) -> None:
        one, other = self.find(one), self.find(other)
        if one is not other:
            self._shares[other] = one


def _plan(nodes: list[ir.Node]) -> _Plan:
    plan = _Plan()
    for node in nodes:
        plan.feed(operand(node, 0))
    for node in nodes:
        activated = _activated(node.outputs[0])
        # QGemm can give float, QLinearConv cannot. And onnxruntime would rather join Gemm and Relu in float.
        if node.op_type == "Conv" or activated is not node.outputs[0]:
            plan.compute(activated)
    return plan


def _activated(value: ir.Value) -> ir.Value:
    """What a Relu makes of `value`, if that is its only use: quantising from zero upwards is that Relu."""
    user = only_user(value)
    return user.outputs[0] if user is not None and user.op_type == "Relu" else value


def _is_moved(value: ir.Value, node: ir.Node) -> bool:
    """Whether `node` only selects from `value` and moves it."""
    if node.op_type == "Concat":
        return not any(constant(other) is not None for other in node.inputs)
    return node.op_type in _MOVING and node.inputs[0] is value


def _int8_users(value: ir.Value, plan: _Plan, nodes: list[ir.Node]) -> list[tuple[ir.Node, int]]:
    """The nodes that are to take `value` from uint8, and by which input."""
    return [
        (node, index)
        for node, index in value.uses()
        if value in plan.computed
        or (node in nodes and index == 0)
        or (node.op_type == "Concat" and node.outputs[0] in plan.computed)
    ]


@dataclass(frozen=True)
class _Scale:
    """How uint8 stands for float: `float = scale * (uint8 - zero_point)`; also as constants of the graph."""

    scale: float
    zero_point: int
    constants: tuple[ir.Value, ir.Value]

    @classmethod
    def of(cls, value: ir.Value, observed: Sequence[Observed]) -> _Scale:
        """The finest scale that spans all that was observed, and holds zero exactly: padding, and Relu's floor.

        Args:
            value: its constants are named after it.
            observed: all values that share it.
        """
        least = min(0.0, *(seen.least for seen in observed))
        greatest = max(0.0, *(seen.greatest for seen in observed))
        scale = np.float32((greatest - least) / _UINT8_MAX) or np.float32(1)
        zero_point = np.uint8(min(_UINT8_MAX, round(-least / float(scale))))
        graph = owner(value)
        constants = (
            add_constant(graph, f"{value.name}/scale", np.array(scale)),
            add_constant(graph, f"{value.name}/zero_point", np.array(zero_point)),
        )
        return cls(float(scale), int(zero_point), constants)

    @property
    def bounds(self) -> tuple[float, float]:
        """The numbers that 0 and 255 stand for."""
        return -self.zero_point * self.scale, (_UINT8_MAX - self.zero_point) * self.scale


def _through_uint8(
    value: ir.Value, scale: _Scale, users: list[tuple[ir.Node, int]], plan: _Plan, nodes: list[ir.Node]
) -> None:
    """Put QuantizeLinear and DequantizeLinear between a value and these users of it."""
    graph, name, producer = owner(value), str(value.name), value.producer()
    is_computed = value in plan.computed
    bounds = [
        add_constant(graph, f"{name}/{what}", np.array(bound, np.float32))
        for what, bound in zip(("least", "greatest"), scale.bounds, strict=True)
    ]
    added, source = [], value
    if not is_computed and producer is not None and producer.op_type in _MOVING:
        # onnxruntime moves quantisation ahead of operators that select and move. A MaxPool after a float convolution
        # would run on uint8, in a layout for which there is only a slow kernel: 40 times the time. It moves nothing
        # past a Clip, and afterwards removes a Clip that quantisation implies.
        added.append(ir.node("Clip", [value, *bounds], name=f"{name}/clip"))
        source = added[-1].outputs[0]
    added.append(ir.node("QuantizeLinear", [source, *scale.constants], name=f"{name}/quantize"))
    added.append(
        ir.node("DequantizeLinear", [added[-1].outputs[0], *scale.constants], name=f"{name}/dequantize")
    )
    result = added[-1].outputs[0]
    result.type, result.shape = value.type, value.shape
    for node, index in users:
        node.replace_input_with(index, result)
    layers = [node for node, index in users if index == 0 and node.op_type in ("Conv", "Gemm", "MatMul")]
    kept = [node for node in layers if node not in nodes]
    if kept:
        # By itself, onnxruntime quantises a layer between DequantizeLinear and QuantizeLinear, but not past a Clip.
        added.append(ir.node("Clip", [result, *bounds], name=f"{name}/keep_float"))
        for node in kept:
            node.replace_input_with(0, added[-1].outputs[0])
    if producer is None:
        graph.insert_before(graph[0], added)
    else:
        graph.insert_after(producer, added)
    if is_computed and value.is_graph_output():
        graph.outputs[:] = [result if output is value else output for output in graph.outputs]
        value.name, result.name = f"{name}/float", name
    else:
        result.name = f"{name}/dequantized"


def _quantize_weights(node: ir.Node, scale: _Scale) -> None:
    """Weights int8, per output channel; the bias int32, in steps of the products' scale."""
    weights, steps = known(node.inputs[1]), _scale_of_weights(node)
    bias = constant(optional_input(node, 2))
    if bias is not None:
        bias = bias.ravel().astype(np.float64)
        # A channel of tiny weights must not need a bias beyond int32.
        least = np.abs(bias) / scale.scale / 2**30
        steps = np.maximum(steps, least.reshape(steps.shape)).astype(np.float32)
    _dequantized(node, 1, to_int8(weights, steps), steps.ravel(), _output_axis(node))
    if bias is not None:
        products = np.float32(scale.scale) * steps.ravel()
        _dequantized(node, 2, np.rint(bias / products.astype(np.float64)).astype(np.int32), products, 0)


def _dequantized(
    node: ir.Node,
    index: int,
    stored: npt.NDArray[np.int8 | np.int32],
    scale: npt.NDArray[np.float32],
    axis: int,
) -> None:
    """Give a node a stored constant by way of DequantizeLinear."""
    graph, name = owner(node), f"{node.name}/input_{index}"
    inputs = [
        add_constant(graph, f"{name}/{stored.dtype}", stored),
        add_constant(graph, f"{name}/scale", scale),
        # Without explicit zeros onnxruntime makes no QGemm.
        add_constant(graph, f"{name}/zero_point", np.zeros(scale.shape, stored.dtype)),
    ]
    dequantize = ir.node("DequantizeLinear", inputs, {"axis": axis}, name=f"{name}/dequantize")
    graph.insert_before(node, dequantize)
    node.replace_input_with(index, dequantize.outputs[0])


# --- recurrent nodes, and what stays float ---------------------------------------------------------------


def _quantize_lstm(node: ir.Node) -> None:
    """LSTM to DynamicQuantizeLSTM: the same inputs, with weights transposed, then their scales and zero points."""
    graph = owner(node)
    inputs: list[ir.Value | None] = [*node.inputs, *[None] * (8 - len(node.inputs))]
    recurrent = symmetric_scale(known(node.inputs[2]), along=(0,))
    for index, scale in ((1, _scale_of_weights(node)), (2, recurrent)):
        name, stored = f"{node.name}/input_{index}", to_int8(known(node.inputs[index]), scale)
        # (directions, outputs) or (directions,)
        scale = scale.reshape(scale.shape[: 3 - index])
        # to (directions, inputs, outputs)
        inputs[index] = add_constant(graph, f"{name}/int8", stored.transpose(0, 2, 1))
        inputs.append(add_constant(graph, f"{name}/scale", scale))
        inputs.append(add_constant(graph, f"{name}/zero_point", np.zeros(scale.shape, np.int8)))
    quantized = ir.node(
        "DynamicQuantizeLSTM",
        inputs,
        domain=CONTRIB,
        name=node.name,
        num_outputs=len(node.outputs),
    )
    quantized.attributes.update(node.attributes)
    graph.insert_before(node, quantized)
    for old, new in zip(node.outputs, quantized.outputs, strict=True):
        substitute(old, new)
        old.name, new.name = None, old.name
    graph.remove(node, safe=True)
    graph.opset_imports[CONTRIB] = 1


def _is_worth_storing(node: ir.Node) -> bool:
    return known(node.inputs[1]).size >= _WORTH_STORING_INT8


def _store_weights(node: ir.Node) -> None:
    """Weights of a node that is computed in float, stored as int8."""
    store_int8(node, 1, _scale_of_weights(node))
    if node.op_type in RECURRENT:
        store_int8(node, 2, symmetric_scale(known(node.inputs[2]), along=(0, 1)))
