"""`edgeemo listen`: emotions from a microphone or a file, live."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeemo.cli.judgement import AnySound, Temperature, UnsureBelow, loaded
from edgeemo.cli.quiet import quiet_libraries
from edgeemo.cli.sinks import Csv, Mqtt, Post, Record, RecordLimit, Serve, server_for, sinks_for
from edgeemo.errors import DeviceError, EdgeEmoError
from edgeemo.places import DEFAULT_MODEL, sample_path
from edgeemo.smoothing import Smooth
from edgeemo.wording import counted

if TYPE_CHECKING:
    from types import FrameType

    from edgeemo import AudioFile, Microphone, Profile
    from edgeemo.cli.service import Service
    from edgeemo.live import LoopStatistics
    from edgeemo.sinks.sink import Sink
    from edgeemo.sources import Source

_MAX_SECONDS = 1e9  # 30 years
_BASELINE_EVERY_S = 60.0
_WAIT_S = 2.0


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
    channel: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Listen to this channel; without, to the mean of all."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for a microphone that is not there yet.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="End when the microphone goes away, instead of waiting for it.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(metavar="N", help="Stop after N seconds of the stream.")
    ] = None,
    smooth: Annotated[Smooth, typer.Option(help="How steady the label is from step to step.")] = Smooth.OFF,
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
    csv: Csv = None,
    record: Record = None,
    record_limit: RecordLimit = None,
    post: Post = None,
    mqtt: Mqtt = None,
    serve: Serve = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, for other programs.")
    ] = False,
    show_devices: Annotated[bool, typer.Option("--list-devices", help="Show the microphones.")] = False,
) -> None:
    """Listen to a microphone (or a file, in real time) and show the emotion in the voice, step by step.

    Ctrl-C ends it with a summary. Piped or redirected, it prints a line for each new label and one for each second.
    It shows no label where nobody speaks, or where none is probable enough. It waits for a microphone that goes away.
    """
    if show_devices:
        if (
            sample
            or fast
            or any_sound
            or wait
            or once
            or smooth is not Smooth.OFF
            or any(
                value is not None
                for value in (file, device, channel, seconds, profile, baseline, unsure_below, temperature)
            )
            or any(value is not None for value in (csv, record, record_limit, serve))
        ):
            raise typer.BadParameter("goes with --json only", param_hint="--list-devices")
        _show_devices(as_json)
        return
    if file is not None and sample:
        raise typer.BadParameter("give --file or --sample, not both", param_hint="--sample")
    clip = sample_path() if sample else file
    if fast and clip is None:
        raise typer.BadParameter("only a file can be faster than real time", param_hint="--fast")
    if (wait or once) and clip is not None:
        raise typer.BadParameter("only a microphone can go away", param_hint="--wait" if wait else "--once")
    if device is not None and clip is not None:
        raise typer.BadParameter("give a microphone or a file, not both", param_hint="--device")
    if profile is not None and baseline is not None:
        raise typer.BadParameter("give --profile or --baseline, not both", param_hint="--baseline")
    if record_limit is not None and record is None:
        raise typer.BadParameter("goes with --record only", param_hint="--record-limit")
    if seconds is not None and not 0 < seconds < _MAX_SECONDS:
        raise typer.BadParameter(f"{seconds:g} is not a positive number of seconds", param_hint="--seconds")

    import edgeemo
    from edgeemo.cli.service import started_by
    from edgeemo.live import LoopStatistics
    from edgeemo.sinks.sink import Background
    from edgeemo.sinks.together import Together
    from edgeemo.sources.tapped import Tapped

    [emotion_model] = loaded([model], unsure_below=unsure_below, temperature=temperature, any_sound=any_sound)
    kept = None if baseline is None else _Baseline(baseline)
    start = profile if baseline is None or not baseline.is_file() else baseline
    learnt = None if start is None else edgeemo.read_profile(start)
    # PortAudio, ALSA and MP3 decoders write to stderr what edgeemo reports in one line of its own.
    with quiet_libraries(), ExitStack() as opened:
        interruption = opened.enter_context(interrupted_by_signals())
        service = opened.enter_context(started_by())
        source = _opened_source(
            clip, device, channel, fast=fast, once=once, wait=wait, interruption=interruption, service=service
        )
        interruption.stops(source)
        lossless, stopped = clip is not None, interruption.has_come
        features = emotion_model.metadata.features
        server, taps = None, [service.heard]
        if serve is not None:
            server = server_for(serve, features=features, source_rate=source.sample_rate, lossless=lossless)
            taps.append(server.hear)
            print(f"edgeemo: serving at {server.url}", file=sys.stderr, flush=True)
        statistics = LoopStatistics()
        events = edgeemo.listen(
            Tapped(source, *taps),
            emotion_model,
            seconds=seconds,
            profile=learnt,
            learned=kept,
            smooth=smooth,
            keep_audio=record is not None,
        )
        n_known = learnt.n_utterances if learnt is not None else 0
        shown = _json_or_view(as_json, n_known if emotion_model.metadata.learns else None)
        handed_on = sinks_for(
            csv=csv,
            record=record,
            record_limit=record_limit,
            post=post,
            mqtt=mqtt,
            server=server,
            sample_rate=features.sample_rate,
            lossless=lossless,
            stopped=stopped,
        )
        reader = Background(shown, "the reader", lossless=lossless, stopped=stopped)
        sinks = Together([reader, *handed_on], also=[service.take])
        try:
            with source, sinks:
                try:
                    for event in events:
                        statistics.add(event)
                        sinks.take(event, _now())
                except EdgeEmoError as error:
                    why = " ".join(str(error).split())
                    sinks.take(statistics.end(why, time_s=statistics.stream_s), _now())
                    raise
        except EdgeEmoError:
            if statistics.n_steps:
                _write_summary(statistics, as_json)
            raise
        finally:
            if kept is not None:
                kept.save()
            for text in sinks.untold():
                print(f"edgeemo: {text}", file=sys.stderr, flush=True)
    _write_summary(statistics, as_json)
    if kept is not None:
        print(kept.summary(), file=sys.stderr if as_json else sys.stdout, flush=True)
    if interruption.number is not None:
        raise typer.Exit(128 + interruption.number)


def _now() -> datetime:
    return datetime.now().astimezone()


def _json_or_view(as_json: bool, n_known: int | None) -> Sink:
    """What writes to stdout."""
    if as_json:
        from edgeemo.sinks.json_lines import JsonLines

        return JsonLines(sys.stdout)
    from edgeemo.view import view_for

    return view_for(sys.stdout, n_known)


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


def open_source(
    clip: Path | None, device: str | None, channel: int | None = None, *, fast: bool, reconnect: bool = True
) -> AudioFile | Microphone:
    """A file, or a microphone by its number or name."""
    from edgeemo import AudioFile, Microphone

    if clip is not None:
        return AudioFile(clip, realtime=not fast, channel=channel)
    number = int(device) if device is not None and device.isdecimal() else device
    return Microphone(number, channel=channel, reconnect=reconnect)


def _opened_source(
    clip: Path | None,
    device: str | None,
    channel: int | None,
    *,
    fast: bool,
    once: bool,
    wait: bool,
    interruption: Interruption,
    service: Service,
) -> AudioFile | Microphone:
    """As `open_source`; where there is no such microphone yet, wait for it if that is wanted."""
    told = False
    while True:
        try:
            return open_source(clip, device, channel, fast=fast, reconnect=not once)
        except DeviceError as error:
            if not wait:
                raise
            service.say(f"{error}; waiting for it")
            if not told:
                print(f"edgeemo: {error}; waiting for it", file=sys.stderr, flush=True)
                told = True
        until_s = time.monotonic() + _WAIT_S
        while time.monotonic() < until_s:
            if interruption.number is not None:
                raise typer.Exit(128 + interruption.number)
            service.alive()
            time.sleep(0.1)
        from edgeemo.sources.portaudio import look_again

        look_again()


def _write_summary(statistics: LoopStatistics, as_json: bool) -> None:
    for line in statistics.summary():
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)


def _show_devices(as_json: bool) -> None:
    from dataclasses import asdict

    from edgeemo.sources.devices import list_devices, no_microphone

    devices = list_devices()
    if as_json:
        for device in devices:
            print(json.dumps(asdict(device)))
        return
    if not devices:
        raise no_microphone()
    for device in devices:
        mark = "*" if device.is_default else " "
        facts = f"{device.host_api}, {device.channels} channels, {device.sample_rate} Hz"
        print(f"{mark}{device.index:3}  {device.name}  ({facts})")


class Interruption:
    """Which signal asked for the end, and what it ends.

    Attributes:
        number: of the signal; None without one.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._source: Source | None = None

    def has_come(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    def stops(self, source: Source) -> None:
        """Have it stop a source."""
        self._source = source

    def come(self, number: int) -> None:
        """A signal has come."""
        self.number = number
        if self._source is not None:
            self._source.stop()


@contextmanager
def interrupted_by_signals() -> Iterator[Interruption]:
    """Have Ctrl-C, SIGTERM and SIGHUP end the loop; a second one ends the program as usual."""
    interruption = Interruption()

    def receive(number: int, _frame: FrameType | None) -> None:
        interruption.come(number)
        restore()

    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    # Who was started with a signal ignored, as by nohup, goes on ignoring it.
    before = {n: signal.signal(n, receive) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        yield interruption
    finally:
        restore()
