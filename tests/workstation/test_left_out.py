"""The table of corpora left out, from the folder of a run."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from edgeemo.workstation.training.metrics import Answers

ROOT = Path(__file__).parents[2]
LABELS = ("neutral", "angry", "disgust", "sad")


@pytest.fixture(scope="module")
def left_out() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "left_out.py"))


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_scikit_learn(left_out: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(4), 200)
    truth = rng.choice([0, 1, 3], 200)  # no clip is of disgust
    found = left_out["scores"](probabilities, truth, LABELS)

    def mean_recall(named: np.ndarray) -> str:
        return f"{100 * recall_score(truth, named, labels=[0, 1, 3], average='macro'):.1f}"

    arousal = probabilities[:, 1] / probabilities[:, [0, 1, 3]].sum(axis=1)
    assert found["tested clips"] == "200"
    assert found["UAR"] == mean_recall(probabilities.argmax(axis=1))
    assert found["present"] == mean_recall(np.where(np.arange(4) == 2, 0, probabilities).argmax(axis=1))
    assert found["AUC"] == f"{roc_auc_score(truth == 1, arousal):.2f}"


def test_two_together_are_their_mean(left_out: dict[str, Any]) -> None:
    """Where both left the same corpus out; one is right of each clip, and surer of it than the other is wrong."""
    right, wrong = (0.8, 0.1, 0.05, 0.05), (0.3, 0.7, 0.0, 0.0)

    def training(recipe: str, corpus: str, *probabilities: tuple[float, ...]) -> Any:
        answers = Answers(probabilities=probabilities, truth=(0, 0))
        return left_out["LeftOut"](recipe, corpus, LABELS, answers, {})

    found = [
        training("one", "TESS", right, wrong),
        training("other", "TESS", wrong, right),
        training("elsewhere", "nEMO", wrong, wrong),
    ]
    (row,) = left_out["together"](found)
    assert (row["recipes"], row["left out"], row["UAR"]) == ("one, other", "TESS", "100.0")
    assert [left_out["row"](one)["UAR"] for one in found] == ["50.0", "50.0", "0.0"]
