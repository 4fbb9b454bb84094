"""Events and audio for web pages and programs, on WebSockets, by websockets (extra `serve`).

A server in a thread of its own. websockets is imported where it is needed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from edgeemo.audio import Resampler
from edgeemo.errors import OutputError
from edgeemo.events import Event, Gap, Start, State, Status, Step, Utterance
from edgeemo.sources.source import Audio, Lost, Notice
from edgeemo.wording import counted

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

LOOPBACK = "127.0.0.1"
EVENTS = "/events"
"""Where the events are; with `?audio=1` the audio too, with `?history=1` what was told before."""
CAPACITY = 1000
"""How many events may wait for a client."""
MOST_CLIENTS = 16

_WITH_AUDIO = "audio=1"
_WITH_HISTORY = "history=1"
_HISTORY_STEPS = 250
"""How many of the last steps and gaps are kept for who comes late: of the shipped models 40 s."""
_HISTORY_UTTERANCES = 50
_MOST_BLOCKS = 100
"""How many blocks of audio may wait, for the server and for a client: of a microphone about 2 s."""
_SEND_S = 30.0
"""A client that has taken nothing for so long is gone."""
_LAST_S = 2.0
"""How long the last events may take, where they may be lost."""
_CLOSE_S = 1.0
_MOST_SENT_BYTES = 1024
"""What a client may send in one message, though nobody reads it."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
    "Connection": "close",
}
_NO_LOG = logging.Logger("edgeemo.sinks.server", logging.CRITICAL + 1)
"""websockets tells of each client that breaks off, with a traceback."""

Files = Mapping[str, tuple[str, bytes]]
"""Path on the server, such as `/style.css` -> content type and content."""


@dataclass(frozen=True)
class Address:
    """Where to listen for clients: a name or number of this machine, and a port; 0: any that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `[HOST:]PORT`; without a host it is `LOOPBACK`. An IPv6 address stands in brackets.

        Raises:
            ValueError: one line: it is none.
        """
        before, colon, port = text.rpartition(":")
        host = before.removeprefix("[").removesuffix("]") if colon else LOOPBACK
        bracketed = before.startswith("[") and before.endswith("]")
        known = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535
        if not known or not host or (":" in host) != bracketed or not host.isprintable() or " " in host:
            raise ValueError(
                f"{text!r} is not a port such as 8011, or a host and a port such as 0.0.0.0:8011"
            )
        return cls(host, int(port))


