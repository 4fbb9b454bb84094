"""`edgeemo listen --serve`: real clients on loopback, those that behave and those that do not."""

from __future__ import annotations

import dataclasses
import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import edgeemo
from edgeemo.audio import Resampler
from edgeemo.cli import app
from edgeemo.errors import OutputError
from edgeemo.events import Gap, State, Status, Utterance, Why
from edgeemo.places import sample_path
from edgeemo.sinks import server
from edgeemo.sinks.json_lines import JsonLines
from edgeemo.sinks.server import MOST_CLIENTS, Address, Server
from support import event_samples as events

pytest.importorskip("websockets", reason="the extra `serve` is not installed")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

WAIT_S = 60  # only so that a hanging thread ends the test
END = events.each_kind()[-1]
FILES = {"/": ("text/html; charset=utf-8", b"<p>page"), "/style.css": ("text/css", b"p {}")}


@contextmanager
def serving(source_rate: int = 16000, *, lossless: bool = False) -> Iterator[Server]:
    with Server(
        Address("127.0.0.1", 0), FILES, source_rate=source_rate, sample_rate=16000, lossless=lossless
    ) as found:
        yield found


def client(found: Server, path: str = "events", **options: Any) -> ClientConnection:
    return connect(f"{found.url.replace('http', 'ws')}{path}", open_timeout=WAIT_S, **options)


def until_served(found: Server, n: int) -> None:
    """Wait until the server knows of so many clients: each has what is told from now on."""
    while len(found._clients) != n:
        threading.Event().wait(0.01)


def get(found: Server, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, bytes]:
    where = urlsplit(found.url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=WAIT_S)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    return response.status, response.read()


def numbered(n: int, size: int = 0) -> Status:
    return Status(time_s=float(n), state=State.CLIPPED, active=True, text=f"{n} {'x' * size}")


def numbers(lines: list[Any]) -> list[int]:
    return [int(line["text"].split()[0]) for line in lines if line.get("state") == "clipped"]


# --- what clients get


def test_all_events_in_order_as_json_prints_them() -> None:
    printed = io.StringIO()
    lines = JsonLines(printed)
    with ExitStack() as opened:
        with serving(lossless=True) as found:
            clients = [opened.enter_context(client(found)) for _ in range(2)]
            until_served(found, 2)
            with edgeemo.AudioFile(sample_path(), realtime=False) as source:
                for event in edgeemo.listen(source, edgeemo.load("emo_small")):
                    lines.take(event, events.AT)
                    found.take(event, events.AT)
        for one in clients:
            assert list(one) == printed.getvalue().splitlines()
            assert one.close_code == 1000


def test_who_comes_late_is_told_what_holds() -> None:
    told = [
        events.start(),
        numbered(1),
        Status(time_s=2.0, state=State.MUTED, active=True, text="only zeros"),
        events.step(3.0),
        events.utterance(1),
        Status(time_s=4.0, state=State.MUTED, active=False, text="not zeros"),
        events.step(5.0),
    ]
    with serving() as found:
        for event in told:
            found.take(event, events.AT)
        with client(found) as late:
            until_served(found, 1)
            found.take(END, events.AT)
            lines = [json.loads(late.recv(WAIT_S)) for _ in range(5)]
    expected = [told[0], told[1], told[4], told[6], END]
    assert lines == [json.loads(json.dumps(event.to_dict(events.AT))) for event in expected]


