"""Where live audio comes from: a file or a microphone, interchangeable in the live loop."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from edgeemo.audio import native_rate, read_blocks, to_mono
from edgeemo.errors import DeviceError
from edgeemo.sound_server import obstacle

Audio = npt.NDArray[np.float32]

_STALL_S = 5.0  # PulseAudio's null sinks need up to 2.4 s for the first block
_POLL_S = 0.1
_RATE = 48_000


class Source(Protocol):
    """What the live loop listens to.

    Attributes:
        name: for a person.
        sample_rate: Hz; known before the source is entered.
        drops: blocks lost so far.
    """

    @property
    def name(self) -> str: ...

    @property
    def sample_rate(self) -> int: ...

    @property
    def drops(self) -> int: ...

    def blocks(self) -> Iterator[Audio]:
        """Mono float32 blocks, shape `(n_samples,)`. An empty block says: nothing yet, still here."""
        ...

    def stop(self) -> None:
        """End `blocks` soon, from a signal handler or another thread."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class AudioFile:
    """A file, played as a microphone would deliver it. It may be entered like a `Microphone`; it need not be.

    Args:
        path: anything `edgeemo.audio.read_blocks` reads.
        block_s: seconds in a block.
        realtime: hand each block out when a microphone would have captured all of it; otherwise at once.

    Raises:
        AudioError: the file is missing or not audio (here), or broken further on (in `blocks`).

    Examples:
        >>> import edgeemo
        >>> with edgeemo.AudioFile("call.wav", realtime=False) as source:
        ...     n_samples = sum(len(block) for block in source.blocks())
        >>> round(n_samples / source.sample_rate)
        9
    """

    drops = 0

    def __init__(self, path: Path | str, block_s: float = 0.02, realtime: bool = True) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self.sample_rate = native_rate(self.path)
        self.realtime = realtime
        self._block_samples = _block_samples(block_s, self.sample_rate)
        self._stopped = False

    def blocks(self) -> Iterator[Audio]:
        """The file from its start, mono float32 `(n_samples,)` a block; the last one may be shorter."""
        self._stopped = False
        start_s = time.monotonic()
        n_samples = 0
        for block in read_blocks(self.path, self._block_samples):
            if self._stopped:
                return
            n_samples += len(block)
            if self.realtime:
                # From the start, not from the last block: lateness does not add up.
                wait_s = start_s + n_samples / self.sample_rate - time.monotonic()
                if wait_s > 0:
                    time.sleep(wait_s)
            yield block

    def stop(self) -> None:
        """End `blocks` before its next block; the next call starts anew."""
        self._stopped = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


@dataclass(frozen=True)
class InputDevice:
    """An input device as PortAudio sees it.

    Attributes:
        index: PortAudio's number of it.
        name: PortAudio's name of it.
        channels: how many it captures at most.
        sample_rate: its default rate, Hz, as PortAudio reports it.
        is_default: whether it is the one used when none is named.
    """

    index: int
    name: str
    channels: int
    sample_rate: int
    is_default: bool


def list_devices() -> list[InputDevice]:
    """The input devices, in PortAudio's order; empty if there is none.

    Raises:
        DeviceError: PortAudio is not installed.
    """
    sounddevice = _import_sounddevice()
    try:
        default = sounddevice.query_devices(kind="input")["index"]
    except (sounddevice.PortAudioError, ValueError):
        default = None
    return [
        InputDevice(
            index=device["index"],
            name=device["name"],
            channels=device["max_input_channels"],
            sample_rate=round(device["default_samplerate"]),
            is_default=device["index"] == default,
        )
        for device in sounddevice.query_devices()
        if device["max_input_channels"] > 0
    ]


def no_microphone() -> DeviceError:
    """What to raise where there is no input device: it says why, as far as that is known."""
    if (reason := obstacle()) is None:
        return DeviceError("no microphone found; plug one in, or listen to a file with --file")
    return DeviceError(f"no microphone found: {reason}, or listen to a file with --file")


