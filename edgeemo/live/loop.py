"""The live loop: the events of a source, as they happen.

Microphone and file go through the same `Listener` and the same `listen`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np

import edgeemo
from edgeemo.events import Event, Start, Status, Step, Why
from edgeemo.live.listener import Listener
from edgeemo.live.statistics import LoopStatistics
from edgeemo.model import EmotionModel
from edgeemo.profile import Profile
from edgeemo.smoothing import Smooth
from edgeemo.sources.source import Audio, Lost, Notice, Source

Learned = Callable[[Profile], None]
"""Told what was learnt of a voice, after each utterance and at the end."""


def listen(
    source: Source,
    model: EmotionModel,
    *,
    seconds: float | None = None,
    profile: Profile | None = None,
    learned: Learned | None = None,
    smooth: Smooth | str = Smooth.OFF,
    keep_audio: bool = False,
) -> Iterator[Event]:
    """The live loop: the events of a microphone or a file, as they happen.

    A generator that runs in the caller's thread: between two events the thread is the caller's, while the microphone
    goes on filling its queue of 2 s. It ends when the source does, after a file's last block or a call of
    `source.stop()`; an incomplete last step is left out. The first event is a `Start`, the last an `End`.

    Args:
        source: a `Microphone` that is open, or an `AudioFile`.
        model: from `edgeemo.load`.
        seconds: end after this much of the stream; the events are those of a file of this length.
        profile: what was learnt before of the voice and the microphone, to start with.
        learned: told what was learnt, after each utterance and at the end.
        smooth: how the labels of steps are smoothed: `off`, `light` or `steady`.
        keep_audio: keep the audio of each utterance, as `Utterance.audio`.

    Raises:
        AudioError: the source gave something that is not audio.
        DeviceError: the microphone is not open, or went away and is not to be waited for.
        ProfileError: the profile is another model's, or the model learns nothing of a voice.

    Examples:
        >>> import edgeemo
        >>> model = edgeemo.load("cnn_lstm")
        >>> with edgeemo.AudioFile("call.wav", realtime=False) as source:
        ...     events = list(edgeemo.listen(source, model, seconds=1.6))
        >>> [round(event.time_s, 2) for event in events if isinstance(event, edgeemo.Step)]
        [0.16, 0.32, 0.48, 0.64, 0.8, 0.96, 1.12, 1.28, 1.44, 1.6]
    """
    listener = Listener(
        model, sample_rate=source.sample_rate, profile=profile, smooth=smooth, keep_audio=keep_audio
    )
    if learned is not None:
        learned(listener.profile)  # a model that learns nothing is told before the first step
    listener.warm_up()
    left = None if seconds is None else round(seconds * source.sample_rate)
    start = _start(source, model, Smooth(smooth))
    return _events(start, source, listener, left, learned)


async def listen_async(source: Source, model: EmotionModel, **options: Any) -> AsyncIterator[Event]:
    """`listen` for asyncio programs: the event loop stays free while it waits for audio and while it computes.

    Each event is computed in a thread of asyncio's default executor. Cancelling the task stops the source.

    Args:
        source: a `Microphone` that is open, or an `AudioFile`.
        model: from `edgeemo.load`.
        options: as of `listen`; `learned` is called in that thread.

    Raises:
        AudioError: as `listen`.
        DeviceError: as `listen`.
        ProfileError: as `listen`.

    Examples:
        >>> import asyncio, edgeemo
        >>> async def labels():
        ...     model = edgeemo.load("cnn_lstm")
        ...     with edgeemo.AudioFile("call.wav", realtime=False) as source:
        ...         events = [event async for event in edgeemo.listen_async(source, model)]
        ...     return [event.label for event in events if isinstance(event, edgeemo.Step)]
        >>> len(asyncio.run(labels()))
        59
    """
    import asyncio  # takes a tenth of the time of loading all that `listen` needs, and only this needs it

    events = listen(source, model, **options)
    while True:
        event = asyncio.ensure_future(asyncio.to_thread(next, events, None))
        try:
            await asyncio.wait([event])
        except asyncio.CancelledError:
            source.stop()
            await asyncio.wait([event])  # a generator cannot be left while it runs
            raise
        if (found := await event) is None:
            return
        yield found


def _start(source: Source, model: EmotionModel, smooth: Smooth) -> Start:
    judgement, metadata = model.judgement, model.metadata
    return Start(
        time_s=0.0,
        version=edgeemo.__version__,
        model=metadata.variant,
        graph_sha256=model.graph_sha256,
        source=source.name,
        kind=source.kind,
        sample_rate=source.sample_rate,
        channels=source.channels,
        channel=source.channel,
        labels=model.labels,
        step_s=metadata.step_s,
        delay_s=metadata.delay_s,
        settings={
            "temperature": judgement.temperature,
            "unsure_below": judgement.unsure_below,
            "needs_voice": judgement.needs_voice,
            "smooth": smooth,
        },
    )


def _events(
    start: Start, source: Source, listener: Listener, left: int | None, learned: Learned | None
) -> Iterator[Event]:
    """The events of a source, or of its next `left` samples only."""
    statistics = LoopStatistics()
    utterance = 0
    reason = ""
    yield start

    def told(events: list[Event]) -> Iterator[Event]:
        nonlocal utterance
        for event in events:
            statistics.add(event)
            if isinstance(event, Step):
                if learned is not None and event.utterance > utterance:
                    learned(listener.profile)
                utterance = event.utterance
            yield event

    for heard in _without_nan(source):
        if isinstance(heard, Notice):
            yield from told([Status(time_s=listener.time_s, **vars(heard))])
            continue
        n_samples = round(heard.seconds * source.sample_rate) if isinstance(heard, Lost) else len(heard)
        if left is not None:
            n_samples = min(n_samples, left)
            left -= n_samples
        if isinstance(heard, Lost):
            yield from told([*listener.gap(n_samples / source.sample_rate, heard.why)])
        else:
            yield from told([*listener.push(heard[:n_samples])])
        source.wants(listener.lacks_s)
        if left == 0:
            reason = "seconds"
            break
    yield from told([*listener.drain()])
    if learned is not None:
        learned(listener.profile)
    yield statistics.end(reason or source.ended, time_s=listener.time_s)


def _without_nan(source: Source) -> Iterator[Audio | Lost | Notice]:
    """What a source gives; blocks in a row that are not numbers are missing, as one."""
    n_bad = 0
    for heard in source.blocks():
        if isinstance(heard, np.ndarray):
            if not np.isfinite(heard).all():
                n_bad += len(heard)
                continue
            if n_bad and not len(heard):
                continue
        if n_bad:
            yield Lost(n_bad / source.sample_rate, Why.NOT_FINITE)
            n_bad = 0
        yield heard
    if n_bad:
        yield Lost(n_bad / source.sample_rate, Why.NOT_FINITE)
