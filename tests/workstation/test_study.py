"""Studies: the grid, cells in processes of their own, failures, going on where one stopped, and the results."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edgeemo.cli import app
from edgeemo.errors import RecipeError, TrainingError
from edgeemo.workstation.study import engines
from edgeemo.workstation.study.engines import local_processes
from edgeemo.workstation.study.grid import Setting, _split, settings, with_folds
from edgeemo.workstation.study.job import Job
from edgeemo.workstation.study.report import Result, table_rows, write_report
from edgeemo.workstation.study.study import plan, study
from edgeemo.workstation.training.cells import open_dataset
from edgeemo.workstation.training.folder import finish_cell, load_run, read_cell
from edgeemo.workstation.training.recipe import recipe_from_dict
from support.corpora import write_corpus
from support.recipes import TINY_RECIPE
from support.runs import make_cell, make_scores


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY_RECIPE)
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


# --- the grid ------------------------------------------------------------------------------------------


def test_every_combination(recipe_file: Path) -> None:
    found = settings([recipe_file], ["dropout=0.1,0.2", "training.batch_size=4,8,16"])
    assert [(s.recipe.architecture.settings["dropout"], s.recipe.training.batch_size) for s in found] == [
        (dropout, size) for dropout in (0.1, 0.2) for size in (4, 8, 16)
    ]
    assert found[1].name == "tiny, dropout = 0.1, batch_size = 8"
    assert found[1].values == {"architecture.dropout": "0.1", "training.batch_size": "8"}
    assert len({s.folder for s in found}) == 6


def test_lists_are_values(recipe_file: Path) -> None:
    found = settings([recipe_file], ["units=[6, 6],[4, 4]"])
    assert [s.recipe.architecture.settings["units"] for s in found] == [[6, 6], [4, 4]]


@given(
    st.lists(
        st.sampled_from(["1", "relu", "[1, 2]", "[[1, 2], [3]]", '"a, b"', "{a = 1, b = 2}"]), min_size=1
    )
)
def test_values_are_split_outside_brackets(values: list[str]) -> None:
    assert _split(",".join(values)) == values


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        (["dropout"], "expected key=value"),
        (["dropout="], "expected key=value"),
        (["dropout=0.1,,0.2"], "expected key=value"),
        (["colour=red"], "neither tiny nor its builder has this key"),
        (["seed=1,2"], ""),
        (["architecture.colour=red"], "'colour'"),
        (["batch_size=many"], "batch_size is 'many'"),
        (["dropout=0.1", "architecture.dropout=0.2"], "varied twice"),
        (["dropout=0.1,0.1"], "occurs twice"),
    ],
)
def test_vary_refused(vary: list[str], words: str, recipe_file: Path) -> None:
    if not words:  # one table has it
        assert len(settings([recipe_file], vary)) == 2
        return
    with pytest.raises(RecipeError, match=words):
        settings([recipe_file], vary)


def test_same_recipe_twice(recipe_file: Path) -> None:
    with pytest.raises(RecipeError, match="occurs twice"):
        settings([recipe_file, recipe_file])


def test_folds_need_a_protocol_that_has_them(recipe_file: Path) -> None:
    assert settings([recipe_file], (), with_folds([], [recipe_file], 4))[0].recipe.protocol.folds == 4
    with pytest.raises(RecipeError, match="the number of folds of the random protocol cannot be chosen"):
        with_folds(["protocol.kind=random"], [recipe_file], 4)


# --- cells ---------------------------------------------------------------------------------------------

SMALL = ["training.epochs=1", "protocol.folds=3"]


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def refuse(jobs: Any) -> Any:
    assert not list(jobs), "trained again"
    return iter(())


def pretend(jobs: Any) -> Any:
    """Cells that look finished, without their trainings."""
    for job in jobs:
        splits = open_dataset(recipe_from_dict(job.recipe), Path(job.data)).splits()
        (split,) = (split for split in splits if split.name == job.fold)
        finish_cell(Path(job.folder), make_cell(job.fold, job.seed, split=split.digest))
        yield job, None


@pytest.fixture(scope="module")
def finished(recipe_file: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two settings; one of them cannot be built, which only its cell finds out. Real processes."""
    folder = tmp_path_factory.mktemp("study")
    compared = settings([recipe_file], ["pools=[[2, 2], [2, 2]],[[5, 2], [2, 2]]"], SMALL)
    study(compared, corpus, folder, local_processes(2), folds=[1])
    return folder


