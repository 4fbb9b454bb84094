"""One training: one fold, one seed; stops early, and goes on where it was interrupted."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from edgeemo.errors import TrainingError
from edgeemo.files import replacing
from edgeemo.workstation.architectures import build, count_parameters
from edgeemo.workstation.networks import load_network, take_over
from edgeemo.workstation.training.dataset import Batches, Dataset, FixedExamples
from edgeemo.workstation.training.folder import (
    MODEL_FILE,
    best_cell,
    claim_cell,
    finish_cell,
    load_run,
    read_history,
    write_history,
)
from edgeemo.workstation.training.metrics import Answers, CellMetrics, HistoryRow, PartMetrics, kept_epoch
from edgeemo.workstation.training.plots import confusion_figure, history_figure, save_figure
from edgeemo.workstation.training.protocols import Item, ItemT, Split
from edgeemo.workstation.training.recipe import Recipe
from edgeemo.workstation.training.scores import Scores, scores
from edgeemo.workstation.training.start import check_strangers, columns, start_run

_log = logging.getLogger(__name__)

_FINAL_RATE = 0.02  # of the first learning rate
_N_NORMALISATION_CLIPS = 400
_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}

Progress = Callable[[HistoryRow], None]
"""Called after each epoch."""


def fit(
    recipe: Recipe,
    split: Split[ItemT],
    *,
    seed: int,
    folder: Path,
    dataset: Dataset[ItemT],
    progress: Progress,
) -> None:
    """Train a model and score it.

    Writes a cell's files into `folder`: `history.csv` (a row an epoch), `model.keras` (weights of the epoch with the
    lowest validation loss; of the last, where the split has no validation), `history.png`, `confusion.png`, of images
    `samples.png`, and last `metrics.json`.
    During training, `epoch-NNN.keras` holds the state to go on from, and `split.txt` says of which split it is.

    Args:
        recipe: what to train.
        split: the clips or images.
        seed: of weights and augmentation.
        folder: for this training alone.
        dataset: where the clips or images come from.
        progress: told of every epoch.

    Raises:
        TrainingError: the loss became infinite or NaN, the folder holds a training on another split, or what it is to
            start from is not there, is another network, or has heard speakers who are to be strangers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    claim_cell(folder, split)
    labels = recipe.label_map.labels
    validation = dataset.fixed(split.validation) if split.validation else None

    keras.utils.set_random_seed(seed)
    model = build_network(recipe)
    if recipe.training.start:
        _start(model, recipe, split)
        mean_db = model.get_layer("normalisation").mean.numpy().ravel()
    else:
        mean_db = _fit_normalisation(model, split, dataset)
    examples = dataset.batches(split.train, mask=mean_db, seed=seed)
    compile_model(model, recipe, len(examples))
    history, model = _resume(folder, model)
    best = kept_epoch(history)
    _log.info("%s seed %d: %d clips, %d epochs done", split.name, seed, len(split.train), len(history))

    while len(history) < recipe.training.epochs and len(history) - best < recipe.training.patience:
        row = _train_epoch(model, examples, validation, labels, seed=seed, epoch=len(history) + 1)
        if not np.isfinite(row.loss):
            raise TrainingError(
                f"{folder}: the loss became {row.loss} in epoch {row.epoch}; lower learning_rate"
            )
        history.append(row)
        best = kept_epoch(history)
        if best == row.epoch:
            with averaged(model):
                _save(model, folder / MODEL_FILE)
        _checkpoint(folder, model, history)
        progress(row)

    # Kept without its optimiser: a third of the size.
    model = load_network(folder / MODEL_FILE)
    _save(model, folder / MODEL_FILE)
    test = dataset.fixed(split.test)
    probabilities = _clip_probabilities(model, test)
    metrics = CellMetrics(
        fold=split.name,
        seed=seed,
        best_epoch=best,
        epochs=len(history),
        n_parameters=count_parameters(model),
        split=split.digest,
        n_train=len(split.train),
        train_speakers=_speakers(split.train),
        validation=None
        if validation is None
        else _part(split.validation, validation, _clip_probabilities(model, validation), labels),
        test=_part(split.test, test, probabilities, labels),
        normalised_on=None if mean_db is None or recipe.training.start else "train",
        stopped_on=None if validation is None else "validation",
        test_answers=Answers(
            probabilities=tuple(tuple(row) for row in probabilities.round(5).tolist()),
            truth=tuple(test.labels.tolist()),
        ),
    )
    of = f"{recipe.name}, {split.name}"
    save_figure(history_figure(history, title=f"{of}, seed {seed}"), folder / "history.png")
    save_figure(confusion_figure(metrics.test.scores, labels, title=f"{of}: test"), folder / "confusion.png")
    dataset.illustrate(split.test, probabilities.argmax(axis=1), folder)
    finish_cell(folder, metrics)
    for checkpoint in folder.glob("epoch-*.keras"):
        checkpoint.unlink()


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


def _start(model: keras.Model, recipe: Recipe, split: Split[ItemT]) -> None:
    """Give a network the weights that it starts from."""
    run = start_run(recipe.training.start)
    held, metrics = load_run(run)
    folder, cell = best_cell(run, metrics.cells)
    check_strangers(recipe, split, cell)
    try:
        take_over(model, load_network(folder / MODEL_FILE), columns(recipe.label_map, held.label_map))
    except ValueError as error:
        raise TrainingError(
            f"{run} holds another network ({error}); train from it with its own architecture, features and window"
        ) from error


