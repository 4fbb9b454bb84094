"""From an ONNX file of another tool to the kind of graph that Keras models become."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.inliner
import onnx_ir as ir
import onnxruntime as ort

from edgeemo.errors import ExportError
from edgeemo.session import session_options
from edgeemo.workstation.graphs.editing import IR_VERSION, OPSET, remove_unused
from edgeemo.workstation.graphs.layout import Layout, find_layout, fits
from edgeemo.workstation.graphs.network import folded, forget_shapes
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.opsets import converted

PREFIX = "imported/"


def imported_graph(
    path: Path, *, n_frames: int, n_mels: int, n_labels: int, layout: str = "auto"
) -> ir.Graph:
    """Read `features (1, n_frames, n_mels)` -> `probabilities (1, n_labels)` from a file.

    What brings features into the layout of the file's input (`layout.py`) becomes part of it; open dimensions are
    fixed.

    Raises:
        ExportError: not an ONNX file, operators that cannot be converted, another number or shape of inputs and
            outputs, or control flow.
    """
    model = ir.from_proto(converted(_standard(path, _read(path)), path.name))
    graph = model.graph
    (given,), (output,) = (value for value in graph.inputs if not value.is_initializer()), graph.outputs
    graph.inputs[:] = [given]
    takes = _layout(list(given.shape or ()), n_frames, n_mels, layout)
    if takes is None or given.dtype != ir.DataType.FLOAT:
        raise ExportError(
            f"{path} takes {given.shape}; the recipe says (1, {n_frames}, {n_mels}), frames by bands or rows by "
            "columns: change its [window] and [features], or its [image]"
        )
    if output.shape is None or not fits(list(output.shape), (1, n_labels)):
        raise ExportError(f"{path} gives {output.shape}, expected (1, {n_labels}): one probability a label")
    forget_shapes(graph)
    features = ir.val("features", dtype=ir.DataType.FLOAT, shape=(1, n_frames, n_mels))
    nodes, adapted = Nodes(PREFIX), features
    if takes.bands_first:
        adapted = nodes("Transpose", adapted, perm=[0, 2, 1])
    if takes.flat:
        adapted = nodes("Reshape", adapted, nodes.ints([1, n_frames * n_mels]))
    if takes.n_channels:
        image = nodes("Unsqueeze", adapted, nodes.ints([takes.channel_axis]))
        adapted = (
            nodes("Concat", *[image] * takes.n_channels, axis=takes.channel_axis)
            if takes.n_channels > 1
            else image
        )
    if adapted is not features:
        nodes.insert(graph, before=graph[0])
    given.replace_all_uses_with(adapted)
    graph.inputs[:] = [features]
    output.shape = ir.Shape((1, n_labels))
    return folded(model)


def original_probabilities(
    path: Path, features: npt.NDArray[np.float32], *, layout: str = "auto"
) -> npt.NDArray[np.float32]:
    """What the file itself answers, before anything in its graph is changed.

    Only the version of its format is lowered, where it is newer than what is written here: `onnx` writes versions
    that no onnxruntime reads yet.

    Args:
        path: a file that `imported_graph` takes.
        features: shape `(n_windows, n_frames, n_mels)`.
        layout: `features.layout` of the recipe.

    Returns:
        shape `(n_windows, n_labels)`.

    Raises:
        ExportError: onnxruntime cannot load it.
    """
    proto = _read(path)
    proto.ir_version = min(proto.ir_version, IR_VERSION)
    try:
        session = ort.InferenceSession(
            proto.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ExportError(
            f"{path}: onnxruntime cannot load it ({_reason(error)}); write it with opset {OPSET} and with standard "
            "operators"
        ) from error
    (given,) = session.get_inputs()
    _, n_frames, n_mels = features.shape
    takes = _layout(given.shape, n_frames, n_mels, layout)
    assert takes is not None
    answer = _answer(path, proto.graph)
    return np.concatenate([
        session.run([answer], {given.name: window[np.newaxis]})[0] for window in takes.arranged(features)
    ])  # fmt: skip


def _read(path: Path) -> onnx.ModelProto:
    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
    except Exception as error:
        raise ExportError(f"{path}: not an ONNX model ({_reason(error)})") from error
    return proto


def _standard(path: Path, proto: onnx.ModelProto) -> onnx.ModelProto:
    """What leads to the answer, in standard operators: scikit-learn's networks give the label too, by others.

    Raises:
        ExportError: it takes other operators to give the answer.
    """
    answer = _answer(path, proto.graph)
    model = ir.from_proto(onnx.inliner.inline_local_functions(proto) if proto.functions else proto)
    model.graph.outputs[:] = [value for value in model.graph.outputs if value.name == answer]
    remove_unused(model.graph)
    others = [f"{node.domain}.{node.op_type}" for node in model.graph if node.domain not in ("", "ai.onnx")]
    if others:
        raise ExportError(
            f"{path} has {', '.join(dict.fromkeys(others))}; expected standard operators: of scikit-learn, write it "
            'with skl2onnx.to_onnx(..., black_op={"Scaler", "LinearClassifier", "Normalizer"})'
        )
    return ir.to_proto(model)


def _answer(path: Path, graph: onnx.GraphProto) -> str:
    """The name of the output that gives the probabilities.

    Raises:
        ExportError: there is none, or there are several, or several inputs.
    """
    constants = {tensor.name for tensor in graph.initializer}
    n_inputs = sum(value.name not in constants for value in graph.input)
    answers = [
        str(value.name)
        for value in graph.output
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT or len(graph.output) == 1
    ]
    if n_inputs != 1 or len(answers) != 1:
        hint = ""
        if any(value.type.HasField("sequence_type") for value in graph.output):
            hint = '; of scikit-learn, write it with skl2onnx.to_onnx(..., options={"zipmap": False})'
        raise ExportError(
            f"{path} has {n_inputs} inputs and {len(graph.output)} outputs; expected one of each, features and "
            f"probabilities{hint}"
        )
    return str(answers[0])


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _layout(declared: Sequence[object], n_frames: int, n_mels: int, wanted: str) -> Layout | None:
    """How an input takes one window of features; None if it cannot."""
    if not declared or (isinstance(declared[0], int) and declared[0] != 1):
        return None
    return find_layout(declared[1:], n_frames, n_mels, wanted=wanted)