def test_the_history_is_for_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last steps, gaps and utterances, as many as are kept, in the order of the stream."""
    monkeypatch.setattr(server, "_HISTORY_STEPS", 6)
    gap = Gap(time_s=9.0, start_s=8.5, length_s=0.5, why=Why.STALLED)
    webhook, broker = (
        Status(time_s=0.5, state=State.SINK, subject=name, active=True, text=f"{name} fails") for name in "ab"
    )
    told = [events.start(), webhook, broker]
    told += [event for n in range(1, 9) for event in (events.step(float(n)), events.utterance(n))]
    told += [gap, events.step(9.5), dataclasses.replace(broker, active=False)]
    with serving() as found:
        for event in told:
            found.take(event, events.AT)
        with client(found, "events?audio=1&history=1") as late:
            until_served(found, 1)
            assert next(iter(found._clients)).hears
            found.take(END, events.AT)
            *lines, last = _until_end(late)
    assert last["event"] == "end"
    kept = sorted(told[3:-1], key=lambda event: event.time_s)
    steps = [event for event in kept if not isinstance(event, Utterance)][-6:]
    expected = [told[0], webhook, *(e for e in kept if isinstance(e, Utterance) or e in steps)]
    assert lines == [json.loads(json.dumps(event.to_dict(events.AT))) for event in expected]


def _until_end(of: ClientConnection) -> list[Any]:
    lines = []
    while not lines or lines[-1]["event"] != "end":
        lines.append(json.loads(of.recv(WAIT_S)))
    return lines


def test_audio_is_for_those_who_ask() -> None:
    """At the model's rate, from when somebody asks; blocks may be used again."""
    tone = (0.5 * np.sin(np.arange(48000) / 20)).astype(np.float32)
    tone[:10] = [2, -2, 1, -1, 0, 0, 0, 0, 0, 0]
    with serving(48000) as found:
        found.hear(tone)  # for nobody
        with client(found, "events?audio=1") as hears, client(found) as reads:
            until_served(found, 2)
            for at in range(0, len(tone), 480):
                block = tone[at : at + 480].copy()
                found.hear(block)
                block[:] = 0
                found.hear(block[:0])
            expected = Resampler(48000, 16000).push(tone)
            heard = b""
            while len(heard) < 2 * len(expected):
                message = hears.recv(WAIT_S)
                assert isinstance(message, bytes)
                heard += message
            found.take(END, events.AT)
            assert json.loads(reads.recv(WAIT_S))["event"] == "end", "no audio before it"
    samples = np.frombuffer(heard, "<i2")
    assert np.array_equal(samples, np.clip(np.rint(32768 * expected), -32768, 32767))


def test_the_stream_ends() -> None:
    with ExitStack() as opened:
        with serving() as found:
            one = opened.enter_context(client(found))
            until_served(found, 1)
            found.take(END, events.AT)
        assert [json.loads(line)["event"] for line in one] == ["end"]
        assert one.close_code == 1000
    port = int(found.url.rstrip("/").rpartition(":")[2])
    socket.create_server(("127.0.0.1", port)).close()


# --- who gets nothing


def test_only_its_files_by_get() -> None:
    with serving() as found:
        assert get(found) == (200, b"<p>page")
        assert get(found, "/style.css?1") == (200, b"p {}")
        for path in ("/nothing", "/../pyproject.toml", "/style.css/", "//", "/%2e%2e/", "/etc/passwd"):
            assert get(found, path)[0] == 404
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
            assert get(found, "/", method)[0] == 405


@pytest.mark.parametrize("path", ["/", "/events"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "localhost.", "::1"]
)
def test_another_name_of_this_machine(host: str, path: str) -> None:
    """What a page of another server has if its name leads to 127.0.0.1."""
    with serving() as found:
        assert get(found, path, Host=host)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9999", "LOCALHOST", "[::1]:80", "192.168.1.2:8011"])
def test_a_name_of_this_machine(host: str) -> None:
    """Also through a tunnel, at another port."""
    with serving() as found:
        assert get(found, "/", Host=host)[0] == 200
        assert get(found, "/", Host=host, Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://localhost:{port}",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1",
    ],
)
def test_another_origin(origin: str) -> None:
    with serving() as found:
        port = found.url.rstrip("/").rpartition(":")[2]
        with pytest.raises(InvalidStatus) as caught, client(found, origin=origin.format(port=port)):
            pass
        assert caught.value.response.status_code == 403
        with client(found, origin=found.url.rstrip("/")):  # type: ignore[arg-type]
            pass


