"""One training: one fold, one seed; stops early, and goes on where it was interrupted."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeemo.errors import TrainingError
from edgeemo.files import replacing, write_text
from edgeemo.workstation.architectures import build, count_parameters
from edgeemo.workstation.training.dataset import Batches, Dataset, FixedExamples
from edgeemo.workstation.training.plots import plot_confusion, plot_history
from edgeemo.workstation.training.protocols import Split
from edgeemo.workstation.training.recipe import Recipe
from edgeemo.workstation.training.scores import scores

_log = logging.getLogger(__name__)

METRICS_FILE = "metrics.json"
_SPLIT_FILE = "split.txt"  # the digest of the split, of a training under way
HISTORY = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "val_uar", "learning_rate")
_FINAL_RATE = 0.02  # of the first learning rate
_N_NORMALISATION_CLIPS = 400
_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}

Progress = Callable[[int, dict[str, float]], None]
"""Called after each epoch: its number (from 1) and its row of the history."""


def fit(
    recipe: Recipe, split: Split, *, seed: int, folder: Path, dataset: Dataset, progress: Progress
) -> None:
    """Train a model and score it.

    Writes into `folder`: `history.csv` (a row an epoch), `model.keras` (weights of the epoch with the lowest
    validation loss), `history.png`, `confusion.png`, of pictures `samples.png`, and last `metrics.json`: plain
    values, the fold, seed, epochs, speakers, and the scores of validation and test, also per corpus. While training,
    `epoch-NNN.keras` holds the state to go on from, and `split.txt` of which split it is.

    Args:
        recipe: what to train.
        split: the clips or pictures.
        seed: of weights and augmentation.
        folder: for this training alone.
        dataset: what they are of.
        progress: told of every epoch.

    Raises:
        TrainingError: the loss is no number any more, or the folder holds a training on another split.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, split)
    labels = recipe.label_map.labels
    validation = dataset.fixed(split.validation)

    keras.utils.set_random_seed(seed)
    model = build_network(recipe)
    mean_db = _fit_normalisation(model, split, dataset)
    examples = dataset.batches(split.train, mask=mean_db, seed=seed)
    compile_model(model, recipe, len(examples))
    history, model = _resume(folder, model)
    best = _best(history)
    _log.info("%s seed %d: %d clips, %d epochs done", split.name, seed, len(split.train), len(history))

    while len(history) < recipe.training.epochs and len(history) - best < recipe.training.patience:
        epoch = len(history)
        examples.start_epoch(epoch)
        _reseed_dropout(model, seed, epoch)
        row = _train_epoch(model, examples)
        row |= _validate(model, validation, labels)
        if not np.isfinite(row["loss"]):
            raise TrainingError(
                f"{folder}: the loss became {row['loss']} in epoch {epoch + 1}; lower learning_rate"
            )
        history.append({"epoch": epoch + 1, **row})
        if _best(history) == len(history):
            with replacing(folder / "model.keras") as temporary:
                model.save(temporary)
        _checkpoint(folder, model, history)
        best = _best(history)
        progress(len(history), history[-1])

    # Kept without its optimiser: a third of the size.
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    with replacing(folder / "model.keras") as temporary:
        model.save(temporary)
    metrics = _evaluate(model, recipe, split, validation, dataset)
    metrics |= {
        "fold": split.name,
        "seed": seed,
        "best_epoch": best,
        "epochs": len(history),
        "n_parameters": count_parameters(model),
        "split": split.digest,
        "n_train": len(split.train),
        "train_speakers": _speakers(split.train),
        "validation_speakers": _speakers(split.validation),
        "test_speakers": _speakers(split.test),
    }
    plot_history(history, folder / "history.png", title=f"{recipe.name}, {split.name}, seed {seed}")
    plot_confusion(
        metrics["test"], labels, folder / "confusion.png", title=f"{recipe.name}, {split.name}: test"
    )
    dataset.illustrate(split.test, np.argmax(metrics["test_probabilities"], axis=1), folder)
    write_text(folder / METRICS_FILE, json.dumps(metrics))
    for checkpoint in folder.glob("epoch-*.keras"):
        checkpoint.unlink()
    (folder / _SPLIT_FILE).unlink()


def build_network(recipe: Recipe) -> keras.Model:
    """The untrained network of a recipe.

    Raises:
        RecipeError: it cannot be built.
    """
    return build(
        recipe.architecture.builder,
        recipe.architecture.settings,
        n_frames=recipe.input_shape[0],
        n_mels=recipe.input_shape[1],
        n_labels=len(recipe.label_map.labels),
    )


def finished(folder: Path, split: Split) -> dict[str, Any]:
    """The metrics of a finished training; empty where there is none.

    Raises:
        TrainingError: it is of another split, or its metrics cannot be read.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        return {}
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(f"{path} is damaged ({error}); delete it to train again") from error
    _same_split(folder, metrics.get("split", split.digest), split)
    return metrics


def _claim(folder: Path, split: Split) -> None:
    """Make a folder this split's, or check that it is."""
    path = folder / _SPLIT_FILE
    if path.is_file():
        _same_split(folder, path.read_text(encoding="utf-8").strip(), split)
    write_text(path, f"{split.digest}\n")


