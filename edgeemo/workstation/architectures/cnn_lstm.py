"""CNN-LSTM: two convolutions that shorten the sequence, two LSTM layers over it."""

from __future__ import annotations

import keras
from keras import layers

from edgeemo.workstation.architectures.layers import (
    all_bands,
    causal_conv_stack,
    classifier,
    lstm_stack,
    normalised_input,
)


def cnn_lstm(
    n_frames: int,
    n_mels: int,
    n_labels: int,
    *,
    filters: tuple[int, ...] = (32, 64),
    kernel: int = 3,
    pools: tuple[tuple[int, int], ...] = ((4, 4), (2, 4)),
    units: tuple[int, ...] = (96, 96),
    dropout: float = 0.3,
) -> keras.Model:
    """Two Conv2D with pooling and batch normalisation, reshape, two LSTM, three dropouts, Dense 128, Dense 64,
    softmax.

    Args:
        n_frames: frames in a window; a multiple of the product of the pools in time.
        n_mels: mel bands.
        n_labels: classes.
        filters: channels of each convolution.
        kernel: size of each convolution in frames and bands.
        pools: pooling sizes (frames, bands).
        units: units of each LSTM.
        dropout: rate after the convolutions and after each LSTM.
    """
    features, x = normalised_input(n_frames, n_mels)
    x = layers.Reshape((n_frames, n_mels, 1))(x)
    x = causal_conv_stack(x, filters, kernel=kernel, pools=pools, dropouts=[0.0] * len(filters))
    x = layers.Dropout(dropout)(all_bands(x))
    x = lstm_stack(x, units, dropout=dropout)
    return keras.Model(features, classifier(x, n_labels), name="cnn_lstm")
