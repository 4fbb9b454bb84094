"""What comes before the first frame of a graph's audio: zeros in a window graph, a state in a stream graph.

Wherever a causal network looks back, it asks one of these for a value with its past in front. That is the whole
difference between the two kinds of graph.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import onnx_ir as ir

from edgeemo.metadata import State
from edgeemo.workstation.graphs.editing import shape_of
from edgeemo.workstation.graphs.nodes import Nodes

END = np.iinfo(np.int64).max


class Past(Protocol):
    """Puts the past in front of a value."""

    def __call__(self, nodes: Nodes, value: ir.Value, n: int, axis: int, holds: str) -> ir.Value:
        """Give `value` with the `n` positions that came before it, along `axis`.

        Args:
            nodes: records the nodes.
            value: of known shape.
            n: how many positions.
            axis: along which time runs.
            holds: what these positions are, for people: "frames before conv2d".
        """
        ...

    def recall(self, nodes: Nodes, shape: tuple[int, ...], holds: str, *, lasting: bool = True) -> ir.Value:
        """Give what was remembered with `carry` at the end of what came before; zeros at the start.

        Args:
            nodes: records the nodes.
            shape: of it.
            holds: what it is, for people.
            lasting: a new utterance does not end it: it is of the microphone and the voice.
        """
        ...

    def carry(self, state: ir.Value, following: ir.Value) -> None:
        """Say what that which `recall` gave becomes."""
        ...


class Zeros:
    """The past of a window: zeros, as causal padding."""

    def __call__(self, nodes: Nodes, value: ir.Value, n: int, axis: int, holds: str) -> ir.Value:
        """See `Past`."""
        del holds
        assert value.shape is not None
        pads = np.zeros(2 * len(value.shape), np.int64)
        pads[axis] = n
        return nodes("Pad", value, nodes.ints(pads), name="past")

    def recall(self, nodes: Nodes, shape: tuple[int, ...], holds: str, *, lasting: bool = True) -> ir.Value:
        """See `Past`."""
        del holds, lasting
        return nodes.floats(np.zeros(shape))

    def carry(self, state: ir.Value, following: ir.Value) -> None:
        """See `Past`: nothing comes after a window."""


class Carried:
    """The past of a stream: an input of the graph, which the step before left, and an output for the next step.

    Args:
        name: of the states, without their number.

    Attributes:
        states: what the graph carries, in the order asked for.
        inputs: the graph input of each.
        outputs: the graph output of each.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.states: list[State] = []
        self.inputs: list[ir.Value] = []
        self.outputs: list[ir.Value] = []

    def __call__(
        self, nodes: Nodes, value: ir.Value, n: int, axis: int, holds: str, *, n_new: int | None = None
    ) -> ir.Value:
        """See `Past`.

        Args:
            nodes, value, n, axis, holds: see `Past`.
            n_new: how many positions of `value` are not in front of it in the next step, if not all: it may have
                some of its past already.
        """
        if n == 0:
            return value
        shape = shape_of(value)
        n_new = shape[axis] if n_new is None else n_new
        state = self.add((*shape[:axis], n, *shape[axis + 1 :]), f"{n} {holds}")
        joined = nodes("Concat", state, value, axis=axis)
        joined.type = value.type
        joined.shape = ir.Shape((*shape[:axis], n + shape[axis], *shape[axis + 1 :]))
        bounds = (nodes.ints([n_new]), nodes.ints([n_new + n]), nodes.ints([axis]))
        self.carry(state, nodes("Slice", joined, *bounds))
        return joined

    def recall(self, nodes: Nodes, shape: tuple[int, ...], holds: str, *, lasting: bool = True) -> ir.Value:
        """See `Past`."""
        del nodes
        return self.add(shape, holds, lasting=lasting)

    def add(
        self,
        shape: tuple[int, ...],
        holds: str,
        *,
        lasting: bool = False,
        voice: bool = False,
        name: str | None = None,
    ) -> ir.Value:
        """A new state, as the graph input that holds it; tell `carry` its next value."""
        name = name or f"{self._name}_{len(self.states) + 1}"
        state = State(name=name, shape=shape, holds=holds, lasting=lasting, voice=voice)
        value = ir.val(state.name, dtype=ir.DataType.FLOAT, shape=shape)
        self.states.append(state)
        self.inputs.append(value)
        self.outputs.append(value)
        return value

    def carry(self, state: ir.Value, following: ir.Value) -> None:
        """See `Past`."""
        index = self.inputs.index(state)
        following.name = self.states[index].next_name
        following.type, following.shape = state.type, state.shape
        self.outputs[index] = following
