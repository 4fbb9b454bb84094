"""Keras networks to test with."""

from __future__ import annotations

from typing import Any

import numpy as np


def randomise(model: Any, *, seed: int = 0) -> Any:
    """Give every bias, batch statistic and normalisation constant a random value, none of them zero or one."""
    import keras

    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.adapt(rng.normal(-30, 15, (4, *model.inputs[0].shape[1:])).astype(np.float32))
            continue
        for weight in layer.weights:
            shape, name = tuple(weight.shape), weight.path.rpartition("/")[2]
            if name == "bias":
                weight.assign(rng.normal(0, 0.2, shape))
            elif name in ("beta", "moving_mean"):
                weight.assign(rng.normal(0, 0.3, shape))
            elif name in ("gamma", "moving_variance"):
                weight.assign(rng.uniform(0.5, 2, shape))
            # Larger than at the start of training, so that the answer depends on the audio.
            elif isinstance(layer, keras.layers.LSTM | keras.layers.GRU) and name == "kernel":
                weight.assign(rng.normal(0, 3 / np.sqrt(shape[0]), shape))
            elif isinstance(layer, keras.layers.Dense):
                weight.assign(rng.normal(0, 2 / np.sqrt(shape[0]), shape))
    return model


def narrow_resnet50(*, input_shape: tuple[int, int, int], **_: Any) -> Any:
    """ResNet50 with an eighth of its channels, to stand in for `keras.applications.ResNet50`: all its layers, without
    the half minute that converting a hundred megabytes takes.
    """
    from keras.src.applications import resnet

    def stacks(x: Any) -> Any:
        for i, (filters, blocks) in enumerate([(8, 3), (16, 4), (32, 6), (64, 3)]):
            stride = 2 if i else 1
            x = resnet.stack_residual_blocks_v1(x, filters, blocks, stride, name=f"conv{i + 2}")
        return x

    return resnet.ResNet(
        stacks, preact=False, use_bias=True, include_top=False, weights=None, input_shape=input_shape
    )
