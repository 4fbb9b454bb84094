"""Weights that a training starts from: those of an earlier one, adapted to other voices, rooms or labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edgeemo.corpora.labels import LabelMap, spelled
from edgeemo.errors import TrainingError
from edgeemo.places import EXPORT_DIR, recipe_path
from edgeemo.wording import counted
from edgeemo.workstation.training.folder import RECIPE_FILE, load_run
from edgeemo.workstation.training.metrics import CellMetrics
from edgeemo.workstation.training.protocols import Item, ItemT, Split
from edgeemo.workstation.training.recipe import Recipe, load_recipe, overridden

FEW = 5
"""Clips of a label, below which little can be learnt of it, and less be said of how well."""

# Usual values for so few clips; none was chosen by a score (benchmarks/adaptation.py tries others).
_TRAINING = {"epochs": 20, "learning_rate": 1e-3, "batch_size": 16, "label_smoothing": 0.05}


def shipped_run(name_or_path: str) -> Path:
    """The run folder that the model of a recipe ships from.

    Raises:
        RecipeError: there is no such recipe.
        TrainingError: there is no such folder: an installed edgeemo has the recipes alone.
    """
    name = load_recipe(recipe_path(name_or_path)).name
    if not (run := EXPORT_DIR / name).is_dir():
        raise TrainingError(
            f"no weights of {name} in {EXPORT_DIR}; those of shipped models are in export/ of edgeemo's repository: "
            "run this in a clone of it, or give a run folder"
        )
    return run


def start_run(name_or_folder: str) -> Path:
    """The run folder that a start names: itself, or that of a shipped model.

    Raises:
        RecipeError, TrainingError: as `shipped_run`.
    """
    folder = Path(name_or_folder)
    return folder if (folder / RECIPE_FILE).is_file() else shipped_run(name_or_folder)


def recipe_from(start: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a training that starts from the weights of another: its features, window and network, with all
    labels and corpora of the data, and the protocol `clips`.

    Args:
        start: a shipped model, or a run folder.
        overrides: values of the recipe, `section.key=value` each.

    Raises:
        RecipeError: an override that is none; values out of range.
        TrainingError: there is no such run.
    """
    recipe, _ = load_run(start_run(start))
    if recipe.image is not None:
        raise TrainingError(f"{start} is a network over images; give one over audio")
    values = recipe.to_dict()
    for table in ("labels", "published"):
        values.pop(table, None)
    values |= {
        "name": f"{recipe.name}_own",
        "data": {"labels": "own"},
        "protocol": {"kind": "clips"},
        "training": {**_TRAINING, "start": start},
    }
    return overridden(values, overrides)


def check_strangers(recipe: Recipe, split: Split[ItemT], start: CellMetrics) -> None:
    """Refuse a split whose score would be called one of strangers, though the start has heard them.

    Args:
        recipe: its protocol.
        split: of it.
        start: what is known of the weights that are started from.

    Raises:
        TrainingError: it has.
    """
    if recipe.protocol.kind not in ("speaker", "corpus"):
        return
    tested = {item.speaker for item in (*split.validation, *split.test)} - {""}
    if heard := sorted(tested & set(start.train_speakers)):
        raise TrainingError(
            f"{heard[0]} is to be a stranger in {split.name}, but {recipe.training.start} was trained on "
            f"{counted(len(heard), 'such speaker')}; use --protocol clips, or data that it never heard"
        )


def columns(labels: LabelMap, of: LabelMap) -> list[int | None]:
    """Where each label was among those of the earlier training; None of new ones."""
    return [of.index(spelled(label)) for label in labels.labels]


def too_few(items: Sequence[Item], labels: LabelMap) -> list[str]:
    """A line, if there are labels with few clips."""
    n = Counter(labels.of[item.label] for item in items)
    few = [f"{label} has {counted(n[label], 'clip')}" for label in labels.labels if n[label] < FEW]
    if not few:
        return []
    return [f"{', '.join(few)}: expect little of these, and of their scores; {FEW} or more teach more"]
