"""The listener, the loop, what it counts, and what a person sees of it."""

from __future__ import annotations

import asyncio
import copy
import itertools
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeemo.answer import UNSURE
from edgeemo.audio import Resampler, read_audio
from edgeemo.errors import AudioError
from edgeemo.events import End, Event, Gap, Start, State, Status, Step, Utterance, Why
from edgeemo.high_pass import HighPass
from edgeemo.live import Listener, LoopStatistics, listen, listen_async
from edgeemo.live.listener import MAX_UTTERANCE_S, Heard
from edgeemo.model import EmotionModel
from edgeemo.sources import AudioFile, Lost, Notice, Source
from edgeemo.utterances import QUIET, UtteranceDetector
from support.events import steps_in

RATES = [8000, 16000, 22050, 44100, 48000]


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return 0.2 * np.random.default_rng(seed).standard_normal(n_samples).astype(np.float32)


def spoken(gaps_s: list[float], rate: int = 16000, seed: int = 0) -> np.ndarray:
    """0.8 s of loud noise, swelling, after each gap of quiet noise; and a second of that."""
    random = np.random.default_rng(seed)
    pieces = []
    for gap_s in gaps_s:
        pieces.append(2e-3 * random.standard_normal(round(gap_s * rate)))
        burst = random.standard_normal(round(0.8 * rate))
        pieces.append(burst * np.linspace(0.02, 0.2, len(burst)))
    return np.concatenate([*pieces, 2e-3 * random.standard_normal(rate)]).astype(np.float32)


def told(listener: Listener, audio: np.ndarray, sizes: list[int]) -> list[Heard]:
    """The events of a stream that is pushed in blocks of these sizes."""
    events, start, n = [], 0, 0
    while start < len(audio):
        size = sizes[n % len(sizes)]
        events += listener.push(audio[start : start + size])
        start, n = start + size, n + 1
    return events + listener.flush()


def listened(listener: Listener, audio: np.ndarray, sizes: list[int]) -> list[Step]:
    return steps_in(told(listener, audio, sizes))


def untimed(events: Iterable[Event]) -> list[Event]:
    """What events say, without how long steps took."""
    return [
        replace(event, resample_ms=0.0, model_ms=0.0) if isinstance(event, Step) else event
        for event in events
    ]


def collected(source: Source, model: EmotionModel, **options: Any) -> list[Step]:
    """The steps that `listen` gives for a source."""
    with source:
        return steps_in(listen(source, model, **options))


# --- Listener


@pytest.mark.parametrize("mode", ["window", "stream"])
@settings(deadline=None, max_examples=25)
@given(
    rate=st.sampled_from(RATES),
    gaps_s=st.lists(st.floats(0.0, 1.5), min_size=0, max_size=3),
    sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=6).filter(lambda s: sum(s) >= 100 * len(s)),
)
def test_steps_do_not_depend_on_the_blocks(
    tiny_model: EmotionModel,
    stream_model: EmotionModel,
    mode: str,
    rate: int,
    gaps_s: list[float],
    sizes: list[int],
) -> None:
    audio = spoken(gaps_s, rate)
    listener = Listener({"window": tiny_model, "stream": stream_model}[mode], sample_rate=rate)
    at_once = untimed(told(listener, audio, [len(audio)]))
    assert untimed(told(listener, audio, sizes)) == at_once


