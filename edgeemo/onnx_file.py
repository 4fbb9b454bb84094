"""Reading an ONNX file as far as it must be known before onnxruntime is trusted with it: strict, in Python alone.

The protobuf wire format is a list of fields, each a number and a value. A message inside a message is a field whose
value is bytes; onnx.proto says which fields are messages, and what their numbers mean. No function here calls itself:
graphs inside nodes are refused, so that no file decides how deep the reading goes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeemo.limits import MAX_FIELDS, MAX_METADATA_BYTES, MAX_NAME_CHARS, MAX_NODES

Numbers = npt.NDArray[np.int64] | npt.NDArray[np.float64]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TYPES = {1: "<f4", 6: "<i4", 7: "<i8", 11: "<f8"}
"""TensorProto.DataType -> the type of constants whose values are read."""
_MAX_RANK = 16
_SMALL = 1 << 16
"""Bytes of a constant whose values are read: sizes and axes are a few numbers."""
_NOT_ONNX = "it is not in ONNX's format"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node of a graph.

    Attributes:
        operator: with its domain, where that is not the standard one: `Conv`, `com.microsoft.QLinearAdd`.
        inputs: names of values; empty where an optional one is left out.
        integers: attributes that are whole numbers, or lists of them.
    """

    operator: str
    inputs: tuple[str, ...]
    integers: dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """What a file says, as far as it is read here.

    Attributes:
        opsets: domain -> version.
        metadata: key -> text.
        nodes: of the graph, in the file's order.
        inputs: of the graph: name -> shape, with 0 for an open dimension.
        constants: name -> values, of constants that are a few numbers.
        graph: its bytes.
    """

    opsets: dict[str, int]
    metadata: dict[str, str]
    nodes: tuple[Node, ...]
    inputs: dict[str, tuple[int, ...]]
    constants: dict[str, Numbers]
    graph: memoryview

    def graph_sha256(self) -> str:
        """The digest of the graph."""
        return hashlib.sha256(self.graph).hexdigest()


def read_onnx(content: bytes) -> OnnxFile:
    """Read a file.

    Raises:
        ValueError: one line: it is not a model of ONNX's format, or has a part that no file here needs: functions,
            graphs inside nodes, sparse constants, data in other files.
    """
    reader = _Reader()
    opsets: dict[str, int] = {}
    metadata: dict[str, str] = {}
    graph: memoryview | None = None
    for number, value in reader.fields(memoryview(content)):
        if number == 7:
            if graph is not None:
                raise ValueError("it has two graphs")
            graph = _message(value)
        elif number == 8:
            domain, version = reader.opset(_message(value))
            opsets[domain] = version
        elif number == 14:
            key, text = reader.entry(_message(value))
            if key in metadata:
                raise ValueError(f"it has the metadata {key!r} twice")
            metadata[key] = text
        elif number in (20, 25):
            raise ValueError("it has functions or training steps of its own")
        elif number in (2, 3, 4, 6):
            _text(value, MAX_METADATA_BYTES)
    if graph is None or not opsets:
        raise ValueError("it has no graph")
    reader.read_graph(graph)
    return OnnxFile(
        opsets=opsets,
        metadata=metadata,
        nodes=tuple(reader.nodes),
        inputs=reader.inputs,
        constants=reader.constants,
        graph=graph,
    )


