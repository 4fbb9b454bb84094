"""A window graph becomes a stream graph: the same operators, a step at a time, with their past as states.

The pass walks the graph from its features to its probabilities (`walk.py`) and knows of each value whether time runs
through it, along which axis, and how many frames one of its positions spans. Each operator has a rule (`rules.py`).
An operator that has none, or that would have to look ahead, is refused by name.

After each step, the probabilities are those of the whole utterance so far. With a delay, they are those of the
utterance up to that long before: each value knows how many frames late it comes, layers that look ahead wait for what
they need, and where values meet, the earlier ones are made to wait for the later.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeemo.errors import ExportError
from edgeemo.metadata import State
from edgeemo.workstation.graphs.rules import ATTENTION, RULES
from edgeemo.workstation.graphs.walk import Walk

DEFAULT_FRAME_MS = 10.0
_MOST_TRIES = 3
"""The first walk finds the delay, and the second makes all answers that late, which seldom delays them further."""


def stream(
    network: ir.Graph, *, step_frames: int, frame_ms: float = DEFAULT_FRAME_MS
) -> tuple[ir.Graph, list[State]]:
    """Make a stream graph.

    Args:
        network: `features (1, n_frames, n_mels)` -> `probabilities (1, n_labels)`, all shapes known; not changed.
        step_frames: new frames in a step.
        frame_ms: how long a frame lasts, for messages.

    Returns:
        the graph, `features (1, step_frames, n_mels)` and states -> `probabilities` and the states' next values; and
        its states.

    Raises:
        ExportError: naming an operator that cannot be streamed, and what to change.
    """
    graph = network.clone()
    return graph, Walk(graph, step_frames, RULES, ATTENTION, frame_ms=frame_ms).run()


def delayed_stream(
    network: ir.Graph, *, step_frames: int, frame_ms: float = DEFAULT_FRAME_MS
) -> tuple[ir.Graph, list[State], int]:
    """Make a stream graph whose answers come late, where the network looks ahead; otherwise as `stream`.

    Each answer is that of the whole utterance up to as many frames before the end of the step as the delay has, in
    whole steps. What would look ahead has seen that audio. Before the delay has passed, answers mean nothing.

    Returns:
        as `stream`, and the delay in frames.

    Raises:
        ExportError: as `stream`, but for what only looks ahead; or answers of different delays meet.
    """
    delay = 0
    for _ in range(_MOST_TRIES):
        graph = network.clone()
        walk = Walk(graph, step_frames, RULES, ATTENTION, frame_ms=frame_ms, delay=delay)
        states = walk.run()
        if walk.delay == delay:
            return graph, states, delay
        assert walk.delay is not None
        delay = walk.delay
    raise ExportError(
        "cannot stream the network with a delay: a recurrent layer's last state is an answer, and its outputs go "
        "through a layer that looks ahead; use its outputs alone"
    )
