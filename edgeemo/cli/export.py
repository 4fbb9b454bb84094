"""`edgeemo export`: a trained Keras model to one checked ONNX file."""

from __future__ import annotations


def export() -> None:
    """Export a trained model."""
