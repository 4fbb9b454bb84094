"""Whose clips are heard as one voice's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeemo.corpora.manifest import Clip


def voices(clips: Sequence[Clip]) -> list[str]:
    """A name for the voice of each clip: its speaker, or its corpus for all who say one thing alone or are unknown.

    Of those, nothing else could be heard before. Where that is ordinary speech, as in corpora of wake words, networks
    learn that whoever is heard for the first time is neutral: with CREMA-D left out, 59 % of it; else 43 %.
    """
    n_clips = Counter(clip.speaker for clip in clips)
    return [
        clip.speaker if clip.speaker and n_clips[clip.speaker] > 1 else f"one clip each, {clip.corpus}"
        for clip in clips
    ]