@pytest.mark.parametrize("rate", RATES)
def test_a_block_that_is_written_over_has_been_heard(rate: int, stream_model: EmotionModel) -> None:
    """Blocks may wait within the listener: whoever pushes them may use the array again."""
    audio = spoken([0.3, 0.9], rate)
    expected = untimed(told(Listener(stream_model, sample_rate=rate), audio, [len(audio)]))
    listener, block, events = Listener(stream_model, sample_rate=rate), np.zeros(rate // 50, np.float32), []
    for start in range(0, len(audio) - len(block) + 1, len(block)):
        block[:] = audio[start : start + len(block)]
        events += listener.push(block)
        block[:] = 1
    events += listener.push(audio[start + len(block) :]) + listener.flush()
    assert untimed(events) == expected


def test_between_two_steps_nothing_is_computed(
    tiny_model: EmotionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of eight blocks that make a step, the last is resampled, and the next, since the resampler lags."""
    n_resampled, push = 0, Resampler.push

    def spy(self: Resampler, block: np.ndarray) -> np.ndarray:
        nonlocal n_resampled
        n_resampled += 1
        return push(self, block)

    listener = Listener(tiny_model, sample_rate=48_000)
    block = noise(listener.model.metadata.step_samples * 3 // 8)
    monkeypatch.setattr(Resampler, "push", spy)
    busy, found = [], []
    for _ in range(8 * 20):
        before = n_resampled
        found.append(len(listener.push(block)))
        busy.append(n_resampled > before)
    assert n_resampled == 8 * 20, "each block once"
    assert sum(found) >= 19
    assert all(busy[i] for i, n in enumerate(found) if n)
    for i in range(0, 8 * 20, 8):
        assert sum(busy[i : i + 8]) <= 3
        assert busy[i + 7], "a step's audio has come"


def filtered(audio: np.ndarray, step_samples: int) -> np.ndarray:
    """As the loop filters it: step by step."""
    high_pass = HighPass(16000)
    return np.concatenate(
        [high_pass(audio[i : i + step_samples]) for i in range(0, len(audio), step_samples)]
    )


def hand_cut(model: EmotionModel, audio: np.ndarray) -> list[tuple[float, list[float]]]:
    """The definition, without the sliding: window `i` ends with step `i`, silence before the stream."""
    window, step = model.metadata.window_samples, model.metadata.step_samples
    audio = filtered(audio, step)
    padded = np.concatenate([np.zeros(window, np.float32), audio])
    return [
        (end / model.metadata.features.sample_rate, model.predict(padded[end : end + window]).tolist())
        for end in range(step, len(audio) + 1, step)
    ]


def test_steps_are_predictions_of_hand_cut_windows(tiny_model: EmotionModel) -> None:
    rate = tiny_model.metadata.features.sample_rate
    audio = np.concatenate([spoken([0.9, 1.1]), noise(3 * rate + 17)])
    steps = listened(Listener(tiny_model, sample_rate=rate), audio, [rate // 50])
    expected = hand_cut(tiny_model, audio)
    assert [(s.time_s, list(s.probabilities.values())) for s in steps] == expected
    assert all(tuple(s.probabilities) == tiny_model.labels for s in steps)
    labels = [tiny_model.labels[int(np.argmax(p))] for _, p in expected]
    assert [(s.label, s.reason) for s in steps] == [
        (None, QUIET) if s.paused else (label, None) for s, label in zip(steps, labels, strict=True)
    ]
    assert {s.paused for s in steps} == {True, False}
    assert len({s.label for s in steps} | {str(s.probabilities) for s in steps}) > 5, "the model must react"
    assert steps[-1].utterance > 2, "utterances must not matter to windows: there must be some"


def test_a_stream_graph_starts_afresh_with_each_utterance(stream_model: EmotionModel) -> None:
    audio = spoken([0.9, 1.1, 0.2, 1.4])
    steps = listened(Listener(stream_model, sample_rate=16000), audio, [320])

    detector, hand_made = UtteranceDetector(16000), stream_model.stepper()
    carried_on = stream_model.stepper()
    expected: list[tuple[int, bool, list[float]]] = []
    without: list[list[float]] = []
    n_utterances, n_samples = 0, stream_model.metadata.step_samples
    audio = filtered(audio, n_samples)
    for start in range(0, len(audio) - n_samples + 1, n_samples):
        piece = audio[start : start + n_samples]
        if detector.push(piece):
            n_utterances += 1
            hand_made.reset()
        expected.append((n_utterances, detector.paused, hand_made.step(piece).tolist()))
        without.append(carried_on.step(piece).tolist())
    assert [(s.utterance, s.paused, list(s.probabilities.values())) for s in steps] == expected
    assert {s.paused for s in steps} == {False, True}
    assert n_utterances == 4  # the noise at the start; the gap of 0.2 s parts nothing
    assert without != [p for _, _, p in expected], "resets must be seen"


def test_utterances_are_counted_alike_in_both_modes(
    tiny_model: EmotionModel, stream_model: EmotionModel
) -> None:
    silence = np.zeros(16000, np.float32)
    audio = np.concatenate([silence, noise(12800), silence, noise(12800, seed=1)])
    counted = [
        [s.utterance for s in listened(Listener(model, sample_rate=16000), audio, [1000])]
        for model in (tiny_model, stream_model)
    ]
    assert counted[0] == counted[1] == sorted(counted[0])
    assert set(counted[0]) == {0, 1, 2}


def test_warming_up_leaves_the_listener_as_new(either_model: EmotionModel) -> None:
    audio = spoken([0.3, 0.9])
    expected = untimed(listened(Listener(either_model, sample_rate=16000), audio, [320]))
    listener = Listener(either_model, sample_rate=16000)
    listener.push(noise(7000))
    listener.warm_up()
    assert untimed(listened(listener, audio, [320])) == expected


def test_a_48_khz_stream_is_the_resampled_file(tiny_model: EmotionModel, clip_48k: Path) -> None:
    source = AudioFile(clip_48k, realtime=False)
    steps = collected(source, tiny_model)
    audio = read_audio(clip_48k, tiny_model.metadata.features.sample_rate)
    assert [(s.time_s, list(s.probabilities.values())) for s in steps] == hand_cut(tiny_model, audio)


@pytest.mark.parametrize("end", ["reset", "flush"])
@pytest.mark.parametrize("rate", [16000, 48000])
def test_a_new_stream_is_bit_identical(either_model: EmotionModel, rate: int, end: str) -> None:
    audio = np.concatenate([noise(2 * rate), spoken([0.9], rate)])
    listener = Listener(either_model, sample_rate=rate)
    first = untimed(listened(listener, audio, [rate // 50]))
    listener.push(noise(rate + 123, seed=1))
    getattr(listener, end)()
    assert untimed(listened(listener, audio, [rate // 50])) == first


def test_without_a_reset_the_old_stream_shows(either_model: EmotionModel) -> None:
    """The test above can fail: state that stays is seen in the steps."""
    audio = noise(32000)
    listener = Listener(either_model, sample_rate=16000)
    first = untimed(listened(listener, audio, [320]))
    listener.push(noise(16000, seed=1))
    assert untimed(listened(listener, audio, [320])) != first


def test_refused_blocks_leave_the_stream_as_it_was(either_model: EmotionModel) -> None:
    audio = noise(32000)
    listener = Listener(either_model, sample_rate=16000)
    expected = untimed(listened(listener, audio, [16000]))
    events = listener.push(audio[:16000])
    for value in (np.nan, np.inf):
        with pytest.raises(AudioError, match="NaN or infinite"):
            listener.push(np.array([0.0, value], np.float32))
    with pytest.raises(AudioError, match="expected mono"):
        listener.push(np.zeros((320, 2), np.float32))
    events += listener.push(audio[16000:]) + listener.flush()
    assert untimed(steps_in(events)) == expected


def test_times_are_measured(either_model: EmotionModel) -> None:
    steps = listened(Listener(either_model, sample_rate=48000), noise(96000), [960])
    assert all(s.model_ms > 0 and s.resample_ms > 0 for s in steps)
    assert all(s.latency_ms == s.model_ms + s.resample_ms for s in steps)


# --- Utterances


@pytest.mark.parametrize("mode", ["window", "stream"])
@settings(deadline=None, max_examples=15)
@given(gaps_s=st.lists(st.floats(0.0, 1.5), min_size=1, max_size=4), seed=st.integers(0, 99))
@example(gaps_s=[1.104417317022262, 0.16944081078424938, 1.5], seed=97)  # the noise's level drops in a pause
def test_utterances_are_told_once_and_in_order(
    tiny_model: EmotionModel, stream_model: EmotionModel, mode: str, gaps_s: list[float], seed: int
) -> None:
    """Each utterance that steps count is told, once, after its last step, with bounds that hold its steps."""
    model = {"window": tiny_model, "stream": stream_model}[mode]
    events = told(Listener(model, sample_rate=16000), spoken(gaps_s, seed=seed), [997])
    utterances = [event for event in events if isinstance(event, Utterance)]
    steps = steps_in(events)
    assert [u.utterance for u in utterances] == list(range(1, steps[-1].utterance + 1))
    for before, after in itertools.pairwise(utterances):
        assert before.start_s < before.end_s <= after.start_s
    for utterance in utterances:
        own = [s for s in steps if s.utterance == utterance.utterance and not s.paused]
        assert utterance.start_s < own[0].time_s
        assert utterance.end_s <= utterance.time_s
        changes = [own[0], *(b for a, b in itertools.pairwise(own) if a.label != b.label)]
        assert [(turn.time_s, turn.label) for turn in utterance.evolution] == [
            (s.time_s, s.label) for s in changes
        ]
        assert events.index(utterance) > events.index(own[-1])
        assert sum(utterance.probabilities.values()) == pytest.approx(1)


def test_an_utterance_says_what_its_last_step_said_or_the_mean_of_whole_windows(
    stream_model: EmotionModel,
) -> None:
    window_s = stream_model.metadata.window_s
    short, long = (
        spoken([1.0]),
        np.concatenate([spoken([1.0])[:16000], noise(round(16000 * (window_s + 2.0)))]),
    )
    for audio in (short, np.concatenate([long, np.zeros(16000, np.float32)])):
        events = told(Listener(stream_model, sample_rate=16000), audio, [320])
        *_, utterance = (event for event in events if isinstance(event, Utterance))
        heard = [
            s
            for s in steps_in(events)
            if s.utterance == utterance.utterance
            and not s.paused
            and s.time_s <= utterance.end_s + stream_model.metadata.step_s
        ]
        whole = [s for s in heard if s.time_s - utterance.start_s >= window_s] or heard[-1:]
        expected = np.mean([list(s.probabilities.values()) for s in whole], axis=0)
        np.testing.assert_allclose(list(utterance.probabilities.values()), expected, atol=1e-6)


def test_an_answer_that_comes_late_is_of_the_audio_before(stream_model: EmotionModel) -> None:
    """Of a model that looks ahead: what counts is where in the utterance an answer is of, not when it comes."""
    late = copy.copy(stream_model)
    step_s = stream_model.metadata.step_s
    late.metadata = replace(stream_model.metadata, delay_ms=1000 * 2 * step_s)
    audio = np.concatenate([spoken([1.5]), np.zeros(16000, np.float32)])
    events = told(Listener(late, sample_rate=16000), audio, [320])
    *_, utterance = (event for event in events if isinstance(event, Utterance))
    own = [s for s in steps_in(events) if s.utterance == utterance.utterance and not s.paused]
    heard = [s for s in own if s.time_s - 2 * step_s <= utterance.end_s + step_s]
    window_s = late.metadata.window_s
    whole = [s for s in heard if s.time_s - 2 * step_s - utterance.start_s >= window_s] or heard[-1:]
    expected = np.mean([list(s.probabilities.values()) for s in whole], axis=0)
    np.testing.assert_allclose(list(utterance.probabilities.values()), expected, atol=1e-6)
    plain = told(Listener(stream_model, sample_rate=16000), audio, [320])
    *_, other = (event for event in plain if isinstance(event, Utterance))
    assert other.probabilities != utterance.probabilities
    (start_event, *_) = listen(Blocks([]), late)
    assert start_event.delay_s == 2 * step_s


def test_the_source_hears_how_much_is_wanted(tiny_model: EmotionModel) -> None:
    """So much that a step can be complete, and no more: nothing is told later than it could be."""
    step_s = tiny_model.metadata.step_s
    source = Blocks([noise(320)] * 8 + [noise(0)] + [noise(320)] * 2)
    list(listen(source, tiny_model))
    expected = [step_s - 0.02 * n for n in (1, 2, 3, 4, 5, 6, 7, 0, 0, 1, 2)]
    assert source.wanted_s == pytest.approx(expected)


def test_speech_without_an_end_is_cut(stream_model: EmotionModel) -> None:
    audio = noise(round((2 * MAX_UTTERANCE_S + 5) * 16000))
    audio[np.arange(len(audio)) % 12800 > 8000] *= 0.01  # pauses too short to end an utterance
    events = told(Listener(stream_model, sample_rate=16000, keep_audio=True), audio, [16000])
    utterances = [event for event in events if isinstance(event, Utterance)]
    assert [u.cut for u in utterances] == [True] * 3
    assert [round(u.end_s - u.start_s) for u in utterances] == [MAX_UTTERANCE_S, MAX_UTTERANCE_S, 5]
    kept = np.concatenate([u.audio for u in utterances])
    np.testing.assert_array_equal(kept, filtered(audio, stream_model.metadata.step_samples)[: len(kept)])
    assert len(kept) == round(utterances[-1].end_s * 16000)


def test_the_audio_of_an_utterance_is_kept_on_request(stream_model: EmotionModel) -> None:
    audio = spoken([0.9, 1.1])
    for event in told(Listener(stream_model, sample_rate=16000, keep_audio=True), audio, [700]):
        if isinstance(event, Utterance):
            heard = filtered(audio, stream_model.metadata.step_samples)
            expected = heard[round(event.start_s * 16000) : round(event.end_s * 16000)]
            np.testing.assert_array_equal(event.audio, expected)
            assert "audio" not in event.to_dict()
    assert all(
        event.audio is None
        for event in told(Listener(stream_model, sample_rate=16000), audio, [700])
        if isinstance(event, Utterance)
    )


# --- Gaps


def test_what_follows_a_gap_is_heard_as_a_new_stream(either_model: EmotionModel) -> None:
    first, second = spoken([0.5])[:20000], spoken([0.3, 0.9], seed=1)
    listener = Listener(either_model, sample_rate=16000)
    events = [
        *listener.push(first),
        *listener.gap(2.5, Why.STALLED),
        *listener.push(second),
        *listener.flush(),
    ]
    (gap,) = (event for event in events if isinstance(event, Gap))
    assert (gap.start_s, gap.length_s, gap.time_s, gap.why) == (1.25, 2.5, 3.75, "stalled")
    after = steps_in(events[events.index(gap) :])
    alone = listened(Listener(either_model, sample_rate=16000), second, [320])
    assert [(s.time_s, s.label, s.probabilities) for s in after] == [
        (pytest.approx(3.75 + s.time_s), s.label, s.probabilities) for s in alone
    ]
    cut = [event for event in events[: events.index(gap)] if isinstance(event, Utterance)]
    assert [u.cut for u in cut][-1:] == [True]


@settings(deadline=None, max_examples=25)
@given(
    pieces=st.lists(
        st.one_of(
            st.integers(0, 9000),
            st.builds(Lost, st.floats(0.001, 30.0), st.sampled_from(Why)),
            st.just("nan"),
            st.just("notice"),
        ),
        max_size=12,
    ),
    seconds=st.none() | st.floats(0.1, 20),
)
def test_every_second_is_accounted_for(
    tiny_model: EmotionModel, pieces: list[Any], seconds: float | None
) -> None:
    """Whatever a source gives: heard and missing audio together are the stream."""
    given: list[Any] = []
    n_heard, lost_s = 0, 0.0
    for piece in pieces:
        if isinstance(piece, int):
            given.append(noise(piece))
            n_heard += piece
        elif piece == "nan":
            given.append(np.full(160, np.nan, np.float32))
            lost_s += 0.01
        elif piece == "notice":
            given.append(Notice(State.MUTED, True, "muted"))
        else:
            given.append(piece)
            lost_s += round(piece.seconds * 16000) / 16000
    events = list(listen(Blocks(given), tiny_model, seconds=seconds))
    end = events[-1]
    assert isinstance(end, End)
    assert isinstance(events[0], Start)
    assert end.heard_s + end.gap_s == pytest.approx(end.time_s)
    assert end.gap_s == pytest.approx(sum(e.length_s for e in events if isinstance(e, Gap)))
    whole_s = n_heard / 16000 + lost_s
    assert end.time_s == pytest.approx(
        whole_s if seconds is None else min(whole_s, round(seconds * 16000) / 16000)
    )
    times_s = [event.time_s for event in events if not isinstance(event, Status)]
    assert times_s == sorted(times_s)


def test_a_stretch_that_is_not_numbers_is_one_gap(tiny_model: EmotionModel) -> None:
    bad = np.full(320, np.nan, np.float32)
    events = list(listen(Blocks([noise(3200), *[bad] * 25, noise(3200), bad]), tiny_model))
    gaps = [(e.start_s, e.length_s, e.why) for e in events if isinstance(e, Gap)]
    assert gaps == [(0.2, 0.5, "not finite"), (pytest.approx(0.9), 0.02, "not finite")]


def test_what_a_source_tells_is_a_status(tiny_model: EmotionModel) -> None:
    notice = Notice(State.CLIPPED, True, "too loud")
    events = list(listen(Blocks([noise(3000), notice]), tiny_model))
    (status,) = (event for event in events if isinstance(event, Status))
    assert (status.time_s, status.state, status.active, status.text) == (
        3000 / 16000,
        "clipped",
        True,
        "too loud",
    )


# --- The loop


class Blocks:
    """A source made of blocks, which notes what happens to it."""

    name, kind, channels, channel, ended = "blocks", "file", 1, None, "end of file"

    def __init__(self, blocks: list[Any], error: Exception | None = None) -> None:
        self.sample_rate = 16000
        self.n_given = 0
        self.events: list[str] = []
        self.wanted_s: list[float] = []
        self._blocks = blocks
        self._error = error
        self._stopped = False

    def wants(self, seconds: float) -> None:
        self.wanted_s.append(seconds)

    def blocks(self) -> Any:
        for block in self._blocks:
            if self._stopped:
                return
            self.n_given += 1
            yield block
        if self._error:
            raise self._error

    def stop(self) -> None:
        self._stopped = True

    def __enter__(self) -> Blocks:
        self.events.append("open")
        return self

    def __exit__(self, *_: object) -> None:
        self.events.append("close")


def test_an_error_closes_the_source_and_keeps_what_was_counted(tiny_model: EmotionModel) -> None:
    source = Blocks([noise(2560), noise(5120)], AudioError("broken"))
    taken: list[Step] = []
    with pytest.raises(AudioError, match="broken"), source:
        taken += (event for event in listen(source, tiny_model) if isinstance(event, Step))
    assert source.events == ["open", "close"]
    assert len(taken) == 3


def test_a_source_that_is_stopped_ends_the_loop(either_model: EmotionModel) -> None:
    source = Blocks([noise(either_model.metadata.step_samples, i) for i in range(9)])
    taken = 0
    for event in listen(source, either_model):
        taken += isinstance(event, Step)
        if taken == 4:
            source.stop()
    assert (taken, source.n_given) == (4, 4)


def test_whoever_listens_may_leave_at_any_time(either_model: EmotionModel, clip_48k: Path) -> None:
    source = AudioFile(clip_48k, realtime=False)
    first = list(itertools.islice(listen(source, either_model), 3))
    assert untimed(itertools.islice(listen(source, either_model), 3)) == untimed(first)


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("block", [100, 320, 2560, 100_000])
def test_seconds_are_those_of_a_file_of_this_length(
    tiny_model: EmotionModel, n_steps: int, block: int
) -> None:
    step_samples = tiny_model.metadata.step_samples
    audio = noise(10 * step_samples)
    blocks = [audio[i : i + block] for i in range(0, len(audio), block)]
    steps = collected(Blocks(blocks), tiny_model, seconds=n_steps * step_samples / 16000)
    expected = listened(Listener(tiny_model, sample_rate=16000), audio[: n_steps * step_samples], [block])
    assert untimed(steps) == untimed(expected)
    assert len(steps) == n_steps


# --- With asyncio


def test_asynchronous_steps_are_the_same(either_model: EmotionModel, clip_48k: Path) -> None:
    source = AudioFile(clip_48k, realtime=False)

    async def collect() -> list[Event]:
        return [event async for event in listen_async(source, either_model, seconds=2.0)]

    found, expected = (
        untimed(e)[:-1] for e in (asyncio.run(collect()), listen(source, either_model, seconds=2.0))
    )
    assert found == expected  # but for the end, which says how long it took
    assert len(found) > 5


def test_an_error_reaches_who_awaits_the_step(tiny_model: EmotionModel) -> None:
    async def collect() -> list[Event]:
        source = Blocks([noise(2560)], AudioError("broken"))
        return [event async for event in listen_async(source, tiny_model)]

    with pytest.raises(AudioError, match="broken"):
        asyncio.run(collect())


def test_other_tasks_run_while_it_waits(tiny_model: EmotionModel, clip_48k: Path) -> None:
    async def both() -> int:
        turns, listening = 0, True

        async def other() -> None:
            nonlocal turns
            while listening:
                turns += 1
                await asyncio.sleep(0.01)

        task = asyncio.ensure_future(other())
        async for _ in listen_async(AudioFile(clip_48k), tiny_model, seconds=0.5):
            pass
        listening = False
        await task
        return turns

    assert asyncio.run(both()) > 5  # of about 50: half a second in real time


def test_cancelling_stops_the_source(tiny_model: EmotionModel, clip_48k: Path) -> None:
    source = AudioFile(clip_48k)  # four seconds, in real time

    async def cancelled_early() -> float:
        async def collect() -> None:
            async for _ in listen_async(source, tiny_model):
                pass

        task = asyncio.ensure_future(collect())
        await asyncio.sleep(0.2)
        task.cancel()
        start_s = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - start_s

    assert asyncio.run(cancelled_early()) < 3.5


# --- What it counts


def step(
    i: int, label: str = "a", p: float = 0.75, latency_ms: float = 1.0, *, reason: str | None = None
) -> Step:
    other = {"a": "b", "b": "a"}[label]
    return Step(
        label=None if reason else label,
        reason=reason,
        probabilities=dict(sorted({label: p, other: 1 - p}.items())),
        arousal=None if reason == QUIET else 0.25,
        time_s=0.5 * (i + 1),
        utterance=1,
        paused=reason == QUIET,
        level_db=-20.0,
        peak=0.5,
        resample_ms=0.0,
        model_ms=latency_ms,
    )


def start(sample_rate: int) -> Start:
    return Start(
        time_s=0.0,
        version="0",
        model="m",
        graph_sha256="",
        source="s",
        kind="file",
        sample_rate=sample_rate,
        channels=1,
        channel=None,
        labels=("a", "b"),
        step_s=0.5,
        delay_s=0.0,
        settings={},
    )


def test_statistics() -> None:
    statistics = LoopStatistics()
    statistics.add(start(44100))
    for i in range(100):
        statistics.add(step(i, "a" if i % 4 else "b", latency_ms=float(i + 1)))
    statistics.add(Gap(time_s=52.0, start_s=50.0, length_s=2.0, why=Why.STALLED))
    assert (statistics.n_steps, statistics.stream_s, statistics.heard_s) == (100, 52.0, 50.0)
    assert (statistics.label, statistics.label_steps) == ("a", {"a": 75, "b": 25})
    assert statistics.mean_probabilities == pytest.approx({"a": 0.75 * 0.75 + 0.25 * 0.25, "b": 0.375})
    assert statistics.latency_ms(50) == np.percentile(np.arange(1, 101), 50)
    assert statistics.latency_ms(99) == np.percentile(np.arange(1, 101), 99)
    assert statistics.real_time_factor == pytest.approx(5.05 / 50)
    assert statistics.summary() == [
        "100 steps, 52.00 s of stream at 44100 Hz, most frequent: a (75 of 100 not in pauses)",
        "mean probabilities: a 0.62  b 0.38; 59 changes of label a minute",
        "latency p50 50.50 ms, p99 99.01 ms; real-time factor 0.1010; 2.00 s lost in 1 gap",
    ]


def test_statistics_use_bounded_memory() -> None:
    statistics = LoopStatistics(capacity=10)
    for i in range(1000):
        statistics.add(step(i, latency_ms=1000.0 if i < 990 else 1.0 + i % 10))
    assert statistics.latency_ms(100) == 10.0  # the last ten only
    assert statistics.latency_ms(0) == 1.0
    assert statistics.real_time_factor == pytest.approx((990 + 0.055) / 500)  # everything


def test_of_equally_frequent_labels_the_more_probable() -> None:
    statistics = LoopStatistics()
    statistics.add(step(0, "a", 0.6))
    statistics.add(step(1, "b", 0.9))
    assert statistics.label == "b"


def test_labels_of_pauses_do_not_count() -> None:
    statistics = LoopStatistics()
    for i in range(10):
        statistics.add(step(i, "b", latency_ms=float(i + 1), reason=QUIET))
    assert statistics.label is None
    assert statistics.summary() == [
        "10 steps, 5.00 s of stream at 0 Hz, nothing heard",
        "latency p50 5.50 ms, p99 9.91 ms; real-time factor 0.0110; nothing lost",
    ]
    statistics.add(step(10, "a", 0.6))
    assert (statistics.label, statistics.n_steps) == ("a", 11)
    assert statistics.mean_probabilities == pytest.approx({"a": 0.6, "b": 0.4})


def test_no_step() -> None:
    statistics = LoopStatistics()
    assert statistics.label is None
    assert statistics.mean_probabilities == {}
    assert np.isnan([statistics.latency_ms(50), statistics.real_time_factor]).all()
    assert len(statistics.summary()) == 1


def test_unsure_steps_are_counted_apart() -> None:
    statistics = LoopStatistics()
    for i in range(3):
        statistics.add(step(i, reason=UNSURE))
    assert statistics.summary()[0].endswith("unsure in 3 of 3 not in pauses")
    assert statistics.mean_probabilities == pytest.approx({"a": 0.75, "b": 0.25})
    statistics.add(step(3, "b", 0.75))
    statistics.add(step(4, reason=QUIET))
    assert statistics.summary()[0].endswith("most frequent: b (1 of 4 not in pauses), unsure in 3")
    assert statistics.mean_probabilities == pytest.approx({"a": 0.625, "b": 0.375})
