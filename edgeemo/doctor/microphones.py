"""PortAudio's input devices, each opened for half a second."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgeemo.doctor.findings import Check, Finding, Verdict
from edgeemo.errors import DeviceError
from edgeemo.sources.devices import InputDevice, capture_settings, list_devices, no_microphone
from edgeemo.sources.portaudio import close_stream, open_stream, sounddevice
from edgeemo.sources.signal import SignalWatch
from edgeemo.sources.sound_server import look
from edgeemo.sources.source_watch import recorded_from

_LISTEN_S = 0.5
_FIRST_S = 5.0
"""How long the first block may take: PulseAudio's null sinks need up to 2.4 s."""
_HANGS_S = 15.0
"""After which PortAudio is left to itself."""
_REPEATED = 20
"""The half second as often: what the live loop would say of it, if it went on like this."""
_FLOOR_DB = -200.0
_WHO = ": fuser -v /dev/snd/*" if sys.platform == "linux" else ""

T = TypeVar("T")


class Hangs(Exception):
    """PortAudio does not come back. A thread is left behind, which may keep the process from ending by itself."""


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of opening a device.

    Attributes:
        sample_rate: Hz that it was opened at.
        channels: how many were captured.
        samples: float32, shape `(n_samples, channels)`; none where it gave nothing.
        records_from: the sound server's source, where that is known.
    """

    sample_rate: int
    channels: int
    samples: npt.NDArray[np.float32]
    records_from: str | None


def examine_microphones() -> Iterator[Finding]:
    """The findings on PortAudio, and on each input device."""
    try:
        devices, version, host_apis = within(_HANGS_S, _looked)
    except DeviceError as error:
        yield Finding.of(Check.PORTAUDIO, Verdict.PROBLEM, str(error))
        return
    except Hangs:
        text = f"it looks for devices for more than {_HANGS_S:g} s; start the sound server again"
        yield Finding.of(Check.PORTAUDIO, Verdict.PROBLEM, text, hangs=True)
        return
    yield Finding(
        check=Check.PORTAUDIO,
        verdict=Verdict.OK,
        found=f"{version.partition(',')[0]}, with {', '.join(host_apis)}",
        facts={"version": version, "host_apis": host_apis},
    )
    if not devices:
        yield Finding.of(Check.MICROPHONE, Verdict.PROBLEM, str(no_microphone()))
    for device in devices:
        yield _microphone(device)


def within(limit_s: float, call: Callable[[], T]) -> T:
    """What a call returns or raises.

    Raises:
        Hangs: it takes longer than `limit_s`.
    """
    returned: list[T] = []
    raised: list[Exception] = []

    def run() -> None:
        try:
            returned.append(call())
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit_s)
    if raised:
        raise raised[0]
    if not returned:
        raise Hangs
    return returned[0]


def _looked() -> tuple[list[InputDevice], str, list[str]]:
    module = sounddevice()
    host_apis = [api["name"] for api in module.query_hostapis()]
    return list_devices(), module.get_portaudio_version()[1], host_apis


def _microphone(device: InputDevice) -> Finding:
    name = f"{device.index} {device.name!r} ({device.host_api}{', the default' if device.is_default else ''})"
    facts = {
        "index": device.index,
        "name": device.name,
        "host_api": device.host_api,
        "is_default": device.is_default,
    }

    def finding(verdict: Verdict, text: str, **more: Any) -> Finding:
        return Finding.of(Check.MICROPHONE, verdict, f"{name} {text}", **facts, **more)

    try:
        trial = within(_HANGS_S, lambda: _try(device))
    except Hangs:
        text = f"hangs: it did not open and close within {_HANGS_S:g} s"
        return finding(
            Verdict.PROBLEM, f"{text}; plug it in again, or start the sound server again", hangs=True
        )
    except sounddevice().PortAudioError as error:
        reason = str(error).replace(";", ",")
        return finding(
            Verdict.PROBLEM, f"does not open ({reason}); is it in use? end the program that holds it{_WHO}"
        )
    heard: dict[str, Any] = {
        "sample_rate": trial.sample_rate,
        "channels": trial.channels,
        "records_from": trial.records_from,
    }
    opened = f"at {trial.sample_rate} Hz, {trial.channels} channels"
    if not len(trial.samples):
        text = f"opens {opened}, but gives nothing for {_FIRST_S:g} s; check that it is plugged in and not suspended"
        return finding(Verdict.PROBLEM, text, **heard)
    level_db = _level_db(trial.samples)
    heard |= {"level_db": level_db, "muted": not trial.samples.any()}
    text = f"{'only zeros' if heard['muted'] else f'{level_db:.0f} dBFS'} {opened}"
    if trial.records_from is not None:
        text += f", from {trial.records_from!r}"
    if heard["muted"]:
        return finding(Verdict.WARNING, f"{text}; {_unmute()}", **heard)
    if faults := _faults(trial):
        return finding(Verdict.WARNING, f"{text}: {faults[0]}", **heard)
    return finding(Verdict.OK, text, **heard)


def _try(device: InputDevice) -> Trial:
    """Open a device, listen to it for half a second, and close it.

    Raises:
        sounddevice.PortAudioError: it refuses.
    """
    sample_rate, channels = capture_settings(device)
    blocks: list[npt.NDArray[np.float32]] = []
    enough = threading.Event()
    n_wanted = round(_LISTEN_S * sample_rate)

    def callback(block: npt.NDArray[np.float32], _n_samples: int, _time: Any, _status: Any) -> None:
        blocks.append(block.copy())
        if sum(map(len, blocks)) >= n_wanted:
            enough.set()

    stream = open_stream(
        device=device.index,
        sample_rate=sample_rate,
        channels=channels,
        block_samples=round(0.02 * sample_rate),
        callback=callback,
        finished=enough.set,
    )
    try:
        enough.wait(_FIRST_S + _LISTEN_S)
        server, obstacle = look()
        records_from = recorded_from() if server is not None and obstacle is None else None
    finally:
        close_stream(stream)
    samples = np.concatenate(blocks) if blocks else np.zeros((0, channels), np.float32)
    return Trial(sample_rate, channels, samples[:n_wanted], records_from)


def _unmute() -> str:
    """What to do about a microphone that gives only zeros."""
    if sys.platform == "darwin":
        return "allow the terminal to use it: System Settings, Privacy & Security, Microphone"
    if sys.platform == "win32":
        return "allow desktop apps to use it: Settings, Privacy & security, Microphone"
    by_server = shutil.which("pactl") is not None
    return "if it is muted: " + (
        "pactl set-source-mute @DEFAULT_SOURCE@ 0" if by_server else "alsamixer -V capture"
    )


def _faults(trial: Trial) -> list[str]:
    """What the live loop would say of it, the worst first, if it went on like this."""
    if not np.isfinite(trial.samples).all():
        return ["samples that are not numbers"]
    watch = SignalWatch(trial.sample_rate, trial.channels, None, microphone=True)
    return [notice.text for _ in range(_REPEATED) for notice in watch.push(trial.samples)]


def _level_db(samples: npt.NDArray[np.float32]) -> float:
    """RMS of the loudest channel without its mean, in dB re full scale."""
    power = float(np.max(np.var(samples.astype(np.float64), axis=0)))
    return max(_FLOOR_DB, 10 * float(np.log10(power))) if power > 0 else _FLOOR_DB
