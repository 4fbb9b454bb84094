"""What a degradation does, measured on its output."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeemo.bench.signals import speech_like
from edgeemo.evaluation import degradations as d

RATE = 16_000
SPEECH = speech_like(2 * RATE, RATE)
SEEDS = st.integers(0, 2**32 - 1)


def level_db(audio: np.ndarray) -> float:
    return 10 * np.log10(np.square(audio, dtype=np.float64).mean())


def band_db(audio: np.ndarray, low_hz: float, high_hz: float) -> float:
    """Power in a band, by its spectrum."""
    frequency = np.fft.rfftfreq(len(audio), 1 / RATE)
    power = np.square(np.abs(np.fft.rfft(audio * np.hanning(len(audio)))))
    return 10 * np.log10(power[(frequency >= low_hz) & (frequency < high_hz)].sum() + 1e-20)


def surroundings(seed: int = 0) -> d.Surroundings:
    others = [speech_like(RATE, RATE, seed=seed) for seed in range(3)]
    return d.Surroundings(RATE, np.random.default_rng(seed), lambda random: others[random.integers(3)])


@given(SEEDS, st.floats(-10, 40), st.floats(0.001, 1))
def test_signal_to_noise_ratio(seed: int, snr_db: float, scale: float) -> None:
    audio = (scale * SPEECH).astype(np.float32)
    noise = d.white(len(audio), np.random.default_rng(seed))
    added = d.add_noise(audio, noise, snr_db) - audio
    assert level_db(audio) - level_db(added) == pytest.approx(snr_db, abs=0.05)


def test_silence_stays_silent() -> None:
    silence = np.zeros(RATE, np.float32)
    assert not d.add_noise(silence, d.white(RATE, np.random.default_rng(0)), 10).any()


def test_white_and_pink() -> None:
    random = np.random.default_rng(0)
    white, pink = d.white(20 * RATE, random), d.pink(20 * RATE, random, RATE)
    octaves = [(hz, 2 * hz) for hz in (100, 200, 400, 800, 1600, 3200)]
    np.testing.assert_allclose(np.diff([band_db(white, *o) for o in octaves]), 3.01, atol=0.5)
    np.testing.assert_allclose(np.diff([band_db(pink, *o) for o in octaves]), 0, atol=0.5)


def test_babble_is_of_others_alone() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(5000) / RATE).astype(np.float32)
    mix = d.babble(3 * RATE, lambda random: tone, np.random.default_rng(0))
    assert len(mix) == 3 * RATE
    assert band_db(mix, 400, 480) - band_db(mix, 1000, 8000) > 20


@pytest.mark.parametrize("hz", [50, 60])
def test_mains(hz: int) -> None:
    hum = d.add_mains(np.zeros(RATE, np.float32), hz, -40, RATE)
    assert np.abs(hum).max() == pytest.approx(0.01, rel=1e-3)
    spectrum = np.abs(np.fft.rfft(hum))
    assert spectrum.argmax() == hz
    harmonics = np.abs(np.fft.rfft(d.mains(RATE, hz, RATE, harmonics=5)))
    assert list(np.flatnonzero(harmonics > 100)) == [hz * i for i in range(1, 6)]


def test_constant_and_gain() -> None:
    assert d.add_constant(SPEECH, 0.1).mean() - SPEECH.mean() == pytest.approx(0.1, abs=1e-5)
    assert level_db(d.gain(SPEECH, -40)) - level_db(SPEECH) == pytest.approx(-40, abs=0.01)
    loud = d.gain(SPEECH, 30)
    assert np.abs(loud).max() == 1
    assert (np.abs(loud) == 1).mean() > 0.1


@pytest.mark.parametrize("rt60_s", [0.3, 0.6, 1.0])
def test_reverberation_time(rt60_s: float) -> None:
    """By Schroeder's backward integration, from -5 to -25 dB, without the direct sound."""
    times = []
    for seed in range(5):
        response = d.impulse_response(rt60_s, RATE, np.random.default_rng(seed)).astype(np.float64)
        assert np.square(response[1:]).sum() == pytest.approx(10**-0.3, rel=1e-3)
        left = 10 * np.log10(np.cumsum(np.square(response[1:])[::-1])[::-1] / np.square(response[1:]).sum())
        fall = (left < -5) & (left > -25)
        slope = np.polyfit(np.flatnonzero(fall) / RATE, left[fall], 1)[0]
        times.append(-60 / slope)
    assert np.mean(times) == pytest.approx(rt60_s, rel=0.05)


