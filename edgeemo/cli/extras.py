"""Libraries of an extra, on an installation without it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from edgeemo.cli.quiet import quiet_libraries
from edgeemo.errors import MissingExtraError

LIBRARIES = {
    "train": (
        "this command needs the workstation side",
        frozenset(
            {
                "PIL",
                "h5py",
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
        ),
    ),
    "cluster": ("--ray needs Ray", frozenset({"ray", "pandas", "pyarrow"})),
    "mqtt": ("--mqtt needs paho-mqtt", frozenset({"paho"})),
    "serve": ("--serve needs websockets", frozenset({"websockets"})),
}
"""What each extra is for, and what it installs, by import name."""


@contextmanager
def extras() -> Iterator[None]:
    """Around the imports of what an extra installs: a missing one of its libraries becomes one line.

    Raises:
        MissingExtraError: instead of the ImportError of one of `LIBRARIES`; any other error passes through.
    """
    try:
        yield
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        for extra, (need, libraries) in LIBRARIES.items():
            if missing in libraries:
                raise MissingExtraError(
                    f"{need} ({missing} is missing); pip install 'edgeemo[{extra}]', in a clone '.[{extra}]'"
                ) from error
        raise


@contextmanager
def workstation() -> Iterator[None]:
    """`extras` around the imports of a workstation command, some of which write to the terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A command started in a notebook inherits its backend, which need not be installed here. Plots are files.
    os.environ["MPLBACKEND"] = "agg"
    # TensorFlow writes notices when it is imported, before any log level counts.
    with quiet_libraries(), extras():
        yield
    import logging

    # It warns of every other network that is trained in one process.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # It remarks on values whose type nobody needs.
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    # What it cannot convert is said in the error.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
