"""Committee: an attentive CNN and a CNN-LSTM that hear the same speech in different ways, each trained for itself."""

from __future__ import annotations

import keras
from keras import layers

from edgeemo.workstation.architectures.attentive_cnn import attentive_embedding
from edgeemo.workstation.architectures.layers import (
    all_bands,
    causal_conv_stack,
    lstm_stack,
    normalised_input,
)
from edgeemo.workstation.committee import Committee


def committee(
    n_frames: int,
    n_mels: int,
    n_labels: int,
    *,
    filters: tuple[int, ...] = (48, 64, 96),
    kernels: tuple[int, ...] = (5, 3, 3),
    strides: tuple[tuple[int, int], ...] = ((2, 4), (1, 2), (2, 2)),
    hidden: int = 160,
    lstm_filters: tuple[int, ...] = (24, 48),
    lstm_pools: tuple[tuple[int, int], ...] = ((2, 4), (2, 4)),
    units: tuple[int, ...] = (64, 64),
    dropout: float = 0.3,
) -> keras.Model:
    """Two members, and the mean of their logits: see `edgeemo.workstation.committee`.

    One is an attentive CNN over the bands relative to their running mean: how the voice sounds now,
    whatever the microphone. The other is a CNN-LSTM over the bands relative to the loudest frame: how it rises and
    falls, pauses and all. The features must have both: `level = "running_mean"` and `peak_bands = true`.

    Args:
        n_frames: frames in a window; a multiple of the products of the strides and of the pools in time.
        n_mels: mel bands twice, and the column of voiced frames.
        n_labels: classes.
        filters, kernels, strides, hidden: of the attentive CNN, as `attentive_cnn` has them.
        lstm_filters: channels of each convolution before the LSTM.
        lstm_pools: pooling sizes after each, in frames and in bands.
        units: units of each LSTM.
        dropout: rate before the last layers, and around each LSTM.

    Raises:
        ValueError: the columns are not bands twice and one more.
    """
    if n_mels % 2 == 0:
        raise ValueError(
            f"{n_mels} columns, expected bands twice and one more: set [features] peak_bands = true"
        )
    n_bands = (n_mels - 1) // 2
    features, x = normalised_input(n_frames, n_mels)
    embedding = attentive_embedding(
        x[:, :, :n_bands],
        features[:, :, -1:],
        filters=filters,
        kernels=kernels,
        strides=strides,
        hidden=hidden,
    )
    own = layers.Dense(n_labels, name="own")(layers.Dropout(dropout)(embedding))

    y = layers.Reshape((n_frames, n_bands, 1))(x[:, :, n_bands : 2 * n_bands])
    y = all_bands(
        causal_conv_stack(y, lstm_filters, kernel=3, pools=lstm_pools, dropouts=[0.0] * len(lstm_filters))
    )
    y = lstm_stack(layers.Dropout(dropout)(y), units, dropout=dropout)
    other = layers.Dense(n_labels, name="other")(layers.Dense(64, activation="relu")(y))

    answer = Committee(name="probabilities")([own, other])
    return keras.Model(features, answer, name="committee")
