"""Every clip read once: its facts and its fingerprint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

from edgeemo.audio import clip_audio, native_rate
from edgeemo.corpora.manifest import Clip
from edgeemo.workstation.audit.cues import facts
from edgeemo.workstation.audit.fingerprints import RATE, landmarks, matches

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, n_done, n_clips)`."""


@dataclass(frozen=True)
class Heard:
    """What was heard, by a clip's `sha256`.

    Attributes:
        facts: shape `(len(FACTS),)`.
        alike: other audio that holds the same sound.
    """

    facts: Mapping[str, npt.NDArray[np.float64]]
    alike: Mapping[str, frozenset[str]]


def hear(clips: Sequence[Clip], progress: Progress) -> Heard:
    """Read clips, or none; of those with the same `sha256`, the first.

    Raises:
        AudioError: a file cannot be read.
    """
    each = list({clip.sha256: clip for clip in reversed(clips)}.values())[::-1]
    found, prints = {}, []
    for n_done, clip in enumerate(each, start=1):
        rate = native_rate(clip.path)
        audio = clip_audio(clip, rate)
        found[clip.sha256] = facts(audio, rate)
        prints.append(landmarks(soxr.resample(audio, rate, RATE)))
        progress("reading", n_done, len(each))
    alike: dict[str, set[str]] = defaultdict(set)
    pairs = matches(
        prints,
        lambda i: clip_audio(each[i], RATE),
        lambda done, total: progress("comparing", done, total),
    )
    for match in pairs:
        one, other = each[match.first].sha256, each[match.second].sha256
        alike[one].add(other)
        alike[other].add(one)
    return Heard(found, {sha256: frozenset(others) for sha256, others in alike.items()})
