"""Reading and changing graphs: what the passes rely on."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgeemo.errors import ExportError
from edgeemo.workstation.graphs.editing import (
    add_constant,
    as_model,
    axis_order,
    constant,
    is_plain_product,
    known,
    only_user,
    open_session,
    operand,
    optional_input,
    owner,
    remove_unused,
    shape_of,
    substitute,
)
from support.graphs import Hand, op_types, run

FEATURES = np.random.default_rng(0).normal(0, 1, (3, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "array",
    [
        np.array(2.5, np.float32),
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.zeros((0, 2), np.float32),
        np.array([-1, 1], np.int8),
    ],
    ids=["one number", "transposed", "empty", "int8"],
)
def test_constants_are_what_was_added(array: np.ndarray) -> None:
    hand = Hand(3)
    graph = hand.graph(hand("Relu", hand.features))
    value = add_constant(graph, "added", array)
    np.testing.assert_array_equal(known(value), array)
    assert known(value).dtype == array.dtype
    assert value.dtype is not None
    assert value.dtype.numpy() == array.dtype
    assert shape_of(value) == array.shape
    assert owner(value) is graph
    remove_unused(graph)
    assert "added" not in graph.initializers


def test_constants_are_initialisers_and_constant_nodes_alone() -> None:
    hand = Hand(3)
    node = ir.node("Constant", [], {"value": ir.tensor(np.array([7.0], np.float32))})
    added = hand("Add", hand.features, np.array([1.0], np.float32))
    assert constant(node.outputs[0]) == [7.0]
    assert constant(added.producer().inputs[1]) == [1.0]
    assert constant(hand.features) is None
    assert constant(added) is None
    assert constant(None) is None
    with pytest.raises(AssertionError):
        known(added)


def test_inputs_that_are_left_out() -> None:
    hand = Hand(3)
    clip = hand("Clip", hand.features, None, np.array(0, np.float32)).producer()
    assert operand(clip, 0) is hand.features
    assert optional_input(clip, 1) is None
    assert constant(optional_input(clip, 2)) == 0
    assert optional_input(clip, 3) is None
    with pytest.raises(AssertionError, match="Clip clip_0 has no input 1"):
        operand(clip, 1)


@pytest.mark.parametrize("shape", [None, ("n", 3)])
def test_shapes_that_are_open_are_refused(shape: tuple[str, int] | None) -> None:
    with pytest.raises(
        ExportError, match=r"^the shape of x is .*; fix all dimensions, or use another layer there$"
    ):
        shape_of(ir.val("x", shape=shape))


def test_the_only_user() -> None:
    hand = Hand(3)
    relu = hand("Relu", hand.features)
    square = hand("Mul", relu, relu)
    graph = hand.graph(hand("Add", square, hand("Neg", hand.features)))
    assert only_user(relu) is square.producer()  # twice the same
    assert only_user(hand.features) is None  # Relu and Neg
    assert only_user(graph.outputs[0]) is None
    final = Hand(3)
    answer = final("Relu", final.features)
    final("Neg", answer)
    final.graph(answer)
    assert only_user(answer) is None  # an answer of the graph too


def test_the_order_of_axes() -> None:
    hand = Hand(3)
    assert axis_order(hand("Transpose", hand.features, perm=[1, 0, 2]).producer()) == [1, 0, 2]
    assert axis_order(hand("Transpose", hand.features).producer()) == [2, 1, 0]


@pytest.mark.parametrize(
    ("attributes", "plain"),
    [
        ({}, True),
        ({"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}, True),
        ({"alpha": 0.5}, False),
        ({"beta": 0.5}, False),
        ({"transA": 1}, False),
    ],
)
def test_plain_products(attributes: dict[str, float], plain: bool) -> None:
    hand = Hand(3)
    node = hand("Gemm", hand.features, hand.weights(4, 4), hand.shift(4), **attributes).producer()
    assert is_plain_product(node) == plain


def test_one_value_in_the_place_of_another() -> None:
    """Also of an answer of the graph; what only the other needed goes."""
    hand = Hand(3)
    hand("Relu", hand.features)
    negative = hand("Neg", hand.features)
    graph = hand.graph(hand("Mul", negative, np.array(2, np.float32)))
    assert run(graph, FEATURES).min() < 0
    relu, answer = graph[0].outputs[0], graph.outputs[0]
    substitute(answer, relu)
    remove_unused(graph)
    assert op_types(graph) == ["Relu"]
    assert not graph.initializers
    assert shape_of(graph.outputs[0]) == (1, 3, 4)
    np.testing.assert_array_equal(run(graph, FEATURES), np.maximum(FEATURES, 0)[np.newaxis])


def test_a_session_has_one_thread() -> None:
    hand = Hand(3)
    session = open_session(as_model(hand.graph(hand("Relu", hand.features))))
    assert session.get_session_options().intra_op_num_threads == 1
    (found,) = session.run(None, {"features": FEATURES[np.newaxis]})
    np.testing.assert_array_equal(found[0], np.maximum(FEATURES, 0))
