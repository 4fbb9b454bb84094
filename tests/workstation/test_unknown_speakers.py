"""The table of speakers never heard, from the folder of a run."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from edgeemo.workstation.training.scores import scores

ROOT = Path(__file__).parents[2]
LABELS = ("neutral", "angry", "disgust", "sad")


@pytest.fixture(scope="module")
def unknown_speakers() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "unknown_speakers.py"))


def test_mean_and_deviation_over_trainings(unknown_speakers: dict[str, Any]) -> None:
    """Of a corpus without one of the labels, which may be named all the same."""
    rng = np.random.default_rng(0)
    truths = [rng.choice([0, 1, 3], n) for n in (150, 90)]
    answers = [rng.dirichlet(np.ones(4), len(truth)) for truth in truths]
    parts = tuple(scores(truth, answer, LABELS) for truth, answer in zip(truths, answers, strict=True))
    found = unknown_speakers["row"](unknown_speakers["Known"]("mine", "CREMA-D", len(LABELS), parts))

    def spread(measure: Any) -> str:
        values = [
            100 * measure(truth, answer.argmax(axis=1), labels=[0, 1, 3], average="macro")
            for truth, answer in zip(truths, answers, strict=True)
        ]
        return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"

    assert found["UAR"] == spread(recall_score)
    assert found["macro-F1"] == spread(f1_score)
    assert (found["trainings"], found["tested clips"], found["its labels"]) == ("2", "240", "3 of 4")


def test_a_run_is_read(unknown_speakers: dict[str, Any]) -> None:
    """The one that emo_small ships from: a corpus a row, those of two speakers in no test part left out."""
    found = unknown_speakers["corpora_of"](ROOT / "export" / "emo_small")
    assert [known.corpus for known in found] == ["CREMA-D", "nEMO", "RAVDESS", "Picovoice wake words"]
    assert all(len(known.of_folds) == 1 for known in found)
    page = unknown_speakers["page"](found)
    assert page.count("| emo_small |") == len(found)
    assert "±" not in "".join(line for line in page.splitlines() if line.startswith("|"))