def test_many_clients() -> None:
    with serving() as found, ExitStack() as opened:
        clients = [opened.enter_context(client(found)) for _ in range(MOST_CLIENTS)]
        with pytest.raises(InvalidStatus) as caught, client(found):
            pass
        assert caught.value.response.status_code == 503
        assert get(found)[0] == 200
        clients[0].close()
        until_served(found, MOST_CLIENTS - 1)
        clients[0] = opened.enter_context(client(found))
        until_served(found, MOST_CLIENTS)
        found.take(END, events.AT)
        for one in clients:
            assert json.loads(one.recv(WAIT_S))["event"] == "end"


def test_garbage() -> None:
    """A client that talks is left; the others do not notice."""
    with serving() as found, client(found) as good:
        for message, code in (("hello", 1003), (b"\0\1", 1003), ("x" * 5000, 1009)):
            with client(found) as bad:
                bad.send(message)
                with pytest.raises(ConnectionClosed):
                    bad.recv(WAIT_S)
                assert bad.close_code == code
        address = ("127.0.0.1", int(found.url.rstrip("/").rpartition(":")[2]))
        for raw in (b"\xff" * 100_000, b"GET / HTTP/9\r\n\r\n", b"\r\n" * 1000):
            with socket.create_connection(address) as plain, suppress(ConnectionError):
                plain.sendall(raw)
                while plain.recv(65536):
                    pass
        with client(found) as broken:
            broken.socket.sendall(b"\xff\xff\xff\xff")
            with pytest.raises(ConnectionClosed):
                broken.recv(WAIT_S)
        until_served(found, 1)
        found.take(END, events.AT)
        assert json.loads(good.recv(WAIT_S))["event"] == "end"


# --- who is slow


