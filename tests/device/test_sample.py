"""The bundled speech: what the script makes, and fit to be shown as speech."""

from __future__ import annotations

import runpy

import numpy as np
import pytest
import soundfile

from edgeemo.places import sample_path


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    audio, _ = soundfile.read(sample_path(), dtype="int16", always_2d=True)
    return audio[:, 0]


def test_the_script_makes_it(sample: np.ndarray) -> None:
    made = runpy.run_path(str(sample_path().with_name("make_speech.py")))["speech"]()
    assert made.dtype == np.int16
    # Another processor may round a cosine otherwise: at most one step of 16 bits.
    np.testing.assert_allclose(made.astype(int), sample.astype(int), rtol=0, atol=1)


def test_its_format() -> None:
    info = soundfile.info(sample_path())
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", 16000, 1)
    assert 8 <= info.duration <= 12
    assert sample_path().stat().st_size < 250_000


def test_its_level(sample: np.ndarray) -> None:
    audio = sample / 32768
    assert dbfs(np.abs(audio).max()) == pytest.approx(-12, abs=0.5)
    blocks = audio[: len(audio) // 1600 * 1600].reshape(-1, 1600)  # 0.1 s
    levels_dbfs = dbfs(np.sqrt(np.mean(blocks**2, axis=1)))
    assert levels_dbfs.min() == pytest.approx(-70, abs=2)
    assert 0.1 < np.mean(levels_dbfs < -65) < 0.3  # pauses, with noise in them
    assert np.mean(levels_dbfs > -45) > 0.6


def dbfs(amplitude: np.ndarray) -> np.ndarray:
    return 20 * np.log10(amplitude)
