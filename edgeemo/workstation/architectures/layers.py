"""Layers that the architectures share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers

# Means over some ten batches. With Keras' default of 0.99 a corpus of a thousand clips needs several epochs
# before a model works at all outside training.
BATCH_NORM_MOMENTUM = 0.9


def normalised_input(n_frames: int, n_mels: int) -> tuple[Any, Any]:
    """The model's input, log-mel features in dB, and the same normalised per mel band (to be fitted)."""
    features = layers.Input((n_frames, n_mels), name="features")
    return features, layers.Normalization(name="normalisation")(features)


def scaled_pixels(height: int, width: int) -> tuple[Any, Any]:
    """The model's input, a grey image in pixel values from 0 to 255, and the same from 0 to 1."""
    features = layers.Input((height, width), name="features")
    return features, layers.Rescaling(1 / 255)(features)


def causal_conv_stack(
    x: Any,
    filters: Sequence[int],
    *,
    kernel: int,
    pools: Sequence[tuple[int, int]],
    dropouts: Sequence[float],
) -> Any:
    """Conv2D layers with ReLU, max pooling, batch normalisation and dropout after each, causal in time.

    A convolution is padded on the past side only, and the pooling's stride is its size: a frame of the output depends
    on no later frame of the input, and a streaming graph can compute it from cached past frames. The padding comes
    before the normalisation: a padded frame is one without activation, and the normalisation is an exact part of the
    next layer's weights in an exported graph.

    Dropout here leaves out whole channels (Tompson et al. 2015, "Efficient object localization using
    convolutional networks"): with element-wise dropout, the next block's max pooling picks the noise's maxima,
    its batch normalisation learns statistics that do not occur without dropout, and the model fails outside
    training.

    Args:
        x: shape `(n_frames, n_bands, n_channels)`.
        filters: channels of each convolution.
        kernel: size of each in frames and in bands.
        pools: pooling size after each, in frames and in bands.
        dropouts: rate after each; 0 adds no dropout layer.

    Raises:
        ValueError: the frames are not a multiple of a pool: the newest would be left out.
    """
    for i, (n, pool) in enumerate(zip(filters, pools, strict=True)):
        if x.shape[1] % pool[0]:
            raise ValueError(f"{x.shape[1]} frames cannot be pooled by {pool[0]} without a rest")
        x = layers.ZeroPadding2D(((kernel - 1, 0), (kernel // 2, (kernel - 1) // 2)))(x)
        if i:
            x = _normalised(x, dropouts[i - 1])
        x = layers.Conv2D(n, kernel, activation="relu")(x)
        x = layers.MaxPooling2D(tuple(pool))(x)
    return _normalised(x, dropouts[len(filters) - 1])


def _normalised(x: Any, dropout: float) -> Any:
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(x)
    return layers.SpatialDropout2D(dropout)(x) if dropout else x


def lstm_stack(x: Any, units: Sequence[int], *, dropout: float = 0.0) -> Any:
    """LSTM layers with dropout after each; the last gives its final output only, shape `(units[-1],)`.

    Args:
        x: shape `(n_steps, n_values)`.
        units: of each layer.
        dropout: rate after each; 0 adds no dropout layer.

    Raises:
        ValueError: no layer: the output would still be a sequence.
    """
    if not len(units):
        raise ValueError("units is empty; name at least one layer's")
    for i, n in enumerate(units, start=1):
        x = layers.LSTM(n, return_sequences=i < len(units))(x)
        if dropout:
            x = layers.Dropout(dropout)(x)
    return x


def classifier(x: Any, n_labels: int) -> Any:
    """The published head: Dense 128, Dense 64, softmax."""
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dense(64, activation="relu")(x)
    return probabilities(x, n_labels)


def probabilities(x: Any, n_labels: int) -> Any:
    """The output of every architecture: one probability per label."""
    return layers.Dense(n_labels, activation="softmax", name="probabilities")(x)
