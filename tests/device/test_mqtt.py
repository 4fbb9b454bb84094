"""Events as messages of a real broker, Mosquitto: with passwords, lost connections, processes that die."""

from __future__ import annotations

import json
import queue
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgeemo.cli import app
from edgeemo.errors import OutputError
from edgeemo.sinks import mqtt, sink
from edgeemo.sinks.mqtt import Address, Publisher
from edgeemo.sinks.sink import TOLD, Background, OnError
from support import event_samples as events

paho = pytest.importorskip("paho.mqtt.client", reason="the extra `mqtt` is not installed")

WAIT_S = 60  # only so that a hanging thread ends the test
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="no broker here: apt-get install mosquitto")


class Broker:
    """Mosquitto on this machine.

    Attributes:
        port: of it.
    """

    def __init__(self, folder: Path, password: str | None = None, more: str = "") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        settings = f"listener {self.port} 127.0.0.1\npersistence false\n{more}"
        if password is None:
            settings += "allow_anonymous true\n"
        else:
            passwords = folder / "passwords"
            passwords.write_text(f"me:{password}\n")
            passwords.chmod(0o600)
            subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
            settings += f"password_file {passwords}\nuser root\n"
        self._settings = folder / "mosquitto.conf"
        self._settings.write_text(settings)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """With the topic `home/edgeemo`."""
        return f"mqtt://127.0.0.1:{self.port}/home/edgeemo"

    def start(self) -> None:
        """Start it and wait until it listens."""
        command = [str(MOSQUITTO), "-c", str(self._settings)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE)
        while True:
            assert self._process.poll() is None, self._process.stderr
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return

    def stop(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    found = Broker(tmp_path)
    found.start()
    yield found
    found.stop()


class Subscriber:
    """Hears everything below `home`, or of another topic.

    Args:
        port: of the broker.
        topic: what to hear.
    """

    def __init__(self, port: int, topic: str = "home/#") -> None:
        self._got: queue.Queue[Any] = queue.Queue()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        subscribed: queue.Queue[None] = queue.Queue()
        self._client.on_message = lambda _client, _user, message: self._got.put(message)
        self._client.on_subscribe = lambda *_: subscribed.put(None)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe(topic, qos=1)
        subscribed.get(timeout=WAIT_S)

    def next(self) -> tuple[str, Any]:
        """Topic and payload of the next message; JSON is read."""
        message = self._got.get(timeout=WAIT_S)
        text = message.payload.decode()
        return message.topic, json.loads(text) if text.startswith("{") else text

    def until(self, topic: str, payload: str) -> list[tuple[str, Any]]:
        """All messages up to this one."""
        found = [self.next()]
        while found[-1] != (topic, payload):
            found.append(self.next())
        return found

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: Any) -> None:
        self._client.disconnect()
        self._client.loop_stop()


OFFLINE = ("home/edgeemo/availability", "offline")
ONLINE = ("home/edgeemo/availability", "online")


@needs_broker
def test_what_is_published(broker: Broker) -> None:
    with Subscriber(broker.port) as subscriber:
        told = [event for event in events.each_kind() if isinstance(event, TOLD)]
        with Publisher(Address.parse(broker.url)) as publisher:
            for event in told:
                publisher.take(event, events.AT)
        found = subscriber.until(*OFFLINE)
    assert found[0] == ONLINE
    assert [topic for topic, _ in found[1:-1]] == [f"home/edgeemo/{event.name}" for event in told]
    for (_, values), event in zip(found[1:-1], told, strict=True):
        assert values == json.loads(json.dumps(event.to_dict(events.AT)))


@needs_broker
def test_the_last_of_each_kind_is_kept(broker: Broker) -> None:
    with Publisher(Address.parse(broker.url)) as publisher:
        for event in (events.start(), events.utterance(1), events.utterance(2)):
            publisher.take(event, events.AT)
        with Subscriber(broker.port) as late:
            kept = dict(late.next() for _ in range(3))
    assert kept["home/edgeemo/availability"] == "online"
    assert kept["home/edgeemo/utterance"]["utterance"] == 2
    assert kept["home/edgeemo/start"]["model"] == "tiny.window"


@needs_broker
def test_a_process_that_dies_is_offline(broker: Broker) -> None:
    code = (
        "import os, sys; from edgeemo.sinks.mqtt import *; from support import event_samples as events\n"
        "with Publisher(Address.parse(sys.argv[1])) as publisher:\n"
        "    publisher.take(events.start(), events.AT); os.kill(os.getpid(), 9)"
    )
    with Subscriber(broker.port) as subscriber:
        path = str(Path(__file__).parents[1])
        subprocess.run([sys.executable, "-c", f"import sys; sys.path.append({path!r}); {code}", broker.url])
        found = subscriber.until(*OFFLINE)
    assert [topic.rpartition("/")[2] for topic, _ in found] == ["availability", "start", "availability"]


