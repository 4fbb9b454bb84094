"""What travels inside a model file: one JSON value under one key of ONNX `metadata_props`.

Anything that can read `metadata_props` can read it; the device reads it with onnxruntime alone.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from edgeemo import limits
from edgeemo.answer import Judgement
from edgeemo.errors import ModelError
from edgeemo.evidence import Parity, Quantization, ScoreRow, Training, Verdict
from edgeemo.features import Features
from edgeemo.records import Record

KEY = "edgeemo"
CHECKSUM_KEY = "edgeemo_graph_sha256"
"""Beside it: the SHA-256 of the graph's bytes, by which a damaged file is known. Older files have none."""
FORMAT = 1


class Kind(StrEnum):
    """What a model classifies."""

    AUDIO = "audio"
    IMAGE = "image"


class Mode(StrEnum):
    """What one run of a graph computes: a whole window, or the new audio of a stream alone."""

    WINDOW = "window"
    STREAM = "stream"


class Precision(StrEnum):
    """How the weights are stored, and in int8 also how most operators compute."""

    FP32 = "fp32"
    INT8 = "int8"
    FP16 = "fp16"


@dataclass(frozen=True, kw_only=True)
class State(Record):
    """What a stream graph carries from one step to the next: the graph input `name`, and the output `name_next`.

    Every state is float32 and zero at the start: a causal network's zero padding.

    Attributes:
        name: of the graph input.
        shape: of input and output.
        holds: what it is, for a person, such as "2 frames before conv2d".
        lasting: whether it is of the microphone and the voice, and kept when a new utterance begins.
        voice: whether it is lasting, and of the voice alone: what `edgeemo enrol` learns.
    """

    name: str
    shape: tuple[int, ...]
    holds: str
    lasting: bool = False
    voice: bool = False

    @property
    def next_name(self) -> str:
        """Name of the graph output that is the next step's input."""
        return f"{self.name}_next"


