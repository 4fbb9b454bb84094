"""Where the recipes (`export/`) and the shipped models (`models/`) are, in a checkout or in an installed wheel."""

from __future__ import annotations

import json
import os
from pathlib import Path

from edgeemo.errors import ModelError, RecipeError
from edgeemo.files import complete

_PACKAGE = Path(__file__).resolve().parent
_BUNDLED = _PACKAGE / "bundled"
_ROOT = _BUNDLED if _BUNDLED.is_dir() else _PACKAGE.parent

EXPORT_DIR = _ROOT / "export"
MODELS_DIR = _ROOT / "models"

CACHE_DIR = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeemo"
"""For what can be computed again."""

DEFAULT_MODEL = "emo_small"


def recipe_path(name_or_path: str) -> Path:
    """The TOML file of a recipe: a path as it is, or the name of one in `export/`.

    Raises:
        RecipeError: there is no such recipe.
    """
    return _find(name_or_path, EXPORT_DIR, ".toml", RecipeError, "recipe")


def model_path(name_or_path: str) -> Path:
    """The ONNX file of a model: a path as it is, or the name of a shipped one in `models/`.

    A model's name alone, such as `cnn_lstm`, stands for the variant that its index `cnn_lstm.json` names: the one
    that was the fastest where it was exported. `cnn_lstm.window` or `cnn_lstm.stream.int8` is that variant.

    Raises:
        ModelError: there is no such model.
        OutputError: an export of it was interrupted, and its files cannot be put in place.
    """
    path = Path(name_or_path)
    complete(path.parent, name_of(path.name))
    name = name_or_path if _is_file(path, ModelError) else stands_for(name_or_path)
    return _find(name, MODELS_DIR, ".onnx", ModelError, "model")


def stands_for(name: str) -> str:
    """The shipped variant that a model's name alone stands for; other names, and paths, as they are."""
    index = MODELS_DIR / f"{name}.json"
    if len(Path(name).parts) != 1:
        return name
    complete(MODELS_DIR, name_of(name))
    if not _is_file(index, ModelError):
        return name
    return str(json.loads(index.read_text(encoding="utf-8"))["listen"])


def shipped_models() -> list[Path]:
    """The shipped ONNX files, in alphabetical order."""
    complete(MODELS_DIR)
    return sorted(path for path in MODELS_DIR.glob("*.onnx") if not path.name.startswith("."))


def ships(name: str, folder: Path) -> bool:
    """Whether `folder` is `models/`, and has a model of that name, in capitals or not."""
    if not (folder.is_dir() and MODELS_DIR.is_dir() and folder.samefile(MODELS_DIR)):
        return False
    return name.casefold() in {name_of(path.name).casefold() for path in MODELS_DIR.iterdir()}


def name_of(file: str) -> str:
    """The name of the model that a file or variant belongs to: `cnn_lstm` of `cnn_lstm.stream.int8.onnx`."""
    return file.partition(".")[0]


def sample_path() -> Path:
    """The bundled sample of synthetic speech (16 kHz mono, no corpus licence)."""
    return _PACKAGE / "sample" / "speech.flac"


def _find(
    name_or_path: str, folder: Path, suffix: str, error: type[ModelError] | type[RecipeError], what: str
) -> Path:
    path = Path(name_or_path)
    if _is_file(path, error):
        return path
    if path.suffix == suffix or len(path.parts) > 1:
        raise error(f"no {what} file at {path}; give an existing {suffix} file or a name")
    path = folder / f"{name_or_path}{suffix}"
    if _is_file(path, error):
        return path
    files = (p for s in (suffix, ".json") for p in folder.glob(f"*{s}") if not p.name.startswith("."))
    known = ", ".join(sorted(path.stem for path in files)) or "none"
    if folder == _BUNDLED / "models":
        known += " (fp16, Pure LSTM and CNN in fp32 and models of images are in models/ of edgeemo's repository only)"
    raise error(f"no {what} called {name_or_path!r}; known: {known}; or give the path of a {suffix} file")


def _is_file(path: Path, error: type[ModelError] | type[RecipeError]) -> bool:
    try:
        return path.is_file()
    except OSError as failure:
        raise error(f"{path}: cannot be read ({failure.strerror})") from failure
