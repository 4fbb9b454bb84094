"""onnxruntime: opening a model file, and checking that its graph is what its metadata says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnxruntime as ort

from edgeemo.errors import ModelError
from edgeemo.metadata import KEY


def session_options(n_threads: int = 1) -> ort.SessionOptions:
    """onnxruntime options for an always-on loop: few threads, none of them spinning, no log chatter."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def open_session(path: Path, options: ort.SessionOptions) -> ort.InferenceSession:
    """Let onnxruntime load a model file.

    Raises:
        ModelError: the file is missing, or is not ONNX.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model file; `edgeemo models` lists the shipped ones")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: onnxruntime cannot load it as a model ({reason})") from error


def stored_metadata(session: ort.InferenceSession, path: Path) -> str:
    """The JSON that a model file carries; `path` is only for the error.

    Raises:
        ModelError: there is none.
    """
    value: str | None = session.get_modelmeta().custom_metadata_map.get(KEY)
    if value is None:
        raise ModelError(f"{path}: an ONNX file without edgeemo metadata; make one with `edgeemo export`")
    return value


def check_graph(
    session: ort.InferenceSession,
    path: Path,
    inputs: Iterable[tuple[str, tuple[int, ...]]],
    outputs: Iterable[tuple[str, tuple[int, ...]]],
) -> None:
    """Check names and shapes of a graph's inputs and outputs, all float32, against its metadata.

    Raises:
        ModelError: they differ.
    """
    for what, values, expected in (
        ("inputs", session.get_inputs(), inputs),
        ("outputs", session.get_outputs(), outputs),
    ):
        found = _described((v.name, v.type, v.shape) for v in values)
        wanted = _described((name, "tensor(float)", shape) for name, shape in expected)
        if found != wanted:
            raise ModelError(
                f"{path}: graph has {what} {', '.join(found)}, its metadata says {', '.join(wanted)}; "
                "export the model again"
            )


def _described(values: Iterable[tuple[str, str, Iterable[int | str]]]) -> list[str]:
    """Name, type and shape of graph inputs or outputs as text, sorted: they are matched by name."""
    return sorted(f"{name}: {kind} {list(shape)}" for name, kind, shape in values)
