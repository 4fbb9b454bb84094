"""What differs between models of audio and of images when they are measured.

That is: what they are fed, what one whole step is, and what only audio has. The rest of the bench does not ask which
of them a model is.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgeemo.bench.frontend_share import frontend_share
from edgeemo.bench.latency import Latency
from edgeemo.bench.signals import endless_blocks, endless_images
from edgeemo.bench.turns import timed, timed_steps
from edgeemo.errors import EdgeEmoError
from edgeemo.events import Step
from edgeemo.live import Listener
from edgeemo.model import EmotionModel, Model
from edgeemo.voice import SpeechDetector

SOURCE_RATE = 48000
"""Hz of the audio that a whole step resamples."""
_MAX_FRUITLESS = 100


class StepTimes(NamedTuple):
    """What one whole step took.

    Attributes:
        whole_ms: all of it.
        model_ms: the part spent in the model, as `edgeemo.live.Step` has it; of an image, all of it.
        resample_ms: the part spent resampling; none of an image.
    """

    whole_ms: float
    model_ms: float
    resample_ms: float = 0.0


@dataclass(frozen=True, kw_only=True)
class AudioPart:
    """What was measured of a model of audio, and what no model of images has.

    Attributes:
        window_s: seconds of audio that the network was trained on, and that one inference of a window graph takes.
        step_s: seconds of audio that one step has to keep up with.
        resample_ms: of each step, the part spent resampling.
        frontend_share: the front end's part of the model's time, from 0 to 1, as onnxruntime's profiler sees it;
            None where no node is named as the front end's.
        cadence_ms: whole steps at the cadence of a microphone.
    """

    window_s: float
    step_s: float
    resample_ms: Latency
    frontend_share: float | None
    cadence_ms: Latency


@dataclass(frozen=True)
class Compared:
    """Something that is measured.

    Attributes:
        steps: its steps, without end.
        step_s: seconds between two of them at the cadence of a microphone; None of a model of images, which nothing
            paces.
    """

    steps: Iterator[StepTimes]
    step_s: float | None


def endless_inputs(model: Model) -> Iterator[npt.NDArray[np.float32]]:
    """What a model's steps are given, without end, each of `model.input_shape`."""
    if isinstance(model, EmotionModel):
        return endless_blocks(model.metadata.step_samples, model.sample_rate)
    return endless_images(model.input_shape)


def whole_steps(model: Model) -> Iterator[StepTimes]:
    """Endless steps of a model, timed: of audio in the live loop, from audio of `SOURCE_RATE` on; or images.

    Any sound is judged: the test signal is no speech, and where nobody speaks the loop does not run the model.

    The resampler gives its samples in chunks, so that now and then a push completes no step, or two: those are not
    one step, and are left out.

    Raises:
        EdgeEmoError: no push completes one step.
    """
    if not isinstance(model, EmotionModel):
        for model_ms in timed_steps(model.start(), endless_inputs(model)):
            yield StepTimes(model_ms, model_ms)
        return
    model = copy.copy(model)  # the same session
    model.judgement = dataclasses.replace(model.judgement, needs_voice=False)
    listener = Listener(model, sample_rate=SOURCE_RATE)
    fruitless = 0
    for block in endless_blocks(round(model.metadata.step_s * SOURCE_RATE), SOURCE_RATE):
        whole_ms, events = timed(listener.push, block)
        steps = [event for event in events if isinstance(event, Step)]
        if len(steps) == 1:
            fruitless = 0
            yield StepTimes(whole_ms, steps[0].model_ms, steps[0].resample_ms)
        elif (fruitless := fruitless + 1) == _MAX_FRUITLESS:
            raise EdgeEmoError(f"{model.path}: a push of one step of audio does not complete one step")


def compared_steps(models: Sequence[Model]) -> list[Compared]:
    """The models, in their order, then the voice detector where one of them judges voices only."""
    found = [
        Compared(whole_steps(model), model.metadata.step_s if isinstance(model, EmotionModel) else None)
        for model in models
    ]
    for model in models:
        if isinstance(model, EmotionModel) and model.judgement.needs_voice:
            detector = SpeechDetector(model.sample_rate)
            times = timed_steps(detector.push, endless_inputs(model))
            return [*found, Compared((StepTimes(ms, ms) for ms in times), model.metadata.step_s)]
    return found


def audio_part(
    model: Model, steps: Sequence[StepTimes], paced: Sequence[StepTimes], *, n_threads: int = 1
) -> AudioPart | None:
    """What only a model of audio has; None of a model of images.

    Args:
        model: the model.
        steps: what was measured of it, at least one.
        paced: likewise, at the cadence of a microphone.
        n_threads: onnxruntime's intra-op threads, to profile the model's file with.

    Raises:
        ModelError: the file can no longer be loaded.
    """
    if not isinstance(model, EmotionModel):
        return None
    return AudioPart(
        window_s=model.metadata.window_s,
        step_s=model.metadata.step_s,
        resample_ms=Latency("resample", np.array([step.resample_ms for step in steps])),
        frontend_share=frontend_share(model.path, n_threads=n_threads),
        cadence_ms=Latency("step at cadence", np.array([step.whole_ms for step in paced])),
    )
