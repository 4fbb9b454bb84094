"""The whole examination."""

from __future__ import annotations

from collections.abc import Iterator

from edgeemo.doctor.findings import Finding
from edgeemo.doctor.machine import examine_machine
from edgeemo.doctor.microphones import examine_microphones
from edgeemo.doctor.models import examine_models
from edgeemo.doctor.sound import examine_sound


def examine() -> Iterator[Finding]:
    """Find out whether this machine can run edgeemo: one finding after the other, as they are made.

    Each input device is opened for half a second, and closed again. One that hangs is left to a thread of its own
    (`hangs` in its facts), which PortAudio may wait for when the process ends by itself.
    """
    yield from examine_machine()
    yield from examine_models()
    yield from examine_sound()
    yield from examine_microphones()
