"""The ranges of a network's values over calibration data.

From the least to the greatest, not a percentile and not what loses least entropy. On RAVDESS features and trained
networks, percentiles of 99.99 and above and least squares gave the same errors as this (mean difference in
probability 0.0006 to 0.005), a percentile of 99.9 up to twice those, least entropy 2 to 12 times. Networks like
these have no far outliers, because their features have none: these are relative to a running peak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common
import onnxruntime as ort

from edgeemo.errors import ExportError
from edgeemo.model import session_options

Batch = Mapping[str, np.ndarray]
"""Graph inputs by name."""


def value_ranges(model: ir.Model, batches: Sequence[Batch]) -> dict[str, tuple[float, float]]:
    """Run a network, and note the least and greatest number of every float32 value in it.

    Args:
        model: not changed.
        batches: one per run.

    Returns:
        (least, greatest) by the value's name.

    Raises:
        ExportError: no batches, inputs that the network does not have, or numbers that are not finite.
    """
    inputs = [value.name for value in model.graph.inputs]
    if not batches:
        raise ExportError("quantisation needs calibration data, got none")
    for batch in batches:
        if set(batch) != set(inputs):
            raise ExportError(f"calibration data for {sorted(batch)}, the network takes {sorted(inputs)}")
    session, outputs = _observed(model)
    ranges: dict[str, tuple[float, float]] = {}
    for batch in batches:
        computed = zip(outputs, session.run(outputs, dict(batch)), strict=True)
        for name, array in [*batch.items(), *computed]:
            least, greatest = float(array.min()), float(array.max())
            if not (np.isfinite(least) and np.isfinite(greatest)):
                raise ExportError(f"{name} is not finite on calibration data, and cannot be quantised")
            before = ranges.get(name, (least, greatest))
            ranges[name] = min(least, before[0]), max(greatest, before[1])
    return ranges


def _observed(model: ir.Model) -> tuple[ort.InferenceSession, list[str]]:
    """A session that gives every float32 value that a node computes, and their names."""
    model = model.clone()
    onnx_ir.passes.common.ShapeInferencePass(strict_mode=False)(model)
    values = [
        output
        for node in model.graph
        for output in node.outputs
        if output.name and output.dtype == ir.DataType.FLOAT
    ]
    model.graph.outputs[:] = values
    options = session_options()
    # As written: fused operators would be split by their new outputs anyway.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session, [str(value.name) for value in values]
