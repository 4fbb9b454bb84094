"""What a voice is usually called: lasting states of a stream graph, and what they do to its answers.

A stream remembers the mean *answer* to the utterances before, and adds to the logits half of what makes every label
as frequent as people usually say it (`usual.py`). Of somebody who always sounds angry to a network, it is the
network that errs: on voices that it never heard, this is so even where all that was heard before was spoken in one
emotion.

Nobody has to tell it anything: with the first sound of an utterance, the answer that the one before ended with joins
the mean. Where nothing was heard before, nothing is added, and the stream is the window. No training has a part.

What a speaker usually sounds like is taken away by Busso et al. 2011, "Iterative feature normalization for emotional
speech detection", who do so with features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeemo.workstation.graphs.editing import operand
from edgeemo.workstation.graphs.frontend import Heard
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.past import Carried
from edgeemo.workstation.graphs.usual import STRENGTH, last_softmax, usual_shares

LEAST_FRAMES = 25
"""Voiced frames of an utterance, below which it does not join the mean."""
MOST_UTTERANCES = 10
"""The mean is over so many utterances; from then on, it fades."""
PREFIX = "baseline/"


def add_baseline(network: ir.Graph, heard: Heard, labels: Sequence[str], carried: Carried) -> None:
    """Let a stream compare an answer with what it usually answers.

    Args:
        network: of a stream, ending with a softmax.
        heard: by its front end, which tells voiced frames.
        labels: what the network answers with.
        carried: the states of the stream's front end; those of the baseline are added.

    Raises:
        ExportError: the network ends otherwise.
    """
    assert heard.voiced is not None, "the recipe's [export] baseline asks for a level, which tells them"
    softmax = last_softmax(network, "baseline")
    nodes = Nodes(PREFIX)
    logits = operand(softmax, 0)
    usual, count = _usual(nodes, nodes("Softmax", logits, axis=-1), heard.voiced, len(labels), carried)
    softmax.replace_input_with(0, nodes("Add", logits, _adjustment(nodes, usual, count, labels)))
    nodes.insert(network, before=softmax)


def _usual(
    nodes: Nodes, answer: ir.Value, voiced: ir.Value, n_labels: int, carried: Carried
) -> tuple[ir.Value, ir.Value]:
    """The mean answer to the utterances before, shape `(1, n_labels)`, and how many these are, `(1, 1)`."""
    zero, one = nodes.floats(np.zeros((1, 1))), nodes.floats(np.ones((1, 1)))
    frames = carried.add((1, 1), "voiced frames of the utterance")
    before, frames_before, mean, count = (
        carried.add(shape, holds, lasting=True, voice=True)
        for shape, holds in (
            ((1, n_labels), "answer to the latest utterance"),
            ((1, 1), "voiced frames of the latest utterance"),
            ((1, n_labels), "mean answer to the utterances before"),
            ((1, 1), "utterances in that mean"),
        )
    )

    frames_now = nodes("Add", frames, nodes("ReduceSum", voiced, nodes.ints([1]), keepdims=0))
    speaks = nodes("Greater", frames_now, zero)
    begins = nodes("And", speaks, nodes("Equal", frames, zero))
    enough = nodes("Greater", frames_before, nodes.floats([[LEAST_FRAMES - 0.5]]))
    joins = nodes("Cast", nodes("And", begins, enough), to=ir.DataType.FLOAT)
    count_now = nodes("Min", nodes("Add", count, joins), nodes.floats([[float(MOST_UTTERANCES)]]))
    share = nodes("Div", joins, nodes("Max", count_now, one))
    mean_now = nodes("Add", mean, nodes("Mul", share, nodes("Sub", before, mean)))

    carried.carry(frames, frames_now)
    carried.carry(before, nodes("Where", speaks, answer, before))
    carried.carry(frames_before, nodes("Where", speaks, frames_now, frames_before))
    carried.carry(mean, mean_now)
    carried.carry(count, count_now)
    return mean_now, count_now


def _adjustment(nodes: Nodes, usual: ir.Value, count: ir.Value, labels: Sequence[str]) -> ir.Value:
    """What makes labels as frequent as people say them; the mean answer is as if one more had been usual."""
    shares = usual_shares(labels)[np.newaxis]
    together = nodes("Add", nodes("Mul", usual, count), nodes.floats(shares))
    frequent = nodes("Div", together, nodes("Add", count, nodes.floats([[1.0]])))
    rarer = nodes("Log", nodes("Div", nodes.floats(shares), frequent))
    return nodes("Mul", rarer, nodes.floats(STRENGTH), name="adjustment")
