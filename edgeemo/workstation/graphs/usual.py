"""How often people say each label, as far as anybody knows, and what follows for a network's answers.

A network that was trained on labels alike often answers as if people said each of them as often. With `[export]
usual`, what its file holds is adjusted half of the way to how often they do: to `usual_shares`.

From Saerens, Latinne and Decaestecker 2002, "Adjusting the outputs of a classifier to new a priori probabilities".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeemo.corpora.labels import NEUTRAL
from edgeemo.errors import ExportError
from edgeemo.workstation.graphs.editing import operand
from edgeemo.workstation.graphs.nodes import Nodes

NEUTRAL_SHARE = 1 / 3
"""How much of what people say is neutral, as far as anybody knows: at least so much, and at least as much as anything
else. Other labels are as frequent as each other."""
STRENGTH = 0.5
"""Of an adjustment. With 1, of utterances in one emotion too much is taken for the network's error."""
PREFIX = "usual/"

Array = npt.NDArray[np.floating]


def usual_shares(labels: Sequence[str]) -> npt.NDArray[np.float32]:
    """How frequent each label is in what people say, shape `(n_labels,)`, as is supposed."""
    neutral = np.array([label in NEUTRAL for label in labels])
    if neutral.all() or not neutral.any():
        return np.full(len(labels), 1 / len(labels), np.float32)
    n_neutral = int(neutral.sum())
    share = max(NEUTRAL_SHARE, n_neutral / len(labels))
    others = (1 - share) / (len(labels) - n_neutral)
    return np.where(neutral, np.float32(share / n_neutral), np.float32(others))


def adjusted(probabilities: Array, labels: Sequence[str]) -> Array:
    """Answers `(n_answers, n_labels)` of a network that learned labels alike often, as `add_usual` adjusts them."""
    powers = probabilities * usual_shares(labels) ** STRENGTH
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares.astype(probabilities.dtype)


def add_usual(network: ir.Graph, labels: Sequence[str]) -> None:
    """Let a network suppose what people usually say.

    Args:
        network: for a window, ending with a softmax.
        labels: what it answers with.

    Raises:
        ExportError: it ends otherwise.
    """
    softmax = last_softmax(network, "usual")
    nodes = Nodes(PREFIX)
    logits = operand(softmax, 0)
    shifted = nodes(
        "Add", logits, nodes.floats(STRENGTH * np.log(usual_shares(labels) * len(labels))[np.newaxis])
    )
    shifted.type, shifted.shape = logits.type, logits.shape
    softmax.replace_input_with(0, shifted)
    nodes.insert(network, before=softmax)


def last_softmax(network: ir.Graph, asked_by: str) -> ir.Node:
    """The softmax that a network ends with.

    Args:
        network: any.
        asked_by: the key of `[export]` that needs it.

    Raises:
        ExportError: it ends otherwise.
    """
    softmax = network.outputs[0].producer()
    if softmax is None or softmax.op_type != "Softmax":
        raise ExportError(
            f"[export] {asked_by} needs a network that ends with a softmax; leave it out, or add --softmax"
        )
    return softmax
