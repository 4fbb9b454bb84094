"""What the live loop yields: typed events, and the JSON form that programs read (schema 1).

A stream is a `Start`, then a `Step` for each step of the model, an `Utterance` after each of them, a `Gap` where
audio is missing, a `Status` where something is wrong with what is heard, and an `End`. `docs/events.md` describes the
JSON lines, `events.schema.json` beside this file is their JSON Schema.

`time_s` is a position in the stream: seconds of audio since its start, heard or missing. It depends on no clock.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgeemo.answer import Answer

SCHEMA = 1
"""Version of the JSON form: a key may be added within a version, never changed or taken away."""
SCHEMA_PATH = Path(__file__).resolve().parent / "events.schema.json"

_DIGITS = 6


class Why(StrEnum):
    """Why audio is missing."""

    SLOW_LOOP = "slow loop"
    """Whoever takes the events was too slow: the oldest of what waited was dropped."""
    OVERFLOW = "overflow"
    """The sound system reported that it lost audio."""
    STALLED = "stalled"
    """The sound system delivered nothing for a while: it was suspended, moved to another source, or this process was
    stopped."""
    RECONNECTED = "reconnected"
    """The microphone went away, and was opened again."""
    NOT_FINITE = "not finite"
    """The samples were not numbers."""


class State(StrEnum):
    """What is wrong with what is heard, or right again."""

    RECONNECTING = "reconnecting"
    """The microphone is away."""
    RECONNECTED = "reconnected"
    """It is back; active: it is another one than at the start."""
    OTHER_DEVICE = "other device"
    MUTED = "muted"
    CLIPPED = "clipped"
    CONSTANT = "constant"
    TOO_QUIET = "too quiet"
    CHANNEL_DEAD = "channel dead"
    CHANNELS_CANCEL = "channels cancel"
    SINK = "sink"
    """A receiver of events fails, or works again."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that the live loop tells.

    Attributes:
        name: of its kind, as in the JSON form.
        time_s: where in the stream it was told.
    """

    name: ClassVar[str] = ""

    time_s: float

    def to_dict(self, at: datetime | None = None) -> dict[str, Any]:
        """Its JSON form: one object, whose numbers have six digits.

        Args:
            at: when it was told, with its time zone; None leaves the key `time` out.
        """
        head = {"event": self.name} | ({} if at is None else {"time": at.isoformat(timespec="milliseconds")})
        values = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata.get("json", True)
        }
        return head | {"time_s": _plain(values.pop("time_s"))} | {key: _plain(v) for key, v in values.items()}


@dataclass(frozen=True, kw_only=True)
class Start(Event):
    """The stream begins.

    Attributes:
        schema: version of the JSON form.
        version: of edgeemo.
        model: its variant's name.
        graph_sha256: of the model's graph.
        source: name of the microphone or file.
        kind: `microphone` or `file`.
        sample_rate: Hz that the source captures at.
        channels: what the source captures.
        channel: the one that is listened to, from 1; None: the mean of all.
        labels: in the model's order.
        step_s: seconds between steps.
        delay_s: what a step says is of the audio up to so long before its end: of a model that looks ahead; else 0.
        settings: what was chosen: `temperature`, `unsure_below`, `needs_voice`, `smooth`.
    """

    name: ClassVar[str] = "start"

    schema: int = SCHEMA
    version: str
    model: str
    graph_sha256: str
    source: str
    kind: str
    sample_rate: int
    channels: int
    channel: int | None
    labels: tuple[str, ...]
    step_s: float
    delay_s: float
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Step(Event, Answer):
    """One step of the model: an `Answer`, and what it is of.

    Attributes:
        time_s: where in the stream the step ends.
        utterance: number of the utterance that the step belongs to, counting the pause after it: 0 before the first,
            then 1 and so on. `edgeemo.voice` has the rule, for models that judge any sound `edgeemo.utterances`.
        paused: True where nobody speaks: for the length of a pause, or not yet.
        label: the most probable emotion; None where none is named.
        reason: why there is no label: `no speech` (of models that judge any sound: `quiet`) in a pause; `unsure`,
            where none is probable enough.
        probabilities, arousal: as in `Answer`; no probabilities where nobody speaks, since the model does not run.
        level_db: RMS of the step's audio, in dB re full scale; -120 at least.
        peak: its largest absolute value.
        resample_ms: time spent resampling since the step before.
        model_ms: time spent in the model, including the front end and the search for utterances.
    """

    name: ClassVar[str] = "step"

    utterance: int
    paused: bool
    level_db: float
    peak: float
    resample_ms: float
    model_ms: float

    @property
    def latency_ms(self) -> float:
        """What computing this step cost: `resample_ms + model_ms`."""
        return self.resample_ms + self.model_ms


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A moment of an utterance at which another label was shown, or none.

    Attributes:
        time_s: where in the stream.
        label: from then on; None: `unsure`.
    """

    time_s: float
    label: str | None


