"""How a network takes features: frames or bands first, with or without an axis of channels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Layout:
    """The axes of a network's input, behind that of the batch.

    Attributes:
        bands_first: bands before frames.
        n_channels: of an image, all equal; 0: there is no such axis.
        channels_first: they come before frames and bands, as in PyTorch.
        flat: all values in one axis, as scikit-learn takes them.
    """

    bands_first: bool = False
    n_channels: int = 0
    channels_first: bool = False
    flat: bool = False

    def shape(self, n_frames: int, n_columns: int) -> tuple[int, ...]:
        """Of an input without its batch."""
        if self.flat:
            return (n_frames * n_columns,)
        plane = (n_columns, n_frames) if self.bands_first else (n_frames, n_columns)
        if not self.n_channels:
            return plane
        return (self.n_channels, *plane) if self.channels_first else (*plane, self.n_channels)

    @property
    def channel_axis(self) -> int:
        """Of the input with its batch."""
        return 1 if self.channels_first else 3

    def arranged(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Features `(n_windows, n_frames, n_columns)` as the network takes them."""
        if self.flat:
            return features.reshape(len(features), -1)
        if self.bands_first:
            features = features.transpose(0, 2, 1)
        if self.n_channels:
            features = np.repeat(
                np.expand_dims(features, self.channel_axis), self.n_channels, self.channel_axis
            )
        return features


def find_layout(
    declared: Sequence[object], n_frames: int, n_columns: int, *, wanted: str = "auto"
) -> Layout | None:
    """The first layout that an input fits; None if it fits none.

    Args:
        declared: its axes behind the batch; whatever is no number is open.
        n_frames, n_columns: of the features.
        wanted: `features.layout`, for an input that fits several.
    """
    orders = {"auto": (False, True), "time_first": (False,), "bands_first": (True,)}[wanted]
    for n_channels in (1, 3):
        axes = [(0, False)] * (n_channels == 1) + [(n_channels, False), (n_channels, True)]
        for bands_first, (n, channels_first) in itertools.product(orders, axes):
            layout = Layout(bands_first, n, channels_first)
            if fits(declared, layout.shape(n_frames, n_columns)):
                return layout
    return Layout(flat=True) if list(declared) == [n_frames * n_columns] else None


def fits(declared: Sequence[object], shape: tuple[int, ...]) -> bool:
    """Whether a declared shape is this one, but for open dimensions: whatever is no number."""
    return len(declared) == len(shape) and all(
        not isinstance(have, int) or have == want for have, want in zip(declared, shape, strict=True)
    )
