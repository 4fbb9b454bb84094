"""What model files say of their weights, to test with."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgeemo.evidence import ScoreRow, Training

_TRAINING = Training(
    protocol="speaker",
    fold="fold-1",
    seed=3,
    corpora=("ravdess",),
    label_map="published7",
    split="0123",
    n_clips=48,
    train_speakers=("ravdess-01", "täss-Ä"),
    validation_speakers=("ravdess-02",),
    test_speakers=("ravdess-03",),
    epoch=7,
    recipe={"name": "any"},
)
_SCORES = ScoreRow(
    part="test",
    protocol="speaker",
    corpus="ravdess",
    fold="fold-1",
    seeds=(3,),
    n_speakers=24,
    n_clips=100,
    uar=0.5,
    war=0.6,
    macro_f1=0.4,
    recall={"yes": 0.25, "no": 0.75, "maybe": None},
)


def training(**changes: Any) -> Training:
    """How some weights were made."""
    return dataclasses.replace(_TRAINING, **changes)


def score_row(**changes: Any) -> ScoreRow:
    """Some scores."""
    return dataclasses.replace(_SCORES, **changes)
