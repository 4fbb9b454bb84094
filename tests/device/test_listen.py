"""The listener, the loop, and what it counts."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeemo.answer import UNSURE
from edgeemo.audio import read_audio
from edgeemo.errors import AudioError
from edgeemo.live import QUIET, Listener, Step, listen, listen_async
from edgeemo.model import EmotionModel
from edgeemo.sources import AudioFile, Source
from edgeemo.statistics import LoopStatistics
from edgeemo.utterances import UtteranceDetector

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


def listened(listener: Listener, audio: np.ndarray, sizes: list[int]) -> list[Step]:
    steps, start, n = [], 0, 0
    while start < len(audio):
        size = sizes[n % len(sizes)]
        steps += listener.push(audio[start : start + size])
        start, n = start + size, n + 1
    return steps + listener.flush()


def untimed(steps: list[Step]) -> list[Step]:
    """What a step says, without how long it took."""
    return [replace(step, resample_ms=0.0, model_ms=0.0) for step in steps]


def collected(source: Source, model: EmotionModel, **options: Any) -> tuple[list[Step], LoopStatistics]:
    """What `listen` gives for a source, counted."""
    steps: list[Step] = []
    statistics = LoopStatistics(source.sample_rate)
    with source:
        for step in listen(source, model, **options):
            statistics.add(step, drops=source.drops)
            steps.append(step)
    return steps, statistics


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
    at_once = untimed(listened(listener, audio, [len(audio)]))
    assert untimed(listened(listener, audio, sizes)) == at_once


def hand_cut(model: EmotionModel, audio: np.ndarray) -> list[tuple[float, list[float]]]:
    """The definition, without the sliding: window `i` ends with step `i`, silence before the stream."""
    window, step = model.metadata.window_samples, model.metadata.step_samples
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
    steps, _ = collected(source, tiny_model)
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
    steps = listener.push(audio[:16000])
    for value in (np.nan, np.inf):
        with pytest.raises(AudioError, match="NaN or infinite"):
            listener.push(np.array([0.0, value], np.float32))
    with pytest.raises(AudioError, match="expected mono"):
        listener.push(np.zeros((320, 2), np.float32))
    assert untimed(steps + listener.push(audio[16000:]) + listener.flush()) == expected


def test_times_are_measured(either_model: EmotionModel) -> None:
    steps = listened(Listener(either_model, sample_rate=48000), noise(96000), [960])
    assert all(s.model_ms > 0 and s.resample_ms > 0 for s in steps)
    assert all(s.latency_ms == s.model_ms + s.resample_ms for s in steps)


# --- The loop


class Blocks:
    """A source made of blocks, which notes what happens to it."""

    name = "blocks"

    def __init__(self, blocks: list[np.ndarray], error: Exception | None = None) -> None:
        self.sample_rate = 16000
        self.drops = 0
        self.events: list[str] = []
        self._blocks = blocks
        self._error = error
        self._stopped = False

    def blocks(self) -> Any:
        for block in self._blocks:
            if self._stopped:
                return
            self.drops += 1
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
        taken += (step for step in listen(source, tiny_model))
    assert source.events == ["open", "close"]
    assert len(taken) == 3


def test_a_source_that_is_stopped_ends_the_loop(either_model: EmotionModel) -> None:
    source = Blocks([noise(either_model.metadata.step_samples, i) for i in range(9)])
    taken = 0
    for _ in listen(source, either_model):
        taken += 1
        if taken == 4:
            source.stop()
    assert (taken, source.drops) == (4, 4)


def test_whoever_listens_may_leave_at_any_time(either_model: EmotionModel, clip_48k: Path) -> None:
    source = AudioFile(clip_48k, realtime=False)
    first = next(listen(source, either_model))
    assert untimed([next(listen(source, either_model))]) == untimed([first])


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("block", [100, 320, 2560, 100_000])
def test_seconds_are_those_of_a_file_of_this_length(
    tiny_model: EmotionModel, n_steps: int, block: int
) -> None:
    step_samples = tiny_model.metadata.step_samples
    audio = noise(10 * step_samples)
    blocks = [audio[i : i + block] for i in range(0, len(audio), block)]
    steps, _ = collected(Blocks(blocks), tiny_model, seconds=n_steps * step_samples / 16000)
    expected = listened(Listener(tiny_model, sample_rate=16000), audio[: n_steps * step_samples], [block])
    assert untimed(steps) == untimed(expected)
    assert len(steps) == n_steps


# --- With asyncio


def test_asynchronous_steps_are_the_same(either_model: EmotionModel, clip_48k: Path) -> None:
    source = AudioFile(clip_48k, realtime=False)

    async def collect() -> list[Step]:
        return [step async for step in listen_async(source, either_model, seconds=2.0)]

    assert untimed(asyncio.run(collect())) == untimed(list(listen(source, either_model, seconds=2.0)))


def test_an_error_reaches_who_awaits_the_step(tiny_model: EmotionModel) -> None:
    async def collect() -> list[Step]:
        source = Blocks([noise(2560)], AudioError("broken"))
        return [step async for step in listen_async(source, tiny_model)]

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
        resample_ms=0.0,
        model_ms=latency_ms,
    )


def test_statistics() -> None:
    statistics = LoopStatistics(44100)
    for i in range(100):
        statistics.add(step(i, "a" if i % 4 else "b", latency_ms=float(i + 1)))
    statistics.drops = 7
    assert (statistics.n_steps, statistics.stream_s) == (100, 50.0)
    assert (statistics.label, statistics.label_steps) == ("a", {"a": 75, "b": 25})
    assert statistics.mean_probabilities == pytest.approx({"a": 0.75 * 0.75 + 0.25 * 0.25, "b": 0.375})
    assert statistics.latency_ms(50) == np.percentile(np.arange(1, 101), 50)
    assert statistics.latency_ms(99) == np.percentile(np.arange(1, 101), 99)
    assert statistics.real_time_factor == pytest.approx(5.05 / 50)
    assert statistics.summary() == [
        "100 steps, 50.00 s of stream at 44100 Hz, most frequent: a (75 of 100 not in pauses)",
        "mean probabilities: a 0.62  b 0.38",
        "latency p50 50.50 ms, p99 99.01 ms; real-time factor 0.1010; drops 7",
    ]


def test_statistics_use_bounded_memory() -> None:
    statistics = LoopStatistics(16000, capacity=10)
    for i in range(1000):
        statistics.add(step(i, latency_ms=1000.0 if i < 990 else 1.0 + i % 10))
    assert statistics.latency_ms(100) == 10.0  # the last ten only
    assert statistics.latency_ms(0) == 1.0
    assert statistics.real_time_factor == pytest.approx((990 + 0.055) / 500)  # everything


def test_of_equally_frequent_labels_the_more_probable() -> None:
    statistics = LoopStatistics(16000)
    statistics.add(step(0, "a", 0.6))
    statistics.add(step(1, "b", 0.9))
    assert statistics.label == "b"


def test_labels_of_pauses_do_not_count() -> None:
    statistics = LoopStatistics(16000)
    for i in range(10):
        statistics.add(step(i, "b", latency_ms=float(i + 1), reason=QUIET))
    assert statistics.label is None
    assert statistics.summary() == [
        "10 steps, 5.00 s of stream at 16000 Hz, nothing heard",
        "latency p50 5.50 ms, p99 9.91 ms; real-time factor 0.0110; drops 0",
    ]
    statistics.add(step(10, "a", 0.6))
    assert (statistics.label, statistics.n_steps) == ("a", 11)
    assert statistics.mean_probabilities == pytest.approx({"a": 0.6, "b": 0.4})


def test_no_step() -> None:
    statistics = LoopStatistics(16000)
    assert statistics.label is None
    assert statistics.mean_probabilities == {}
    assert np.isnan([statistics.latency_ms(50), statistics.real_time_factor]).all()
    assert len(statistics.summary()) == 1


def test_unsure_steps_are_counted_apart() -> None:
    statistics = LoopStatistics(16000)
    for i in range(3):
        statistics.add(step(i, reason=UNSURE))
    assert statistics.summary()[0].endswith("unsure in 3 of 3 not in pauses")
    assert statistics.mean_probabilities == pytest.approx({"a": 0.75, "b": 0.25})
    statistics.add(step(3, "b", 0.75))
    statistics.add(step(4, reason=QUIET))
    assert statistics.summary()[0].endswith("most frequent: b (1 of 4 not in pauses), unsure in 3")
    assert statistics.mean_probabilities == pytest.approx({"a": 0.625, "b": 0.375})
