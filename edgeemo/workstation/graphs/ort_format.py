"""onnxruntime's own format, and what a reduced onnxruntime build must contain to run it.

A minimal build (mobile, microcontroller-class Linux) reads no ONNX and optimises nothing at load. So the file holds
the optimised graph, with its constants computed: the front end's matrices, and the weights that `widen` stored in
fewer bits. That makes it larger than the ONNX file, except for int8 operators.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import onnxruntime as ort

from edgeemo.files import replacing, write_text
from edgeemo.session import session_options

_CONFIG_SUFFIX = ".required_operators_and_types.config"


def to_ort_format(path_onnx: Path, path_ort: Path) -> Path:
    """Convert a model file, with its metadata.

    Args:
        path_onnx: an ONNX file.
        path_ort: the file to write; its name must end with `.ort`, by which onnxruntime recognises the format.

    Returns:
        the file beside `path_ort` that lists the operators that a reduced build needs, and the types it needs them
        for. onnxruntime's `build.py --include_ops_by_config` reads it (with
        `--enable_reduced_operator_type_support`).

    Raises:
        ValueError: the name of `path_ort` ends with another suffix.
    """
    if path_ort.suffix != ".ort":
        raise ValueError(f"{path_ort}: the name of a file in onnxruntime's format must end with .ort")
    path_config = path_ort.with_suffix(_CONFIG_SUFFIX)
    with replacing(path_ort) as temporary:
        options = session_options()
        options.optimized_model_filepath = str(temporary)
        options.add_session_config_entry("session.save_model_format", "ORT")
        # Left out: its block size is this processor's, and the file is for any.
        ort.InferenceSession(
            str(path_onnx),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["NchwcTransformer"],
        )
        config = _required_operators(temporary).replace(str(temporary), path_ort.name)
    write_text(path_config, config)
    return path_config


def ort_format_files(path_ort: Path) -> tuple[Path, Path]:
    """What `to_ort_format` writes: the file in onnxruntime's format, and the list of operators."""
    return path_ort, path_ort.with_suffix(_CONFIG_SUFFIX)


def _required_operators(path: Path) -> str:
    """onnxruntime's list of operators and types of a file in its own format."""
    # When they are imported, onnxruntime's tools give the root logger a handler; and they log more than warnings.
    handlers = logging.root.handlers[:]
    from onnxruntime.tools.ort_format_model import create_config_from_models

    logging.root.handlers[:] = handlers
    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config"
        create_config_from_models([path], config, enable_type_reduction=True)
        return config.read_text(encoding="utf-8")