def _same_split(folder: Path, digest: str, split: Split) -> None:
    if digest != split.digest:
        raise TrainingError(
            f"{folder} was trained on other clips than the data have for {split.name} now, so that test speakers may "
            "be among them; give the same --data, another --output, or delete that folder"
        )


def predict(model: keras.Model, features: np.ndarray) -> np.ndarray:
    """Probabilities `(n_windows, n_labels)` of what the network takes, `(n_windows, *input_shape)`."""
    return model.predict(features, batch_size=64, verbose=0)


def _fit_normalisation(model: keras.Model, split: Split, dataset: Dataset) -> np.ndarray | None:
    """Mean and variance per mel band over training clips (at most some hundreds, evenly chosen); the mean.

    A network over pixels, which are scaled by a constant, has no such layer: None.
    """
    if not any(isinstance(layer, keras.layers.Normalization) for layer in model.layers):
        return None
    chosen = split.train[:: -(-len(split.train) // _N_NORMALISATION_CLIPS)]
    features = dataset.fixed(chosen).features
    model.get_layer("normalisation").adapt(features)
    return features.mean(axis=(0, 1))


def compile_model(model: keras.Model, recipe: Recipe, n_batches: int) -> None:
    """Give a model the optimiser and loss of a recipe; an epoch has `n_batches`."""
    t = recipe.training
    rate = t.learning_rate
    if t.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, t.epochs * n_batches, alpha=_FINAL_RATE)
    model.compile(
        _OPTIMIZERS[t.optimizer](rate, clipnorm=t.clip_norm or None),
        keras.losses.CategoricalCrossentropy(label_smoothing=t.label_smoothing),
        weighted_metrics=[],
        metrics=["accuracy"],
    )


def _reseed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Make dropout's chance, too, depend on seed and epoch alone: its state is not in a `.keras` file."""
    rng = np.random.default_rng([seed, epoch, 1])
    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(rng.integers(2**31, size=generator.state.shape))


def _train_epoch(model: keras.Model, examples: Batches) -> dict[str, float]:
    losses, accuracies, sizes = [], [], []
    for index in range(len(examples)):
        features, labels, weights = examples[index]
        values = model.train_on_batch(features, labels, sample_weight=weights, return_dict=True)
        losses.append(values["loss"])
        accuracies.append(values["accuracy"])
        sizes.append(len(labels))
    return {
        "loss": float(np.average(losses, weights=sizes)),
        "accuracy": float(np.average(accuracies, weights=sizes)),
        "learning_rate": float(model.optimizer.learning_rate),
    }


def _validate(model: keras.Model, validation: FixedExamples, labels: tuple[str, ...]) -> dict[str, float]:
    probabilities = validation.clip_probabilities(predict(model, validation.features))
    result = scores(validation.labels, probabilities, labels)
    return {"val_loss": result["loss"], "val_accuracy": result["war"], "val_uar": result["uar"]}


def _evaluate(
    model: keras.Model, recipe: Recipe, split: Split, validation: FixedExamples, dataset: Dataset
) -> dict[str, Any]:
    labels = recipe.label_map.labels
    test = dataset.fixed(split.test)
    results: dict[str, Any] = {}
    for part, examples in (("test", test), ("validation", validation)):
        probabilities = examples.clip_probabilities(predict(model, examples.features))
        corpora = np.array([item.corpus for item in getattr(split, part)])
        results[part] = scores(examples.labels, probabilities, labels)
        results[f"{part}_by_corpus"] = {
            str(c): scores(examples.labels[corpora == c], probabilities[corpora == c], labels)
            for c in np.unique(corpora)
        }
        if part == "test":
            results["test_probabilities"] = probabilities.round(5).tolist()
            results["test_truth"] = examples.labels.tolist()
    return results


def _best(history: list[dict[str, float]]) -> int:
    """The epoch (from 1) with the lowest validation loss; 0 before the first."""
    return min(range(len(history)), key=lambda i: history[i]["val_loss"]) + 1 if history else 0


def _checkpoint(folder: Path, model: keras.Model, history: list[dict[str, float]]) -> None:
    """Model and optimiser first, then the history row that says they are there."""
    with replacing(_checkpoint_path(folder, len(history))) as temporary:
        model.save(temporary)
    rows = [",".join(HISTORY)] + [",".join(repr(row[name]) for name in HISTORY) for row in history]
    write_text(folder / "history.csv", "\n".join(rows) + "\n")
    _checkpoint_path(folder, len(history) - 1).unlink(missing_ok=True)


def _checkpoint_path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:03d}.keras"


def _resume(folder: Path, model: keras.Model) -> tuple[list[dict[str, float]], keras.Model]:
    """The history and model that an interrupted training left in `folder`, or the new model."""
    path = folder / "history.csv"
    if not path.is_file():
        return [], model
    with path.open(newline="", encoding="utf-8") as file:
        rows = [
            {name: float(value) for name, value in row.items()} | {"epoch": int(row["epoch"])}
            for row in csv.DictReader(file)
        ]
    checkpoint = _checkpoint_path(folder, len(rows))
    if not checkpoint.is_file():
        return [], model
    return rows, keras.saving.load_model(checkpoint)


def _speakers(items: tuple[Any, ...]) -> list[str]:
    """Of speech; pictures have none."""
    return sorted({item.speaker for item in items if item.speaker})
