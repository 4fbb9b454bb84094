"""Where utterances begin: by level, per step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeemo.utterances import MINIMUM_DB, PAUSE_S, RISE_DB_PER_S, UtteranceDetector

RATE = 16000
STEP = 2560  # 0.16 s
PAUSE_STEPS = 4
STEP_RISE_DB = RISE_DB_PER_S * STEP / RATE


def noise(levels_db: list[float], *, seed: int = 0, step: int = STEP) -> np.ndarray:
    """White noise, one row per step, of these levels (RMS, dB re 1)."""
    random = np.random.default_rng(seed).standard_normal((len(levels_db), step))
    return (random * 10 ** (np.array(levels_db)[:, np.newaxis] / 20)).astype(np.float32)


def begins(steps: np.ndarray, detector: UtteranceDetector | None = None) -> list[int]:
    """The steps with which utterances begin."""
    detector = detector or UtteranceDetector(RATE)
    return [i for i, step in enumerate(steps) if detector.push(step)]


def turns(
    background_db: float, voice_db: float, lengths: list[tuple[int, int]]
) -> tuple[list[float], list[int]]:
    """Levels of pause and voice by turns, of (pause, voice) steps each, and the first step of each voice."""
    levels: list[float] = []
    starts = []
    for n_pause, n_voice in lengths:
        levels += [background_db] * n_pause
        starts.append(len(levels))
        levels += [voice_db] * n_voice
    return levels, starts


long_pauses = st.lists(st.tuples(st.integers(PAUSE_STEPS, 30), st.integers(1, 15)), min_size=1, max_size=6)
short_gaps = st.lists(st.tuples(st.integers(1, PAUSE_STEPS - 1), st.integers(1, 15)), min_size=1, max_size=6)


def test_the_pause_is_a_whole_number_of_steps() -> None:
    """The numbers that the tests below are written with."""
    assert round(PAUSE_S * RATE) == PAUSE_STEPS * STEP


@settings(deadline=None, max_examples=60)
@given(lengths=long_pauses, snr_db=st.floats(25, 50), seed=st.integers(0, 99))
def test_each_voice_after_a_pause_begins_one_utterance(
    lengths: list[tuple[int, int]], snr_db: float, seed: int
) -> None:
    levels, starts = turns(-20 - snr_db, -20, [(1, 0), *lengths])
    found = begins(noise(levels, seed=seed))
    assert found[-len(lengths) :] == starts[1:]
    assert set(found) - set(starts) <= {0}, "the noise at the start, where it is above the minimum"


@settings(deadline=None, max_examples=60)
@given(lengths=long_pauses, seed=st.integers(0, 99))
def test_in_digital_silence_too(lengths: list[tuple[int, int]], seed: int) -> None:
    levels, starts = turns(-np.inf, -30, lengths)
    assert begins(noise(levels, seed=seed)) == starts


@settings(deadline=None, max_examples=60)
@given(gaps=short_gaps, background_db=st.sampled_from([-np.inf, -70.0, -50.0]), seed=st.integers(0, 99))
def test_short_gaps_part_nothing(gaps: list[tuple[int, int]], background_db: float, seed: int) -> None:
    levels, starts = turns(background_db, -20, [(10, 5), *gaps])
    amid_noise = [0] if background_db > MINIMUM_DB else []
    assert begins(noise(levels, seed=seed)) == amid_noise + starts[:1]


@settings(deadline=None, max_examples=60)
@given(level_db=st.floats(-100, 0), step=st.sampled_from([320, 1600, STEP]), seed=st.integers(0, 99))
def test_lasting_noise_begins_nothing(level_db: float, step: int, seed: int) -> None:
    assert set(begins(noise([level_db] * 200, seed=seed, step=step))) <= {0}


@settings(deadline=None, max_examples=30)
@given(before_db=st.floats(-90, -30), rise_db=st.floats(0, 40), seed=st.integers(0, 99))
def test_louder_noise_is_background_before_long(before_db: float, rise_db: float, seed: int) -> None:
    """After a rise, one utterance at most; and after as long as the floor takes, a voice is heard again."""
    n_settling = int(rise_db / STEP_RISE_DB) + 2 * PAUSE_STEPS
    level_db = min(before_db + rise_db, -15)
    levels = [before_db] * 10 + [level_db] * n_settling
    found = begins(noise([*levels, level_db + 15], seed=seed))
    assert len([i for i in found if 0 < i < len(levels)]) <= 1
    if level_db > MINIMUM_DB:
        assert found[-1] == len(levels)


@settings(deadline=None, max_examples=60)
@given(
    levels_db=st.lists(st.floats(-35, -5), min_size=1, max_size=60),
    gain_db=st.floats(-20, 20),
    seed=st.integers(0, 99),
)
def test_gain_changes_nothing(levels_db: list[float], gain_db: float, seed: int) -> None:
    steps = noise(levels_db, seed=seed)
    louder = (steps * 10 ** (gain_db / 20)).astype(np.float32)
    assert begins(louder) == begins(steps)


@settings(deadline=None, max_examples=60)
@given(levels_db=st.lists(st.floats(-90, -5), min_size=1, max_size=60), seed=st.integers(0, 99))
def test_reset_forgets(levels_db: list[float], seed: int) -> None:
    steps = noise(levels_db, seed=seed)
    detector = UtteranceDetector(RATE)
    first = begins(steps, detector)
    detector.reset()
    assert begins(steps, detector) == first


@settings(deadline=None, max_examples=60)
@given(levels_db=st.lists(st.floats(-90, -5), min_size=1, max_size=80), seed=st.integers(0, 99))
def test_utterances_are_a_pause_apart(levels_db: list[float], seed: int) -> None:
    found = begins(noise(levels_db, seed=seed))
    assert all(np.diff(found) > PAUSE_STEPS)


@settings(deadline=None, max_examples=60)
@given(lengths=long_pauses, snr_db=st.floats(25, 50), seed=st.integers(0, 99))
def test_paused_from_a_pauses_length_without_voice_to_the_next_voice(
    lengths: list[tuple[int, int]], snr_db: float, seed: int
) -> None:
    levels, _ = turns(-20 - snr_db, -20, [(1, 0), *lengths])
    detector = UtteranceDetector(RATE)
    since_voice = 0
    for i, step in enumerate(noise(levels, seed=seed)):
        detector.push(step)
        heard = levels[i] == -20 or (i == 0 and 10 * np.log10(np.mean(step**2)) > MINIMUM_DB)
        since_voice = 0 if heard else since_voice + 1
        if heard:
            assert not detector.paused
        elif since_voice >= PAUSE_STEPS:
            assert detector.paused


@settings(deadline=None, max_examples=60)
@given(levels_db=st.lists(st.floats(-90, -5), min_size=1, max_size=80), seed=st.integers(0, 99))
def test_utterances_begin_only_where_a_pause_ends(levels_db: list[float], seed: int) -> None:
    detector = UtteranceDetector(RATE)
    assert detector.paused
    for step in noise(levels_db, seed=seed):
        before = detector.paused
        if detector.push(step):
            assert before
            assert not detector.paused


def test_a_pause_that_was_a_voice_ends_without_an_utterance() -> None:
    """A stream starts amid a voice, which passes for background until something quieter shows what it was."""
    detector = UtteranceDetector(RATE)
    seen = [(detector.push(step), detector.paused) for step in noise([-20.0] * 6 + [-45.0])]
    assert seen == [(True, False)] + [(False, False)] * 3 + [(False, True)] * 2 + [(False, False)]


def test_what_is_below_the_minimum_is_no_speech() -> None:
    levels, _ = turns(MINIMUM_DB - 40, MINIMUM_DB - 1, [(10, 5), (10, 5)])
    assert begins(noise(levels)) == []


def test_a_stream_that_starts_amid_a_voice() -> None:
    """The first step is taken for background, until something quieter shows that it was a voice."""
    voice = [-20.0] * 6 + [-45.0] + [-22.0] * 8 + [-50.0] * 2 + [-20.0] * 5
    assert begins(noise(voice)) == [0]
    assert begins(noise([*voice, *[-50.0] * PAUSE_STEPS, -20.0])) == [0, len(voice) + PAUSE_STEPS]


def test_a_dropout_begins_nothing() -> None:
    """Digital silence in a pause: the noise after it is louder than the floor, and no utterance."""
    assert begins(noise([-40.0] * 20 + [-np.inf] + [-40.0] * 60)) == [0]


@pytest.mark.parametrize("pause_s", [0.16, 0.64, 1.6])
def test_the_pause_is_a_setting(pause_s: float) -> None:
    n_pause = round(pause_s * RATE / STEP)
    for n, parts in ((n_pause - 1, False), (n_pause, True)):
        levels = [*[-50.0] * 20, *[-20.0] * 3, *[-50.0] * n, -20.0]
        found = begins(noise(levels), UtteranceDetector(RATE, pause_s=pause_s))
        assert found == [0, 20, *([len(levels) - 1] if parts else [])]
