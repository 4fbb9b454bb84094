"""What a study compares: recipes with every combination of varied values."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeemo.errors import RecipeError
from edgeemo.workstation.architectures import ARCHITECTURES, check_settings
from edgeemo.workstation.training.recipe import FOLDED_PROTOCOLS, Recipe, load_recipe

_TABLES = ("architecture", "features", "window", "image", "data", "protocol", "training", "augmentation")


@dataclass(frozen=True)
class Setting:
    """One recipe with one value of everything that is varied.

    Attributes:
        recipe: as it is trained.
        values: what is varied, `table.key` -> its value as text, in the order of the command.
    """

    recipe: Recipe
    values: dict[str, str]

    @property
    def name(self) -> str:
        """Such as `fer_mlp, activation = relu, batch_size = 16`."""
        varied = [f"{key.partition('.')[2]} = {value}" for key, value in self.values.items()]
        return ", ".join([self.recipe.name, *varied])

    @property
    def folder(self) -> str:
        """The name as a folder's."""
        return re.sub(r"[^\w.=-]+", "_", self.name.replace(" = ", "=")).strip("_")


def settings(
    recipes: Sequence[Path], vary: Sequence[str] = (), overrides: Sequence[str] = ()
) -> list[Setting]:
    """Every recipe with every combination of the varied values.

    Args:
        recipes: TOML files.
        vary: `key=value,value,...` each; the key of any table, or `table.key` where two tables have it; values as in
            TOML (a bare word counts as a string).
        overrides: `table.key=value` each, for all recipes.

    Raises:
        RecipeError: a key that a recipe does not have or that two of its tables have, the same key twice, a value
            that the recipe does not take, or the same setting twice.
    """
    axes = [_axis(argument) for argument in vary]
    found = []
    for path in recipes:
        recipe = load_recipe(path, overrides)
        check_settings(recipe.architecture.builder, recipe.architecture.settings)
        keys = [_full_key(key, recipe) for key, _ in axes]
        if repeated := [key for key in keys if keys.count(key) > 1]:
            raise RecipeError(f"{repeated[0]} is varied twice; give all its values in one --vary")
        for values in itertools.product(*(values for _, values in axes)):
            chosen = dict(zip(keys, values, strict=True))
            varied = load_recipe(path, [*overrides, *(f"{key}={value}" for key, value in chosen.items())])
            check_settings(varied.architecture.builder, varied.architecture.settings)
            found.append(Setting(varied, chosen))
    folders = [setting.folder for setting in found]
    trained = [setting.recipe.trained_by for setting in found]
    for setting in found:
        if folders.count(setting.folder) > 1 or trained.count(setting.recipe.trained_by) > 1:
            raise RecipeError(f"{setting.name} occurs twice; give each recipe and each value once")
    return found


def _axis(argument: str) -> tuple[str, list[str]]:
    key, equals, text = argument.partition("=")
    values = _split(text)
    if not equals or not key.strip() or not all(values):
        raise RecipeError(f"--vary {argument!r}; expected key=value,value,..., such as batch_size=16,32,64")
    return key.strip(), values


def _split(text: str) -> list[str]:
    """Split at commas outside brackets and quotation marks: `[64],[64,64]` are two values."""
    values, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth += (character in "[{") - (character in "]}")
        if character == "," and not depth and not quote:
            values.append("")
        else:
            values[-1] += character
    return [value.strip() for value in values]


def _full_key(key: str, recipe: Recipe) -> str:
    """`table.key` of a key that may come without its table."""
    if "." in key:
        return key
    found = [f"{table}.{key}" for table in _TABLES if key in _keys(recipe, table)]
    if not found:
        raise RecipeError(f"--vary {key}: neither {recipe.name} nor its builder has this key")
    if len(found) > 1:
        raise RecipeError(
            f"--vary {key}: {len(found)} tables of {recipe.name} have this key; give one of {', '.join(found)}"
        )
    return found[0]


def _keys(recipe: Recipe, table: str) -> list[str]:
    if table == "architecture":
        parameters = inspect.signature(ARCHITECTURES[recipe.architecture.builder]).parameters.values()
        return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    if table not in recipe.to_dict():
        return []
    return [f.name for f in dataclasses.fields(getattr(recipe, table))]


def with_folds(overrides: Sequence[str], recipes: Sequence[Path], folds: int) -> list[str]:
    """Overrides that also set the number of folds of every recipe's protocol.

    Raises:
        RecipeError: the number of a protocol's folds cannot be chosen.
    """
    for path in recipes:
        kind = load_recipe(path, overrides).protocol.kind
        if kind not in FOLDED_PROTOCOLS:
            raise RecipeError(
                f"{path}: the number of folds of the {kind} protocol cannot be chosen; leave out --folds, or choose "
                f"another protocol with --set protocol.kind={FOLDED_PROTOCOLS[0]}"
            )
    return [*overrides, f"protocol.folds={folds}"]
