"""What the live loop counts, in memory that does not grow with the stream."""

from __future__ import annotations

from collections import Counter

import numpy as np

from edgeemo.live import Step


class LoopStatistics:
    """What the live loop counts.

    Labels and probabilities are those of steps that were judged, not of pauses.

    Args:
        source_rate: Hz at which the source captures.
        capacity: how many of the last latencies the percentiles are taken over.

    Attributes:
        source_rate: as given.
        n_steps: inferences so far.
        stream_s: seconds of audio up to the end of the last step.
        label_steps: label -> in how many steps it was named; only labels that were so at least once.
        n_unsure: in how many steps none was probable enough to be named.
        drops: blocks lost so far.
    """

    def __init__(self, source_rate: int, capacity: int = 10_000) -> None:
        self.source_rate = source_rate
        self.n_steps = 0
        self.stream_s = 0.0
        self.label_steps: Counter[str] = Counter()
        self.n_unsure = 0
        self.drops = 0
        self._latencies_ms = np.zeros(capacity)
        self._total_ms = 0.0
        self._probability_sums: dict[str, float] = {}

    def add(self, step: Step, *, drops: int = 0) -> None:
        """Count a step; `drops` are the blocks that its source has lost so far."""
        self.drops = drops
        self._latencies_ms[self.n_steps % len(self._latencies_ms)] = step.latency_ms
        self._total_ms += step.latency_ms
        if step.judged:
            if step.label is None:
                self.n_unsure += 1
            else:
                self.label_steps[step.label] += 1
            for label, p in step.probabilities.items():
                self._probability_sums[label] = self._probability_sums.get(label, 0.0) + p
        self.n_steps += 1
        self.stream_s = step.time_s

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
        kept = np.sort(self._latencies_ms[: self.n_steps])
        if not len(kept):
            return float("nan")
        # What np.percentile computes, which would load numpy.ma before the first label is shown.
        return float(np.interp(percentile / 100 * (len(kept) - 1), np.arange(len(kept)), kept))

    @property
    def real_time_factor(self) -> float:
        """Processing time / audio time over the whole run: below 1 if the loop keeps up. NaN without a step."""
        return self._total_ms / 1000 / self.stream_s if self.n_steps else float("nan")

    def summary(self) -> list[str]:
        """Everything so far, for a person, in at most three lines."""
        if not self.n_steps:
            return [f"no step: the stream ended before the first one was complete; drops {self.drops}"]
        label, n = self.label, self._n_judged
        heard = "nothing heard"
        if label is not None:
            heard = f"most frequent: {label} ({self.label_steps[label]} of {n} not in pauses)"
        if self.n_unsure:
            unsure = f"unsure in {self.n_unsure}"
            heard = f"{unsure} of {n} not in pauses" if label is None else f"{heard}, {unsure}"
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
