"""Image CNN: three small convolutions over an image."""

from __future__ import annotations

import keras
from keras import layers

from edgeemo.workstation.architectures.layers import probabilities, scaled_pixels


def fashion_cnn(
    height: int,
    width: int,
    n_labels: int,
    *,
    filters: tuple[int, ...] = (32, 64, 128),
    kernel: int = 3,
    hidden: int = 128,
    dropout: float = 0.3,
) -> keras.Model:
    """Conv2D with ReLU and max pooling by two, as often as there are filters; dropout, Flatten, Dense with ReLU,
    softmax.

    Args:
        height: rows of the image.
        width: pixels in a row.
        n_labels: classes.
        filters: channels of each convolution.
        kernel: size of each convolution.
        hidden: units of the Dense layer.
        dropout: rate after the last pooling and after the Dense layer.
    """
    features, x = scaled_pixels(height, width)
    x = layers.Reshape((height, width, 1))(x)
    for n in filters:
        x = layers.Conv2D(n, kernel, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(dropout)(x)
    x = layers.Dense(hidden, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(features, probabilities(x, n_labels), name="fashion_cnn")
