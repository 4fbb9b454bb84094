"""Commands of the workstation side, on a machine that has only the device side."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from edgeemo.cli.quiet import quiet_libraries
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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        # TensorFlow writes notices when it is imported, before any log level counts.
        with quiet_libraries():
            yield
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in LIBRARIES:
            raise
        raise MissingExtraError(
            f"this command needs the workstation side ({missing} is missing); pip install 'edgeemo[train]'"
        ) from error
