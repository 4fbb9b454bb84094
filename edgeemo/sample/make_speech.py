"""Makes `speech.flac`, the sample that `edgeemo listen --sample` plays: three phrases that no one ever said.

    python edgeemo/sample/make_speech.py

A source-filter synthesiser in the manner of Klatt (1980): a glottal pulse train and breath noise go through a
cascade of formant resonators, hiss goes through a resonator of its own, and all settings glide from one sound to
the next. It speaks nonsense, calm, then lively, then sad. There is no recording in it, so no corpus licence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

Array = npt.NDArray[np.float64]

SAMPLE_RATE = 16000
PEAK_DBFS = -12.0
NOISE_DBFS = -70.0
LEAD_S, PAUSE_S = 0.4, 0.6
OVERSAMPLING = 4
"""Of the glottal pulses: their closing is abrupt, and would alias."""

SOUNDS = {
    # F1, F2, F3 (Hz), voice, breath, hiss (0 to 1), centre of the hiss (Hz), duration (ms)
    "i": (280, 2250, 2950, 0.9, 0.02, 0, 4000, 95),
    "e": (480, 1950, 2600, 1.0, 0.02, 0, 4000, 100),
    "a": (740, 1250, 2500, 1.0, 0.02, 0, 4000, 115),
    "o": (500, 900, 2450, 1.0, 0.02, 0, 4000, 110),
    "u": (310, 850, 2300, 0.9, 0.02, 0, 4000, 100),
    "@": (500, 1450, 2500, 0.8, 0.03, 0, 4000, 60),
    "m": (250, 1000, 2200, 0.45, 0, 0, 4000, 70),
    "n": (260, 1650, 2600, 0.45, 0, 0, 4000, 65),
    "l": (350, 1200, 2800, 0.6, 0, 0, 4000, 65),
    "r": (400, 1250, 1650, 0.6, 0, 0, 4000, 65),
    "w": (300, 650, 2200, 0.6, 0, 0, 4000, 60),
    "j": (270, 2150, 3000, 0.6, 0, 0, 4000, 55),
    "v": (280, 1100, 2300, 0.4, 0.05, 0.05, 5000, 60),
    "z": (280, 1700, 2600, 0.35, 0, 0.2, 5600, 75),
    "s": (320, 1700, 2600, 0, 0, 0.45, 5600, 105),
    "S": (320, 1850, 2500, 0, 0, 0.5, 3100, 105),
    "f": (320, 1150, 2400, 0, 0.02, 0.12, 6200, 95),
    "h": (550, 1450, 2500, 0, 0.25, 0.02, 3000, 60),
    "b": (220, 900, 2200, 0.12, 0, 0, 1200, 60),
    "d": (220, 1700, 2600, 0.12, 0, 0, 4200, 55),
    ".": (400, 1500, 2500, 0, 0, 0, 4000, 55),  # the closure before a stop
    "t": (400, 1750, 2600, 0, 0.05, 0.5, 4300, 25),
    "k": (400, 1800, 2300, 0, 0.05, 0.45, 2100, 28),
}
UPPER_FORMANTS_HZ = (3500.0, 4500.0, 5600.0, 6700.0)
BANDWIDTHS_HZ = (70.0, 90.0, 130.0, 200.0, 280.0, 360.0, 450.0)
HISS_BANDWIDTH_HZ = 1400.0


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """What is said, and how.

    Attributes:
        sounds: keys of `SOUNDS`; spaces are for the eye.
        pitch_hz: melody, evenly spread over the phrase.
        tempo: 2 is twice as fast.
        level_db: relative to the loudest phrase.
        tract: length of the vocal tract relative to a man's; the formants move the other way.
        open_quotient: part of a glottal cycle with flow; large is soft and breathy.
        breath: share of noise in the voice.
        jitter: irregularity of pitch and loudness.
    """

    sounds: str
    pitch_hz: tuple[float, ...]
    tempo: float
    level_db: float
    tract: float
    open_quotient: float
    breath: float
    jitter: float


PHRASES = (
    Phrase(  # calm and low
        sounds="w@n@ml@ m@rine. te so lan@v@ hel@m",
        pitch_hz=(105, 122, 112, 118, 108, 112, 96, 88),
        tempo=0.95,
        level_db=-6,
        tract=1.0,
        open_quotient=0.6,
        breath=0.05,
        jitter=0.006,
    ),
    Phrase(  # fast, loud, high and lively
        sounds="jaSa nile.ti ho. ka zu. ki aj @vare. ta so. tej na",
        pitch_hz=(215, 330, 235, 345, 225, 300, 240, 360, 250, 310, 385, 240),
        tempo=1.25,
        level_db=0,
        tract=0.86,
        open_quotient=0.45,
        breath=0.03,
        jitter=0.012,
    ),
    Phrase(  # slow, falling and quiet
        sounds="o n@ sol@mo nuv@ lo ba ham@ fo",
        pitch_hz=(165, 158, 150, 146, 136, 130, 121, 112, 104),
        tempo=0.7,
        level_db=-13,
        tract=0.9,
        open_quotient=0.75,
        breath=0.14,
        jitter=0.015,
    ),
)


class Noise:
    """White noise of unit power from a bit generator's raw words, which all versions of numpy agree on."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def __call__(self, n_samples: int) -> Array:
        uniform: Array = np.asarray(self._bits.random_raw(n_samples), np.float64) / 2.0**64
        return (uniform - 0.5) * 12**0.5


