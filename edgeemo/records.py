"""Records: dataclasses that are tables of the JSON inside a model file, their types checked as they are read."""

from __future__ import annotations

import dataclasses
import functools
import reprlib
import typing
from dataclasses import dataclass
from enum import StrEnum
from types import UnionType
from typing import Any, Self

_EXPECTED = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True, kw_only=True)
class Record:
    """A dataclass whose fields are the keys of a JSON table.

    A field is text, a number, true or false, a `StrEnum`, another record, a tuple, a `dict` with text as keys, or one
    of these or None.
    """

    def to_dict(self) -> dict[str, Any]:
        """The table, of nothing but what JSON knows."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, values: object, *, name: str = "") -> Self:
        """Read a table; keys that this version does not know are ignored.

        Args:
            values: the table, as JSON has it.
            name: what it is called where it stands, for the message.

        Raises:
            ValueError: one line: it is not a table, a key without a default is missing, or a value has another type.
        """
        if not isinstance(values, dict):
            raise _wrong(name or "it", values, "a table")
        found, kinds = {}, _types(cls)  # type: ignore[arg-type]  # classes are hashable
        for f in dataclasses.fields(cls):
            key = f"{name}.{f.name}" if name else f.name
            if f.name in values:
                found[f.name] = _read(values[f.name], kinds[f.name], key)
            elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
                raise ValueError(f"{key!r} is missing")
        return cls(**found)


@functools.cache
def _types(cls: type[Record]) -> dict[str, Any]:
    """The type of each field of a record."""
    return typing.get_type_hints(cls)


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return str(value) if isinstance(value, StrEnum) else value


def _read(value: Any, kind: Any, name: str) -> Any:
    """A value of JSON as a field of type `kind` holds it."""
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin is UnionType:
        return None if value is None else _read(value, of[0], name)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong(name, value, "a list")
        kinds = of[:1] * len(value) if of[-1] is Ellipsis else of
        if len(value) != len(kinds):
            raise _wrong(name, value, f"{len(kinds)} values")
        return tuple(_read(v, k, f"{name}[{i}]") for i, (v, k) in enumerate(zip(value, kinds, strict=True)))
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(name, value, "a table")
        return {key: _read(v, of[1], f"{name}.{key}") for key, v in value.items()}
    if kind is Any:
        return value
    if issubclass(kind, Record):
        return kind.from_dict(value, name=name)
    if issubclass(kind, StrEnum):
        if value not in list(kind):
            raise _wrong(name, value, " or ".join(kind))
        return kind(value)
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise _wrong(name, value, _EXPECTED[kind])
    return value


def _wrong(name: str, value: object, expected: str) -> ValueError:
    return ValueError(f"{name} is {reprlib.repr(value)}, expected {expected}")
