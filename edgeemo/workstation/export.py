"""A trained Keras model to one ONNX file that is known to compute the same."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import edgeemo
from edgeemo.errors import ExportError, ParityError
from edgeemo.files import replacing
from edgeemo.metadata import KEY, Metadata
from edgeemo.model import EmotionModel
from edgeemo.windows import clip_windows
from edgeemo.workstation.architectures import count_parameters
from edgeemo.workstation.graphs.assemble import assemble, save
from edgeemo.workstation.graphs.frontend import FrontEnd
from edgeemo.workstation.graphs.network import network_graph
from edgeemo.workstation.training.recipe import Recipe

_TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy")


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


def export(
    model: keras.Model,
    recipe: Recipe,
    output: Path,
    *,
    clips: Sequence[np.ndarray],
    labels: tuple[str, ...] = (),
    training: dict[str, Any] | None = None,
    scores: Sequence[dict[str, Any]] = (),
) -> Metadata:
    """Export a model; `output` is replaced only when every check has passed.

    Args:
        model: Keras, features in dB `(n_frames, n_mels)` -> probabilities.
        recipe: the features and window it was trained with.
        output: the ONNX file.
        clips: audio that both are compared on: mono float32 at the recipe's sample rate, `(n_samples,)` each.
        labels: class names, if not those of the recipe's label map.
        training: how the weights were made, for the metadata.
        scores: rows of scores, for the metadata; the headline first.

    Returns:
        what was stored in the file.

    Raises:
        ExportError: the model does not fit the recipe, or cannot be converted to native nodes.
        ParityError: graph and Keras disagree by more than the recipe's tolerance.
        ModelError: metadata and graph do not fit.
    """
    labels = labels or recipe.label_map.labels
    if len(set(labels)) < len(labels) or not all(labels):
        raise ExportError(f"labels are {', '.join(map(repr, labels))}; each must be a name, and occur once")
    graph = network_graph(
        model, n_frames=recipe.n_frames, n_mels=recipe.features.n_mels, n_labels=len(labels)
    )
    windows = np.concatenate([clip_windows(clip, recipe.window_samples) for clip in clips])
    expected = _keras_probabilities(model, recipe, windows)
    metadata = Metadata(
        name=recipe.name,
        summary=recipe.summary,
        labels=labels,
        window_samples=recipe.window_samples,
        step_samples=recipe.step_samples,
        features=recipe.features,
        n_parameters=count_parameters(model),
        licence=recipe.export.licence,
        training=training or {},
        scores=list(scores),
        tools={"edgeemo": edgeemo.__version__} | {t: importlib.metadata.version(t) for t in _TOOLS},
        # Measured on the assembled graph below; the file that is kept carries the figures.
        parity={},
    )
    assembled = assemble(graph, metadata)
    with replacing(output) as temporary:
        save(assembled, temporary)
        metadata = _with_parity(metadata, temporary, windows, expected, recipe, n_clips=len(clips))
        assembled.metadata_props[KEY] = metadata.to_json()
        save(assembled, temporary)
        EmotionModel(temporary)
    return metadata


def _keras_probabilities(model: keras.Model, recipe: Recipe, windows: np.ndarray) -> np.ndarray:
    features = FrontEnd(recipe.features)(windows)
    if len(model.input_shape) == 4:
        features = features[..., np.newaxis]
    probabilities = model.predict(features, batch_size=32, verbose=0)
    sums = probabilities.sum(axis=1)
    if not np.allclose(sums, 1, atol=1e-3) or probabilities.min() < 0:
        raise ExportError(
            f"{model.name} does not give probabilities (they sum to {sums.min():.3g} to {sums.max():.3g}); "
            "end it with a softmax"
        )
    return probabilities


def _with_parity(
    metadata: Metadata,
    path: Path,
    windows: np.ndarray,
    expected: np.ndarray,
    recipe: Recipe,
    *,
    n_clips: int,
) -> Metadata:
    model = EmotionModel(path)
    found = np.stack([model.predict(window) for window in windows])
    difference = np.abs(found - expected)
    worst = float(difference.max())
    tolerance = recipe.export.tolerance
    if not worst <= tolerance:
        raise ParityError(
            f"{recipe.name}: the ONNX graph differs from Keras by up to {worst:.2g} in probability on {n_clips} "
            f"clips, more than the tolerance of {tolerance:g}; nothing was replaced"
        )
    return dataclasses.replace(
        metadata,
        parity={
            "reference": "Keras",
            "max_difference": worst,
            "mean_difference": float(difference.mean()),
            "tolerance": tolerance,
            "n_clips": n_clips,
            "n_windows": len(windows),
            "same_label": float((found.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        },
    )
