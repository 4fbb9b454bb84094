"""Sound that is recognised again: through another gain, sample rate or codec, trimmed or shifted.

Pairs of peaks in a spectrogram, two frequencies and the time between them, are landmarks. Two clips that hold the
same sound share many of them at one shift in time (Wang 2003, "An Industrial-Strength Audio Search Algorithm",
ISMIR). That finds candidates. What decides is how well their waveforms correlate at that shift, as the mean over
bands, so that one loud harmonic does not count for all. Two takes of a sentence by one speaker share some landmarks,
but no waveform.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Audio = npt.NDArray[np.float32]
Spectrogram = npt.NDArray[np.float32]

RATE = 8000
"""Hz of what is fingerprinted: the lowest rate of a clip."""
MIN_CORRELATION = 0.6
"""Mean over the bands. The smallest MP3 and Opus files leave 0.8; takes in 300 clips of TESS have up to 0.48.

Of all pairs in CREMA-D that share landmarks, eleven have 0.80 or more, and no other has 0.45.
"""

_N_FFT = 512  # 64 ms, so that harmonics are apart
_HOP = 128
_BANDS_HZ = (200, 600, 1200, 2000, 3400)  # above hum, and below what a telephone cuts off
_LOW, _HIGH = _BANDS_HZ[0] * _N_FFT // RATE, _BANDS_HZ[-1] * _N_FFT // RATE
_REACH_FRAMES, _REACH_BINS = 3, 5  # nothing louder so near to a peak
_RANGE_DB = 45.0  # below the loudest peak
_SILENCE_DB = -120.0
_FAN_OUT = 6
_MAX_FRAMES = 31  # between the two of a pair
_MIN_VOTES = 8  # a clip cut by a second and through the smallest MP3 has 10 or more
_MIN_OVERLAP = 0.5  # of the shorter clip
_FAINT = 1e-20  # an energy squared
_N_KEPT = 64  # clips in memory, a megabyte each


@dataclass(frozen=True)
class Landmarks:
    """The landmarks of a clip.

    Attributes:
        hashes: two frequencies and a distance each, shape `(n_landmarks,)`.
        frames: where each begins, likewise.
    """

    hashes: npt.NDArray[np.uint32]
    frames: npt.NDArray[np.int32]


@dataclass(frozen=True, order=True)
class Match:
    """Two clips that hold the same sound.

    Attributes:
        first, second: their places in the sequence of clips; `first` < `second`.
        correlation: of their waveforms where they overlap, from `MIN_CORRELATION` to 1.
        shift_s: by how many seconds the sound comes later in the second.
    """

    first: int
    second: int
    correlation: float
    shift_s: float


def landmarks(audio: Audio) -> Landmarks:
    """The landmarks of a clip: mono float32 `(n_samples,)` at `RATE`; silence has none."""
    frames, bins = _peaks(_spectrogram(audio))
    hashes, starts = [], []
    for step in range(1, _FAN_OUT + 1):
        apart = frames[step:] - frames[:-step]
        near = (apart > 0) & (apart <= _MAX_FRAMES)
        hashes.append((bins[:-step] << 13 | bins[step:] << 5 | apart)[near])
        starts.append(frames[:-step][near])
    return Landmarks(np.concatenate(hashes).astype(np.uint32), np.concatenate(starts).astype(np.int32))


def matches(
    clips: Sequence[Landmarks],
    audio: Callable[[int], Audio],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Match]:
    """All pairs of clips that hold the same sound, in order.

    Args:
        clips: their landmarks.
        audio: gives a clip's audio at `RATE` by its place; asked again and again.
        progress: called as `progress(n_done, n_clips)`.
    """
    bands = functools.lru_cache(maxsize=_N_KEPT)(lambda i: _in_bands(audio(i)))
    found = []
    for second, candidates in enumerate(_candidates(clips)):
        for first, shift in candidates:
            correlation, lag = _correlation(bands(first), bands(second), shift * _HOP)
            if correlation >= MIN_CORRELATION:
                found.append(Match(first, second, correlation, lag / RATE))
        progress(second + 1, len(clips))
    return sorted(found)


def _spectrogram(audio: Audio) -> Spectrogram:
    """Power in dB, shape `(n_frames, n_bins)`, of the bins from `_LOW` to `_HIGH`."""
    padded = np.pad(audio, (_N_FFT // 2, _N_FFT))  # a frame at least
    frames = sliding_window_view(padded, _N_FFT)[::_HOP] * np.hanning(_N_FFT).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames)[:, _LOW:_HIGH]))
    decibel: Spectrogram = (10 * np.log10(np.maximum(power, 10 ** (_SILENCE_DB / 10)))).astype(np.float32)
    return decibel


def _peaks(spectrogram: Spectrogram) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Frames and bins of the peaks, in the order of time, then of frequency."""
    if spectrogram.max() <= _SILENCE_DB:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    highest = _largest_near(_largest_near(spectrogram, _REACH_FRAMES, 0), _REACH_BINS, 1)
    frames, bins = np.nonzero((spectrogram == highest) & (spectrogram > spectrogram.max() - _RANGE_DB))
    return frames, bins