class Server:
    """Serves the events as JSON lines on WebSockets at `EVENTS`, and some files that show them.

    A client gets the `Start` first, then what is still wrong, the last utterance and the last step, and from then on
    every event. Where `EVENTS?history=1` is asked for, it gets the last `_HISTORY_STEPS` steps and gaps and the last
    `_HISTORY_UTTERANCES` utterances instead of the last one of each. Where `EVENTS?audio=1` is asked for, it also
    gets the audio: binary messages of 16-bit samples, mono, lowest byte first, at the model's rate. The connection
    ends with the stream, by code 1000.

    A page of another origin gets nothing, nor does one that reaches the server by a name that is not this machine's:
    its own name may lead here (DNS rebinding).

    Args:
        address: where to listen; the port is taken at once.
        files: what is served beside the events.
        source_rate: Hz of the audio that `hear` is given.
        sample_rate: Hz of the audio that clients get.
        lossless: where a client is slow, wait for it; else its oldest events are dropped, and counted for it. Either
            way, one that takes nothing for 30 s is left.

    Raises:
        ImportError: websockets is missing.
        OutputError: the address is taken, is not this machine's, or needs other rights.

    Attributes:
        url: of the page `/`.
    """

    def __init__(
        self, address: Address, files: Files, *, source_rate: int, sample_rate: int, lossless: bool = False
    ) -> None:
        import websockets.asyncio.server  # noqa: F401 - it is missing here, or not at all

        self._files, self._lossless = files, lossless
        self._socket = _bound(address)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        name = socket.gethostname().casefold()
        self._names = {"localhost", address.host.casefold(), name, f"{name}.local"}
        self._resampler = Resampler(source_rate, sample_rate)
        self._clients: dict[_Client, asyncio.Task[None]] = {}
        """Whom is served, and the task that sends."""
        self._n_hearing = 0
        self._heard: deque[Audio] = deque(maxlen=_MOST_BLOCKS)
        self._state = _StateOfStream()
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="edgeemo server", daemon=True)

    def take(self, event: Event, at: datetime) -> None:
        """Hand it to all clients."""
        line = json.dumps(event.to_dict(at), allow_nan=False)
        message = _Message(event, at, line)
        asyncio.run_coroutine_threadsafe(self._tell(message), self._loop).result()

    def hear(self, heard: Audio | Lost | Notice) -> None:
        """What a source yields, for those clients that want audio."""
        if self._n_hearing and isinstance(heard, np.ndarray) and len(heard):
            self._heard.append(heard.copy())  # the source may use it again
            with suppress(RuntimeError):  # the server has ended before the source
                self._loop.call_soon_threadsafe(self._play)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        from websockets.asyncio.server import serve

        async with serve(
            self._attend,
            sock=self._socket,
            process_request=self._answer,
            compression=None,  # costs a small machine more than loopback does
            max_size=_MOST_SENT_BYTES,
            close_timeout=_CLOSE_S,
            server_header=None,
            logger=_NO_LOG,
        ):
            await self._ended.wait()
            for client in self._clients:
                client.end()
            if self._clients:
                await asyncio.wait(self._clients.values(), timeout=None if self._lossless else _LAST_S)

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """A file or a refusal; None: a WebSocket is opened."""
        path, _, _ = request.path.partition("?")
        if request.method != "GET":
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, "expected GET")
        hosts, origins = request.headers.get_all("Host"), request.headers.get_all("Origin")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return _refusal(HTTPStatus.FORBIDDEN, "this server is not known by that name")
        if origins and [o.casefold() for o in origins] != [f"http://{hosts[0].casefold()}"]:
            return _refusal(HTTPStatus.FORBIDDEN, "pages of other servers get nothing here")
        if path == EVENTS:
            if len(connection.server.connections) < MOST_CLIENTS:
                return None
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_CLIENTS} clients are connected already")
        if path in self._files:
            return _response(HTTPStatus.OK, *self._files[path])
        return _refusal(HTTPStatus.NOT_FOUND, f"there is no {path} here")

    def _is_ours(self, host: str) -> bool:
        """Whether this machine is meant: by a number, which no other server's name can stand for, or a name of it."""
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return name.casefold() in self._names
        return True

    async def _attend(self, connection: ServerConnection) -> None:
        """Serve a client until it goes, or the stream ends."""
        from websockets.exceptions import ConnectionClosed
        from websockets.frames import CloseCode

        request = connection.request
        wishes = [] if request is None else request.path.partition("?")[2].split("&")
        client = _Client(hears=_WITH_AUDIO in wishes)
        for message in self._state.messages(history=_WITH_HISTORY in wishes):
            client.put(message)
        if self._ended.is_set():
            client.end()
        if client.hears and not self._n_hearing:
            self._resampler.reset()
        self._n_hearing += client.hears
        self._clients[client] = asyncio.create_task(_send(connection, client))
        try:
            with suppress(ConnectionClosed):
                async for _ in connection:
                    await connection.close(CloseCode.UNSUPPORTED_DATA, "nothing is read here")
        finally:
            self._clients.pop(client).cancel()
            self._n_hearing -= client.hears
            client.leave()

    async def _tell(self, message: _Message) -> None:
        if self._lossless:
            for client in [*self._clients]:
                await client.has_room()
        self._state.add(message)
        for client in self._clients:
            client.put(message)

    def _play(self) -> None:
        with suppress(IndexError):  # it was too much, and dropped
            audio = self._resampler.push(self._heard.popleft())
            samples = np.clip(np.rint(32768 * audio), -32768, 32767).astype("<i2").tobytes()
            for client in self._clients:
                if client.hears and samples:
                    client.play(samples)


@dataclass(frozen=True)
class _Message:
    event: Event
    at: datetime
    line: str