def predict(model: keras.Model, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities `(n_windows, n_labels)` of what the network takes, `(n_windows, *input_shape)`."""
    probabilities: npt.NDArray[np.float32] = model.predict(features, batch_size=64, verbose=0)
    return probabilities


def _fit_normalisation(
    model: keras.Model, split: Split[ItemT], dataset: Dataset[ItemT]
) -> npt.NDArray[np.float32] | None:
    """Fit mean and variance per mel band on training clips: at most some hundreds, evenly chosen.

    Returns:
        the mean, shape `(n_mels,)`; None of a network over pixels, which scales them by a constant.
    """
    if not any(isinstance(layer, keras.layers.Normalization) for layer in model.layers):
        return None
    chosen = split.train[:: -(-len(split.train) // _N_NORMALISATION_CLIPS)]
    features = dataset.fixed(chosen).features
    model.get_layer("normalisation").adapt(features)
    mean: npt.NDArray[np.float32] = features.mean(axis=(0, 1))
    return mean


def compile_model(model: keras.Model, recipe: Recipe, n_batches: int) -> None:
    """Give a model the optimiser and loss of a recipe whose epochs have `n_batches`."""
    t = recipe.training
    rate = t.learning_rate
    if t.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, t.epochs * n_batches, alpha=_FINAL_RATE)
    model.compile(
        _OPTIMIZERS[t.optimizer](
            rate, clipnorm=t.clip_norm or None, use_ema=bool(t.averaging), ema_momentum=t.averaging
        ),
        keras.losses.CategoricalCrossentropy(label_smoothing=t.label_smoothing),
        weighted_metrics=[],
        metrics=["accuracy"],
    )
    if t.averaging:
        # Statistics of averaged weights: those of the last few batches are of other weights.
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = t.averaging


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """For a while, put the weights' average in their place, where the recipe has them averaged."""
    latest = [np.array(variable.numpy()) for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    for variable in model.trainable_variables:
        # A copy: JAX uses up what a function is called with, here the average.
        variable.assign(np.array(variable.numpy()))
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, latest, strict=True):
            variable.assign(value)


def _reseed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Make dropout's chance, too, depend on seed and epoch alone: its state is not in a `.keras` file."""
    rng = np.random.default_rng([seed, epoch, 1])
    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(rng.integers(2**31, size=generator.state.shape))


def _train_epoch(
    model: keras.Model,
    examples: Batches,
    validation: FixedExamples | None,
    labels: tuple[str, ...],
    *,
    seed: int,
    epoch: int,
) -> HistoryRow:
    """Train on every batch once, then validate, if there is something to; epochs count from 1."""
    examples.start_epoch(epoch - 1)
    _reseed_dropout(model, seed, epoch - 1)
    losses, accuracies, sizes = [], [], []
    for index in range(len(examples)):
        batch = examples[index]
        values = model.train_on_batch(
            batch.features, batch.labels, sample_weight=batch.weights, return_dict=True
        )
        losses.append(values["loss"])
        accuracies.append(values["accuracy"])
        sizes.append(len(batch.labels))
    validated = None
    if validation is not None:
        with averaged(model):
            validated = _validate(model, validation, labels)
    return HistoryRow(
        epoch=epoch,
        loss=float(np.average(losses, weights=sizes)),
        accuracy=float(np.average(accuracies, weights=sizes)),
        val_loss=None if validated is None else validated.loss,
        val_accuracy=None if validated is None else validated.war,
        val_uar=None if validated is None else validated.uar,
        learning_rate=float(model.optimizer.learning_rate),
    )


def _validate(model: keras.Model, validation: FixedExamples, labels: tuple[str, ...]) -> Scores:
    return scores(validation.labels, _clip_probabilities(model, validation), labels)


def _clip_probabilities(model: keras.Model, examples: FixedExamples) -> npt.NDArray[np.float64]:
    """What the model says of each item, shape `(n_items, n_labels)`."""
    return examples.clip_probabilities(predict(model, examples.features))


def _part(
    items: Sequence[Item],
    examples: FixedExamples,
    probabilities: npt.NDArray[np.float64],
    labels: tuple[str, ...],
) -> PartMetrics:
    corpora = np.array([item.corpus for item in items])
    return PartMetrics(
        scores=scores(examples.labels, probabilities, labels),
        by_corpus={
            str(corpus): scores(examples.labels[corpora == corpus], probabilities[corpora == corpus], labels)
            for corpus in np.unique(corpora)
        },
        speakers=_speakers(items),
    )


def _save(model: keras.Model, path: Path) -> None:
    with replacing(path) as temporary:
        model.save(temporary)


def _checkpoint(folder: Path, model: keras.Model, history: Sequence[HistoryRow]) -> None:
    """Model and optimiser first, then the history row that says they are there."""
    _save(model, _checkpoint_path(folder, len(history)))
    write_history(folder, history)
    _checkpoint_path(folder, len(history) - 1).unlink(missing_ok=True)


def _checkpoint_path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:03d}.keras"


def _resume(folder: Path, model: keras.Model) -> tuple[list[HistoryRow], keras.Model]:
    """The history and model that an interrupted training left in `folder`, or the new model."""
    history = read_history(folder)
    checkpoint = _checkpoint_path(folder, len(history))
    if not checkpoint.is_file():
        return [], model
    return history, load_network(checkpoint, with_optimizer=True)


def _speakers(items: Sequence[Item]) -> tuple[str, ...]:
    """Of speech; images have none."""
    return tuple(sorted({item.speaker for item in items if item.speaker}))
