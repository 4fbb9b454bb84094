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


def causal_conv_block(x: Any, filters: int, *, kernel: int, pool: tuple[int, int], dropout: float) -> Any:
    """Conv2D, max pooling, batch normalisation, ReLU and dropout, causal in time.

    The convolution is padded on the past side only, and the pooling's stride is its size: a frame of the output
    depends on no later frame of the input, and a streaming graph can compute it from cached past frames.

    The activation comes last, and the normalisation's scale is never negative: max pooling and such a scale can
    change places, so that an exported graph holds convolution, ReLU and pooling only, and zero, the padding of
    the next block and the first state of a stream, is a value that its input takes.

    Dropout here leaves out whole channels (Tompson et al. 2015, "Efficient object localization using
    convolutional networks"): with element-wise dropout, the next block's max pooling picks the noise's maxima,
    its batch normalisation learns statistics that do not occur without dropout, and the model fails outside
    training.

    Args:
        x: shape `(n_frames, n_bands, n_channels)`.
        filters: channels of the output.
        kernel: size in frames and in bands.
        pool: pooling size in frames and in bands.
        dropout: rate; 0 adds no dropout layer.

    Raises:
        ValueError: the frames are not a multiple of the pool: the newest would be left out.
    """
    if x.shape[1] % pool[0]:
        raise ValueError(f"{x.shape[1]} frames cannot be pooled by {pool[0]} without a rest")
    x = layers.ZeroPadding2D(((kernel - 1, 0), (kernel // 2, (kernel - 1) // 2)))(x)
    x = layers.Conv2D(filters, kernel)(x)
    x = layers.MaxPooling2D(pool)(x)
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, gamma_constraint="non_neg")(x)
    x = layers.ReLU()(x)
    return layers.SpatialDropout2D(dropout)(x) if dropout else x


def lstm_stack(x: Any, units: Sequence[int], *, dropout: float) -> Any:
    """LSTM layers with dropout after each; the last gives its final output only, shape `(units[-1],)`."""
    for i, n in enumerate(units, start=1):
        x = layers.LSTM(n, return_sequences=i < len(units))(x)
        x = layers.Dropout(dropout)(x)
    return x


def classifier(x: Any, n_labels: int) -> Any:
    """The published head: Dense 128, Dense 64, softmax."""
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dense(64, activation="relu")(x)
    return layers.Dense(n_labels, activation="softmax", name="probabilities")(x)
