"""A real microphone without a sound card: a private PulseAudio, its null sink's monitor."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

WAIT_S = 60  # only so that something that hangs ends the test

MIC_PA = """\
load-module module-native-protocol-unix auth-anonymous=1
load-module module-null-sink sink_name=mic_sink rate=48000 channels=1
load-module module-remap-source source_name=virtual_mic master=mic_sink.monitor
set-default-source virtual_mic
"""
PROGRAMS = ["pulseaudio", "paplay", "pactl"]


class VirtualMicrophone:
    """A PulseAudio daemon of its own, in a folder of its own."""

    def __init__(self, home: Path) -> None:
        home.chmod(0o700)
        (home / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        (home / "mic.pa").write_text(MIC_PA)
        (home / "client.conf").write_text("autospawn = no\n")
        unwanted = ("PULSE_", "ALSA_", "DBUS_")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)} | {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "PULSE_CLIENTCONFIG": str(home / "client.conf"),
        }
        options = ["--daemonize=no", "--exit-idle-time=-1", "--disable-shm=1"]
        self.daemon = subprocess.Popen(
            ["pulseaudio", "-n", f"--file={home / 'mic.pa'}", *options],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: "virtual_mic" in self.pactl("list", "short", "sources"))

    def pactl(self, *arguments: str) -> str:
        command = ["pactl", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True).stdout

    def play(self, clip: Path) -> None:
        command = ["paplay", "-d", "mic_sink", str(clip)]
        subprocess.run(command, env=self.environment, check=True, timeout=WAIT_S)

    def kill(self) -> None:
        self.daemon.terminate()
        self.daemon.wait(WAIT_S)


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > end_s:
            raise TimeoutError(f"waited {WAIT_S} s")
        time.sleep(0.05)
