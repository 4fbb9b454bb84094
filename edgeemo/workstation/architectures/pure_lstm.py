"""Pure LSTM: four LSTM layers over stacked frames."""

from __future__ import annotations

import keras
from keras import layers

from edgeemo.workstation.architectures.layers import classifier, lstm_stack, normalised_input


def pure_lstm(
    n_frames: int,
    n_mels: int,
    n_labels: int,
    *,
    stack: int = 8,
    units: tuple[int, ...] = (192, 192, 192, 192),
    dropout: float = 0.35,
) -> keras.Model:
    """Four LSTM, a dropout after each, Dense 128, Dense 64, softmax.

    Args:
        n_frames: frames in a window; a multiple of `stack`.
        n_mels: mel bands.
        n_labels: classes.
        stack: successive frames joined into one input of the first LSTM: the sequence gets that much shorter.
        units: units of each LSTM.
        dropout: rate after each LSTM.
    """
    features, x = normalised_input(n_frames, n_mels)
    x = layers.Reshape((n_frames // stack, stack * n_mels))(x)
    x = lstm_stack(x, units, dropout=dropout)
    return keras.Model(features, classifier(x, n_labels), name="pure_lstm")
