"""`edgeemo listen`: emotions from a microphone or a file, live."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeemo.cli.judgement import AnySound, Temperature, UnsureBelow, loaded
from edgeemo.cli.quiet import quiet_libraries
from edgeemo.errors import EdgeEmoError
from edgeemo.places import DEFAULT_MODEL, sample_path
from edgeemo.wording import counted

if TYPE_CHECKING:
    from types import FrameType

    from edgeemo import AudioFile, EmotionModel, Microphone, Profile, Step
    from edgeemo.sources import Source
    from edgeemo.statistics import LoopStatistics

_MAX_SECONDS = 1e9  # 30 years
_BASELINE_EVERY_S = 60.0


def listen_command(
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="A shipped model's name, or an .onnx file.")
    ] = DEFAULT_MODEL,
    file: Annotated[
        Path | None, typer.Option(metavar="CLIP", help="Listen to this file instead of a microphone.")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Listen to the bundled sample of speech.")] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="With --file or --sample: do not wait for real time.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(metavar="INDEX|NAME", help="The microphone; part of a name is enough.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="N", help="Stop after N seconds of the stream.")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(metavar="PROFILE", help="What `edgeemo enrol` learnt of the voice, to start with."),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="PROFILE",
            help="Start with this profile, where there is one, and keep in it what is learnt; delete it to forget.",
        ),
    ] = None,
    unsure_below: UnsureBelow = None,
    temperature: Temperature = None,
    any_sound: AnySound = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, for other programs.")
    ] = False,
    show_devices: Annotated[bool, typer.Option("--list-devices", help="Show the microphones.")] = False,
) -> None:
    """Listen to a microphone (or a file, in real time) and show the emotion in the voice, step by step.

    Ctrl-C ends it with a summary. Piped or redirected, it prints a line for each new label and one for each second.
    It shows no label where nobody speaks, or where none is probable enough.
    """
    if show_devices:
        if (
            sample
            or fast
            or any_sound
            or any(
                value is not None
                for value in (file, device, seconds, profile, baseline, unsure_below, temperature)
            )
        ):
            raise typer.BadParameter("goes with --json only", param_hint="--list-devices")
        _show_devices(as_json)
        return
    if file is not None and sample:
        raise typer.BadParameter("give --file or --sample, not both", param_hint="--sample")
    clip = sample_path() if sample else file
    if fast and clip is None:
        raise typer.BadParameter("only a file can be faster than real time", param_hint="--fast")
    if device is not None and clip is not None:
        raise typer.BadParameter("give a microphone or a file, not both", param_hint="--device")
    if profile is not None and baseline is not None:
        raise typer.BadParameter("give --profile or --baseline, not both", param_hint="--baseline")
    if seconds is not None and not 0 < seconds < _MAX_SECONDS:
        raise typer.BadParameter(f"{seconds:g} is not a positive number of seconds", param_hint="--seconds")

    import edgeemo
    from edgeemo.statistics import LoopStatistics

    [emotion_model] = loaded([model], unsure_below=unsure_below, temperature=temperature, any_sound=any_sound)
    kept = None if baseline is None else _Baseline(baseline)
    start = profile if baseline is None or not baseline.is_file() else baseline
    learnt = None if start is None else edgeemo.read_profile(start)
    n_known = 0 if learnt is None else learnt.n_utterances
    # PortAudio, ALSA and MP3 decoders write to stderr what edgeemo reports in one line of its own.
    with quiet_libraries():
        source = open_source(clip, device, fast=fast)
        statistics = LoopStatistics(source.sample_rate)
        try:
            with (
                stopped_by_signals(source),
                source,
                _shown(source, emotion_model, statistics, n_known, as_json) as show,
            ):
                for step in edgeemo.listen(
                    source, emotion_model, seconds=seconds, profile=learnt, learned=kept
                ):
                    statistics.add(step, drops=source.drops)
                    show(step)
        except EdgeEmoError:
            if statistics.n_steps:
                _write_summary(statistics, as_json)
            raise
        finally:
            if kept is not None:
                kept.save()
    _write_summary(statistics, as_json)
    if kept is not None:
        print(kept.summary(), file=sys.stderr if as_json else sys.stdout, flush=True)


class _Baseline:
    """Keeps what is learnt of a voice in a file: at most once a minute, for the sake of memory cards, and at the end.

    Args:
        path: of the profile.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        from edgeemo.files import check_writable

        check_writable(path)
        self._path = path
        self._profile: Profile | None = None
        self._saved_s = time.monotonic()

    def summary(self) -> str:
        """How much was learnt, for a person."""
        n = 0 if self._profile is None else self._profile.n_utterances
        return f"baseline: {counted(n, 'utterance')} in {self._path}" if n else "baseline: nobody spoke"

    def __call__(self, profile: Profile) -> None:
        """Take what was learnt so far."""
        self._profile = profile
        if time.monotonic() - self._saved_s > _BASELINE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write what was learnt last, if there is any."""
        if self._profile is not None and self._profile.n_utterances:
            self._profile.save(self._path)
        self._saved_s = time.monotonic()


@contextmanager
def _shown(
    source: Source, model: EmotionModel, statistics: LoopStatistics, n_known: int, as_json: bool
) -> Iterator[Callable[[Step], None]]:
    """Give a function that shows a step which `statistics` has counted: as a JSON line, or in the view.

    A model that learns what a voice usually sounds like knows it from `n_known` utterances before, and those since.
    """
    if as_json:
        yield lambda step: _write_json(step, statistics.drops)
        return
    from edgeemo.view import Picture, view_for

    with view_for(sys.stdout) as view:

        def show(step: Step) -> None:
            baseline = n_known + step.utterance if model.metadata.learns else None
            view.show(Picture.of(source.name, model.metadata.variant, step, statistics, baseline))

        yield show


def open_source(clip: Path | None, device: str | None, *, fast: bool) -> AudioFile | Microphone:
    """A file, or a microphone by its number or name."""
    from edgeemo import AudioFile, Microphone

    if clip is not None:
        return AudioFile(clip, realtime=not fast)
    return Microphone(int(device) if device is not None and device.isdecimal() else device)


def _write_json(step: Step, drops: int) -> None:
    line = {
        "time_s": round(step.time_s, 6),
        "utterance": step.utterance,
        "paused": step.paused,
        "label": step.label,
        "reason": step.reason,
        "arousal": None if step.arousal is None else round(step.arousal, 6),
        "probabilities": {label: round(p, 6) for label, p in step.probabilities.items()},
        "resample_ms": round(step.resample_ms, 4),
        "model_ms": round(step.model_ms, 4),
        "drops": drops,
    }
    print(json.dumps(line, allow_nan=False), flush=True)


def _write_summary(statistics: LoopStatistics, as_json: bool) -> None:
    for line in statistics.summary():
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)


def _show_devices(as_json: bool) -> None:
    from dataclasses import asdict

    from edgeemo.sources import list_devices, no_microphone

    devices = list_devices()
    if as_json:
        for device in devices:
            print(json.dumps(asdict(device)))
        return
    if not devices:
        raise no_microphone()
    for device in devices:
        mark = "*" if device.is_default else " "
        print(f"{mark}{device.index:3}  {device.name}  ({device.channels} channels, {device.sample_rate} Hz)")


@contextmanager
def stopped_by_signals(source: Source) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM stop the source, which ends the loop; a second one ends the program as usual."""

    def receive(_number: int, _frame: FrameType | None) -> None:
        source.stop()
        restore()

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        yield
    finally:
        restore()
