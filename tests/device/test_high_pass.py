"""The high-pass in front of everything: against SciPy's, and what it is for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgeemo
from edgeemo.audio import read_audio
from edgeemo.high_pass import CUTOFF_HZ, HighPass, without_constant
from edgeemo.places import sample_path
from support.events import steps_in
from support.signals import voice_like


@settings(deadline=None, max_examples=30)
@given(
    rate=st.sampled_from([8000, 16000, 48000]),
    sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=6),
    constant=st.floats(-0.5, 0.5),
)
def test_it_is_the_recurrence(rate: int, sizes: list[int], constant: float) -> None:
    audio = (np.random.default_rng(0).uniform(-0.4, 0.4, sum(sizes)) + constant).astype(np.float32)
    high_pass, start, found = HighPass(rate), 0, [np.zeros(0, np.float32)]
    for size in sizes:
        found.append(high_pass(audio[start : start + size]))
        start += size
    pole = math.exp(-2 * math.pi * CUTOFF_HZ / rate)
    expected, output = [], 0.0
    for i, value in enumerate(audio.astype(np.float64)):
        output = pole * (output + value - (audio[i - 1] if i else value))
        expected.append(output)
    np.testing.assert_allclose(np.concatenate(found), np.array(expected, np.float32), atol=1e-6)


def test_a_constant_is_gone_and_speech_stays() -> None:
    voice = voice_like(3.0, 16000)
    with_constant = without_constant(voice + np.float32(0.1), 16000)
    np.testing.assert_allclose(with_constant, without_constant(voice, 16000), atol=1e-5)
    tone = np.sin(2 * np.pi * 100 * np.arange(32000) / 16000).astype(np.float32)
    assert np.std(without_constant(tone, 16000)[16000:]) == pytest.approx(np.std(tone), rel=0.01)


@pytest.mark.parametrize("constant", [0.01, -0.1])
def test_live_and_in_files_a_constant_changes_nothing(constant: float) -> None:
    model = edgeemo.load("cnn_lstm")
    clean = read_audio(sample_path(), model.sample_rate)
    shifted = clean + np.float32(constant)
    of_files = [model.classify(audio, sample_rate=model.sample_rate) for audio in (clean, shifted)]
    assert of_files[1].probabilities == pytest.approx(of_files[0].probabilities, abs=1e-3)
    live = [
        steps_in(edgeemo.Listener(model, sample_rate=model.sample_rate).push(audio))
        for audio in (clean, shifted)
    ]
    for one, other in zip(*live, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=5e-3)
