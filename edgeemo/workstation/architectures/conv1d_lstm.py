"""Conv1D-LSTM: one convolution over the frames and one LSTM, ten thousand weights in all."""

from __future__ import annotations

import keras
from keras import layers

from edgeemo.workstation.architectures.layers import check_pool, normalised_input, probabilities


def conv1d_lstm(
    n_frames: int,
    n_mels: int,
    n_labels: int,
    *,
    filters: int = 32,
    kernel: int = 1,
    pool: int = 1,
    units: int = 32,
    hidden: int = 16,
) -> keras.Model:
    """Conv1D with ReLU, max pooling, LSTM, Dense with ReLU, softmax.

    Args:
        n_frames: frames in a window; a multiple of `pool`.
        n_mels: mel bands, the channels of the convolution's input.
        n_labels: classes.
        filters: channels of the convolution.
        kernel: its size in frames, padded on the past side only.
        pool: frames pooled into one.
        units: of the LSTM.
        hidden: units of the Dense layer.

    Raises:
        ValueError: the frames are not a multiple of the pool: the newest would be left out.
    """
    check_pool(n_frames, pool)
    features, x = normalised_input(n_frames, n_mels)
    x = layers.Conv1D(filters, kernel, padding="causal", activation="relu")(x)
    x = layers.MaxPooling1D(pool)(x)
    x = layers.LSTM(units)(x)
    x = layers.Dense(hidden, activation="relu")(x)
    return keras.Model(features, probabilities(x, n_labels), name="conv1d_lstm")
