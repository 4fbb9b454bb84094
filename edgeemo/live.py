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
from edgeemo.stepper import stepper
from edgeemo.utterances import UtteranceDetector

Audio = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """One inference of the live loop.

    Attributes:
        time_s: position in the stream at which the step ends, counted in samples, so independent of any clock;
            audio that a source dropped is not counted.
        utterance: number of the utterance that the step belongs to, a pause after it included: 0 before the first,
            then from 1 on. `edgeemo.utterances` has the rule.
        paused: whether nothing was heard above the background for a pause's length, or nothing yet: the label is
            then one of silence.
        label: the most probable one.
        probabilities: label -> probability, in the model's order.
        resample_ms: time spent resampling since the step before.
        model_ms: time spent in the model, the front end and the search for utterances included.
    """

    time_s: float
    utterance: int
    paused: bool
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

    The steps do not depend on how the stream is cut into blocks. Where an utterance begins, a stream graph starts
    afresh, as after silence; a window graph forgets by itself.

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
        self._carries_state = metadata.mode == "stream"
        self._resampler = Resampler(source_rate, self._sample_rate)
        self._stepper = stepper(model)
        self._utterances = UtteranceDetector(self._sample_rate)
        self._pending: Audio = np.zeros(metadata.step_samples, np.float32)
        self.reset()

    def warm_up(self) -> None:
        """Run the model on silence, since its first inferences are several times slower; then `reset`."""
        silence = np.zeros_like(self._pending)
        for _ in range(2):
            self._stepper.step(silence)
        self.reset()

    def reset(self) -> None:
        """Forget the stream: the next sample is the first."""
        self._resampler.reset()
        self._stepper.reset()
        self._utterances.reset()
        self._n_pending = 0
        self._n_steps = 0
        self._n_utterances = 0
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
        """Fill `self._pending` again and again; each time it is full is a step."""
        steps, start = [], 0
        while start < len(audio):
            piece = audio[start : start + len(self._pending) - self._n_pending]
            self._pending[self._n_pending : self._n_pending + len(piece)] = piece
            self._n_pending += len(piece)
            start += len(piece)
            if self._n_pending == len(self._pending):
                self._n_pending = 0
                steps.append(self._step(self._pending))
        return steps

    def _step(self, audio: Audio) -> Step:
        start_s = time.perf_counter()
        if self._utterances.push(audio):
            self._n_utterances += 1
            if self._carries_state:
                self._stepper.reset()
        probabilities = self._stepper.step(audio)
        model_s = time.perf_counter() - start_s
        resample_s, self._resample_s = self._resample_s, 0.0
        self._n_steps += 1
        labels = self.model.labels
        return Step(
            time_s=self._n_steps * len(audio) / self._sample_rate,
            utterance=self._n_utterances,
            paused=self._utterances.paused,
            label=labels[int(probabilities.argmax())],
            probabilities=dict(zip(labels, probabilities.tolist(), strict=True)),
            resample_ms=1000 * resample_s,
            model_ms=1000 * model_s,
        )


class LoopStatistics:
    """What the loop counts, in memory that does not grow with the stream.

    Labels and probabilities are those of steps in utterances, not of pauses.

    Args:
        source_rate: Hz at which the source captures.
        capacity: how many of the last latencies the percentiles are taken over.

    Attributes:
        source_rate: as given.
        n_steps: inferences so far.
        stream_s: seconds of audio up to the end of the last step.
        label_steps: label -> how many steps in utterances it was, of the labels that were any.
        drops: blocks lost so far.
    """

    def __init__(self, source_rate: int, capacity: int = 10_000) -> None:
        self.source_rate = source_rate
        self.n_steps = 0
        self.stream_s = 0.0
        self.label_steps: Counter[str] = Counter()
        self.drops = 0
        self._latencies_ms = np.zeros(capacity)
        self._total_ms = 0.0
        self._probability_sums: dict[str, float] = {}

    def add(self, step: Step) -> None:
        """Count a step."""
        self._latencies_ms[self.n_steps % len(self._latencies_ms)] = step.latency_ms
        self._total_ms += step.latency_ms
        if not step.paused:
            self.label_steps[step.label] += 1
            for label, p in step.probabilities.items():
                self._probability_sums[label] = self._probability_sums.get(label, 0.0) + p
        self.n_steps += 1
        self.stream_s = step.time_s

    @property
    def label(self) -> str | None:
        """The most frequent one, of equals the more probable; None without an utterance."""
        return max(
            self.label_steps,
            key=lambda label: (self.label_steps[label], self._probability_sums[label]),
            default=None,
        )

    @property
    def mean_probabilities(self) -> dict[str, float]:
        """label -> mean over the steps in utterances, in the model's order; empty without any."""
        n = self.label_steps.total()
        return {label: total / n for label, total in self._probability_sums.items()}

    def latency_ms(self, percentile: float) -> float:
        """A percentile (0 to 100) of the last latencies, in ms; NaN without a step."""
        kept = self._latencies_ms[: self.n_steps]
        return float(np.percentile(kept, percentile)) if len(kept) else float("nan")

    @property
    def real_time_factor(self) -> float:
        """Processing time / audio time over the whole run, below 1 if the loop keeps up; NaN without a step."""
        return self._total_ms / 1000 / self.stream_s if self.n_steps else float("nan")

    def summary(self) -> list[str]:
        """Everything so far for a person, in at most 3 lines."""
        if not self.n_steps:
            return [f"no step: the stream ended before the first one was complete; drops {self.drops}"]
        label = self.label
        heard = "nothing heard"
        if label is not None:
            heard = f"most frequent: {label} ({self.label_steps[label]} of {self.label_steps.total()} not in pauses)"
        means = sorted(self.mean_probabilities.items(), key=lambda item: -item[1])
        return [
            f"{self.n_steps} steps, {self.stream_s:.2f} s of stream at {self.source_rate} Hz, {heard}",
            *(
                ["mean probabilities: " + "  ".join(f"{label} {p:.2f}" for label, p in means)]
                if means
                else []
            ),
            f"latency p50 {self.latency_ms(50):.2f} ms, p99 {self.latency_ms(99):.2f} ms; "
            f"real-time factor {self.real_time_factor:.4f}; drops {self.drops}",
        ]


def run(
    source: Source,
    listener: Listener,
    statistics: LoopStatistics,
    on_step: Callable[[Step], None],
    *,
    seconds: float | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """The live loop, the same for a file and a microphone.

    The model is warm before the source opens, so that no audio waits for it.

    Args:
        source: opened here, and closed whatever happens.
        listener: made for `source.sample_rate`; reset before the loop.
        statistics: counts the steps; after an error it holds those before it.
        on_step: called with each step, once it is counted.
        seconds: end after this much of the stream; the steps are those of a file of this length.
        stopped: asked before each block; True ends the loop at once.

    Raises:
        AudioError: the source gave something that is no audio.
        DeviceError: the microphone does not open, or went away.
    """
    listener.reset()
    listener.warm_up()
    left = None if seconds is None else round(seconds * source.sample_rate)

    def count(steps: list[Step]) -> None:
        for step in steps:
            statistics.add(step)
            on_step(step)

    with source:
        for block in source.blocks():
            statistics.drops = source.drops
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
