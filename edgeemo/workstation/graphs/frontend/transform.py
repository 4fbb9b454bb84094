"""From frames to their spectrum."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeemo.features import Features, split_size
from edgeemo.workstation.graphs.nodes import Nodes


class Transform:
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
        self.rows = split_size(n)
        self.columns = n // self.rows
        c = np.arange(self.rows // 2 + 1)[:, np.newaxis]
        k = c + self.rows * np.arange(self.columns)
        # c = 0 and c = rows / 2 give some bins twice; above n_fft / 2 the second has no mel weight
        self.bins = np.where((c > 0) & (2 * c < self.rows), np.minimum(k, n - k), k)

    def add(self, nodes: Nodes, frames: ir.Value) -> ir.Value:
        """From frames to their spectrum, `(rows / 2 + 1, n_clips, n_frames, 2 * columns)`: real, then imaginary."""
        table = cosine_table(nodes, self.n)
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
        if self.n % 4:  # no whole number of samples is a quarter of a turn
            sines = nodes.once("sines", lambda: -np.sin(2 * np.pi * np.arange(self.n) / self.n))
            return self._cosine(nodes, sines, phase)
        return self._cosine(nodes, table, nodes("Add", phase, nodes.ints([self.n // 4])))


def cosine_table(nodes: Nodes, n: int) -> ir.Value:
    """One turn of the cosine in `n` double-precision values."""
    return nodes.once("cosines", lambda: np.cos(2 * np.pi * np.arange(n) / n))
