"""Streams that look ahead: each answer is that of the utterance up to the delay before, exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgeemo.errors import ExportError
from edgeemo.metadata import State
from edgeemo.workstation.graphs.editing import shape_of
from edgeemo.workstation.graphs.simplify import simplify
from edgeemo.workstation.graphs.stream import delayed_stream, stream
from edgeemo.workstation.graphs.walk import EXTENT
from support.graphs import Hand, op_types, run, run_steps, runner

ATOL = 1e-5
N_MELS, STEP, WINDOW, N_STEPS = 4, 4, 16, 6
Body = Callable[[Hand], Any]
Ending = Callable[[Hand, Any], Any]
BODIES: dict[str, tuple[Body, int]] = {}
"""Layers over time, `(1, bands, frames)` -> `(1, 6, positions)`, and the frames that they look ahead."""
ENDINGS: dict[str, Ending] = {}


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def body(n_ahead: int) -> Callable[[Body], Body]:
    def register(write: Body) -> Body:
        BODIES[write.__name__] = (write, n_ahead)
        return write

    return register


def ending(write: Ending) -> Ending:
    ENDINGS[write.__name__] = write
    return write


def features(hand: Hand) -> Any:
    return hand("Transpose", hand.features, perm=[0, 2, 1])


def conv(hand: Hand, x: Any, n_in: int, kernel: int = 3, *, dilation: int = 1, **own: Any) -> Any:
    """A convolution to six channels, by default padded as much on either side."""
    n = (kernel - 1) * dilation // 2
    own = {"pads": [n, n], "dilations": [dilation], **own}
    return hand("Conv", x, hand.weights(6, n_in, kernel), hand.shift(6), **own)


@body(1)
def one_convolution(hand: Hand) -> Any:
    return conv(hand, features(hand), N_MELS)


@body(4)
def several(hand: Hand) -> Any:
    """What comes before the first position is zeros for each of them, not what the one before makes of zeros."""
    x = hand("Relu", conv(hand, features(hand), N_MELS))
    x = hand("Tanh", conv(hand, x, 6, dilation=2))
    return conv(hand, hand("Sigmoid", x), 6)


@body(3)
def behind_it_causal(hand: Hand) -> Any:
    x = hand("Relu", conv(hand, features(hand), N_MELS, kernel=7))
    return conv(hand, x, 6, kernel=5, pads=[4, 0])


@body(1)
def more_behind_than_before(hand: Hand) -> Any:
    """As torch and TensorFlow pad even kernels."""
    return conv(hand, features(hand), N_MELS, kernel=2, pads=[0, 1])


@body(4)
def padding_that_is_computed(hand: Hand) -> Any:
    """Over frames and bands, with strides: as tf2onnx writes it where sizes are open."""
    x = hand("Unsqueeze", features(hand), ints(1))
    x = hand("Conv", x, hand.weights(2, 1, 3, 4), hand.shift(2), auto_pad="SAME_UPPER", strides=[1, 2])
    x = hand("Tanh", hand("Reshape", x, ints(1, 2 * N_MELS, -1)))
    return hand("Conv", x, hand.weights(6, 2 * N_MELS, 4), hand.shift(6), auto_pad="SAME_LOWER")


@body(3)
def padded_by_an_operator(hand: Hand) -> Any:
    """What stands between padding and convolution is computed of the zeros too."""
    x = hand("Pad", conv(hand, features(hand), N_MELS), ints(0, 0, 2, 0, 0, 2), np.array(0, np.float32))
    x = hand("Tanh", hand("Add", x, hand.shift(6, 1)))
    return conv(hand, x, 6, kernel=5, pads=[0, 0])


@body(1)
def zeros_behind_alone(hand: Hand) -> Any:
    x = hand("Pad", features(hand), ints(0, 0, 0, 0, 0, 1), np.array(0, np.float32))
    return conv(hand, x, N_MELS, kernel=2, pads=[0, 0])


@body(2)
def residual(hand: Hand) -> Any:
    x = conv(hand, features(hand), N_MELS, kernel=1)
    y = conv(hand, hand("Relu", conv(hand, x, 6)), 6)
    return hand("Add", hand("Mul", x, np.array(0.5, np.float32)), y)


@body(3)
def joined_branches(hand: Hand) -> Any:
    x = features(hand)
    branches = [conv(hand, x, N_MELS, kernel) for kernel in (1, 3, 7)]
    return conv(hand, hand("Concat", *branches, axis=1), 18, kernel=1)


@body(1)
def a_causal_branch_and_one_that_looks_ahead(hand: Hand) -> Any:
    x = features(hand)
    return hand("Mul", conv(hand, x, N_MELS), hand("Sigmoid", conv(hand, x, N_MELS, pads=[2, 0])))


@body(2)
def chomped_behind_it(hand: Hand) -> Any:
    """A temporal convolution network's block, behind a layer that looks ahead."""
    x = conv(hand, features(hand), N_MELS, kernel=5)
    y = conv(hand, x, 6, dilation=2, pads=[4, 4])
    return hand("Add", x, hand("Relu", hand("Slice", y, ints(0), ints(-4), ints(2))))


