"""A microphone that is opened, watched, and opened again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from edgeemo.audio import check_channel
from edgeemo.errors import DeviceError, EdgeEmoError
from edgeemo.events import State
from edgeemo.sources.assembly import Assembly
from edgeemo.sources.blocks import Mixer, block_samples
from edgeemo.sources.continuity import clock_s
from edgeemo.sources.devices import capture_settings, find_device
from edgeemo.sources.portaudio import close_stream, look_again, open_stream, sounddevice
from edgeemo.sources.queue import Captured, DropOldestQueue
from edgeemo.sources.source import Lost, Notice
from edgeemo.sources.source_watch import SourceWatch

Audio = npt.NDArray[np.float32]
Heard = Audio | Lost | Notice

_STALL_S = 5.0  # PulseAudio's null sinks need up to 2.4 s for the first block
_POLL_S = 0.1
_LONGEST_WAIT_S = 0.25
"""How long audio waits at most for as much as the loop wants."""
_LONGEST_POLL_S = 0.5
"""What counts of a wait at most: where it took longer this process was stopped, the microphone is not to blame."""
_BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""How long to wait before each attempt to open it again; the last one for ever."""
_NOTHING: Audio = np.zeros(0, np.float32)


class Microphone:
    """A microphone, open while it is entered: at 48 kHz if it takes that, else at its default rate.

    PortAudio's callback only copies each block into a bounded queue. What is missing between blocks is told as
    `Lost`: the queue dropped it because the loop was slow, the sound system lost it, or the microphone was away. One
    that goes away is opened again, with growing pauses, for ever.

    Args:
        device: index, name or part of a name; None is the system's default.
        block_s: seconds in a block.
        queue_s: seconds of audio that may wait for the loop before blocks are dropped.
        channel: which to listen to, from 1; None is the mean of all.
        reconnect: open it again when it goes away; else `blocks` raises.
        stall_s: seconds without a block after which the microphone is taken to be gone.

    Attributes:
        device: the device that is listened to; after it went away, the one that was found then.
        name: of the one at the start.
        sample_rate: Hz of the blocks; it stays when the device is opened again at another rate.
        channels: how many are captured: 1 if the device can do that and no other is asked for, otherwise all of them.
        channel: as given.
        ended: why `blocks` ended.

    Raises:
        AudioError: there is no such channel.
        DeviceError: PortAudio is missing, there is no microphone, or no such one.

    Examples:
        >>> import edgeemo
        >>> with edgeemo.Microphone() as mic:  # doctest: +SKIP
        ...     for event in edgeemo.listen(mic, edgeemo.load("cnn_lstm")):
        ...         print(event.to_dict())
    """

    kind = "microphone"
    ended = "stopped"

    def __init__(
        self,
        device: int | str | None = None,
        block_s: float = 0.02,
        queue_s: float = 2.0,
        *,
        channel: int | None = None,
        reconnect: bool = True,
        stall_s: float = _STALL_S,
    ) -> None:
        self._wanted = device
        self.device = find_device(device)
        self.name = self.device.name
        self.channel = channel
        self.sample_rate, self.channels = capture_settings(self.device, channel)
        check_channel(channel, self.channels)
        self._block_s = block_s
        self._queue = DropOldestQueue(max(1, round(queue_s / block_s)))
        self._reconnect = reconnect
        self._stall_s = stall_s
        self._stream: Any = None
        self._stopped = False
        self._wanted_s = 0.0
        self._watch = SourceWatch()

    def blocks(self) -> Iterator[Heard]:
        """What is captured until `stop`; an empty block says: nothing yet, still here.

        Raises:
            DeviceError: the microphone is not open; or, unless it is opened again, PortAudio ended the stream or
                nothing came for `stall_s`.
        """
        if self._stream is None:
            raise DeviceError(f"the microphone {self.name!r} is not open; use it in a `with` block")
        self._assembly = Assembly(self.sample_rate)
        self._assembly.opened(self._mixer(), self._rate)
        self._wanted_s = 0.0
        away, waited_s, last_s = False, 0.0, time.monotonic()
        while not self._stopped:
            yield from self._watch.notices()
            blocks = self._queue.get(math.ceil(self._wanted_s * self._rate), _LONGEST_WAIT_S)
            now_s = time.monotonic()
            waited_s = 0.0 if blocks else waited_s + min(now_s - last_s, _LONGEST_POLL_S)
            last_s = now_s
            if blocks:
                if away:
                    away = False
                    yield Notice(State.RECONNECTING, False, "a microphone answers again")
                    yield self._back()
                yield from self._assembly.take(blocks)
                continue
            problem = self._problem(waited_s)
            if problem is None:
                yield _NOTHING
                continue
            if not self._reconnect:
                raise DeviceError(problem)
            if not away:
                away = True
                yield from self._assembly.end()
                yield Notice(State.RECONNECTING, True, problem)
            yield from self._opened_again()
            waited_s, last_s = 0.0, time.monotonic()
        yield from self._assembly.rest()

    def wants(self, seconds: float) -> None:
        """So much audio may be waited for, up to `_LONGEST_WAIT_S`; see `Source.wants`."""
        self._wanted_s = seconds

    def stop(self) -> None:
        """End `blocks` within a quarter of a second, until the microphone is opened again."""
        self._stopped = True  # and no lock: a signal handler may interrupt whoever holds it

    def __enter__(self) -> Self:
        """Open the device.

        Raises:
            DeviceError: it refuses to open.
        """
        self._stopped = False
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _problem(self, waited_s: float) -> str | None:
        """What is wrong where no block has come for a while; None where one may still come."""
        if self._queue.closed:
            return f"the microphone {self.device.name!r} went away"
        if waited_s > self._stall_s:
            return (
                f"the microphone {self.device.name!r} has given no audio for {self._stall_s:g} s; "
                "check that it is plugged in and that no other program holds it"
            )
        return None

    def _back(self) -> Notice:
        """That there is a microphone again, and which."""
        now = self.device.name
        if now == self.name:
            return Notice(State.RECONNECTED, False, f"the microphone {now!r} is back")
        return Notice(State.RECONNECTED, True, f"listening to another microphone: {now!r}, not {self.name!r}")

    def _opened_again(self) -> Iterator[Audio]:
        """Try to open it again until that succeeds or the loop is stopped; nothing is heard meanwhile."""
        self._close()
        attempt = 0
        while True:
            until_s = time.monotonic() + _BACK_OFF_S[min(attempt, len(_BACK_OFF_S) - 1)]
            while time.monotonic() < until_s:
                if self._stopped:
                    return
                time.sleep(_POLL_S)
                yield _NOTHING
            try:
                look_again()
                self.device = find_device(self._wanted)
                self._open()
            except EdgeEmoError:
                self._close()
                attempt += 1
            else:
                self._assembly.opened(self._mixer(), self._rate)
                self._assembly.away()
                return

    def _open(self) -> None:
        self._rate, self._captured_channels = capture_settings(self.device, self.channel)
        self._queue.clear()
        try:
            self._stream = open_stream(
                device=self.device.index,
                sample_rate=self._rate,
                channels=self._captured_channels,
                block_samples=block_samples(self._block_s, self._rate),
                callback=self._callback,
                finished=self._queue.close,
            )
        except sounddevice().PortAudioError as error:
            reason = " ".join(str(error).split())
            raise DeviceError(
                f"the microphone {self.device.name!r} does not open at {self._rate} Hz ({reason}); "
                "is it in use? `edgeemo listen --list-devices` shows the others"
            ) from error
        self._watch.start()

    def _mixer(self) -> Mixer:
        return Mixer(self._rate, self._captured_channels, self.channel, microphone=True)

    def _callback(self, block: npt.NDArray[np.float32], _n_samples: int, _time: Any, status: Any) -> None:
        """PortAudio's thread: copy, enqueue, return."""
        self._queue.put(Captured(block.copy(), clock_s(), bool(status.input_overflow)))

    def _close(self) -> None:
        self._watch.stop()
        stream, self._stream = self._stream, None
        if stream is not None:
            close_stream(stream)
