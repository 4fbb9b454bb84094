"""The run folder: what its files hold, there and back; whose it is; the cells in it; the summary of its cells."""

from __future__ import annotations

import dataclasses
import json
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeemo.errors import EdgeEmoError, TrainingError
from edgeemo.places import EXPORT_DIR
from edgeemo.workstation.image_corpora import LabelledImage
from edgeemo.workstation.training.folder import (
    best_cell,
    cell_folder,
    cell_folders,
    claim_cell,
    claim_run,
    finish_cell,
    finished,
    load_run,
    read_cell,
    read_history,
    seeds_of,
    write_history,
    write_run_metrics,
)
from edgeemo.workstation.training.metrics import (
    Answers,
    CellMetrics,
    HistoryRow,
    RunMetrics,
    score_rows,
    summarise,
    training_facts,
)
from edgeemo.workstation.training.protocols import Split
from edgeemo.workstation.training.recipe import Recipe, recipe_from_dict
from support.runs import make_cell, make_scores

RUNS = sorted(path.parent.name for path in EXPORT_DIR.glob("*/metrics.json"))


def split_of(*contents: str) -> Split[LabelledImage]:
    """A fold with one training image per content."""
    pixels = np.zeros((2, 2), np.uint8)
    images = [LabelledImage("fashion_mnist", "train", "bag", name, name, pixels) for name in contents]
    return Split("fold-1", tuple(images), (), ())


# --- there and back ------------------------------------------------------------------------------------


def test_there_are_committed_runs() -> None:
    assert {"cnn_lstm", "fashion_lstm2"} <= set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_a_committed_run_is_read_and_written_unchanged(name: str, tmp_path: Path) -> None:
    folder = EXPORT_DIR / name
    _, metrics = load_run(folder)
    assert metrics.to_dict() == json.loads((folder / "metrics.json").read_text())
    write_run_metrics(tmp_path, metrics)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics.to_dict()
    cells = cell_folders(folder)
    assert [cell.name for cell in cells] == [f"{cell.fold}_seed-{cell.seed}" for cell in metrics.cells]
    for cell, summarised in zip(cells, metrics.cells, strict=True):
        read = read_cell(cell)
        assert read is not None
        assert read.to_dict() == json.loads((cell / "metrics.json").read_text())
        assert read.test_answers is not None
        assert len(read.test_answers.truth) == read.test.scores.n_clips
        assert dataclasses.replace(read, test_answers=None) == summarised
        history = read_history(cell)
        assert [row.epoch for row in history] == list(range(1, read.epochs + 1))
        write_history(tmp_path, history)
        assert (tmp_path / "history.csv").read_bytes() == (cell / "history.csv").read_bytes()


@pytest.mark.parametrize("name", RUNS)
def test_a_committed_run_is_what_its_cells_make(name: str) -> None:
    recipe, metrics = load_run(EXPORT_DIR / name)
    assert summarise(recipe, metrics.cells) == metrics


def test_the_files_of_a_cell(tmp_path: Path) -> None:
    """Key by key, because other programs read them."""
    answers = Answers(probabilities=((0.5, 0.25, 0.25), (0.0, 1.0, 0.0)), truth=(0, 1))
    finish_cell(tmp_path, dataclasses.replace(make_cell(split="abc"), test_answers=answers))
    scores = {
        "uar": 0.5,
        "war": 0.4,
        "macro_f1": 0.3,
        "loss": 1.2,
        "recall": {"neutral": 0.5, "happy": 0.25, "sad": None},
        "n_clips": 10,
        "confusion": [[3, 3, 0], [1, 1, 2], [0, 0, 0]],
    }
    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "test": scores,
        "test_by_corpus": {"ravdess": scores},
        "test_probabilities": [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]],
        "test_truth": [0, 1],
        "validation": scores,
        "validation_by_corpus": {"ravdess": scores},
        "fold": "fold-1",
        "seed": 0,
        "best_epoch": 2,
        "epochs": 3,
        "n_parameters": 1234,
        "split": "abc",
        "n_train": 7,
        "train_speakers": ["ravdess-01", "ravdess-02"],
        "validation_speakers": ["ravdess-03"],
        "test_speakers": ["ravdess-fold-1-a", "ravdess-fold-1-b"],
    }


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.lists(st.builds(HistoryRow, epoch=st.integers(1), **dict.fromkeys(
        ("loss", "accuracy", "val_loss", "val_accuracy", "val_uar", "learning_rate"), numbers
    )), min_size=1)
)  # fmt: skip
@settings(deadline=None)
def test_a_history_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, history: list[HistoryRow]
) -> None:
    folder = tmp_path_factory.mktemp("history")
    write_history(folder, history)
    assert read_history(folder) == history


