"""The live loop without a thread or a clock: push blocks of audio, get events."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeemo.answer import Answer
from edgeemo.audio import Resampler, as_float32
from edgeemo.events import Gap, Step, Utterance, Why
from edgeemo.high_pass import HighPass
from edgeemo.live.utterance import Spoken, Tape
from edgeemo.model import EmotionModel
from edgeemo.profile import Profile
from edgeemo.smoothing import Smooth, Smoother
from edgeemo.utterances import QUIET, UtteranceDetector, rms_db
from edgeemo.voice import NO_SPEECH, SpeechDetector

Audio = npt.NDArray[np.float32]
Heard = Step | Utterance | Gap

MAX_UTTERANCE_S = 30.0
"""After which an utterance is cut, and another begins."""
_LEAST_DB = -120.0


class Listener:
    """Turns one's own stream of audio into events. It has no thread and no clock, and opens nothing.

    Any number of listeners may share a model, each in a thread of its own; one listener belongs to one thread at a
    time.

    The events do not depend on how the stream is cut into blocks. At the start of each utterance a stream graph
    starts afresh, as after silence, but for what it has learnt of microphone and voice; a window graph forgets by
    itself.

    Args:
        model: from `edgeemo.load`.
        sample_rate: Hz of the audio that will be pushed; it is resampled to the model's.
        profile: what was learnt before of the voice and the microphone, with which each stream starts.
        smooth: how the labels of steps are smoothed: `off`, `light` or `steady`.
        keep_audio: keep the audio of each utterance, as `Utterance.audio`.

    Raises:
        AudioError: the rate is not positive.
        ProfileError: the profile is another model's, or the model learns nothing of a voice.

    Examples:
        >>> import edgeemo, numpy as np
        >>> listener = edgeemo.Listener(edgeemo.load("cnn_lstm"), sample_rate=48_000)
        >>> events = listener.push(np.zeros(48_000, np.int16))  # a second of silence
        >>> len(events), events[0].paused
        (6, True)
    """

    def __init__(
        self,
        model: EmotionModel,
        *,
        sample_rate: int,
        profile: Profile | None = None,
        smooth: Smooth | str = Smooth.OFF,
        keep_audio: bool = False,
    ) -> None:
        metadata = model.metadata
        self.model = model
        self._sample_rate = metadata.features.sample_rate
        self._resampler = Resampler(sample_rate, self._sample_rate)
        self._source_rate = sample_rate
        self._high_pass = HighPass(self._sample_rate)
        self._stepper = model.stepper(profile)
        self._learnt = self._stepper.learnt if profile else None
        self._n_utterances_before = profile.n_utterances if profile else 0
        self._gated = model.judgement.needs_voice
        self._detector = (SpeechDetector if self._gated else UtteranceDetector)(self._sample_rate)
        self._smoother = Smoother(Smooth(smooth), metadata.step_s)
        self._pending: Audio = np.zeros(metadata.step_samples, np.float32)
        self._keep_audio = keep_audio
        self.reset()

    def warm_up(self) -> None:
        """Run the model on silence, because its first inferences are several times slower; then `reset`."""
        silence = np.zeros_like(self._pending)
        for _ in range(2):
            self._stepper.step(silence)
        self.reset()

    def reset(self) -> None:
        """Forget the stream: the next sample is the first."""
        self._n_utterances = 0
        self._n_heard = 0
        self._before_s = 0.0
        self._begin(self._learnt)

    @property
    def time_s(self) -> float:
        """How far the stream is: the seconds that were pushed and those that are missing."""
        return self._before_s + self._n_heard / self._source_rate

    @property
    def lacks_s(self) -> float:
        """How much audio must come at least before there is another step, in seconds."""
        lacking = (self._n_steps + 1) * len(
            self._pending
        ) / self._sample_rate - self._n_heard / self._source_rate
        return max(lacking, 0.0)

    @property
    def profile(self) -> Profile:
        """What was learnt so far of the voice and the microphone, with what was before.

        Raises:
            ProfileError: the model learns nothing of a voice.
        """
        n_utterances = self._n_utterances_before + self._n_utterances
        return self.model.profile(self._stepper.learnt, n_utterances=n_utterances)

    def push(self, block: npt.NDArray[Any]) -> list[Heard]:
        """Take new audio.

        Args:
            block: mono float32 in [-1, 1] or int16 (which is scaled), shape `(n_samples,)`, of any length, also 0.

        Returns:
            the steps that this block completes, each followed by the utterance that it showed to be over.

        Raises:
            AudioError: another type or shape, or a sample that is NaN or infinite; the stream is as before the push.
        """
        given = as_float32(block)
        self._n_heard += len(given)
        if self._n_heard * self._sample_rate < (self._n_steps + 1) * len(self._pending) * self._source_rate:
            self._waiting.append(given.copy())
            return []
        self._waiting.append(given)
        return self._resampled()

    def gap(self, seconds: float, why: Why | str) -> list[Heard]:
        """Audio is missing before what will be pushed next. What was learnt of microphone and voice is kept.

        Args:
            seconds: how much.
            why: for the event.

        Returns:
            the utterance that this cuts, if there is one, and the gap.
        """
        events = self.drain()
        start_s = self.time_s
        self._before_s, self._n_heard = start_s + seconds, 0
        self._begin(self._stepper.learnt)
        gap = Gap(time_s=self.time_s, start_s=start_s, length_s=seconds, why=Why(why))
        return [*events, gap]

    def flush(self) -> list[Heard]:
        """End the stream and return its last complete steps and utterance. The next `push` starts a new stream."""
        events = self.drain()
        self.reset()
        return events

    def drain(self) -> list[Heard]:
        """End the stream, as `flush`, but keep what was learnt of it until `reset`."""
        events = self._resampled()
        start_s = time.perf_counter()
        audio = self._resampler.flush()
        self._resample_s += time.perf_counter() - start_s
        return [*events, *self._advance(audio), *self._end_utterance(cut=not self._detector.paused)]

    def _begin(self, learnt: Any) -> None:
        """What comes next has nothing before it."""
        self._origin_s = self._before_s
        self._resampler.reset()
        self._high_pass.reset()
        self._stepper.reset(learnt)
        self._detector.reset()
        self._tape = Tape(self._sample_rate, 1 + MAX_UTTERANCE_S) if self._keep_audio else None
        self._spoken: Spoken | None = None
        # Blocks that cannot complete a step wait for one that can: woken up for one block, the resampler takes ten
        # times as long as for the next, since between two blocks others use the processor's caches.
        self._waiting: list[Audio] = []
        self._n_pending = 0
        self._n_steps = 0
        self._resample_s = 0.0

    def _resampled(self) -> list[Heard]:
        """Go on with the blocks that wait."""
        events: list[Heard] = []
        waiting, self._waiting = self._waiting, []
        for block in waiting:
            start_s = time.perf_counter()
            audio = self._resampler.push(block)
            self._resample_s += time.perf_counter() - start_s
            events += self._advance(audio)
        return events

    def _advance(self, audio: Audio) -> list[Heard]:
        """Fill `self._pending` again and again; each time it is full, it is a step."""
        events: list[Heard] = []
        start = 0
        while start < len(audio):
            piece = audio[start : start + len(self._pending) - self._n_pending]
            self._pending[self._n_pending : self._n_pending + len(piece)] = piece
            self._n_pending += len(piece)
            start += len(piece)
            if self._n_pending == len(self._pending):
                self._n_pending = 0
                events += self._step(self._pending)
        return events

    def _step(self, audio: Audio) -> list[Heard]:
        start_s = time.perf_counter()
        events: list[Heard] = []
        self._n_steps += 1
        audio = self._high_pass(audio)
        if self._tape is not None:
            self._tape.add(audio)
        if self._detector.push(audio):
            # The pause before may have ended within this step.
            events += self._end_utterance(cut=False, at_most_s=self._origin_s + self._detector.voice_before_s)
            self._begin_utterance(self._origin_s + self._detector.onset_s)
        elif self._continues():
            before_s = self._step_s - self.model.metadata.step_s
            events += self._end_utterance(cut=True, at_most_s=before_s)
            self._begin_utterance(before_s)
        # An utterance that was told is over, also where what followed turns out to have been no pause.
        paused = self._detector.paused or self._spoken is None
        if paused and self._gated:
            self._stepper.skip(audio)
            answer = Answer(label=None, reason=NO_SPEECH, probabilities={}, arousal=None)
        else:
            probabilities = self._stepper.step(audio)
            answer = self.model.answer(self._smoother(probabilities), reason=QUIET if paused else None)
        model_s = time.perf_counter() - start_s
        resample_s, self._resample_s = self._resample_s, 0.0
        step = Step(
            **vars(answer),
            time_s=self._step_s,
            utterance=self._n_utterances,
            paused=paused,
            level_db=max(rms_db(audio), _LEAST_DB),
            peak=float(max(audio.max(), -audio.min())),
            resample_ms=1000 * resample_s,
            model_ms=1000 * model_s,
        )
        if self._spoken is not None and not paused:
            self._spoken.add(step, probabilities, voice_s=self._origin_s + self._detector.last_voice_s)
        events.append(step)
        return events + (self._end_utterance(cut=False) if paused else [])

    def _continues(self) -> bool:
        """Whether an utterance begins here though no pause ends: the one before is too long, or was told already."""
        if self._spoken is None:
            return self._origin_s + self._detector.last_voice_s >= self._step_s and not self._detector.paused
        return self._step_s - self._spoken.start_s >= MAX_UTTERANCE_S

    @property
    def _step_s(self) -> float:
        """Where the latest step ends."""
        return self._origin_s + self._n_steps * len(self._pending) / self._sample_rate

    def _begin_utterance(self, start_s: float) -> None:
        self._n_utterances += 1
        self._stepper.begin_utterance()
        self._smoother.reset()
        self._spoken = Spoken(self.model, self._n_utterances, start_s)

    def _end_utterance(self, *, cut: bool, at_most_s: float = math.inf) -> list[Heard]:
        spoken, self._spoken = self._spoken, None
        if spoken is None:
            return []
        end_s = min(self._origin_s + self._detector.last_voice_s, self._step_s, at_most_s)
        audio = None
        if self._tape is not None:
            audio = self._tape.cut(spoken.start_s - self._origin_s, end_s - self._origin_s)
        over = spoken.over(time_s=self._step_s, end_s=end_s, cut=cut, audio=audio)
        return [] if over is None else [over]
