"""What microphones, rooms, lines and codecs do to speech: one small function each, and the conditions made of them.

All take and give mono float32 `(n_samples,)` at the rate given, and leave the length as it is unless they say
otherwise. Random ones draw from the generator that they are given, and from nothing else.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

Audio = npt.NDArray[np.float32]
Random = np.random.Generator

N_TALKERS = 6
"""Other clips that babble is made of."""
_TELEPHONE_HZ = 8000
_NEAR_DB, _FAR_DB = 3.0, -10.0  # energy of the direct sound, relative to the reverberation
_N_HARMONICS = 5


@dataclass(frozen=True)
class Surroundings:
    """What else a condition may need besides the clip itself.

    Attributes:
        rate: Hz of the audio.
        random: for this clip under this condition alone.
        others: gives some clip of another speaker, mono float32 at `rate`.
    """

    rate: int
    random: Random
    others: Callable[[Random], Audio]


Degradation = Callable[[Audio, Surroundings], Audio]


@dataclass(frozen=True)
class Condition:
    """One way to hear all clips.

    Attributes:
        group: the kind, for tables: `noise`, `room` and so on.
        name: unique.
        apply: what it does to a clip.
    """

    group: str
    name: str
    apply: Degradation


def add_noise(audio: Audio, noise: Audio, snr_db: float) -> Audio:
    """Add noise of the same length at a signal-to-noise ratio, by the power of both over the whole clip.

    Silence stays silence: it has no such ratio.
    """
    signal, power = _power(audio), _power(noise)
    if not signal or not power:
        return audio
    gain = np.sqrt(signal / power) * 10 ** (-snr_db / 20)
    noisy: Audio = (audio + gain * noise).astype(np.float32)
    return noisy


def white(n_samples: int, random: Random) -> Audio:
    """Gaussian noise with as much power in every Hz."""
    return random.standard_normal(n_samples).astype(np.float32)


def pink(n_samples: int, random: Random, rate: int) -> Audio:
    """Gaussian noise whose power falls by 3 dB an octave, from 20 Hz on."""
    spectrum = np.fft.rfft(random.standard_normal(n_samples))
    frequency = np.maximum(np.fft.rfftfreq(n_samples, 1 / rate), 20)
    return np.fft.irfft(spectrum / np.sqrt(frequency), n_samples).astype(np.float32)


def babble(n_samples: int, others: Callable[[Random], Audio], random: Random) -> Audio:
    """`N_TALKERS` other clips at once, each as loud as the next, from anywhere in them, repeated where too short."""
    mix = np.zeros(n_samples)
    for _ in range(N_TALKERS):
        talker = others(random)
        turned = np.roll(np.resize(talker, max(n_samples, len(talker))), -int(random.integers(len(talker))))
        power = _power(talker)
        mix += turned[:n_samples] / np.sqrt(power) if power else 0
    return mix.astype(np.float32)


def mains(n_samples: int, hz: float, rate: int, *, harmonics: int = 1) -> Audio:
    """A sine of amplitude 1 at the mains frequency, with harmonics that fall by 6 dB each."""
    time = np.arange(n_samples) / rate
    waves = [0.5**i * np.sin(2 * np.pi * hz * (i + 1) * time) for i in range(harmonics)]
    mixed: Audio = np.sum(waves, axis=0).astype(np.float32)
    return mixed


def add_mains(audio: Audio, hz: float, level_dbfs: float, rate: int) -> Audio:
    """Add mains hum, a sine at a level relative to one of full scale."""
    return audio + np.float32(10 ** (level_dbfs / 20)) * mains(len(audio), hz, rate)


def add_constant(audio: Audio, constant: float) -> Audio:
    """Add a constant, as a microphone without a coupling capacitor does."""
    return audio + np.float32(constant)


def gain(audio: Audio, gain_db: float) -> Audio:
    """Louder or quieter, cut off at full scale."""
    mixed: Audio = np.clip(audio * np.float32(10 ** (gain_db / 20)), -1, 1)
    return mixed


def impulse_response(rt60_s: float, rate: int, random: Random, *, direct_db: float = _NEAR_DB) -> Audio:
    """Of a room: the direct sound, then noise that decays by 60 dB in `rt60_s` (Polack 1988).

    By default the direct sound has twice the energy of the rest, as half a metre from the speaker in a living room;
    two metres away it has a tenth (-10 dB).
    """
    n_samples = max(2, round(1.2 * rt60_s * rate))
    tail = random.standard_normal(n_samples) * 10 ** (-3 * np.arange(n_samples) / (rt60_s * rate))
    tail[0] = 0
    tail *= 10 ** (-direct_db / 20) / np.sqrt(np.square(tail).sum())
    tail[0] = 1
    return tail.astype(np.float32)


def in_room(audio: Audio, response: Audio) -> Audio:
    """Convolve with a room's impulse response; what rings on after the clip is cut off."""
    size = 1 << (len(audio) + len(response) - 1).bit_length()
    heard = np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(response, size), size)
    return heard[: len(audio)].astype(np.float32)


def through_rate(audio: Audio, rate: int, lower: int) -> Audio:
    """Sample at a lower rate and back: nothing above half of it is left."""
    return _as_long(soxr.resample(soxr.resample(audio, rate, lower), lower, rate), len(audio))


