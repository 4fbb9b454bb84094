"""A whole clip at a model's rate: read once or twice, in little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgeemo import clip as clip_module
from edgeemo.audio import read_audio
from edgeemo.clip import CANCELLED, SILENCE, Clip
from edgeemo.errors import AudioError
from edgeemo.high_pass import without_constant
from edgeemo.model import EmotionModel
from support.signals import noise, speech_like

MB = 1e6 if sys.platform == "darwin" else 1000  # of ru_maxrss


@pytest.fixture(params=["kept", "read again"])
def clip_is(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A test with this runs with clips that are kept in memory, and with clips that are too long for that."""
    if request.param == "read again":
        monkeypatch.setattr(clip_module, "_KEPT_SAMPLES", 1000)
        monkeypatch.setattr(clip_module, "_BLOCK_SAMPLES", 700)
    return str(request.param)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_blocks_are_the_clip_as_often_as_wanted(clip_is: str, tmp_path: Path, rate: int) -> None:
    samples = noise(30_000)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    expected = without_constant(read_audio(tmp_path / "a.wav", 16000), 16000)
    for clip in Clip.of_file(tmp_path / "a.wav", 16000), Clip.of_samples(samples, rate, 16000):
        assert clip.n_samples == len(expected)
        assert clip.duration_s == pytest.approx(30_000 / rate, abs=1e-3)
        for _ in range(2):
            blocks = list(clip.blocks())
            np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-6)
        assert (len(blocks) == 1) == (clip_is == "kept")


@pytest.mark.parametrize("n_samples", [3, 2559, 2561, 10241, 40000])
def test_a_score_does_not_depend_on_how_a_clip_is_read(
    either_model: EmotionModel, n_samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = speech_like(n_samples)
    kept = either_model.classify(audio, sample_rate=48000)
    monkeypatch.setattr(clip_module, "_KEPT_SAMPLES", 0)
    monkeypatch.setattr(clip_module, "_BLOCK_SAMPLES", 999)
    assert either_model.classify(audio, sample_rate=48000) == kept


def test_a_file_that_becomes_shorter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_module, "_KEPT_SAMPLES", 0)
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(30_000), 16000)
    clip = Clip.of_file(path, 16000)
    soundfile.write(path, noise(20_000), 16000)
    with pytest.raises(AudioError, match=r"a\.wav: changed while it was read"):
        list(clip.blocks())


def test_why_a_clip_is_silent(tmp_path: Path) -> None:
    voice = noise(16000)
    soundfile.write(tmp_path / "mono.wav", 0 * voice, 16000)
    soundfile.write(tmp_path / "stereo.wav", np.stack([0 * voice, 0 * voice], axis=1), 16000)
    soundfile.write(tmp_path / "opposite.wav", np.stack([voice, -voice], axis=1), 16000)
    found = [
        Clip.of_file(tmp_path / f"{name}.wav", 8000).why_silent() for name in ("mono", "stereo", "opposite")
    ]
    assert found == [SILENCE, SILENCE, CANCELLED]
    assert Clip.of_samples(0 * voice, 16000, 8000).why_silent() == SILENCE


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory of a process is POSIX's")
def test_an_hour_takes_no_more_memory_than_minutes(tmp_path: Path, either_model_path: Path) -> None:
    """Its samples alone would be 230 MB."""
    peaks_mb = []
    for minutes in (4, 60):
        path = tmp_path / f"{minutes}.wav"
        block = noise(60 * 8000)
        with soundfile.SoundFile(path, "w", 8000, 1) as file:
            for _ in range(minutes):
                file.write(block)
        code = (
            "import edgeemo, resource, sys\n"
            "score = edgeemo.load(sys.argv[1]).classify(sys.argv[2])\n"
            "print(score.duration_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(either_model_path), str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
        duration_s, peak = done.stdout.split()
        assert float(duration_s) == 60 * minutes
        peaks_mb.append(int(peak) / MB)
    assert peaks_mb[1] < peaks_mb[0] + 10
