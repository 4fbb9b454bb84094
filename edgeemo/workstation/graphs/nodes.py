"""Writing graph nodes the way one writes expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
import onnx_ir.tape
from numpy.typing import ArrayLike

Attribute = int | float | str | Sequence[int]
"""What nodes written here have for attributes."""


class Nodes:
    """Records nodes and constants, each with a name of its own: `prefix`, what it is, and a number.

    Args:
        prefix: of every name; one that occurs nowhere else in the graph that the nodes are for.

    Attributes:
        tape: the nodes and initialisers recorded so far.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.tape = ir.tape.Tape()
        self._count = 0
        self._named: dict[str, ir.Value] = {}

    def __call__(
        self, op_type: str, *inputs: ir.Value | None, name: str = "", **attributes: Attribute
    ) -> ir.Value:
        """Add a node of one output; None is an input that is left out."""
        name = self._name(name or op_type)
        return self.tape.op(op_type, inputs, attributes or None, name=name, output=ir.Value(name=name))

    def floats(self, values: ArrayLike, dtype: type[np.floating] = np.float32) -> ir.Value:
        """A constant of floating-point numbers."""
        return self.constant(np.asarray(values, dtype))

    def ints(self, values: ArrayLike) -> ir.Value:
        """A constant of int64 numbers."""
        return self.constant(np.asarray(values, np.int64))

    def once(self, name: str, values: Callable[[], np.ndarray]) -> ir.Value:
        """A constant that is stored once, however often its name is asked for."""
        if name not in self._named:
            self._named[name] = self.constant(values())
        return self._named[name]

    def range(self, stop: int | ir.Value) -> ir.Value:
        """The integers below `stop`."""
        stop = self.ints(stop) if isinstance(stop, int) else stop
        return self("Range", self.ints(0), stop, self.ints(1))

    def insert(self, graph: ir.Graph, before: ir.Node) -> None:
        """Move what was recorded into a graph; the tape starts anew."""
        graph.insert_before(before, list(self.tape.nodes))
        for initializer in self.tape.initializers:
            graph.register_initializer(initializer)
        self.tape = ir.tape.Tape()

    def constant(self, array: np.ndarray) -> ir.Value:
        """A constant of any type."""
        return self.tape.initializer(ir.tensor(array), name=self._name("constant"))

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{self.prefix}{what}_{self._count}"
