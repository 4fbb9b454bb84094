"""ONNX files put together byte by byte: the device's tests have no library that writes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeemo.metadata import KEY, ImageMetadata
from support.mutants import varint

LABELS = ("low", "middle", "high")


def part(number: int, content: bytes | str | int) -> bytes:
    """One field of a message."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content % (1 << 64))
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def node(operator: str, inputs: str, outputs: str, *attributes: bytes, domain: str = "") -> bytes:
    """A node; inputs and outputs are names with spaces between them."""
    names = [part(1, name) for name in inputs.split()] + [part(2, name) for name in outputs.split()]
    return part(1, b"".join([*names, part(4, operator), part(7, domain), *attributes]))


def whole(name: str, value: int) -> bytes:
    """An attribute that is a whole number."""
    return part(5, part(1, name) + part(20, 2) + part(3, value))


def constant(name: str, array: np.ndarray) -> bytes:
    """A constant of float32 or int64."""
    kind = {"f": 1, "i": 7}[array.dtype.kind]
    shape = b"".join(part(1, size) for size in array.shape)
    return part(5, shape + part(2, kind) + part(8, name) + part(9, array.tobytes()))


def floats(name: str, shape: Sequence[int]) -> bytes:
    """The description of an input or output."""
    dimensions = b"".join(part(1, part(1, size)) for size in shape)
    return part(1, name) + part(2, part(1, part(1, 1) + part(2, dimensions)))


def image_model(
    *nodes: bytes,
    metadata: ImageMetadata | None = None,
    extra: bytes = b"",
    texts: Sequence[tuple[str, str]] = (),
) -> bytes:
    """A model of images of 2 x 3 pixels: `image` -> `logits` (1, 3) -> what `nodes` make of them: `probabilities`.

    Args:
        nodes: what follows; softmax where there are none.
        metadata: what the file says of itself.
        extra: fields of the file besides.
        texts: more entries of ONNX's metadata.
    """
    metadata = metadata or ImageMetadata(
        name="made", summary="", labels=LABELS, n_parameters=18, licence="", height=2, width=3
    )
    weights = np.linspace(-0.01, 0.01, 18, dtype=np.float32).reshape(6, 3)
    graph = b"".join(
        [
            node("Flatten", "image", "flat"),
            node("MatMul", "flat weights", "logits"),
            *(nodes or [node("Softmax", "logits", "probabilities")]),
            part(2, "made"),
            constant("weights", weights),
            part(11, floats("image", (1, 2, 3))),
            part(12, floats("probabilities", (1, 3))),
        ]
    )
    entries = [(KEY, metadata.to_json()), *texts]
    return b"".join(
        [
            part(1, 8),
            part(8, part(2, 18)),
            part(8, part(1, "com.microsoft") + part(2, 1)),
            part(7, graph),
            extra,
            *(part(14, part(1, key) + part(2, text)) for key, text in entries),
        ]
    )
