"""What systemd is told of the live loop: through a real socket, by the loop and by the whole command."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from edgeemo.cli import service as module
from edgeemo.cli.service import Service
from edgeemo.events import State, Status, Step, Why
from edgeemo.sources import AudioFile, Lost, Notice
from edgeemo.sources.tapped import Tapped

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX sockets")

UNIT = Path(__file__).parents[2] / "contrib" / "edgeemo.service"
WAIT_S = 60  # only so that something that hangs ends the test
BLOCK = np.zeros(960, np.float32)
NOTHING = BLOCK[:0]
NOW = datetime.now().astimezone()


class Manager:
    """The end of the socket that systemd holds."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.address = address

    def told(self) -> list[str]:
        """What has come since the last call, a string each."""
        found = []
        self.socket.setblocking(False)
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def wait_for(self, line: str) -> list[str]:
        """What comes, up to a message that has this line."""
        self.socket.settimeout(WAIT_S)
        found = []
        while line not in (found[-1] if found else "").split("\n"):
            found.append(self.socket.recv(4096).decode())
        return found


@pytest.fixture(
    params=["file", pytest.param("abstract", marks=pytest.mark.skipif(sys.platform != "linux", reason=""))]
)
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "file" else f"@edgeemo-test-{os.getpid()}"
    manager = Manager(address)
    yield manager
    manager.socket.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now_s = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s[0])
    return now_s


def step(label: str | None, reason: str | None = None) -> Step:
    return Step(
        time_s=1.0,
        utterance=1,
        paused=label is None,
        label=label,
        reason=reason,
        probabilities={},
        arousal=None,
        level_db=-30.0,
        peak=0.1,
        resample_ms=0.1,
        model_ms=0.1,
    )


def test_ready_once_the_microphone_delivers(manager: Manager, clock: list[float]) -> None:
    with Service(manager.address) as service:
        service.heard(NOTHING)
        assert manager.told() == ["EXTEND_TIMEOUT_USEC=30000000"]  # not there yet, but alive
        clock[0] += 1
        for heard in Notice(State.RECONNECTING, True, "away"), Lost(1.0, Why.STALLED):
            service.heard(heard)
        assert manager.told() == ["EXTEND_TIMEOUT_USEC=30000000"]
        service.heard(BLOCK)
        assert manager.told() == ["READY=1"]
        service.heard(BLOCK)
        assert manager.told() == []
    assert manager.told() == ["STOPPING=1"]


def test_alive_once_a_second_also_while_the_microphone_is_away(manager: Manager, clock: list[float]) -> None:
    with Service(manager.address) as service:
        service.heard(BLOCK)
        manager.told()
        for _ in range(100):  # 10 s of empty blocks
            clock[0] += 0.1
            service.heard(NOTHING)
        assert 9 <= manager.told().count("WATCHDOG=1") <= 10


def test_the_status_is_the_label_or_what_is_wrong(manager: Manager) -> None:
    with Service(manager.address) as service:
        service.take(step("happy"), NOW)
        service.take(step("happy"), NOW)
        assert manager.told() == ["STATUS=happy"]
        service.take(
            Status(time_s=1.0, state=State.RECONNECTING, active=True, text="the microphone\nis away"), NOW
        )
        service.take(step(None, "no speech"), NOW)
        assert manager.told() == ["STATUS=the microphone is away"]  # in one line, and it stays
        service.take(Status(time_s=1.0, state=State.MUTED, active=True, text="only zeros"), NOW)
        service.take(Status(time_s=2.0, state=State.RECONNECTING, active=False, text="back"), NOW)
        assert manager.told() == ["STATUS=the microphone is away; only zeros", "STATUS=only zeros"]
        service.take(Status(time_s=3.0, state=State.MUTED, active=False, text="sound again"), NOW)
        assert manager.told() == ["STATUS=no speech"]


def test_one_trouble_does_not_hide_another_of_its_kind(manager: Manager) -> None:
    with Service(manager.address) as service:
        for name, active in [("webhook", True), ("broker", True), ("broker", False)]:
            text = f"the {name} {'fails' if active else 'works again'}"
            service.take(
                Status(time_s=1.0, state=State.SINK, subject=f"the {name}", active=active, text=text), NOW
            )
        assert manager.told() == [
            "STATUS=the webhook fails",
            "STATUS=the webhook fails; the broker fails",
            "STATUS=the webhook fails",
        ]


def test_a_manager_that_is_gone_or_does_not_read_stops_nothing(manager: Manager, clock: list[float]) -> None:
    with Service(manager.address) as service:
        for i in range(10_000):  # more than the socket holds
            service.say(str(i))
        assert 1 <= len(manager.told()) < 10_000
        manager.socket.close()
        service.say("nobody hears")
    with Service(None) as service:
        service.heard(BLOCK)
        service.say("nobody asked")


def test_a_tapped_source_is_the_source(clip_48k: Path) -> None:
    source = AudioFile(clip_48k, realtime=False)
    heard: list[object] = []
    with Tapped(source, heard.append) as tapped:
        found = list(tapped.blocks())
        for name in "name", "kind", "sample_rate", "channels", "channel", "ended":
            assert getattr(tapped, name) == getattr(source, name)
    assert len(found) == 200
    assert all(one is other for one, other in zip(found, heard, strict=True))
    for i, _ in enumerate(tapped.blocks()):
        if i == 10:
            tapped.stop()
    assert (i, tapped.ended) == (10, "stopped")


def test_the_command_tells_how_it_is(edgeemo: list[str], manager: Manager) -> None:
    process = subprocess.Popen(
        [*edgeemo, "listen", "--sample"],
        env=os.environ | {"NOTIFY_SOCKET": manager.address},
        stdout=subprocess.DEVNULL,
    )
    begun = manager.wait_for("WATCHDOG=1")
    assert begun.index("READY=1") < len(begun) - 1
    assert "STATUS=no speech" in manager.wait_for("WATCHDOG=1") + begun
    process.send_signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    assert process.wait(WAIT_S) == 128 + signal.SIGTERM


def test_an_error_is_the_last_status(edgeemo: list[str], manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    env = os.environ | {"NOTIFY_SOCKET": manager.address, "PYTHONPATH": str(tmp_path)}
    assert subprocess.run([*edgeemo, "listen"], env=env, capture_output=True, timeout=WAIT_S).returncode == 4
    status, stopping = manager.told()
    assert status.startswith("STATUS=PortAudio is not installed")
    assert stopping == "STOPPING=1"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.skipif(not UNIT.is_file(), reason="no checkout")
def test_the_unit_is_one(tmp_path: Path) -> None:
    def verify(text: str) -> str:
        unit = tmp_path / "edgeemo.service"
        unit.write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )
        # Of other units on this machine, nothing.
        return "\n".join(line for line in done.stderr.splitlines() if "edgeemo" in line)

    text = UNIT.read_text().replace("/opt/edgeemo/bin/edgeemo", sys.executable)
    assert verify(text) == ""
    assert "Unknown key" in verify(text.replace("WatchdogSec", "WatchDogSec"))
