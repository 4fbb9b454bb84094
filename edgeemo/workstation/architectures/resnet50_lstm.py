"""ResNet50-LSTM: the log-mel window as an image through ResNet50, an LSTM over its feature map."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable

import keras
from keras import layers

from edgeemo.workstation.architectures.layers import (
    BATCH_NORM_MOMENTUM,
    lstm_stack,
    normalised_input,
    probabilities,
)

STRIDE = 32
"""Frames and bands in one position of ResNet50's feature map."""
IMAGENET_DEVIATION = 58.0
"""Standard deviation of ImageNet's pixels. Keras' weights were trained on pixel values minus each channel's mean,
about -120 to 150."""
WEIGHTS_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
_TIMEOUT_S = 20.0  # for each answer of the server; Keras sets none


def resnet50_lstm(
    n_frames: int,
    n_mels: int,
    n_labels: int,
    *,
    units: tuple[int, ...] = (128,),
    dropout: float = 0.3,
    pretrained: bool = False,
) -> keras.Model:
    """ResNet50 without its head, the mean over the bands, LSTM, dropout, softmax. 25 million weights.

    Its convolutions look into the future: it works in windows only, and cannot be streamed.

    Args:
        n_frames: frames in a window; a multiple of 32.
        n_mels: mel bands; a multiple of 32.
        n_labels: classes.
        units: units of each LSTM.
        dropout: rate after each LSTM.
        pretrained: start from weights trained on ImageNet, which Keras fetches once and keeps.

    Raises:
        ValueError: frames or bands are not a multiple of 32, or the weights are not there and cannot be fetched.
    """
    for name, n in (("frames", n_frames), ("mel bands", n_mels)):
        if n % STRIDE:
            raise ValueError(f"{n} {name}; ResNet50 needs a multiple of {STRIDE}")
    features, x = normalised_input(n_frames, n_mels)
    if pretrained:
        x = layers.Rescaling(IMAGENET_DEVIATION)(x)
    x = layers.Reshape((n_frames, n_mels, 1))(x)
    x = layers.Concatenate(name="channels")([x, x, x])
    x = _resnet50(n_frames, n_mels, pretrained=pretrained)(x)
    x = layers.AveragePooling2D((1, x.shape[2]))(x)
    x = layers.Reshape((x.shape[1], x.shape[3]))(x)
    x = lstm_stack(x, units, dropout=dropout)
    return keras.Model(features, probabilities(x, n_labels), name="resnet50_lstm")


def _resnet50(n_frames: int, n_mels: int, *, pretrained: bool) -> keras.Model:
    """`(n_frames, n_mels, 3)` -> `(n_frames / 32, n_mels / 32, 2048)`."""
    make = functools.partial(
        keras.applications.ResNet50, include_top=False, input_shape=(n_frames, n_mels, 3)
    )
    resnet = _with_imagenet_weights(make) if pretrained else make(weights=None)
    for layer in resnet.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    return resnet


def _with_imagenet_weights(make: Callable[..., keras.Model]) -> keras.Model:
    timeout_s = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        return make(weights="imagenet")
    except Exception as error:  # this very class is what Keras raises where a download fails
        reason = " ".join(str(error).split())
        raise ValueError(
            f"no ImageNet weights ({reason}); put {WEIGHTS_FILE} into ~/.keras/models, or train without them: "
            "architecture.pretrained=false"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout_s)
