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
    answers = Answers(probabilities=tuple(map(tuple, probabilities.tolist())), truth=tuple(truth.tolist()))
    found = left_out["scores"](answers, LABELS)

    def mean_recall(named: np.ndarray) -> str:
        return f"{100 * recall_score(truth, named, labels=[0, 1, 3], average='macro'):.1f}"

    arousal = probabilities[:, 1] / probabilities[:, [0, 1, 3]].sum(axis=1)
    assert found["tested clips"] == "200"
    assert found["UAR"] == mean_recall(probabilities.argmax(axis=1))
    assert found["present"] == mean_recall(np.where(np.arange(4) == 2, 0, probabilities).argmax(axis=1))
    assert found["AUC"] == f"{roc_auc_score(truth == 1, arousal):.2f}"
