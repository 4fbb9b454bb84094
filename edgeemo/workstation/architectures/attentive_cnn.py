"""Attentive CNN: strided convolutions over frames and bands, then mean and deviation of what deserves attention."""

from __future__ import annotations

import keras
from keras import KerasTensor, layers

from edgeemo.workstation.architectures.layers import (
    active,
    all_bands,
    attentive_statistics,
    normalised_input,
    probabilities,
    strided_conv_stack,
)


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
) -> keras.Model:
    """Conv2D with batch normalisation and ReLU, Conv1D over all bands, attentive statistics pooling, softmax.

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
    """
    features, x = normalised_input(n_frames, n_mels)
    heard = features[:, :, -1:] if voiced else None
    bands = x[:, :, :-1] if voiced else x
    x = attentive_embedding(bands, heard, filters=filters, kernels=kernels, strides=strides, hidden=hidden)
    return keras.Model(features, probabilities(layers.Dropout(dropout)(x), n_labels), name="attentive_cnn")


def attentive_embedding(
    bands: KerasTensor,
    heard: KerasTensor | None,
    *,
    filters: tuple[int, ...],
    kernels: tuple[int, ...],
    strides: tuple[tuple[int, int], ...],
    hidden: int,
) -> KerasTensor:
    """What an attentive CNN makes of a window, shape `(2 * hidden,)`.

    Args:
        bands: normalised, shape `(n_frames, n_mels)`.
        heard: 1 for frames that count and 0 for others, shape `(n_frames, 1)`; None: all count.
        filters: channels of each convolution.
        kernels: size of each, in frames and in bands.
        strides: of each, in frames and in bands.
        hidden: channels of the convolution over time.
    """
    x = layers.Reshape((*bands.shape[1:], 1))(bands)
    x = all_bands(strided_conv_stack(x, filters, kernels=kernels, strides=strides))
    x = layers.ZeroPadding1D((2, 0))(x)
    x = active(layers.Conv1D(hidden, 3, use_bias=False)(x))
    if heard is not None:
        heard = layers.MaxPooling1D(bands.shape[1] // x.shape[1])(heard)
    return attentive_statistics(x, heard)
