"""From a spectrum to mel bands."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeemo.features import Features
from edgeemo.workstation.graphs.frontend.transform import Transform
from edgeemo.workstation.graphs.nodes import Nodes

_HZ_PER_MEL, _BREAK_HZ, _LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27  # Slaney: linear up to 1 kHz
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL


def add_mel(nodes: Nodes, spectrum: ir.Value, features: Features, transform: Transform) -> ir.Value:
    """Power, or magnitude, in mel bands, or in the bins themselves: shape `(n_clips, n_frames, n_mels)`.

    Args:
        nodes: records the nodes and constants.
        spectrum: what `transform` gave.
        features: front-end settings.
        transform: which bins that are.
    """
    squares = nodes("Mul", spectrum, spectrum)
    if features.power == 1:
        parts = nodes("Reshape", squares, nodes.ints([0, 0, 0, 2, -1]))
        squares = nodes("Sqrt", nodes("ReduceSum", parts, nodes.ints([3]), keepdims=0))
    squares = nodes("Cast", squares, to=ir.DataType.FLOAT)
    weights = _mel_weights(nodes, features, transform.bins)
    if features.power == 2:
        # Real and imaginary squares meet the same mel weights: their sum is part of the product.
        weights = nodes("Concat", weights, weights, axis=1)
    weights = nodes("Reshape", weights, nodes.ints([-1, features.n_mels]))
    by_frame = nodes("Reshape", nodes("Transpose", squares, perm=[1, 2, 0, 3]), nodes.ints([0, 0, -1]))
    return nodes("MatMul", by_frame, weights, name="mel")


def mel_frequencies(n: int, low_hz: float, high_hz: float, scale: str = "slaney") -> npt.NDArray[np.float64]:
    """`n` frequencies in Hz, equally spaced in mel, bit for bit those of `librosa.mel_frequencies` on Slaney's scale.

    librosa itself keeps compiled functions in files: it cannot be imported by a user who may write neither a home
    folder nor the installed packages.
    """
    low, high = (float(_mel(np.float64(hz), scale)) for hz in (low_hz, high_hz))
    mels = np.linspace(low, high, n)
    if scale != "slaney":
        return np.asarray(700.0 * (10.0 ** (mels / 2595.0) - 1.0))
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mels - _BREAK_MEL))
    return np.where(mels >= _BREAK_MEL, above, _HZ_PER_MEL * mels)


def _mel(hz: npt.ArrayLike, scale: str) -> npt.NDArray[np.float64]:
    hz = np.asarray(hz, np.float64)
    if scale != "slaney":
        return np.asarray(2595.0 * np.log10(1.0 + hz / 700.0))
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz >= _BREAK_HZ, above, hz / _HZ_PER_MEL)


def _mel_weights(nodes: Nodes, features: Features, bins: npt.NDArray[np.int64]) -> ir.Value:
    """Triangular mel filters, as `librosa.filters.mel`, from their edges; of a linear scale, one bin each.

    Returns:
        shape `(*bins.shape, n_mels)`.
    """
    scale = features.mel_scale
    if scale == "linear":
        same = nodes("Equal", nodes.ints(bins[..., np.newaxis]), nodes.range(features.n_mels))
        return nodes("Cast", same, to=ir.DataType.FLOAT)
    edges = mel_frequencies(features.n_mels + 2, features.fmin_hz, features.fmax_hz, scale)
    place = bins[..., np.newaxis] * (features.sample_rate / features.n_fft)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    height = 2 / (high - low) if features.mel_norm == "slaney" else None
    if scale == "kaldi":
        place = _mel(place, scale)
        low, centre, high = (_mel(hz, scale) for hz in (low, centre, high))
    double = partial(nodes.floats, dtype=np.float64)  # the edge of a band nearly cancels a bin's frequency
    hertz = double(place)
    rising = nodes("Div", nodes("Sub", hertz, double(low)), double(centre - low))
    falling = nodes("Div", nodes("Sub", double(high), hertz), double(high - centre))
    weights = nodes("Max", nodes("Min", rising, falling), double(0.0))
    if height is not None:
        weights = nodes("Mul", weights, double(height))
    return nodes("Cast", weights, to=ir.DataType.FLOAT)
