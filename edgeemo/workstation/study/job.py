"""One cell of a study as a job: one training, in a process of its own, into its folder."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeemo.errors import EdgeEmoError


@dataclass(frozen=True)
class Job:
    """One training to run, as plain values, so that it can travel to another process or machine.

    Attributes:
        recipe: as `Recipe.to_dict` gives it.
        data: the folder of corpora, or a manifest, as text.
        fold: name of the split.
        seed: of weights and augmentation.
        folder: where its files go, as text.
        threads: TensorFlow's.
    """

    recipe: dict[str, Any]
    data: str
    fold: str
    seed: int
    folder: str
    threads: int

    @property
    def name(self) -> str:
        """Such as `cnn_lstm/fold-1_seed-0`."""
        return "/".join(Path(self.folder).parts[-2:])


def limit_threads(job: Job) -> None:
    """Before TensorFlow's first operation: give this process, which is the job's alone, its threads."""
    from edgeemo.workstation import backend

    backend.limit_threads(job.threads)


def train_job(job: Job) -> None:
    """Train a job in this process; see `edgeemo.workstation.training.fit` for what its folder then holds.

    Raises:
        EdgeEmoError: the data are missing, the recipe cannot be built, or the training failed.
    """
    # Here, not above: what only plans jobs or sends them elsewhere needs no TensorFlow.
    from edgeemo.workstation.training.cells import open_dataset
    from edgeemo.workstation.training.fit import fit
    from edgeemo.workstation.training.recipe import recipe_from_dict

    recipe = recipe_from_dict(job.recipe)
    dataset = open_dataset(recipe, Path(job.data))
    (split,) = (s for s in dataset.splits() if s.name == job.fold)
    fit(
        dataset.recipe,
        split,
        seed=job.seed,
        folder=Path(job.folder),
        dataset=dataset,
        progress=lambda row: None,
    )


def command(job: Job) -> list[str]:
    """The command line that trains a job in a fresh interpreter.

    Whoever wants the job keeps its standard input open: the process ends when that closes, so that no training
    outlives its study. Its last line on stderr says why it failed.
    """
    return [sys.executable, "-m", __spec__.name, json.dumps(asdict(job))]


def _end_with_standard_input() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    given = Job(**json.loads(sys.argv[1]))
    try:
        limit_threads(given)
        train_job(given)
    except EdgeEmoError as error:
        sys.exit(str(error))
