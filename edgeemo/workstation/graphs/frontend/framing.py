"""From audio to frames: where they are, what is done to their samples, and the window function."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeemo.features import Features
from edgeemo.workstation.graphs.frontend.transform import cosine_table
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.past import END, Past

_MODES = {"centre_zero": "constant", "centre_reflect": "reflect"}


def add_frames(nodes: Nodes, audio: ir.Value, features: Features, past: Past) -> ir.Value:
    """Overlapping frames of audio, shape `(n_clips, n_frames, frame_samples)`.

    They are cut as runs of whole blocks, a block being the longest stretch that divides both frame and hop.

    Args:
        nodes: records the nodes and constants.
        audio: shape `(n_clips, n_samples)`.
        features: front-end settings.
        past: what came before `audio`, where frames are causal.
    """
    n, hop = features.frame_samples, features.hop_samples
    block = math.gcd(n, hop)
    n_samples = nodes("Gather", nodes("Shape", audio), nodes.ints([1]))
    if features.spare_samples:
        n_samples = nodes("Add", n_samples, nodes.ints([features.spare_samples]))
    n_frames = nodes("Squeeze", nodes("Div", n_samples, nodes.ints([hop])))
    if features.framing == "causal":
        padded = _with_past(nodes, audio, features, past)
    else:
        padded = _padded(nodes, audio, n_frames, features)
    blocks = nodes("Reshape", padded, nodes.ints([0, -1, block]))
    first = nodes("Mul", nodes.range(n_frames), nodes.ints([hop // block]))
    wanted = nodes("Add", nodes("Unsqueeze", first, nodes.ints([1])), nodes.range(n // block))
    return nodes("Reshape", nodes("Gather", blocks, wanted, axis=1), nodes.ints([0, 0, n]))


def _with_past(nodes: Nodes, audio: ir.Value, features: Features, past: Past) -> ir.Value:
    """The samples of all causal frames."""
    before = features.frame_samples - features.hop_samples
    if not (features.preemphasis and features.preemphasis_of == "signal"):
        return past(nodes, audio, before, 1, "samples before the first frame's hop")
    audio = past(nodes, audio, before + 1, 1, "samples before the first frame's hop")
    return _less_the_one_before(nodes, nodes("Cast", audio, to=ir.DataType.DOUBLE), 1, features.preemphasis)


def _padded(nodes: Nodes, audio: ir.Value, n_frames: ir.Value, features: Features) -> ir.Value:
    """The samples of all frames of a window, which has edges."""
    if features.preemphasis and features.preemphasis_of == "signal":
        audio = nodes("Cast", audio, to=ir.DataType.DOUBLE)
        rest = _less_the_one_before(nodes, audio, 1, features.preemphasis)
        # librosa goes on straight before the first sample, and adds that to it.
        first, second = (_part(nodes, audio, 1, i, i + 1) for i in (0, 1))
        first = nodes("Sub", nodes("Mul", first, nodes("CastLike", nodes.floats(3.0), first)), second)
        audio = nodes("Concat", first, rest, axis=1)
    start, n, hop = features.first_sample, features.frame_samples, features.hop_samples
    if features.framing == "mirror_edges":
        audio = _mirrored(nodes, audio, -start, n - n // 2)
        start = 0
    if features.framing in _MODES:
        behind = max(n + start, 0)  # the last frame begins so many samples before the end, or earlier
        pads = nodes.ints([0, max(-start, 0), 0, behind])
        audio = nodes("Pad", audio, pads, mode=_MODES[features.framing], name="edges")
        start = max(start, 0)
    end = nodes(
        "Add",
        nodes("Mul", nodes("Unsqueeze", n_frames, nodes.ints([0])), nodes.ints([hop])),
        nodes.ints([start + n - hop]),
    )
    return nodes("Slice", audio, nodes.ints([start]), end, nodes.ints([1]))


def _mirrored(nodes: Nodes, audio: ir.Value, before: int, behind: int) -> ir.Value:
    """With so many samples in front and behind, mirrored, the first and the last one twice."""

    def backwards(start: int, end: int) -> ir.Value:
        return nodes("Slice", audio, *(nodes.ints([n]) for n in (start, end, 1, -1)))

    edges = [backwards(before - 1, -END)] if before else []
    return nodes("Concat", *edges, audio, backwards(-1, -behind - 1), axis=1)


def add_window_function(nodes: Nodes, frames: ir.Value, features: Features) -> ir.Value:
    """Frames as they are transformed, in double precision, shape `(n_clips, n_frames, n_fft)`.

    Args:
        nodes: records the nodes and constants.
        frames: of `add_frames`.
        features: front-end settings.
    """
    n = features.frame_samples
    if (n, features.window_function, features.window_symmetric, features.scale) == (
        features.n_fft,
        "hann",
        False,
        1.0,
    ):
        half = nodes.floats(0.5, np.float64)  # of the DFT's own table: nothing more is stored
        window = nodes("Sub", half, nodes("Mul", half, cosine_table(nodes, n)))
    else:
        window = nodes.floats(features.scale * window_values(features), np.float64)
    frames = nodes("Cast", frames, to=ir.DataType.DOUBLE)
    if features.remove_mean:
        frames = nodes("Sub", frames, nodes("ReduceMean", frames, nodes.ints([2])))
    if features.preemphasis and features.preemphasis_of == "frame":
        before = nodes("Concat", _part(nodes, frames, 2, 0, 1), _part(nodes, frames, 2, 0, -1), axis=2)
        frames = _difference(nodes, frames, before, features.preemphasis)
    frames = nodes("Mul", frames, window)
    if n < features.n_fft:  # where the zeros are changes the phase alone
        frames = nodes("Pad", frames, nodes.ints([0, 0, 0, 0, 0, features.n_fft - n]), name="filled_up")
    return frames


def window_values(features: Features) -> npt.NDArray[np.float64]:
    """The window function, shape `(frame_samples,)`."""
    n, name = features.frame_samples, features.window_function
    symmetric = features.window_symmetric or name == "povey"
    turn = 2 * np.pi * np.arange(n) / max(n - symmetric, 1)
    if name == "hamming":
        return np.asarray(0.54 - 0.46 * np.cos(turn))
    if name == "blackman":
        return np.asarray(0.42 - 0.5 * np.cos(turn) + 0.08 * np.cos(2 * turn))
    if name == "rectangular":
        return np.ones(n)
    hann = np.maximum(0.5 - 0.5 * np.cos(turn), 0.0)
    return np.asarray(hann**0.85 if name == "povey" else hann)


def _less_the_one_before(nodes: Nodes, value: ir.Value, axis: int, share: float) -> ir.Value:
    """One position shorter."""
    return _difference(nodes, _part(nodes, value, axis, 1, END), _part(nodes, value, axis, 0, -1), share)


def _difference(nodes: Nodes, value: ir.Value, before: ir.Value, share: float) -> ir.Value:
    return nodes("Sub", value, nodes("Mul", before, nodes.floats(share, np.float64)))


def _part(nodes: Nodes, value: ir.Value, axis: int, start: int, end: int) -> ir.Value:
    return nodes("Slice", value, nodes.ints([start]), nodes.ints([end]), nodes.ints([axis]))
