"""What an examination finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self


class Check(StrEnum):
    """What is examined."""

    EDGEEMO = "edgeemo"
    PROCESSOR = "processor"
    MEMORY = "memory"
    DISK = "disk"
    RUNTIME = "onnxruntime"
    MODELS = "models"
    STEP = "step"
    PERMISSIONS = "permissions"
    SOUND_SERVER = "sound server"
    PORTAUDIO = "PortAudio"
    MICROPHONE = "microphone"


class Verdict(StrEnum):
    """How something is."""

    OK = "ok"
    WARNING = "warning"
    """It may be what is wanted, or not."""
    PROBLEM = "problem"
    """It keeps edgeemo from running, or this microphone from being listened to."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one thing.

    Attributes:
        check: what it is of.
        verdict: how it is.
        found: what was found, for a person.
        mend: what mends it, with the command; None where nothing has to be.
        facts: the same for a program: names with their units, and values that JSON has.
    """

    check: Check
    verdict: Verdict
    found: str
    mend: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, check: Check, verdict: Verdict, text: str, **facts: Any) -> Self:
        """From a line of the kind that this project's errors are: what was found, a semicolon, what to do."""
        found, _, mend = " ".join(text.split()).partition("; ")
        return cls(check=check, verdict=verdict, found=found, mend=mend or None, facts=facts)

    def to_dict(self) -> dict[str, Any]:
        """What JSON keeps."""
        return dataclasses.asdict(self)
