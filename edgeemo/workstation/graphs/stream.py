"""A window graph becomes a stream graph: the same operators, a step at a time, with their past as states.

The pass walks the graph from its features to its probabilities (`walk.py`) and knows of each value whether time runs
through it, along which axis, and how many frames one of its positions spans. Each operator has a rule (`rules.py`).
An operator that has none, or that would have to look ahead, is refused by name.

After each step, the probabilities are those of the whole utterance so far.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeemo.metadata import State
from edgeemo.workstation.graphs.rules import ATTENTION, RULES
from edgeemo.workstation.graphs.walk import Walk


def stream(network: ir.Graph, *, step_frames: int) -> tuple[ir.Graph, list[State]]:
    """Make a stream graph.

    Args:
        network: `features (1, n_frames, n_mels)` -> `probabilities (1, n_labels)`, all shapes known; not changed.
        step_frames: new frames in a step.

    Returns:
        the graph, `features (1, step_frames, n_mels)` and states -> `probabilities` and the states' next values; and
        its states.

    Raises:
        ExportError: naming an operator that cannot be streamed, and what to change.
    """
    graph = network.clone()
    return graph, Walk(graph, step_frames, RULES, ATTENTION).run()
