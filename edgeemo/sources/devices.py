"""The input devices that PortAudio sees, and which of them is meant."""

from __future__ import annotations

from dataclasses import dataclass

from edgeemo.errors import DeviceError
from edgeemo.sources.portaudio import sounddevice
from edgeemo.sources.sound_server import obstacle

_RATE = 48_000
_CUT_CHARACTERS = 31
"""Windows' oldest host API, MME, cuts names to so many."""


@dataclass(frozen=True)
class InputDevice:
    """An input device as PortAudio sees it.

    Attributes:
        index: PortAudio's number of it.
        name: PortAudio's name of it.
        host_api: the system's interface that PortAudio sees it through, such as `ALSA`. Windows has several, and each
            has every microphone.
        channels: how many it captures at most.
        sample_rate: its default rate, Hz, as PortAudio reports it.
        is_default: whether it is the one used when none is named.
    """

    index: int
    name: str
    host_api: str
    channels: int
    sample_rate: int
    is_default: bool


def list_devices() -> list[InputDevice]:
    """The input devices, in PortAudio's order; empty if there is none.

    Raises:
        DeviceError: PortAudio is not installed.
    """
    module = sounddevice()
    try:
        default = module.query_devices(kind="input")["index"]
    except (module.PortAudioError, ValueError):
        default = None
    host_apis = [api["name"] for api in module.query_hostapis()]
    return [
        InputDevice(
            index=device["index"],
            name=device["name"],
            host_api=host_apis[device["hostapi"]],
            channels=device["max_input_channels"],
            sample_rate=round(device["default_samplerate"]),
            is_default=device["index"] == default,
        )
        for device in module.query_devices()
        if device["max_input_channels"] > 0
    ]


def no_microphone() -> DeviceError:
    """What to raise where there is no input device: it says why, as far as that is known."""
    if (reason := obstacle()) is None:
        return DeviceError("no microphone found; plug one in, or listen to a file with --file")
    return DeviceError(f"no microphone found: {reason}, or listen to a file with --file")


def capture_settings(device: InputDevice, channel: int | None = None) -> tuple[int, int]:
    """The first sample rate and number of channels that the device takes.

    Of several channels two are asked for, not one: a sound server would give the mean of them, which is silence where
    they cancel each other, and nobody would know. If the device takes nothing now, return its default rate and all
    its channels: opening it will then say why.

    Args:
        device: to be opened.
        channel: the one that is to be listened to, from 1; None: the mean of all.
    """
    module = sounddevice()
    most = device.channels
    wanted = [n for n in (max(2, channel or 1), channel or 1, most) if n <= most]
    # 48 kHz before the default rate: nearly every USB microphone and sound server runs at it, and it is three times
    # the models' rate; PortAudio's default for a sound server (44100) would have the server resample to it first.
    for rate in (_RATE, device.sample_rate):
        for channels in wanted:
            try:
                module.check_input_settings(
                    device=device.index, samplerate=rate, channels=channels, dtype="float32"
                )
            except module.PortAudioError:
                continue
            return rate, channels
    return device.sample_rate, most


def find_device(wanted: int | str | None) -> InputDevice:
    """The input device that is meant.

    Args:
        wanted: its number, its name or a part of it; None is the system's default. Of a microphone that several host
            APIs have, the first is meant that has it once.

    Raises:
        DeviceError: PortAudio is not installed, or there is no such device, or more than one.
    """
    devices = list_devices()
    if not devices:
        raise no_microphone()
    if wanted is None:
        found = [d for d in devices if d.is_default]
    elif isinstance(wanted, int):
        found = [d for d in devices if d.index == wanted]
    else:
        found = [d for d in devices if d.name == wanted]
        found = found or [d for d in devices if wanted.casefold() in d.name.casefold()]
        if _are_one(found):
            found = _of_first_api(found)
    if len(found) == 1:
        return found[0]
    several = len({d.host_api for d in devices}) > 1
    known = ", ".join(f"{d.index} {d.name!r}" + (f" ({d.host_api})" if several else "") for d in devices)
    if wanted is None:
        problem = "the system has no default microphone"
    elif found:
        problem = f"{len(found)} input devices match {wanted!r}"
    else:
        problem = f"no input device {wanted!r}"
    raise DeviceError(f"{problem}; choose one of: {known}")


def _are_one(devices: list[InputDevice]) -> bool:
    """Whether all have the same name, cut or not."""
    longest = max((d.name for d in devices), key=len, default="")
    return all(
        d.name == longest or (len(d.name) == _CUT_CHARACTERS and longest.startswith(d.name)) for d in devices
    )


def _of_first_api(devices: list[InputDevice]) -> list[InputDevice]:
    """The device of the first host API that has one alone; all of them where none has."""
    for api in dict.fromkeys(d.host_api for d in devices):
        if len(once := [d for d in devices if d.host_api == api]) == 1:
            return once
    return devices
