"""Enrolment: a profile from some seconds of somebody's ordinary speech."""

from __future__ import annotations

from collections.abc import Callable

from edgeemo.errors import AudioError
from edgeemo.events import Step
from edgeemo.live import Listener
from edgeemo.model import EmotionModel
from edgeemo.profile import Profile
from edgeemo.sources.source import Lost, Notice, Source

SECONDS = 20.0

Report = Callable[[float], None]


def enrol(
    source: Source, model: EmotionModel, *, seconds: float = SECONDS, report: Report = lambda _: None
) -> Profile:
    """Learn what a voice usually sounds like; not the microphone, whose bands a stream knows after seconds.

    Args:
        source: a `Microphone` that is open, or an `AudioFile`.
        model: from `edgeemo.load`; the profile is for it alone.
        seconds: of speech, pauses left out.
        report: told how many have been heard.

    Raises:
        AudioError: the source ended before.
        DeviceError: as `listen`.
        ProfileError: the model learns nothing of a voice.
    """
    listener = Listener(model, sample_rate=source.sample_rate)
    _ = listener.profile  # a model that learns nothing is told before anybody speaks
    listener.warm_up()
    heard_s = 0.0
    for heard in source.blocks():
        if isinstance(heard, Lost):
            listener.gap(heard.seconds, heard.why)
        elif not isinstance(heard, Notice):
            steps = [event for event in listener.push(heard) if isinstance(event, Step)]
            heard_s += model.metadata.step_s * sum(not step.paused for step in steps)
        report(min(heard_s, seconds))
        if heard_s >= seconds:
            return listener.profile.of_voice(model.metadata)
    raise AudioError(
        f"heard {heard_s:.1f} s of speech, expected {seconds:g}; speak on or give a longer file (--seconds for less)"
    )
