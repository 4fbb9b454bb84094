"""Protocols: which clips train, validate and test in each fold. Every score names the one it was made under.

- `random`: a stratified random split over clips, as in most published tables. The same speakers are in training
  and test: it says how well a model knows these speakers, not how well it will do on yours. Files that hold the
  same recording are kept together.
- `speaker`: k folds over speakers; a fold's test speakers and validation speakers are in nobody else's part.
- `corpus`: leave one corpus out; each is the test once, validation speakers are taken from the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeemo.errors import CorpusError
from edgeemo.workstation.corpora.labels import LabelMap
from edgeemo.workstation.corpora.manifest import Clip
from edgeemo.workstation.training.recipe import Protocol


@dataclass(frozen=True)
class Split:
    """One fold: its name and the clips of its three parts."""

    name: str
    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]
    test: tuple[Clip, ...]


def split(clips: Sequence[Clip], protocol: Protocol, labels: LabelMap) -> list[Split]:
    """Split clips into the folds of a protocol.

    Raises:
        CorpusError: too few clips, speakers or corpora for it.
    """
    rng = np.random.default_rng(protocol.seed)
    make = {"random": _random, "speaker": _speaker, "corpus": _corpus}[protocol.kind]
    splits = make(list(clips), protocol, labels, rng)
    for fold in splits:
        for part in ("train", "validation", "test"):
            if not getattr(fold, part):
                raise CorpusError(
                    f"the {protocol.kind} protocol leaves no clips for {part} in {fold.name}; "
                    f"give more data or fewer folds ({len(clips)} clips)"
                )
    return splits


def _random(clips: list[Clip], protocol: Protocol, labels: LabelMap, rng: np.random.Generator) -> list[Split]:
    """Stratified by corpus and label."""
    strata: dict[tuple[str, int | None], list[list[Clip]]] = defaultdict(list)
    recordings: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        recordings[clip.sha256].append(clip)
    for group in recordings.values():
        strata[group[0].corpus, labels.index(group[0].emotion)].append(group)
    parts: dict[str, list[Clip]] = {"train": [], "validation": [], "test": []}
    for _, groups in sorted(strata.items(), key=lambda item: (item[0][0], item[0][1] or 0)):
        order = rng.permutation(len(groups))
        n_test = round(protocol.test_share * len(groups))
        n_validation = round(protocol.validation_share * len(groups))
        for position, i in enumerate(order):
            part = (
                "test" if position < n_test else "validation" if position < n_test + n_validation else "train"
            )
            parts[part] += groups[i]
    return [Split("random", **{name: _in_order(part) for name, part in parts.items()})]


def _speaker(
    clips: list[Clip], protocol: Protocol, labels: LabelMap, rng: np.random.Generator
) -> list[Split]:
    """Every corpus with at least as many speakers as folds is dealt out; smaller ones only train."""
    by_corpus = _speakers(clips)
    dealt = {c: s for c, s in by_corpus.items() if len(s) >= max(protocol.folds, 3)}
    if not dealt:
        have = ", ".join(f"{c} {len(s)}" for c, s in by_corpus.items())
        raise CorpusError(
            f"{protocol.folds} folds over speakers need a corpus with that many speakers (at least 3); "
            f"have: {have}"
        )
    tests: list[set[str]] = [set() for _ in range(protocol.folds)]
    orders = {corpus: list(rng.permutation(speakers)) for corpus, speakers in dealt.items()}
    for order in orders.values():
        for i, speaker in enumerate(order):
            tests[i % protocol.folds].add(speaker)
    splits = []
    for i, test in enumerate(tests):
        validation: set[str] = set()
        for order in orders.values():
            # The speakers that follow in the order, so that over the folds every speaker validates about as often.
            start = i * len(order) // protocol.folds
            rest = [s for s in order[start:] + order[:start] if s not in test]
            validation.update(rest[: min(protocol.validation_speakers, len(rest) - 1)])
        splits.append(_by_speakers(f"fold-{i + 1}", clips, validation, test))
    return splits


def _corpus(clips: list[Clip], protocol: Protocol, labels: LabelMap, rng: np.random.Generator) -> list[Split]:
    by_corpus = _speakers(clips)
    if len(by_corpus) < 2:
        raise CorpusError(f"leaving one corpus out needs at least two; have: {', '.join(by_corpus)}")
    splits = []
    for left_out, test in by_corpus.items():
        others = [s for corpus, speakers in by_corpus.items() if corpus != left_out for s in speakers]
        chosen = list(rng.permutation(others))[: min(protocol.validation_speakers, len(others) - 1)]
        splits.append(_by_speakers(f"without-{left_out}", clips, set(chosen), set(test)))
    return splits


def _speakers(clips: list[Clip]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        found[clip.corpus].add(clip.speaker)
    return {corpus: sorted(speakers) for corpus, speakers in sorted(found.items())}


def _by_speakers(name: str, clips: list[Clip], validation: set[str], test: set[str]) -> Split:
    held_out = validation | test
    return Split(
        name,
        train=_in_order([c for c in clips if c.speaker not in held_out]),
        validation=_in_order([c for c in clips if c.speaker in validation]),
        test=_in_order([c for c in clips if c.speaker in test]),
    )


def _in_order(clips: list[Clip]) -> tuple[Clip, ...]:
    return tuple(sorted(clips, key=lambda clip: clip.path))
