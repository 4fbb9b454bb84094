"""Attentive CNN: strided convolutions over frames and bands, then mean and deviation of what deserves attention."""

from __future__ import annotations

import keras
from keras import layers

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
    x = layers.Reshape((*bands.shape[1:], 1))(bands)
    x = all_bands(strided_conv_stack(x, filters, kernels=kernels, strides=strides))
    x = layers.ZeroPadding1D((2, 0))(x)
    x = active(layers.Conv1D(hidden, 3, use_bias=False)(x))
    if heard is not None:
        heard = layers.MaxPooling1D(n_frames // x.shape[1])(heard)
    x = layers.Dropout(dropout)(attentive_statistics(x, heard))
    return keras.Model(features, probabilities(x, n_labels), name="attentive_cnn")
