"""Makes the small models of the device tests: `python tests/device/make_tiny.py` (extra `train`).

A real front end, a small LSTM and random weights: its labels mean nothing, its graph is of the real kind
(`tiny.onnx`, `tiny.stream.onnx`). One with lasting states, which learns what a voice usually sounds like
(`tiny.learning.onnx`). One of images, a small LSTM over rows of pixels (`tiny.image.onnx`).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
from keras import layers

from edgeemo.answer import Judgement
from edgeemo.features import Features
from edgeemo.metadata import Mode
from edgeemo.workstation.architectures import build
from edgeemo.workstation.export.file import export
from edgeemo.workstation.training.recipe import Architecture, Export, Image, Recipe, Window

LABELS = ("low", "middle", "high")
FOLDER = Path(__file__).parent


def main() -> None:
    """Write them beside this file."""
    make_audio()
    make_learning()
    make_image()


def any_sound(labels: tuple[str, ...]) -> Judgement:
    """Tests are of noises too."""
    return dataclasses.replace(Judgement.of(labels), needs_voice=False)


def make_audio(folder: Path = FOLDER) -> None:
    """A window and a stream graph of the same weights."""
    keras.utils.set_random_seed(1)
    recipe = Recipe(
        name="tiny",
        summary="LSTM of random weights, for tests",
        architecture=Architecture(builder="tiny"),
        features=Features(n_mels=16, level_frames=64),
        window=Window(window_s=0.64, step_s=0.16),
    )
    x = features = layers.Input((recipe.n_frames, recipe.features.n_mels))
    x = layers.Rescaling(1 / 20, offset=1.5)(x)
    x = layers.LSTM(8)(x)
    # Large weights, so that the probabilities of different sounds differ.
    x = layers.Dense(
        len(LABELS), activation="softmax", kernel_initializer=keras.initializers.RandomNormal(0, 3)
    )(x)
    noise = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    model = keras.Model(features, x, name="tiny")
    for mode, name in ((Mode.WINDOW, "tiny.onnx"), (Mode.STREAM, "tiny.stream.onnx")):
        export(
            model, recipe, folder / name, mode=mode, clips=[noise], labels=LABELS, judgement=any_sound(LABELS)
        )


def make_learning(folder: Path = FOLDER) -> None:
    """A stream graph that learns from each utterance; its labels are emotions, so that it can be evaluated."""
    labels = ("neutral", "angry", "sad")
    keras.utils.set_random_seed(1)
    architecture = Architecture(
        builder="attentive_cnn",
        settings={"filters": [4], "kernels": [5], "strides": [[4, 4]], "hidden": 4},
    )
    recipe = Recipe(
        name="tiny.learning",
        summary="attentive CNN of random weights, for tests",
        architecture=architecture,
        features=Features(n_mels=8, level_frames=64, level="running_mean"),
        window=Window(window_s=0.64, step_s=0.16),
        export=Export(baseline=True),
    )
    model = build(
        architecture.builder,
        architecture.settings,
        n_frames=recipe.input_shape[0],
        n_mels=recipe.input_shape[1],
        n_labels=len(labels),
    )
    model.get_layer("normalisation").adapt(np.array([[[0.0] * 9, [16.0] * 9]], np.float32))
    kernel = model.get_layer("probabilities").kernel
    kernel.assign(np.random.default_rng(2).normal(0, 2, kernel.shape))
    noise = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    export(
        model,
        recipe,
        folder / "tiny.learning.onnx",
        mode=Mode.STREAM,
        clips=[noise],
        labels=labels,
        judgement=any_sound(labels),
    )


def make_image(folder: Path = FOLDER) -> None:
    """Six rows of five pixels."""
    keras.utils.set_random_seed(1)
    recipe = Recipe(
        name="tiny.image",
        summary="image LSTM of random weights, for tests",
        architecture=Architecture(builder="tiny"),
        image=Image(height=6, width=5),
    )
    x = pixels = layers.Input(recipe.input_shape)
    x = layers.Rescaling(1 / 255)(x)
    x = layers.LSTM(4)(x)
    x = layers.Dense(
        len(LABELS), activation="softmax", kernel_initializer=keras.initializers.RandomNormal(0, 3)
    )(x)
    images = np.random.default_rng(0).integers(0, 256, (8, *recipe.input_shape))
    path = folder / "tiny.image.onnx"
    export(keras.Model(pixels, x, name="tiny"), recipe, path, clips=images, labels=LABELS)


if __name__ == "__main__":
    main()
