"""Cepstral coefficients, and slopes over time."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeemo.features import Features
from edgeemo.workstation.graphs.frontend.compression import logarithm
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.past import END, Past


def add_cepstra(nodes: Nodes, bands: ir.Value, features: Features) -> ir.Value:
    """Cepstral coefficients, shape `(n_clips, n_frames, n_mfcc)`; the bands, where no coefficients are asked for."""
    if not features.n_mfcc:
        return bands
    return nodes("MatMul", bands, nodes.floats(_cosines(features)), name="mfcc")


def add_energy(nodes: Nodes, columns: ir.Value, frames: ir.Value, features: Features) -> ir.Value:
    """Columns with the energy of frames before the bands, or in place of the first coefficient; as they are without.

    Args:
        nodes: records the nodes and constants.
        columns: coefficients or bands, shape `(n_clips, n_frames, n)`.
        frames: of audio, shape `(n_clips, n_frames, frame_samples)`.
        features: front-end settings.
    """
    if not features.energy:
        return columns
    frames = nodes("Cast", frames, to=ir.DataType.DOUBLE)
    if features.remove_mean:
        frames = nodes("Sub", frames, nodes("ReduceMean", frames, nodes.ints([2])))
    scaled = nodes("Mul", frames, nodes.floats(features.scale, np.float64))
    energy = nodes("Cast", nodes("ReduceSumSquare", scaled, nodes.ints([2])), to=ir.DataType.FLOAT)
    if features.n_mfcc:
        columns = nodes("Slice", columns, nodes.ints([1]), nodes.ints([END]), nodes.ints([2]))
    return nodes("Concat", logarithm(nodes, energy, smallest=features.amin, times=1), columns, axis=2)


def _cosines(features: Features) -> npt.NDArray[np.float64]:
    """The orthonormal DCT-II with its lifter, shape `(n_mels, n_mfcc)`."""
    n, k = features.n_mels, np.arange(features.n_mfcc)
    cosines = np.cos(np.pi * (np.arange(n)[:, np.newaxis] + 0.5) * k / n) * np.where(
        k, np.sqrt(2 / n), np.sqrt(1 / n)
    )
    if features.lifter:
        cosines *= 1 + features.lifter / 2 * np.sin(np.pi * (k + features.lifter_first) / features.lifter)
    return np.asarray(cosines)


def add_deltas(nodes: Nodes, columns: ir.Value, shape: ir.Shape, features: Features, past: Past) -> ir.Value:
    """The columns, and their slopes beside them, shape `(n_clips, n_frames, n_columns)`.

    A window's edges are as the library has them. Where frames are causal, all comes `delta_frames` frames later.

    Args:
        nodes: records the nodes and constants.
        columns: shape `(n_clips, n_frames, n)`.
        shape: that shape, as far as it is known.
        features: front-end settings.
        past: what came before, where frames are causal.
    """
    if not features.deltas:
        return columns
    half, late = features.delta_width // 2, features.delta_frames
    causal = features.framing == "causal"
    if causal:
        columns.type, columns.shape = ir.TensorType(ir.DataType.FLOAT), shape
        columns = past(nodes, columns, 2 * late, 1, "frames that slopes are taken over")

    def slope(values: ir.Value, order: int) -> ir.Value:
        """So many frames fewer as a slope is taken over, less one, or as many with a window's edges."""
        kernel = nodes.floats(slope_weights(features.delta_width, order).reshape(1, 1, -1, 1))
        images = nodes("Unsqueeze", values, nodes.ints([1]))
        return nodes("Squeeze", nodes("Conv", images, kernel, name="slope"), nodes.ints([1]))

    def with_edges(values: ir.Value) -> ir.Value:
        return nodes("Pad", values, nodes.ints([0, half, 0, 0, half, 0]), mode="edge")

    def without(values: ir.Value, n: int) -> ir.Value:
        """Less `n` frames at the start and at the end."""
        bounds = nodes.ints([n]), nodes.ints([-n if n else END]), nodes.ints([1])
        return nodes("Slice", values, *bounds)

    found = [columns]
    for order in range(1, features.deltas + 1):
        if features.delta_method == "librosa":
            slopes = slope(columns, order)
            found.append(slopes if causal else with_edges(slopes))
        else:
            found.append(slope(found[-1] if causal else with_edges(found[-1]), 1))
    if causal:
        # Each slope is `half` frames shorter at either end than what it was taken over.
        shorter = [0, half, half if features.delta_method == "librosa" else 2 * half]
        found = [without(values, late - by) for values, by in zip(found, shorter, strict=False)]
    return nodes("Concat", *found, axis=2)


def slope_weights(width: int, order: int) -> npt.NDArray[np.float64]:
    """What frames weigh in the `order`-th derivative of the polynomial of that order that fits them best.

    For the first that is the regression formula too: `sum of k x[t + k] / sum of k^2`.
    """
    offsets = np.arange(width) - width // 2
    powers = offsets[:, np.newaxis] ** np.arange(order + 1).astype(np.float64)
    return np.asarray(math.factorial(order) * np.linalg.pinv(powers)[order])
