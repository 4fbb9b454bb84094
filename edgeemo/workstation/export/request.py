"""What an export is asked for: read and checked before a library is loaded that takes seconds."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeemo.answer import Judgement
from edgeemo.errors import ExportError, ModelError
from edgeemo.evidence import ScoreRow, Training
from edgeemo.metadata import Mode, Precision
from edgeemo.places import EXPORT_DIR, recipe_path, ships
from edgeemo.workstation.formats import check_readable
from edgeemo.workstation.training.folder import MODEL_FILE, best_cell, load_run, read_judging
from edgeemo.workstation.training.metrics import score_rows, training_facts
from edgeemo.workstation.training.recipe import Export, Recipe, load_recipe, recipe_from_dict, with_step


@dataclass(frozen=True, kw_only=True)
class Network:
    """What is to be exported, and what is known of it.

    Attributes:
        recipe: the features and window, or the image, it was trained with.
        weights: a `.keras` or `.onnx` file.
        labels: class names in the network's order; empty for those of the recipe's label map.
        training: how the weights were made; None where that is unknown.
        scores: what was measured of them, the headline first.
        judgement: how probabilities become answers; None where nothing is known of that.
        softmax: the weights give logits.
    """

    recipe: Recipe
    weights: Path
    labels: tuple[str, ...] = ()
    training: Training | None = None
    scores: tuple[ScoreRow, ...] = ()
    judgement: Judgement | None = None
    softmax: bool = False


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to make of a network of audio. One over images becomes one file in fp32, and takes no options.

    Attributes:
        modes: empty for both.
        precisions: empty for all.
        step_ms: new audio per step; None for the recipe's.
        ort_format: files in onnxruntime's own format too.
        force: keep what the gate rejects.
        delay: stream a network that looks ahead too, with a delay.
    """

    modes: tuple[Mode, ...] = ()
    precisions: tuple[Precision, ...] = ()
    step_ms: float | None = None
    ort_format: bool = False
    force: bool = False
    delay: bool = False

    @property
    def given(self) -> list[str]:
        """Those that differ from the defaults, as the command line calls them."""
        options = {
            "--mode": self.modes,
            "--precision": self.precisions,
            "--step-ms": self.step_ms is not None,
            "--format": self.ort_format,
            "--force": self.force,
            "--delay": self.delay,
        }
        return [option for option, value in options.items() if value]


def trained(run: Path, *, fold: str | None = None) -> Network:
    """The network of a training run: its best cell by validation UAR.

    Args:
        run: folder of `edgeemo train`.
        fold: choose among the cells of this fold, such as `3` or `fold-3`.

    Raises:
        TrainingError: there is no finished run.
        ExportError: the run has no such fold.
    """
    recipe, metrics = load_run(run)
    cells = [cell for cell in metrics.cells if fold is None or cell.fold in (fold, f"fold-{fold}")]
    if not cells:
        known = ", ".join(dict.fromkeys(cell.fold for cell in metrics.cells))
        raise ExportError(f"{run} has no fold {fold!r}; it has {known}")
    folder, cell = best_cell(run, cells)
    judging = read_judging(run)
    return Network(
        judgement=None
        if judging is None
        else dataclasses.replace(
            Judgement.of(recipe.label_map.labels),
            temperature=judging.temperature,
            unsure_below=judging.unsure_below,
        ),
        recipe=recipe,
        weights=folder / MODEL_FILE,
        training=training_facts(recipe, cell),
        scores=score_rows(recipe, cell),
    )


def own(
    weights: Path,
    recipe: str,
    *,
    labels: tuple[str, ...] = (),
    name: str | None = None,
    licence: str | None = None,
    overrides: Sequence[str] = (),
    features: str | None = None,
    softmax: bool = False,
) -> Network:
    """A network of one's own, of which its file and a recipe are known.

    A recipe of one's own describes it: its name, its summary and its terms. One in `export/` describes another
    network: only the features, the window and the labels are taken from it, the name is the file's, and nothing else
    is stated.

    Args:
        weights: a `.keras` or `.onnx` file.
        recipe: the name of one in `export/`, or a TOML file.
        labels: class names in the network's order; empty for those of the recipe's label map.
        name: what the model is called; None for what was said above.
        licence: its terms, likewise.
        overrides: values of the recipe, `section.key=value` each.
        features: a preset in place of the recipe's features.
        softmax: the network gives logits, and a softmax is added behind them.

    Raises:
        RecipeError: there is no such recipe, or it is broken.
    """
    path = recipe_path(recipe)
    described = load_recipe(path, overrides, trainable=False, preset=features)
    if path.parent.resolve() == EXPORT_DIR.resolve():
        stem = re.sub(r"[^\w-]+", "_", weights.stem)
        terms = dataclasses.replace(described.export, licence=Export().licence)
        described = dataclasses.replace(described, name=stem, summary="", export=terms)
    values = described.to_dict()
    if name is not None:
        values["name"] = name
    if licence is not None:
        values["export"] = {**values["export"], "licence": licence}
    return Network(
        recipe=recipe_from_dict(values, trainable=False), weights=weights, labels=labels, softmax=softmax
    )


def checked(
    network: Network,
    folder: Path,
    *,
    data: Path | None = None,
    calibrate: Path | None = None,
    options: Options | None = None,
    replace: bool = False,
) -> Recipe:
    """Check what is asked, as far as that can be seen at once.

    Args:
        network, folder, data, calibrate, options, replace: as for `policy.plan_export`.

    Returns:
        the recipe, with the step that is asked for.

    Raises:
        ExportError: `folder` is a file, or has a shipped model of that name; options for a network over images, which
            needs data; there is nothing at a path; labels that are none.
        ModelError: there are no weights, or in a format that is not read.
        RecipeError: the step does not fit the recipe.
    """
    options, recipe = options or Options(), network.recipe
    if folder.is_file():
        raise ExportError(f"{folder} is a file; give a folder to write the variants into")
    if ships(recipe.name, folder) and not replace:
        raise ExportError(
            f"{folder} has a model {recipe.name}, and what is there ships; give another --output, or --replace"
        )
    if recipe.image is not None and options.given:
        raise ExportError(
            f"{recipe.name} is a network over images, which becomes one ONNX file in fp32; leave out "
            f"{', '.join(options.given)}"
        )
    if recipe.image is not None and data is None:
        raise ExportError(
            f"{recipe.name} is compared with Keras on images; give --data with the folder of "
            f"{', '.join(recipe.data.corpora)}"
        )
    for option, path in (("--data", data), ("--calibrate", calibrate)):
        if path is not None and not path.exists():
            raise ExportError(f"{option} {path}: no such file or folder")
    if network.weights.suffix == ".onnx":
        if not network.weights.is_file():
            raise ModelError(f"no ONNX file at {network.weights}")
    else:
        check_readable(network.weights)
    labels_of(recipe, network.labels)
    return recipe if options.step_ms is None else with_step(recipe, options.step_ms / 1000)


def labels_of(recipe: Recipe, labels: tuple[str, ...]) -> tuple[str, ...]:
    """The class names of a network: those that are given, else those of the recipe's label map.

    Raises:
        ExportError: one is empty, or occurs twice.
    """
    labels = labels or recipe.label_map.labels
    if len(set(labels)) < len(labels) or not all(labels):
        raise ExportError(
            f"labels are {', '.join(map(repr, labels))}; each must be a name and occur only once"
        )
    return labels
