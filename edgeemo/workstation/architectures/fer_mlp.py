"""Image MLP: dense layers over all pixels, for comparing activations."""

from __future__ import annotations

import keras
from keras import layers

from edgeemo.workstation.architectures.layers import probabilities, scaled_pixels

ACTIVATIONS = ("sigmoid", "softmax", "relu", "leaky_relu", "tanh")


def fer_mlp(
    height: int,
    width: int,
    n_labels: int,
    *,
    units: tuple[int, ...] = (128,),
    activation: str = "relu",
    dropout: float = 0.0,
) -> keras.Model:
    """Flatten, Dense layers, softmax.

    Args:
        height: rows of the image.
        width: pixels in a row.
        n_labels: classes.
        units: units of each Dense layer before the output; with none, the network is a linear classifier.
        activation: of these layers, one of `ACTIVATIONS` (`leaky_relu` with Keras' slope of 0.2).
        dropout: rate after each; 0 adds no dropout layer.

    Raises:
        ValueError: another activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; known: {', '.join(ACTIVATIONS)}")
    features, x = scaled_pixels(height, width)
    x = layers.Flatten()(x)
    for n in units:
        x = layers.Dense(n, activation=activation)(x)
        if dropout:
            x = layers.Dropout(dropout)(x)
    return keras.Model(features, probabilities(x, n_labels), name="fer_mlp")
