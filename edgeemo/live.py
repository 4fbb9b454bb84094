"""The live loop: push blocks of audio, get steps.

Microphone and file go through the same `Listener` and the same `listen`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeemo.answer import Answer
from edgeemo.audio import Resampler, as_float32
from edgeemo.model import EmotionModel
from edgeemo.profile import Profile
from edgeemo.sources import Source
from edgeemo.utterances import QUIET, UtteranceDetector
from edgeemo.voice import NO_SPEECH, SpeechDetector

Audio = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Step(Answer):
    """One inference of the live loop: an `Answer`, and what it is of.

    Attributes:
        time_s: where in the stream the step ends, counted in samples and so independent of any clock; audio that
            the source dropped is not counted.
        utterance: number of the utterance that the step belongs to, counting the pause after it: 0 before the first,
            then 1 and so on. `edgeemo.voice` has the rule, for models that judge any sound `edgeemo.utterances`.
        paused: True where nobody speaks: for the length of a pause, or not yet.
        label: the most probable emotion; None where none is named.
        reason: why there is no label: `no speech` (of models that judge any sound: `quiet`) in a pause; `unsure`,
            where none is probable enough.
        probabilities, arousal: as in `Answer`; no probabilities where nobody speaks, since the model does not run.
        resample_ms: time spent resampling since the step before.
        model_ms: time spent in the model, including the front end and the search for utterances.
    """

    time_s: float
    utterance: int
    paused: bool
    resample_ms: float
    model_ms: float

    @property
    def latency_ms(self) -> float:
        """What computing this step cost: `resample_ms + model_ms`."""
        return self.resample_ms + self.model_ms


class Listener:
    """Turns one's own stream of audio into steps. It has no thread and no clock, and opens nothing.

    Any number of listeners may share a model, each in a thread of its own; one listener belongs to one thread at a
    time.

    The steps do not depend on how the stream is cut into blocks. At the start of each utterance a stream graph starts
    afresh, as after silence, but for what it has learnt of microphone and voice; a window graph forgets by itself.

    Args:
        model: from `edgeemo.load`.
        sample_rate: Hz of the audio that will be pushed; it is resampled to the model's.
        profile: what was learnt before of the voice and the microphone, with which each stream starts.

    Raises:
        AudioError: the rate is not positive.
        ProfileError: the profile is another model's, or the model learns nothing of a voice.

    Examples:
        >>> import edgeemo, numpy as np
        >>> listener = edgeemo.Listener(edgeemo.load("cnn_lstm"), sample_rate=48_000)
        >>> steps = listener.push(np.zeros(48_000, np.int16))  # a second of silence
        >>> len(steps), steps[0].paused
        (6, True)
    """

    def __init__(self, model: EmotionModel, *, sample_rate: int, profile: Profile | None = None) -> None:
        metadata = model.metadata
        self.model = model
        self._sample_rate = metadata.features.sample_rate
        self._resampler = Resampler(sample_rate, self._sample_rate)
        self._stepper = model.stepper(profile)
        self._learnt = self._stepper.learnt if profile else None
        self._n_utterances_before = profile.n_utterances if profile else 0
        self._gated = model.judgement.needs_voice
        self._utterances = (SpeechDetector if self._gated else UtteranceDetector)(self._sample_rate)
        self._pending: Audio = np.zeros(metadata.step_samples, np.float32)
        self.reset()

    def warm_up(self) -> None:
        """Run the model on silence, because its first inferences are several times slower; then `reset`."""
        silence = np.zeros_like(self._pending)
        for _ in range(2):
            self._stepper.step(silence)
        self.reset()

    def reset(self) -> None:
        """Forget the stream: the next sample is the first."""
        self._resampler.reset()
        self._stepper.reset(self._learnt)
        self._utterances.reset()
        self._n_pending = 0
        self._n_steps = 0
        self._n_utterances = 0
        self._resample_s = 0.0

    @property
    def profile(self) -> Profile:
        """What was learnt so far of the voice and the microphone, with what was before.

        Raises:
            ProfileError: the model learns nothing of a voice.
        """
        n_utterances = self._n_utterances_before + self._n_utterances
        return self.model.profile(self._stepper.learnt, n_utterances=n_utterances)

    def push(self, block: npt.NDArray[Any]) -> list[Step]:
        """Take new audio.

        Args:
            block: mono float32 in [-1, 1] or int16 (which is scaled), shape `(n_samples,)`, of any length, also 0.

        Returns:
            the steps that this block completes.

        Raises:
            AudioError: another type or shape, or a sample that is NaN or infinite; the stream is as before the push.
        """
        given = as_float32(block)
        start_s = time.perf_counter()
        audio = self._resampler.push(given)
        self._resample_s += time.perf_counter() - start_s
        return self._advance(audio)

    def flush(self) -> list[Step]:
        """End the stream and return its last complete steps. The next `push` starts a new stream."""
        steps = self.drain()
        self.reset()
        return steps

    def drain(self) -> list[Step]:
        """End the stream, as `flush`, but keep what was learnt of it until `reset`."""
        start_s = time.perf_counter()
        audio = self._resampler.flush()
        self._resample_s += time.perf_counter() - start_s
        return self._advance(audio)

    def _advance(self, audio: Audio) -> list[Step]:
        """Fill `self._pending` again and again; each time it is full, it is a step."""
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
            self._stepper.begin_utterance()
        paused = self._utterances.paused
        if paused and self._gated:
            self._stepper.skip(audio)
            answer = Answer(label=None, reason=NO_SPEECH, probabilities={}, arousal=None)
        else:
            probabilities = self._stepper.step(audio)
            answer = self.model.answer(probabilities, reason=QUIET if paused else None)
        model_s = time.perf_counter() - start_s
        resample_s, self._resample_s = self._resample_s, 0.0
        self._n_steps += 1
        return Step(
            **vars(answer),
            time_s=self._n_steps * len(audio) / self._sample_rate,
            utterance=self._n_utterances,
            paused=paused,
            resample_ms=1000 * resample_s,
            model_ms=1000 * model_s,
        )


Learned = Callable[[Profile], None]
"""Told what was learnt of a voice, after each utterance and at the end."""


def listen(
    source: Source,
    model: EmotionModel,
    *,
    seconds: float | None = None,
    profile: Profile | None = None,
    learned: Learned | None = None,
) -> Iterator[Step]:
    """The live loop: the steps of a microphone or a file, as they become complete.

    A generator that runs in the caller's thread: between two steps the thread is the caller's, while the microphone
    goes on filling its queue of 2 s. It ends when the source does, after a file's last block or a call of
    `source.stop()`; an incomplete last step is left out.

    Args:
        source: a `Microphone` that is open, or an `AudioFile`.
        model: from `edgeemo.load`.
        seconds: end after this much of the stream; the steps are those of a file of this length.
        profile: what was learnt before of the voice and the microphone, to start with.
        learned: told what was learnt, after each utterance and at the end.

    Raises:
        AudioError: the source gave something that is not audio.
        DeviceError: the microphone is not open, or went away.
        ProfileError: the profile is another model's, or the model learns nothing of a voice.

    Examples:
        >>> import edgeemo
        >>> model = edgeemo.load("cnn_lstm")
        >>> with edgeemo.AudioFile("call.wav", realtime=False) as source:
        ...     steps = list(edgeemo.listen(source, model, seconds=1.6))
        >>> [round(step.time_s, 2) for step in steps]
        [0.16, 0.32, 0.48, 0.64, 0.8, 0.96, 1.12, 1.28, 1.44, 1.6]
    """
    listener = Listener(model, sample_rate=source.sample_rate, profile=profile)
    if learned is not None:
        learned(listener.profile)  # a model that learns nothing is told before the first step
    listener.warm_up()
    left = None if seconds is None else round(seconds * source.sample_rate)
    return _steps(source, listener, left, learned)


async def listen_async(
    source: Source,
    model: EmotionModel,
    *,
    seconds: float | None = None,
    profile: Profile | None = None,
    learned: Learned | None = None,
) -> AsyncIterator[Step]:
    """`listen` for asyncio programs: the event loop stays free while it waits for audio and while it computes.

    Each step is computed in a thread of asyncio's default executor. Cancelling the task stops the source.

    Args:
        source: a `Microphone` that is open, or an `AudioFile`.
        model: from `edgeemo.load`.
        seconds: end after this much of the stream.
        profile: as of `listen`.
        learned: as of `listen`; called in that thread.

    Raises:
        AudioError: as `listen`.
        DeviceError: as `listen`.
        ProfileError: as `listen`.

    Examples:
        >>> import asyncio, edgeemo
        >>> async def labels():
        ...     model = edgeemo.load("cnn_lstm")
        ...     with edgeemo.AudioFile("call.wav", realtime=False) as source:
        ...         return [step.label async for step in edgeemo.listen_async(source, model)]
        >>> len(asyncio.run(labels()))
        59
    """
    import asyncio  # takes a tenth of the time of loading all that `listen` needs, and only this needs it

    steps = listen(source, model, seconds=seconds, profile=profile, learned=learned)
    while True:
        step = asyncio.ensure_future(asyncio.to_thread(next, steps, None))
        try:
            await asyncio.wait([step])
        except asyncio.CancelledError:
            source.stop()
            await asyncio.wait([step])  # a generator cannot be left while it runs
            raise
        if (found := await step) is None:
            return
        yield found


def _steps(source: Source, listener: Listener, left: int | None, learned: Learned | None) -> Iterator[Step]:
    """The steps of a source, or of its next `left` samples only."""
    utterance = 0
    for block in source.blocks():
        if left is not None:
            block = block[:left]
            left -= len(block)
        for step in listener.push(block):
            if learned is not None and step.utterance > utterance:
                learned(listener.profile)
            utterance = step.utterance
            yield step
        if left == 0:
            break
    yield from listener.drain()
    if learned is not None:
        learned(listener.profile)
