"""Which source a sound server records from for this process: it may change that without a word.

PulseAudio and PipeWire move a stream to another source when its own goes away. PortAudio is not told. `pactl`, which
comes with either, tells; where it is not installed, nothing is known.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
from typing import Any

from edgeemo.events import State
from edgeemo.sources.source import Notice

_TIMEOUT_S = 3.0


class SourceWatch:
    """Follows which source this process records from."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._first: str | None = None
        self._now: str | None = None
        self._notices: list[Notice] = []

    def start(self) -> None:
        """Listen to the sound server, or to the one that has taken its place."""
        self.stop()
        if shutil.which("pactl") is None:
            return
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                ["pactl", "subscribe"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            threading.Thread(target=self._follow, args=(self._process,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def notices(self) -> list[Notice]:
        """What is to be told since the last call."""
        if not self._notices:  # nearly always, and the loop asks with each block
            return []
        with self._lock:
            found, self._notices = self._notices, []
        return found

    def _follow(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._look()
        with process.stdout:
            for line in process.stdout:
                if "source-output" in line:
                    self._look()

    def _look(self) -> None:
        now = recorded_from()
        if now is None or now == self._now:
            return
        with self._lock:
            before, self._now = self._now, now
            self._first = self._first or now
            if before is not None:
                moved = now != self._first
                text = f"the sound server records from {now!r} now"
                self._notices.append(
                    Notice(
                        State.OTHER_DEVICE,
                        moved,
                        text + (f", not from {self._first!r}" if moved else ", as at first"),
                    )
                )


def recorded_from() -> str | None:
    """The description of the source that this process records from; None where that is not known."""
    own = str(os.getpid())
    for output in _listed("source-outputs"):
        if output.get("properties", {}).get("application.process.id") == own:
            for source in _listed("sources"):
                if source.get("index") == output.get("source"):
                    return str(source.get("description") or source.get("name"))
    return None


def _listed(what: str) -> list[dict[str, Any]]:
    try:
        found = subprocess.run(
            ["pactl", "--format=json", "list", what], capture_output=True, timeout=_TIMEOUT_S, check=True
        )
        listed = json.loads(found.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
