"""Events as HTTP requests, to real servers on this machine: good ones, and ones that refuse, hang or fail."""

from __future__ import annotations

import base64
import json
import queue
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from edgeemo.cli import app
from edgeemo.errors import OutputError
from edgeemo.places import sample_path
from edgeemo.sinks import sink, webhook
from edgeemo.sinks.sink import Background, OnError, RefusedError
from edgeemo.sinks.webhook import Webhook
from support import event_samples as events

WAIT_S = 60  # only so that a hanging thread ends the test


class Server:
    """A server that answers with one status after the other, the last one for ever.

    Attributes:
        url: of it.
        got: the requests: path, headers, body.
    """

    def __init__(self, *answers: int, before_answer: Callable[[], Any] = lambda: None) -> None:
        self.got: queue.Queue[tuple[str, Any, bytes]] = queue.Queue()
        left = list(answers)
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.put((self.path, self.headers, body))
                before_answer()
                with suppress(OSError):  # whoever asked may have gone
                    self.send_response(left.pop(0) if len(left) > 1 else left[0])
                    self.send_header("Location", "/elsewhere")
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def bodies(self, n: int) -> list[Any]:
        """The JSON of the next requests."""
        return [json.loads(self.got.get(timeout=WAIT_S)[2]) for _ in range(n)]

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is offered again at once."""
    monkeypatch.setattr(sink, "_RETRY_S", 0.01)
    monkeypatch.setattr(sink, "_RETRY_MOST_S", 0.01)


@contextmanager
def sending(url: str, **options: Any) -> Iterator[Background]:
    with Background(Webhook(url), "the webhook", on_error=OnError.RETRY, **options) as background:
        yield background


def test_a_request() -> None:
    with Server(204) as server, Webhook(server.url + "/a/b?token=1") as hook:
        hook.take(events.utterance(), events.AT)
        path, headers, body = server.got.get_nowait()
    assert path == "/a/b?token=1"
    assert json.loads(body) == events.utterance().to_dict(events.AT) | {
        "evolution": [{"time_s": 2.16, "label": None}, {"time_s": 2.32, "label": "angry"}]
    }
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("edgeemo/")
    assert "Authorization" not in headers


def test_a_user_and_a_password() -> None:
    with Server(200) as server:
        hook = Webhook(server.url.replace("//", "//me:p%40ss@"))
        assert hook.server == server.url
        hook.take(events.utterance(), events.AT)
        path, headers, _ = server.got.get_nowait()
    assert path == "/"
    assert headers["Authorization"] == f"Basic {base64.b64encode(b'me:p@ss').decode()}"


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (500, OutputError, "it answers 500"),
        (503, OutputError, "it answers 503"),
        (429, OutputError, "it answers 429"),
        (404, RefusedError, "it answers 404"),
        (401, RefusedError, "it answers 401"),
        (301, RefusedError, "it answers 301"),
        (302, RefusedError, "it answers 302"),
    ],
)
def test_answers(status: int, error: type[OutputError], text: str) -> None:
    with Server(status) as server, pytest.raises(OutputError, match=text) as raised:
        Webhook(server.url).take(events.utterance(), events.AT)
    assert raised.type is error
    assert server.got.qsize() == 1, "no redirection is followed: it would lose the body"


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_nobody_is_there() -> None:
    with pytest.raises(OutputError, match="refused"):
        Webhook(f"http://127.0.0.1:{closed_port()}").take(events.utterance(), events.AT)
    with pytest.raises(OutputError, match=r"(?i)name"):
        Webhook("http://nobody.invalid").take(events.utterance(), events.AT)


@contextmanager
def listener(answer: bytes) -> Iterator[str]:
    """Something that listens but is no web server: it says `answer`, then hangs, or ends where there is one."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    if answer:
                        with connection:
                            connection.recv(10_000)
                            connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_it_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_TIMEOUT_S", 0.2)
    with listener(b"") as url, pytest.raises(OutputError, match=r"no answer|timed out"):
        Webhook(url).take(events.utterance(), events.AT)


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 two hundred\r\n\r\n", b"\r\n"])
def test_it_is_no_web_server(answer: bytes) -> None:
    with listener(answer) as url, pytest.raises(OutputError):
        Webhook(url).take(events.utterance(), events.AT)


