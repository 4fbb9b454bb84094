"""A trained network, ready to be exported, and what every variant of it is compared with."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import onnx_ir as ir

import edgeemo
from edgeemo.answer import Judgement
from edgeemo.errors import ExportError
from edgeemo.evidence import ScoreRow, Training
from edgeemo.metadata import ImageMetadata, Metadata, Mode
from edgeemo.windows import clip_windows, preceded_by_silence
from edgeemo.workstation.architectures import count_parameters
from edgeemo.workstation.export.request import labels_of
from edgeemo.workstation.graphs.frontend import FrontEnd
from edgeemo.workstation.graphs.imported import imported_graph, original_probabilities
from edgeemo.workstation.graphs.layout import Layout
from edgeemo.workstation.graphs.network import input_layout, network_graph
from edgeemo.workstation.graphs.simplify import simplify
from edgeemo.workstation.graphs.usual import add_usual, adjusted
from edgeemo.workstation.networks import in_float32
from edgeemo.workstation.training.recipe import Recipe

_TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy")
_LAYERS = ("Conv", "LSTM", "GRU", "RNN", "Gemm", "MatMul")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A trained network, ready to be exported in any variant, and what every variant is compared with.

    Attributes:
        recipe: the features and window, or the image, it was trained with.
        network: its graph for one window or image in fp32, `features` -> `probabilities`, simplified.
        metadata: of a window file, or of the image file, in fp32, without parity.
        inputs: what to compare on: windows of audio `(n_windows, window_samples)`, or images
            `(n_images, height, width)`.
        n_clips: how many clips the windows are of, or how many images there are.
        reference: what is compared with: "Keras", or the name of the ONNX file it came from.
        expected: the reference's probabilities of the inputs, shape `(n_inputs, n_labels)`, adjusted as the recipe's
            `[export] usual` has it.
        stream_expected: likewise of the frames that a stream has of the inputs; None where it has those of a window,
            and where there is no stream.
    """

    recipe: Recipe
    network: ir.Graph
    metadata: Metadata | ImageMetadata
    inputs: np.ndarray
    n_clips: int
    reference: str
    expected: np.ndarray
    stream_expected: np.ndarray | None = None

    def compared(self, mode: Mode) -> tuple[np.ndarray, np.ndarray]:
        """What a variant is given, and what the reference says of it.

        A stream is given whole steps, and takes frames as they become complete: where windows have other frames, the
        reference is given a stream's.
        """
        if mode is Mode.STREAM and self.stream_expected is not None:
            return stream_windows(self.inputs, self.recipe), self.stream_expected
        return self.inputs, self.expected


def stream_windows(windows: np.ndarray, recipe: Recipe) -> np.ndarray:
    """The end of each window, of as many hops as it has frames; silence before it, where it is shorter."""
    n = recipe.n_frames * recipe.features.hop_samples
    return np.stack([preceded_by_silence(window[-n:], n) for window in windows])


def prepare(
    model: keras.Model | Path,
    recipe: Recipe,
    *,
    clips: Sequence[np.ndarray],
    labels: tuple[str, ...] = (),
    training: Training | None = None,
    scores: Sequence[ScoreRow] = (),
    judgement: Judgement | None = None,
    softmax: bool = False,
) -> Source:
    """Convert a model.

    Args:
        model: features `(n_frames, n_columns)` in any layout, or pixel values `(height, width)`, -> probabilities, in
            Keras, or the path of an ONNX file.
        recipe: the features and window, or the image, it was trained with; without a summary, the kinds of its layers
            are the summary.
        clips: what both are compared on: audio, mono float32 at the recipe's sample rate, `(n_samples,)` each; or, if
            the recipe is of images, grey values from 0 to 255, `(height, width)` each.
        labels: class names, if not those of the recipe's label map.
        training: how the weights were made, for the metadata.
        scores: what was measured of them, for the metadata; the headline first.
        judgement: how probabilities become answers, for the metadata of a model of audio; by default nothing is
            calibrated, and no answer is unsure.
        softmax: the model gives logits, and a softmax is added behind them.

    Raises:
        ExportError: the model does not fit the recipe, or cannot be converted to native nodes.
    """
    labels = labels_of(recipe, labels)
    inputs, features = _inputs(recipe, clips)
    streamed = _streamed(recipe, inputs)
    n_frames, n_mels = recipe.input_shape
    layout = recipe.features.layout
    if isinstance(model, Path):
        network = imported_graph(model, n_frames=n_frames, n_mels=n_mels, n_labels=len(labels), layout=layout)
        reference, answer = model.name, partial(original_probabilities, model, layout=layout)
        n_parameters = _n_weights(network)
    else:
        model = in_float32(model)
        n_parameters = count_parameters(model)
        network = network_graph(model, n_frames=n_frames, n_mels=n_mels, n_labels=len(labels), layout=layout)
        takes = input_layout(model, n_frames, n_mels, wanted=layout)
        reference, answer = "Keras", partial(_keras_probabilities, model, takes)
    found = [answer(given) for given in (features, streamed) if given is not None]
    if softmax:
        _add_softmax(network)
        found = [_softmax(reference, logits) for logits in found]
    _check_probabilities(reference, found[0])
    if recipe.export.usual:
        add_usual(network, labels)
        found = [adjusted(answers, labels) for answers in found]
    expected, *rest = found
    simplify(network)
    metadata = dataclasses.replace(
        _metadata(recipe, labels, judgement),
        summary=recipe.summary or _summary(network),
        n_parameters=n_parameters,
        training=training,
        scores=tuple(scores),
        tools={"edgeemo": edgeemo.__version__} | {t: importlib.metadata.version(t) for t in _TOOLS},
    )
    return Source(
        recipe=recipe,
        network=network,
        metadata=metadata,
        inputs=inputs,
        n_clips=len(clips),
        reference=reference,
        expected=expected,
        stream_expected=rest[0] if rest else None,
    )


