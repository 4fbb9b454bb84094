"""From mel power to what a network hears of it: logarithms, and PCEN."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeemo.features import Features
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.past import END, Past


def add_compression(nodes: Nodes, bands: ir.Value, features: Features, past: Past) -> ir.Value:
    """Compressed bands, shape `(n_clips, n_frames, n_mels)`.

    Args:
        nodes: records the nodes and constants.
        bands: power or magnitude, of that shape.
        features: front-end settings.
        past: what came before.
    """
    if features.compression == "none":
        return bands
    if features.compression == "pcen":
        return _pcen(nodes, bands, features, past)
    if features.offset:
        bands = nodes("Add", bands, nodes.floats(features.offset))
    unit = _unit(features)
    compressed = logarithm(nodes, bands, smallest=features.amin, times=unit)
    if features.ref_max:
        compressed = nodes("Sub", compressed, _largest(nodes, compressed))
    if features.top_db:
        # As many dB of power: of magnitudes 20 log10.
        below = features.top_db * unit * np.log(10) / (10 if features.power == 2 else 20)
        least = nodes("Sub", _largest(nodes, compressed), nodes.floats(below))
        compressed = nodes("Max", compressed, least)
    return compressed


def logarithm(nodes: Nodes, power: ir.Value, *, smallest: float, times: float = 10 / np.log(10)) -> ir.Value:
    """`times` the natural logarithm of what is at least `smallest`; by default dB of power."""
    floored = nodes("Max", power, nodes.floats(smallest))
    log = nodes("Log", floored)
    return log if times == 1 else nodes("Mul", log, nodes.floats(times))


def _unit(features: Features) -> float:
    """What a natural logarithm is multiplied by."""
    db = (10 if features.power == 2 else 20) / np.log(10)
    return float({"decibel": db, "log10": 1 / np.log(10), "ln": 1.0}[features.compression])


def _largest(nodes: Nodes, bands: ir.Value) -> ir.Value:
    """The largest value of each window, shape `(n_clips, 1, 1)`."""
    return nodes("ReduceMax", bands, nodes.ints([1, 2]))


def _pcen(nodes: Nodes, bands: ir.Value, features: Features, past: Past) -> ir.Value:
    """Per-channel energy normalisation (Wang et al. 2017), as `librosa.pcen`.

    Each band is divided by its smoothed past, `M[t] = (1 - s) M[t - 1] + s E[t]`, which begins as 1. Unrolled,
    without a loop: `M[t] = (1 - s)^(t + 1) (M[-1] + sum of s E[k] / (1 - s)^(k + 1))`, in double precision.
    `M - 1` is carried, so that zeros are the start.
    """
    double = ir.DataType.DOUBLE

    def number(value: float) -> ir.Value:
        return nodes.floats(value, np.float64)

    share = _smoothing(features)
    time = nodes.ints(1)
    energy = nodes("Cast", bands, to=double)
    carried = past.recall(nodes, (1, 1, features.n_mels), "bands' smoothed energy", lasting=False)
    before = nodes("Add", nodes("Cast", carried, to=double), number(1.0))

    n_frames = nodes("Squeeze", nodes("Gather", nodes("Shape", bands), nodes.ints([1])))
    frame = nodes("Cast", nodes("Add", nodes.range(n_frames), nodes.ints(1)), to=double)
    kept = nodes("Exp", nodes("Mul", frame, number(np.log1p(-share))))
    kept = nodes("Unsqueeze", kept, nodes.ints([1]))
    joined = nodes("CumSum", nodes("Div", nodes("Mul", energy, number(share)), kept), time)
    smooth = nodes("Mul", kept, nodes("Add", before, joined))
    latest = nodes("Slice", smooth, nodes.ints([-1]), nodes.ints([END]), nodes.ints([1]))
    past.carry(carried, nodes("Cast", nodes("Sub", latest, number(1.0)), to=ir.DataType.FLOAT))

    gain = nodes("Pow", nodes("Add", smooth, number(features.pcen_eps)), number(-features.pcen_gain))
    louder = nodes("Add", nodes("Mul", energy, gain), number(features.pcen_bias))
    power = features.pcen_power
    rooted = nodes("Sub", nodes("Pow", louder, number(power)), number(features.pcen_bias**power))
    return nodes("Cast", rooted, to=ir.DataType.FLOAT)


def _smoothing(features: Features) -> float:
    """The share of a new frame in a band's smoothed energy."""
    frames = features.pcen_time_s * features.sample_rate / features.hop_samples
    return float((np.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2))
