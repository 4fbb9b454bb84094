"""What is between this process and the sound: permissions, and a sound server."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from edgeemo.doctor.findings import Check, Finding, Verdict
from edgeemo.sources.sound_server import look

_CARDS = Path("/dev/snd")
_CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))


def examine_sound() -> Iterator[Finding]:
    """The findings on permissions and on the sound server; none but on Linux."""
    if sys.platform != "linux":
        return
    server, obstacle = look()
    if obstacle is not None:
        # It may let this user in nevertheless: whether it does, the microphones tell.
        yield Finding.of(Check.SOUND_SERVER, Verdict.WARNING, obstacle, socket=str(server))
    elif server is None:
        found = "none found; PortAudio asks the sound cards themselves"
        yield Finding(check=Check.SOUND_SERVER, verdict=Verdict.OK, found=found, facts={"socket": None})
    else:
        untold = (
            "" if shutil.which("pactl") else "; to be told what it records from: apt install pulseaudio-utils"
        )
        yield Finding.of(Check.SOUND_SERVER, Verdict.OK, f"answers at {server}{untold}", socket=str(server))
    yield _permissions(_CARDS, reaches_server=server is not None and obstacle is None)


def _permissions(folder: Path, *, reaches_server: bool) -> Finding:
    """Whether this user may record from the sound cards.

    Args:
        folder: of the cards' nodes.
        reaches_server: then no card has to be readable.
    """
    wanting = Verdict.OK if reaches_server else Verdict.WARNING
    container = in_container()
    nodes = sorted(folder.glob("pcm*c"))
    denied = [node for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
    facts = {"container": container, "nodes": len(nodes), "denied": len(denied)}
    mend = None
    if denied:
        found = f"{len(denied)} of {len(nodes)} sound cards may not be recorded from by this user"
        mend = f"sudo usermod -aG audio {_user()}, then log in again"
        wanting = Verdict.WARNING if reaches_server else Verdict.PROBLEM
    elif nodes:
        found, wanting = f"{len(nodes)} sound cards may be recorded from", Verdict.OK
    else:
        found = f"no sound card that records in {folder}"
        if container and not reaches_server:
            found += ", in a container"
            mend = "start it with --device /dev/snd --group-add audio, or with the sound server's socket"
    return Finding(check=Check.PERMISSIONS, verdict=wanting, found=found, mend=mend, facts=facts)


def in_container() -> bool:
    """Whether this is known to be a container."""
    return "container" in os.environ or any(path.exists() for path in _CONTAINER_FILES)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in containers
        return f"$(id -un {os.geteuid()})"
