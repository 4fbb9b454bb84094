"""Whose clips are heard as one voice's."""

from __future__ import annotations

import numpy as np

from edgeemo.workstation.training.epochs import Epochs
from edgeemo.workstation.training.recipe import Training
from edgeemo.workstation.training.voices import voices
from support.corpora import clip

CLIPS = [
    *(clip(number, speaker="ab"[number // 8], corpus="acted") for number in range(16)),
    *(clip(number, speaker=f"w{number}", corpus="words") for number in range(16, 32)),
]


def test_people_of_one_clip_share_a_voice() -> None:
    found = voices(CLIPS)
    assert found[:16] == [c.speaker for c in CLIPS[:16]]
    assert len(set(found[16:])) == 1
    assert set(found[16:]).isdisjoint(found[:16])


def test_they_are_drawn_in_runs_like_others() -> None:
    """Else a clip without others of its voice in the batch would be ordinary speech."""
    training = Training(balance="corpus", speaker_run=4, clips_per_epoch=64)
    drawn = Epochs(CLIPS, np.zeros(len(CLIPS), np.int64), training).draw(np.random.default_rng(0))
    for run in drawn.reshape(-1, 4):
        assert len({voices(CLIPS)[i] for i in run}) == 1
        assert len(set(run.tolist())) == 4
