"""Layers that the architectures share."""

from __future__ import annotations

from collections.abc import Sequence

from keras import KerasTensor, layers, ops

# Means over some ten batches. With Keras' default of 0.99, a corpus of a thousand clips needs several epochs before a
# model works at all outside training.
BATCH_NORM_MOMENTUM = 0.9

_LARGEST_SCORE = 15.0
_SMALLEST_VARIANCE = 1e-5
_UNHEARD_SCORE = -60.0  # e to the power of this, beside the least score of what was heard, is nothing


def normalised_input(n_frames: int, n_mels: int) -> tuple[KerasTensor, KerasTensor]:
    """The model's input, log-mel features in dB, and the same normalised per mel band (to be fitted)."""
    features = layers.Input((n_frames, n_mels), name="features")
    return features, layers.Normalization(name="normalisation")(features)


def scaled_pixels(height: int, width: int) -> tuple[KerasTensor, KerasTensor]:
    """The model's input, a grey image in pixel values from 0 to 255, and the same from 0 to 1."""
    features = layers.Input((height, width), name="features")
    return features, layers.Rescaling(1 / 255)(features)


def causal_conv_stack(
    x: KerasTensor,
    filters: Sequence[int],
    *,
    kernel: int,
    pools: Sequence[tuple[int, int]],
    dropouts: Sequence[float],
) -> KerasTensor:
    """Conv2D layers with ReLU, max pooling, batch normalisation and dropout after each, causal in time.

    A convolution is padded on the past side only, and the pooling's stride is its size: no frame of the output
    depends on a later frame of the input, and a stream can compute it from the past frames that it carries. The
    padding comes before the normalisation: a padded frame is one without activation, and in an exported graph the
    normalisation becomes part of the next layer's weights, exactly.

    Dropout here leaves out whole channels (Tompson et al. 2015, "Efficient object localization using convolutional
    networks"): with element-wise dropout, the next block's max pooling picks the maxima of the noise, its batch
    normalisation learns statistics that do not occur without dropout, and the model fails outside training.

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
        check_pool(x.shape[1], pool[0])
        x = layers.ZeroPadding2D(((kernel - 1, 0), (kernel // 2, (kernel - 1) // 2)))(x)
        if i:
            x = _normalised(x, dropouts[i - 1])
        x = layers.Conv2D(n, kernel, activation="relu")(x)
        x = layers.MaxPooling2D(tuple(pool))(x)
    return _normalised(x, dropouts[len(filters) - 1])


def strided_conv_stack(
    x: KerasTensor, filters: Sequence[int], *, kernels: Sequence[int], strides: Sequence[tuple[int, int]]
) -> KerasTensor:
    """Conv2D layers with strides, batch normalisation and ReLU, causal in time.

    Args:
        x: shape `(n_frames, n_bands, n_channels)`.
        filters: channels of each convolution.
        kernels: size of each, in frames and in bands.
        strides: of each, in frames and in bands.

    Raises:
        ValueError: the frames are not a multiple of a stride: the newest would be left out.
    """
    for n, kernel, (in_time, in_bands) in zip(filters, kernels, strides, strict=True):
        check_pool(x.shape[1], in_time)
        # The past alone, as much as makes the newest position end with the newest frame.
        x = layers.ZeroPadding2D(((kernel - in_time, 0), (kernel // 2, (kernel - 1) // 2)))(x)
        x = layers.Conv2D(n, kernel, strides=(in_time, in_bands), use_bias=False)(x)
        x = active(x)
    return x


def active(x: KerasTensor) -> KerasTensor:
    """Batch normalisation, then ReLU."""
    return layers.ReLU()(layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(x))


def all_bands(x: KerasTensor) -> KerasTensor:
    """Bands and channels of each position side by side: `(n_positions, n_bands, n_channels)` in two axes."""
    return layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]))(x)


def attentive_statistics(x: KerasTensor, heard: KerasTensor | None) -> KerasTensor:
    """Mean and deviation over time of what deserves attention.

    From Okabe et al. 2018, "Attentive statistics pooling for deep speaker embedding": weighted by a softmax over
    scores of the positions. A stream carries both exactly.

    Args:
        x: shape `(n_positions, n_channels)`.
        heard: 1 at positions that count and 0 elsewhere, shape `(n_positions, 1)`; None: all count.

    Returns:
        shape `(2 * n_channels,)`.
    """
    scores = layers.Conv1D(1, 1, name="attention")(x)
    scores = ops.clip(scores, -_LARGEST_SCORE, _LARGEST_SCORE)
    if heard is not None:
        scores = scores + _UNHEARD_SCORE * (1 - heard)
    weights = layers.Softmax(axis=1)(scores)
    mean = ops.sum(weights * x, axis=1)
    square = ops.sum(weights * x * x, axis=1)
    deviation = ops.sqrt(ops.maximum(square - mean * mean, _SMALLEST_VARIANCE))
    return layers.Concatenate()([mean, deviation])


def check_pool(n_frames: int, pool: int) -> None:
    """Refuse to pool frames and leave out the newest.

    Raises:
        ValueError: the frames are not a multiple of the pool.
    """
    if n_frames % pool:
        raise ValueError(f"{n_frames} frames cannot be pooled by {pool} without a remainder")


def _normalised(x: KerasTensor, dropout: float) -> KerasTensor:
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(x)
    return layers.SpatialDropout2D(dropout)(x) if dropout else x


def lstm_stack(x: KerasTensor, units: Sequence[int], *, dropout: float = 0.0) -> KerasTensor:
    """LSTM layers, with dropout after each; the last gives its final output only, shape `(units[-1],)`.

    Args:
        x: shape `(n_steps, n_values)`.
        units: of each layer.
        dropout: rate after each; 0 adds no dropout layer.

    Raises:
        ValueError: no layer: the output would still be a sequence.
    """
    if not len(units):
        raise ValueError("units is empty; give the units of at least one layer")
    for i, n in enumerate(units, start=1):
        x = layers.LSTM(n, return_sequences=i < len(units))(x)
        if dropout:
            x = layers.Dropout(dropout)(x)
    return x


def classifier(x: KerasTensor, n_labels: int) -> KerasTensor:
    """The published head: Dense 128, Dense 64, softmax."""
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dense(64, activation="relu")(x)
    return probabilities(x, n_labels)


def probabilities(x: KerasTensor, n_labels: int) -> KerasTensor:
    """The output of every architecture: one probability per label."""
    return layers.Dense(n_labels, activation="softmax", name="probabilities")(x)
