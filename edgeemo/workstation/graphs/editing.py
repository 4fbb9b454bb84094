"""Reading, changing and running graphs that are held in memory.

Attributes need no help: onnx_ir reads them, with their defaults, by `node.attributes.get_int` and its relatives.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common
import onnxruntime as ort

from edgeemo.errors import ExportError
from edgeemo.session import session_options

OPSET = 18
"""The version of the standard operators that every graph here is written in. onnxruntime 1.20, the oldest that
`pyproject.toml` allows, reads up to 21."""
IR_VERSION = 9
"""The version of the file format that every model here is written in. onnxruntime 1.20 reads up to 10."""
RECURRENT = ("LSTM", "GRU", "RNN")


# --- reading a graph -------------------------------------------------------------------------------------


def operand(node: ir.Node, index: int) -> ir.Value:
    """An input that every node with this operator has."""
    value = node.inputs[index]
    assert value is not None, f"{node.op_type} {node.name} has no input {index}"
    return value


def optional_input(node: ir.Node, index: int) -> ir.Value | None:
    """An input that may be left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The value itself, if it is a constant; None if it is computed or left out."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def known(value: ir.Value | None) -> np.ndarray:
    """A value that is certainly a constant."""
    array = constant(value)
    assert array is not None, f"{value} is computed"
    return array


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """The shape of a value.

    Raises:
        ExportError: it is not known, or has open dimensions.
    """
    if value.shape is None or not value.shape.is_static():
        raise ExportError(
            f"the shape of {value.name} is {value.shape}, expected a number for each dimension; fix all "
            "dimensions, or use another layer there"
        )
    return value.shape.numpy()


def owner(part: ir.Node | ir.Value) -> ir.Graph:
    """The graph that a node or value is in."""
    graph = part.graph
    assert isinstance(graph, ir.Graph), f"{part.name} is in no graph"
    return graph


def only_user(value: ir.Value) -> ir.Node | None:
    """The one node that takes a value; None if there are several, or the value is an output of the graph."""
    users = value.consumers()
    return users[0] if len(users) == 1 and not value.is_graph_output() else None


def bias_index(layer: ir.Node) -> int:
    """Which input of a Conv, Gemm or recurrent node is its bias."""
    return 3 if layer.op_type in RECURRENT else 2


def axis_order(transpose: ir.Node) -> list[int]:
    """For each axis of a Transpose's output, the axis of its input that it is."""
    default = range(len(operand(transpose, 0).shape or ()))[::-1]
    return list(transpose.attributes.get_ints("perm", default))


def is_plain_product(node: ir.Node) -> bool:
    """Whether a MatMul or Gemm neither transposes its first input nor multiplies by another factor."""
    has = node.attributes
    return has.get_float("alpha", 1.0) == has.get_float("beta", 1.0) == 1.0 and not has.get_int("transA", 0)


# --- changing it -----------------------------------------------------------------------------------------


def add_constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """Add an initialiser; `name` is one that the graph does not have yet."""
    tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
    value = ir.val(name, const_value=tensor)
    graph.register_initializer(value)
    return value


def substitute(old: ir.Value, new: ir.Value) -> None:
    """Put `new`, which has the same type and shape, in place of `old`."""
    new.type, new.shape = old.type, old.shape
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def remove_unused(graph: ir.Graph) -> None:
    """Remove nodes and constants that nothing uses."""
    onnx_ir.passes.common.RemoveUnusedNodesPass()(as_model(graph))


# --- as a model, and running it --------------------------------------------------------------------------


def as_model(graph: ir.Graph) -> ir.Model:
    """A model of a graph, which is not copied."""
    return ir.Model(graph, ir_version=IR_VERSION)


def to_bytes(model: ir.Model) -> bytes:
    """The file of a model, everything inside it."""
    data: bytes = ir.to_proto(model).SerializeToString()
    return data


def open_session(model: ir.Model, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    """Load a model into onnxruntime; on one thread, unless `options` say otherwise."""
    return ort.InferenceSession(
        to_bytes(model), options or session_options(), providers=["CPUExecutionProvider"]
    )
