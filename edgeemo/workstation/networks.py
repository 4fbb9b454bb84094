"""Keras networks: the settings that they are made under, their files, and the same network in float32."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from edgeemo.errors import ModelError
from edgeemo.workstation.formats import CONVERT_H5, H5, check_readable, for_keras_3

LABEL_LAYER = "probabilities"
"""The layer of our networks that has a value for each label; see `architectures`."""
MAX_UNPACKED_BYTES = 2 * 2**30
"""Of a `.keras` file: no ONNX file holds more either."""
_SAID = "Exception encountered: "
_OTHER_FLOATS = frozenset({"float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"})


def fix_settings() -> None:
    """State what networks are made under: a user's `~/.keras/keras.json` would make others of the same recipe."""
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_max_steps_per_epoch(None)  # KERAS_MAX_STEPS_PER_EPOCH cuts predictions short


def load_network(path: Path, *, with_optimizer: bool = False) -> keras.Model:
    """Load a `.keras` file, or an HDF5 file of Keras 2 or 3. Code in it is not run.

    Args:
        path: the file.
        with_optimizer: load the optimizer and its state too, to train on.

    Raises:
        ModelError: missing, of another format, not a Keras model, or an archive that unpacks to more than
            `MAX_UNPACKED_BYTES`.
    """
    check_readable(path)
    fix_settings()
    if (unpacked := _unpacked_bytes(path)) > MAX_UNPACKED_BYTES:
        raise ModelError(
            f"{path}: unpacks to {unpacked / 2**30:.1f} GiB, expected at most {MAX_UNPACKED_BYTES / 2**30:g} GiB; "
            "save the network without its optimizer"
        )
    try:
        with for_keras_3(path) as readable:
            return keras.saving.load_model(readable, compile=with_optimizer, safe_mode=True)
    except ModelError:
        raise
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        # Keras begins with all of a layer's settings, and ends with what was wrong.
        said = [line.removeprefix(_SAID) for line in lines if line.startswith(_SAID)]
        reason = (said or lines)[-1 if said else 0]
        remedy = f"; {CONVERT_H5}" if path.suffix in H5 else ""
        raise ModelError(f"{path}: Keras cannot load it ({reason}){remedy}") from error


def take_over(model: keras.Model, held: keras.Model, columns: Sequence[int | None]) -> None:
    """Give a network the weights of another of the same layers, which may have other labels.

    Args:
        model: the network.
        held: the other.
        columns: for each label of `model`, where it is among those of `held`; None: there is none, and its weights
            stay as they are.

    Raises:
        ValueError: the layers are not the same.
    """
    if len(model.layers) != len(held.layers):
        raise ValueError(f"{len(held.layers)} layers, expected {len(model.layers)}")
    for layer, other in zip(model.layers, held.layers, strict=True):
        weights, theirs = layer.get_weights(), other.get_weights()
        if len(weights) != len(theirs):
            raise ValueError(f"{other.name} where {layer.name} was expected")
        for i, value in enumerate(theirs):
            if layer.name == LABEL_LAYER and value.shape[:-1] == weights[i].shape[:-1]:
                for to, column in enumerate(columns):
                    if column is not None:
                        weights[i][..., to] = value[..., column]
            elif value.shape == weights[i].shape:
                weights[i] = value
            else:
                raise ValueError(f"{layer.name} of shape {value.shape}, expected {weights[i].shape}")
        layer.set_weights(weights)
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def in_float32(model: keras.Model) -> keras.Model:
    """The same network, with the same weights, computing in float32; the model itself where it does already.

    tf2onnx makes a native node of a recurrent layer only where nothing is cast between its operators, as it is under
    mixed precision.
    """
    config = model.get_config()
    if _OTHER_FLOATS.isdisjoint(_float_types(config)):
        return model
    clone = type(model).from_config(_with_float32(config))
    # Through a file: layers that compute constants of their weights (Normalization) do so when they are loaded.
    with tempfile.TemporaryDirectory(prefix="edgeemo-float32-") as folder:
        weights = Path(folder) / "network.weights.h5"
        model.save_weights(weights)
        clone.load_weights(weights)
    return clone


def _unpacked_bytes(path: Path) -> int:
    """What the archive that a `.keras` file is says of its size; 0 of another file, or a broken one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError):
        return 0


def _is_policy(config: dict[str, Any]) -> bool:
    return config.get("class_name") == "DTypePolicy"


def _float_types(config: object) -> Iterator[str]:
    """The names of all types and policies in a network's configuration."""
    if isinstance(config, dict):
        name = config["config"]["name"] if _is_policy(config) else config.get("dtype")
        if isinstance(name, str):
            yield name
        for value in config.values():
            yield from _float_types(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _float_types(value)


def _with_float32(config: Any) -> Any:
    """A configuration with float32 in place of other types of float."""
    if isinstance(config, dict):
        if _is_policy(config) and config["config"]["name"] in _OTHER_FLOATS:
            return "float32"
        return {
            key: "float32"
            if key == "dtype" and isinstance(value, str) and value in _OTHER_FLOATS
            else _with_float32(value)
            for key, value in config.items()
        }
    return type(config)(map(_with_float32, config)) if isinstance(config, list | tuple) else config
