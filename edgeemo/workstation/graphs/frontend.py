"""The log-mel front end as standard ONNX operators, raw PCM in.

The graph holds no DFT matrix and no mel matrix: together they take over a megabyte, more than most of the networks
that they feed. It holds a cosine table and the edges of the mel bands, and a few operators that compute the matrices
from these; onnxruntime does that once, when it loads the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeemo.metadata import Features
from edgeemo.session import session_options
from edgeemo.workstation.graphs.editing import OPSET, as_model, open_session
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.past import END, Past, Zeros

PREFIX = "frontend/"
_AMIN = 1e-10  # librosa.power_to_db's floor: -100 dB


class FrontEnd:
    """The front-end graph, loaded: what training and tests compute features with.

    Args:
        features: front-end settings.
        n_threads: onnxruntime threads.
    """

    def __init__(self, features: Features, *, n_threads: int = 1) -> None:
        self.features = features
        self._session = open_session(frontend_model(features), session_options(n_threads))

    def __call__(self, audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Compute features.

        Args:
            audio: mono float32, shape `(n_clips, n_samples)`, at least one hop long.

        Returns:
            dB, float32, shape `(n_clips, n_samples // hop_samples, n_mels)`; samples after the last whole hop are
            left out.
        """
        audio = audio[:, : audio.shape[1] // self.features.hop_samples * self.features.hop_samples]
        # Clip by clip: the frames of a batch, in double precision, would not fit the processor's cache.
        return np.concatenate([self._session.run(None, {"audio": clip[np.newaxis]})[0] for clip in audio])


class Levelling:
    """The front end's last stage, loaded: from mel power to features, by the same nodes.

    Args:
        features: front-end settings.
    """

    def __init__(self, features: Features) -> None:
        self._session = open_session(levelling_model(features), session_options(1))

    def __call__(self, power: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Compute features.

        Args:
            power: of one clip, shape `(n_frames, n_mels)`.

        Returns:
            dB, float32, shape `(n_frames, n_columns)`.
        """
        features: npt.NDArray[np.float32] = self._session.run(None, {"power": power[np.newaxis]})[0][0]
        return features


def frontend_model(features: Features) -> ir.Model:
    """The front end alone: `audio (n_clips, n_samples)` -> `features (n_clips, n_frames, n_mels)`."""
    audio = ir.val("audio", dtype=ir.DataType.FLOAT, shape=("n_clips", "n_samples"))
    nodes = Nodes(PREFIX)
    return _alone(nodes, audio, add_frontend(nodes, audio, features, Zeros()).features, features)


def levelling_model(features: Features) -> ir.Model:
    """Its last stage alone: `power (n_clips, n_frames, n_mels)` -> `features`, of the same shape."""
    power = ir.val("power", dtype=ir.DataType.FLOAT, shape=("n_clips", "n_frames", features.n_mels))
    nodes = Nodes(PREFIX)
    heard = _add_levelling(nodes, power, ir.Shape(("n_clips", 1, "n_frames")), features, Zeros())
    return _alone(nodes, power, heard.features, features)


def _alone(nodes: Nodes, given: ir.Value, output: ir.Value, features: Features) -> ir.Model:
    output.name = "features"
    output.type, output.shape = given.type, ir.Shape(("n_clips", "n_frames", features.n_columns))
    graph = ir.Graph(
        [given],
        [output],
        nodes=nodes.tape.nodes,
        initializers=nodes.tape.initializers,
        opset_imports={"": OPSET},
        name="frontend",
    )
    return as_model(graph)


@dataclass(frozen=True)
class Heard:
    """What the front end makes of audio.

    Attributes:
        features: log-mel in dB, shape `(n_clips, n_frames, n_columns)`.
        voiced: 1 where a frame is voiced, 0 elsewhere, shape `(n_clips, n_frames, 1)`; None without a running mean,
            else the last column of the features.
    """

    features: ir.Value
    voiced: ir.Value | None = None


def add_frontend(nodes: Nodes, audio: ir.Value, features: Features, past: Past) -> Heard:
    """Add the front end's nodes.

    Args:
        nodes: records the nodes and constants.
        audio: shape `(n_clips, n_samples)`.
        features: front-end settings.
        past: what came before `audio`.
    """
    transform = _Transform(features)
    spectrum = transform.add(nodes, _frames(nodes, audio, features, past))
    # Real and imaginary squares meet the same mel weights: their sum is part of the product.
    squares = nodes("Cast", nodes("Mul", spectrum, spectrum), to=ir.DataType.FLOAT)
    weights = _mel_weights(nodes, features, transform.bins)
    weights = nodes("Reshape", nodes("Concat", weights, weights, axis=1), nodes.ints([-1, features.n_mels]))
    by_frame = nodes("Reshape", nodes("Transpose", squares, perm=[1, 2, 0, 3]), nodes.ints([0, 0, -1]))
    power = nodes("MatMul", by_frame, weights, name="mel")
    return _add_levelling(nodes, power, _levels_shape(audio, features), features, past)


def _add_levelling(
    nodes: Nodes, power: ir.Value, levels_shape: ir.Shape, features: Features, past: Past
) -> Heard:
    """From mel power to dB, relative to what `features.level` says; both of shape `(n_clips, n_frames, n_mels)`."""
    logmel = _decibel(nodes, power)
    if features.level == "none":
        return Heard(logmel)
    level = _level(nodes, power, features)
    peak = _running_peak(nodes, level, levels_shape, features, past)
    peak_db = nodes("Add", peak, nodes.floats(features.level_floor_db))
    relative = nodes("Max", nodes("Sub", logmel, peak_db), nodes.floats(-features.range_db))
    if features.level == "running_peak":
        return Heard(relative)
    voiced = _voiced(nodes, level, peak, features)
    bands = nodes("Sub", relative, _running_mean(nodes, relative, voiced, features, past))
    return Heard(nodes("Concat", bands, voiced, axis=2), voiced)


def _frames(nodes: Nodes, audio: ir.Value, features: Features, past: Past) -> ir.Value:
    """Overlapping Hann-windowed frames in double precision, shape `(n_clips, n_frames, n_fft)`.

    They are cut as runs of whole blocks, a block being the longest stretch that divides both frame and hop.
    """
    n, hop = features.n_fft, features.hop_samples
    block = math.gcd(n, hop)
    n_samples = nodes("Gather", nodes("Shape", audio), nodes.ints([1]))
    n_frames = nodes("Squeeze", nodes("Div", n_samples, nodes.ints([hop])))
    padded = past(nodes, audio, n - hop, 1, "samples before the first frame's hop")
    blocks = nodes("Reshape", padded, nodes.ints([0, -1, block]))
    first = nodes("Mul", nodes.range(n_frames), nodes.ints([hop // block]))
    wanted = nodes("Add", nodes("Unsqueeze", first, nodes.ints([1])), nodes.range(n // block))
    frames = nodes("Reshape", nodes("Gather", blocks, wanted, axis=1), nodes.ints([0, 0, n]))
    half = nodes.floats(0.5, np.float64)
    hann = nodes("Sub", half, nodes("Mul", half, _cosine_table(nodes, n)))
    return nodes("Mul", nodes("Cast", frames, to=ir.DataType.DOUBLE), hann)


def _levels_shape(audio: ir.Value, features: Features) -> ir.Shape:
    """`(n_clips, 1, n_frames)`, as far as the shape of `audio` is known."""
    assert audio.shape is not None
    n_clips, n_samples = audio.shape
    n_frames = n_samples // features.hop_samples if isinstance(n_samples, int) else "n_frames"
    return ir.Shape((n_clips, 1, n_frames))


class _Transform:
    """The discrete Fourier transform as two matrix products (Cooley and Tukey 1965, one step).

    With `n_fft = rows * columns`, sample `n = columns * a + b` and bin `k = c + rows * d`:
    `X[k] = sum_b W^(b k) sum_a W^(columns a c) x[n]`, `W = exp(-2 pi i / n_fft)`. The first product sums over `a`,
    the second over `b`, for each `c`. Audio is real, so `c` up to `rows / 2` gives every bin or its complex
    conjugate, which has the same power. This takes a tenth of the arithmetic of a full DFT matrix, and is done in
    double precision: in single precision, bands 70 dB below a frame's peak are off by more than 1e-4 dB.
    """

    def __init__(self, features: Features) -> None:
        n = features.n_fft
        self.n = n
        self.rows = max(r for r in range(2, n, 2) if n % r == 0 and r * r <= 2 * n)
        self.columns = n // self.rows
        c = np.arange(self.rows // 2 + 1)[:, np.newaxis]
        k = c + self.rows * np.arange(self.columns)
        # c = 0 and c = rows / 2 give some bins twice; above n_fft / 2 the second has no mel weight
        self.bins = np.where((c > 0) & (2 * c < self.rows), np.minimum(k, n - k), k)

    def add(self, nodes: Nodes, frames: ir.Value) -> ir.Value:
        """From frames to their spectrum, `(rows / 2 + 1, n_clips, n_frames, 2 * columns)`: real, then imaginary."""
        table = _cosine_table(nodes, self.n)
        a, b = nodes.range(self.rows), nodes.range(self.columns)
        c = nodes("Unsqueeze", nodes.range(self.rows // 2 + 1), nodes.ints([1]))

        phase = nodes("Mul", c, nodes("Mul", a, nodes.ints([self.columns])))
        first = nodes(
            "Concat",
            nodes("Unsqueeze", self._cosine(nodes, table, phase), nodes.ints([1])),
            nodes("Unsqueeze", self._minus_sine(nodes, table, phase), nodes.ints([1])),
            axis=1,
        )
        first = nodes("Reshape", first, nodes.ints([-1, self.rows]))
        frames = nodes("Reshape", frames, nodes.ints([0, 0, self.rows, self.columns]))
        partial = nodes("MatMul", first, frames, name="dft_rows")
        partial = nodes("Reshape", partial, nodes.ints([0, 0, -1, 2 * self.columns]))
        partial = nodes("Transpose", partial, perm=[2, 0, 1, 3])

        bins = nodes("Add", c, nodes("Mul", b, nodes.ints([self.rows])))
        bins = nodes("Unsqueeze", bins, nodes.ints([1]))  # (rows / 2 + 1, 1, columns)
        phase = nodes("Mul", nodes("Unsqueeze", b, nodes.ints([1])), bins)
        cosine, minus_sine = self._cosine(nodes, table, phase), self._minus_sine(nodes, table, phase)
        real = nodes("Concat", cosine, minus_sine, axis=2)
        imaginary = nodes("Concat", nodes("Neg", minus_sine), cosine, axis=2)
        second = nodes("Unsqueeze", nodes("Concat", real, imaginary, axis=1), nodes.ints([1]))
        return nodes("MatMul", partial, second, name="dft_columns")

    def _cosine(self, nodes: Nodes, table: ir.Value, phase: ir.Value) -> ir.Value:
        return nodes("Gather", table, nodes("Mod", phase, nodes.ints([self.n])))

    def _minus_sine(self, nodes: Nodes, table: ir.Value, phase: ir.Value) -> ir.Value:
        return self._cosine(nodes, table, nodes("Add", phase, nodes.ints([self.n // 4])))


def mel_frequencies(n: int, low_hz: float, high_hz: float) -> npt.NDArray[np.float64]:
    """`n` frequencies in Hz, equally spaced on Slaney's mel scale, bit for bit those of `librosa.mel_frequencies`.

    librosa itself keeps compiled functions in files: it cannot be imported by a user who may write neither a home
    folder nor the installed packages.
    """
    hz_per_mel, break_hz, log_step = 200 / 3, 1000.0, np.log(6.4) / 27  # linear up to 1 kHz, then logarithmic
    break_mel = break_hz / hz_per_mel

    def mel(hz: float) -> float:
        return float(break_mel + np.log(hz / break_hz) / log_step if hz >= break_hz else hz / hz_per_mel)

    mels = np.linspace(mel(low_hz), mel(high_hz), n)
    return np.where(mels >= break_mel, break_hz * np.exp(log_step * (mels - break_mel)), hz_per_mel * mels)


def _mel_weights(nodes: Nodes, features: Features, bins: npt.NDArray[np.int64]) -> ir.Value:
    """Slaney's triangular mel filters, as `librosa.filters.mel`, from their edges.

    Returns:
        shape `(*bins.shape, n_mels)`.
    """
    edges = mel_frequencies(features.n_mels + 2, features.fmin_hz, features.fmax_hz)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    double = partial(nodes.floats, dtype=np.float64)  # the edge of a band nearly cancels a bin's frequency
    hertz = double(bins[..., np.newaxis] * (features.sample_rate / features.n_fft))
    rising = nodes("Div", nodes("Sub", hertz, double(low)), double(centre - low))
    falling = nodes("Div", nodes("Sub", double(high), hertz), double(high - centre))
    triangle = nodes("Max", nodes("Min", rising, falling), double(0.0))
    weights = nodes("Mul", triangle, double(2 / (high - low)))
    return nodes("Cast", weights, to=ir.DataType.FLOAT)


def _level(nodes: Nodes, power: ir.Value, features: Features) -> ir.Value:
    """The level of each frame in dB above the floor, 0 below it, shape `(n_clips, n_frames)`."""
    above_floor = nodes.floats(10 ** (-features.level_floor_db / 10))
    level = nodes("Mul", nodes("ReduceMean", power, nodes.ints([2]), keepdims=0), above_floor)
    return _decibel(nodes, level, smallest=1.0)


def _running_peak(
    nodes: Nodes, level: ir.Value, levels_shape: ir.Shape, features: Features, past: Past
) -> ir.Value:
    """The level of the loudest recent frame, shape `(n_clips, n_frames, 1)`, in dB above the floor.

    Levels are carried like that, so that zeros mean that there was no earlier frame.
    """
    level = nodes("Unsqueeze", level, nodes.ints([1]))
    level.type, level.shape = ir.TensorType(ir.DataType.FLOAT), levels_shape
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


def _decibel(nodes: Nodes, power: ir.Value, smallest: float = _AMIN) -> ir.Value:
    floored = nodes("Max", power, nodes.floats(smallest))
    return nodes("Mul", nodes("Log", floored), nodes.floats(10 / np.log(10)))


def _cosine_table(nodes: Nodes, n: int) -> ir.Value:
    """One turn of the cosine in `n` double-precision values."""
    return nodes.once("cosines", lambda: np.cos(2 * np.pi * np.arange(n) / n))
