"""Network graphs written by hand: what other tools export, and what would take seconds to convert from Keras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from edgeemo.metadata import State
from edgeemo.workstation.graphs.editing import OPSET, as_model, open_session, shape_of


class Hand:
    """Writes a graph operator by operator; the same seed and the same calls give the same weights.

    Args:
        n_frames: frames of its features.
        n_mels: bands of its features.
        seed: of the weights.

    Attributes:
        features: the graph's input.
    """

    def __init__(self, n_frames: int, n_mels: int = 4, *, seed: int = 0) -> None:
        self.features = ir.val("features", dtype=ir.DataType.FLOAT, shape=(1, n_frames, n_mels))
        self._rng = np.random.default_rng(seed)
        self._nodes: list[ir.Node] = []
        self._constants: list[ir.Value] = []

    def __call__(
        self, op_type: str, *inputs: Any, name: str = "", outputs: int = 1, **attributes: Any
    ) -> Any:
        """Add a node; its output, or all of them if there are several. Arrays become constants, None is left out."""
        values = [self.constant(v) if isinstance(v, np.ndarray) else v for v in inputs]
        name = name or f"{op_type.lower()}_{len(self._nodes)}"
        made = [ir.Value(name=f"{name}:{i}") for i in range(outputs)]
        self._nodes.append(ir.node(op_type, values, attributes, outputs=made, name=name))
        return made[0] if outputs == 1 else tuple(made)

    def constant(self, array: np.ndarray) -> ir.Value:
        name = f"constant_{len(self._constants)}"
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        self._constants.append(value)
        return value

    def weights(self, *shape: int) -> np.ndarray:
        """Random weights that make any layer's output about as large as its input."""
        fan_in = max(1, int(np.prod(shape[1:])))
        return self._rng.normal(0, 1 / np.sqrt(fan_in), shape).astype(np.float32)

    def shift(self, *shape: int) -> np.ndarray:
        return self._rng.normal(0, 0.5, shape).astype(np.float32)

    def lstm(self, x: Any, n_in: int, units: int, *, op_type: str = "LSTM", **attributes: Any) -> Any:
        """A recurrent node on `x (n_frames, 1, n_in)`.

        Returns:
            all outputs, `(n_frames, 1, 1, units)`, and the last, `(1, 1, units)`.
        """
        gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op_type]
        ways = 2 if attributes.get("direction") == "bidirectional" else 1
        weights = [
            self.weights(ways, gates * units, n_in),
            self.weights(ways, gates * units, units),
            self.shift(ways, 2 * gates * units),
        ]
        outputs = 3 if op_type == "LSTM" else 2
        return self(op_type, x, *weights, outputs=outputs, hidden_size=units, **attributes)[:2]

    def dense(self, x: Any, n_in: int, n_out: int) -> Any:
        weights = self._rng.normal(0, 1 / np.sqrt(n_in), (n_in, n_out)).astype(np.float32)
        return self("Add", self("MatMul", x, weights), self.shift(n_out))

    def head(self, x: Any, n_in: int) -> Any:
        """The answer of `x (1, n_in)`."""
        return self("Softmax", self.dense(x, n_in, 3), name="answer", axis=-1)

    def graph(self, output: Any) -> ir.Graph:
        """The graph that was written, with all shapes."""
        graph = ir.Graph(
            [self.features],
            [output],
            nodes=self._nodes,
            initializers=self._constants,
            opset_imports={"": OPSET},
            name="by hand",
        )
        output.dtype = ir.DataType.FLOAT
        proto = ir.to_proto(as_model(graph))
        inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
        return ir.from_proto(inferred).graph


def runner(graph: ir.Graph) -> Callable[..., list[np.ndarray]]:
    """Check a graph; what it returns runs the graph on values of its inputs, in their order."""
    model = as_model(graph)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    session = open_session(model)
    names = [value.name for value in session.get_inputs()]
    return lambda *values: session.run(None, dict(zip(names, values, strict=True)))


def run(graph: ir.Graph, features: np.ndarray) -> np.ndarray:
    """The first output for features of shape `(n_frames, n_mels)`."""
    return runner(graph)(features[np.newaxis])[0]


def run_steps(
    graph: ir.Graph, states: Sequence[State], features: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Run a stream graph over features, from states of zero: the answer after each step, and the final states."""
    step = runner(graph)
    n = shape_of(graph.inputs[0])[1]
    carried = [np.zeros(state.shape, np.float32) for state in states]
    answers = []
    for start in range(0, len(features), n):
        answer, *carried = step(features[np.newaxis, start : start + n], *carried)
        answers.append(answer)
    return answers, carried


def op_types(graph: ir.Graph) -> list[str]:
    return [node.op_type for node in graph]
