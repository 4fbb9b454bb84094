"""A microphone without a sound card: a PulseAudio of its own, whose null sink's monitor is the source."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAIT_S = 90  # only so that something that hangs ends the test
PROGRAMS = ["pulseaudio", "paplay", "pactl"]


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it holds.

    Raises:
        TimeoutError: it does not.
    """
    end_s = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > end_s:
            raise TimeoutError(f"waited {WAIT_S} s")
        time.sleep(0.05)


class VirtualMicrophone:
    """A PulseAudio daemon of its own, in a folder of its own, with the source `virtual_mic`.

    Args:
        home: an empty folder.
        channels: of the source.
        started: whether the daemon runs at once.
    """

    def __init__(self, home: Path, *, channels: int = 1, started: bool = True) -> None:
        home.chmod(0o700)
        (home / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        (home / "mic.pa").write_text("load-module module-native-protocol-unix auth-anonymous=1\n")
        (home / "client.conf").write_text("autospawn = no\n")
        unwanted = ("PULSE_", "ALSA_", "DBUS_")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)} | {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "PULSE_CLIENTCONFIG": str(home / "client.conf"),
        }
        self._home, self._channels = home, channels
        self.daemon: subprocess.Popen[bytes] | None = None
        if started:
            self.start()

    def start(self) -> None:
        """Start the daemon, with the microphone plugged in."""
        options = ["--daemonize=no", "--exit-idle-time=-1", "--disable-shm=1"]
        self.daemon = subprocess.Popen(
            ["pulseaudio", "-n", f"--file={self._home / 'mic.pa'}", *options],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: "module-native-protocol-unix" in self.pactl("list", "short", "modules"))
        self.plug_in()

    def plug_in(self) -> None:
        """Plug the microphone in."""
        self.load("module-null-sink", "sink_name=mic_sink", "rate=48000", f"channels={self._channels}")
        self.load("module-remap-source", "source_name=virtual_mic", "master=mic_sink.monitor")
        self.pactl("set-default-source", "virtual_mic")
        wait_for(lambda: "virtual_mic" in self.pactl("list", "short", "sources"))

    def unplug(self) -> None:
        """Unplug it."""
        self.pactl("unload-module", "module-null-sink")  # and with it the source made of its monitor

    def load(self, *module: str) -> None:
        """Load a module."""
        self.pactl("load-module", *module)

    def pactl(self, *arguments: str) -> str:
        """What `pactl` prints."""
        command = ["pactl", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True).stdout

    def play(self, clip: Path) -> None:
        """Play a file into the microphone, and wait for its end."""
        command = ["paplay", "-d", "mic_sink", str(clip)]
        subprocess.run(command, env=self.environment, check=True, timeout=WAIT_S)

    def kill(self) -> None:
        """End the daemon."""
        if self.daemon is not None:
            self.daemon.terminate()
            self.daemon.wait(WAIT_S)
            self.daemon = None


class Listening:
    """`edgeemo listen --json` as a process, its lines read as they come.

    Args:
        command: `edgeemo`.
        microphone: to listen to.
        arguments: of `listen`.
    """

    def __init__(self, command: list[str], microphone: VirtualMicrophone, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*command, "listen", "--json", *arguments],
            env=microphone.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, Any]] = []
        self.errors = ""
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The lines of a kind of event so far."""
        return [line for line in self.lines if line["event"] == kind]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The steps so far."""
        return self.events("step")

    def wait_for_steps(self, n: int) -> None:
        """Wait for `n` more steps."""
        wanted = len(self.steps) + n
        self.wait_for(lambda: len(self.steps) >= wanted)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds; fail if the process ends before."""
        wait_for(lambda: condition() or self.process.poll() is not None)
        assert condition(), self.end()

    def wait_for_status(self, state: str, *, active: bool) -> dict[str, Any]:
        """Wait until a state is told."""

        def found() -> list[dict[str, Any]]:
            return [s for s in self.events("status") if (s["state"], s["active"]) == (state, active)]

        self.wait_for(lambda: bool(found()))
        return found()[-1]

    def end(self, number: int | None = None) -> tuple[int, str]:
        """The exit code and what stderr says, once the process has ended, by itself or by a signal."""
        if number is not None:
            self.process.send_signal(number)
        for reader in self._readers:
            reader.join(WAIT_S)
        return self.process.wait(WAIT_S), self.errors

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.end()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