@dataclass
class _StateOfStream:
    """What who comes late is told of the stream: all that still holds, and what was told last."""

    _holds: dict[object, _Message] = field(default_factory=dict)
    """The start, and what is wrong."""
    _steps: deque[_Message] = field(default_factory=lambda: deque(maxlen=_HISTORY_STEPS))
    """And gaps."""
    _utterances: deque[_Message] = field(default_factory=lambda: deque(maxlen=_HISTORY_UTTERANCES))

    def add(self, message: _Message) -> None:
        event = message.event
        if isinstance(event, Start):
            self._holds[event.name] = message
        elif isinstance(event, Status):
            self._holds.pop(event.key, None)
            if event.active:
                self._holds[event.key] = message
        elif isinstance(event, (Step, Gap)):
            self._steps.append(message)
        elif isinstance(event, Utterance):
            self._utterances.append(message)

    def messages(self, *, history: bool) -> list[_Message]:
        """What holds, then what was told last, in the order of the stream."""
        steps, utterances = list(self._steps), list(self._utterances)
        if not history:
            steps = [message for message in steps if isinstance(message.event, Step)][-1:]
            utterances = utterances[-1:]
        told = sorted([*steps, *utterances], key=lambda message: message.event.time_s)
        return [*self._holds.values(), *told]


class _Client:
    """What waits for a client, which may want audio. All of it happens in the server's thread."""

    def __init__(self, *, hears: bool) -> None:
        self.hears = hears
        self._messages: deque[_Message] = deque()
        self._audio: deque[bytes] = deque(maxlen=_MOST_BLOCKS)
        self._n_dropped = 0
        self._ended = False
        self._some, self._room = asyncio.Event(), asyncio.Event()

    def put(self, message: _Message) -> None:
        """An event is to be sent; where too many wait, the oldest is dropped."""
        if len(self._messages) >= CAPACITY:
            self._messages.popleft()
            self._n_dropped += 1
        self._messages.append(message)
        self._some.set()

    def play(self, samples: bytes) -> None:
        """Audio is to be sent, unless the client is too slow for it."""
        self._audio.append(samples)
        self._some.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._some.set()

    def leave(self) -> None:
        """It is gone: whoever waits for room waits no longer."""
        self._messages.clear()
        self._room.set()

    async def has_room(self) -> None:
        """Wait until an event can be put without one being dropped."""
        while len(self._messages) >= CAPACITY:
            self._room.clear()
            await self._room.wait()

    async def next(self) -> str | bytes | None:
        """What to send next: what was dropped, an event, audio; None at the end."""
        while not self._messages and not self._audio and not self._ended:
            self._some.clear()
            await self._some.wait()
        if not self._messages:
            return self._audio.popleft() if self._audio else None
        if self._n_dropped:
            following = self._messages[0]
            text = f"this client is slow: {counted(self._n_dropped, 'event')} dropped"
            self._n_dropped = 0
            lost = Status(
                time_s=following.event.time_s, state=State.SINK, subject="this client", active=True, text=text
            )
            return json.dumps(lost.to_dict(following.at), allow_nan=False)
        self._room.set()
        return self._messages.popleft().line


async def _send(connection: ServerConnection, client: _Client) -> None:
    from websockets.exceptions import ConnectionClosed

    with suppress(ConnectionClosed):
        try:
            while (message := await client.next()) is not None:
                async with asyncio.timeout(_SEND_S):
                    await connection.send(message)
        except TimeoutError:
            connection.transport.abort()
        else:
            await connection.close()


def _bound(address: Address) -> socket.socket:
    try:
        [(family, _, _, _, where), *_] = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return socket.create_server(where[:2], family=family)
    except UnicodeError:
        reason = "it is no name of a machine"
    except socket.gaierror as error:
        reason = str(error.strerror)
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # `create_server` adds the address to `error.strerror`
    raise OutputError(
        f"cannot serve at {address.host}, port {address.port}: {reason}; give another with --serve"
    )


def _refusal(status: HTTPStatus, why: str) -> Response:
    return _response(status, "text/plain; charset=utf-8", f"{why}\n".encode())


def _response(status: HTTPStatus, content_type: str, content: bytes) -> Response:
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    headers = Headers({**_HEADERS, "Content-Type": content_type, "Content-Length": str(len(content))})
    return Response(status.value, status.phrase, headers, content)
