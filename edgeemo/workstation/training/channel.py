"""What speakers, rooms, lines and microphones do to speech, done to its mel power.

A filter multiplies each band, a room lets each band ring; powers of independent sounds add on average, and what is
diffuse, reverberation or noise, is louder in one frame than in the next (`with_diffuse`). On frames of mel power this
takes a fraction of the time that it takes on audio, which the front end must hear anew.

All functions take and give power of shape `(n_frames, n_mels)` and leave what they are given as it is.
"""

from __future__ import annotations

import functools
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgeemo.features import Features
from edgeemo.workstation.graphs.frontend import mel_frequencies
from edgeemo.workstation.training.recipe import Channel

Power = npt.NDArray[np.float32]

_N_EQUALISER_POINTS = 6
_N_SWAYS = 8
_LOW_ROOM, _HIGH_ROOM = 1.2, 0.7  # reverberation time in the lowest and highest band, of the room's
_INAUDIBLE = 1e-8
_ValueT = TypeVar("_ValueT", float, npt.NDArray[np.float64])


def draw_speed(channel: Channel, rng: np.random.Generator) -> float:
    """How fast somebody speaks, 1 being as recorded; see `spoken`."""
    return float(rng.uniform(*channel.speed)) if rng.random() < channel.speed_share else 1.0


def spoken(power: Power, speed: float) -> Power:
    """A clip as if spoken faster or slower; at least one frame."""
    n_frames = max(1, int(len(power) / speed))
    return _interpolated(power, speed * np.arange(n_frames, dtype=np.float64), axis=0)


def transmitted(power: Power, channel: Channel, features: Features, rng: np.random.Generator) -> Power:
    """What another speaker, room, microphone and line would have made of this speech.

    Args:
        power: speech; signal-to-noise ratios refer to its mean, short pauses included.
        channel: which changes and how much.
        features: the front end of `power`.
        rng: where chance comes from.
    """
    n_mels, frames_per_s = features.n_mels, features.sample_rate / features.hop_samples
    if rng.random() < channel.vocal_tract_share:
        power = other_vocal_tract(power, float(rng.uniform(*channel.vocal_tract)))
    if rng.random() < channel.equaliser_share:
        power = power * draw_equaliser(channel, n_mels, rng)
    if rng.random() < channel.room_share:
        n_frames, share = rng.uniform(*channel.room_s) * frames_per_s, from_db(rng.uniform(*channel.room_db))
        power = with_diffuse(power, share * ringing(power, n_frames), features, rng)
    loudness = float(power.mean())
    if rng.random() < channel.noise_share:
        noise = loudness * from_db(-rng.uniform(*channel.noise_snr_db)) * draw_noise(len(power), n_mels, rng)
        power = with_diffuse(power, noise, features, rng)
    if rng.random() < channel.hum_share:
        hum = draw_hum(n_mels, rng)
        power = power + loudness * from_db(-rng.uniform(*channel.hum_snr_db)) * hum
    if rng.random() < channel.telephone_share:
        low_hz, high_hz = rng.uniform(*channel.telephone_low_hz), rng.uniform(*channel.telephone_high_hz)
        power = by_telephone(power, low_hz, high_hz, features)
    return power


def other_vocal_tract(power: Power, factor: float) -> Power:
    """All places on the mel scale times `factor`, as a shorter (above 1) or longer vocal tract would have it.

    So the higher a formant is, the more bands it moves; with all frequencies times `factor`, high ones hardly would.
    """
    return _interpolated(power, np.arange(power.shape[1]) / factor, axis=1)


def draw_equaliser(channel: Channel, n_mels: int, rng: np.random.Generator) -> Power:
    """A gain for each band, of power, shape `(n_mels,)`: a curve through some points, and a tilt."""
    band = np.linspace(-1, 1, n_mels)
    points = rng.normal(0, channel.equaliser_db, _N_EQUALISER_POINTS)
    curve = np.interp(band, np.linspace(-1, 1, _N_EQUALISER_POINTS), points)
    gain_db = curve + rng.normal(0, channel.tilt_db) * band
    return from_db(gain_db).astype(np.float32)


