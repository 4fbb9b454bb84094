"""From a Keras model to an ONNX graph: native recurrent nodes, batch fixed at one, constants folded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import keras
import numpy as np
import onnx.defs
import onnx_ir as ir
import onnxscript.optimizer
import tensorflow as tf
import tf2onnx

from edgeemo.errors import ExportError
from edgeemo.workstation.graphs.convertible import convertible
from edgeemo.workstation.graphs.editing import (
    IR_VERSION,
    OPSET,
    add_constant,
    constant,
    known,
    remove_unused,
    shape_of,
)
from edgeemo.workstation.graphs.layers import name_after_layers
from edgeemo.workstation.graphs.layout import Layout, find_layout

CONTROL_FLOW = ("Loop", "Scan", "If")


def network_graph(
    model: keras.Model, *, n_frames: int, n_mels: int, n_labels: int, layout: str = "auto"
) -> ir.Graph:
    """Convert the network alone: `features (1, n_frames, n_mels)` -> `probabilities (1, n_labels)`.

    What brings features into the network's own layout (`layout.py`) becomes part of it.

    tf2onnx gives native LSTM nodes only while the batch dimension is open, so it is fixed afterwards, and the
    arithmetic on shapes that this leaves behind is folded away.

    Raises:
        ExportError: the model takes or gives another shape, masks frames before a recurrent layer, tf2onnx cannot
            convert it or one of its operators, or a recurrent layer became a loop.
    """
    takes = input_layout(model, n_frames, n_mels, wanted=layout)
    _check_output(model, n_labels)
    _refuse_masks(model)
    call = _arranging(model, takes)
    function = tf.function(lambda features: call(features, training=False))
    signature = [tf.TensorSpec([None, n_frames, n_mels], tf.float32, name="features")]
    try:
        with convertible(model) as handlers:
            with _inner_functions_inlined():
                captured = _captured_constants(function.get_concrete_function(*signature))
            proto, _ = tf2onnx.convert.from_function(
                function, input_signature=signature, opset=OPSET, custom_op_handlers=handlers
            )
    except Exception as error:
        raise ExportError(f"tf2onnx cannot convert {model.name} ({_reason(error)})") from error
    converted: ir.Model = ir.from_proto(proto)
    graph = converted.graph
    _refuse_unconverted(model, graph)
    _make_constant(graph, captured)
    forget_shapes(graph)
    (given,), (probabilities,) = graph.inputs, graph.outputs
    given.shape, probabilities.shape = ir.Shape((1, n_frames, n_mels)), ir.Shape((1, n_labels))
    graph = folded(converted)
    name_after_layers(model, graph)
    return graph


def _reason(error: Exception) -> str:
    """The one line that says it: TensorFlow shows the code first, and Keras ends with the layer's arguments."""
    lines = [re.sub(r"\x1b\[\d*m", "", line).strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line]
    raised = [i for i, line in enumerate(lines) if re.match(r"\w*(Error|Exception):", line)]
    if raised:
        said = [
            line for line in lines[raised[-1] : raised[-1] + 2] if not line.startswith("Arguments received")
        ]
        return " ".join(said)
    return lines[0] if lines else type(error).__name__


