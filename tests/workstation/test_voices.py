"""Whose clips are heard as one voice's."""

from __future__ import annotations

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
