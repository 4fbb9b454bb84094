"""Whether a front end computes what somebody's own pipeline computed, and if not, what differs.

What differs is found by trying: presets and single changes of keys, of which the best is kept, until the features are
the same. While that goes on, a factor and a constant do not count: most keys change the shape of a spectrum, and a
logarithm's base or a scale is easily told at the end.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeemo.features import (
    FRAMINGS,
    MEL_NORMS,
    MEL_SCALES,
    PRESETS,
    STANDARDISATIONS,
    WINDOW_FUNCTIONS,
    Features,
    preset_values,
)
from edgeemo.workstation.export.given import Array
from edgeemo.workstation.graphs.frontend import FrontEnd

SAME = 1e-3
"""The root mean square of the differences, as a share of the features' standard deviation."""
_MOST_CHANGES = 6
_BETTER = 0.8
_SIZES = ("sample_rate", "n_fft", "hop_samples", "win_length", "n_mels", "n_mfcc", "deltas", "delta_width")
_SCALES = (1.0, 32768.0)
_TRIED: dict[str, tuple[Any, ...]] = {
    "framing": FRAMINGS,
    "drop_last": (False, True),
    "window_function": WINDOW_FUNCTIONS,
    "window_symmetric": (False, True),
    "remove_mean": (False, True),
    "preemphasis": (0.0, 0.97, 0.95),
    "preemphasis_of": ("signal", "frame"),
    "power": (2, 1),
    "mel_scale": MEL_SCALES,
    "mel_norm": MEL_NORMS,
    "fmin_hz": (0.0, 20.0, 50.0),
    "compression": ("decibel", "none"),
    "amin": (1e-10, 1e-5, 2.0**-23),
    "offset": (0.0, 1e-10, 1e-8, 1e-6, 1.0),
    "scale": _SCALES,
    "top_db": (0.0, 80.0),
    "level": ("none",),
    "standardise": STANDARDISATIONS,
    "lifter": (0.0, 22.0),
    "lifter_first": (1, 0),
    "energy": (False, True),
    "delta_method": ("librosa", "torchaudio"),
}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How features compare with somebody's own.

    Attributes:
        n_frames, n_columns: of theirs.
        same: they are the same.
        largest: largest difference; NaN where there are other numbers of frames.
        worst_column: where the differences are largest, counted from 0.
        changes: keys that have to be changed for them to be the same, and their values; empty where they are.
        share: how far they are apart with these changes, as a share of the features' standard deviation.
    """

    n_frames: int
    n_columns: int
    same: bool
    largest: float
    worst_column: int
    changes: dict[str, Any]
    share: float

    @property
    def text(self) -> str:
        """All of it in one line."""
        size = f"{self.n_frames} frames of {self.n_columns} values"
        if self.same:
            return f"the features are yours: {size} differ by {self.largest:.2g} at most"
        apart = (
            "another number of frames"
            if np.isnan(self.largest)
            else f"{self.largest:.3g} at most, worst in column {self.worst_column}"
        )
        changes = ", ".join(f"{key} = {json.dumps(value)}" for key, value in self.changes.items())
        if self.share > SAME:
            nearest = (
                f"; nearest is {changes}, still {self.share:.1%} of their spread apart" if changes else ""
            )
            remedy = f"no keys were found that make them the same{nearest}"
        else:
            remedy = f"they are the same with [features] {changes}"
        return f"the features are not yours ({size}; {apart}); {remedy}"


def compare(features: Features, audio: Array, theirs: Array) -> Comparison:
    """Compare what a front end computes of a clip with somebody's own features of it.

    Args:
        features: the front end.
        audio: the clip at its sample rate, shape `(n_samples,)`.
        theirs: shape `(n_frames, n_columns)`.
    """
    ours = _computed(features, audio)
    assert ours is not None
    same_size = ours.shape == theirs.shape
    share = _apart(ours, theirs)
    difference = np.abs(ours - theirs) if same_size else np.full((1, 1), np.nan)
    same = same_size and share <= SAME
    nearest = features if same else _nearest(features, audio, theirs)
    found = ours if same else _computed(nearest, audio)
    assert found is not None
    return Comparison(
        n_frames=len(theirs),
        n_columns=theirs.shape[1],
        same=same,
        largest=float(difference.max()),
        worst_column=int(np.argmax(difference.max(axis=0))) if same_size else 0,
        changes=_changes(features, nearest),
        share=_apart(found, theirs),
    )


def _nearest(features: Features, audio: Array, theirs: Array) -> Features:
    """The front end that comes nearest to somebody's features."""

    def score(candidate: Features) -> float:
        found = _computed(candidate, audio)
        return np.inf if found is None else _apart(*_fitted(found, theirs))

    best = min([features, *_presets(features)], key=score)
    # Rather what was asked for than a preset that is hardly nearer.
    best = features if score(features) < score(best) / _BETTER else best
    reached = score(best)
    for _ in range(_MOST_CHANGES):
        if reached <= SAME:
            break
        scored = [(score(candidate), i, candidate) for i, candidate in enumerate(_single_changes(best))]
        least, _, candidate = min(scored)
        if least > _BETTER * reached:
            break
        best, reached = candidate, least
    return _with_units(best, audio, theirs)