def test_far_away_there_is_little_direct_sound() -> None:
    """A tenth of the reverberation's energy, and together as loud as the clip."""
    (far,) = [c for c in d.conditions()[0] if c.name == "room of 0.6 s, far away"]
    click = np.zeros(RATE, np.float32)
    click[0] = 0.5
    heard = np.square(far.apply(click, surroundings()).astype(np.float64))
    assert heard[0] / heard[1:].sum() == pytest.approx(0.1, rel=1e-3)
    assert heard.sum() == pytest.approx(0.25, rel=1e-3)


def test_a_room_is_a_convolution() -> None:
    response = d.impulse_response(0.3, RATE, np.random.default_rng(0))
    expected = np.convolve(SPEECH[:3000], response)[:3000]
    np.testing.assert_allclose(d.in_room(SPEECH[:3000], response), expected, atol=1e-5)


def test_lower_rate_has_no_upper_band() -> None:
    heard = d.through_rate(SPEECH, RATE, 8000)
    assert band_db(heard, 4200, 8000) - band_db(SPEECH, 4200, 8000) < -40
    assert band_db(heard, 100, 3500) == pytest.approx(band_db(SPEECH, 100, 3500), abs=0.1)


def test_mu_law_is_the_standards() -> None:
    """At its own rate: 8 bits, logarithmic (ITU-T G.711)."""
    heard = d.through_codec(SPEECH, 8000, "WAV", "ULAW", coded_rate=8000)
    assert len(np.unique(heard)) <= 255
    mu = 255
    expected = np.sign(SPEECH) * np.log1p(mu * np.abs(SPEECH)) / np.log1p(mu)
    found = np.sign(heard) * np.log1p(mu * np.abs(heard)) / np.log1p(mu)
    assert np.abs(found - expected).max() < 1.5 / 128


@pytest.mark.parametrize(
    "condition", [c for c in d.conditions()[0] if c.group == "codec"], ids=lambda c: c.name
)
def test_a_codec_keeps_the_voice_where_it_is_and_loses_the_upper_band(condition: d.Condition) -> None:
    heard = condition.apply(SPEECH, surroundings())
    size = 2 * len(SPEECH)
    correlation = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(SPEECH, size)))
    assert correlation.argmax() == 0, "it comes later or earlier"
    assert correlation[0] / np.linalg.norm(heard) / np.linalg.norm(SPEECH) > 0.85
    assert band_db(heard, 300, 3400) == pytest.approx(band_db(SPEECH, 300, 3400), abs=2)
    narrow = condition.name in ("mu-law at 8 kHz", "GSM 06.10")
    assert band_db(heard, 4200, 8000) - band_db(SPEECH, 4200, 8000) < (-40 if narrow else -10)


@pytest.mark.parametrize(("seconds", "kept"), [(1, RATE), (10, RATE // 2)])
def test_cuts(seconds: float, kept: int) -> None:
    np.testing.assert_array_equal(d.without_start(SPEECH, seconds, RATE), SPEECH[-kept:])
    np.testing.assert_array_equal(d.without_end(SPEECH, seconds, RATE), SPEECH[:kept])


def test_conditions_have_names_of_their_own() -> None:
    found, reasons = d.conditions()
    assert len({c.name for c in found}) == len(found)
    assert len(found) + len(reasons) == 31


@pytest.mark.parametrize("condition", d.conditions()[0], ids=lambda c: c.name)
@pytest.mark.parametrize("n_samples", [1, 400, RATE])
def test_every_condition_on_every_length(condition: d.Condition, n_samples: int) -> None:
    audio = SPEECH[:n_samples]
    before = audio.copy()
    heard, again = (condition.apply(audio, surroundings(5)) for _ in range(2))
    assert heard.dtype == np.float32
    assert np.isfinite(heard).all()
    assert 1 <= len(heard) <= n_samples
    assert len(heard) == n_samples or condition.group == "cut"
    np.testing.assert_array_equal(heard, again)
    np.testing.assert_array_equal(audio, before)
    if n_samples == RATE:
        assert len(heard) < n_samples or np.abs(heard - audio).max() > 1e-4
