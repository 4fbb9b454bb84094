"""The JSON form of events: `events.schema.json` says all of it, and what `edgeemo listen --json` prints is it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from edgeemo.cli import app
from edgeemo.events import SCHEMA, SCHEMA_PATH, Event, State, Turn, Why
from support import event_samples as events
from support.signals import voice_like

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def validator(schema: Any) -> Any:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def line(event: Event) -> dict[str, Any]:
    """An event as a reader of its line gets it."""
    return json.loads(json.dumps(event.to_dict(events.AT), allow_nan=False))


@pytest.mark.parametrize("event", events.each_kind(), ids=lambda event: event.name)
def test_each_event_fits(validator: Any, event: Event) -> None:
    validator.validate(line(event))


def test_the_schema_has_every_field_and_no_other(schema: Any) -> None:
    kinds = {type(event) for event in events.each_kind()}
    assert kinds == set(Event.__subclasses__())
    for kind in kinds:
        fields = {f.name for f in dataclasses.fields(kind) if f.metadata.get("json", True)}
        assert set(schema["$defs"][kind.name]["properties"]) == fields | {"event", "time"}
    assert set(schema["$defs"]["turn"]["properties"]) == {f.name for f in dataclasses.fields(Turn)}
    assert schema["$defs"]["gap"]["properties"]["why"]["enum"] == list(Why)
    assert schema["$defs"]["status"]["properties"]["state"]["enum"] == list(State)
    assert schema["$defs"]["start"]["properties"]["schema"]["const"] == SCHEMA


def objects(node: Any) -> list[Any]:
    """The schemas of objects in a schema."""
    if isinstance(node, list):
        return [found for part in node for found in objects(part)]
    if not isinstance(node, dict):
        return []
    return ([node] if node.get("type") == "object" else []) + objects(list(node.values()))


def test_the_schema_is_strict(schema: Any) -> None:
    found = objects(schema)
    assert len(found) == 10
    for node in found:
        assert "additionalProperties" in node
        if "properties" in node:
            assert node["additionalProperties"] is False
            assert node["required"] == list(node["properties"])
            assert all("description" in p or "$ref" in p for p in node["properties"].values())


WRONG = {
    "no event": lambda values: values.pop("event"),
    "another event": lambda values: values.update(event="stop"),
    "no time": lambda values: values.pop("time"),
    "a time without its zone": lambda values: values.update(time="2026-03-29T01:59:59.999"),
    "a key too many": lambda values: values.update(drops=0),
    "an infinite time": lambda values: values.update(time_s="inf"),
    "a negative time": lambda values: values.update(time_s=-1),
}
WRONG_STEPS = {
    "a label in a pause": lambda values: values.update(reason="no speech"),
    "neither a label nor a reason": lambda values: values.update(label=None),
    "an unknown reason": lambda values: values.update(label=None, reason="tired"),
    "a probability above 1": lambda values: values["probabilities"].update(angry=1.5),
    "a probability that is text": lambda values: values["probabilities"].update(angry="high"),
    "arousal above 1": lambda values: values.update(arousal=1.01),
    "a number of utterance that is none": lambda values: values.update(utterance=1.5),
}


@pytest.mark.parametrize("event", events.each_kind(), ids=lambda event: event.name)
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_lines_do_not_fit(validator: Any, event: Event, wrong: str) -> None:
    values = line(event)
    WRONG[wrong](values)
    assert not validator.is_valid(values)


@pytest.mark.parametrize("wrong", WRONG_STEPS)
def test_wrong_steps_do_not_fit(validator: Any, wrong: str) -> None:
    values = line(events.step())
    WRONG_STEPS[wrong](values)
    assert not validator.is_valid(values)


def nan_clip(path: Path) -> Path:
    """Speech in whose middle the samples are no numbers."""
    samples = voice_like(4.0, 16000)
    samples[30000:31000] = np.nan
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sample"],
        ["--sample", "--any-sound", "--smooth", "steady"],
        ["--sample", "--seconds", "0.1"],
        ["--sample", "--unsure-below", "0.99"],
        ["--file", "NAN"],
    ],
    ids=" ".join,
)
def test_every_printed_line_fits(validator: Any, tmp_path: Path, arguments: list[str]) -> None:
    arguments = [str(nan_clip(tmp_path / "nan.wav")) if word == "NAN" else word for word in arguments]
    result = CliRunner().invoke(app, ["listen", "--fast", "--json", *arguments])
    lines = [json.loads(text) for text in result.stdout.splitlines()]
    for values in lines:
        validator.validate(values)
    names = [values["event"] for values in lines]
    assert (names[0], names[-1]) == ("start", "end")
    assert {"start", "end"}.isdisjoint(names[1:-1])
    if "--seconds" not in arguments:
        assert ("gap" if "--file" in arguments else "utterance") in names
