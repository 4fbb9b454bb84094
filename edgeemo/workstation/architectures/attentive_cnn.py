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
from edgeemo.workstation.history import History

_LARGEST_SCORE = 15.0
_SMALLEST_VARIANCE = 1e-5
_UNHEARD_SCORE = -60.0  # e to the power of this, beside the least score of what was heard, is nothing


def attentive_cnn(
    n_frames: int,
    n_mels: int,
    n_labels: int,
    *,
    filters: tuple[int, ...] = (48, 64, 96),
    kernels: tuple[int, ...] = (5, 3, 3),
    strides: tuple[tuple[int, int], ...] = ((2, 4), (1, 2), (2, 2)),
    hidden: int = 160,
    dropout: float = 0.3,
    voiced: bool = False,
    history: bool = False,
) -> keras.Model:
    """Conv2D with batch normalisation and ReLU, Conv1D over all bands, attentive statistics pooling, softmax.

    The pooling is that of Okabe et al. 2018, "Attentive statistics pooling for deep speaker embedding": mean and
    standard deviation over time, weighted by a softmax over scores of the positions. A stream carries both exactly.

    Args:
        n_frames: frames in a window; a multiple of the product of the strides in time.
        n_mels: mel bands, and the column of voiced frames.
        n_labels: classes.
        filters: channels of each convolution.
        kernels: size of each, in frames and in bands.
        strides: of each, in frames and in bands.
        hidden: channels of the convolution over time.
        dropout: rate before the last layer.
        voiced: the last column says which frames are voiced; only positions with such frames are pooled, so that
            neither silence nor how much there is of it says anything.
        history: also judge a voice by how it differs from what was heard of the speaker before; the model then has
            the second input `speaker`, see `edgeemo.workstation.history`.
    """
    features, x = normalised_input(n_frames, n_mels)
    heard = features[:, :, -1:] if voiced else None
    if voiced:
        x, n_mels = x[:, :, :-1], n_mels - 1
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
    if heard is not None:
        heard = layers.MaxPooling1D(n_frames // x.shape[1])(heard)
    x = _statistics(x, heard)
    if history:
        return _with_history(features, x, n_labels, dropout)
    return keras.Model(features, probabilities(layers.Dropout(dropout)(x), n_labels), name="attentive_cnn")


def _with_history(features: KerasTensor, x: KerasTensor, n_labels: int, dropout: float) -> keras.Model:
    speaker = layers.Input((), name="speaker", dtype="int32")
    own = layers.Dense(n_labels, name="own")(layers.Dropout(dropout)(x))
    difference = layers.Dropout(dropout)(History(name="history")(x, speaker))
    # Zeros, so that it starts as a network without.
    relative = layers.Dense(n_labels, use_bias=False, kernel_initializer="zeros", name="relative")(difference)
    answer = layers.Softmax(name="probabilities")(layers.Add()([own, relative]))
    return keras.Model([features, speaker], answer, name="attentive_cnn")


def _active(x: KerasTensor) -> KerasTensor:
    return layers.ReLU()(layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(x))


def _statistics(x: KerasTensor, heard: KerasTensor | None) -> KerasTensor:
    """Mean and deviation over time, shape `(2 * n_channels,)`, of `(n_positions, n_channels)` that were heard."""
    scores = layers.Conv1D(1, 1, name="attention")(x)
    scores = ops.clip(scores, -_LARGEST_SCORE, _LARGEST_SCORE)
    if heard is not None:
        scores = scores + _UNHEARD_SCORE * (1 - heard)
    weights = layers.Softmax(axis=1)(scores)
    mean = ops.sum(weights * x, axis=1)
    square = ops.sum(weights * x * x, axis=1)
    deviation = ops.sqrt(ops.maximum(square - mean * mean, _SMALLEST_VARIANCE))
    return layers.Concatenate()([mean, deviation])
