"""What a training run knows, typed: of an epoch, of a cell (one fold and seed), and of all cells together.

`to_dict` and `from_dict` of each class are the values of the run's files. `from_dict` raises LookupError, TypeError,
ValueError or AttributeError where the values are not such.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeemo.corpora.names import is_of
from edgeemo.evidence import ScoreRow, Training
from edgeemo.workstation.training.recipe import Recipe
from edgeemo.workstation.training.scores import Scores


@dataclass(frozen=True, kw_only=True)
class HistoryRow:
    """One epoch; the fields are the columns of `history.csv`.

    Attributes:
        epoch: its number, from 1.
        loss, accuracy: means over the training batches.
        val_loss, val_accuracy, val_uar: of the validation part after the epoch; None where there is none.
        learning_rate: at the end of the epoch.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    val_uar: float | None
    learning_rate: float

    def to_dict(self) -> dict[str, int | float | None]:
        """The values by their columns."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HistoryRow:
        """The row with these values: numbers, or their text; what is empty is not there."""
        return cls(
            epoch=int(values["epoch"]),
            loss=float(values["loss"]),
            accuracy=float(values["accuracy"]),
            val_loss=_number(values["val_loss"]),
            val_accuracy=_number(values["val_accuracy"]),
            val_uar=_number(values["val_uar"]),
            learning_rate=float(values["learning_rate"]),
        )


def kept_epoch(history: Sequence[HistoryRow]) -> int:
    """The epoch (from 1) whose weights are kept: the one with the lowest validation loss, else the last.

    0 before the first.
    """
    validated = [(row.val_loss, row.epoch) for row in history if row.val_loss is not None]
    return min(validated)[1] if validated else len(history)


def _number(value: Any) -> float | None:
    return None if value in (None, "") else float(value)


@dataclass(frozen=True, kw_only=True)
class PartMetrics:
    """The validation or test part of a cell.

    Attributes:
        scores: of all its clips.
        by_corpus: of the clips of each corpus.
        speakers: whose clips they are, in alphabetical order; images have none.
    """

    scores: Scores
    by_corpus: Mapping[str, Scores]
    speakers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the network said of each test clip.

    Attributes:
        probabilities: of each label, for each clip.
        truth: index of each clip's label.
    """

    probabilities: tuple[tuple[float, ...], ...]
    truth: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class CellMetrics:
    """One finished training.

    Attributes:
        fold: name of the split.
        seed: of weights and augmentation.
        best_epoch: whose weights were kept (from 1): that of the lowest validation loss, or the last.
        epochs: how many were trained.
        n_parameters: weights of the network.
        split: digest of the split; None of old runs.
        n_train: training clips.
        train_speakers: whose clips they are, in alphabetical order; images have none.
        validation, test: the other two parts; of a split without validation, None.
        normalised_on: the part whose clips normalisation was fitted on; None of old runs, and of networks without it.
        stopped_on: the part whose loss chose the epoch; None of old runs, and where it was the last.
        test_answers: of single test clips: in the cell's own file, not in the run's.
    """

    fold: str
    seed: int
    best_epoch: int
    epochs: int
    n_parameters: int
    split: str | None
    n_train: int
    train_speakers: tuple[str, ...]
    validation: PartMetrics | None
    test: PartMetrics
    normalised_on: str | None = None
    stopped_on: str | None = None
    test_answers: Answers | None = None

    @property
    def validated(self) -> PartMetrics:
        """The validation part.

        Raises:
            ValueError: the split has none.
        """
        if self.validation is None:
            raise ValueError(f"{self.fold} has no validation part")
        return self.validation

    def to_dict(self) -> dict[str, Any]:
        """Plain values: of the cell's `metrics.json`, or, without answers, of a cell in the run's."""
        values = _part_to_dict("test", self.test)
        if self.test_answers is not None:
            values["test_probabilities"] = [list(row) for row in self.test_answers.probabilities]
            values["test_truth"] = list(self.test_answers.truth)
        if self.validation is not None:
            values |= _part_to_dict("validation", self.validation)
        values |= {
            "fold": self.fold,
            "seed": self.seed,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "n_parameters": self.n_parameters,
        }
        for name in ("split", "normalised_on", "stopped_on"):
            if (value := getattr(self, name)) is not None:
                values[name] = value
        return values | {
            "n_train": self.n_train,
            "train_speakers": list(self.train_speakers),
            "validation_speakers": [] if self.validation is None else list(self.validation.speakers),
            "test_speakers": list(self.test.speakers),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CellMetrics:
        """What `to_dict` gave."""
        answers = None
        if "test_probabilities" in values:
            answers = Answers(
                probabilities=tuple(tuple(float(p) for p in row) for row in values["test_probabilities"]),
                truth=tuple(int(index) for index in values["test_truth"]),
            )
        return cls(
            fold=str(values["fold"]),
            seed=int(values["seed"]),
            best_epoch=int(values["best_epoch"]),
            epochs=int(values["epochs"]),
            n_parameters=int(values["n_parameters"]),
            split=values.get("split"),
            n_train=int(values["n_train"]),
            train_speakers=tuple(values["train_speakers"]),
            validation=_part_from_dict("validation", values) if "validation" in values else None,
            test=_part_from_dict("test", values),
            normalised_on=values.get("normalised_on"),
            stopped_on=values.get("stopped_on"),
            test_answers=answers,
        )


def _part_to_dict(part: str, metrics: PartMetrics) -> dict[str, Any]:
    return {
        part: metrics.scores.to_dict(),
        f"{part}_by_corpus": {corpus: scores.to_dict() for corpus, scores in metrics.by_corpus.items()},
    }


def _part_from_dict(part: str, values: Mapping[str, Any]) -> PartMetrics:
    return PartMetrics(
        scores=Scores.from_dict(values[part]),
        by_corpus={
            corpus: Scores.from_dict(scores) for corpus, scores in values[f"{part}_by_corpus"].items()
        },
        speakers=tuple(values[f"{part}_speakers"]),
    )


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A score over the cells of a run.

    Attributes:
        mean: over the seeds, of the mean over their folds.
        std_over_seeds: standard deviation of the seeds' means; None of a single seed.
        std_over_folds: of all cells; None of a single cell.
    """

    mean: float
    std_over_seeds: float | None
    std_over_folds: float | None


@dataclass(frozen=True, kw_only=True)
class Spreads:
    """Each score of a part over the cells of a run."""

    uar: Spread
    war: Spread
    macro_f1: Spread
    loss: Spread


@dataclass(frozen=True, kw_only=True)
class RunMetrics:
    """All finished cells of a run.

    Attributes:
        name: of the recipe.
        protocol: its kind.
        corpora: of the recipe.
        labels: class names.
        seeds, folds: those that occur.
        n_parameters: weights of the network.
        n_test_speakers: of all folds together.
        validation, test: the scores over the cells; without validation, None.
        cells: each cell, without its answers; at least one.
    """

    name: str
    protocol: str
    corpora: tuple[str, ...]
    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    folds: tuple[str, ...]
    n_parameters: int
    n_test_speakers: int
    validation: Spreads | None
    test: Spreads
    cells: tuple[CellMetrics, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values: of the run's `metrics.json`."""
        return {
            "name": self.name,
            "protocol": self.protocol,
            "corpora": list(self.corpora),
            "labels": list(self.labels),
            "seeds": list(self.seeds),
            "folds": list(self.folds),
            "n_parameters": self.n_parameters,
            "n_test_speakers": self.n_test_speakers,
            **({} if self.validation is None else _spreads_to_dict("validation", self.validation)),
            **_spreads_to_dict("test", self.test),
            "cells": [cell.to_dict() for cell in self.cells],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunMetrics:
        """What `to_dict` gave."""
        if not values["cells"]:
            raise ValueError("no cells")
        return cls(
            name=str(values["name"]),
            protocol=str(values["protocol"]),
            corpora=tuple(values["corpora"]),
            labels=tuple(values["labels"]),
            seeds=tuple(values["seeds"]),
            folds=tuple(values["folds"]),
            n_parameters=int(values["n_parameters"]),
            n_test_speakers=int(values["n_test_speakers"]),
            validation=_spreads_from_dict("validation", values) if "validation_uar" in values else None,
            test=_spreads_from_dict("test", values),
            cells=tuple(CellMetrics.from_dict(cell) for cell in values["cells"]),
        )


def _spreads_to_dict(part: str, spreads: Spreads) -> dict[str, Any]:
    return {f"{part}_{score}": spread for score, spread in dataclasses.asdict(spreads).items()}


def _spreads_from_dict(part: str, values: Mapping[str, Any]) -> Spreads:
    return Spreads(**{
        field.name: Spread(**values[f"{part}_{field.name}"]) for field in dataclasses.fields(Spreads)
    })  # fmt: skip


def summarise(recipe: Recipe, cells: Sequence[CellMetrics]) -> RunMetrics:
    """Pool the folds of each seed, then take mean and standard deviation over the seeds.

    Pooling comes first because a fold has few speakers: the spread over folds is the spread over speakers, not over
    trainings. It is given too.
    """
    validated = [cell.validation.scores for cell in cells if cell.validation is not None]
    return RunMetrics(
        name=recipe.name,
        protocol=recipe.protocol.kind,
        corpora=recipe.data.corpora,
        labels=recipe.label_map.labels,
        seeds=tuple(sorted({cell.seed for cell in cells})),
        folds=tuple(sorted({cell.fold for cell in cells})),
        n_parameters=cells[0].n_parameters,
        n_test_speakers=len({speaker for cell in cells for speaker in cell.test.speakers}),
        validation=_spreads(cells, validated) if validated else None,
        test=_spreads(cells, [cell.test.scores for cell in cells]),
        cells=tuple(dataclasses.replace(cell, test_answers=None) for cell in cells),
    )


def _spreads(cells: Sequence[CellMetrics], part: Sequence[Scores]) -> Spreads:
    """Of the scores of each cell's part."""

    def spread(score: Callable[[Scores], float]) -> Spread:
        by_seed: dict[int, list[float]] = {}
        for cell, scores in zip(cells, part, strict=True):
            by_seed.setdefault(cell.seed, []).append(score(scores))
        means = [float(np.mean(by_seed[seed])) for seed in sorted(by_seed)]
        return Spread(
            mean=float(np.mean(means)),
            std_over_seeds=_std(means),
            std_over_folds=_std([score(scores) for scores in part]),
        )

    return Spreads(
        uar=spread(lambda scores: scores.uar),
        war=spread(lambda scores: scores.war),
        macro_f1=spread(lambda scores: scores.macro_f1),
        loss=spread(lambda scores: scores.loss),
    )


def _std(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def training_facts(recipe: Recipe, cell: CellMetrics) -> Training:
    """How a cell's weights were made: the `training` of a model file's metadata."""
    return Training(
        protocol=recipe.protocol.kind,
        fold=cell.fold,
        seed=cell.seed,
        corpora=recipe.data.corpora,
        label_map=recipe.label_map.name,
        split=cell.split,
        n_clips=cell.n_train,
        train_speakers=cell.train_speakers,
        validation_speakers=() if cell.validation is None else cell.validation.speakers,
        test_speakers=cell.test.speakers,
        epoch=cell.best_epoch,
        recipe=recipe.to_dict(),
    )


def score_rows(recipe: Recipe, cell: CellMetrics) -> tuple[ScoreRow, ...]:
    """The scores of a cell's weights as rows of a model file's metadata: test first, then validation."""
    return tuple(
        ScoreRow(
            part=part,
            protocol=recipe.protocol.kind,
            corpus=corpus,
            fold=cell.fold,
            seeds=(cell.seed,),
            n_speakers=sum(is_of(speaker, corpus) for speaker in metrics.speakers),
            n_clips=scores.n_clips,
            uar=scores.uar,
            war=scores.war,
            macro_f1=scores.macro_f1,
            recall=dict(scores.recall),
        )
        for part, metrics in (("test", cell.test), ("validation", cell.validation))
        if metrics is not None
        for corpus, scores in metrics.by_corpus.items()
    )
