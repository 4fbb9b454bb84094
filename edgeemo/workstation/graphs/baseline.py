"""What a voice usually sounds like, and what it is usually called: lasting states of a stream graph.

A stream remembers two things of the utterances before, both means: the *embedding*, which is what the last layer sees
of an utterance, and the *answer*. To the logits it adds

- what the network's history says of the embedding less the usual one;
- half of what makes every label as frequent as people usually say it (`usual_shares`). Of somebody who always sounds
  angry to the network, it is the network that errs: on voices that it never heard, this is so even where all that was
  heard before was spoken in one emotion.

Nobody has to tell it anything: with the first sound of an utterance, what the one before ended with joins the means.
Where nothing was heard before, nothing is added, and the stream is the window.

Normalising by what a speaker usually sounds like is from Busso et al. 2011, "Iterative feature normalization for
emotional speech detection", and 2013, "Iterative feature normalization scheme for automatic emotion detection from
speech"; adjusting answers to how frequent labels are from Saerens, Latinne and Decaestecker 2002, "Adjusting the
outputs of a classifier to new a priori probabilities".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeemo.corpora.labels import NEUTRAL
from edgeemo.errors import ExportError
from edgeemo.workstation.graphs.editing import constant, operand
from edgeemo.workstation.graphs.frontend import Heard
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.past import Carried

LEAST_FRAMES = 25
"""Voiced frames of an utterance, below which it does not join the mean."""
MOST_UTTERANCES = 10
"""The means are over so many utterances; from then on, they fade."""
NEUTRAL_SHARE = 1 / 3
"""How much of what people say is neutral, as far as anybody knows; other labels are as frequent as each other."""
STRENGTH = 0.5
"""Of the adjustment. With 1, of utterances in one emotion too much is taken for the network's error."""
PREFIX = "baseline/"
_MEANS = ("Add", "Sum", "Mean", "Mul", "Div")


def usual_shares(labels: Sequence[str]) -> npt.NDArray[np.float32]:
    """How frequent each label is in what people say, shape `(n_labels,)`, as a stream supposes."""
    neutral = np.array([label in NEUTRAL for label in labels])
    if neutral.all() or not neutral.any():
        return np.full(len(labels), 1 / len(labels), np.float32)
    n_neutral = int(neutral.sum())
    others = (1 - NEUTRAL_SHARE) / (len(labels) - n_neutral)
    return np.where(neutral, np.float32(NEUTRAL_SHARE / n_neutral), np.float32(others))


def add_baseline(
    network: ir.Graph,
    heard: Heard,
    relative: npt.NDArray[np.float32],
    labels: Sequence[str],
    carried: Carried,
) -> None:
    """Let a stream compare a voice with what it usually sounds like, and with what it is usually called.

    Args:
        network: of a stream, ending with a dense layer and a softmax, or with the mean of several such layers.
        heard: by its front end.
        relative: what is made of a difference, shape `(n_values, n_labels)`.
        labels: what the network answers with.
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
    utterances = _Utterances(nodes, heard.voiced, carried)
    difference = nodes("Sub", embedding, utterances.mean(embedding, len(relative), "embedding of"))
    any_heard = nodes("Min", utterances.count, nodes.floats([[1.0]]))
    added = nodes("MatMul", nodes("Mul", difference, any_heard), nodes.floats(relative), name="relative")
    logits = nodes("Add", operand(softmax, 0), added)
    answer = nodes("Softmax", logits, axis=-1)
    usual = utterances.mean(answer, len(labels), "answer to")
    softmax.replace_input_with(0, nodes("Add", logits, _adjustment(nodes, usual, utterances.count, labels)))
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


def _adjustment(nodes: Nodes, usual: ir.Value, count: ir.Value, labels: Sequence[str]) -> ir.Value:
    """What makes labels as frequent as people say them; the mean answer is as if one more had been usual."""
    shares = usual_shares(labels)[np.newaxis]
    together = nodes("Add", nodes("Mul", usual, count), nodes.floats(shares))
    frequent = nodes("Div", together, nodes("Add", count, nodes.floats([[1.0]])))
    rarer = nodes("Log", nodes("Div", nodes.floats(shares), frequent))
    return nodes("Mul", rarer, nodes.floats(STRENGTH), name="adjustment")


class _Utterances:
    """The utterances that a stream has heard, and means over them.

    Args:
        nodes: what the graph is written with.
        voiced: whether each new frame is, shape `(1, n_frames)`.
        carried: gets the states.

    Attributes:
        count: how many are in the means, shape `(1, 1)`.
    """

    def __init__(self, nodes: Nodes, voiced: ir.Value, carried: Carried) -> None:
        self._nodes, self._carried = nodes, carried
        frames = carried.add((1, 1), "voiced frames of the utterance")
        frames_before = self._lasting(1, "voiced frames of the latest utterance")
        count = self._lasting(1, "utterances in the means")

        zero, one = nodes.floats(np.zeros((1, 1))), nodes.floats(np.ones((1, 1)))
        frames_now = nodes("Add", frames, nodes("ReduceSum", voiced, nodes.ints([1]), keepdims=0))
        self._speaks = nodes("Greater", frames_now, zero)
        begins = nodes("And", self._speaks, nodes("Equal", frames, zero))
        enough = nodes("Greater", frames_before, nodes.floats([[LEAST_FRAMES - 0.5]]))
        joins = nodes("Cast", nodes("And", begins, enough), to=ir.DataType.FLOAT)
        self.count = nodes("Min", nodes("Add", count, joins), nodes.floats([[float(MOST_UTTERANCES)]]))
        self._share = nodes("Div", joins, nodes("Max", self.count, one))

        carried.carry(frames, frames_now)
        carried.carry(frames_before, nodes("Where", self._speaks, frames_now, frames_before))
        carried.carry(count, self.count)

    def mean(self, value: ir.Value, n_values: int, what: str) -> ir.Value:
        """The mean of what utterances ended with, shape `(1, n_values)`; zeros before the second."""
        nodes = self._nodes
        before = self._lasting(n_values, f"{what} the latest utterance")
        mean = self._lasting(n_values, f"mean {what} the utterances before")
        mean_now = nodes("Add", mean, nodes("Mul", self._share, nodes("Sub", before, mean)))
        self._carried.carry(before, nodes("Where", self._speaks, value, before))
        self._carried.carry(mean, mean_now)
        return mean_now

    def _lasting(self, n_values: int, holds: str) -> ir.Value:
        return self._carried.add((1, n_values), holds, lasting=True, voice=True)
