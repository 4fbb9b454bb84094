"""Events as messages of an MQTT broker, by paho-mqtt (extra `mqtt`), which is imported where it is needed."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

from edgeemo.errors import OutputError
from edgeemo.events import Event

if TYPE_CHECKING:
    from paho.mqtt.client import Client

AVAILABILITY = "availability"
"""Below the topic: `online` while events are published, else `offline`; the broker says so of a process that died."""
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_TIMEOUT_S = 10.0
_KEEPALIVE_S = 30
_RECONNECT_MOST_S = 30


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where to publish.

    Attributes:
        host: of the broker.
        port: of the broker.
        tls: whether the connection is encrypted.
        topic: that the events are published below.
        user: None: anonymous.
        password: of the user.
    """

    host: str
    port: int
    tls: bool
    topic: str
    user: str | None
    password: str | None = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read `mqtt://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC`; `mqtts` encrypts.

        Raises:
            ValueError: one line: it is none. It may hold a password, and is not repeated.
        """
        try:
            parts = urlsplit(url)
            topic, port = unquote(parts.path).strip("/"), parts.port
            known = parts.scheme in _PORTS and parts.hostname and topic and not set(topic) & set("+#\0")
        except ValueError:  # whose text repeats parts of it
            known = False
        if not known or parts.query or parts.fragment:
            raise ValueError("expected an address such as mqtt://user:password@host:1883/topic")
        return cls(
            host=parts.hostname or "",
            port=port or _PORTS[parts.scheme],
            tls=parts.scheme == "mqtts",
            topic=topic,
            user=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )


class Publisher:
    """Publishes each event as its JSON form under `TOPIC/EVENT`, such as `edgeemo/utterance`.

    The broker keeps the last of each kind for those who subscribe later. A connection that is lost is made again.

    Args:
        address: of the broker, and the topic.

    Raises:
        ImportError: paho-mqtt is missing.
    """

    def __init__(self, address: Address) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self._address = address
        self._changed = threading.Condition()
        self._trouble: str | None = None
        self._tried = False
        """Whether the first attempt to connect has ended."""
        self._sent: int | None = None
        """The number of the message that the broker has not confirmed yet."""
        self._confirmed: set[int] = set()
        self._client = client = Client(CallbackAPIVersion.VERSION2)
        client.on_connect, client.on_connect_fail = self._on_connect, self._on_connect_fail
        client.on_disconnect, client.on_publish = self._on_disconnect, self._on_publish
        client.will_set(self._availability, "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, _RECONNECT_MOST_S)
        if address.user is not None:
            client.username_pw_set(address.user, address.password)
        if address.tls:
            client.tls_set()

    def take(self, event: Event, at: datetime) -> None:
        """Publish it, and wait until the broker has it. Offered again, it is waited for again, not published twice.

        Raises:
            OutputError: there is no connection, or the broker does not confirm it within 10 s.
        """
        if self._sent is None:
            with self._changed:
                self._changed.wait_for(lambda: self._tried, _TIMEOUT_S)
                if not self._tried or self._trouble is not None:
                    raise OutputError(self._trouble or f"no connection within {_TIMEOUT_S:.0f} s")
                self._confirmed.clear()  # of `availability`
            text = json.dumps(event.to_dict(at), allow_nan=False)
            self._sent = self._publish(event.name, text)
        if not self._is_confirmed(self._sent):
            raise OutputError(self._trouble or f"not confirmed within {_TIMEOUT_S:.0f} s")
        self._sent = None

    def __enter__(self) -> Self:
        self._client.connect_async(self._address.host, self._address.port, _KEEPALIVE_S)
        self._client.loop_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client.is_connected():
            self._is_confirmed(self._publish(AVAILABILITY, "offline"))
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def _availability(self) -> str:
        return f"{self._address.topic}/{AVAILABILITY}"

    def _publish(self, name: str, text: str) -> int:
        """Have a message sent, now or once there is a connection again, and its number."""
        return self._client.publish(f"{self._address.topic}/{name}", text, qos=1, retain=True).mid

    def _is_confirmed(self, number: int) -> bool:
        """Wait until the broker has a message, or there is no connection."""
        with self._changed:
            self._changed.wait_for(lambda: number in self._confirmed or self._trouble, _TIMEOUT_S)
            found = number in self._confirmed
            self._confirmed.discard(number)
        return found

    def _on_publish(self, _client: Client, _user: Any, number: int, _code: Any, _more: Any) -> None:
        with self._changed:
            self._confirmed.add(number)
            self._changed.notify_all()

    def _on_connect(self, _client: Client, _user: Any, _flags: Any, code: Any, _more: Any) -> None:
        if not code.is_failure:
            self._publish(AVAILABILITY, "online")
        self._tell(f"it refuses the connection ({code})" if code.is_failure else None)

    def _on_connect_fail(self, _client: Client, _user: Any) -> None:
        error = sys.exc_info()[1]  # paho calls this while it handles what went wrong
        self._tell((error.strerror if isinstance(error, OSError) else None) or str(error or "no connection"))

    def _on_disconnect(self, _client: Client, _user: Any, _flags: Any, code: Any, _more: Any) -> None:
        with self._changed:
            told = self._trouble
        self._tell(told or f"the connection was lost ({code})")

    def _tell(self, trouble: str | None) -> None:
        """Note what is wrong with the connection; None: nothing."""
        with self._changed:
            self._trouble, self._tried = trouble, True
            self._changed.notify_all()
