"""What an audit found: the records that `edgeemo audit --json` writes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from edgeemo.records import Record

SCHEMA = 1


class Kind(StrEnum):
    """What a finding is of; in the order of a report."""

    speakers = "speakers"
    same_audio = "same audio"
    near_audio = "nearly the same audio"
    siblings = "augmented siblings"
    normalisation = "normalisation"
    epochs = "epochs"
    labels = "labels"
    cue = "cue"
    sentences = "sentences"
    few_speakers = "few speakers"


@dataclass(frozen=True, kw_only=True)
class Finding(Record):
    """One thing that makes a score look better than it is, or that could.

    Attributes:
        kind: what it is of.
        leaks: whether scores on these clips are wrong because of it; the others are for a person to judge.
        n_clips: how many clips it concerns: of the test where there is one, else of all.
        share: of these clips, from 0 to 1.
        what: in words.
        example: paths of one case, or names.
        worth: how much it may be worth.
        advice: what to do.
        cases: paths of every case, where it is of single clips: of audio, siblings and labels.
        scores: measured numbers, such as `uar` and `chance` of a cue, and the UAR of each fact alone.
    """

    kind: Kind
    leaks: bool
    n_clips: int
    share: float
    what: str
    example: tuple[str, ...]
    worth: str
    advice: str
    cases: tuple[tuple[str, ...], ...] = ()
    scores: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Price(Record):
    """What a split is worth: the same recipe on the same clips, tested on known and on unknown speakers.

    Attributes:
        recipe: its name.
        epochs: at most, of each training.
        random_uar: UAR on the test clips of the random split.
        speaker_uar: on those of the first fold over speakers.
        chance: UAR of guessing.
        n_random_clips, n_speaker_clips: how many test clips.
        n_test_speakers: of the fold over speakers.
    """

    recipe: str
    epochs: int
    random_uar: float
    speaker_uar: float
    chance: float
    n_random_clips: int
    n_speaker_clips: int
    n_test_speakers: int


@dataclass(frozen=True, kw_only=True)
class Audit(Record):
    """The whole.

    Attributes:
        schema: of this record; it grows when a key changes its meaning.
        version: of edgeemo.
        source: what was audited, in words.
        split: how it is split, in words.
        n_clips, n_speakers: of all clips; 0 where only a run's record was read.
        n_test_clips: of these, those that are tested on; 0 where nothing is split.
        unchecked: what could not be checked, and why.
        findings: in the order of `Kind`.
        price: None unless asked for.
    """

    schema: int
    version: str
    source: str
    split: str
    n_clips: int
    n_speakers: int
    n_test_clips: int
    unchecked: dict[str, str]
    findings: tuple[Finding, ...]
    price: Price | None = None
