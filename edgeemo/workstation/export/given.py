"""What somebody's own pipeline computed of a clip, to compare with: read before a library is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeemo.audio import read_audio
from edgeemo.errors import ExportError
from edgeemo.workstation.training.recipe import Recipe

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Given:
    """A clip, and what was computed of it.

    Attributes:
        clip: its path.
        audio: it, or the first window of it, at the recipe's rate, shape `(n_samples,)`.
        features: of that, shape `(n_frames, n_columns)`.
        predictions: what the network said of its first window, shape `(n_labels,)`; None where that is not given.
    """

    clip: Path
    audio: npt.NDArray[np.float32]
    features: Array
    predictions: Array | None = None


def read_given(recipe: Recipe, clip: Path, features: Path, predictions: Path | None = None) -> Given:
    """Read what is to be compared.

    Args:
        recipe: of the network.
        clip: an audio file.
        features, predictions: files of `numpy.save`.

    Raises:
        AudioError: the clip cannot be read.
        ExportError: it is too short; a file holds no numbers, or others than the recipe says.
    """
    theirs = read_features(features, recipe.features.n_columns)
    said = None if predictions is None else np.ravel(read_array(predictions))
    audio = read_audio(clip, recipe.features.sample_rate)
    if len(audio) < recipe.features.least_samples:
        raise ExportError(f"{clip}: too short, expected at least {recipe.features.least_samples} samples")
    if said is not None and len(audio) < recipe.window_samples:
        raise ExportError(f"{clip}: shorter than the network's window of {recipe.window.window_s:g} s")
    if recipe.n_frames == len(theirs) != recipe.features.n_frames(len(audio)):
        audio = audio[: recipe.window_samples]
    return Given(clip=clip, audio=audio, features=theirs, predictions=said)


def read_features(path: Path, n_columns: int) -> Array:
    """Somebody's features of a clip, whatever their layout: shape `(n_frames, n_columns)`.

    Raises:
        ExportError: not a NumPy file of numbers, or of another shape.
    """
    array = read_array(path)
    found = np.squeeze(array)
    for axis in (0, -1):  # equal channels
        if found.ndim == 3 and found.shape[axis] == 3:
            found = found.take(0, axis)
    if found.ndim == 2 and found.shape[1] != n_columns and found.shape[0] == n_columns:
        found = found.T
    if found.ndim != 2 or found.shape[1] != n_columns:
        raise ExportError(
            f"{path} holds an array of shape {array.shape}; the recipe says {n_columns} values a frame: change its "
            "[features] n_mels, n_mfcc or deltas"
        )
    return found.astype(np.float32)


def read_array(path: Path) -> npt.NDArray[Any]:
    """The numbers of an `.npy` file.

    Raises:
        ExportError: it is none.
    """
    try:
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: not an array of numpy.save ({str(error).splitlines()[0]})") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ExportError(f"{path}: expected one array of finite numbers")
    return array
