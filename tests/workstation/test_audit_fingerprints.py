"""Fingerprints: the same sound is found again, whatever was done to it, and two takes are not."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeemo.audio import read_audio
from edgeemo.evaluation import degradations
from edgeemo.places import sample_path
from edgeemo.workstation.audit.fingerprints import RATE, Match, landmarks, matches
from support.voices import spoken

FILE_RATE = 16000
N_CLIPS = 6


def found(clips: list[np.ndarray], rate: int = FILE_RATE) -> list[Match]:
    at_rate = [soxr.resample(clip, rate, RATE) for clip in clips]
    return matches([landmarks(clip) for clip in at_rate], lambda i: at_rate[i])


def pairs(clips: list[np.ndarray], rate: int = FILE_RATE) -> list[tuple[int, int]]:
    return [(match.first, match.second) for match in found(clips, rate)]


@functools.cache
def originals() -> list[np.ndarray]:
    """Three seconds each: of the sample, which is synthetic speech, and of made-up voices."""
    sample = read_audio(sample_path(), FILE_RATE)
    return [
        *(sample[start * FILE_RATE : (start + 3) * FILE_RATE] for start in (0, 3)),
        *(spoken(speaker=i, sentence=i, take=0, seconds=3) for i in range(N_CLIPS - 2)),
    ]


def through_rate(lower: int):
    return lambda audio: degradations.through_rate(audio, FILE_RATE, lower)


def through_mp3(rate: int):
    return lambda audio: degradations.through_codec(
        audio, FILE_RATE, "MP3", "MPEG_LAYER_III", coded_rate=rate, compression_level=0.99
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(through_rate(8000), id="8 kHz"),
        pytest.param(through_rate(11025), id="11 kHz"),
        pytest.param(through_rate(48000), id="48 kHz"),
        pytest.param(lambda x: x * np.float32(0.01), id="-40 dB"),
        pytest.param(lambda x: degradations.gain(x, 10), id="+10 dB, clipped"),
        pytest.param(lambda x: -x, id="turned over"),
        pytest.param(through_mp3(16000), id="MP3"),
        pytest.param(through_mp3(8000), id="MP3 at 8 kHz"),
        pytest.param(lambda x: x[37:], id="37 samples"),
        pytest.param(lambda x: x[FILE_RATE:], id="first second cut"),
        pytest.param(lambda x: x[:-FILE_RATE], id="last second cut"),
        pytest.param(lambda x: np.pad(x, (5000, 9000)), id="silence around"),
        pytest.param(lambda x: through_mp3(16000)(0.1 * x[8000:-8000]), id="cut, quieter, MP3"),
        pytest.param(lambda x: degradations.add_mains(x, 50, -40, FILE_RATE), id="hum"),
        pytest.param(
            lambda x: degradations.add_noise(x, degradations.white(len(x), np.random.default_rng(0)), 10),
            id="noise at 10 dB",
        ),
    ],
)
def test_a_changed_clip_matches_its_original_and_nothing_else(change) -> None:
    changed = [change(clip).astype(np.float32) for clip in originals()]
    assert pairs([*originals(), *changed]) == [(i, N_CLIPS + i) for i in range(N_CLIPS)]


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    clip=st.integers(0, N_CLIPS - 1),
    rate=st.integers(8000, 48000),
    gain_db=st.floats(-40, 10),
    start=st.integers(0, FILE_RATE // 2),
    end=st.integers(0, FILE_RATE // 2),
)
def test_any_rate_gain_and_cut(clip: int, rate: int, gain_db: float, start: int, end: int) -> None:
    original = originals()[clip]
    changed = degradations.gain(original[start : len(original) - end], gain_db)
    changed = degradations.through_rate(changed, FILE_RATE, rate)
    (match,) = found([original, changed])
    assert match.correlation > 0.75  # half a sample at 8 kHz and some clipping
    assert match.shift_s == pytest.approx(-start / FILE_RATE, abs=0.002)


def test_takes_of_one_sentence_by_one_speaker_do_not_match() -> None:
    assert pairs([spoken(speaker=1, sentence=1, take=take) for take in range(12)]) == []


def test_a_take_matches_itself() -> None:
    takes = [spoken(speaker=1, sentence=1, take=take) for take in (0, 1, 0)]
    assert pairs(takes) == [(0, 2)]


def test_neither_silence_nor_short_clips_match_or_fail() -> None:
    clips = [np.zeros(FILE_RATE), np.zeros(FILE_RATE), np.zeros(2), np.ones(2), originals()[0][:50]]
    assert pairs([clip.astype(np.float32) for clip in clips]) == []


def test_progress_ends_with_all_clips() -> None:
    told: list[tuple[int, int]] = []
    clips = [soxr.resample(clip, FILE_RATE, RATE) for clip in originals()[:2]]
    matches(
        [landmarks(clip) for clip in clips],
        lambda i: clips[i],
        lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 2), (2, 2)]


@pytest.mark.corpora
@pytest.mark.slow
def test_of_real_takes_only_the_repeated_file_matches(corpora_dir) -> None:
    """RAVDESS, two actors: Actor_07 has one clip under two names, and each sentence in eight to sixteen takes."""
    paths = sorted(
        path for actor in ("07", "22") for path in (corpora_dir / "ravdess" / f"Actor_{actor}").iterdir()
    )
    clips = [read_audio(path, RATE) for path in paths]
    found = matches([landmarks(clip) for clip in clips], lambda i: clips[i])
    assert [(paths[m.first].stem, paths[m.second].stem) for m in found] == [
        ("03-01-03-01-02-01-07", "03-01-03-01-02-02-07")
    ]