@body(2)
def stride_that_looks_ahead(hand: Hand) -> Any:
    """As TensorFlow pads a stride of 2: none before, one behind."""
    return conv(hand, features(hand), N_MELS, kernel=3, strides=[2], pads=[0, 1])


@body(4)
def pooled_after_it(hand: Hand) -> Any:
    """A delay of one frame is none of two: the pooling waits for another."""
    x = hand("MaxPool", conv(hand, features(hand), N_MELS), kernel_shape=[2], strides=[2])
    return hand("AveragePool", conv(hand, x, 6, kernel=1), kernel_shape=[2], strides=[2])


@body(2)
def padded_maximum(hand: Hand) -> Any:
    """Padding is no zero for it."""
    x = hand("Sub", features(hand), np.array(5, np.float32))
    x = hand("MaxPool", x, kernel_shape=[3], strides=[2], pads=[0, 1])
    return hand("Add", conv(hand, x, N_MELS, kernel=1), np.array(3, np.float32))


@body(4)
def recurrent_behind_it(hand: Hand) -> Any:
    """Before the first position there is no state: it waits for a whole step."""
    x = hand("Transpose", conv(hand, features(hand), N_MELS), perm=[2, 0, 1])
    y, _ = hand.lstm(x, 6, 6)
    y, _ = hand.lstm(hand("Squeeze", y, ints(1)), 6, 6, op_type="GRU", linear_before_reset=1)
    return hand("Transpose", hand("Squeeze", y, ints(1)), perm=[1, 2, 0])


@body(5)
def before_and_behind_recurrent(hand: Hand) -> Any:
    return conv(hand, recurrent_behind_it(hand), 6)


@body(2)
def within_frames(hand: Hand) -> Any:
    """Over frames and bands, both padded; bands joined."""
    x = hand("Unsqueeze", features(hand), ints(1))
    x = hand("Conv", x, hand.weights(3, 1, 3, 3), hand.shift(3), pads=[1, 1, 1, 1])
    x = hand("Relu", hand("Conv", x, hand.weights(3, 3, 3, 3), hand.shift(3), pads=[1, 1, 1, 1]))
    x = hand("Reshape", x, ints(1, 3 * N_MELS, -1))
    return conv(hand, x, 3 * N_MELS, kernel=1)


@ending
def mean(hand: Hand, x: Any) -> Any:
    return hand("ReduceMean", x, ints(2), keepdims=0)


@ending
def maximum(hand: Hand, x: Any) -> Any:
    return hand("ReduceMax", hand("Sub", x, np.array(3, np.float32)), ints(2), keepdims=0)


@ending
def last(hand: Hand, x: Any) -> Any:
    return hand("Gather", x, np.array(-1), axis=2)


@ending
def last_state(hand: Hand, x: Any) -> Any:
    _, state = hand.lstm(hand("Transpose", x, perm=[2, 0, 1]), 6, 6)
    return hand("Squeeze", state, ints(0))


@ending
def attention(hand: Hand, x: Any) -> Any:
    """Weights that come later than what they are of."""
    scores = conv(hand, x, 6)
    return hand("ReduceSum", hand("Mul", hand("Softmax", scores, axis=2), x), ints(2), keepdims=0)


@ending
def attention_to_the_future(hand: Hand, x: Any) -> Any:
    """Values that come later than their weights."""
    weights = hand("Softmax", x, axis=2)
    return hand("ReduceSum", hand("Mul", weights, conv(hand, x, 6)), ints(2), keepdims=0)


@ending
def attention_as_a_product(hand: Hand, x: Any) -> Any:
    weights = hand("Softmax", hand("ReduceMax", x, ints(1), keepdims=1), axis=2)
    values = hand("Transpose", conv(hand, x, 6), perm=[0, 2, 1])
    return hand("Squeeze", hand("MatMul", weights, values), ints(1))


@ending
def answers_that_come_at_different_times(hand: Hand, x: Any) -> Any:
    return hand("Add", mean(hand, x), maximum(hand, conv(hand, x, 6, kernel=11)))


