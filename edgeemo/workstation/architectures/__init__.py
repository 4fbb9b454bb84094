"""The architectures: one Keras builder each, found by name.

A builder takes the two sizes of its input and the number of labels, then its own settings (the recipe's
`[architecture]` table) as keyword-only arguments with defaults. It returns an uncompiled Keras model
`features` -> `probabilities (n_labels,)`. There are two kinds of input:

- log-mel features, `(n_frames, n_mels)` in dB: the layer `normalisation` is still to be fitted on training features;
- a grey image, `(height, width)` in pixel values from 0 to 255: the model scales them by a constant.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

import keras

from edgeemo.errors import RecipeError
from edgeemo.workstation.architectures.attentive_cnn import attentive_cnn
from edgeemo.workstation.architectures.cnn_lstm import cnn_lstm
from edgeemo.workstation.architectures.conv1d_lstm import conv1d_lstm
from edgeemo.workstation.architectures.fashion_cnn import fashion_cnn
from edgeemo.workstation.architectures.fashion_lstm import fashion_lstm
from edgeemo.workstation.architectures.fer_mlp import fer_mlp
from edgeemo.workstation.architectures.pure_cnn import pure_cnn
from edgeemo.workstation.architectures.pure_lstm import pure_lstm
from edgeemo.workstation.architectures.resnet50_lstm import resnet50_lstm
from edgeemo.workstation.networks import fix_settings

ARCHITECTURES: dict[str, Callable[..., keras.Model]] = {
    "pure_cnn": pure_cnn,
    "cnn_lstm": cnn_lstm,
    "pure_lstm": pure_lstm,
    "conv1d_lstm": conv1d_lstm,
    "attentive_cnn": attentive_cnn,
    "resnet50_lstm": resnet50_lstm,
    "fashion_lstm": fashion_lstm,
    "fashion_cnn": fashion_cnn,
    "fer_mlp": fer_mlp,
}


def check_settings(builder: str, settings: Mapping[str, object]) -> None:
    """Refuse an unknown builder, or settings that it does not take.

    Raises:
        RecipeError: with the known names.
    """
    if builder not in ARCHITECTURES:
        raise RecipeError(f"[architecture] builder is {builder!r}; known: {', '.join(ARCHITECTURES)}")
    parameters = inspect.signature(ARCHITECTURES[builder]).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for name in settings:
        if name not in known:
            raise RecipeError(f"[architecture] {builder} has no setting {name!r}; known: {', '.join(known)}")


def build(
    builder: str, settings: Mapping[str, object], *, n_frames: int, n_mels: int, n_labels: int
) -> keras.Model:
    """Build a Keras model.

    Args:
        builder: name of the architecture.
        settings: those of the recipe's `[architecture]` table.
        n_frames: frames in a window; the height of an image.
        n_mels: mel bands; the width of an image.
        n_labels: classes.

    Raises:
        RecipeError: an unknown builder or setting, or settings that do not work for an input of this size.
    """
    check_settings(builder, settings)
    fix_settings()
    try:
        return ARCHITECTURES[builder](n_frames, n_mels, n_labels, **settings)
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RecipeError(f"[architecture] {builder} cannot be built with {settings}: {reason}") from error


def count_parameters(model: keras.Model) -> int:
    """The weights of a model, without the constants of its normalisation layers."""
    constants = [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)]
    return int(model.count_params() - sum(layer.count_params() for layer in constants))
