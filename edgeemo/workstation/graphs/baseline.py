"""What a voice usually sounds like: lasting states of a stream graph, and what the last layer makes of them.

The *embedding* of an utterance is what the last layer sees of it. A stream remembers the mean embedding of the
utterances before, and adds to the logits what the network's history says of the embedding less that mean. Nobody has
to tell it anything: with the first sound of an utterance, the embedding that the one before ended with joins it.
Where nothing was heard before, nothing is added, and the stream is the window.

Normalising by what a speaker usually sounds like is from Busso et al. 2011, "Iterative feature normalization for
emotional speech detection", and 2013, "Iterative feature normalization scheme for automatic emotion detection from
speech".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeemo.errors import ExportError
from edgeemo.workstation.graphs.editing import constant, operand
from edgeemo.workstation.graphs.frontend import Heard
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.past import Carried

LEAST_FRAMES = 25
"""Voiced frames of an utterance, below which it does not join the mean."""
MOST_UTTERANCES = 10
"""The mean is over so many utterances; from then on, it fades."""
PREFIX = "baseline/"
_MEANS = ("Add", "Sum", "Mean", "Mul", "Div")


def add_baseline(
    network: ir.Graph, heard: Heard, relative: npt.NDArray[np.float32], carried: Carried
) -> None:
    """Let a stream compare a voice with what it usually sounds like.

    Args:
        network: of a stream, ending with a dense layer and a softmax, or with the mean of several such layers.
        heard: by its front end.
        relative: what is made of a difference, shape `(n_values, n_labels)`.
        carried: the states of the stream's front end; those of the baseline are added.

    Raises:
        ExportError: the front end does not tell voiced frames, or the network ends otherwise.
    """
    if heard.voiced is None:
        raise ExportError('a network with a history needs to know voiced frames; use level = "running_mean"')
    softmax = network.outputs[0].producer()
    embedding = _embedding(softmax, len(relative)) if softmax and softmax.op_type == "Softmax" else None
    if softmax is None or embedding is None:
        raise ExportError(
            f"a network with a history must end with one dense layer over {len(relative)} values, and a softmax"
        )
    nodes = Nodes(PREFIX)
    difference = _difference(nodes, embedding, heard.voiced, len(relative), carried)
    added = nodes("MatMul", difference, nodes.floats(relative), name="relative")
    softmax.replace_input_with(0, nodes("Add", operand(softmax, 0), added))
    nodes.insert(network, before=softmax)


def _embedding(softmax: ir.Node, n_values: int) -> ir.Value | None:
    """What the one dense layer over so many values takes, whose logits the softmax sees, alone or in a mean."""
    found, waiting = [], [operand(softmax, 0).producer()]
    while waiting:
        node = waiting.pop()
        if node is not None and node.op_type in _MEANS:
            waiting += [value.producer() for value in node.inputs if value is not None]
        elif node is not None and node.op_type in ("Gemm", "MatMul"):
            weights = constant(operand(node, 1))
            if weights is not None and n_values in weights.shape:
                found.append(operand(node, 0))
    return found[0] if len(found) == 1 else None


def _difference(
    nodes: Nodes, embedding: ir.Value, voiced: ir.Value, n_values: int, carried: Carried
) -> ir.Value:
    """The embedding less the mean embedding of the utterances before, shape `(1, n_values)`; zeros if none were."""
    zero, one = nodes.floats(np.zeros((1, 1))), nodes.floats(np.ones((1, 1)))
    frames = carried.add((1, 1), "voiced frames of the utterance")
    before, frames_before, mean, count = (
        carried.add(shape, holds, lasting=True, voice=True)
        for shape, holds in (
            ((1, n_values), "embedding of the latest utterance"),
            ((1, 1), "voiced frames of the latest utterance"),
            ((1, n_values), "mean embedding of the utterances before"),
            ((1, 1), "utterances in that mean"),
        )
    )

    new = nodes("ReduceSum", voiced, nodes.ints([1]), keepdims=0)
    frames_now = nodes("Add", frames, new)
    speaks = nodes("Greater", frames_now, zero)
    begins = nodes("And", speaks, nodes("Equal", frames, zero))
    enough = nodes("Greater", frames_before, nodes.floats([[LEAST_FRAMES - 0.5]]))
    joins = nodes("Cast", nodes("And", begins, enough), to=ir.DataType.FLOAT)
    count_now = nodes("Min", nodes("Add", count, joins), nodes.floats([[float(MOST_UTTERANCES)]]))
    share = nodes("Div", joins, nodes("Max", count_now, one))
    mean_now = nodes("Add", mean, nodes("Mul", share, nodes("Sub", before, mean)))

    carried.carry(frames, frames_now)
    carried.carry(before, nodes("Where", speaks, embedding, before))
    carried.carry(frames_before, nodes("Where", speaks, frames_now, frames_before))
    carried.carry(mean, mean_now)
    carried.carry(count, count_now)
    return nodes("Mul", nodes("Sub", embedding, mean_now), nodes("Min", count_now, one))
