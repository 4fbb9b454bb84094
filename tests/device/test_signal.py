"""What is told of a signal: each fault, after some seconds of it, and its end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeemo.events import State
from edgeemo.sources.signal import SignalWatch
from edgeemo.sources.source import Notice

RATE = 8000


def speech(seconds: float, channels: int = 1, level: float = 0.1) -> np.ndarray:
    """Noise that swells and fades like syllables; the channels are alike but for some noise."""
    random = np.random.default_rng(0)
    n = round(seconds * RATE)
    common = random.standard_normal(n) * (1.1 + np.sin(2 * np.pi * 4 * np.arange(n) / RATE))
    own = 0.1 * random.standard_normal((n, channels))
    return (level * np.clip(common[:, np.newaxis] + own, -3, 3) / 2).astype(np.float32)


def told(
    audio: np.ndarray, *, channel: int | None = None, microphone: bool = True, block: int = 160
) -> list[Notice]:
    watch = SignalWatch(RATE, audio.shape[1], channel, microphone=microphone)
    return [notice for at in range(0, len(audio), block) for notice in watch.push(audio[at : at + block])]


FAULTS: dict[State, Callable[[float], np.ndarray]] = {
    State.MUTED: lambda seconds: 0 * speech(seconds),
    State.TOO_QUIET: lambda seconds: speech(seconds, level=1e-5),
    State.CLIPPED: lambda seconds: np.clip(speech(seconds, level=3.0), -1, 1),
    State.CONSTANT: lambda seconds: speech(seconds) + np.float32(0.02),
}


@pytest.mark.parametrize("state", FAULTS)
def test_each_fault_is_told_once_and_so_is_its_end(state: State) -> None:
    notices = told(np.concatenate([speech(6), FAULTS[state](15), speech(6)]))
    assert [(n.state, n.active) for n in notices] == [(state, True), (state, False)]
    assert all("\n" not in notice.text for notice in notices)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_speech_is_no_fault(channels: int) -> None:
    assert told(speech(30, channels)) == []


def test_of_a_file_silence_is_no_fault() -> None:
    assert told(FAULTS[State.MUTED](20), microphone=False) == []
    assert told(FAULTS[State.TOO_QUIET](20), microphone=False) == []


def test_a_dead_channel_is_told_where_it_is_heard() -> None:
    audio = speech(12, 3)
    audio[:, 1] = 0
    (notice,) = told(audio)
    assert (notice.state, notice.active) == (State.CHANNEL_DEAD, True)
    assert "only zeros in channel 2 of 3" in notice.text
    assert told(audio, channel=1) == []
    assert [n.state for n in told(audio, channel=2)] == [State.CHANNEL_DEAD]


def test_channels_that_cancel_are_told_where_their_mean_is_heard() -> None:
    audio = speech(8, 2)
    audio[:, 1] *= -1
    (notice,) = told(audio)
    assert (notice.state, notice.active) == (State.CHANNELS_CANCEL, True)
    assert told(audio, channel=1) == []


@settings(deadline=None, max_examples=20)
@given(block=st.integers(50, 3000), state=st.sampled_from(sorted(FAULTS)))
def test_blocks_do_not_matter(block: int, state: State) -> None:
    audio = np.concatenate([speech(4), FAULTS[state](16), speech(8)])
    assert [(n.state, n.active) for n in told(audio, block=block)] == [(state, True), (state, False)]


@pytest.mark.parametrize("largest", [1.0, 1e7, 3e38])
def test_samples_of_any_size_are_clipped_and_nothing_else(largest: float) -> None:
    watch = SignalWatch(RATE, 2, None, microphone=True)
    random = np.random.default_rng(0)
    block = (largest * random.uniform(-1.05, 1.05, (5 * RATE, 2)).clip(-1, 1)).astype(np.float32)
    assert [(notice.state, notice.active) for notice in watch.push(block)] == [(State.CLIPPED, True)]
