"""The last stage: constants of one's own training, or what a window itself says."""

from __future__ import annotations

import onnx_ir as ir

from edgeemo.features import Features
from edgeemo.workstation.graphs.nodes import Nodes

_LEAST_STD = 1e-8


def add_normalisation(nodes: Nodes, columns: ir.Value, features: Features) -> ir.Value:
    """Columns as a network was trained on them, shape `(n_clips, n_frames, n_columns)`."""
    if features.mean:
        columns = nodes("Sub", columns, nodes.floats(features.mean))
    if features.std:
        columns = nodes("Div", columns, nodes.floats(features.std))
    if features.standardise != "none":
        axes = nodes.ints([1, 2] if features.standardise == "all" else [1])
        columns = nodes("Sub", columns, nodes("ReduceMean", columns, axes))
        variance = nodes("ReduceMean", nodes("Mul", columns, columns), axes)
        columns = nodes("Div", columns, nodes("Max", nodes("Sqrt", variance), nodes.floats(_LEAST_STD)))
    return columns
