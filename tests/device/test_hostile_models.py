"""Damaged and hostile model files: each gives one line of error or a model, soon and in little memory."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeemo import limits, session, trial
from edgeemo.errors import ModelError
from edgeemo.images import ImageModel, load_model
from edgeemo.metadata import CHECKSUM_KEY, ImageMetadata, Metadata
from edgeemo.onnx_file import read_onnx
from edgeemo.places import shipped_models
from support.mutants import run_mutants, with_metadata, without_checksum
from support.onnx_bytes import LABELS, constant, image_model, node, part, whole

HERE = Path(__file__).parent
TINY = [HERE / name for name in ("tiny.onnx", "tiny.stream.onnx", "tiny.image.onnx")]
N_MUTANTS = 200
HUGE = 1 << 30
SOFTMAX = node("Softmax", "logits", "probabilities")


def refused(content: bytes, folder: Path) -> str:
    """The one line by which a file is refused."""
    path = folder / "some.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_model(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert text.isprintable()
    return text.removeprefix(f"{path}: ")


def with_text(text: str | bytes, path: Path = TINY[0]) -> bytes:
    """A model file with other metadata."""
    content = bytearray(path.read_bytes())
    with_metadata(content, text.encode() if isinstance(text, str) else text)
    return bytes(content)


def metadata_of(path: Path = TINY[0]) -> dict[str, Any]:
    return json.loads(load_model(path).metadata.to_json())


def test_what_is_made_here_is_a_model(tmp_path: Path) -> None:
    """The files below differ from this one by what they are refused for."""
    path = tmp_path / "some.onnx"
    path.write_bytes(image_model())
    model = load_model(path)
    assert isinstance(model, ImageModel)
    np.testing.assert_allclose(model.predict(np.zeros((2, 3))), 1 / 3)
    path.write_bytes(with_text(json.dumps(metadata_of())))
    load_model(path)


# --- metadata ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "tables in tables"),
        ('{"a": ' * 100_000, "tables in tables"),
        ("[" * 25 + "]" * 25, "deeper than 20"),
        (b'{"name": "\x80"}', "not UTF-8"),
        ('{"format": 1e400}', "number 1e400, expected a finite one"),
        ('{"format": NaN}', "number NaN, expected a finite one"),
        ('{"format": ' + "9" * 5000 + "}", "number 9999"),
        ('{"format": 1.0}', r"format is 1\.0, expected a whole number"),
        ('{"a": "' + "x" * 100_000 + '"}', "a text of 100000 characters"),
        ('{"\\u001b[2J": 1}', "a text with control characters"),
        ('{"a": "\\ud800"}', "a text with control characters"),
        ('{"a": "' + "x" * (limits.MAX_METADATA_BYTES + 1) + '"}', "bytes, expected at most"),
    ],
)
def test_json_that_is_none_or_too_much(text: str | bytes, words: str, tmp_path: Path) -> None:
    assert re.search(words, refused(with_text(text), tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": ["low", "middle", "\x1b[31mhigh"]}, "control characters"),
        ({"labels": ["low", "middle", "h\u202eigh"]}, "control characters"),
        ({"labels": ["low", "middle", "x" * 5000]}, "a label of 5000 characters, expected at most 100"),
        ({"labels": [f"label {i}" for i in range(2000)]}, "2000 labels, expected at most 1000"),
        ({"step_samples": 160, "window_samples": 10**15}, "a window of 1000000000000000 samples"),
        ({"step_samples": 160, "window_samples": 4_000_000}, "at most 10000 steps in a window"),
        ({"step_samples": 2560.0}, r"step_samples is 2560\.0, expected a whole number"),
        ({"states": [{"name": "s", "shape": [10**9], "holds": ""}]}, "a state that is not from 1 to"),
        ({"states": [{"name": "s", "shape": [-1], "holds": ""}]}, "a state that is not from 1 to"),
        ({"states": [{"name": f"s{i}", "shape": [1], "holds": ""} for i in range(2000)]}, "2000 states"),
    ],
)
def test_metadata_beyond_a_limit(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    text = json.dumps({**metadata_of(), **change})
    assert re.search(words, refused(with_text(text), tmp_path))


def test_what_people_write_is_no_control_character(tmp_path: Path) -> None:
    labels = ["trübe", "\u0645\u06cc\u200c\u0634\u0648\u062f", "👩\u200d🚒"]
    path = tmp_path / "some.onnx"
    path.write_bytes(with_text(json.dumps({**metadata_of(), "labels": labels}, ensure_ascii=False)))
    assert load_model(path).labels == tuple(labels)


def test_metadata_is_judged_before_the_graph_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.ort, "InferenceSession", None)
    assert "cannot load it" in refused(TINY[0].read_bytes(), tmp_path), (
        "nothing is loaded: this shows nothing"
    )
    assert "control characters" in refused(with_text('{"a": "\\u0007"}'), tmp_path)
    assert "Loop" in refused(image_model(node("Loop", "", ""), SOFTMAX), tmp_path)


# --- graphs --------------------------------------------------------------------------------------------


BODY = part(5, part(1, "body") + part(20, 5) + part(6, b""))


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("Loop", "", "x", BODY)], "a node has a graph inside it"),
        ([node("If", "logits", "x")], "the operator 'If'"),
        ([node("RandomNormal", "", "x")], "the operator 'RandomNormal'"),
        ([node("Softmax", "logits", "x", domain="evil")], r"the operator 'evil\.Softmax'"),
        ([node("FusedConv", "logits", "x", domain="com.microsoft")], r"operator 'com\.microsoft\.FusedConv'"),
        (
            [constant("n", np.array([HUGE])), node("ConstantOfShape", "n", "x")],
            "a ConstantOfShape makes 1.07e",
        ),
        ([constant("n", np.array([2048, 2049])), node("Expand", "logits n", "x")], "an? Expand makes"),
        ([constant("n", np.array([HUGE, 1])), node("Tile", "logits n", "x")], "a Tile makes"),
        ([constant("n", np.array([0, 0, 0, HUGE])), node("Pad", "logits n", "x")], "a Pad makes"),
        (
            [
                *(constant(name, np.array(v)) for name, v in (("a", 0), ("b", HUGE), ("c", 1))),
                node("Range", "a b c", "x"),
            ],
            "a Range makes 1.07e",
        ),
        (
            [
                *(constant(name, np.array(v, np.float32)) for name, v in (("a", 0), ("b", 1), ("c", 0))),
                node("Range", "a b c", "x"),
            ],
            "a Range makes inf",
        ),
        (
            [node("MaxPool", "logits", "x", part(5, part(1, "pads") + part(8, HUGE) + part(8, 0)))],
            "a MaxPool",
        ),
        ([constant("n", np.array([0])), node("Shape", "logits", "s"), node("Div", "s n", "x")], "by 0 or -1"),
        ([part(5, part(1, 5) + part(2, 1) + part(8, "w") + part(14, 1))], "constants in other files"),
        ([part(5, part(1, HUGE) + part(2, 1) + part(8, "w"))], r"a constant of the shape \[1073741824\] in"),
        (
            [part(5, part(2, 1) + part(8, "w") + part(13, part(1, "location") + part(2, "/etc/passwd")))],
            "other files",
        ),
        ([part(15, b"")], "sparse constants"),
        ([node("Softmax", "x" * 5000, "x")], "a name or text of 5000 bytes"),
    ],
)
def test_graphs_that_are_refused(nodes: list[bytes], words: str, tmp_path: Path) -> None:
    assert re.search(words, refused(image_model(*nodes, SOFTMAX), tmp_path))


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (part(7, b""), "two graphs"),
        (part(25, b""), "functions"),
        (part(2, b"\xff"), "not UTF-8"),
        (part(14, part(1, "edgeemo") + part(2, "{}")), "the metadata 'edgeemo' twice"),
        (b"\x0b", "not in ONNX's format"),
        (b"\x12\xff\xff\x7f", "ends too early"),
        (b"\x80" * 20, "not in ONNX's format"),
        (part(30, 1) * 600_000, "more than 500000 parts"),
    ],
)
@pytest.mark.slow
def test_files_that_are_refused(extra: bytes, words: str, tmp_path: Path) -> None:
    assert re.search(words, refused(image_model(extra=extra), tmp_path))


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "some.onnx"
    with path.open("wb") as file:
        file.truncate(limits.MAX_FILE_BYTES + 1)
    with pytest.raises(ModelError, match="a model file has at most"):
        load_model(path)


# --- the trial -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (
            [
                node("Exp", "logits", "one"),
                node("Neg", "one", "minus"),
                node("Log", "minus", "probabilities"),
            ],
            "probabilities from nan to nan",
        ),
        ([node("Exp", "logits", "probabilities")], "probabilities from 1 to 1 with the sum 3"),
        (
            [
                constant("n", np.array([[99]])),
                node("ArgMax", "logits", "first", whole("axis", 1)),
                node("Add", "first n", "beyond"),
                node("GatherElements", "logits beyond", "x", whole("axis", 1)),
                node("Add", "logits x", "y"),
                node("Softmax", "y", "probabilities"),
            ],
            "its graph loads, but running it fails .*; export the model again",
        ),
    ],
)
def test_graphs_that_make_no_probabilities(nodes: list[bytes], words: str, tmp_path: Path) -> None:
    assert re.search(words, refused(image_model(*nodes), tmp_path))


def test_a_trial_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MAX_TRIAL_S", 0.0)
    long = [node("Relu", f"v{i - 1}" if i else "logits", f"v{i}") for i in range(3000)]
    content = image_model(*long, node("Softmax", "v2999", "probabilities"))
    assert "takes longer than 0 s" in refused(content, tmp_path)


# --- the checksum --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TINY, ids=[path.stem for path in TINY])
def test_a_damaged_graph_is_named_as_such(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    assert read_onnx(content).metadata[CHECKSUM_KEY] == read_onnx(content).graph_sha256()
    weights = bytes(read_onnx(content).graph)[-600:-500]
    assert content.count(weights) == 1
    damaged = content.replace(weights, weights[:50] + bytes([weights[50] ^ 1]) + weights[51:])
    assert refused(damaged, tmp_path).startswith(("damaged: its graph is not what", "not a model"))


# --- what must be taken --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*shipped_models(), *TINY], ids=lambda path: path.stem)
def test_what_ships_is_far_below_the_limits(path: Path) -> None:
    file = read_onnx(path.read_bytes())
    assert {node.operator for node in file.nodes} <= limits.OPERATORS
    assert len(file.nodes) * 10 < limits.MAX_NODES
    assert sum(map(len, file.metadata.values())) * 5 < limits.MAX_METADATA_BYTES


def test_mutants(tmp_path: Path) -> None:
    """See `benchmarks/fuzz.py` for many more."""
    files = [TINY[0].read_bytes(), *(without_checksum(path.read_bytes()) for path in TINY)]
    found = run_mutants(files, tmp_path, seed=0, numbers=range(N_MUTANTS))
    assert not found.failures
    assert found.counts.total() == N_MUTANTS
    assert found.counts["error"] > N_MUTANTS / 2
    assert found.counts["model"] > 5, "nothing gets through: the mutants show little"


def test_an_image_model_as_metadata_has_it() -> None:
    values = ImageMetadata(name="a", summary="", labels=LABELS, n_parameters=1, licence="", height=1, width=1)
    assert ImageMetadata.from_json(values.to_json(), source="x") == values
    with pytest.raises(ModelError, match="one of audio"):
        Metadata.from_json(values.to_json(), source="x")
