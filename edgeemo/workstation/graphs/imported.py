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
from edgeemo.workstation.graphs.network import folded, forget_shapes
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.opsets import converted

PREFIX = "imported/"


def imported_graph(path: Path, *, n_frames: int, n_mels: int, n_labels: int) -> ir.Graph:
    """Read `features (1, n_frames, n_mels)` -> `probabilities (1, n_labels)` from a file.

    The file's input may also have a channel axis of 1 before or after frames and bands, or bands before frames (as
    PyTorch's convolutions of one dimension take them), or all of them in one axis (as scikit-learn takes them), or
    open dimensions, which are fixed.

    Raises:
        ExportError: not an ONNX file, operators that cannot be converted, another number or shape of inputs and
            outputs, or control flow.
    """
    model = ir.from_proto(converted(_standard(path, _read(path)), path.name))
    graph = model.graph
    (given,), (output,) = (value for value in graph.inputs if not value.is_initializer()), graph.outputs
    graph.inputs[:] = [given]
    shape = _layout(list(given.shape or ()), n_frames, n_mels)
    if shape is None or given.dtype != ir.DataType.FLOAT:
        raise ExportError(
            f"{path} takes {given.shape}; the recipe says (1, {n_frames}, {n_mels}), frames by bands or rows by "
            "columns: change its [window] and [features], or its [image]"
        )
    if output.shape is None or not _fits(list(output.shape), (1, n_labels)):
        raise ExportError(f"{path} gives {output.shape}, expected (1, {n_labels}): one probability a label")
    forget_shapes(graph)
    features = ir.val("features", dtype=ir.DataType.FLOAT, shape=(1, n_frames, n_mels))
    nodes = Nodes(PREFIX)
    adapted = nodes("Transpose", features, perm=[0, 2, 1]) if _has_bands_first(shape, n_frames) else features
    if len(shape) != 3:
        adapted = nodes("Reshape", adapted, nodes.ints(shape))
    if adapted is not features:
        nodes.insert(graph, before=graph[0])
    given.replace_all_uses_with(adapted)
    graph.inputs[:] = [features]
    output.shape = ir.Shape((1, n_labels))
    return folded(model)


def original_probabilities(path: Path, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What the file itself answers, before anything in its graph is changed.

    Only the version of its format is lowered, where it is newer than what is written here: `onnx` writes versions
    that no onnxruntime reads yet.

    Args:
        path: a file that `imported_graph` takes.
        features: shape `(n_windows, n_frames, n_mels)`.

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
    shape = _layout(given.shape, n_frames, n_mels)
    assert shape is not None
    if _has_bands_first(shape, n_frames):
        features = features.transpose(0, 2, 1)
    answer = _answer(path, proto.graph)
    return np.concatenate(
        [session.run([answer], {given.name: window.reshape(shape)})[0] for window in features]
    )


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
    return answers[0]


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _layout(declared: Sequence[object], n_frames: int, n_mels: int) -> tuple[int, ...] | None:
    """The shape in which an input takes one window of features; None if it cannot."""
    known = [
        (1, n_frames, n_mels),
        (1, n_frames, n_mels, 1),
        (1, 1, n_frames, n_mels),
        (1, n_mels, n_frames),
        (1, 1, n_mels, n_frames),
        (1, n_mels, n_frames, 1),
        (1, n_frames * n_mels),
    ]
    return next((shape for shape in known if _fits(declared, shape)), None)


def _has_bands_first(shape: tuple[int, ...], n_frames: int) -> bool:
    # If there are as many frames as bands, the layout with frames first was found first.
    return len(shape) > 2 and next(size for size in shape if size > 1) != n_frames


def _fits(declared: Sequence[object], shape: tuple[int, ...]) -> bool:
    """Whether a declared shape is this one, but for open dimensions."""
    return len(declared) == len(shape) and all(
        not isinstance(have, int) or have == want for have, want in zip(declared, shape, strict=True)
    )
