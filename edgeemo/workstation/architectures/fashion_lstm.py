"""Image LSTM: an image read row by row."""

from __future__ import annotations

import keras

from edgeemo.workstation.architectures.layers import lstm_stack, probabilities, scaled_pixels


def fashion_lstm(
    height: int,
    width: int,
    n_labels: int,
    *,
    units: tuple[int, ...] = (186,),
) -> keras.Model:
    """LSTM layers over the rows of an image, softmax.

    The published network has one layer of `floor(2 * 28 * 10 / 3)` units for the 28 rows of 28 pixels of
    Fashion-MNIST and its 10 classes.

    Args:
        height: rows of the image, the steps of the sequence.
        width: pixels in a row, the values of a step.
        n_labels: classes.
        units: units of each LSTM.
    """
    features, x = scaled_pixels(height, width)
    x = lstm_stack(x, units)
    return keras.Model(features, probabilities(x, n_labels), name="fashion_lstm")
