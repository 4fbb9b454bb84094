"""The live loop: push blocks of audio, get steps; and what the loop counts.

Microphone and file go through the same `Listener` and the same `run`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeemo.audio import Resampler
from edgeemo.errors import AudioError
from edgeemo.model import EmotionModel
from edgeemo.sources import Source
from edgeemo.windows import SlidingWindow

Audio = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """One inference of the live loop.

    Attributes:
        time_s: position in the stream at which the step's window ends, counted in samples, so independent of
            any clock; audio that a source dropped is not counted.
        label: the most probable one.
        probabilities: label -> probability, in the model's order.
        resample_ms: time spent resampling since the step before.
        model_ms: time spent in the model, the front end included.
    """

    time_s: float
    label: str
    probabilities: dict[str, float]
    resample_ms: float
    model_ms: float

    @property
    def latency_ms(self) -> float:
        """What computing this step cost: `resample_ms + model_ms`."""
        return self.resample_ms + self.model_ms


class Listener:
    """Turns a stream of audio into steps. It has no thread and opens nothing.

    The steps do not depend on how the stream is cut into blocks.

    Args:
        model: the loaded model.
        source_rate: Hz of the audio that will be pushed.

    Raises:
        AudioError: the rate is not positive.
    """

    def __init__(self, model: EmotionModel, source_rate: int) -> None:
        metadata = model.metadata
        self.model = model
        self._sample_rate = metadata.features.sample_rate
        self._resampler = Resampler(source_rate, self._sample_rate)
        self._windows = SlidingWindow(metadata.window_samples, metadata.step_samples)
        self.reset()

    def warm_up(self) -> None:
        """Run the model on silence: its first inferences are several times slower than the rest."""
        silence = np.zeros(self.model.metadata.window_samples, np.float32)
        for _ in range(2):
            self.model.predict(silence)

    def reset(self) -> None:
        """Forget the stream: the next sample is the first."""
        self._resampler.reset()
        self._windows.reset()
        self._n_steps = 0
        self._resample_s = 0.0

    def push(self, block: Audio) -> list[Step]:
        """Take new audio.

        Args:
            block: mono float32 in [-1, 1] at `source_rate`, shape `(n_samples,)`, of any length, also 0.

        Returns:
            the steps that this block completes.

        Raises:
            AudioError: another shape, or a sample that is NaN or infinite; the stream is as before the push.
        """
        if block.ndim != 1:
            raise AudioError(f"block of shape {block.shape}, expected mono, (n_samples,)")
        if not np.isfinite(block).all():
            raise AudioError(f"a block of {len(block)} samples holds NaN or infinite values")
        start_s = time.perf_counter()
        audio = self._resampler.push(block)
        self._resample_s += time.perf_counter() - start_s
        return self._advance(audio)

    def flush(self) -> list[Step]:
        """End the stream: its last steps, without an incomplete one. The next `push` starts a new stream."""
        start_s = time.perf_counter()
        audio = self._resampler.flush()
        self._resample_s += time.perf_counter() - start_s
        steps = self._advance(audio)
        self.reset()
        return steps

    def _advance(self, audio: Audio) -> list[Step]:
        return [self._step(window) for window in self._windows.push(audio)]

    def _step(self, window: Audio) -> Step:
        start_s = time.perf_counter()
        probabilities = self.model.predict(window)
        model_s = time.perf_counter() - start_s
        resample_s, self._resample_s = self._resample_s, 0.0
        self._n_steps += 1
        labels = self.model.labels
        return Step(
            time_s=self._n_steps * self._windows.step_samples / self._sample_rate,
            label=labels[int(probabilities.argmax())],
            probabilities=dict(zip(labels, probabilities.tolist(), strict=True)),
            resample_ms=1000 * resample_s,
            model_ms=1000 * model_s,
        )


@dataclass(frozen=True)
class Summary:
    """What a whole run of the loop came to.

    Attributes:
        n_steps: inferences.
        stream_s: seconds of audio up to the end of the last step.
        label: the most frequent one, of equals the more probable; None without a step.
        label_steps: how many steps it was.
        mean_probabilities: label -> mean over all steps, in the model's order.
        latency_p50_ms: median latency of the last steps; NaN without a step.
        latency_p99_ms: its 99th percentile.
        real_time_factor: processing time / audio time; below 1 the loop keeps up. NaN without a step.
        drops: blocks lost.
    """

    n_steps: int
    stream_s: float
    label: str | None
    label_steps: int
    mean_probabilities: dict[str, float]
    latency_p50_ms: float
    latency_p99_ms: float
    real_time_factor: float
    drops: int

    def lines(self) -> list[str]:
        """The summary for a person, at most 3 lines."""
        if self.label is None:
            return [f"no step: the stream ended before the first one was complete; drops {self.drops}"]
        means = "  ".join(
            f"{label} {p:.2f}"
            for label, p in sorted(self.mean_probabilities.items(), key=lambda item: -item[1])
        )
        return [
            f"{self.n_steps} steps, {self.stream_s:.2f} s of stream, "
            f"most frequent: {self.label} ({self.label_steps} of {self.n_steps} steps)",
            f"mean probabilities: {means}",
            f"latency p50 {self.latency_p50_ms:.2f} ms, p99 {self.latency_p99_ms:.2f} ms; "
            f"real-time factor {self.real_time_factor:.4f}; drops {self.drops}",
        ]


class LoopStatistics:
    """What the loop counts, in memory that does not grow with the stream.

    Args:
        capacity: how many of the last latencies the percentiles are taken over.

    Attributes:
        n_steps: inferences so far.
        stream_s: seconds of audio up to the end of the last step.
        drops: blocks lost so far.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._latencies_ms = np.zeros(capacity)
        self._total_ms = 0.0
        self._label_steps: Counter[str] = Counter()
        self._probability_sums: dict[str, float] = {}
        self.n_steps = 0
        self.stream_s = 0.0
        self.drops = 0

    def add(self, step: Step, drops: int = 0) -> None:
        """Count a step; `drops` is the source's count so far."""
        self._latencies_ms[self.n_steps % len(self._latencies_ms)] = step.latency_ms
        self._total_ms += step.latency_ms
        self._label_steps[step.label] += 1
        for label, p in step.probabilities.items():
            self._probability_sums[label] = self._probability_sums.get(label, 0.0) + p
        self.n_steps += 1
        self.stream_s = step.time_s
        self.drops = drops

    def latency_ms(self, percentile: float) -> float:
        """A percentile (0 to 100) of the last latencies, in ms; NaN without a step."""
        kept = self._latencies_ms[: self.n_steps]
        return float(np.percentile(kept, percentile)) if len(kept) else float("nan")

    @property
    def real_time_factor(self) -> float:
        """Processing time / audio time, over the whole run; NaN without a step."""
        return self._total_ms / 1000 / self.stream_s if self.n_steps else float("nan")

    def summary(self) -> Summary:
        """Everything so far, as values."""
        label, label_steps = max(
            self._label_steps.items(),
            key=lambda item: (item[1], self._probability_sums[item[0]]),
            default=(None, 0),
        )
        return Summary(
            n_steps=self.n_steps,
            stream_s=self.stream_s,
            label=label,
            label_steps=label_steps,
            mean_probabilities={k: total / self.n_steps for k, total in self._probability_sums.items()},
            latency_p50_ms=self.latency_ms(50),
            latency_p99_ms=self.latency_ms(99),
            real_time_factor=self.real_time_factor,
            drops=self.drops,
        )


def run(
    source: Source,
    listener: Listener,
    on_step: Callable[[Step, LoopStatistics], None],
    *,
    seconds: float | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> LoopStatistics:
    """The live loop, the same for a file and a microphone.

    The model is warm before the source opens, so that no audio waits for it.

    Args:
        source: opened here, and closed whatever happens.
        listener: made for `source.sample_rate`; reset before the loop.
        on_step: called with each step and the statistics that include it.
        seconds: end after this much of the stream; the steps are those of a file of this length.
        stopped: asked before each block; True ends the loop at once.

    Returns:
        the statistics.

    Raises:
        AudioError: the source gave something that is no audio.
        DeviceError: the microphone does not open, or went away.
    """
    statistics = LoopStatistics()
    listener.reset()
    listener.warm_up()
    left = None if seconds is None else round(seconds * source.sample_rate)

    def count(steps: list[Step]) -> None:
        for step in steps:
            statistics.add(step, source.drops)
            on_step(step, statistics)

    with source:
        for block in source.blocks():
            if stopped():
                break
            if left is not None:
                block = block[:left]
                left -= len(block)
            count(listener.push(block))
            if left == 0:
                count(listener.flush())
                break
        else:
            count(listener.flush())
        statistics.drops = source.drops
    return statistics
