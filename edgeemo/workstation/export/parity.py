"""How far a model file is from its source."""

from __future__ import annotations

import numpy as np

from edgeemo.evidence import Parity
from edgeemo.metadata import Kind, Metadata
from edgeemo.model import Model
from edgeemo.workstation.export.source import Source
from edgeemo.workstation.graphs.walk import EXTENT


def parity(model: Model, source: Source) -> Parity:
    """Compare a loaded file with the source's reference, on the source's inputs."""
    inputs, expected = source.compared(model.metadata.mode)
    found = np.stack([probabilities(model, given) for given in inputs])
    difference = np.abs(found - expected)
    of_images = model.metadata.kind is Kind.IMAGE
    return Parity(
        reference=source.reference,
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        tolerance=source.recipe.export.tolerance,
        n_clips=None if of_images else source.n_clips,
        n_windows=None if of_images else len(source.inputs),
        n_images=len(source.inputs) if of_images else None,
        same_label=float((found.argmax(axis=1) == expected.argmax(axis=1)).mean()),
    )


def probabilities(model: Model, given: np.ndarray) -> np.ndarray:
    """What a graph says of one window or image: in one run; of a stream, in steps that begin with zero states.

    Args:
        model: a loaded file.
        given: float32; audio `(n_samples,)` of whole steps, or of a window graph one window; an image
            `(height, width)`.

    Returns:
        shape `(n_labels,)`; of a stream graph, after the last step, and the delay that it may have.
    """
    m = model.metadata
    states = m.states
    carried = {state.name: np.zeros(state.shape, np.float32) for state in states}
    if isinstance(m, Metadata) and m.delay_samples:
        carried[EXTENT][1] = len(given) // m.features.hop_samples  # where it ends, which a stream is not told
        given = np.pad(given, (0, m.delay_samples))
    names = ["probabilities", *(state.next_name for state in states)]
    step = next(value for value in model.session.get_inputs() if value.name not in carried)
    for part in given.reshape(-1, *step.shape):
        answer, *following = model.session.run(names, {step.name: part, **carried})
        carried = dict(zip(carried, following, strict=True))
    result: np.ndarray = answer[0]
    return result


def disagreement(found: Parity) -> str:
    """One line on a parity that broke."""
    return (
        f"the ONNX graph differs from {found.reference} by up to {found.max_difference:.2g} in probability on "
        f"{found.inputs}, more than the tolerance of {found.tolerance:g}"
    )
