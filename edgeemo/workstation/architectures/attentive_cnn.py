"""Attentive CNN: strided convolutions over frames and bands, then mean and deviation of what deserves attention."""

from __future__ import annotations

import keras
from keras import KerasTensor, layers, ops

from edgeemo.workstation.architectures.layers import (
    BATCH_NORM_MOMENTUM,
    check_pool,
    normalised_input,
    probabilities,
)

_LARGEST_SCORE = 15.0
_SMALLEST_VARIANCE = 1e-5


def attentive_cnn(
    n_frames: int,
    n_mels: int,
    n_labels: int,
    *,
    filters: tuple[int, ...] = (32, 48, 64),
    kernels: tuple[int, ...] = (5, 3, 3),
    strides: tuple[tuple[int, int], ...] = ((2, 4), (1, 2), (2, 2)),
    hidden: int = 128,
    dropout: float = 0.3,
) -> keras.Model:
    """Conv2D with batch normalisation and ReLU, Conv1D over all bands, attentive statistics pooling, softmax.

    The pooling is that of Okabe et al. 2018, "Attentive statistics pooling for deep speaker embedding": mean and
    standard deviation over time, weighted by a softmax over scores of the positions. A stream carries both exactly.

    Args:
        n_frames: frames in a window; a multiple of the product of the strides in time.
        n_mels: mel bands.
        n_labels: classes.
        filters: channels of each convolution.
        kernels: size of each, in frames and in bands.
        strides: of each, in frames and in bands.
        hidden: channels of the convolution over time.
        dropout: rate before the last layer.
    """
    features, x = normalised_input(n_frames, n_mels)
    x = layers.Reshape((n_frames, n_mels, 1))(x)
    for n, kernel, (in_time, in_bands) in zip(filters, kernels, strides, strict=True):
        check_pool(x.shape[1], in_time)
        # The past alone, as much as makes the newest position end with the newest frame.
        x = layers.ZeroPadding2D(((kernel - in_time, 0), (kernel // 2, (kernel - 1) // 2)))(x)
        x = layers.Conv2D(n, kernel, strides=(in_time, in_bands), use_bias=False)(x)
        x = _active(x)
    x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]))(x)
    x = layers.ZeroPadding1D((2, 0))(x)
    x = _active(layers.Conv1D(hidden, 3, use_bias=False)(x))
    x = layers.Dropout(dropout)(_statistics(x))
    return keras.Model(features, probabilities(x, n_labels), name="attentive_cnn")


def _active(x: KerasTensor) -> KerasTensor:
    return layers.ReLU()(layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(x))


def _statistics(x: KerasTensor) -> KerasTensor:
    """Mean and deviation over time, shape `(2 * n_channels,)`, of `(n_positions, n_channels)`."""
    scores = layers.Conv1D(1, 1, name="attention")(x)
    weights = layers.Softmax(axis=1)(ops.clip(scores, -_LARGEST_SCORE, _LARGEST_SCORE))
    mean = ops.sum(weights * x, axis=1)
    square = ops.sum(weights * x * x, axis=1)
    deviation = ops.sqrt(ops.maximum(square - mean * mean, _SMALLEST_VARIANCE))
    return layers.Concatenate()([mean, deviation])
