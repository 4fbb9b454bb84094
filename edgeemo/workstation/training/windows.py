"""One window of each clip, drawn at random, as a network trains on it.

Of augmented audio; of the windows that clips are scored by; or of mel power through a channel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soxr

from edgeemo.corpora.manifest import Clip
from edgeemo.workstation.graphs.frontend import FrontEnd, Levelling
from edgeemo.workstation.training.caches import AudioCache, FeatureCache, PowerCache
from edgeemo.workstation.training.channel import draw_speed, spoken, transmitted
from edgeemo.workstation.training.recipe import Augmentation, Channel, Recipe
from edgeemo.workstation.training.voices import voices

_MAX_HISTORY = 2  # clips


class Windows(Protocol):
    """Draws one window of each clip."""

    def __call__(self, clips: Sequence[Clip], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """Features, shape `(n_clips, n_frames, n_mels)`; the caller's own."""


class AudioWindows:
    """Windows of audio, augmented, and their features by the front-end graph.

    Args:
        audio: of the clips.
        frontend: computes the features.
        recipe: window and augmentation.
    """

    def __init__(self, audio: AudioCache, frontend: FrontEnd, recipe: Recipe) -> None:
        self._audio, self._frontend, self._recipe = audio, frontend, recipe

    def __call__(self, clips: Sequence[Clip], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """See `Windows`."""
        recipe = self._recipe
        return self._frontend(np.stack([
            augmented_window(
                self._audio[clip],
                recipe.window_samples,
                recipe.features.sample_rate,
                recipe.augmentation,
                rng,
            )
            for clip in clips
        ]))  # fmt: skip


class CachedWindows:
    """The windows that clips are scored by, one of which is drawn.

    Args:
        features: of each clip's windows.
    """

    def __init__(self, features: FeatureCache) -> None:
        self._features = features

    def __call__(self, clips: Sequence[Clip], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """See `Windows`."""
        windows = (self._features[clip] for clip in clips)
        return np.stack([w[rng.integers(len(w))] for w in windows])


class PowerWindows:
    """Windows of mel power through a channel, levelled as the front-end graph does it.

    Before some, other clips of the speaker are heard, so that the running mean starts from those, as in a stream;
    the running peak starts afresh in each utterance. A clip that leaves room is anywhere in its window, after a pause
    of up to the recipe's `shift_s` in any case; a longer one gives any of its stretches, of which what came before is
    heard too. Behind the clip nothing is heard, neither noise nor room: a stream is judged while somebody speaks.

    Args:
        clips: of which windows are drawn, and from which those before them are chosen.
        power: of these.
        channel: what is done to it.
        recipe: features, window and augmentation.
    """

    def __init__(self, clips: Sequence[Clip], power: PowerCache, channel: Channel, recipe: Recipe) -> None:
        self._power, self._channel, self._features = power, channel, recipe.features
        self._levelling = Levelling(recipe.features)
        self._n_frames = recipe.n_frames
        self._shift_frames = round(
            recipe.augmentation.shift_s * recipe.features.sample_rate / recipe.features.hop_samples
        )
        self._voice = dict(zip([clip.sha256 for clip in clips], voices(clips), strict=True))
        self._of_voice: dict[str, list[Clip]] = defaultdict(list)
        for clip in clips:
            self._of_voice[self._voice[clip.sha256]].append(clip)

    def __call__(self, clips: Sequence[Clip], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """See `Windows`."""
        return np.stack([self._window(clip, rng) for clip in clips])

    def _window(self, clip: Clip, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        changed = rng.random() >= self._channel.unchanged_share
        speed = draw_speed(self._channel, rng) if changed else 1.0
        before = [spoken(self._power[other], speed) for other in self._heard_before(clip, rng)]
        said = spoken(self._power[clip], speed)
        if rng.random() < self._channel.partial_share:
            said = said[: max(1, int(rng.uniform(*self._channel.partial) * len(said)))]
        n_mels = said.shape[1]
        n_pause = int(rng.integers(self._shift_frames, endpoint=True))
        n_pause += int(rng.integers(max(self._n_frames - n_pause - len(said), 0), endpoint=True))
        pause = np.zeros((n_pause, n_mels), np.float32)
        room_for = self._n_frames - len(pause)
        start = int(rng.integers(max(len(said) - room_for, 0), endpoint=True))
        heard = np.concatenate([*before, pause, said[: start + room_for]])
        if changed:
            heard = transmitted(heard, self._channel, self._features, rng)
        earlier, own = np.split(heard, [sum(map(len, before))])
        apart = np.zeros((self._features.level_frames if before else 0, n_mels), np.float32)
        behind = np.zeros((max(room_for - len(said), 0), n_mels), np.float32)
        return self._levelling(np.concatenate([earlier, apart, own, behind]))[-self._n_frames :]

    def _heard_before(self, clip: Clip, rng: np.random.Generator) -> list[Clip]:
        if rng.random() >= self._channel.history:
            return []
        voice = self._of_voice[self._voice[clip.sha256]]
        others = [other for other in voice if other.sha256 != clip.sha256]
        n = min(int(rng.integers(1, _MAX_HISTORY, endpoint=True)), len(others))
        return [others[i] for i in rng.choice(len(others), n, replace=False)] if n else []


def augmented_window(
    audio: npt.NDArray[np.float32],
    window_samples: int,
    sample_rate: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """One window of a clip at a random place, with speed, noise and gain changed.

    Args:
        audio: a whole clip, mono float32, shape `(n_samples,)`.
        window_samples: length of the window.
        sample_rate: Hz.
        augmentation: which changes and how much.
        rng: where chance comes from.

    Returns:
        shape `(window_samples,)`, in [-1, 1].
    """
    if augmentation.speed:
        speed = rng.uniform(1 - augmentation.speed, 1 + augmentation.speed)
        audio = soxr.resample(audio, sample_rate * speed, sample_rate)
    window = placed(audio, window_samples, round(augmentation.shift_s * sample_rate), rng)
    if rng.random() < augmentation.noise_share:
        window += _noise(window, augmentation.noise_snr_db, rng)
    gain_db = rng.uniform(-augmentation.gain_db, augmentation.gain_db)
    heard: npt.NDArray[np.float32] = np.clip(window * 10 ** (gain_db / 20), -1, 1).astype(np.float32)
    return heard


def placed(
    clip: npt.NDArray[np.float32], n: int, shift: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """A window of `n` positions, zero where the clip is not.

    Anywhere from "ends with the clip" to "starts with it", whichever of clip and window is longer, and up to `shift`
    positions beyond.

    Args:
        clip: float32, of samples or of frames: shape `(n_positions, ...)`.
        n: length of the window.
        shift: positions.
        rng: where chance comes from.

    Returns:
        shape `(n, ...)`, the caller's own.
    """
    slack = len(clip) - n
    start = int(rng.integers(min(slack, 0) - shift, max(slack, 0) + shift, endpoint=True))
    window = np.zeros((n, *clip.shape[1:]), np.float32)
    there = clip[max(start, 0) : max(start + n, 0)]
    offset = max(-start, 0)
    there = there[: max(n - offset, 0)]
    window[offset : offset + len(there)] = there
    return window


def _noise(
    window: npt.NDArray[np.float32], snr_db: tuple[float, float], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Noise with a spectrum from white to brown (power falling as 1/f^0 to 1/f^2), at a random ratio."""
    spectrum = np.fft.rfft(rng.standard_normal(len(window), dtype=np.float32))
    frequency = np.maximum(np.arange(len(spectrum), dtype=np.float32), 1)
    noise = np.fft.irfft(spectrum / frequency ** np.float32(rng.uniform(0, 1)), len(window))
    ratio = 10 ** (rng.uniform(*snr_db) / 20)
    loudness = np.sqrt(np.mean(window**2)) / max(float(np.sqrt(np.mean(noise**2))), 1e-12)
    scaled: npt.NDArray[np.float32] = (noise * loudness / ratio).astype(np.float32)
    return scaled