def _with_units(features: Features, audio: Array, theirs: Array) -> Features:
    """With the base of the logarithm and the scale that fit; else with constants for all columns, or for each."""
    is_log = features.compression in ("decibel", "log10", "ln")
    compressions = ("decibel", "log10", "ln") if is_log else (features.compression,)
    scales = dict.fromkeys([features.scale, *_SCALES])
    best = features
    for compression, scale in itertools.product(compressions, scales):
        candidate = _changed(features, compression=compression, scale=scale, mean=(), std=())
        found = None if candidate is None else _computed(candidate, audio)
        if candidate is not None and found is not None and _apart(found, theirs) <= SAME:
            return candidate
    plain = dataclasses.replace(features, mean=(), std=())
    found = _computed(plain, audio)
    if found is None or found.shape != theirs.shape:
        return best
    for axis in (None, 0):
        factor, constant = _fit(found, theirs, axis)
        fitted = factor * found + constant
        if (factor > 0).all() and _apart(fitted, theirs) <= SAME:
            return dataclasses.replace(plain, mean=_rounded(-constant / factor), std=_rounded(1 / factor))
    return best


def _presets(features: Features) -> Iterator[Features]:
    """The presets with the sizes that were asked for."""
    sizes = {name: getattr(features, name) for name in _SIZES}
    for preset in PRESETS:
        try:
            yield Features(**_tuples(preset_values(preset, sizes)))
        except ValueError:
            continue


def _single_changes(features: Features) -> Iterator[Features]:
    """All that differ in one key."""
    tried = _TRIED | {
        "fmax_hz": (features.sample_rate / 2, 8000.0, 7600.0),
        "win_length": (0, round(0.025 * features.sample_rate)),
    }
    for key, values in tried.items():
        for value in values:
            if getattr(features, key) == value:
                continue
            candidate = _changed(features, **{key: value})
            if candidate is not None and candidate.n_columns == features.n_columns:
                yield candidate


def _changed(features: Features, **changes: Any) -> Features | None:
    """None if there is no such front end."""
    try:
        return dataclasses.replace(features, **changes)
    except ValueError:
        return None


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _computed(features: Features, audio: Array) -> Array | None:
    """Of one clip, shape `(n_frames, n_columns)`; None if it is too short."""
    if len(audio) < features.least_samples:
        return None
    computed: Array = FrontEnd(features)(audio[np.newaxis].astype(np.float32))[0]
    return computed


def _apart(ours: Array, theirs: Array) -> float:
    """The root mean square of the differences, as a share of the spread; more where there are other frames."""
    n = min(len(ours), len(theirs))
    spread = max(float(theirs.std()), 1e-12)
    share = float(np.sqrt(np.mean((ours[:n] - theirs[:n]).astype(np.float64) ** 2))) / spread
    return share + abs(len(ours) - len(theirs)) / max(len(ours), len(theirs))


def _fitted(ours: Array, theirs: Array) -> tuple[Array, Array]:
    """Both, ours with the factor and the constant that fit best."""
    n = min(len(ours), len(theirs))
    factor, constant = _fit(ours[:n], theirs[:n], None)
    return factor * ours + constant, theirs


def _fit(
    ours: Array, theirs: Array, axis: int | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Factor and constant of all values, or, with the axis of frames, of each column."""
    x, y = ours.astype(np.float64), theirs.astype(np.float64)
    x_mean, y_mean = x.mean(axis=axis), y.mean(axis=axis)
    variance = np.maximum(((x - x_mean) ** 2).mean(axis=axis), 1e-12)
    factor = np.asarray(((x - x_mean) * (y - y_mean)).mean(axis=axis) / variance)
    return factor, np.asarray(y_mean - factor * x_mean)


def _rounded(values: Array) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in np.ravel(values))


def _changes(features: Features, other: Features) -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(features)]
    return {name: getattr(other, name) for name in names if getattr(other, name) != getattr(features, name)}
