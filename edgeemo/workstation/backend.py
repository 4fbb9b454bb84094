"""What Keras computes with: TensorFlow, which also exports, or another library where a GPU is at hand to train on."""

from __future__ import annotations

import importlib.util
import os
import sys

from edgeemo.errors import MissingExtraError, TrainingError


def use_backend(backend: str) -> None:
    """Choose the library; before anything imports Keras, which looks at it then.

    Args:
        backend: `tensorflow`, `jax` or `torch`, which are names of packages too.

    Raises:
        MissingExtraError: it is not installed.
        TrainingError: Keras runs on another one in this process.
    """
    if backend != "tensorflow" and importlib.util.find_spec(backend) is None:
        raise MissingExtraError(
            f"--backend {backend} needs {backend}, which is not installed; pip install {backend}"
        )
    if "keras" in sys.modules and (running := sys.modules["keras"].backend.backend()) != backend:
        raise TrainingError(f"Keras runs on {running} in this process, expected {backend}; start a new one")
    os.environ["KERAS_BACKEND"] = backend


def limit_threads(n_threads: int) -> None:
    """Before the first operation: let the library use so many threads in this process; 0: as many as it likes.

    Raises:
        TrainingError: JAX has no such limit.
    """
    if not n_threads:
        return
    backend = os.environ["KERAS_BACKEND"]
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(n_threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    elif backend == "torch":
        import torch

        torch.set_num_threads(n_threads)
    else:
        raise TrainingError(
            f"--threads {n_threads} is for tensorflow and torch, got --backend {backend}; leave it out"
        )
