"""Making features independent of the microphone, the line and the room: running peak and running mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeemo.features import Features
from edgeemo.workstation.graphs.frontend.compression import logarithm
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.past import END, Past

Frames = tuple[int | ir.SymbolicDim | str, int | str]
"""How many clips and how many frames, as far as that is known."""


@dataclass(frozen=True)
class Heard:
    """What the front end makes of audio.

    Attributes:
        features: shape `(n_clips, n_frames, n_columns)`.
        voiced: 1 where a frame is voiced, 0 elsewhere, shape `(n_clips, n_frames, 1)`; None without a level. With a
            running mean, it is the last column of the features.
    """

    features: ir.Value
    voiced: ir.Value | None = None


def add_levelling(
    nodes: Nodes, power: ir.Value, logmel: ir.Value, frames: Frames, features: Features, past: Past
) -> Heard:
    """Make mel bands relative to what `features.level` says.

    Args:
        nodes: records the nodes and constants.
        power: mel power, shape `(n_clips, n_frames, n_mels)`.
        logmel: the same in dB; without a level, whatever the bands were compressed to.
        frames: how many there are.
        features: front-end settings.
        past: what came before.
    """
    if features.level == "none":
        return Heard(logmel)
    level = _level(nodes, power, features)
    peak = _running_peak(nodes, level, frames, features, past)
    peak_db = nodes("Add", peak, nodes.floats(features.level_floor_db))
    relative = nodes("Max", nodes("Sub", logmel, peak_db), nodes.floats(-features.range_db))
    voiced = _voiced(nodes, level, peak, features)
    if features.level == "running_peak":
        return Heard(relative, voiced)
    bands = nodes("Sub", relative, _running_mean(nodes, relative, voiced, features, past))
    return Heard(nodes("Concat", bands, voiced, axis=2), voiced)


def _level(nodes: Nodes, power: ir.Value, features: Features) -> ir.Value:
    """The level of each frame in dB above the floor, 0 below it, shape `(n_clips, n_frames)`."""
    above_floor = nodes.floats(10 ** (-features.level_floor_db / 10))
    level = nodes("Mul", nodes("ReduceMean", power, nodes.ints([2]), keepdims=0), above_floor)
    return logarithm(nodes, level, smallest=1.0)


def _running_peak(nodes: Nodes, level: ir.Value, frames: Frames, features: Features, past: Past) -> ir.Value:
    """The level of the loudest recent frame, shape `(n_clips, n_frames, 1)`, in dB above the floor.

    Levels are carried like that, so that zeros mean that there was no earlier frame.
    """
    level = nodes("Unsqueeze", level, nodes.ints([1]))
    level.type, level.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape((frames[0], 1, frames[1]))
    level = past(nodes, level, features.level_frames - 1, 2, "frames' levels")
    peak = nodes("MaxPool", level, name="running_peak", kernel_shape=[features.level_frames])
    return nodes("Transpose", peak, perm=[0, 2, 1])


def _voiced(nodes: Nodes, level: ir.Value, peak: ir.Value, features: Features) -> ir.Value:
    """Whether each frame is voiced, as 1 or 0, shape `(n_clips, n_frames, 1)`."""
    # Above the floor too: silence, before which there is no peak, is not voiced.
    threshold = nodes("Max", nodes("Sub", peak, nodes.floats(features.voiced_db)), nodes.floats(0.0))
    louder = nodes("Greater", nodes("Unsqueeze", level, nodes.ints([2])), threshold)
    return nodes("Cast", louder, to=ir.DataType.FLOAT)


def _running_mean(
    nodes: Nodes, relative: ir.Value, voiced: ir.Value, features: Features, past: Past
) -> ir.Value:
    """Each band's mean over the voiced frames so far, shape `(n_clips, n_frames, n_mels)`.

    Voiced frame `t` moves the mean by the share `g[t] = max(1 / n, 1 / (count + 1))` of the way: a plain mean of what
    was heard, with what it starts from, until that is `n = mean_s` long, and one that fades from then on. Unrolled,
    without a loop: with `G[t]` the product of `1 - g` up to `t`, it is `G[t] (start + sum of g[k] x[k] / G[k])`. The
    products of half an hour lie within double precision; a stream starts its own in every step.

    Mean and count are carried less what they start from, so that zeros are the start.
    """
    per_s = features.sample_rate / features.hop_samples
    longest, at_start = features.mean_s * per_s, features.mean_start_s * per_s
    time = nodes.ints(1)
    heard = past.recall(nodes, (1, 1, 1), "voiced frames heard")
    count = nodes(
        "Add", nodes("CumSum", voiced, time, exclusive=1), nodes("Add", heard, nodes.floats(at_start))
    )
    share = nodes(
        "Max", nodes("Reciprocal", nodes("Add", count, nodes.floats(1.0))), nodes.floats(1 / longest)
    )
    share = nodes("Cast", nodes("Mul", share, voiced), to=ir.DataType.DOUBLE)
    one = nodes.floats(1.0, np.float64)
    kept = nodes("Exp", nodes("CumSum", nodes("Log", nodes("Sub", one, share)), time))

    start = nodes.floats(np.broadcast_to(features.mean_start_db, (1, 1, features.n_mels)))
    moved = past.recall(nodes, (1, 1, features.n_mels), "bands' running mean")
    x = nodes("Cast", relative, to=ir.DataType.DOUBLE)
    told = nodes("CumSum", nodes("Mul", nodes("Div", share, kept), x), time)
    before = nodes("Cast", nodes("Add", start, moved), to=ir.DataType.DOUBLE)
    mean = nodes("Cast", nodes("Mul", kept, nodes("Add", before, told)), to=ir.DataType.FLOAT)

    along = nodes.ints([1])
    heard_now = nodes("Add", heard, nodes("ReduceSum", voiced, along))
    past.carry(heard, nodes("Min", heard_now, nodes.floats(longest)))
    latest = nodes("Slice", mean, nodes.ints([-1]), nodes.ints([END]), along)
    past.carry(moved, nodes("Sub", latest, start))
    return mean