def _largest_near(values: Spectrogram, reach: int, axis: int) -> Spectrogram:
    width = [(reach, reach) if i == axis else (0, 0) for i in range(values.ndim)]
    padded = np.pad(values, width, constant_values=-np.inf)
    largest: Spectrogram = sliding_window_view(padded, 2 * reach + 1, axis=axis).max(axis=-1)
    return largest


def _candidates(clips: Sequence[Landmarks]) -> Iterator[list[tuple[int, int]]]:
    """For each clip, the clips before it that share enough landmarks at one shift, and that shift in frames."""
    if not clips:
        return
    owner = np.repeat(np.arange(len(clips)), [len(clip.hashes) for clip in clips])
    hashes = np.concatenate([clip.hashes for clip in clips])
    frames = np.concatenate([clip.frames for clip in clips])
    order = np.argsort(hashes, kind="stable")
    owner, hashes, frames = owner[order], hashes[order], frames[order]
    longest = int(frames.max(initial=0)) + 1
    for second, clip in enumerate(clips):
        start, stop = (np.searchsorted(hashes, clip.hashes, side=side) for side in ("left", "right"))
        of = np.repeat(
            np.arange(len(clip.hashes)), stop - start
        )  # each landmark, as often as others equal it
        place = np.arange(len(of)) + np.repeat(start - np.cumsum(stop - start) + stop - start, stop - start)
        before = owner[place] < second
        of, place = of[before], place[before]
        # Clip and shift as one number.
        keys = owner[place] * 2 * longest + clip.frames[of] - frames[place] + longest
        keys, votes = np.unique(keys, return_counts=True)
        # A shift by half a frame is seen as the two beside it.
        votes[:-1] += np.where(np.diff(keys) == 1, votes[1:], 0)
        best: dict[int, tuple[int, int]] = {}
        enough = votes >= _MIN_VOTES
        for key, n_votes in zip(keys[enough].tolist(), votes[enough].tolist(), strict=True):
            first, shift = divmod(key, 2 * longest)
            best[first] = max(best.get(first, (0, 0)), (n_votes, shift - longest))
        yield [(first, shift) for first, (_, shift) in best.items()]


@dataclass(frozen=True)
class _Bands:
    """A clip in bands.

    Attributes:
        audio: shape `(n_bands, n_samples)`.
        energy: up to each sample, shape `(n_bands, n_samples + 1)`.
    """

    audio: npt.NDArray[np.float32]
    energy: npt.NDArray[np.float64]


def _in_bands(audio: Audio) -> _Bands:
    spectrum = np.fft.rfft(audio)
    frequency = np.arange(len(spectrum)) * RATE / len(audio)
    bands = np.stack([
        np.fft.irfft(np.where((frequency >= low) & (frequency < high), spectrum, 0), len(audio))
        for low, high in itertools.pairwise(_BANDS_HZ)
    ])  # fmt: skip
    energy = np.pad(np.cumsum(np.square(bands), axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    return _Bands(bands.astype(np.float32), energy)


def _correlation(first: _Bands, second: _Bands, shift: int) -> tuple[float, int]:
    """The largest correlation near a shift, whatever its sign, and its shift in samples."""
    n_first, n_second = first.audio.shape[1], second.audio.shape[1]
    lags = np.arange(shift - 2 * _HOP, shift + 3 * _HOP)
    start, stop = np.maximum(0, -lags), np.minimum(n_first, n_second - lags)  # of the overlap, in the first
    valid = stop - start >= _MIN_OVERLAP * min(n_first, n_second)
    if not valid.any():
        return 0.0, 0
    lags, start, stop = lags[valid], start[valid], stop[valid]
    size = 1 << (n_first + n_second).bit_length()
    sums = np.zeros(len(lags))
    # From the highest band on: takes differ most there.
    for n_left in reversed(range(len(first.audio))):
        spectra = (np.fft.rfft(clip.audio[n_left], size) for clip in (first, second))
        product = np.fft.irfft(np.conj(next(spectra)) * next(spectra), size)[lags % size]
        of_first = first.energy[n_left, stop] - first.energy[n_left, start]
        of_second = second.energy[n_left, stop + lags] - second.energy[n_left, start + lags]
        sums += product / np.sqrt(np.maximum(of_first * of_second, _FAINT))
        if np.abs(sums).max() + n_left < MIN_CORRELATION * len(first.audio):
            return 0.0, 0
    best = int(np.abs(sums).argmax())
    return float(np.abs(sums[best])) / len(first.audio), int(lags[best])
