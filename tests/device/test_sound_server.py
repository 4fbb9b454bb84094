"""What is said where there is no microphone: whose sound server it is, or that it refuses."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeemo.errors import DeviceError
from edgeemo.sources import Microphone, sound_server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX sockets")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No sound server but those that a test makes."""
    for name in "PULSE_SERVER", "PULSE_RUNTIME_PATH", "XDG_RUNTIME_DIR":
        monkeypatch.delenv(name, raising=False)
    sockets = sound_server._sockets
    monkeypatch.setattr(
        sound_server, "_sockets", lambda: [path for path in sockets() if not path.is_relative_to("/run/user")]
    )


@contextmanager
def server(path: Path, *, listening: bool = True) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        if listening:
            made.listen()
        yield


def test_none_is_no_obstacle() -> None:
    assert sound_server.obstacle() is None


@pytest.mark.parametrize(
    ("variable", "value", "where"),
    [
        ("PULSE_SERVER", "unix:{}/s", "s"),
        ("PULSE_SERVER", "tcp:localhost {{machine}}{}/s", "s"),
        ("PULSE_RUNTIME_PATH", "{}", "native"),
        ("XDG_RUNTIME_DIR", "{}", "pulse/native"),
        ("XDG_RUNTIME_DIR", "{}", "pipewire-0"),
    ],
)
def test_a_server_of_our_own_that_answers_or_refuses(
    variable: str, value: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value.format(tmp_path))
    path = tmp_path / where
    with server(path):
        assert sound_server.obstacle() is None
    path.unlink()
    with server(path, listening=False):
        assert sound_server.obstacle() == (
            f"the sound server at {path} refuses connections (connection refused); start it again"
        )
    path.unlink()
    path.write_text("not a socket")
    assert sound_server.obstacle() is None


def test_a_server_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install_portaudio: Callable[..., Any]
) -> None:
    install_portaudio([], default=None)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    path = tmp_path / "pulse" / "native"
    with server(path):
        with pytest.raises(DeviceError, match="no microphone found; plug one in"):
            Microphone()
        uid = os.geteuid()
        monkeypatch.setattr("os.geteuid", lambda: uid + 1)
        with pytest.raises(DeviceError) as caught:
            Microphone()
        assert str(caught.value).startswith(f"no microphone found: the sound server at {path} belongs to ")
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root may give files away")
def test_the_command_says_whose_server_it_is(edgeemo: list[str], tmp_path: Path) -> None:
    path = tmp_path / "pulse" / "native"
    with server(
        path, listening=False
    ):  # PulseAudio's library would wait for minutes for one that says nothing
        os.chown(path, 12345, -1)
        done = subprocess.run(
            [*edgeemo, "listen", "--list-devices"],
            capture_output=True,
            text=True,
            env={**os.environ, "PULSE_SERVER": f"unix:{path}", "HOME": str(tmp_path)},
            check=False,
        )
    if "PortAudio is not installed" in done.stderr or done.returncode == 0:
        pytest.skip("no PortAudio here, or a microphone")
    assert done.stderr == (
        f"edgeemo: no microphone found: the sound server at {path} belongs to user 12345; "
        "run edgeemo as that user, or listen to a file with --file\n"
    )
