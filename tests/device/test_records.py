"""Records: tables of JSON as dataclasses, types checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest

from edgeemo.evidence import Parity, Training
from edgeemo.records import Record
from support.evidence import score_row, training


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Inner(Record):
    x: float


@dataclass(frozen=True, kw_only=True)
class Outer(Record):
    name: str
    n: int
    colour: Colour = Colour.RED
    on: bool = False
    pair: tuple[float, float] = (0.0, 1.0)
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    recall: dict[str, float | None] | None = None
    any: dict[str, Any] | None = None


FULL = {
    "name": "ä",
    "n": 3,
    "colour": "blue",
    "on": True,
    "pair": [1, 2.5],
    "inner": {"x": 0.5},
    "many": [{"x": 1}, {"x": 2}],
    "recall": {"yes": 0.5, "no": None},
    "any": {"thing": [1, {"deep": "er"}]},
}


def test_a_table_is_read_and_written_again() -> None:
    found = Outer.from_dict(FULL)
    assert found.inner == Inner(x=0.5)
    assert found.many == (Inner(x=1), Inner(x=2))
    assert found.colour is Colour.BLUE
    assert json.loads(json.dumps(found.to_dict())) == FULL
    assert Outer.from_dict(found.to_dict()) == found


def test_what_is_not_there_has_its_default_and_what_is_unknown_is_ignored() -> None:
    assert Outer.from_dict({"name": "a", "n": 1, "later": 2, "inner": None}) == Outer(name="a", n=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "name is 1, expected text"),
        ({"n": "1"}, "n is '1', expected a whole number"),
        ({"n": True}, "n is True, expected a whole number"),
        ({"n": 1.0}, "n is 1.0, expected a whole number"),
        ({"on": 1}, "on is 1, expected true or false"),
        ({"colour": "green"}, "colour is 'green', expected red or blue"),
        ({"colour": []}, "colour is [], expected red or blue"),
        ({"pair": [1]}, "pair is [1], expected 2 values"),
        ({"pair": [1, "2"]}, "pair[1] is '2', expected a number"),
        ({"pair": 7}, "pair is 7, expected a list"),
        ({"inner": 7}, "inner is 7, expected a table"),
        ({"inner": {}}, "'inner.x' is missing"),
        ({"many": [{"x": 1}, {"x": None}]}, "many[1].x is None, expected a number"),
        ({"recall": {"yes": "1"}}, "recall.yes is '1', expected a number"),
        ({"recall": [1]}, "recall is [1], expected a table"),
    ],
)
def test_another_type_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"expected|missing") as caught:
        Outer.from_dict(FULL | change)
    assert str(caught.value) == message


def test_no_table_at_all() -> None:
    with pytest.raises(ValueError, match=r"^it is \[1\], expected a table$"):
        Outer.from_dict([1])
    with pytest.raises(ValueError, match=r"^'n' is missing$"):
        Outer.from_dict({"name": "a"})


def test_what_was_measured_is_read_as_it_was_written() -> None:
    for record in (training(), training(split=None), score_row()):
        assert type(record).from_dict(json.loads(json.dumps(record.to_dict()))) == record
    older = training().to_dict()
    del older["split"]
    assert Training.from_dict(older) == training(split=None)


def test_parity_counts_clips_or_images() -> None:
    figures = {"reference": "Keras", "max_difference": 0.1, "mean_difference": 0.01, "tolerance": 1e-4}
    of_audio = Parity.from_dict(figures | {"same_label": 1.0, "n_clips": 3, "n_windows": 7})
    of_images = Parity.from_dict(figures | {"same_label": 1.0, "n_images": 5})
    assert (of_audio.inputs, of_images.inputs) == ("3 clips", "5 images")
    assert "n_images" not in of_audio.to_dict()
    assert {"n_clips", "n_windows"} & set(of_images.to_dict()) == set()