def test_before_the_first_epoch(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []
    assert read_cell(tmp_path) is None


# --- a run and its cells -------------------------------------------------------------------------------


def test_cells_are_found_by_their_names(tmp_path: Path) -> None:
    for fold, seed in (("fold-1", 0), ("without-tess", 12), ("fold-2", 3)):
        cell_folder(tmp_path, fold, seed).mkdir()
    for other in ("plots", "fold-1", "fold-1_seed-x", "seed-4"):
        (tmp_path / other).mkdir()
    assert [path.name for path in cell_folders(tmp_path)] == [
        "fold-1_seed-0",
        "fold-2_seed-3",
        "without-tess_seed-12",
    ]
    assert seeds_of(tmp_path) == {0, 3, 12}
    assert seeds_of(tmp_path / "no such run") == set()


def test_validation_chooses_what_ships(tmp_path: Path) -> None:
    cells = [
        make_cell("fold-1", 0, validation=make_scores(0.5), test=make_scores(0.9)),
        make_cell("fold-2", 1, validation=make_scores(0.6), test=make_scores(0.1)),
    ]
    assert best_cell(tmp_path, cells) == (tmp_path / "fold-2_seed-1", cells[1])


def test_a_run_is_of_one_recipe(small_recipe: Recipe, tmp_path: Path) -> None:
    claim_run(tmp_path, small_recipe)
    reworded = dataclasses.replace(small_recipe, summary="in other words")
    claim_run(tmp_path, reworded)
    before = (tmp_path / "recipe.json").read_bytes()
    assert recipe_from_dict(json.loads(before)) == reworded
    more_epochs = dataclasses.replace(small_recipe.training, epochs=small_recipe.training.epochs + 1)
    with pytest.raises(TrainingError, match="holds a run of another recipe") as caught:
        claim_run(tmp_path, dataclasses.replace(small_recipe, training=more_epochs))
    n = small_recipe.training.epochs
    assert f"{tmp_path} holds" in str(caught.value)
    assert f"([training] epochs is {n + 1}, {n} in the other)" in str(caught.value)
    assert f"or go on from its weights with --set training.start={tmp_path} and" in str(caught.value)
    assert (tmp_path / "recipe.json").read_bytes() == before
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(TrainingError, match="is damaged"):
        claim_run(tmp_path, small_recipe)


def test_a_cell_is_of_one_split(tmp_path: Path) -> None:
    """With other speakers the folds are others: what was trained on would be tested on."""
    split, other = split_of("a", "b"), split_of("a", "c")
    claim_cell(tmp_path, split)
    claim_cell(tmp_path, split)
    with pytest.raises(TrainingError, match="was trained on other clips"):
        claim_cell(tmp_path, other)
    assert finished(tmp_path, split) is None
    metrics = make_cell(split=split.digest)
    finish_cell(tmp_path, metrics)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    assert finished(tmp_path, split) == metrics
    with pytest.raises(TrainingError, match="was trained on other clips"):
        finished(tmp_path, other)


def test_an_old_cell_does_not_say_its_split(tmp_path: Path) -> None:
    finish_cell(tmp_path, make_cell())
    assert "split" not in json.loads((tmp_path / "metrics.json").read_text())
    assert finished(tmp_path, split_of("a")) == make_cell()


@pytest.mark.parametrize("content", ["", "{}", "[1", "[]", '{"test": 3}'])
def test_a_damaged_cell(content: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(
        TrainingError, match=r"metrics\.json is damaged .*; delete it to train again"
    ) as caught:
        read_cell(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["epoch,loss\n1,0.5\n", "epoch,loss\nx,y\n"])
def test_a_damaged_history(content: str, tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(content)
    with pytest.raises(TrainingError, match=r"history\.csv is damaged"):
        read_history(tmp_path)


@pytest.mark.parametrize("there", [[], ["recipe.json"], ["metrics.json"]])
def test_no_finished_run(there: list[str], tmp_path: Path) -> None:
    for name in there:
        shutil.copy(EXPORT_DIR / "cnn_lstm" / name, tmp_path)
    with pytest.raises(TrainingError, match="no finished run here"):
        load_run(tmp_path)


@pytest.mark.parametrize("file", ["recipe.json", "metrics.json"])
@pytest.mark.parametrize("content", ["", "{}", "[1", "[]", '{"cells": []}', '{"cells": [{}]}'])
def test_a_damaged_run(file: str, content: str, tmp_path: Path) -> None:
    for name in ("recipe.json", "metrics.json"):
        shutil.copy(EXPORT_DIR / "cnn_lstm" / name, tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(EdgeEmoError) as caught:
        load_run(tmp_path)
    assert "\n" not in str(caught.value)


# --- the summary ---------------------------------------------------------------------------------------


def cells_with(uar: dict[tuple[int, str], float]) -> list[CellMetrics]:
    return [make_cell(fold, seed, test=make_scores(value)) for (seed, fold), value in uar.items()]


def test_a_summary_by_hand(small_recipe: Recipe) -> None:
    uar = {(0, "fold-1"): 0.2, (0, "fold-2"): 0.6, (1, "fold-1"): 0.4, (1, "fold-2"): 0.8}
    found = summarise(small_recipe, cells_with(uar))
    assert (found.seeds, found.folds) == ((0, 1), ("fold-1", "fold-2"))
    assert found.n_test_speakers == 4, "two of each fold"
    assert found.test.uar.mean == pytest.approx(0.5)
    # The seeds' means are 0.4 and 0.6; the cells are 0.3, 0.1, 0.1 and 0.3 from their mean.
    assert found.test.uar.std_over_seeds == pytest.approx(0.02**0.5)
    assert found.test.uar.std_over_folds == pytest.approx((0.2 / 3) ** 0.5)
    assert found.test.loss.mean == pytest.approx(1.2)
    assert found.test.loss.std_over_folds == pytest.approx(0)


def test_a_summary_of_one_cell_has_no_spread(small_recipe: Recipe) -> None:
    answers = Answers(probabilities=((1.0,),), truth=(0,))
    found = summarise(small_recipe, [dataclasses.replace(make_cell(), test_answers=answers)])
    assert (found.test.uar.mean, found.test.uar.std_over_seeds, found.test.uar.std_over_folds) == (
        0.5,
        None,
        None,
    )
    assert found.cells == (make_cell(),), "answers stay in the cell's own file"


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 3), st.sampled_from(["fold-1", "fold-2", "fold-3"])),
        st.tuples(*[st.floats(0, 1)] * 4),
        min_size=1,
    )
)
@settings(deadline=None)
def test_a_summary_is_the_mean_of_the_seeds_means(
    small_recipe: Recipe, values: dict[tuple[int, str], tuple[float, float, float, float]]
) -> None:
    """However many folds each seed has: no seed counts twice."""
    cells = [
        make_cell(
            fold, seed, validation=make_scores(uar, war=war), test=make_scores(uar, macro_f1=f1, loss=loss)
        )
        for (seed, fold), (uar, war, f1, loss) in values.items()
    ]
    found = summarise(small_recipe, cells)
    for spread, index in (
        (found.validation.uar, 0),
        (found.validation.war, 1),
        (found.test.uar, 0),
        (found.test.macro_f1, 2),
        (found.test.loss, 3),
    ):
        of_seed = [
            statistics.fmean([v[index] for (s, _), v in values.items() if s == seed])
            for seed in {seed for seed, _ in values}
        ]
        of_cells = [v[index] for v in values.values()]
        assert spread.mean == pytest.approx(statistics.fmean(of_seed))
        for std, of in ((spread.std_over_seeds, of_seed), (spread.std_over_folds, of_cells)):
            assert std == (pytest.approx(statistics.stdev(of), abs=1e-9) if len(of) > 1 else None)
    assert RunMetrics.from_dict(json.loads(json.dumps(found.to_dict()))) == found