def with_diffuse(power: Power, diffuse: Power, features: Features, rng: np.random.Generator) -> Power:
    """The power of a sound and of a diffuse one together, in each band of each frame.

    In every bin of a spectrum, a diffuse sound is a complex Gaussian number, which is added to that of the other
    sound and so weakens or amplifies it (Rice 1945, "Mathematical analysis of random noise"). A band is a mean over
    several bins: the wider it is, the steadier.

    Args:
        power: of the one, shape `(n_frames, n_mels)`.
        diffuse: mean power of the other, of the same shape.
        features: the front end of both.
        rng: where chance comes from.
    """
    n_bins = _independent_bins(features)
    each = diffuse / n_bins
    along = np.sqrt(power) + np.sqrt(each / 2) * rng.standard_normal(power.shape, np.float32)
    together: Power = np.square(along) + each * rng.standard_gamma(
        n_bins - np.float32(0.5), power.shape, np.float32
    )
    return together


def ringing(power: Power, n_frames: float) -> Power:
    """The mean power of what rings on of each frame in the following ones, shorter in higher bands.

    Args:
        power: as above.
        n_frames: reverberation time: until a sound's ringing is 60 dB lower.
    """
    decay = from_db(-60 / (n_frames * np.linspace(_LOW_ROOM, _HIGH_ROOM, power.shape[1]))).astype(np.float32)
    heard = np.zeros_like(power)
    heard[1:] = power[:-1] * (1 - decay)
    # The sum over all earlier frames by doubling: 1 + d + d^2 + d^3 + ... = (1 + d)(1 + d^2)(1 + d^4)...
    step = 1
    while step < len(power) and (over_step := decay**step).max() > _INAUDIBLE:
        heard[step:] += heard[:-step] * over_step
        step *= 2
    return heard


def draw_noise(n_frames: int, n_mels: int, rng: np.random.Generator) -> Power:
    """The mean power of noise of a random colour whose level comes and goes, about 1 over all."""
    colour_db = np.cumsum(rng.normal(0, 1.2, n_mels)) + rng.uniform(-8, 8) * np.linspace(-1, 1, n_mels)
    sway_db = rng.normal(0, rng.uniform(0, 6), _N_SWAYS)
    colour, sway = (x / x.mean() for x in (from_db(colour_db), from_db(sway_db)))
    along = sway[np.arange(n_frames) * _N_SWAYS // n_frames]
    return np.outer(along, colour).astype(np.float32)


def draw_hum(n_mels: int, rng: np.random.Generator) -> Power:
    """The power of a steady hum in each band, shape `(n_mels,)`, with a mean of 1: harmonics in the lowest bands."""
    hum = np.zeros(n_mels, np.float32)
    n = min(int(rng.integers(2, 4, endpoint=True)), n_mels)
    harmonics = from_db(-np.sort(rng.uniform(0, 20, n)))
    hum[:n] = harmonics / harmonics.sum() * n_mels
    return hum


def by_telephone(power: Power, low_hz: float, high_hz: float, features: Features) -> Power:
    """Nothing is left of bands with centres below the one frequency or above the other."""
    centres = _band_centres(features)
    return power * ((centres >= low_hz) & (centres <= high_hz)).astype(np.float32)


@functools.lru_cache
def _independent_bins(features: Features) -> npt.NDArray[np.float32]:
    """Over how many independent values of noise power a band is the mean, shape `(n_mels,)`.

    A triangle over `2 n` bins weighs them as if there were `1.5 n` alike; in a Hann window, 1.5 bins are as one.
    """
    edges = mel_frequencies(features.n_mels + 2, features.fmin_hz, features.fmax_hz)
    half_width = (edges[2:] - edges[:-2]) / 2 * features.n_fft / features.sample_rate
    return np.maximum(half_width, 1).astype(np.float32)


@functools.lru_cache
def _band_centres(features: Features) -> npt.NDArray[np.float64]:
    return mel_frequencies(features.n_mels + 2, features.fmin_hz, features.fmax_hz)[1:-1]


def _interpolated(power: Power, positions: npt.NDArray[np.float64], *, axis: int) -> Power:
    """Power at positions between frames or bands; beyond the last, the last."""
    last = power.shape[axis] - 1
    before = np.minimum(positions.astype(np.int64), last)
    share = (positions - before).clip(0, 1).astype(np.float32)
    share = share[:, np.newaxis] if axis == 0 else share
    after = power.take(np.minimum(before + 1, last), axis)
    here = power.take(before, axis)
    between: Power = here + share * (after - here)
    return between


def from_db(decibels: _ValueT) -> _ValueT:
    """Power, of dB."""
    return 10 ** (decibels / 10)
