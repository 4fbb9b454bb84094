"""One variant of a network as one file, checked before it replaces anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from edgeemo.answer import Judgement
from edgeemo.errors import ParityError
from edgeemo.evidence import ScoreRow, Training
from edgeemo.files import replacing
from edgeemo.images import load_model
from edgeemo.metadata import ImageMetadata, Metadata, Mode
from edgeemo.workstation.export.build import annotate, build
from edgeemo.workstation.export.parity import disagreement, parity
from edgeemo.workstation.export.source import Source, prepare
from edgeemo.workstation.graphs.assemble import save
from edgeemo.workstation.training.recipe import Recipe


def export(
    model: keras.Model | Path,
    recipe: Recipe,
    output: Path,
    *,
    mode: Mode = Mode.WINDOW,
    clips: Sequence[np.ndarray],
    labels: tuple[str, ...] = (),
    training: Training | None = None,
    scores: Sequence[ScoreRow] = (),
    judgement: Judgement | None = None,
) -> Metadata | ImageMetadata:
    """`prepare` a model and `write` one file of it in fp32.

    Args:
        model, recipe, clips, labels, training, scores, judgement: see `prepare`.
        output, mode: see `write`.

    Returns:
        what was stored in the file.

    Raises:
        ExportError, ModelError: as `prepare` and `write`.
    """
    source = prepare(
        model, recipe, clips=clips, labels=labels, training=training, scores=scores, judgement=judgement
    )
    return write(source, output, mode=mode)


def write(source: Source, output: Path, *, mode: Mode = Mode.WINDOW) -> Metadata | ImageMetadata:
    """Write one file in fp32; `output` is replaced only when every check has passed.

    Args:
        source: the network.
        output: the ONNX file.
        mode: of images, `window`.

    Returns:
        what was stored in the file.

    Raises:
        ExportError: the network cannot be streamed.
        ParityError: graph and reference disagree by more than the recipe's tolerance.
        ModelError: metadata and graph do not fit.
    """
    graph = build(source, mode)
    with replacing(output) as temporary:
        save(graph, temporary)
        found = parity(load_model(temporary), source)
        if not found.max_difference <= found.tolerance:
            raise ParityError(f"{source.recipe.name}: {disagreement(found)}; nothing was replaced")
        # Measured on the file; the one that is kept carries the figures.
        metadata = annotate(graph, parity=found)
        save(graph, temporary)
        load_model(temporary)
    return metadata