# --- what a model file keeps ---------------------------------------------------------------------------


def test_training_facts(small_recipe: Recipe) -> None:
    facts = training_facts(small_recipe, make_cell("fold-2", 3, split="abc"))
    assert facts.to_dict() == {
        "protocol": "speaker",
        "fold": "fold-2",
        "seed": 3,
        "corpora": [],
        "label_map": "published7",
        "split": "abc",
        "n_clips": 7,
        "train_speakers": ["ravdess-01", "ravdess-02"],
        "validation_speakers": ["ravdess-03"],
        "test_speakers": ["ravdess-fold-2-a", "ravdess-fold-2-b"],
        "epoch": 2,
        "recipe": json.loads(json.dumps(small_recipe.to_dict())),
    }


def test_score_rows_count_the_speakers_of_each_corpus(small_recipe: Recipe) -> None:
    cell = make_cell("fold-2", 3, test=make_scores(0.75))
    both = dataclasses.replace(
        cell.test,
        by_corpus={"ravdess": make_scores(0.6), "tess": make_scores(0.9)},
        speakers=("ravdess-01", "ravdess-02", "tess-OAF"),
    )
    rows = score_rows(small_recipe, dataclasses.replace(cell, test=both))
    assert [(r.part, r.corpus, r.n_speakers, r.uar) for r in rows] == [
        ("test", "ravdess", 2, 0.6),
        ("test", "tess", 1, 0.9),
        ("validation", "ravdess", 1, 0.5),
    ]
    assert rows[0].to_dict() == {
        "part": "test",
        "protocol": "speaker",
        "corpus": "ravdess",
        "fold": "fold-2",
        "seeds": [3],
        "n_speakers": 2,
        "n_clips": 10,
        "uar": 0.6,
        "war": 0.4,
        "macro_f1": 0.3,
        "recall": {"neutral": 0.5, "happy": 0.25, "sad": None},
    }
