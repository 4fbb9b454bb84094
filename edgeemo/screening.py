"""Whether the graph in a file is one that may be run: its operators, and the sizes that stand in it.

Checked before onnxruntime sees the file, because onnxruntime computes what it can while it loads: a constant of 4 GB,
or a division by zero that ends the process.
"""

from __future__ import annotations

import math

import numpy as np

from edgeemo.limits import MAX_ELEMENTS, OPERATORS
from edgeemo.onnx_file import Node, Numbers, OnnxFile

_SIZES = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Tile": (1,),
    "OneHot": (1,),
    "HannWindow": (0,),
    "HammingWindow": (0,),
    "Upsample": (1,),
    "Resize": (1, 2, 3),
}
"""Operator -> which inputs are sizes or factors that multiply."""

_SPREADING = ("kernel_shape", "strides", "dilations", "output_shape", "output_padding", "hidden_size")
"""Attributes likewise."""


def screen(file: OnnxFile) -> None:
    """Refuse a graph that must not be run.

    Raises:
        ValueError: one line: an operator is not among `edgeemo.limits.OPERATORS`, an input or a value that a node
            makes is too large, or whole numbers are divided by zero.
    """
    for name, shape in file.inputs.items():
        if math.prod(shape) > MAX_ELEMENTS:
            raise ValueError(
                f"its input {name!r} is {math.prod(shape)} numbers, expected at most {MAX_ELEMENTS}"
            )
    for node in file.nodes:
        if node.operator not in OPERATORS:
            raise ValueError(f"it has the operator {node.operator!r}, which edgeemo does not run")
        inputs = [file.constants.get(name) if name else None for name in node.inputs]
        size = _size(node, inputs)
        if not size <= MAX_ELEMENTS:
            raise ValueError(f"a {node.operator} makes {size:.3g} numbers, expected at most {MAX_ELEMENTS}")
        if node.operator in ("Div", "Mod") and len(inputs) > 1 and _is_fatal(inputs[1]):
            raise ValueError("it divides whole numbers by 0 or -1")


def _size(node: Node, inputs: list[Numbers | None]) -> float:
    """How many numbers a node makes of sizes that stand in the file; 1 where there are none."""

    def known(index: int) -> Numbers | None:
        return inputs[index] if index < len(inputs) else None

    if node.operator == "Range":
        start, stop, step = (known(i) for i in range(3))
        if start is not None and stop is not None and step is not None and start.size * stop.size * step.size:
            return _count(float(start.flat[0]), float(stop.flat[0]), float(step.flat[0]))
        return 1.0
    size = 1.0
    for index in _SIZES.get(node.operator, ()):
        if (factors := known(index)) is not None:
            size *= _product(factors)
    for name in _SPREADING:
        if name in node.integers:
            size *= _product(np.array(node.integers[name], np.float64))
    pads = known(1) if node.operator == "Pad" else None
    if "pads" in node.integers:
        pads = np.array(node.integers["pads"], np.int64)
    if pads is not None and pads.size:
        before, after = np.array_split(np.maximum(pads.astype(np.float64), 0), 2)
        size *= _product(1 + before + (after if after.size == before.size else 0))
    return size


def _product(factors: Numbers) -> float:
    """The product of what multiplies; sizes below 1 stand for something else. NaN if there is one."""
    with np.errstate(over="ignore"):
        return float(np.prod(np.maximum(factors.astype(np.float64), 1)))


def _count(start: float, stop: float, step: float) -> float:
    """How many numbers a Range makes."""
    return (stop - start) / step if step else math.inf


def _is_fatal(divisor: Numbers | None) -> bool:
    """Whether dividing whole numbers by it may end the process: by 0, or the least number by -1."""
    return divisor is not None and divisor.dtype == np.int64 and bool(np.isin(divisor, (0, -1)).any())
