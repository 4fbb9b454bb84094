"""What is made of a clip once: its audio, the features of its windows, its mel power."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeemo.audio import clip_audio
from edgeemo.clip import spoken
from edgeemo.corpora.manifest import Clip
from edgeemo.features import Features
from edgeemo.files import replacing
from edgeemo.high_pass import CUTOFF_HZ, without_constant
from edgeemo.windows import clip_windows, preceded_by_silence, window_bounds
from edgeemo.workstation.graphs.frontend import FrontEnd
from edgeemo.workstation.training.recipe import Recipe


def read_clip(clip: Clip, sample_rate: int) -> npt.NDArray[np.float32]:
    """A whole clip without its constant, mono.

    Raises:
        AudioError: the file cannot be read.
    """
    return without_constant(clip_audio(clip, sample_rate), sample_rate)


class AudioCache:
    """Clips as 16-bit audio at one sample rate, each read once: an hour takes 110 MB at 16 kHz.

    A front end that learns from what it hears is given the part in which somebody speaks, as in use.
    """

    def __init__(self, features: Features) -> None:
        self._features = features
        self._clips: dict[str, npt.NDArray[np.int16]] = {}

    def __getitem__(self, clip: Clip) -> npt.NDArray[np.float32]:
        """Mono float32 in [-1, 1], shape `(n_samples,)`.

        Raises:
            AudioError: the file cannot be read.
        """
        if clip.sha256 not in self._clips:
            audio = read_clip(clip, self._features.sample_rate)
            if self._features.level == "running_mean":
                audio = spoken(audio, self._features.sample_rate)
            self._clips[clip.sha256] = np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16)
        return self._clips[clip.sha256].astype(np.float32) / np.float32(32767)


class FeatureCache:
    """The features of clips' windows, computed once and kept on disk: an interrupted extraction goes on.

    Args:
        recipe: its features and window; another front end has a folder of its own.
        audio: of the clips.
        frontend: computes the features.
        folder: where they are kept.
    """

    def __init__(self, recipe: Recipe, audio: AudioCache, frontend: FrontEnd, folder: Path) -> None:
        self._audio, self._frontend, self._window_samples = audio, frontend, recipe.window_samples
        settings = [recipe.features.to_dict(), recipe.window_samples, CUTOFF_HZ]
        if recipe.features.level == "running_mean":
            settings.append("heard in a row")
        self._folder = _folder_of(settings, folder)

    def __getitem__(self, clip: Clip) -> npt.NDArray[np.float32]:
        """Features of the windows that a clip is scored by, in dB, shape `(n_windows, n_frames, n_mels)`."""

        def made() -> npt.NDArray[np.float32]:
            return scored_windows(self._frontend, self._audio[clip], self._window_samples)

        return _kept(self._folder / f"{clip.sha256}.npy", made)


def scored_windows(
    frontend: FrontEnd, audio: npt.NDArray[np.float32], window_samples: int
) -> npt.NDArray[np.float32]:
    """Features of the windows that a clip is scored by, shape `(n_windows, n_frames, n_columns)`.

    A running mean goes on from window to window, as in a stream: started afresh in each, it says of long clips what
    no stream says.

    Args:
        frontend: computes them.
        audio: of a clip, mono float32, shape `(n_samples,)`.
        window_samples: length of a window.
    """
    if frontend.features.level != "running_mean":
        return frontend(clip_windows(audio, window_samples))
    frames = frontend(preceded_by_silence(audio, window_samples)[np.newaxis])[0]
    bounds = window_bounds(len(frames), frontend.features.n_frames(window_samples))
    return np.stack([frames[start:end] for start, end in bounds])


class PowerCache:
    """The mel power of whole clips, computed once: kept on disk and, as float16 in dB, in memory.

    An hour takes 23 MB, with 64 bands and a hop of 20 ms. The audio is not kept. Clips are whole even where a front
    end is given speech alone in use: what learned with the room and the pauses around it knows strangers better.

    Args:
        features: front-end settings.
        folder: where clips are kept, those of another front end in a folder of their own.
    """

    def __init__(self, features: Features, folder: Path) -> None:
        spectrum = {k: getattr(features, k) for k in _OF_THE_SPECTRUM}
        self._features = features
        self._frontend = FrontEnd(Features(**spectrum, level="none"))
        self._folder = _folder_of({**spectrum, "high_pass_hz": CUTOFF_HZ}, folder)
        self._clips: dict[str, npt.NDArray[np.float16]] = {}

    def __getitem__(self, clip: Clip) -> npt.NDArray[np.float32]:
        """Mel power, shape `(n_frames, n_mels)`, to within float16's rounding of its dB (0.03 dB).

        Raises:
            AudioError: the file cannot be read.
        """

        def made() -> npt.NDArray[np.float16]:
            audio = read_clip(clip, self._features.sample_rate)
            audio = preceded_by_silence(audio, self._features.hop_samples)
            decibels: npt.NDArray[np.float16] = self._frontend(audio[np.newaxis])[0].astype(np.float16)
            return decibels

        if clip.sha256 not in self._clips:
            # A copy: a mapped file holds a descriptor.
            self._clips[clip.sha256] = np.array(_kept(self._folder / f"{clip.sha256}.npy", made))
        decibels = self._clips[clip.sha256].astype(np.float32)
        power: npt.NDArray[np.float32] = np.exp(decibels * np.float32(np.log(10) / 10))
        return power


_OF_THE_SPECTRUM = ("sample_rate", "n_fft", "hop_samples", "n_mels", "fmin_hz", "fmax_hz")


def _folder_of(settings: object, folder: Path) -> Path:
    return folder / hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]


def _kept(path: Path, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """An array that is made once and kept in a file; mapped."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, make())
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    return array
