"""What is shown of the live loop: what its events have told so far, in memory that does not grow with the stream."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from edgeemo.answer import Answer
from edgeemo.events import End, Event, Gap, Start, State, Status, Step, Utterance
from edgeemo.live import LoopStatistics

_N_LEVELS = 200
_N_UTTERANCES = 100
_FLOOR_S = 10.0
_FULL_SCALE = 0.999


@dataclass(frozen=True)
class Level:
    """How loud a step was.

    Attributes:
        db: RMS, in dB re full scale; None where audio is missing.
        clipped: whether it reached full scale.
    """

    db: float | None
    clipped: bool = False


class Picture:
    """What the events of a stream have told so far, as far as it is shown.

    Args:
        n_known: how many utterances of this voice the model knows from before; None of one that learns nothing of it.

    Attributes:
        start: the first event; None before it.
        time_s: position in the stream.
        now: what is said at this moment; None where nothing is: before the first step, where audio is missing, where
            the microphone is away, and at the end.
        why: then, why nothing is said.
        probabilities: label -> probability, as last judged; of `now`, or of what was said last. 0 before.
        tells_arousal: whether the model's labels tell agitated from calm, as far as is known.
        levels: of the last steps, the latest last.
        utterances: those that are over, the latest first.
        troubles: `Status.key` -> what is wrong now.
        latency_ms: median and 99th percentile of the steps' latencies; a second old at most.
        statistics: what else is counted.
        baseline: utterances that the model knows this voice from; None if it learns nothing of a voice.
    """

    def __init__(self, n_known: int | None = None) -> None:
        self.start: Start | None = None
        self.time_s = 0.0
        self.now: Answer | None = None
        self.why = "starting"
        self.probabilities: Mapping[str, float] = {}
        self.tells_arousal = True
        self.levels: deque[Level] = deque(maxlen=_N_LEVELS)
        self.utterances: deque[Utterance] = deque(maxlen=_N_UTTERANCES)
        self.troubles: dict[tuple[State, str | None], Status] = {}
        self.latency_ms = math.nan, math.nan
        self.statistics = LoopStatistics(capacity=1000)
        self.baseline = n_known
        self._n_known = n_known

    @property
    def judged(self) -> bool:
        """Whether somebody speaks at this moment, so that the probabilities are of now."""
        return self.now is not None and self.now.judged

    @property
    def floor_db(self) -> float | None:
        """The noise floor: the lowest decile of the last 10 s' levels; None without any."""
        n = len(self.levels) if self.start is None else round(_FLOOR_S / self.start.step_s)
        heard = sorted(level.db for level in list(self.levels)[-n:] if level.db is not None)
        return heard[len(heard) // 10] if heard else None

    def add(self, event: Event) -> None:
        """Take the next event."""
        self.statistics.add(event)
        new_second = math.floor(event.time_s) != math.floor(self.time_s)
        self.time_s = event.time_s
        if isinstance(event, Start):
            self.start = event
            self.probabilities = dict.fromkeys(event.labels, 0.0)
            self.why = "listening"
        elif isinstance(event, Step):
            self._add_step(event)
            if new_second or self.statistics.n_steps == 1:
                self.latency_ms = self.statistics.latency_ms(50), self.statistics.latency_ms(99)
        elif isinstance(event, Utterance):
            self.utterances.appendleft(event)
            if not self.judged:
                self.probabilities = event.probabilities
        elif isinstance(event, Gap):
            self.levels.append(Level(None))
            self.now, self.why = None, "audio missing"
        elif isinstance(event, Status):
            self._add_status(event)
        elif isinstance(event, End):
            self.now, self.why = None, "ended"

    def _add_step(self, step: Step) -> None:
        self.now = step
        self.levels.append(Level(step.level_db, clipped=step.peak >= _FULL_SCALE))
        if step.judged:
            self.probabilities = step.probabilities
            self.tells_arousal = step.arousal is not None
        if self._n_known is not None:
            self.baseline = self._n_known + step.utterance

    def _add_status(self, status: Status) -> None:
        if not status.active:
            self.troubles.pop(status.key, None)
            return
        self.troubles[status.key] = status
        if status.state is State.RECONNECTING:
            self.now, self.why = None, "no microphone"
