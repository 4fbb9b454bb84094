"""Facts of a clip that are not its speech, and what a small tree makes of them.

Where level, length or sample rate tell the class, a network may learn those instead of emotion. Some of that is
emotion's own: anger is loud. A sample rate is never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from edgeemo.evaluation import measures
from edgeemo.evaluation.bootstrap import Bootstrap, Interval, interval

Audio = npt.NDArray[np.float32]

FACTS = (
    "level",
    "peak",
    "length",
    "leading silence",
    "trailing silence",
    "band limit",
    "sample rate",
    "constant offset",
)
"""Level and peak in dBFS, length and silence in seconds, band limit and sample rate in Hz, offset of full scale."""
OF_THE_RECORDING = ("sample rate", "constant offset")
"""Facts that no voice has a part in."""

_FLOOR = 1e-6  # -120 dBFS
_FRAME_S = 0.01
_SILENT_DB = 40.0  # below the loudest frame
_BAND_DB = 60.0  # below the loudest frequency
_N_FFT = 1024
_DEPTH = 3
_N_FOLDS = 5
_MIN_GAIN = 0.05  # of the way from chance to 1
_GIVEN_AWAY = 0.5


def facts(audio: Audio, sample_rate: int) -> npt.NDArray[np.float64]:
    """The facts of a clip, shape `(len(FACTS),)`.

    Args:
        audio: mono float32 `(n_samples,)`, at the rate of the file.
        sample_rate: Hz.
    """
    constant = float(audio.mean())
    audio = audio - np.float32(constant)
    hop = max(1, round(_FRAME_S * sample_rate))
    n_frames = -(-len(audio) // hop)
    energy = np.square(np.pad(audio, (0, n_frames * hop - len(audio)))).reshape(n_frames, hop).sum(axis=1)
    loud = np.flatnonzero(energy >= max(energy.max(), _FLOOR**2) * 10 ** (-_SILENT_DB / 10))
    first, last = (loud[0], loud[-1]) if len(loud) else (n_frames, n_frames - 1)
    return np.array([
        _decibel(np.sqrt(np.mean(np.square(audio)))),
        _decibel(np.abs(audio).max()),
        len(audio) / sample_rate,
        first * _FRAME_S,
        (n_frames - 1 - last) * _FRAME_S,
        _band_limit(audio, sample_rate),
        sample_rate,
        # Below -60 dBFS a mean is the voice's own, by chance, and more where it is loud.
        round(constant, 3),
    ])  # fmt: skip


@dataclass(frozen=True)
class Cue:
    """How well facts alone tell the class.

    Attributes:
        uar: of the tree, on speakers that it was not fitted on.
        interval: its 95 % interval, over speakers.
        chance: the UAR of guessing.
        alone: UAR of a tree over each fact alone, by its name, the best first.
        recorded: those of `OF_THE_RECORDING` that tell the class alone.
    """

    uar: float
    interval: Interval
    chance: float
    alone: dict[str, float]
    recorded: tuple[str, ...]

    @property
    def found(self) -> bool:
        """Whether facts tell anything of the class."""
        return bool(self.recorded) or _tells(self.uar, self.interval, self.chance)

    @property
    def given_away(self) -> bool:
        """Whether they tell what only the recording can have put there, or most of what there is to tell."""
        return bool(self.recorded) or (
            self.found and self.uar - self.chance >= _GIVEN_AWAY * (1 - self.chance)
        )


def cue(values: npt.NDArray[np.float64], labels: Sequence[str], speakers: Sequence[str]) -> Cue | None:
    """Fit small trees across speakers.

    Args:
        values: the facts of each clip, shape `(n_clips, len(FACTS))`.
        labels: the class of each clip.
        speakers: who speaks in each; a name of its own for each clip where nobody knows.

    Returns:
        None where there are fewer than two classes or speakers.
    """
    names, truth = np.unique(labels, return_inverse=True)
    n_folds = min(_N_FOLDS, len(set(speakers)))
    if len(names) < 2 or n_folds < 2:
        return None
    bootstrap = Bootstrap(speakers)
    chance = 1 / len(names)

    def score(columns: list[int]) -> tuple[float, Interval]:
        tree = DecisionTreeClassifier(max_depth=_DEPTH, class_weight="balanced", random_state=0)
        predicted = cross_val_predict(
            tree, values[:, columns], truth, groups=speakers, cv=GroupKFold(n_folds)
        )
        uar = float(measures.uar(measures.confusion(truth, predicted, len(names))))
        return uar, interval(measures.uar(bootstrap.confusions(truth, predicted, len(names))))

    alone = {name: score([i]) for i, name in enumerate(FACTS)}
    uar, between = score(list(range(len(FACTS))))
    return Cue(
        uar=uar,
        interval=between,
        chance=chance,
        alone={name: alone[name][0] for name in sorted(alone, key=lambda name: -alone[name][0])},
        recorded=tuple(name for name in OF_THE_RECORDING if _tells(*alone[name], chance)),
    )


def _tells(uar: float, between: Interval, chance: float) -> bool:
    return between[0] > chance and uar - chance >= _MIN_GAIN * (1 - chance)


def _decibel(amplitude: np.floating) -> float:
    return float(20 * np.log10(max(float(amplitude), _FLOOR)))


def _band_limit(audio: Audio, sample_rate: int) -> float:
    """The highest frequency whose mean power is within `_BAND_DB` of the strongest one's; Hz."""
    n_frames = max(1, -(-len(audio) // _N_FFT))
    frames = np.pad(audio, (0, n_frames * _N_FFT - len(audio))).reshape(n_frames, _N_FFT)
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(_N_FFT)))).mean(axis=0)
    within = np.flatnonzero(power >= power.max() * 10 ** (-_BAND_DB / 10))
    return float(within[-1] * sample_rate / _N_FFT)