class _Reader:
    """Reads the messages of one file, and counts their fields: what is read is bounded, however they are nested."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.inputs: dict[str, tuple[int, ...]] = {}
        self.constants: dict[str, Numbers] = {}
        self._n_fields = 0

    def fields(self, message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Number and value of each field of a message; a value is a whole number below 2**64, or bytes.

        Raises:
            ValueError: the message ends within a field, a field is of a kind that ONNX does not use, or the file has
                too many.
        """
        position, end = 0, len(message)
        while position < end:
            self._n_fields += 1
            if self._n_fields > MAX_FIELDS:
                raise ValueError(f"it has more than {MAX_FIELDS} parts")
            if (tag := message[position]) < 0x80:  # nearly always, and faster
                position += 1
            else:
                tag, position = _varint(message, position)
            number, kind = tag >> 3, tag & 7
            if kind == _VARINT:
                value, position = _varint(message, position)
                yield number, value
                continue
            if kind == _BYTES:
                length, position = _varint(message, position)
            elif kind in (_FIXED32, _FIXED64):
                length = 4 if kind == _FIXED32 else 8
            else:
                raise ValueError(_NOT_ONNX)
            if length > end - position:
                raise ValueError("it ends too early")
            yield number, message[position : position + length]
            position += length

    def read_graph(self, graph: memoryview) -> None:
        """Read nodes and constants."""
        for number, value in self.fields(graph):
            if number == 1:
                self.read_node(_message(value))
            elif number == 5:
                name, constant = self.tensor(_message(value))
                if constant is not None:
                    self.constants[name] = constant
            elif number in (11, 12):
                name, shape = self.value(_message(value))
                if number == 11:
                    self.inputs[name] = shape
            elif number in (2, 10):
                _text(value, MAX_METADATA_BYTES)
            elif number == 15:
                raise ValueError("it has sparse constants")
        if len(self.nodes) > MAX_NODES:
            raise ValueError(f"its graph has {len(self.nodes)} nodes, expected at most {MAX_NODES}")

    def read_node(self, node: memoryview) -> None:
        """Read a node, and the constant that it is, if it is one."""
        inputs: list[str] = []
        outputs: list[str] = []
        operator = domain = ""
        integers: dict[str, tuple[int, ...]] = {}
        constant: Numbers | None = None
        for number, value in self.fields(node):
            if number == 1:
                inputs.append(_text(value))
            elif number == 2:
                outputs.append(_text(value))
            elif number == 4:
                operator = _text(value)
            elif number == 7:
                domain = _text(value)
            elif number == 5:
                name, whole, tensor = self.attribute(_message(value))
                if whole:
                    integers[name] = whole
                constant = constant if tensor is None else tensor
        if domain not in ("", "ai.onnx"):
            operator = f"{domain}.{operator}"
        if operator == "Constant" and outputs:
            for name in {"value_int", "value_ints"} & integers.keys():
                constant = np.array(integers[name], np.int64)
            if constant is not None:
                self.constants[outputs[0]] = constant
        self.nodes.append(Node(operator=operator, inputs=tuple(inputs), integers=integers))

    def value(self, described: memoryview) -> tuple[str, tuple[int, ...]]:
        """Name and shape of an input or output, with 0 for an open dimension."""
        name, shape = "", list[int]()
        for number, value in self.fields(described):
            if number == 1:
                name = _text(value)
            elif number == 2:
                for dimension in self._nested(_message(value), 1, 2, 1):
                    shape.append(sum(v for n, v in self.fields(dimension) if n == 1 and isinstance(v, int)))
        return name, tuple(shape)

    def _nested(self, message: memoryview, *path: int) -> list[memoryview]:
        """The messages at the end of a path of field numbers."""
        found = [message]
        for wanted in path:
            found = [_message(v) for outer in found for number, v in self.fields(outer) if number == wanted]
        return found

    def attribute(self, attribute: memoryview) -> tuple[str, tuple[int, ...], Numbers | None]:
        """Its name, its whole numbers, and its tensor if that is a few numbers."""
        name = ""
        whole: list[int] = []
        constant: Numbers | None = None
        n_tensors = 0
        for number, value in self.fields(attribute):
            if number == 1:
                name = _text(value)
            elif number in (3, 8):
                whole += _integers(value)
            elif number == 5:
                _, constant = self.tensor(_message(value))
                n_tensors += 1
            elif number in (6, 11):
                raise ValueError("a node has a graph inside it (Loop, If and Scan are refused)")
            elif number in (10, 22, 23):
                raise ValueError("a node has several constants, or a sparse one")
        if n_tensors > 1:
            raise ValueError("a node has several constants, or a sparse one")
        return name, tuple(whole), constant

    def tensor(self, tensor: memoryview) -> tuple[str, Numbers | None]:
        """Its name, and its values if they are a few numbers.

        Raises:
            ValueError: also where it has fewer bytes than its shape needs: no library should reserve room for it.
        """
        shape: list[int] = []
        kind, name = 0, ""
        raw: list[memoryview] = []
        whole: list[int] = []
        is_small = len(tensor) <= _SMALL
        for number, value in self.fields(tensor):
            if number == 1:
                shape += _integers(value)
            elif number == 2 and isinstance(value, int):
                kind = value
            elif number == 8:
                name = _text(value)
            elif number in (4, 9, 10):
                raw.append(_message(value))
            elif number in (5, 7) and is_small:
                whole += _integers(value)
            elif number == 13 or (number == 14 and value == 1):
                raise ValueError("it has constants in other files; everything must be inside the model file")
        # Two numbers of four bits fit into a byte.
        if len(shape) > _MAX_RANK or min(shape, default=0) < 0 or math.prod(shape) > 2 * len(tensor):
            raise ValueError(f"a constant of the shape {shape[:_MAX_RANK]} in {len(tensor)} bytes")
        if kind not in _TYPES or not is_small:
            return name, None
        if whole:
            return name, np.array(whole, np.int64)
        content, kept = b"".join(raw), np.dtype(_TYPES[kind])
        if len(content) % kept.itemsize:
            raise ValueError(f"a constant of {len(content)} bytes, expected a multiple of {kept.itemsize}")
        values = np.frombuffer(content, kept)
        return name, values.astype(np.float64) if kept.kind == "f" else values.astype(np.int64)

    def opset(self, opset: memoryview) -> tuple[str, int]:
        """Domain and version."""
        domain, version = "", 0
        for number, value in self.fields(opset):
            if number == 1:
                domain = _text(value)
            elif number == 2 and isinstance(value, int):
                version = value
        return domain, version

    def entry(self, entry: memoryview) -> tuple[str, str]:
        """Key and text of an entry of the metadata."""
        key = text = ""
        for number, value in self.fields(entry):
            if number == 1:
                key = _text(value)
            elif number == 2:
                text = _text(value, MAX_METADATA_BYTES)
        return key, text


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A whole number, and where it ends."""
    value = shift = 0
    try:
        while (byte := message[position]) >= 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            position += 1
            if shift > 63:
                raise ValueError(_NOT_ONNX)
    except IndexError:
        raise ValueError("it ends too early") from None
    return (value | byte << shift) & 0xFFFF_FFFF_FFFF_FFFF, position + 1


def _integers(value: int | memoryview) -> list[int]:
    """Signed whole numbers: one by itself, or several packed."""
    if isinstance(value, int):
        return [_signed(value)]
    found, position = [], 0
    while position < len(value):
        unsigned, position = _varint(value, position)
        found.append(_signed(unsigned))
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError(_NOT_ONNX)  # noqa: TRY004 (of the file, not of an argument)
    return value


def _text(value: int | memoryview, limit: int = MAX_NAME_CHARS) -> str:
    """Text.

    Raises:
        ValueError: it is too long, or not UTF-8.
    """
    content = _message(value)
    if len(content) > limit:
        raise ValueError(f"a name or text of {len(content)} bytes, expected at most {limit}")
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError:
        raise ValueError("a name or text is not UTF-8") from None