@needs_broker
def test_a_broker_that_is_restarted(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told while it is away arrives when it is back, in order and once; others hear of both."""
    monkeypatch.setattr(sink, "_RETRY_S", 0.05)
    monkeypatch.setattr(sink, "_RETRY_MOST_S", 0.05)
    told: list[tuple[bool, str]] = []

    def wait_for(active: bool) -> None:
        while not any(found == active for found, _ in told):
            told.extend(background.notices())

    publisher = Publisher(Address.parse(broker.url))
    with Background(publisher, "the broker", only=TOLD, on_error=OnError.RETRY) as background:
        with Subscriber(broker.port) as subscriber:
            background.take(events.utterance(1), events.AT)
            assert subscriber.next() == ONLINE
            assert subscriber.next()[1]["utterance"] == 1
        broker.stop()
        for n in (2, 3, 4):
            background.take(events.utterance(n), events.AT)
        wait_for(True)
        broker.start()
        with Subscriber(broker.port) as subscriber:
            wait_for(False)
            background.take(events.utterance(5), events.AT)
            numbers: list[int] = []
            while numbers[-1:] != [5]:
                topic, values = subscriber.next()
                numbers += [values["utterance"]] if topic.endswith("/utterance") else []
    # Whoever subscribes in between may miss the first: the broker keeps the last for them.
    assert numbers == list(range(numbers[0], 6))
    assert [active for active, _ in told] == [True, False]
    assert told[1][1] == "the broker works again"


@needs_broker
@pytest.mark.parametrize(
    ("credentials", "trouble"), [("me:s%2Fcret", ""), ("me:wrong", "Not authorized"), ("", "Not")]
)
def test_passwords(tmp_path: Path, credentials: str, trouble: str) -> None:
    guarded = Broker(tmp_path, password="s/cret")
    guarded.start()
    try:
        url = guarded.url.replace("//", f"//{credentials}@") if credentials else guarded.url
        with Publisher(Address.parse(url)) as publisher:
            if not trouble:
                publisher.take(events.start(), events.AT)
                return
            with pytest.raises(OutputError, match=f"refuses the connection .*{trouble}"):
                publisher.take(events.start(), events.AT)
    finally:
        guarded.stop()


def test_nobody_is_there(tmp_path: Path) -> None:
    address = Address.parse(Broker(tmp_path).url)
    with Publisher(address) as publisher, pytest.raises(OutputError, match="refused"):
        publisher.take(events.start(), events.AT)


def test_something_else_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address.parse(f"mqtt://127.0.0.1:{silent.getsockname()[1]}/topic")
        with Publisher(address) as publisher, pytest.raises(OutputError, match="no connection within"):
            publisher.take(events.start(), events.AT)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://broker/topic", ("broker", 1883, False, "topic", None, None)),
        ("mqtts://broker/a/b/", ("broker", 8883, True, "a/b", None, None)),
        ("mqtt://me@broker:99/a", ("broker", 99, False, "a", "me", None)),
        ("mqtt://m%40e:p%3Ass@[::1]:99/a%20b", ("::1", 99, False, "a b", "m@e", "p:ss")),
    ],
)
def test_addresses(url: str, expected: tuple[Any, ...]) -> None:
    address = Address.parse(url)
    assert (*vars(address).values(),) == expected
    assert "p:ss" not in repr(address)


@needs_broker
def test_from_the_command_line(broker: Broker) -> None:
    with Subscriber(broker.port) as subscriber:
        arguments = ["listen", "--sample", "--fast", "--json"]
        result = CliRunner().invoke(app, arguments, env={"EDGEEMO_MQTT": broker.url})
        assert (result.exit_code, "edgeemo: " in result.stderr) == (0, False)
        found = subscriber.until(*OFFLINE)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [values for _, values in found[1:-1]] == [line for line in lines if line["event"] != "step"]


def test_the_password_is_not_shown(tmp_path: Path) -> None:
    url = Broker(tmp_path).url.replace("//", "//me:secret@")
    result = CliRunner().invoke(app, ["listen", "--sample", "--fast", "--json", "--mqtt", url])
    assert result.exit_code == 0
    assert "refused; trying again" in result.stdout
    assert "events lost" in result.stderr
    assert "secret" not in result.output


@needs_broker
def test_home_assistant_is_told_of_sensors(broker: Broker) -> None:
    """What the example says of the sensors fits what is published: their topics, and keys of utterances."""
    program = Path(__file__).parents[2] / "examples" / "home_assistant.py"
    result = subprocess.run([sys.executable, program, broker.url], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("Emotion\nArousal\n", "")
    with Publisher(Address.parse(broker.url)) as publisher, Subscriber(broker.port, topic="#") as subscriber:
        publisher.take(events.utterance(), events.AT)
        found = dict(subscriber.next() for _ in range(4))
    sensors = {topic: values for topic, values in found.items() if topic.startswith("homeassistant/sensor/")}
    assert len(sensors) == 2
    for sensor in sensors.values():
        for key in ("state_topic", "availability_topic"):
            assert sensor[key] in found
        [*keys] = re.findall(r"value_json\.(\w+)", sensor["value_template"])
        assert keys
        assert set(keys) <= set(found[sensor["state_topic"]])


@needs_broker
def test_an_encrypted_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mqtts`: with a broker whose certificate is trusted, and not with one whose is not."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = (
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    command = [*make.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    encrypting = Broker(tmp_path, more=f"certfile {certificate}\nkeyfile {key}\nuser root\n")
    encrypting.start()
    address = Address.parse(f"mqtts://localhost:{encrypting.port}/topic")
    try:
        with Publisher(address) as publisher, pytest.raises(OutputError, match=r"(?i)certificate|verify"):
            publisher.take(events.start(), events.AT)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with Publisher(address) as publisher:
            publisher.take(events.start(), events.AT)
    finally:
        encrypting.stop()