def test_it_fails_and_works_again(quick: None) -> None:
    """500, 500, then 200: each event arrives, in order; the loop never waits; one notice each."""
    with Server(200, 500, 500, 200) as server:
        with sending(server.url) as background:
            for n in range(5):
                background.take(events.utterance(n), events.AT)
            numbers = [body["utterance"] for body in server.bodies(7)]
        assert background.notices() == [
            (True, "the webhook: it answers 500 (Internal Server Error); trying again"),
            (False, "the webhook works again"),
        ]
    assert numbers == [0, 1, 1, 1, 2, 3, 4]


def test_it_comes_later(quick: None) -> None:
    """Nobody listens at first. What was told meanwhile arrives; the oldest that did not fit are counted."""
    port = closed_port()
    with sending(f"http://127.0.0.1:{port}", capacity=3) as background:
        for n in range(10):
            background.take(events.utterance(n), events.AT)
        while not (told := background.notices()):
            pass
        server = Server(200)
        server._server.server_close()
        server._server = ThreadingHTTPServer(("127.0.0.1", port), server._server.RequestHandlerClass)
        server._thread = threading.Thread(target=server._server.serve_forever, args=(0.01,))
        with server:
            while not any(not active for active, _ in told):
                told += background.notices()
            bodies = server.bodies(server.got.qsize())
    numbers = [body["utterance"] for body in bodies if body["event"] == "utterance"]
    assert numbers[-3:] == [7, 8, 9]
    assert numbers == sorted(numbers)
    n_lost = 10 - len(numbers)
    assert told[-1] == (False, f"the webhook works again; {n_lost} events lost")
    assert sum(int(body["text"].split()[-3]) for body in bodies if body["event"] == "status") == n_lost


def test_a_hanging_server_holds_up_nothing() -> None:
    """All is given while the server has not even answered the first request; then all arrives."""
    answer = threading.Event()
    with Server(200, before_answer=lambda: answer.wait(WAIT_S)) as server:

        def let_when_heard() -> None:
            server.got.get(timeout=WAIT_S)
            answer.set()

        threading.Thread(target=let_when_heard).start()
        with sending(server.url) as background:
            for n in range(500):
                background.take(events.utterance(n), events.AT)
        assert background.notices() == []
        assert server.got.qsize() == 499


def test_from_the_command_line() -> None:
    with Server(200) as server:
        result = CliRunner().invoke(
            app, ["listen", "--sample", "--fast", "--json"], env={"EDGEEMO_POST": server.url + "/secret"}
        )
        assert result.exit_code == 0, result.stderr
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        sent = server.bodies(server.got.qsize())
    assert sent == [line for line in lines if line["event"] != "step"]
    assert [line["event"] for line in sent][:: len(sent) - 1] == ["start", "end"]


def test_a_failing_server_is_a_status(quick: None) -> None:
    with Server(500) as server:
        arguments = ["--post", f"{server.url}/secret?token=secret", "--json"]
        result = CliRunner().invoke(app, ["listen", "--sample", "--fast", *arguments])
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    [status] = [line for line in lines if line["event"] == "status"]
    assert (status["state"], status["active"]) == ("sink", True)
    assert status["text"].startswith(f"the webhook at {server.url}: it answers 500")
    assert f"edgeemo: the webhook at {server.url}: " in result.stderr
    assert "events lost" in result.stderr
    assert "secret" not in result.output


def test_a_hanging_server_does_not_keep_a_process_that_is_to_end(edgeemo: list[str], tmp_path: Path) -> None:
    """SIGTERM ends it, though a request is without an answer; the summary says what did not arrive."""
    samples, sample_rate = soundfile.read(sample_path())
    soundfile.write(tmp_path / "long.wav", np.tile(samples, 20), sample_rate)
    with listener(b"") as url:
        command = [*edgeemo, "listen", "--file", str(tmp_path / "long.wav"), "--json", "--post", url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [json.loads(process.stdout.readline())]
            while told[-1]["event"] != "utterance":
                told.append(json.loads(process.stdout.readline()))
            process.terminate()
            output, errors = process.communicate(timeout=WAIT_S)
    told += map(json.loads, output.splitlines())
    assert told[-1]["reason"] == "stopped"
    n_events = sum(event["event"] != "step" for event in told)
    assert f"edgeemo: the webhook at {url}: {n_events} events lost" in errors
    assert "steps, " in errors