@contextmanager
def _inner_functions_inlined() -> Iterator[None]:
    """Trace into functions of TensorFlow's, such as Keras' grouped convolutions: tf2onnx leaves them as they are."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _refuse_unconverted(model: keras.Model, graph: ir.Graph) -> None:
    """tf2onnx leaves operators of TensorFlow in the graph where it has no other, and only logs them."""
    left = [
        f"{node.op_type} {node.name}" for node in graph if not node.domain and not onnx.defs.has(node.op_type)
    ]
    if left:
        raise ExportError(
            f"tf2onnx cannot convert {model.name}: it knows no ONNX operator for {', '.join(left)}; "
            "use another layer there"
        )


def forget_shapes(graph: ir.Graph) -> None:
    """Forget the shapes of what nodes compute: `folded` infers them anew from fixed inputs."""
    for node in graph:
        for output in node.outputs:
            output.shape = None


def folded(model: ir.Model) -> ir.Graph:
    """The graph of a model, with its constants folded and its shapes inferred.

    Raises:
        ExportError: as `refuse_control_flow`.
    """
    model.ir_version = IR_VERSION
    _fold(model)
    if _fold_splits(model.graph):
        answers = [(output, output.shape) for output in model.graph.outputs]
        forget_shapes(model.graph)
        for output, shape in answers:
            output.shape = shape
        _fold(model)
    refuse_control_flow(model.graph)
    return model.graph


def _fold(model: ir.Model) -> None:
    # Sizes that PyTorch computes begin with zeros of a shape, which are not folded by themselves.
    onnxscript.optimizer.optimize_ir(
        model, should_fold=lambda node: True if node.op_type == "ConstantOfShape" else None
    )


def _fold_splits(graph: ir.Graph) -> bool:
    """Fold constants that are split, as the sizes of transposed convolutions are: the optimizer does not."""
    found = [node for node in graph if node.op_type == "Split" and constant(node.inputs[0]) is not None]
    for node in found:
        axis, start = node.attributes.get_int("axis", 0), 0
        for output in node.outputs:
            end = start + shape_of(output)[axis]
            part = known(node.inputs[0]).take(range(start, end), axis)
            output.replace_all_uses_with(add_constant(graph, f"{output.name}/folded", part))
            start = end
    remove_unused(graph)
    return bool(found)


def refuse_control_flow(graph: ir.Graph) -> None:
    """Refuse a graph with `Loop`, `Scan` or `If` nodes: they are several times slower than a native LSTM.

    Raises:
        ExportError: naming the nodes.
    """
    found = [f"{node.op_type} {node.name}" for node in graph if node.op_type in CONTROL_FLOW]
    if found:
        raise ExportError(
            f"the graph has {', '.join(found)} where a native LSTM or GRU node belongs; use "
            "keras.layers.LSTM, GRU or SimpleRNN with default activations, without Masking or custom cells"
        )


def input_layout(model: keras.Model, n_frames: int, n_mels: int, *, wanted: str = "auto") -> Layout:
    """How a model takes features.

    Raises:
        ExportError: it takes others.
    """
    shape = tuple(model.input_shape)[1:] if len(model.inputs) == 1 else ()
    layout = find_layout(shape, n_frames, n_mels, wanted=wanted)
    if layout is None:
        raise ExportError(
            f"{model.name} takes {_shapes(model.inputs)}; the recipe says (batch, {n_frames}, {n_mels}), frames by "
            "bands or rows by columns, either first, with or without an axis of 1 or 3 channels: change its [window] "
            "and [features], or its [image]"
        )
    return layout


def _check_output(model: keras.Model, n_labels: int) -> None:
    if len(model.outputs) != 1 or tuple(model.output_shape)[1:] != (n_labels,):
        raise ExportError(
            f"{model.name} gives {_shapes(model.outputs)}, expected (batch, {n_labels}): one probability a label"
        )


def _arranging(model: keras.Model, layout: Layout) -> Callable[..., tf.Tensor]:
    """The model behind what brings features into its layout."""

    def call(features: tf.Tensor, training: bool) -> tf.Tensor:
        if layout.flat:
            features = tf.reshape(features, [-1, features.shape[1] * features.shape[2]])
        if layout.bands_first:
            features = tf.transpose(features, [0, 2, 1])
        if layout.n_channels:
            features = features[:, tf.newaxis] if layout.channels_first else features[..., tf.newaxis]
        if layout.n_channels > 1:
            features = tf.concat([features] * layout.n_channels, layout.channel_axis)
        return model(features, training=training)

    return call


def _refuse_masks(model: keras.Model) -> None:
    """A recurrent layer that is given a mask is a loop. Masks hide padding, of which a window of audio has none."""
    layers = list(model._flatten_layers(include_self=False))
    masks = [
        layer
        for layer in layers
        if isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False)
    ]
    if masks and any(isinstance(layer, keras.layers.RNN) for layer in layers):
        found = ", ".join(f"{layer.name} ({type(layer).__name__})" for layer in masks)
        raise ExportError(
            f"{model.name} masks frames before a recurrent layer, by {found}; build it again without that, and give "
            "it these weights (set_weights): a window has no padding to mask"
        )


def _captured_constants(function: tf.types.experimental.ConcreteFunction) -> dict[str, np.ndarray]:
    """Constants that layers hold as plain tensors (Normalization: mean and variance), by their name in the graph."""
    return {
        inside.name: outside.numpy()
        for outside, inside in function.graph.captures
        if outside.dtype != tf.resource
    }


def _make_constant(graph: ir.Graph, values: Mapping[str, np.ndarray]) -> None:
    """tf2onnx freezes variables but leaves captured tensors as graph inputs: give these their values."""
    for value in list(graph.inputs):
        name = str(value.name)
        if name in values:
            graph.inputs.remove(value)
            value.replace_all_uses_with(add_constant(graph, name, values[name]))
    if len(graph.inputs) != 1:
        names = ", ".join(str(value.name) for value in graph.inputs)
        raise ExportError(f"the converted graph has the inputs {names}, expected one, the features")


def _shapes(tensors: Sequence[keras.KerasTensor]) -> str:
    return " and ".join(
        "(" + ", ".join("batch" if n is None and i == 0 else str(n) for i, n in enumerate(t.shape)) + ")"
        for t in tensors
    )
