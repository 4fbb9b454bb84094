"""Model files and onnxruntime: reading a file, opening it, and checking that its graph is what its metadata says."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from edgeemo.errors import ModelError
from edgeemo.limits import MAX_FILE_BYTES
from edgeemo.metadata import CHECKSUM_KEY, KEY
from edgeemo.onnx_file import read_onnx
from edgeemo.screening import screen

_ORT_FORMAT = b"ORTM"
_MAX_REASON = 300
"""Characters of what a library says of an error."""


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A model file that was read and may be run.

    Attributes:
        path: where it was read.
        content: all of it.
        metadata: the JSON that it carries.
        graph: SHA-256 of its graph, of a file in onnxruntime's own format of all of it.
    """

    path: Path
    content: bytes
    metadata: str
    graph: str


def read_model_file(path: Path) -> ModelFile:
    """Read a model file, and check what can be checked before it is run.

    Raises:
        ModelError: the file is missing or too large, is not ONNX, carries no metadata or is damaged; its graph has an
            operator, a size or a part that is refused (see `edgeemo.limits`).
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model file; `edgeemo models` lists the shipped ones")
    try:
        if (n_bytes := path.stat().st_size) > MAX_FILE_BYTES:
            raise ModelError(f"{path}: {n_bytes} bytes; a model file has at most {MAX_FILE_BYTES}")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    if content[4:8] == _ORT_FORMAT:
        return _in_ort_format(path, content)
    try:
        file = read_onnx(content)
    except ValueError as error:
        raise ModelError(f"{path}: not a model that edgeemo can load, or a damaged one ({error})") from error
    if KEY not in file.metadata:
        raise ModelError(f"{path}: an ONNX file without edgeemo metadata; make one with `edgeemo export`")
    if file.metadata.get(CHECKSUM_KEY, digest := file.graph_sha256()) != digest:
        raise ModelError(f"{path}: damaged: its graph is not what its checksum says; get the file again")
    try:
        screen(file)
    except ValueError as error:
        raise ModelError(f"{path}: its graph is refused: {error}") from error
    return ModelFile(path=path, content=content, metadata=file.metadata[KEY], graph=digest)


def _in_ort_format(path: Path, content: bytes) -> ModelFile:
    """A file in onnxruntime's own format, into which only onnxruntime can look: whoever runs one trusts its maker."""
    unread = ModelFile(path=path, content=content, metadata="", graph=hashlib.sha256(content).hexdigest())
    metadata = open_session(unread, session_options()).get_modelmeta().custom_metadata_map.get(KEY)
    if metadata is None:
        raise ModelError(f"{path}: a file without edgeemo metadata; make one with `edgeemo export`")
    return dataclasses.replace(unread, metadata=metadata)


def session_options(n_threads: int = 1) -> ort.SessionOptions:
    """onnxruntime options for an always-on loop: few threads, none of them spinning, no log chatter."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def open_session(file: ModelFile, options: ort.SessionOptions) -> ort.InferenceSession:
    """Let onnxruntime load a model file.

    Raises:
        ModelError: it cannot.
    """
    try:
        return ort.InferenceSession(file.content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"{file.path}: onnxruntime cannot load it as a model ({reason(error)})") from error


def reason(error: Exception) -> str:
    """What a library says of an error, as a short line without control characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text[:_MAX_REASON])


def check_graph(
    session: ort.InferenceSession,
    path: Path,
    inputs: Iterable[tuple[str, tuple[int | str, ...]]],
    outputs: Iterable[tuple[str, tuple[int | str, ...]]],
) -> None:
    """Check names and shapes of a graph's inputs and outputs, all float32, against its metadata.

    A dimension that is open has a name instead of a number.

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
