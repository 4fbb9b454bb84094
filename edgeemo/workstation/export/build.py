"""A trained Keras model to ONNX files that are known to compute the same, in every variant that is asked for."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx_ir as ir

import edgeemo
from edgeemo.errors import ExportError, ParityError
from edgeemo.files import replacing
from edgeemo.images import ImageModel, load_model
from edgeemo.metadata import KEY, ImageMetadata, Metadata, State, read_metadata
from edgeemo.model import EmotionModel
from edgeemo.windows import clip_windows
from edgeemo.workstation.architectures import count_parameters
from edgeemo.workstation.graphs.assemble import assemble, save
from edgeemo.workstation.graphs.choose import choose_float
from edgeemo.workstation.graphs.editing import as_model, open_session
from edgeemo.workstation.graphs.frontend import FrontEnd
from edgeemo.workstation.graphs.imported import imported_graph, original_probabilities
from edgeemo.workstation.graphs.network import network_graph
from edgeemo.workstation.graphs.simplify import simplify
from edgeemo.workstation.graphs.stream import stream
from edgeemo.workstation.graphs.widen import half
from edgeemo.workstation.training.recipe import Recipe

_TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy")

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


def load_keras(path: Path) -> keras.Model:
    """Load a `.keras` file.

    Raises:
        ExportError: missing, or not a Keras model.
    """
    if not path.is_file():
        raise ExportError(f"no Keras model at {path}; train one with `edgeemo train`, or give --weights FILE")
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ExportError(f"{path}: Keras cannot load it ({reason})") from error


@dataclass(frozen=True)
class Source:
    """A trained network, ready to be exported in any variant, and what every variant is compared with.

    Attributes:
        recipe: the features and window, or the image, it was trained with.
        network: its graph for one window or image in fp32, `features` -> `probabilities`, simplified.
        metadata: of a window file, or of the image file, in fp32, without parity.
        inputs: what to compare on: windows of audio `(n_windows, window_samples)`, or images
            `(n_images, height, width)`.
        reference: what is compared with: "Keras", or the name of the ONNX file it came from.
        expected: the reference's probabilities of the inputs, shape `(n_inputs, n_labels)`.
        counts: how many inputs these are, for a person: `n_clips` and `n_windows`, or `n_images`.
    """

    recipe: Recipe
    network: ir.Graph
    metadata: Metadata | ImageMetadata
    inputs: np.ndarray
    reference: str
    expected: np.ndarray
    counts: dict[str, int]


def prepare(
    model: keras.Model | Path,
    recipe: Recipe,
    *,
    clips: Sequence[np.ndarray],
    labels: tuple[str, ...] = (),
    training: dict[str, Any] | None = None,
    scores: Sequence[dict[str, Any]] = (),
) -> Source:
    """Convert a model.

    Args:
        model: features in dB `(n_frames, n_mels)`, or pixel values `(height, width)`, -> probabilities, in Keras, or
            the path of an ONNX file.
        recipe: the features and window, or the image, it was trained with.
        clips: what both are compared on: audio, mono float32 at the recipe's sample rate, `(n_samples,)` each; or, if
            the recipe is of images, grey values from 0 to 255, `(height, width)` each.
        labels: class names, if not those of the recipe's label map.
        training: how the weights were made, for the metadata.
        scores: rows of scores, for the metadata; the headline first.

    Raises:
        ExportError: the model does not fit the recipe, or cannot be converted to native nodes.
    """
    labels = labels or recipe.label_map.labels
    if len(set(labels)) < len(labels) or not all(labels):
        raise ExportError(f"labels are {', '.join(map(repr, labels))}; each must be a name, and occur once")
    if recipe.image is not None:
        inputs = features = np.stack(clips).astype(np.float32)
        counts = {"n_images": len(inputs)}
    else:
        inputs = np.concatenate([clip_windows(clip, recipe.window_samples) for clip in clips])
        features = FrontEnd(recipe.features)(inputs)
        counts = {"n_clips": len(clips), "n_windows": len(inputs)}
    n_frames, n_mels = recipe.input_shape
    sizes = {"n_frames": n_frames, "n_mels": n_mels, "n_labels": len(labels)}
    if isinstance(model, Path):
        network = imported_graph(model, **sizes)
        reference, expected = model.name, original_probabilities(model, features)
        n_parameters = sum(
            v.const_value.size for v in network.initializers.values() if v.dtype == ir.DataType.FLOAT
        )
    else:
        network = network_graph(model, **sizes)
        reference, expected = "Keras", _keras_probabilities(model, features)
        n_parameters = count_parameters(model)
    _check_probabilities(reference, expected)
    simplify(network)
    facts = {
        "name": recipe.name,
        "summary": recipe.summary,
        "labels": labels,
        "n_parameters": n_parameters,
        "licence": recipe.export.licence,
        "training": training or {},
        "scores": list(scores),
        "tools": {"edgeemo": edgeemo.__version__} | {t: importlib.metadata.version(t) for t in _TOOLS},
    }
    if recipe.image is not None:
        metadata = ImageMetadata(**facts, height=recipe.image.height, width=recipe.image.width)
    else:
        metadata = Metadata(
            **facts,
            window_samples=recipe.window_samples,
            step_samples=recipe.step_samples,
            features=recipe.features,
        )
    return Source(recipe, network, metadata, inputs, reference, expected, counts)


def export(
    model: keras.Model,
    recipe: Recipe,
    output: Path,
    *,
    mode: str = "window",
    clips: Sequence[np.ndarray],
    labels: tuple[str, ...] = (),
    training: dict[str, Any] | None = None,
    scores: Sequence[dict[str, Any]] = (),
) -> Metadata | ImageMetadata:
    """`prepare` a model and `write` one file of it in fp32.

    Args:
        model, recipe, clips, labels, training, scores: see `prepare`.
        output, mode: see `write`.

    Returns:
        what was stored in the file.

    Raises:
        ExportError, ModelError: as `prepare` and `write`.
    """
    source = prepare(model, recipe, clips=clips, labels=labels, training=training, scores=scores)
    return write(source, output, mode=mode)


def write(source: Source, output: Path, *, mode: str = "window") -> Metadata | ImageMetadata:
    """Write one file in fp32; `output` is replaced only when every check has passed.

    Args:
        source: the network.
        output: the ONNX file.
        mode: `window` or `stream`; of images, `window`.

    Returns:
        what was stored in the file.

    Raises:
        ExportError: the network cannot be streamed.
        ParityError: graph and Keras disagree by more than the recipe's tolerance.
        ModelError: metadata and graph do not fit.
    """
    assembled = build(source, mode)
    with replacing(output) as temporary:
        save(assembled, temporary)
        agreement = parity(temporary, source)
        if not agreement["max_difference"] <= source.recipe.export.tolerance:
            raise ParityError(f"{source.recipe.name}: {disagreement(agreement)}; nothing was replaced")
        # Measured on the file; the one that is kept carries the figures.
        metadata = annotate(assembled, parity=agreement)
        save(assembled, temporary)
        load_model(temporary)
    return metadata


def build(
    source: Source,
    mode: str = "window",
    precision: str = "fp32",
    *,
    calibration: Sequence[np.ndarray] = (),
    on_progress: Progress = lambda what, done, total: None,
) -> ir.Model:
    """Build one variant in memory.

    Args:
        source: the network; not changed.
        mode: `window` or `stream`; of images, `window`.
        precision: `fp32`, `int8` or `fp16`; of images, `fp32`.
        calibration: for int8: windows of audio of training speakers, shape `(window_samples,)` each.
        on_progress: told what is being done, how much of it is done, and how much there is.

    Raises:
        ExportError: the network cannot be streamed, or there is nothing to calibrate on; of images, any other variant
            than `window` in `fp32`.
    """
    if isinstance(source.metadata, ImageMetadata):
        if (mode, precision) != ("window", "fp32"):
            raise ExportError(
                f"{source.recipe.name} is a network over images, which has one variant: a graph in fp32"
            )
        return assemble(source.network.clone(), source.metadata)
    metadata = dataclasses.replace(source.metadata, mode=mode, precision=precision)
    network, states = source.network.clone(), []
    if mode == "stream":
        network, states = stream(network, step_frames=metadata.step_samples // metadata.features.hop_samples)
        metadata = dataclasses.replace(metadata, states=tuple(states))
    if precision == "int8":
        if not len(calibration):
            raise ExportError(
                "int8 is calibrated on clips of training speakers; give --data with the recipe's corpora"
            )
        batches = _batches(network, states, FrontEnd(source.recipe.features)(np.stack(calibration)))
        on_progress(f"choosing int8 operators, {metadata.variant}", 0, 1)
        choice = choose_float(as_model(network), batches)
        on_progress(f"choosing int8 operators, {metadata.variant}", 1, 1)
        network = choice.model.graph
        metadata = dataclasses.replace(
            metadata, quantization={"keep_float": list(choice.keep_float), "network_ms": choice.latency_ms}
        )
    elif precision == "fp16":
        network = half(as_model(network)).graph
    return assemble(network, metadata)


def parity(path: Path, source: Source) -> dict[str, Any]:
    """How far a file is from Keras on the source's inputs; a stream starts each of them from zero states.

    Returns:
        plain values: the reference, `max_difference` and `mean_difference` of a probability, the tolerance in fp32,
        the source's counts, and `same_label`, the share of inputs with Keras' label.
    """
    model = load_model(path)
    if isinstance(model, ImageModel) or model.metadata.mode == "window":
        found = np.stack([model.predict(given) for given in source.inputs])
    else:
        found = np.stack([stream_probabilities(model, window) for window in source.inputs])
    difference = np.abs(found - source.expected)
    return {
        "reference": source.reference,
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "tolerance": source.recipe.export.tolerance,
        **source.counts,
        "same_label": float((found.argmax(axis=1) == source.expected.argmax(axis=1)).mean()),
    }


def stream_probabilities(model: EmotionModel, audio: np.ndarray) -> np.ndarray:
    """What a stream graph says at the end of `audio`, shape `(n_samples,)` of whole steps, from zero states on."""
    m = model.metadata
    states = {state.name: np.zeros(state.shape, np.float32) for state in m.states}
    names = ["probabilities", *(state.next_name for state in m.states)]
    for step in audio.reshape(-1, 1, m.step_samples):
        probabilities, *following = model.session.run(names, {"audio": step, **states})
        states = dict(zip(states, following, strict=True))
    return probabilities[0]


def disagreement(agreement: dict[str, Any]) -> str:
    """One line on a parity that broke."""
    inputs = f"{agreement['n_images']} images" if "n_images" in agreement else f"{agreement['n_clips']} clips"
    return (
        f"the ONNX graph differs from {agreement['reference']} by up to {agreement['max_difference']:.2g} in "
        f"probability on {inputs}, more than the tolerance of {agreement['tolerance']:g}"
    )


def annotate(model: ir.Model, **changes: Any) -> Metadata | ImageMetadata:
    """Change fields of the metadata inside a model."""
    metadata = read_metadata(model.metadata_props[KEY], source="the exported model")
    metadata = dataclasses.replace(metadata, **changes)
    model.metadata_props[KEY] = metadata.to_json()
    return metadata


def _batches(network: ir.Graph, states: Sequence[State], features: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Inputs to calibrate on: whole windows, or their successive steps with the states that belong to them."""
    name, *_ = (value.name for value in network.inputs)
    if not states:
        return [{name: window[np.newaxis]} for window in features]
    session = open_session(as_model(network))
    n_frames = int(network.inputs[0].shape[1])
    batches = []
    for window in features:
        carried = {state.name: np.zeros(state.shape, np.float32) for state in states}
        for step in window.reshape(-1, n_frames, window.shape[1]):
            batches.append({name: step[np.newaxis], **carried})
            _, *following = session.run(None, batches[-1])
            carried = dict(zip(carried, following, strict=True))
    return batches


def _keras_probabilities(model: keras.Model, features: np.ndarray) -> np.ndarray:
    if len(model.input_shape) == 4:
        features = features[..., np.newaxis]
    return model.predict(features, batch_size=32, verbose=0)


def _check_probabilities(name: str, probabilities: np.ndarray) -> None:
    sums = probabilities.sum(axis=1)
    if not np.allclose(sums, 1, atol=1e-3) or probabilities.min() < 0:
        raise ExportError(
            f"{name} does not give probabilities (they sum to {sums.min():.3g} to {sums.max():.3g}); "
            "end it with a softmax"
        )
