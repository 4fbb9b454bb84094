"""Files of networks, by format: which cannot be read and how to convert them, and the files of Keras 2."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from edgeemo.errors import ModelError

H5 = (".h5", ".hdf5")
CONVERT_H5 = (
    "where Keras 3 lacks a layer, convert it with the Keras that wrote it: python -m tf2onnx.convert --keras FILE "
    "--output mine.onnx"
)
_PYTORCH = (".pt", ".pth", ".ckpt", ".safetensors")
_KERAS_2 = 'save it there as HDF5, model.save("mine.h5"), which is read'

_SAYS_NOTHING: dict[str, tuple[object, ...]] = {
    "time_major": (False,),
    "implementation": (0, 1, 2),
    "groups": (1,),
    "ragged": (False, None),
    "sparse": (False, None),
    "optional": (False,),
    "input_dtype": ("float32", None),
    "noise_shape": (None,),
    "score_mode": ("dot",),  # which Keras 3's reader of HDF5 takes for the name of a function
}
"""Settings of Keras 2's layers that Keras 3 does not know, or not of each, with the values that change nothing."""
_LEFT_OUT = {
    # Of the kernel that a plain convolution has; these have two others.
    "SeparableConv1D": ("kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    "SeparableConv2D": ("kernel_initializer", "kernel_regularizer", "kernel_constraint"),
}
"""Settings that say nothing, whatever their value, by layer."""
_NETWORKS = ("Functional", "Model", "Sequential")
_INNER = ("layer", "forward_layer", "backward_layer", "cell", "cells")
"""Where a layer has layers of its own. Before Keras 2.13 these do not say which module they are of."""


def check_readable(path: Path) -> None:
    """Refuse what is neither a `.keras` nor a HDF5 file of a whole Keras network.

    Raises:
        ModelError: one line: there is none, or what it is and how to convert it.
    """
    if not path.exists():
        raise ModelError(f"no Keras model at {path}; train one with `edgeemo train`, or give --weights FILE")
    if (found := _other_format(path)) is not None:
        what, remedy = found
        raise ModelError(f"{path}: {what}, expected a .keras, .h5 or .onnx file; {remedy}")


def _other_format(path: Path) -> tuple[str, str] | None:
    """What else it is, and what to do; None of a file that may be a Keras network."""
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return (
                "a SavedModel of TensorFlow",
                f"convert it: python -m tf2onnx.convert --saved-model {path} --output {path.name}.onnx",
            )
        return "a folder", "give the file of a network"
    with path.open("rb") as file:
        start = file.read(16)
    if start[4:8] == b"TFL3":
        return (
            "a network of TensorFlow Lite",
            f"convert it: python -m tf2onnx.convert --tflite {path} --output {path.stem}.onnx",
        )
    if path.suffix in _PYTORCH:
        return (
            "weights of PyTorch",
            'load the network in Python and write it with torch.onnx.export(network.eval(), features, "mine.onnx")',
        )
    if h5py.is_hdf5(path):
        with h5py.File(path) as file:
            if "model_config" not in file.attrs:
                return (
                    "weights without their network",
                    'build the network in Python, call its load_weights, and save it whole: model.save("mine.keras")',
                )
    elif path.suffix == ".keras" and (version := _keras_version(path)) is not None and version < (3,):
        return f"a file of Keras {'.'.join(map(str, version))}", _KERAS_2
    return None


def _keras_version(path: Path) -> tuple[int, ...] | None:
    """Of a `.keras` file, which Keras wrote it; None where it does not say."""
    try:
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json"))["keras_version"]
        return tuple(int(part) for part in version.split(".")[:2])
    except (OSError, KeyError, TypeError, ValueError, AttributeError, zipfile.BadZipFile):
        return None


@contextmanager
def for_keras_3(path: Path) -> Iterator[Path]:
    """While this lasts, the same network in a file that Keras 3 reads; the file itself, unless it is of Keras 2.

    Raises:
        ModelError: a layer has a setting that Keras 3 does not know.
    """
    if not h5py.is_hdf5(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="edgeemo-h5-") as folder:
        copy = Path(
            shutil.copyfile(path, Path(folder) / "network.h5")
        )  # by the suffix, Keras knows what it is
        with h5py.File(copy, "r+") as file:
            version = file.attrs.get("keras_version", "2")
            if not _text(version).startswith("3"):
                config = json.loads(_text(file.attrs["model_config"]))
                file.attrs["model_config"] = json.dumps(_modern(config, path)).encode()
        yield copy


def _text(attribute: str | bytes) -> str:
    return attribute.decode() if isinstance(attribute, bytes) else attribute


def _modern(config: Any, path: Path) -> Any:
    """The configuration of a network, of its layers and of theirs, without what Keras 3 does not know."""
    if isinstance(config, list):
        return [_modern(value, path) for value in config]
    if not isinstance(config, dict):
        return config
    kind, own = config.get("class_name"), config.get("config")
    if kind == "Policy" and isinstance(own, dict):  # of mixed precision
        return own.get("name")
    if kind == "Sequential" and isinstance(own, list):  # until Keras 2.2.2
        own = {"name": "sequential", "layers": own}
    if kind is not None and isinstance(own, dict):
        own = _without_old_settings(own, kind, path)
        if kind in _NETWORKS and "output_layers" in own:
            own = _calls_counted_anew(own)
        config = {**config, "config": own}
    modern = {key: _modern(value, path) for key, value in config.items()}
    return {key: _with_module(value) if key in _INNER else value for key, value in modern.items()}


def _with_module(layer: Any) -> Any:
    if isinstance(layer, list):
        return [_with_module(each) for each in layer]
    if not isinstance(layer, dict) or "module" in layer:
        return layer
    module = "keras" if layer.get("class_name") in _NETWORKS else "keras.layers"
    return {**layer, "module": module, "registered_name": None}


def _without_old_settings(settings: dict[str, Any], kind: str, path: Path) -> dict[str, Any]:
    if settings.get("time_major"):
        raise ModelError(
            f"{path}: the layer {settings.get('name')} ({kind}) has time_major = True, which Keras 3 does not know; "
            "put time on axis 1, and save the network again"
        )
    if (
        kind != "InputLayer" and "batch_input_shape" in settings
    ):  # Keras 3 takes it for the shape without the batch
        settings = {**settings, "input_shape": settings["batch_input_shape"][1:]}
        del settings["batch_input_shape"]
    left_out = _LEFT_OUT.get(kind, ())
    return {
        name: value
        for name, value in settings.items()
        if name not in left_out and not (name in _SAYS_NOTHING and value in _SAYS_NOTHING[name])
    }


def _calls_counted_anew(network: dict[str, Any]) -> dict[str, Any]:
    """Keras 2 counts the making of a network inside another as its first call; Keras 3 reads it as if it had not."""
    inner = {layer.get("name"): layer.get("class_name") for layer in network["layers"]}

    def counted(call: Any, kinds: tuple[str, ...]) -> Any:
        if not isinstance(call, list) or len(call) < 3 or inner.get(call[0]) not in kinds:
            return call
        return [call[0], max(call[1] - 1, 0), *call[2:]]

    def node(inputs: Any) -> Any:
        return [counted(call, _NETWORKS) for call in inputs] if isinstance(inputs, list) else inputs

    return {
        **network,
        "layers": [
            {**layer, "inbound_nodes": [node(inputs) for inputs in layer.get("inbound_nodes", [])]}
            for layer in network["layers"]
        ],
        # Of these, Keras 3 counts a functional network's first call itself.
        "output_layers": [counted(call, ("Sequential",)) for call in network["output_layers"]],
    }
