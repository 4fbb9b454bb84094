"""The front end as standard ONNX operators, raw PCM in: a module for each stage, and the whole."""

from edgeemo.workstation.graphs.frontend.frontend import (
    PREFIX,
    FrontEnd,
    Levelling,
    add_frontend,
    frontend_model,
    levelling_model,
)
from edgeemo.workstation.graphs.frontend.levelling import Heard
from edgeemo.workstation.graphs.frontend.mel import mel_frequencies

__all__ = [
    "PREFIX",
    "FrontEnd",
    "Heard",
    "Levelling",
    "add_frontend",
    "frontend_model",
    "levelling_model",
    "mel_frequencies",
]