@pytest.mark.slow
def test_failures_are_recorded_and_the_rest_goes_on(finished: Path) -> None:
    rows = read_rows(finished)
    assert [(row["fold"], row["state"]) for row in rows] == [
        ("fold-1", "finished"),
        ("fold-1", "failed"),
    ]
    assert "cannot be pooled by 5" in rows[1]["error"]
    assert not rows[0]["error"]
    assert 0 <= float(rows[0]["test_uar"]) <= 1
    assert not rows[1]["test_uar"]
    assert rows[0]["architecture.pools"] == "[[2, 2], [2, 2]]"
    table = (finished / "results.md").read_text()
    assert "cannot be pooled by 5" in table
    assert "0 of 1, 1 failed" in table
    for plot in ("results.png", "curves.png"):
        assert (finished / plot).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_rows_say_what_the_cells_say(finished: Path) -> None:
    row = read_rows(finished)[0]
    (path,) = finished.glob("*/fold-1_seed-0/metrics.json")
    metrics = read_cell(path.parent)
    assert metrics is not None
    assert float(row["test_uar"]) == metrics.test.scores.uar
    assert float(row["validation_macro_f1"]) == metrics.validation.scores.macro_f1
    assert int(row["n_parameters"]) == metrics.n_parameters
    assert int(row["n_test"]) == metrics.test.scores.n_clips


@pytest.mark.slow
def test_a_finished_setting_is_a_run_that_can_be_exported(finished: Path) -> None:
    (folder,) = (path.parent for path in finished.glob("*/metrics.json"))
    recipe, metrics = load_run(folder)
    assert recipe.name == "tiny"
    assert [cell.fold for cell in metrics.cells] == ["fold-1"]


@pytest.mark.slow
def test_only_what_is_missing_is_run(finished: Path, recipe_file: Path, corpus: Path) -> None:
    good = settings([recipe_file], ["pools=[[2, 2], [2, 2]]"], SMALL)
    before = (finished / "results.csv").read_text()
    study(good, corpus, finished, refuse, folds=[1])
    both = settings([recipe_file], ["pools=[[2, 2], [2, 2]],[[5, 2], [2, 2]]"], SMALL)
    tried: list[Job] = []
    study(both, corpus, finished, lambda jobs: iter(tried.extend(jobs) or ()), folds=[1])
    assert ["5" in job.folder for job in tried] == [True], "failed cells are tried again"
    assert (finished / "results.csv").read_text() == before


