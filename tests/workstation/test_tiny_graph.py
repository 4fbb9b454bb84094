"""The tiny model's stream graph as a text: what a change in graph building does to it shows as a diff."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import onnx
import pytest

from edgeemo.metadata import KEY, read_metadata

DEVICE_TESTS = Path(__file__).parents[1] / "device"
GOLDEN = Path(__file__).with_name("tiny.stream.txt")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stream graph as it is built now."""
    folder = tmp_path_factory.mktemp("tiny")
    runpy.run_path(str(DEVICE_TESTS / "make_tiny.py"))["make_audio"](folder)
    return folder / "tiny.stream.onnx"


def described(path: Path) -> str:
    """Inputs and what they hold, outputs, constants of more than four numbers, and operators in their order."""
    model = onnx.load(path)
    graph = model.graph
    (metadata,) = (read_metadata(p.value, source=str(path)) for p in model.metadata_props if p.key == KEY)
    # The number depends on what else tf2onnx has converted in the same process; older files do not name the layer.
    holds = {state.name: re.sub(r"__\d+$|\blstm(_\d+)*/", "", state.holds) for state in metadata.states}
    lines = ["inputs"]
    lines += [f"    {shaped(value)} {holds.get(value.name, '')}".rstrip() for value in graph.input]
    lines += ["outputs", *(f"    {shaped(value)}" for value in graph.output)]
    lines += ["constants"]
    lines += [
        f"    {onnx.TensorProto.DataType.Name(tensor.data_type).lower()} {tuple(tensor.dims)}"
        for tensor in graph.initializer
        if onnx.numpy_helper.to_array(tensor).size > 4
    ]
    lines += ["operators"]
    for node in graph.node:
        attributes = ", ".join(onnx.helper.printable_attribute(attribute) for attribute in node.attribute)
        lines.append(f"    {node.op_type} {attributes}".rstrip())
    return "\n".join(lines) + "\n"


def shaped(value: onnx.ValueInfoProto) -> str:
    return f"{value.name} {tuple(size.dim_value for size in value.type.tensor_type.shape.dim)}"


def test_as_it_is_built_now(built: Path) -> None:
    """After an intended change, update the text, and make the device tests' files anew."""
    assert described(built) == GOLDEN.read_text(encoding="utf-8")


def test_as_the_device_tests_have_it() -> None:
    assert described(DEVICE_TESTS / "tiny.stream.onnx") == GOLDEN.read_text(encoding="utf-8")


def test_another_graph_differs() -> None:
    assert described(DEVICE_TESTS / "tiny.onnx") != GOLDEN.read_text(encoding="utf-8")