def speech(seed: int = 1) -> npt.NDArray[np.int16]:
    """The whole sample, 16-bit, shape `(n_samples,)`, at `SAMPLE_RATE`."""
    noise = Noise(seed)
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE))
    parts = [np.zeros(round(LEAD_S * SAMPLE_RATE))]
    for phrase in PHRASES:
        parts += [say(phrase, noise), pause]
    audio = np.concatenate(parts) * 10 ** (PEAK_DBFS / 20)
    audio += noise(len(audio)) * 10 ** (NOISE_DBFS / 20)
    return np.round(audio * 32767).astype(np.int16)


def say(phrase: Phrase, noise: Noise) -> Array:
    """One phrase; its peak is at `level_db`."""
    table = np.array([SOUNDS[sound] for sound in phrase.sounds.replace(" ", "")], np.float64)
    durations = np.round(table[:, 7] / 1000 * SAMPLE_RATE / phrase.tempo).astype(np.int64)
    tracks = np.repeat(table, durations, axis=0).T
    formants = [glide(track, 0.06 / phrase.tempo) / phrase.tract for track in tracks[:3]]
    formants += [np.full(durations.sum(), hz / phrase.tract) for hz in UPPER_FORMANTS_HZ]
    voiced, breath, hiss, hiss_hz = (glide(track, 0.025) for track in tracks[3:7])

    source = voiced * glottis(phrase, len(voiced), noise)
    source += (breath + phrase.breath * voiced) * noise(len(voiced))
    for frequency_hz, bandwidth_hz in zip(formants, BANDWIDTHS_HZ, strict=True):
        source = resonate(source, frequency_hz, bandwidth_hz)
    audio = source + resonate(hiss * noise(len(hiss)), hiss_hz, HISS_BANDWIDTH_HZ)

    fade = glide(np.pad(np.ones(len(audio) - 800), 400), 0.05)
    audio *= fade / np.abs(audio * fade).max() * 10 ** (phrase.level_db / 20)
    return audio


def glottis(phrase: Phrase, n_samples: int, noise: Noise) -> Array:
    """The derivative of the flow through the glottis (Klatt and Klatt 1990), scaled to unit power."""
    n_fine = n_samples * OVERSAMPLING
    rate = SAMPLE_RATE * OVERSAMPLING
    pitch_hz = np.interp(
        np.linspace(0, len(phrase.pitch_hz) - 1, n_fine), np.arange(len(phrase.pitch_hz)), phrase.pitch_hz
    )
    wobble = [glide(np.repeat(noise(n_samples // 40 + 1), 40)[:n_samples], 0.01) for _ in range(2)]
    phase = np.cumsum(pitch_hz * (1 + phrase.jitter * np.repeat(wobble[0], OVERSAMPLING)) / rate) % 1
    opening = phase / phrase.open_quotient
    pulses = np.where(opening < 1, 2 * opening - 3 * opening**2, 0).reshape(-1, OVERSAMPLING).mean(1)
    return np.asarray(pulses / pulses.std() * (1 + 5 * phrase.jitter * wobble[1]), np.float64)


def glide(steps: Array, duration_s: float) -> Array:
    """Steps to smooth transitions of a duration."""
    window = np.hanning(2 * round(duration_s * SAMPLE_RATE / 2) + 3)
    margin = len(window) // 2
    return np.convolve(np.pad(steps, margin, mode="edge"), window / window.sum(), mode="valid")


def resonate(audio: Array, frequency_hz: Array, bandwidth_hz: float) -> Array:
    """A second-order resonator whose frequency follows `frequency_hz`, shape `(n_samples,)`; gain 1 at 0 Hz."""
    radius = np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE)
    first = 2 * radius * np.cos(2 * np.pi * frequency_hz / SAMPLE_RATE)
    output, last, before = [], 0.0, 0.0
    for value, weight in zip(audio.tolist(), first.tolist(), strict=True):
        before, last = last, (1 - weight + radius**2) * value + weight * last - radius**2 * before
        output.append(last)
    return np.array(output)


if __name__ == "__main__":
    soundfile.write(Path(__file__).with_name("speech.flac"), speech(), SAMPLE_RATE, subtype="PCM_16")
