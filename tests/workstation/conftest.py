"""What the workstation's tests share: audio, the shipped recipes, and models built and exported once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from edgeemo.metadata import Metadata
from edgeemo.places import EXPORT_DIR
from edgeemo.workstation.training.recipe import Recipe, load_recipe, recipe_from_dict
from support.evidence import score_row, training
from support.networks import randomise
from support.signals import noise, speech_like


@pytest.fixture(scope="session")
def shipped_recipe() -> Callable[[str], Recipe]:
    """The recipe `export/NAME.toml` by its name."""
    return functools.cache(lambda name: load_recipe(EXPORT_DIR / f"{name}.toml"))


@pytest.fixture(scope="session")
def random_model(shipped_recipe: Callable[[str], Recipe]) -> Callable[[str], Any]:
    """The Keras model of a recipe in `export/` with random weights, by the recipe's name; not to be changed."""

    @functools.cache
    def make(name: str) -> Any:
        import keras

        from edgeemo.workstation.architectures import build

        recipe = shipped_recipe(name)
        keras.utils.set_random_seed(len(name))
        model = build(
            recipe.architecture.builder,
            recipe.architecture.settings,
            n_frames=recipe.input_shape[0],
            n_mels=recipe.input_shape[1],
            n_labels=len(recipe.label_map.labels),
        )
        return randomise(model, seed=len(name))

    return make


class Exported(NamedTuple):
    recipe: Recipe
    keras: Any
    path: Path
    metadata: Metadata


@pytest.fixture(scope="session")
def exported(
    shipped_recipe: Callable[[str], Recipe],
    random_model: Callable[[str], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Exported]:
    """The exported file of `random_model(name)`."""

    @functools.cache
    def make(name: str) -> Exported:
        from edgeemo.workstation.export.file import export

        recipe, model = shipped_recipe(name), random_model(name)
        path = tmp_path_factory.mktemp("exported") / f"{name}.onnx"
        metadata = export(
            model,
            recipe,
            path,
            clips=[speech_like(60000, seed=1), noise(20000, seed=1)],
            training=training(),
            scores=[score_row()],
        )
        return Exported(recipe, model, path, metadata)

    return make


@pytest.fixture(scope="session")
def small_recipe() -> Recipe:
    """Sixteen frames of eight bands: quick to build, train and export."""
    return recipe_from_dict({
        "name": "small",
        "summary": "for tests",
        "architecture": {"builder": "pure_cnn"},
        "features": {"sample_rate": 8000, "n_fft": 256, "hop_samples": 128, "n_mels": 8, "fmax_hz": 4000.0},
        "window": {"window_s": 0.256, "step_s": 0.032},
        "augmentation": {"time_mask_frames": 4, "mel_mask_bands": 2},
    })  # fmt: skip
