"""What a split is worth: one recipe, trained on the random and on the speaker-independent split of the same clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from edgeemo.workstation.audit.findings import Price
from edgeemo.workstation.training.cells import open_dataset
from edgeemo.workstation.training.metrics import CellMetrics
from edgeemo.workstation.training.recipe import Recipe
from edgeemo.workstation.training.run import train

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, n_done, n_epochs)`."""


def price(recipe: Recipe, data: Path, folder: Path, progress: Progress) -> Price:
    """Train both, with the recipe's first seed; of the speaker-independent split, the first fold.

    Args:
        recipe: what to train.
        data: a folder of corpora, or a manifest.
        folder: for the two runs.
        progress: told of every epoch.

    Raises:
        CorpusError: too few speakers, or a corpus of the recipe is not there.
    """
    # The fold over speakers first: it may not exist.
    speaker = _cell(recipe, "speaker", data, folder, progress)
    random = _cell(recipe, "random", data, folder, progress)
    n_classes = sum(recall is not None for recall in speaker.test.scores.recall.values())
    return Price(
        recipe=recipe.name,
        epochs=recipe.training.epochs,
        random_uar=random.test.scores.uar,
        speaker_uar=speaker.test.scores.uar,
        chance=1 / n_classes,
        n_random_clips=random.test.scores.n_clips,
        n_speaker_clips=speaker.test.scores.n_clips,
        n_test_speakers=len(speaker.test.speakers),
    )


def _cell(recipe: Recipe, kind: str, data: Path, folder: Path, progress: Progress) -> CellMetrics:
    one = dataclasses.replace(
        recipe,
        protocol=dataclasses.replace(recipe.protocol, kind=kind),
        training=dataclasses.replace(recipe.training, seeds=recipe.training.seeds[:1]),
    )
    what, epochs = f"training, {kind} split", recipe.training.epochs
    dataset = open_dataset(one, data)
    metrics = train(
        dataset.recipe,
        dataset,
        folder / kind,
        folds=(1,),
        progress=lambda cell, row: progress(what, row.epoch, epochs),
    )
    progress(what, epochs, epochs)  # it may have stopped early
    return metrics.cells[0]
