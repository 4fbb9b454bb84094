"""Why a sound server (PulseAudio, PipeWire) shows no devices: it may belong to another user, or refuse."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_TIMEOUT_S = 0.5
_USERS = "/run/user/"


def obstacle() -> str | None:
    """What keeps this process from the sound server, and what to do; None where nothing is known to."""
    return look()[1]


def look() -> tuple[Path | None, str | None]:
    """The sound server that this process uses, and what keeps it from that.

    Returns:
        its socket, or None where none is known; and an obstacle, such as `the sound server at
        /run/user/1000/pulse/native belongs to the user pi; run edgeemo as that user`, or None where nothing is known
        to be one.
    """
    if not hasattr(os, "geteuid"):  # no such sockets there
        return None, None
    for path in _sockets():
        try:
            facts = path.stat()
        except PermissionError:
            if str(path).startswith(_USERS):  # of others, whose servers concern nobody else
                continue
            return (
                path,
                f"this user may not look for the sound server at {path}; run edgeemo as the user who may",
            )
        except OSError:
            continue
        if not stat.S_ISSOCK(facts.st_mode):
            continue
        if facts.st_uid != os.geteuid():
            return (
                path,
                f"the sound server at {path} belongs to {_user(facts.st_uid)}; run edgeemo as that user",
            )
        if (reason := _refusal(path)) is not None:
            return path, f"the sound server at {path} refuses connections ({reason}); start it again"
        return path, None
    return None, None


def _sockets() -> Iterator[Path]:
    """Where a sound server may be reached: what the environment names, then this user's, then other users'."""
    for server in os.environ.get("PULSE_SERVER", "").split():
        name = server.rpartition("}")[2]  # after the name of a machine, in braces
        if name.startswith(("unix:", "/")):
            yield Path(name.removeprefix("unix:"))
    if folder := os.environ.get("PULSE_RUNTIME_PATH"):
        yield Path(folder) / "native"
    own = f"{_USERS}{os.geteuid()}"
    for runtime in os.environ.get("XDG_RUNTIME_DIR"), own, *sorted(map(str, Path(_USERS).glob("*"))):
        if runtime:
            yield Path(runtime) / "pulse" / "native"
            yield Path(runtime) / "pipewire-0"


def _refusal(path: Path) -> str | None:
    import socket  # loaded only where there is no microphone: every start would pay for it

    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(os.fsencode(path))
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def _user(uid: int) -> str:
    import pwd

    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