@pytest.mark.slow
def test_study_cut_off_goes_on(recipe_file: Path, corpus: Path, tmp_path: Path) -> None:
    compared = settings([recipe_file], (), SMALL)

    def first_only(jobs: Any) -> Any:
        yield from pretend(jobs[:1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study(compared, corpus, tmp_path, first_only, folds=[1, 2])
    assert [row["state"] for row in read_rows(tmp_path)] == ["finished", "open"]
    kept = next(tmp_path.glob("*/fold-1_seed-0/metrics.json")).stat().st_mtime_ns
    study(compared, corpus, tmp_path, pretend, folds=[1, 2])
    assert [row["state"] for row in read_rows(tmp_path)] == ["finished", "finished"]
    assert next(tmp_path.glob("*/fold-1_seed-0/metrics.json")).stat().st_mtime_ns == kept
    more = settings([recipe_file], (), [*SMALL, "training.seeds=[0, 1]"])
    tried: list[Job] = []
    study(more, corpus, tmp_path, lambda jobs: iter(tried.extend(jobs) or ()), folds=[1, 2])
    assert [(job.fold, job.seed) for job in tried] == [("fold-1", 1), ("fold-2", 1)], (
        "more seeds are more cells"
    )


@pytest.mark.slow
def test_a_call_for_some_folds_keeps_the_others(recipe_file: Path, corpus: Path, tmp_path: Path) -> None:
    compared = settings([recipe_file], (), SMALL)
    for folds in ([1], [2, 2]):
        study(compared, corpus, tmp_path, pretend, folds=folds)
    assert [(row["fold"], row["state"]) for row in read_rows(tmp_path)] == [
        ("fold-1", "finished"),
        ("fold-2", "finished"),
    ]
    _, metrics = load_run(tmp_path / compared[0].folder)
    assert metrics.folds == ("fold-1", "fold-2")
    other = write_corpus(tmp_path / "other", n_actors=7)
    with pytest.raises(TrainingError, match="was trained on other clips"):
        study(compared, other, tmp_path, refuse, folds=[1])


def test_values_that_train_the_same_are_refused(recipe_file: Path) -> None:
    with pytest.raises(RecipeError, match="occurs twice"):
        settings([recipe_file], ["learning_rate=0.001,1e-3"])


def test_a_process_that_dies_is_a_failed_cell(
    recipe_file: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the system kills one that takes too much memory."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -9 $$\n")
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    results = study(
        settings([recipe_file], (), SMALL), corpus, tmp_path / "study", local_processes(1), folds=[1]
    )
    assert [(r.state, r.error) for r in results] == [("failed", "killed by SIGKILL")]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_no_training_outlives_its_study(recipe_file: Path, corpus: Path, tmp_path: Path) -> None:
    def jobs() -> list[bytes]:
        commands = map(contents, Path("/proc").glob("[0-9]*/cmdline"))
        return [c for c in commands if b"study.job\0{" in c and os.fsencode(tmp_path) in c]

    endless = ["--set", "training.epochs=100000", "--set", "training.patience=100000", "--fold", "1"]
    arguments = ["study", recipe_file, "--data", corpus, "--output", tmp_path, "--jobs", "1", *endless]
    command = [sys.executable, "-c", "from edgeemo.cli import main; main()", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not list(tmp_path.glob("*/*/history.csv")):
            assert process.poll() is None
            time.sleep(0.1)
        assert len(jobs()) == 1
        process.kill()
    gone = (time.sleep(0.1) or not jobs() for _ in range(600))
    assert any(gone), "a minute later it still trains"


def contents(path: Path) -> bytes:
    """Of a file that may just have gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_seeds_and_recipes_make_cells(recipe_file: Path, corpus: Path, tmp_path: Path) -> None:
    compared = settings([recipe_file], ["dropout=0.1,0.2"], [*SMALL, "training.seeds=[0, 1]"])
    planned = plan(compared, corpus, tmp_path)
    assert len(planned) == 2 * 3 * 2
    assert len({cell.job.folder for cell in planned}) == 12
    assert [cell.setting.values["architecture.dropout"] for cell in planned[:4]] == ["0.1", "0.2"] * 2
    assert {cell.job.data for cell in planned} == {str(tmp_path.resolve() / "manifest.csv")}
    assert [cell.job.fold for cell in plan(compared, corpus, tmp_path, folds=[2, 2]) if cell.wanted] == [
        "fold-2"
    ] * 4


def test_results_before_any_cell(recipe_file: Path, tmp_path: Path) -> None:
    (setting,) = settings([recipe_file])
    write_report([Result(setting, "fold-1", 0, None, "", tmp_path)], tmp_path)
    assert [row["state"] for row in read_rows(tmp_path)] == ["open"]
    assert "0 of 1" in (tmp_path / "results.md").read_text()


def test_the_table_has_the_mean_and_spread_of_each_setting(recipe_file: Path, tmp_path: Path) -> None:
    """Two cells of one setting, none of the other yet."""
    first, second = settings([recipe_file], ["dropout=0.1,0.2"])
    cells = [
        make_cell(seed=seed, test=make_scores(uar, macro_f1=f1), validation=make_scores(loss=loss))
        for seed, uar, f1, loss in ((0, 0.4, 0.3, 1.0), (1, 0.6, 0.3, 2.0))
    ]
    results = [Result(first, "fold-1", cell.seed, cell, "", tmp_path) for cell in cells]
    rows = table_rows([*results, Result(second, "fold-1", 0, None, "out of memory", tmp_path)])
    assert rows[0] == {
        "setting": "tiny, dropout = 0.1",
        "parameters": "1,234",
        "test UAR": "0.500 ± 0.141",
        "test macro-F1": "0.300 ± 0.000",
        "test accuracy": "0.400 ± 0.000",
        "test loss": "1.200 ± 0.000",
        "val UAR": "0.500 ± 0.000",
        "val macro-F1": "0.300 ± 0.000",
        "val accuracy": "0.400 ± 0.000",
        "val loss": "1.500 ± 0.707",
        "cells": "2 of 2",
    }
    assert rows[1]["cells"] == "0 of 1, 1 failed"
    assert set(rows[1].values()) == {"tiny, dropout = 0.2", "", "0 of 1, 1 failed"}


def test_published_figures_stand_beside_ours(recipe_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "published.toml"
    path.write_text(
        recipe_file.read_text() + '[published]\nsource = "Someone 2020"\naccuracy = 0.9\nloss = 0.3\n'
    )
    (setting,) = settings([path])
    write_report([Result(setting, "fold-1", 0, None, "", tmp_path)], tmp_path)
    table = (tmp_path / "results.md").read_text()
    assert "accuracy 0.900, loss 0.300" in table
    assert "Someone 2020" in table


# --- the command ---------------------------------------------------------------------------------------


def test_command(recipe_file: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "local_processes", lambda n_processes: pretend)
    arguments = ["study", str(recipe_file), "--data", str(corpus), "-o", str(tmp_path / "out"), "--jobs", "2"]
    arguments += [
        "--vary",
        "batch_size=8,16",
        "--folds",
        "3",
        "--fold",
        "1",
        "--seeds",
        "1",
        "--set",
        SMALL[0],
    ]
    done = CliRunner().invoke(app, arguments, env={**os.environ, "COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "tiny, batch_size = 16" in done.output
    assert "macro-F1" in done.output
    assert len(read_rows(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no_such_recipe"], "no recipe called 'no_such_recipe'"),
        (["tiny", "--vary", "colour=red"], "neither tiny nor its builder has this key"),
        (["tiny", "--data", "nowhere"], "nowhere"),
    ],
)
def test_command_refuses(arguments: list[str], words: str, recipe_file: Path, tmp_path: Path) -> None:
    arguments = [str(recipe_file) if a == "tiny" else a for a in arguments]
    done = CliRunner().invoke(app, ["study", *arguments, "-o", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert words in done.output
    assert "Traceback" not in done.output


def test_a_recipe_alone_is_a_setting(recipe_file: Path) -> None:
    (setting,) = settings([recipe_file])
    assert setting == Setting(setting.recipe, {})
    assert (setting.name, setting.folder) == ("tiny", "tiny")