_OPTIONAL = ("training", "parity", "quantization", "verdict", "judgement")
"""Fields of which a file has an empty table where there is nothing to say."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts(Record, ABC):
    """What every model file says of itself, whatever its model takes.

    Attributes:
        name: the recipe's name, such as `cnn_lstm`.
        summary: one line on the architecture.
        labels: class names, in the order of the probabilities.
        n_parameters: weights of the network (the front end has none).
        licence: terms of the weights.
        precision: how the weights are stored.
        training: how the weights were made; None where that is unknown.
        scores: what was measured of the weights, the headline first.
        parity: how far the graph is from its source model.
        quantization: of int8: which nodes stayed float, and what was measured.
        verdict: the export gate's; None where the variant was not judged.
        tools: versions of the libraries that made the file.
        format: version of this structure.
    """

    name: str
    summary: str
    labels: tuple[str, ...]
    n_parameters: int
    licence: str
    precision: Precision = Precision.FP32
    training: Training | None = None
    scores: tuple[ScoreRow, ...] = ()
    parity: Parity | None = None
    quantization: Quantization | None = None
    verdict: Verdict | None = None
    tools: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """What the model classifies."""

    @property
    @abstractmethod
    def mode(self) -> Mode:
        """What one run of the graph computes."""

    @property
    @abstractmethod
    def states(self) -> tuple[State, ...]:
        """What the graph carries from one run to the next."""

    @property
    @abstractmethod
    def variant(self) -> str:
        """The file's name without its suffix."""

    @property
    @abstractmethod
    def takes(self) -> str:
        """What it classifies at once, for a person."""

    def to_dict(self) -> dict[str, Any]:
        """As `Record.to_dict`, with an empty table where there is nothing to say."""
        return {name: {} if value is None else value for name, value in super().to_dict().items()}

    @classmethod
    def from_dict(cls, values: object, *, name: str = "") -> Self:
        """As `Record.from_dict`, of what `to_dict` gave."""
        if isinstance(values, dict):
            values = {key: None if key in _OPTIONAL and v == {} else v for key, v in values.items()}
        return super().from_dict(values, name=name)

    def to_json(self) -> str:
        """The value to store under `KEY`."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def check(self) -> None:
        """Refuse what no model can be.

        Raises:
            ValueError: one line: what is wrong.
        """
        for ok, problem in self._checks():
            if not ok:
                raise ValueError(problem)

    def _checks(self) -> list[tuple[bool, str]]:
        """What must hold, and the problem where it does not."""
        return [
            (len(self.labels) >= 2, "fewer than two labels"),
            (len(set(self.labels)) == len(self.labels), "a label occurs twice"),
            (
                len(self.labels) <= limits.MAX_LABELS,
                f"{len(self.labels)} labels, expected at most {limits.MAX_LABELS}",
            ),
            (
                max(map(len, self.labels), default=0) <= limits.MAX_LABEL_CHARS,
                f"a label of {max(map(len, self.labels), default=0)} characters, expected at most "
                f"{limits.MAX_LABEL_CHARS}",
            ),
        ]


@dataclass(frozen=True, kw_only=True)
class Metadata(ModelFacts):
    """Everything a device, or a person, needs to know of the file of a model of audio.

    Attributes:
        mode: `window`: each step recomputes `window_samples` of audio. `stream`: each step computes
            `step_samples` of new audio and carries `states`.
        window_samples: samples of audio that the network was trained on, and that a window graph takes.
        step_samples: new samples between two inferences of the live loop, and what a stream graph takes.
        states: of a stream graph, in the order of its inputs after `audio`.
        features: the front end's settings.
        judgement: how probabilities become an answer; None in older files.
        delay_ms: of a stream graph of a network that looks ahead: an answer is of the audio up to so long before
            the end of its step, in whole steps. Left out of a file where it is 0.
    """

    window_samples: int
    step_samples: int
    features: Features
    mode: Mode = Mode.WINDOW
    states: tuple[State, ...] = ()
    judgement: Judgement | None = None
    delay_ms: float = 0.0

    @property
    def delay_samples(self) -> int:
        """The delay of a stream's answers, in samples."""
        return round(self.delay_ms * self.features.sample_rate / 1000)

    @property
    def delay_s(self) -> float:
        """The delay of a stream's answers, in seconds."""
        return self.delay_ms / 1000

    def to_dict(self) -> dict[str, Any]:
        """As `ModelFacts.to_dict`, without a delay where there is none."""
        values = super().to_dict()
        return values if self.delay_ms else {key: v for key, v in values.items() if key != "delay_ms"}

    @property
    def kind(self) -> Kind:
        """What the model classifies: audio."""
        return Kind.AUDIO

    @property
    def variant(self) -> str:
        """The file's name without its suffix: `cnn_lstm.window`, `cnn_lstm.stream.int8`."""
        return variant_name(self.name, self.mode, self.precision)

    @property
    def learns(self) -> bool:
        """Whether it learns what a voice usually sounds like: whether there are lasting states."""
        return any(state.lasting for state in self.states)

    @property
    def window_s(self) -> float:
        """Seconds of audio in one inference."""
        return self.window_samples / self.features.sample_rate

    @property
    def step_s(self) -> float:
        """Seconds of audio between two inferences of the live loop."""
        return self.step_samples / self.features.sample_rate

    @property
    def late_s(self) -> float:
        """Seconds by which a stream hears a frame later than a window of its front end has it."""
        return self.features.delay_samples / self.features.sample_rate if self.mode is Mode.STREAM else 0.0

    @property
    def takes(self) -> str:
        """What it classifies at once, for a person: `3.2 s`."""
        return f"{self.window_s:g} s"

    @classmethod
    def from_json(cls, text: str, *, source: str) -> Metadata:
        """`read_metadata`, where only a model of audio will do.

        Raises:
            ModelError: as `read_metadata`, or it is of another kind.
        """
        metadata = read_metadata(text, source=source)
        if isinstance(metadata, ImageMetadata):
            raise ModelError(
                f"{source}: an image model of {metadata.takes} pixels; `edgeemo bench` and `edgeemo info` take it, "
                "listen and classify need one of audio"
            )
        return metadata

    def _checks(self) -> list[tuple[bool, str]]:
        return [
            *super()._checks(),
            (
                0 < self.step_samples <= self.window_samples,
                f"a step of {self.step_samples} samples, expected 1 to the window's {self.window_samples}",
            ),
            (
                self.mode is Mode.STREAM or self.window_samples >= self.features.least_samples,
                f"a window of {self.window_samples} samples, expected at least {self.features.least_samples}",
            ),
            (
                self.step_samples % self.features.hop_samples == 0,
                f"a step of {self.step_samples} samples is not a multiple of the hop",
            ),
            (
                0 <= self.delay_samples <= self.window_samples
                and self.delay_samples % max(self.step_samples, 1) == 0,
                f"a delay of {self.delay_ms:g} ms, expected whole steps, at most the window",
            ),
            (
                self.window_samples <= limits.MAX_ELEMENTS,
                f"a window of {self.window_samples} samples, expected at most {limits.MAX_ELEMENTS}",
            ),
            (
                self.window_samples <= self.step_samples * limits.MAX_WINDOW_STEPS,
                f"a step of {self.step_samples} samples in a window of {self.window_samples}, expected at most "
                f"{limits.MAX_WINDOW_STEPS} steps in a window",
            ),
            (
                len(self.states) <= limits.MAX_STATES,
                f"{len(self.states)} states, expected at most {limits.MAX_STATES}",
            ),
            (
                all(
                    min(state.shape, default=1) >= 1 and math.prod(state.shape) <= limits.MAX_ELEMENTS
                    for state in self.states
                ),
                f"a state that is not from 1 to {limits.MAX_ELEMENTS} numbers",
            ),
        ]


