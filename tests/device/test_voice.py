"""Whether somebody speaks, every 32 ms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeemo import voice
from edgeemo.audio import Resampler, read_audio
from edgeemo.clip import Clip, spoken
from edgeemo.errors import AudioError, ModelError
from edgeemo.evaluation.no_voice import SOUNDS
from edgeemo.places import sample_path
from edgeemo.stepper import ONSET_S
from edgeemo.voice import (
    CHUNK_SAMPLES,
    HANG_CHUNKS,
    RECENT_CHUNKS,
    SAMPLE_RATE,
    SpeechDetector,
    VoiceDetector,
)

SECONDS = 5


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return read_audio(sample_path(), SAMPLE_RATE)[: SECONDS * SAMPLE_RATE]


@pytest.fixture
def fresh_network() -> Iterator[None]:
    """A test with this loads the network itself, and so does whoever comes after it."""
    voice._network.cache_clear()
    yield
    voice._network.cache_clear()


def share_voiced(audio: np.ndarray, rate: int = SAMPLE_RATE) -> float:
    return float((VoiceDetector(rate).push(audio) >= 0.5).mean())


def test_speech_is_heard(speech: np.ndarray) -> None:
    assert share_voiced(speech) > 0.6


@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize("gain_db", [0, -20, -40])
def test_what_is_no_voice_is_not_heard(name: str, gain_db: float) -> None:
    audio = SOUNDS[name](SECONDS * SAMPLE_RATE, SAMPLE_RATE) * np.float32(10 ** (gain_db / 20))
    assert share_voiced(audio) == 0


@pytest.mark.parametrize("gain_db", [10, -20, -40])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_neither_level_nor_offset_matters(speech: np.ndarray, gain_db: float, offset: float) -> None:
    changed = speech * np.float32(10 ** (gain_db / 20)) + np.float32(offset)
    voiced, expected = (VoiceDetector().push(audio) >= 0.5 for audio in (changed, speech))
    assert (voiced == expected).mean() > 0.97


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_any_rate_is_taken(speech: np.ndarray, rate: int) -> None:
    resampler = Resampler(SAMPLE_RATE, rate)
    audio = np.concatenate([resampler.push(speech), resampler.flush()])
    assert share_voiced(audio, rate) == pytest.approx(share_voiced(speech), abs=0.06)


@settings(deadline=None, max_examples=25)
@given(
    cuts=st.lists(st.integers(0, 3 * SAMPLE_RATE), max_size=12),
    rate=st.sampled_from([SAMPLE_RATE, 48000]),
)
def test_cuts_do_not_matter(cuts: list[int], rate: int) -> None:
    audio = read_audio(sample_path(), SAMPLE_RATE)[: 3 * SAMPLE_RATE]
    whole = VoiceDetector(rate).push(audio)
    detector = VoiceDetector(rate)
    pieces = [detector.push(piece) for piece in np.split(audio, sorted(cuts))]
    assert len(whole) > 0
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=0, atol=1e-5)


def test_a_long_push_is_heard_in_several_runs(speech: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = VoiceDetector().push(speech)
    monkeypatch.setattr(voice, "_MAX_CHUNKS", 7)
    np.testing.assert_allclose(VoiceDetector().push(speech), whole, rtol=0, atol=1e-5)


def test_probabilities_come_with_the_last_sample_of_a_chunk() -> None:
    detector = VoiceDetector()
    assert detector.push(np.zeros(CHUNK_SAMPLES - 1, np.float32)).shape == (0,)
    found = detector.push(np.zeros(1, np.float32))
    assert (found.shape, found.dtype) == ((1,), np.float32)
    assert detector.push(np.zeros(0, np.float32)).shape == (0,)


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 48000])
def test_reset_forgets(speech: np.ndarray, rate: int) -> None:
    detector = VoiceDetector(rate)
    first = detector.push(speech[:20001])
    again = detector.push(speech[:20001])
    assert len(again) != len(first) or np.abs(again - first).max() > 1e-3, "nothing to forget"
    detector.reset()
    np.testing.assert_array_equal(detector.push(speech[:20001]), first)


def test_a_refused_block_changes_nothing(speech: np.ndarray) -> None:
    detector, other = VoiceDetector(), VoiceDetector()
    detector.push(speech[:1000]), other.push(speech[:1000])
    with pytest.raises(AudioError, match="NaN"):
        detector.push(np.full(2000, np.nan, np.float32))
    with pytest.raises(AudioError, match="mono"):
        detector.push(np.zeros((2, 2000), np.float32))
    np.testing.assert_array_equal(detector.push(speech[1000:9000]), other.push(speech[1000:9000]))


def test_detectors_share_one_network(speech: np.ndarray) -> None:
    """And not their streams."""
    one, other = VoiceDetector(), VoiceDetector()
    assert one._session is other._session
    expected = VoiceDetector().push(speech)
    pieces = []
    for piece in np.split(speech, 5):
        pieces.append(one.push(piece))
        other.push(piece[::-1].copy())
    np.testing.assert_allclose(np.concatenate(pieces), expected, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("fresh_network")
def test_another_file_is_refused(tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "VOICE_PATH", tiny_model_path)
    with pytest.raises(ModelError, match=r"tiny\.onnx"):
        VoiceDetector()


def test_it_is_no_model_of_emotions() -> None:
    from edgeemo.model import EmotionModel

    with pytest.raises(ModelError, match="voice"):
        EmotionModel(voice.VOICE_PATH)


# --- utterances ------------------------------------------------------------------------------------------


def test_a_stepper_remembers_what_a_voice_takes_to_be_certain() -> None:
    assert ONSET_S == RECENT_CHUNKS * CHUNK_SAMPLES / SAMPLE_RATE


def test_utterances_do_not_depend_on_the_cut() -> None:
    sample = np.pad(read_audio(sample_path(), SAMPLE_RATE), SAMPLE_RATE)
    whole = [left > 0 for left in SpeechDetector().follow(sample)]
    assert not whole[: SAMPLE_RATE // CHUNK_SAMPLES - 1][-1]
    begins = [b and not a for a, b in zip([False, *whole], whole, strict=False)]
    in_pieces = SpeechDetector()
    pieces = [sample[at : at + 2560] for at in range(0, len(sample), 2560)]
    assert sum(in_pieces.push(piece) for piece in pieces) == sum(begins) >= 2
    assert in_pieces.paused
    runs = "".join("01"[speaks] for speaks in whole).strip("0").split("0")
    assert min(len(run) for run in runs if run) >= HANG_CHUNKS


def test_a_clip_is_heard_once_by_whoever_asks() -> None:
    audio = read_audio(sample_path(), SAMPLE_RATE)
    n_read = 0

    def read() -> Iterator[np.ndarray]:
        nonlocal n_read
        n_read += 1
        yield from [audio] * (1 + 2**21 // len(audio))  # longer than what is kept

    clip = Clip(read, SAMPLE_RATE, SAMPLE_RATE)
    assert clip.speech.span() is not None
    assert clip.speech is clip.speech
    assert n_read == 2, "once for its length, and once by the voice detector"


def test_a_clip_is_heard_from_its_first_voice_to_its_last() -> None:
    sample = read_audio(sample_path(), SAMPLE_RATE)
    padded = np.pad(sample, (2 * SAMPLE_RATE, 3 * SAMPLE_RATE))
    heard = spoken(padded, SAMPLE_RATE)
    assert len(sample) / 2 < len(heard) < len(sample) + SAMPLE_RATE
    assert np.square(heard).sum() > 0.99 * np.square(sample).sum()
    ends_speaking = 0
    for end in range(len(sample) // 4, len(sample), SAMPLE_RATE // 10):
        cut = sample[:end]
        if SpeechDetector().follow(cut)[-1] == HANG_CHUNKS:  # as a recording that ends with a word
            ends_speaking += 1
            np.testing.assert_array_equal(spoken(cut, SAMPLE_RATE)[-1600:], cut[-1600:])
    assert ends_speaking > 3
    noise = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE).astype(np.float32) * np.float32(0.1)
    np.testing.assert_array_equal(spoken(noise, SAMPLE_RATE), noise)
