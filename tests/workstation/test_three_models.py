"""`benchmarks/three_models.py`: the published tables are what the published figures say, and new cells join them."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgeemo.corpora.labels import LABEL_MAPS
from edgeemo.workstation.training.folder import cell_folder, finish_cell
from edgeemo.workstation.training.metrics import Answers
from edgeemo.workstation.training.scores import scores
from support.runs import make_cell

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def three_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, its results in a folder of its own."""
    spec = importlib.util.spec_from_file_location("three_models", BENCHMARKS / "three_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "three_models", module)
    spec.loader.exec_module(module)
    (tmp_path / "results").mkdir()
    shutil.copy(BENCHMARKS / "results" / "three_models.json", tmp_path / "results")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return module


def test_the_tables_are_what_the_figures_say(three_models: ModuleType, tmp_path: Path) -> None:
    three_models.write_results(tmp_path / "no runs")
    committed, written = BENCHMARKS / "results", tmp_path / "results"
    assert (written / "three_models.md").read_text() == (committed / "three_models.md").read_text()
    assert json.loads((written / "three_models.json").read_text()) == json.loads(
        (committed / "three_models.json").read_text()
    )
    assert (written / "three_models.png").read_bytes().startswith(b"\x89PNG")


def test_a_new_cell_takes_the_place_of_the_old_one(three_models: ModuleType, tmp_path: Path) -> None:
    """With neutral and calm as one class: a clip that is calm and heard as neutral counts as right."""
    labels = LABEL_MAPS["ravdess8"].labels
    truth = np.array([labels.index(label) for label in ("calm", "neutral", "sad", "sad")])
    probabilities = np.full((4, 8), 0.05)
    for row, heard in enumerate(("neutral", "neutral", "sad", "happy")):
        probabilities[row, labels.index(heard)] = 0.65
    cell = make_cell("fold-2", 1, test=scores(truth, probabilities, labels))
    answers = Answers(probabilities=tuple(map(tuple, probabilities.tolist())), truth=tuple(truth.tolist()))
    folder = cell_folder(tmp_path / "runs" / "speaker" / "cnn_lstm", "fold-2", 1)
    finish_cell(folder, dataclasses.replace(cell, test_answers=answers))

    before = json.loads((BENCHMARKS / "results" / "three_models.json").read_text())["speaker"]["cnn_lstm"]
    three_models.write_results(tmp_path / "runs")
    after = json.loads((tmp_path / "results" / "three_models.json").read_text())["speaker"]["cnn_lstm"]
    assert [(c["fold"], c["seed"]) for c in after] == [(c["fold"], c["seed"]) for c in before]
    (new,) = (c for c in after if c not in before)
    assert (new["fold"], new["seed"], new["test"]["uar"]) == ("fold-2", 1, pytest.approx(0.5))
    assert new["test_7"]["recall"]["neutral"] == 1
    assert new["test_7"]["uar"] == pytest.approx(0.75)
    assert "test_probabilities" not in new