@dataclass(frozen=True, kw_only=True)
class ImageMetadata(ModelFacts):
    """Likewise of a model of grey images: of the published comparisons that were made over images, not speech.

    Attributes:
        height, width: pixels.
    """

    height: int
    width: int

    @property
    def kind(self) -> Kind:
        """What the model classifies: images."""
        return Kind.IMAGE

    @property
    def mode(self) -> Mode:
        """What one run of the graph computes: a whole image."""
        return Mode.WINDOW

    @property
    def states(self) -> tuple[State, ...]:
        """What is carried from one image to the next: nothing."""
        return ()

    @property
    def variant(self) -> str:
        """The file's name without its suffix: there is one variant."""
        return self.name

    @property
    def takes(self) -> str:
        """What it classifies at once, for a person: `28 x 28`."""
        return f"{self.height} x {self.width}"

    def to_dict(self) -> dict[str, Any]:
        """As `ModelFacts.to_dict`, with the kind, which the files of audio models do not name."""
        return {**super().to_dict(), "kind": str(self.kind)}

    @classmethod
    def from_json(cls, text: str, *, source: str) -> ImageMetadata:
        """`read_metadata`, where only a model of images will do.

        Raises:
            ModelError: as `read_metadata`, or it is of another kind.
        """
        metadata = read_metadata(text, source=source)
        if isinstance(metadata, Metadata):
            raise ModelError(f"{source}: a model of audio ({metadata.takes}); expected one of images")
        return metadata

    def _checks(self) -> list[tuple[bool, str]]:
        return [
            *super()._checks(),
            (
                1 <= self.height <= limits.MAX_IMAGE_SIDE and 1 <= self.width <= limits.MAX_IMAGE_SIDE,
                f"images of {self.takes} pixels, expected sides of 1 to {limits.MAX_IMAGE_SIDE}",
            ),
        ]


@dataclass(frozen=True, kw_only=True)
class _Header(Record):
    """What says how to read the rest."""

    format: int
    kind: str = Kind.AUDIO


_CLASSES: dict[str, type[Metadata] | type[ImageMetadata]] = {Kind.AUDIO: Metadata, Kind.IMAGE: ImageMetadata}


def variant_name(name: str, mode: Mode, precision: Precision) -> str:
    """What a variant of the model `name` is called: `cnn_lstm.window`, `cnn_lstm.stream.int8`."""
    return ".".join([name, mode] + ([precision] if precision != Precision.FP32 else []))


def read_metadata(text: str, *, source: str) -> Metadata | ImageMetadata:
    """Parse and check the value stored under `KEY`; fields that this version does not know are ignored.

    Args:
        text: the JSON text.
        source: the file it came from, for the message.

    Raises:
        ModelError: it is not JSON, is of another format or an unknown kind, or a field is missing or impossible.
    """
    try:
        values = _parsed(text)
        header = _Header.from_dict(values)
        if header.format != FORMAT:
            raise ModelError(
                f"{source}: model format {header.format}, this edgeemo reads format {FORMAT}; "
                "update edgeemo, or export the model again"
            )
        if header.kind not in _CLASSES:
            raise ModelError(
                f"{source}: a model of the kind {reprlib.repr(header.kind)}, this edgeemo knows "
                f"{', '.join(_CLASSES)}; update edgeemo"
            )
        metadata = _CLASSES[header.kind].from_dict(values)
        metadata.check()
    except ValueError as error:
        raise ModelError(f"{source}: broken edgeemo metadata ({error}); export the model again") from error
    return metadata


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a text must not have: it would move a terminal's cursor, turn the writing around, or not be text at all."""


def _parsed(text: str) -> Any:
    """JSON as values.

    Raises:
        ValueError: one line: not JSON, or beyond a limit: nested too deep, a number that is too large or none, a text
            that is too long or has control characters.
    """
    try:
        values = json.loads(text, parse_float=_real, parse_int=_whole, parse_constant=_real)
    except RecursionError:
        raise ValueError(f"tables in tables, deeper than {limits.MAX_DEPTH}") from None
    todo = [(values, 0)]
    while todo:
        value, depth = todo.pop()
        if depth > limits.MAX_DEPTH:
            raise ValueError(f"tables in tables, deeper than {limits.MAX_DEPTH}")
        if isinstance(value, dict):
            todo += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list):
            todo += [(part, depth + 1) for part in value]
        elif isinstance(value, str):
            if len(value) > limits.MAX_TEXT_CHARS:
                raise ValueError(
                    f"a text of {len(value)} characters, expected at most {limits.MAX_TEXT_CHARS}"
                )
            if _CONTROL.search(value):
                raise ValueError(f"a text with control characters, {reprlib.repr(value)}")
    return values


def _real(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"the number {text[:20]}, expected a finite one")
    return value


def _whole(text: str) -> int:
    value = int(text) if len(text) < 20 else limits.MAX_INTEGER + 1
    if abs(value) > limits.MAX_INTEGER:
        raise ValueError(f"the number {text[:20]}, expected at most {limits.MAX_INTEGER}")
    return value