class Microphone:
    """A microphone, open while it is entered: at 48 kHz if it takes that, else at its default rate.

    PortAudio's callback only copies each block into a bounded queue. When the queue is full, the oldest block is
    dropped and counted in `drops`, as is every overflow that PortAudio reports.

    Args:
        device: index, name or part of a name; None is the system's default.
        block_s: seconds in a block.
        queue_s: seconds of audio that may wait for the loop before blocks are dropped.
        stall_s: seconds without a block after which the microphone is taken to be gone.

    Attributes:
        device: the device that was found.
        channels: how many are captured and averaged: 1 if the device can do that, otherwise all of them.

    Raises:
        DeviceError: PortAudio is missing, there is no microphone, or no such one.

    Examples:
        >>> import edgeemo
        >>> with edgeemo.Microphone() as mic:  # doctest: +SKIP
        ...     for block in mic.blocks():
        ...         print(len(block), "samples at", mic.sample_rate, "Hz")
    """

    def __init__(
        self,
        device: int | str | None = None,
        block_s: float = 0.02,
        queue_s: float = 2.0,
        *,
        stall_s: float = _STALL_S,
    ) -> None:
        self.device = _find_device(device)
        self.name = self.device.name
        self.sample_rate, self.channels = _capture_settings(self.device)
        self._block_samples = _block_samples(block_s, self.sample_rate)
        self._queue = DropOldestQueue(max(1, round(queue_s / block_s)))
        self._stall_s = stall_s
        self._n_overflows = 0
        self._stream: Any = None
        self._stopped = False

    @property
    def drops(self) -> int:
        """Blocks that the queue dropped, plus overflows that PortAudio reported."""
        return self._queue.drops + self._n_overflows

    def blocks(self) -> Iterator[Audio]:
        """Captured audio, mono float32 `(n_samples,)` a block, until `stop`; an empty block says: nothing yet.

        Raises:
            DeviceError: the microphone is not open, PortAudio ended the stream, or nothing came for `stall_s`.
        """
        if self._stream is None:
            raise DeviceError(f"the microphone {self.name!r} is not open; use it in a `with` block")
        last_s = time.monotonic()
        while not self._stopped:
            block = self._queue.get(_POLL_S)
            now_s = time.monotonic()
            if block is not None:
                last_s = now_s
                yield to_mono(block)
            elif self._queue.closed:
                raise DeviceError(f"the microphone {self.name!r} went away; plug it in and start again")
            elif now_s - last_s > self._stall_s:
                raise DeviceError(
                    f"the microphone {self.name!r} has given no audio for {self._stall_s:g} s; "
                    "check that it is plugged in and that no other program holds it"
                )
            else:
                yield np.zeros(0, np.float32)

    def stop(self) -> None:
        """End `blocks` within a tenth of a second, until the microphone is opened again."""
        self._stopped = True  # and no lock: a signal handler may interrupt whoever holds it

    def __enter__(self) -> Self:
        """Open the device.

        Raises:
            DeviceError: it refuses to open.
        """
        sounddevice = _import_sounddevice()
        self._queue.clear()
        self._n_overflows = 0
        self._stopped = False
        try:
            self._stream = sounddevice.InputStream(
                device=self.device.index,
                samplerate=self.sample_rate,
                channels=self.channels,
                blocksize=self._block_samples,
                dtype="float32",
                callback=self._callback,
                finished_callback=self._queue.close,
            )
            self._stream.start()
        except sounddevice.PortAudioError as error:
            self._close()
            reason = " ".join(str(error).split())
            raise DeviceError(
                f"the microphone {self.name!r} does not open at {self.sample_rate} Hz ({reason}); "
                "is it in use? `edgeemo listen --list-devices` shows the others"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _callback(self, block: npt.NDArray[np.float32], _n_samples: int, _time: Any, status: Any) -> None:
        """PortAudio's thread: copy, enqueue, return."""
        if status.input_overflow:
            self._n_overflows += 1
        self._queue.put(block.copy())

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(ignore_errors=True)


class DropOldestQueue:
    """A bounded queue between a capturing thread and the loop; a full one drops its oldest block.

    Attributes:
        drops: blocks dropped so far.
        closed: whether `close` was called since the last `clear`.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._changed = threading.Condition()
        self.clear()

    def clear(self) -> None:
        """Empty it, open it, and count from 0."""
        with self._changed:
            self._blocks: deque[npt.NDArray[np.float32]] = deque()
            self.drops = 0
            self.closed = False

    def put(self, block: npt.NDArray[np.float32]) -> None:
        """Add a block; if there is no room, drop the oldest. Never waits."""
        with self._changed:
            if len(self._blocks) == self._capacity:
                self._blocks.popleft()
                self.drops += 1
            self._blocks.append(block)
            self._changed.notify()

    def close(self) -> None:
        """Announce that nothing more will come."""
        with self._changed:
            self.closed = True
            self._changed.notify()

    def get(self, timeout_s: float) -> npt.NDArray[np.float32] | None:
        """The oldest block; None if there is none within `timeout_s`, or the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._blocks or self.closed, timeout_s)
            return self._blocks.popleft() if self._blocks else None


def _block_samples(block_s: float, sample_rate: int) -> int:
    return max(1, round(block_s * sample_rate))


def _import_sounddevice() -> Any:
    try:
        import sounddevice
    except OSError as error:
        raise DeviceError(
            "PortAudio is not installed; on Debian, Ubuntu and Raspberry Pi OS: "
            f"sudo apt install libportaudio2 ({error})"
        ) from error
    except Exception as error:
        if type(error).__name__ != "PortAudioError":  # which is in the module that does not import
            raise
        raise DeviceError(
            f"PortAudio does not start ({error}); check the sound settings, as in ~/.asoundrc"
        ) from error
    return sounddevice


def _capture_settings(device: InputDevice) -> tuple[int, int]:
    """The first sample rate and number of channels that the device takes.

    If it takes none of them now, return its default rate and all its channels: opening it will then say why.
    """
    sounddevice = _import_sounddevice()
    # 48 kHz before the default rate: nearly every USB microphone and sound server runs at it, and it is three times
    # the models' rate; PortAudio's default for a sound server (44100) would have the server resample to it first.
    for rate in (_RATE, device.sample_rate):
        for channels in (1, device.channels):
            try:
                sounddevice.check_input_settings(
                    device=device.index, samplerate=rate, channels=channels, dtype="float32"
                )
            except sounddevice.PortAudioError:
                continue
            return rate, channels
    return rate, channels


def _find_device(wanted: int | str | None) -> InputDevice:
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
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{d.index} {d.name!r}" for d in devices)
    if wanted is None:
        problem = "the system has no default microphone"
    elif found:
        problem = f"{len(found)} input devices match {wanted!r}"
    else:
        problem = f"no input device {wanted!r}"
    raise DeviceError(f"{problem}; choose one of: {known}")
