"""The static page of one model, as a folder: what any web server, or none but `server.py`, can serve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeemo.files import replacing
from edgeemo.model import load
from edgeemo.places import name_of
from edgeemo.voice import VOICE_PATH

_SOURCES = Path(__file__).resolve().parent
PAGE_FILES = (
    "index.html",
    "page.js",
    "card.js",
    "worker.js",
    "worklet.js",
    "edgeemo.js",
    "mel.js",
    "draw.js",
    "view.js",
    "style.css",
    "icon.svg",
    "package.json",
    "README.md",
)


def write_site(folder: Path, model: str, runtime: Mapping[str, bytes]) -> str:
    """Write the page of a model.

    The folder is also an npm package: `edgeemo.js` works without the page.

    Args:
        folder: where; it is made where it is missing, and files of other names stay.
        model: the name of a shipped one, or the path of an ONNX file.
        runtime: onnxruntime-web's files, by name.

    Returns:
        the model's variant, such as `cnn_lstm.stream.int8`.

    Raises:
        ModelError: as `edgeemo.load`.
        OutputError: the folder cannot be written.
    """
    loaded = load(model)
    files = {name: (_SOURCES / name).read_bytes() for name in PAGE_FILES} | dict(runtime)
    files["model.onnx"] = loaded.path.read_bytes()
    files["voice.onnx"] = VOICE_PATH.read_bytes()
    files["voice.LICENCE"] = VOICE_PATH.with_name("LICENCE").read_bytes()
    card = loaded.path.with_name(f"{name_of(loaded.path.name)}.md")
    if card.is_file():
        files["card.md"] = card.read_bytes()
    for name, content in files.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    return loaded.metadata.variant