def through_codec(
    audio: Audio,
    rate: int,
    format: str,
    subtype: str,
    *,
    coded_rate: int,
    compression_level: float | None = None,
) -> Audio:
    """Encode and decode with libsndfile, at `coded_rate`.

    Args:
        audio: the clip.
        rate: Hz of it.
        format: of libsndfile: `WAV`, `MP3`, `OGG`.
        subtype: of libsndfile: `ULAW`, `GSM610`, `MPEG_LAYER_III`, `OPUS`.
        coded_rate: Hz of what is encoded.
        compression_level: from 0 to 1, the smallest file; None: libsndfile's own.
    """
    resampled = soxr.resample(audio, rate, coded_rate) if coded_rate != rate else audio
    file = io.BytesIO()
    options = {} if compression_level is None else {"compression_level": compression_level}
    soundfile.write(file, np.clip(resampled, -1, 1), coded_rate, format=format, subtype=subtype, **options)
    file.seek(0)
    decoded, decoded_rate = soundfile.read(file, dtype="float32")
    if decoded_rate != rate:
        decoded = soxr.resample(decoded, decoded_rate, rate)
    return _as_long(decoded, len(audio))


def without_start(audio: Audio, seconds: float, rate: int) -> Audio:
    """Cut the start off; at least a quarter of the clip stays."""
    return audio[min(round(seconds * rate), 3 * len(audio) // 4) :]


def without_end(audio: Audio, seconds: float, rate: int) -> Audio:
    """Cut the end off; at least a quarter of the clip stays."""
    return audio[: max(len(audio) - round(seconds * rate), len(audio) - 3 * len(audio) // 4)]


def conditions() -> tuple[list[Condition], dict[str, str]]:
    """All conditions that can be made here, and for each of the others the reason why not."""
    found = [
        Condition("line", "8 kHz", lambda x, s: through_rate(x, s.rate, _TELEPHONE_HZ)),
        *_noises(),
        *(Condition("hum", f"{hz} Hz at -40 dBFS", _hum(hz)) for hz in (50, 60)),
        *(Condition("constant", f"constant of {c:g}", _constant(c)) for c in (0.01, 0.1)),
        *(
            Condition(
                "room",
                f"room of {rt:g} s",
                _room(rt),
            )
            for rt in (0.3, 0.6, 1.0)
        ),
        *(Condition("room", f"room of {rt:g} s, far away", _far(rt)) for rt in (0.3, 0.6)),
        *(Condition("gain", f"gain of {db:+d} dB", _gain(db)) for db in (-40, -20, 10)),
        Condition("cut", "first second cut", lambda x, s: without_start(x, 1, s.rate)),
        Condition("cut", "last second cut", lambda x, s: without_end(x, 1, s.rate)),
    ]
    reasons = {}
    for name, codec in _CODECS.items():
        try:
            codec(np.zeros(16000, np.float32), 16000)
        except (soundfile.SoundFileError, TypeError, ValueError) as error:
            reasons[name] = f"the installed libsndfile or soundfile does not write it ({error})"
        else:
            found.append(Condition("codec", name, _through(codec)))
    return found, reasons


_CODECS: dict[str, Callable[[Audio, int], Audio]] = {
    "mu-law at 8 kHz": functools.partial(
        through_codec, format="WAV", subtype="ULAW", coded_rate=_TELEPHONE_HZ
    ),
    "GSM 06.10": functools.partial(through_codec, format="WAV", subtype="GSM610", coded_rate=_TELEPHONE_HZ),
    "MP3, smallest": functools.partial(
        through_codec, format="MP3", subtype="MPEG_LAYER_III", coded_rate=16_000, compression_level=0.99
    ),
    "Opus, smallest": functools.partial(
        through_codec, format="OGG", subtype="OPUS", coded_rate=16_000, compression_level=0.99
    ),
}


def _noises() -> list[Condition]:
    kinds: dict[str, Callable[[int, Surroundings], Audio]] = {
        "white noise": lambda n, s: white(n, s.random),
        "pink noise": lambda n, s: pink(n, s.random, s.rate),
        "babble": lambda n, s: babble(n, s.others, s.random),
        "hum": lambda n, s: mains(n, 50, s.rate, harmonics=_N_HARMONICS),
    }
    return [
        Condition(
            "noise",
            f"{kind} at {snr} dB",
            _noise(make, snr),
        )
        for kind, make in kinds.items()
        for snr in (20, 10, 0)
    ]


def _noise(make: Callable[[int, Surroundings], Audio], snr_db: float) -> Degradation:
    return lambda x, s: add_noise(x, make(len(x), s), snr_db)


def _hum(hz: float) -> Degradation:
    return lambda x, s: add_mains(x, hz, -40, s.rate)


def _constant(constant: float) -> Degradation:
    return lambda x, _: add_constant(x, constant)


def _room(rt60_s: float) -> Degradation:
    return lambda x, s: in_room(x, impulse_response(rt60_s, s.rate, s.random))


def _far(rt60_s: float) -> Degradation:
    """As loud as from near: who stands far away speaks up, or is heard by a microphone that amplifies."""

    def apply(audio: Audio, s: Surroundings) -> Audio:
        response = impulse_response(rt60_s, s.rate, s.random, direct_db=_FAR_DB)
        return in_room(audio, response / np.linalg.norm(response))

    return apply


def _gain(gain_db: float) -> Degradation:
    return lambda x, _: gain(x, gain_db)


def _through(codec: Callable[[Audio, int], Audio]) -> Degradation:
    return lambda x, s: codec(x, s.rate)


def _power(audio: Audio) -> float:
    return float(np.dot(audio, audio)) / max(1, len(audio))


def _as_long(audio: npt.NDArray[np.floating], n_samples: int) -> Audio:
    return np.pad(audio, (0, max(0, n_samples - len(audio))))[:n_samples].astype(np.float32)
