"""The utterance that is going on: what is kept of it until it is over."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from edgeemo.events import Step, Turn, Utterance
from edgeemo.model import EmotionModel

Audio = npt.NDArray[np.float32]


class Spoken:
    """An utterance as far as it was heard.

    What is said of it is what `EmotionModel.classify` says of a clip that holds it: the mean over the steps that have
    heard a whole window of it; of a shorter one, what its last step says.

    Args:
        model: whose steps it is made of.
        number: of the utterance, from 1.
        start_s: where it begins.
    """

    def __init__(self, model: EmotionModel, number: int, start_s: float) -> None:
        self.number = number
        self.start_s = start_s
        self._model = model
        self._total = np.zeros(len(model.labels))
        self._n_whole = 0
        self._last: npt.NDArray[np.float32] | None = None
        self._turns: list[Turn] = []

    def add(self, step: Step, probabilities: npt.NDArray[np.float32], *, voice_s: float) -> None:
        """Take the next step.

        Args:
            step: what was said of it.
            probabilities: as the graph gives them, shape `(n_labels,)`.
            voice_s: where the last voice so far ends: what a step says of the pause after it does not count.
        """
        if not self._turns or self._turns[-1].label != step.label:
            self._turns.append(Turn(time_s=step.time_s, label=step.label))
        metadata = self._model.metadata
        heard_s = step.time_s - metadata.delay_s
        if self._last is not None and heard_s > voice_s + metadata.step_s:
            return
        self._last = probabilities
        if heard_s - self.start_s >= metadata.window_s:
            self._total += probabilities
            self._n_whole += 1

    def over(self, *, time_s: float, end_s: float, cut: bool, audio: Audio | None) -> Utterance | None:
        """The utterance, once it is over; None where no step of it was judged.

        Args:
            time_s: where in the stream that is known.
            end_s: where its last voice ends.
            cut: whether a pause ended it.
            audio: of it, where it is kept.
        """
        if self._last is None:
            return None
        probabilities = (self._total / self._n_whole).astype(np.float32) if self._n_whole else self._last
        return Utterance(
            **vars(self._model.answer(probabilities)),
            time_s=time_s,
            utterance=self.number,
            start_s=self.start_s,
            end_s=end_s,
            evolution=tuple(self._turns),
            cut=cut,
            audio=audio,
        )


class Tape:
    """The latest audio of a stream, of which an utterance is cut out: at most `seconds` of it.

    Args:
        sample_rate: Hz.
        seconds: how much is kept.
    """

    def __init__(self, sample_rate: int, seconds: float) -> None:
        self._sample_rate = sample_rate
        self._most = round(seconds * sample_rate)
        self._steps: deque[Audio] = deque()
        self._n_samples = self._end = 0

    def add(self, step: Audio) -> None:
        """Take the next step of the stream, shape `(n_samples,)`; it is copied."""
        self._steps.append(step.copy())
        self._n_samples += len(step)
        self._end += len(step)
        while self._n_samples - len(self._steps[0]) >= self._most:
            self._n_samples -= len(self._steps.popleft())

    def cut(self, start_s: float, end_s: float) -> Audio:
        """What is between two moments of the stream, as far as it is kept, shape `(n_samples,)`."""
        first = self._end - self._n_samples
        start, end = (max(round(at * self._sample_rate) - first, 0) for at in (start_s, end_s))
        audio: Audio = np.concatenate([np.zeros(0, np.float32), *self._steps])
        return audio[start:end].copy()