def _inputs(recipe: Recipe, clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What files are given, windows or images, and what the network is given."""
    if recipe.image is not None:
        images = np.stack(clips).astype(np.float32)
        return images, images
    windows = np.concatenate([clip_windows(clip, recipe.window_samples) for clip in clips])
    return windows, FrontEnd(recipe.features)(windows)


def _streamed(recipe: Recipe, inputs: np.ndarray) -> np.ndarray | None:
    """What the network of a stream is given, where that is not what the network of a window is given."""
    features = recipe.features
    if recipe.image is not None or features.framing == "causal" or features.window_only:
        return None
    return FrontEnd(features.causal)(stream_windows(inputs, recipe))


def _metadata(
    recipe: Recipe, labels: tuple[str, ...], judgement: Judgement | None
) -> Metadata | ImageMetadata:
    """What recipe and judgement say of every file."""
    if recipe.image is not None:
        return ImageMetadata(
            name=recipe.name,
            summary=recipe.summary,
            labels=labels,
            n_parameters=0,
            licence=recipe.export.licence,
            height=recipe.image.height,
            width=recipe.image.width,
        )
    return Metadata(
        name=recipe.name,
        summary=recipe.summary,
        labels=labels,
        n_parameters=0,
        licence=recipe.export.licence,
        window_samples=recipe.window_samples,
        step_samples=recipe.step_samples,
        features=recipe.features,
        judgement=judgement or Judgement.of(labels),
    )


def _summary(network: ir.Graph) -> str:
    """What there is to say of a network that nobody has described."""
    counts = Counter(node.op_type for node in network if node.op_type in _LAYERS)
    layers = " + ".join(f"{n} {kind}" for kind, n in counts.items())
    return f"a network of one's own ({layers})" if layers else "a network of one's own"


def _n_weights(network: ir.Graph) -> int:
    """How many numbers the constants of a graph hold."""
    constants = (value.const_value for value in network.initializers.values())
    return sum(int(c.size) for c in constants if c is not None and c.dtype == ir.DataType.FLOAT)


def _keras_probabilities(model: keras.Model, layout: Layout, features: np.ndarray) -> np.ndarray:
    probabilities: np.ndarray = model.predict(layout.arranged(features), batch_size=32, verbose=0)
    return probabilities


def _check_probabilities(name: str, probabilities: np.ndarray) -> None:
    sums = probabilities.sum(axis=1)
    if not np.allclose(sums, 1, atol=1e-3) or probabilities.min() < 0:
        raise ExportError(
            f"{name} does not give probabilities (its outputs sum to {sums.min():.3g} to {sums.max():.3g}); "
            "end it with a softmax; where they are logits, --softmax adds one"
        )


def _add_softmax(network: ir.Graph) -> None:
    """Behind the output, whose name and shape it takes."""
    (logits,) = network.outputs
    probabilities = ir.Value(name=logits.name, shape=logits.shape, type=logits.type)
    logits.name = "logits"
    network.append(ir.Node("", "Softmax", [logits], [ir.AttrInt64("axis", -1)], outputs=[probabilities]))
    network.outputs[0] = probabilities


def _softmax(name: str, logits: np.ndarray) -> np.ndarray:
    if logits.min() >= 0 and np.allclose(logits.sum(axis=1), 1, atol=1e-3):
        raise ExportError(f"{name} gives probabilities already; leave out --softmax")
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
