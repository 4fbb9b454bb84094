"""Pure CNN: four convolutions over the window."""

from __future__ import annotations

import keras
from keras import layers

from edgeemo.workstation.architectures.layers import causal_conv_stack, classifier, normalised_input


def pure_cnn(
    n_frames: int,
    n_mels: int,
    n_labels: int,
    *,
    filters: tuple[int, ...] = (32, 64, 64, 96),
    kernel: int = 3,
    pools: tuple[tuple[int, int], ...] = ((4, 4), (2, 2), (2, 2), (1, 4)),
    dropouts: tuple[float, ...] = (0.0, 0.1, 0.1, 0.2),
) -> keras.Model:
    """Four Conv2D, each followed by max pooling and batch normalisation, three of them by dropout; Flatten,
    Dense 128, Dense 64, softmax.

    Args:
        n_frames: frames in a window; a multiple of the product of the pools in time.
        n_mels: mel bands.
        n_labels: classes.
        filters: channels of each convolution.
        kernel: size of each convolution in frames and bands.
        pools: pooling sizes (frames, bands).
        dropouts: dropout rate after each; 0 for none.
    """
    features, x = normalised_input(n_frames, n_mels)
    x = layers.Reshape((n_frames, n_mels, 1))(x)
    x = causal_conv_stack(x, filters, kernel=kernel, pools=pools, dropouts=dropouts)
    x = layers.Flatten()(x)
    return keras.Model(features, classifier(x, n_labels), name="pure_cnn")
