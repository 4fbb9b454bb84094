"""What the live loop counts, in memory that does not grow with the stream."""

from __future__ import annotations

import bisect
import math
from collections import Counter, deque

from edgeemo.events import End, Event, Gap, Start, Step, Utterance
from edgeemo.wording import counted


class LoopStatistics:
    """What the live loop counts.

    Labels and probabilities are those of steps that were judged, not of pauses.

    Args:
        capacity: how many of the last latencies the percentiles are taken over.

    Attributes:
        sample_rate: Hz at which the source captures; 0 before the stream has started.
        n_steps: steps so far.
        stream_s: seconds of the stream up to the last event, heard or missing.
        gap_s: seconds of it that are missing.
        n_gaps: in how many gaps.
        n_utterances: that are over.
        label_steps: label -> in how many steps it was named; only labels that were so at least once.
        n_unsure: in how many steps none was probable enough to be named.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self.sample_rate = 0
        self.n_steps = 0
        self.stream_s = 0.0
        self.gap_s = 0.0
        self.n_gaps = 0
        self.n_utterances = 0
        self.label_steps: Counter[str] = Counter()
        self.n_unsure = 0
        self._latencies_ms: deque[float] = deque(maxlen=capacity)
        self._sorted_ms: list[float] = []  # likewise: to sort them for each picture costs more than a step
        self._total_ms = 0.0
        self._probability_sums: dict[str, float] = {}
        self._step_s = 0.0
        self._n_flips = 0
        self._last: Step | None = None

    def add(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, Step):
            self._add_step(event)
        elif isinstance(event, Gap):
            self.n_gaps += 1
            self.gap_s += event.length_s
        elif isinstance(event, Utterance):
            self.n_utterances += 1
        elif isinstance(event, Start):
            self.sample_rate = event.sample_rate
        self.stream_s = event.time_s

    def _add_step(self, step: Step) -> None:
        if len(self._latencies_ms) == self._latencies_ms.maxlen:
            del self._sorted_ms[bisect.bisect_left(self._sorted_ms, self._latencies_ms[0])]
        self._latencies_ms.append(step.latency_ms)
        bisect.insort(self._sorted_ms, step.latency_ms)
        self._total_ms += step.latency_ms
        if step.judged:
            if step.label is None:
                self.n_unsure += 1
            else:
                self.label_steps[step.label] += 1
            for label, p in step.probabilities.items():
                self._probability_sums[label] = self._probability_sums.get(label, 0.0) + p
            before = self._last
            if before is not None and before.judged and before.utterance == step.utterance:
                self._step_s = step.time_s - before.time_s
                self._n_flips += step.label != before.label
        self._last = step
        self.n_steps += 1

    @property
    def label(self) -> str | None:
        """The most frequent label; of equally frequent ones, the more probable. None where none was named."""
        return max(
            self.label_steps,
            key=lambda label: (self.label_steps[label], self._probability_sums[label]),
            default=None,
        )

    @property
    def mean_probabilities(self) -> dict[str, float]:
        """label -> mean over the steps that were judged, in the model's order; empty without any."""
        return {label: total / self._n_judged for label, total in self._probability_sums.items()}

    @property
    def _n_judged(self) -> int:
        return self.label_steps.total() + self.n_unsure

    def latency_ms(self, percentile: float) -> float:
        """A percentile (0 to 100) of the last latencies, in ms; NaN without a step."""
        kept = self._sorted_ms
        if not kept:
            return math.nan
        # What np.percentile computes, which would load numpy.ma before the first label is shown.
        share, below = math.modf(percentile / 100 * (len(kept) - 1))
        low, high = kept[int(below)], kept[min(int(below) + 1, len(kept) - 1)]
        return low + share * (high - low)

    @property
    def real_time_factor(self) -> float:
        """Processing time / audio that was heard: below 1 if the loop keeps up. NaN without a step."""
        return self._total_ms / 1000 / self.heard_s if self.n_steps else float("nan")

    @property
    def heard_s(self) -> float:
        """Seconds of the stream that were heard."""
        return self.stream_s - self.gap_s

    @property
    def flips_per_minute(self) -> float:
        """How often the label changed from step to step within utterances, per minute of what was judged."""
        judged_s = self._n_judged * self._step_s
        return 60 * self._n_flips / judged_s if judged_s else 0.0

    @property
    def lost(self) -> str:
        """What is missing, for a person; empty where nothing is."""
        return f"{self.gap_s:.2f} s lost in {counted(self.n_gaps, 'gap')}" if self.n_gaps else ""

    def end(self, reason: str, *, time_s: float) -> End:
        """The event that ends the stream.

        Args:
            reason: why it ends.
            time_s: where.
        """
        self.stream_s = time_s
        some = self.n_steps > 0
        return End(
            time_s=time_s,
            reason=reason,
            heard_s=self.heard_s,
            gap_s=self.gap_s,
            n_gaps=self.n_gaps,
            n_steps=self.n_steps,
            n_utterances=self.n_utterances,
            label_steps=dict(self.label_steps),
            n_unsure=self.n_unsure,
            flips_per_minute=self.flips_per_minute,
            latency_p50_ms=self.latency_ms(50) if some else None,
            latency_p99_ms=self.latency_ms(99) if some else None,
            real_time_factor=self.real_time_factor if some else None,
        )

    def summary(self) -> list[str]:
        """Everything so far, for a person, in at most three lines."""
        if not self.n_steps:
            lost = f"; {self.lost}" if self.lost else ""
            return [f"no step: the stream ended before the first one was complete{lost}"]
        label, n = self.label, self._n_judged
        heard = "nothing heard"
        if label is not None:
            heard = f"most frequent: {label} ({self.label_steps[label]} of {n} not in pauses)"
        if self.n_unsure:
            unsure = f"unsure in {self.n_unsure}"
            heard = f"{unsure} of {n} not in pauses" if label is None else f"{heard}, {unsure}"
        means = sorted(self.mean_probabilities.items(), key=lambda item: -item[1])
        return [
            f"{self.n_steps} steps, {self.stream_s:.2f} s of stream at {self.sample_rate} Hz, {heard}",
            *(
                [
                    "mean probabilities: "
                    + "  ".join(f"{label} {p:.2f}" for label, p in means)
                    + f"; {self.flips_per_minute:.0f} changes of label a minute"
                ]
                if means
                else []
            ),
            f"latency p50 {self.latency_ms(50):.2f} ms, p99 {self.latency_ms(99):.2f} ms; "
            f"real-time factor {self.real_time_factor:.4f}; {self.lost or 'nothing lost'}",
        ]