def graph_of(write: Body, end: Ending, n_frames: int, *, seed: int, keep: int | None = None) -> ir.Graph:
    """The network over so many frames; of the positions before the ending only those of the first `keep` frames."""
    hand = Hand(n_frames, N_MELS, seed=seed)
    x = write(hand)
    if keep is not None:
        stride = n_frames // x_length(write, n_frames)
        x = hand("Slice", x, ints(0), ints(keep // stride), ints(2))
    return hand.graph(hand.head(end(hand, x), 6))


def x_length(write: Body, n_frames: int) -> int:
    hand = Hand(n_frames, N_MELS)
    return shape_of(hand.graph(write(hand)).outputs[0])[2]


def answers_of_ended(
    graph: ir.Graph, states: Sequence[State], x: np.ndarray, delay: int, *, behind: np.ndarray
) -> np.ndarray:
    """The answer that a stream gives of an utterance whose end it is told, whatever comes behind it."""
    carried = {state.name: np.zeros(state.shape, np.float32) for state in states}
    if delay:
        carried[EXTENT][1] = len(x)
    step = runner(graph)
    for part in np.split(np.concatenate([x, behind[:delay]]), (len(x) + delay) // STEP):
        answer, *following = step(part[np.newaxis], *carried.values())
        carried = dict(zip(carried, following, strict=True))
    return answer


def random_features(n_frames: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (n_frames, N_MELS)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "end"),
    [
        *((name, end) for name in BODIES for end in ("mean", "last_state")),
        *((name, end) for name in ("residual", "pooled_after_it") for end in ENDINGS),
    ],
)
def test_exact_after_the_delay(name: str, end: str) -> None:
    write, n_ahead = BODIES[name]
    graph = graph_of(write, ENDINGS[end], WINDOW, seed=3)
    simplify(graph)
    streamed, states, delay = delayed_stream(graph, step_frames=STEP)
    assert delay % STEP == 0
    if end in ("mean", "maximum", "last", "last_state"):
        assert delay == -(-n_ahead // STEP) * STEP, "no longer than it has to be"
    x = random_features(N_STEPS * STEP + delay)

    # An utterance whose end is known: the answer of the network for that many frames, padding behind it and all.
    for n_frames in (STEP, WINDOW, N_STEPS * STEP):
        expected = run(graph_of(write, ENDINGS[end], n_frames, seed=3), x[:n_frames])
        found = answers_of_ended(streamed, states, x[:n_frames], delay, behind=random_features(delay, 9))
        np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)

    # One that goes on: of the positions so far, which have seen what comes behind them.
    if end in ("mean", "maximum", "last", "last_state"):
        answers, _ = run_steps(streamed, states, x)
        expected = np.stack([
            run(graph_of(write, ENDINGS[end], len(x), seed=3, keep=k * STEP), x)
            for k in range(1, N_STEPS + 1)
        ])  # fmt: skip
        np.testing.assert_allclose(answers[delay // STEP :], expected, rtol=0, atol=ATOL)
        assert np.ptp(expected, axis=0).max() > 1e-4, "the answer depends on the audio"
        shifted = [np.abs(a - b).max() for a, b in zip(answers, expected, strict=False)]
        assert max(shifted) > 1e-4, "without the delay it would be another"


def test_what_does_not_look_ahead_has_no_delay() -> None:
    def causal(hand: Hand) -> Any:
        return conv(hand, features(hand), N_MELS, pads=[2, 0])

    graph = graph_of(causal, mean, WINDOW, seed=3)
    plain, states = stream(graph, step_frames=STEP)
    streamed, same_states, delay = delayed_stream(graph, step_frames=STEP)
    assert delay == 0
    assert same_states == states
    assert op_types(streamed) == op_types(plain)


def test_refused_without_the_option() -> None:
    graph = graph_of(one_convolution, mean, WINDOW, seed=3)
    graph[1].name = "culprit"
    with pytest.raises(
        ExportError,
        match=r"^cannot stream Conv culprit: it pads time on both sides and so looks 20 ms ahead; pad zeros on the "
        r"past side only \(padding=\"causal\"\), or accept a delay with --delay$",
    ):
        stream(graph, step_frames=STEP, frame_ms=20)


def test_a_state_that_is_an_answer_before_a_layer_that_looks_ahead() -> None:
    """The state would have to come as late as what is made of the outputs, which come later than it."""

    def write(hand: Hand) -> Any:
        y, state = hand.lstm(hand("Transpose", hand.features, perm=[1, 0, 2]), N_MELS, 6)
        y = conv(hand, hand("Transpose", hand("Squeeze", y, ints(1)), perm=[1, 2, 0]), 6)
        return hand.head(hand("Add", mean(hand, y), hand("Squeeze", state, ints(0))), 6)

    hand = Hand(WINDOW, N_MELS)
    with pytest.raises(ExportError, match=r"last state is an answer, .*; use its outputs alone"):
        delayed_stream(hand.graph(write(hand)), step_frames=STEP)