@dataclass(frozen=True, kw_only=True)
class Utterance(Event, Answer):
    """What somebody said between two pauses: an `Answer` about all of it. It is told once it is over.

    Attributes:
        utterance: its number, from 1.
        start_s: where it begins, with what was said before a voice was certain.
        end_s: where its last voice ends.
        label, reason, probabilities, arousal: of the whole; what `classify` says of it.
        evolution: what its steps said, a `Turn` each time that changed.
        cut: whether it ends here for another reason than a pause: it became too long, audio is missing, or the stream
            ended.
        audio: mono float32 at the model's rate, from `start_s`, shape `(n_samples,)`; None unless it is kept.
    """

    name: ClassVar[str] = "utterance"

    utterance: int
    start_s: float
    end_s: float
    evolution: tuple[Turn, ...]
    cut: bool
    audio: npt.NDArray[np.float32] | None = field(
        default=None, repr=False, compare=False, metadata={"json": False}
    )


@dataclass(frozen=True, kw_only=True)
class Gap(Event):
    """Audio is missing. What comes after it is heard afresh, as at the start of a stream.

    Attributes:
        time_s: where in the stream it ends.
        start_s: where it begins.
        length_s: how much is missing.
        why: `slow loop`, `overflow`, `stalled`, `reconnected` or `not finite`.
    """

    name: ClassVar[str] = "gap"

    start_s: float
    length_s: float
    why: Why


@dataclass(frozen=True, kw_only=True)
class Status(Event):
    """Something is wrong with what is heard, or right again.

    Attributes:
        state: what.
        subject: which of several it is of, such as one of several sinks; None where there is one alone. A later
            status of the same `state` and `subject` takes the place of this one.
        active: whether it is so now; False: it is over.
        text: for a person, in one line: what was found, and what to do.
    """

    name: ClassVar[str] = "status"

    state: State
    subject: str | None = None
    active: bool
    text: str

    @property
    def key(self) -> tuple[State, str | None]:
        """What it is about: what is wrong now are the last statuses of each key that are active."""
        return self.state, self.subject


@dataclass(frozen=True, kw_only=True)
class End(Event):
    """The stream ends. `heard_s + gap_s` is `time_s`.

    Attributes:
        reason: `stopped`, `end of file`, `seconds` (what was asked for), or the error that ended it.
        heard_s: seconds of audio that were heard.
        gap_s: seconds that are missing.
        n_gaps: in how many gaps.
        n_steps: steps of the model.
        n_utterances: utterances.
        label_steps: label -> in how many steps it was named.
        n_unsure: in how many steps none was probable enough.
        flips_per_minute: how often the label changed within utterances, per minute of what was judged.
        latency_p50_ms, latency_p99_ms: of a step; None without any.
        real_time_factor: processing time / audio that was heard; None without a step.
    """

    name: ClassVar[str] = "end"

    reason: str
    heard_s: float
    gap_s: float
    n_gaps: int
    n_steps: int
    n_utterances: int
    label_steps: Mapping[str, int]
    n_unsure: int
    flips_per_minute: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    real_time_factor: float | None


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return str(value) if isinstance(value, StrEnum) else value