@pytest.fixture
def short_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sockets hold is then little of what is sent."""
    monkeypatch.setattr(server, "CAPACITY", CAPACITY)


CAPACITY = 100
SIZE = 50_000


def test_a_slow_client_loses_the_oldest_and_is_told(short_queue: None) -> None:
    """The loop is not held up, and who is quick loses nothing."""
    n = 6 * CAPACITY
    with serving() as found, client(found) as slow, client(found) as quick:
        until_served(found, 2)
        got: list[int] = []
        for first in range(0, n, CAPACITY // 2):
            for i in range(first, first + CAPACITY // 2):
                found.take(numbered(i, SIZE), events.AT)
            got += numbers([json.loads(quick.recv(WAIT_S)) for _ in range(CAPACITY // 2)])
        assert got == list(range(n))
        lines = [json.loads(slow.recv(WAIT_S))]
        while numbers(lines[-1:]) != [n - 1]:
            lines.append(json.loads(slow.recv(WAIT_S)))
    found_numbers = numbers(lines)
    assert found_numbers == sorted(set(found_numbers))
    told = [line for line in lines if line["state"] == "sink"]
    n_lost = sum(int(re.fullmatch(r"this client is slow: (\d+) events? dropped", t["text"])[1]) for t in told)  # type: ignore[index]
    assert n_lost == n - len(found_numbers) > 0
    assert found_numbers[-CAPACITY:] == list(range(n - CAPACITY, n))


def test_a_slow_client_is_waited_for_where_nothing_may_be_lost(short_queue: None) -> None:
    n = 6 * CAPACITY
    with serving(lossless=True) as found, client(found) as slow:
        until_served(found, 1)
        gone = threading.Event()

        def give() -> None:
            for i in range(n):
                found.take(numbered(i, SIZE), events.AT)
            gone.set()

        thread = threading.Thread(target=give)
        thread.start()
        assert not gone.wait(2), "it was not waited for"
        got = numbers([json.loads(slow.recv(WAIT_S)) for _ in range(n)])
        thread.join()
    assert got == list(range(n))


def test_a_client_that_takes_nothing_is_left(short_queue: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_SEND_S", 0.5)
    with serving(lossless=True) as found, client(found, close_timeout=0.1):
        until_served(found, 1)
        for i in range(6 * CAPACITY):
            found.take(numbered(i, SIZE), events.AT)
        until_served(found, 0)


# --- where it listens


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8011", Address("127.0.0.1", 8011)),
        ("0", Address("127.0.0.1", 0)),
        ("0.0.0.0:65535", Address("0.0.0.0", 65535)),
        ("[::1]:8011", Address("::1", 8011)),
        ("pi.local:80", Address("pi.local", 80)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    "text", ["", "x", ":8011", "-1", "65536", "1:2:3", "[::1]", "[a]:80", "a b:80", "٣", "http://x:80"]
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a port such as 8011"):
        Address.parse(text)
    result = CliRunner().invoke(app, ["listen", "--sample", "--serve", text])
    assert result.exit_code == 2
    assert "is not a port such as" in " ".join(result.output.replace("│", " ").split())


def test_other_families() -> None:
    try:
        found = Server(Address("::1", 0), FILES, source_rate=16000, sample_rate=16000)
    except OutputError as error:
        pytest.skip(str(error))
    with found:
        assert re.fullmatch(r"http://\[::1\]:\d+/", found.url)
        assert get(found, Host="[::1]:80")[0] == 200


def test_a_port_that_is_taken(edgeemo: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [*edgeemo, "listen", "--sample", "--fast", "--serve", str(port)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 1
    assert not result.stdout
    assert result.stderr.splitlines()[-1:] == result.stderr.splitlines()
    assert (
        f"cannot serve at 127.0.0.1, port {port}: Address already in use; give another with --serve"
        in result.stderr
    )


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1", "a..b", "x" * 300])
def test_a_host_that_is_not_here(host: str) -> None:
    with pytest.raises(
        OutputError, match=rf"^cannot serve at {host}, port 8011: [^()]*; give another with --serve$"
    ):
        Server(Address(host, 8011), FILES, source_rate=16000, sample_rate=16000)


# --- the command


def test_the_command(edgeemo: list[str], tmp_path: Path) -> None:
    """Who connects gets the start, and from then on each line that is printed; nothing else is said anywhere."""
    audio, rate = soundfile.read(sample_path(), dtype="int16")
    soundfile.write(tmp_path / "long.wav", np.tile(audio, 20), rate)
    command = [*edgeemo, "listen", "--file", str(tmp_path / "long.wav"), "--fast", "--json", "--serve", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert process.stdout
        first = process.stderr.readline()
        url = first.removeprefix("edgeemo: serving at ").strip()
        with connect(f"{url.replace('http', 'ws')}events") as one:
            out, _ = process.communicate()  # now that there is a client
            lines = list(one)
            assert one.close_code == 1000
    assert process.returncode == 0
    printed = out.splitlines()
    assert lines[0] == printed[0]
    joined = next(i for i, line in enumerate(lines) if lines[i:] == printed[-len(lines[i:]) :])
    assert joined <= 3, "what comes after the last utterance and the last step"
    assert len(lines) > 100
    assert json.loads(lines[-1])["event"] == "end"


def test_the_example() -> None:
    program = Path(__file__).parents[2] / "examples" / "subscribe.py"
    with ExitStack() as opened:
        with serving() as found:
            found.take(events.start(), events.AT)
            found.take(events.utterance(1), events.AT)
            command = [sys.executable, str(program), f"{found.url.replace('http', 'ws')}events"]
            process = opened.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            until_served(found, 1)
            for event in (
                events.utterance(1),
                events.step(),
                events.utterance(2, label=None, reason="unsure"),
            ):
                found.take(event, events.AT)
        out, _ = process.communicate()
    assert process.returncode == 0
    assert out.splitlines() == ["2.00\t3.00\tangry", "4.00\t5.00\tunsure"]


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts differ")
def test_a_signal_ends_the_stream_for_clients(edgeemo: list[str]) -> None:
    command = [*edgeemo, "listen", "--sample", "--serve", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        url = process.stderr.readline().removeprefix("edgeemo: serving at ").strip()
        with connect(f"{url.replace('http', 'ws')}events") as one:
            one.recv(WAIT_S)
            process.send_signal(signal.SIGTERM)
            last = [json.loads(line) for line in one][-1]
            assert (last["event"], last["reason"]) == ("end", "stopped")
            assert one.close_code == 1000
        process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
