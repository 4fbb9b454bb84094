"""Commands of the workstation side, on a machine that has only the device side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgeemo.errors import MissingExtraError

LIBRARIES = frozenset(
    {
        "keras",
        "librosa",
        "matplotlib",
        "onnx",
        "onnx_ir",
        "onnxscript",
        "sklearn",
        "tensorflow",
        "tf2onnx",
    }
)
"""What the extra `train` installs, by import name."""


@contextmanager
def workstation() -> Iterator[None]:
    """Around the imports of a workstation command: a missing library of the extra becomes one line.

    Raises:
        MissingExtraError: instead of the ImportError of one of `LIBRARIES`; any other error passes through.
    """
    try:
        yield
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in LIBRARIES:
            raise
        raise MissingExtraError(
            f"this command needs the workstation side ({missing} is missing); pip install 'edgeemo[train]'"
        ) from error
