"""Telling systemd how the live loop is, through the socket that it names (`sd_notify(3)`).

It is told that the loop is ready once the microphone delivers, that it is alive for as long as it runs, also while
the microphone is away, and what is shown or wrong, for `systemctl status`. Where nobody asks, nothing is told.
"""

from __future__ import annotations

import contextlib
import os
import time
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from edgeemo.errors import EdgeEmoError
from edgeemo.events import Event, State, Status, Step
from edgeemo.sources.source import Audio, Lost, Notice

if TYPE_CHECKING:
    import socket

_EVERY_S = 1.0
_START_S = 30
"""How long systemd is to wait from each sign of life for a microphone that is not there yet."""


class Service:
    """The live loop, as a service manager sees it, while it is entered.

    Args:
        address: of a datagram socket, as in `NOTIFY_SOCKET`; a first `@` stands for Linux' abstract ones. None:
            nobody asks.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._ready = False
        self._told_s = -_EVERY_S
        self._status = ""
        self._shown = ""
        self._wrong: dict[tuple[State, str | None], str] = {}

    def heard(self, heard: Audio | Lost | Notice) -> None:
        """What the source yields: the loop runs."""
        if not self._ready and isinstance(heard, np.ndarray) and len(heard):
            self._ready = True
            self._tell("READY=1", self._status)
        self.alive()

    def alive(self) -> None:
        """The loop runs; told at most once a second."""
        now_s = time.monotonic()
        if now_s - self._told_s >= _EVERY_S:
            self._told_s = now_s
            self._tell("WATCHDOG=1" if self._ready else f"EXTEND_TIMEOUT_USEC={_START_S * 1_000_000}")

    def take(self, event: Event, at: datetime) -> None:
        """As a `Sink`: what is shown, or what is wrong."""
        if isinstance(event, Status):
            self._wrong.pop(event.key, None)
            if event.active:
                self._wrong[event.key] = event.text
        elif isinstance(event, Step):
            self._shown = event.label or event.reason or ""
        if wrong_or_shown := "; ".join(self._wrong.values()) or self._shown:
            self.say(wrong_or_shown)

    def say(self, text: str) -> None:
        """Show a line in `systemctl status`."""
        status = "STATUS=" + " ".join(text.split())
        if status != self._status:
            self._status = status
            self._tell(status)

    def __enter__(self) -> Self:
        if self._address is not None:
            import socket  # only services pay for it

            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)  # a manager that does not read must not stop the loop
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, EdgeEmoError):
            self.say(str(error))
        self._tell("STOPPING=1")
        if self._socket is not None:
            self._socket.close()

    def _tell(self, *lines: str) -> None:
        if self._socket is None or self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError):
            self._socket.sendto("\n".join(filter(None, lines)).encode(errors="replace"), address)


def started_by() -> Service:
    """The service that this process was started as: systemd names its socket where it wants to be told."""
    return Service(os.environ.get("NOTIFY_SOCKET") or None)
