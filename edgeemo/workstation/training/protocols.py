"""Protocols: which items train, validate and test in each fold. Every score names the one it was made under.

- `random`: a stratified random split over clips, as in most published tables. The same speakers are in training
  and test: it says how well a model knows these speakers, not how well it will do on yours. Clips with the same
  audio are kept together.
- `speaker`: k folds over speakers; a fold's test speakers and validation speakers are in no other part, and neither
  is audio that occurs under two speakers' names.
- `corpus`: leave one corpus out; each is the test once, validation speakers are taken from each of the others: at
  most a third of its speakers.
- `session`: k folds inside each recording session (of a corpus without sessions: of each speaker), so that with 5
  folds every session is split 8 : 2 into training and test. The same speakers are in both.
- `clips`: k folds over clips, stratified by corpus, speaker and label; nothing is left for validation, so that a
  training lasts all its epochs. The same speakers are in training and test: it is for a network that is adapted to
  them (`edgeemo train --from`), and for so few clips that each counts.
- `holdout`: the corpus' own test part in every fold; its training part in k stratified parts, one of which
  validates: with 5 folds, training and validation are 8 : 2. Where the data have a validation part of their own, it
  validates, and there is one fold. What is in the test part too (image corpora repeat images) is left out of training
  and validation.
"""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from edgeemo.corpora.find import unknown_speakers_remedy
from edgeemo.corpora.labels import LabelMap
from edgeemo.errors import CorpusError
from edgeemo.workstation.training import recipe

if TYPE_CHECKING:
    from _typeshed import SupportsRichComparison


class Item(Protocol):
    """What a protocol asks of a clip or image."""

    @property
    def corpus(self) -> str:
        """The name of its corpus."""

    @property
    def part(self) -> str:
        """The corpus' own part that it is of; empty where it has none."""

    @property
    def session(self) -> str:
        """The recording session; empty where the corpus has none."""

    @property
    def speaker(self) -> str:
        """Who speaks; empty for images."""

    @property
    def place(self) -> SupportsRichComparison:
        """Where it is: what items are sorted by."""

    @property
    def label(self) -> str:
        """What label maps map."""

    @property
    def sha256(self) -> str:
        """Equal for items with the same content."""


ItemT = TypeVar("ItemT", bound=Item)
WITHOUT = "without-"
"""Before the name of the corpus that a fold leaves out: the fold's name."""


@dataclass(frozen=True)
class Split(Generic[ItemT]):
    """One fold: its name and the items of its three parts, in the order of their places.

    Without items for validation, a training lasts all its epochs.
    """

    name: str
    train: tuple[ItemT, ...]
    validation: tuple[ItemT, ...]
    test: tuple[ItemT, ...]

    @functools.cached_property
    def digest(self) -> str:
        """Of the content of all three parts: the same for the same split, wherever the files are."""
        parts = [sorted(item.sha256 for item in part) for part in (self.train, self.validation, self.test)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def split(items: Sequence[ItemT], protocol: recipe.Protocol, labels: LabelMap) -> list[Split[ItemT]]:
    """Split items into the folds of a protocol.

    Args:
        items: each with a label in `labels`.
        protocol: of a recipe.
        labels: the label map.

    Raises:
        CorpusError: too few items, speakers or corpora for it, or no part of the corpus' own.
    """
    rng = np.random.default_rng(protocol.seed)
    make = {
        "random": _random,
        "speaker": _speaker,
        "corpus": _corpus,
        "session": _session,
        "clips": _clips,
        "holdout": _holdout,
    }[protocol.kind]
    splits = []
    for name, parts in make(sorted(items, key=_place), protocol, labels, rng).items():
        for part in ("train", "validation", "test"):
            if not parts[part] and (part, protocol.kind) != ("validation", "clips"):
                raise CorpusError(
                    f"the {protocol.kind} protocol leaves no items for {part} in {name}; "
                    f"give more data or fewer folds ({len(items)} items)"
                )
        splits.append(Split(name, **{part: tuple(sorted(parts[part], key=_place)) for part in parts}))
    return splits


def _place(item: Item) -> SupportsRichComparison:
    return item.place


_Parts = dict[str, list[ItemT]]
"""`train`, `validation` and `test`."""
_Strata = dict[tuple[tuple[str, ...], int], list[list[ItemT]]]
"""Groups of items with the same content, by what their first says."""


def _strata(items: list[ItemT], labels: LabelMap, by: Callable[[ItemT], tuple[str, ...]]) -> _Strata[ItemT]:
    """What is stratified by: what `by` says of an item, such as its corpus, and its label."""
    contents: dict[str, list[ItemT]] = defaultdict(list)
    for item in items:
        contents[item.sha256].append(item)
    strata: _Strata[ItemT] = defaultdict(list)
    for group in contents.values():
        first = group[0]
        strata[by(first), labels.labels.index(labels.of[first.label])].append(group)
    return dict(sorted(strata.items()))


def _dealt(strata: _Strata[ItemT], rng: np.random.Generator) -> list[list[ItemT]]:
    """Groups in an order in which every k-th makes a part with about its share of each stratum."""
    return [groups[i] for groups in strata.values() for i in rng.permutation(len(groups))]


def _folds(
    dealt: list[list[ItemT]], n_folds: int
) -> Iterator[tuple[str, list[list[ItemT]], list[list[ItemT]]]]:
    """Each fold's name, the groups that others hold out, and those that it does: every `n_folds`-th."""
    for fold in range(n_folds):
        rest = [group for i, group in enumerate(dealt) if i % n_folds != fold]
        yield f"fold-{fold + 1}", rest, dealt[fold::n_folds]


def _items(groups: list[list[ItemT]]) -> list[ItemT]:
    return [item for group in groups for item in group]


def _random(
    items: list[ItemT], protocol: recipe.Protocol, labels: LabelMap, rng: np.random.Generator
) -> dict[str, _Parts[ItemT]]:
    """Stratified by corpus and label."""
    parts: _Parts[ItemT] = {"train": [], "validation": [], "test": []}
    for groups in _strata(items, labels, lambda item: (item.corpus,)).values():
        order = rng.permutation(len(groups))
        n_test = round(protocol.test_share * len(groups))
        n_validation = round(protocol.validation_share * len(groups))
        for position, i in enumerate(order):
            part = (
                "test" if position < n_test else "validation" if position < n_test + n_validation else "train"
            )
            parts[part] += groups[i]
    return {"random": parts}


def _holdout(
    items: list[ItemT], protocol: recipe.Protocol, labels: LabelMap, rng: np.random.Generator
) -> dict[str, _Parts[ItemT]]:
    """Stratified by corpus and label."""
    if without := sorted({item.corpus for item in items if not item.part}):
        raise CorpusError(
            f"{', '.join(without)} has no test part of its own, which the holdout protocol tests on; "
            "choose another protocol, such as protocol.kind=speaker"
        )
    test = [item for item in items if item.part == "test"]
    tested = {item.sha256 for item in test}
    rest = [item for item in items if item.part != "test" and item.sha256 not in tested]
    if validation := [item for item in rest if item.part == "validation"]:
        validated = {item.sha256 for item in validation}
        train = [item for item in rest if item.part != "validation" and item.sha256 not in validated]
        return {"fold-1": {"train": train, "validation": validation, "test": test}}
    dealt = _dealt(_strata(rest, labels, lambda item: (item.corpus,)), rng)
    return {
        name: {"train": _items(rest), "validation": _items(held_out), "test": test}
        for name, rest, held_out in _folds(dealt, protocol.folds)
    }


def _session(
    items: list[ItemT], protocol: recipe.Protocol, labels: LabelMap, rng: np.random.Generator
) -> dict[str, _Parts[ItemT]]:
    """Stratified by session and label."""
    if without := sorted({item.corpus for item in items if not item.session and not item.speaker}):
        raise _no_speakers(without)
    dealt = _dealt(_strata(items, labels, lambda item: (item.corpus, item.session or item.speaker)), rng)
    share = Fraction(protocol.validation_share).limit_denominator(1000)
    folds = {}
    for fold, (name, rest, held_out) in enumerate(_folds(dealt, protocol.folds)):
        parts: _Parts[ItemT] = {"train": [], "validation": []}
        for i, group in enumerate(rest):
            # Evenly, from fold to fold one further.
            validates = (i - fold) * share // 1 > (i - fold - 1) * share // 1
            parts["validation" if validates else "train"] += group
        parts["test"] = _items(held_out)
        folds[name] = parts
    return folds


def _clips(
    items: list[ItemT], protocol: recipe.Protocol, labels: LabelMap, rng: np.random.Generator
) -> dict[str, _Parts[ItemT]]:
    """Stratified by corpus, speaker and label."""
    dealt = _dealt(_strata(items, labels, lambda item: (item.corpus, item.speaker)), rng)
    return {
        name: {"train": _items(rest), "validation": [], "test": _items(held_out)}
        for name, rest, held_out in _folds(dealt, protocol.folds)
    }


def _speaker(
    items: list[ItemT], protocol: recipe.Protocol, labels: LabelMap, rng: np.random.Generator
) -> dict[str, _Parts[ItemT]]:
    """Every corpus with at least as many speakers as folds is dealt out; smaller ones only train."""
    by_corpus = _speakers(items)
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
    folds = {}
    for i, test in enumerate(tests):
        validation: set[str] = set()
        for order in orders.values():
            # The speakers that follow in the order, so that over the folds every speaker validates about as often.
            start = i * len(order) // protocol.folds
            rest = [s for s in order[start:] + order[:start] if s not in test]
            validation.update(rest[: min(protocol.validation_speakers, len(rest) - 1)])
        folds[f"fold-{i + 1}"] = _by_speakers(items, validation, test)
    return folds


def _corpus(
    items: list[ItemT], protocol: recipe.Protocol, labels: LabelMap, rng: np.random.Generator
) -> dict[str, _Parts[ItemT]]:
    by_corpus = _speakers(items)
    if len(by_corpus) < 2:
        raise CorpusError(f"leaving one corpus out needs at least two; have: {', '.join(by_corpus)}")
    orders = {corpus: list(rng.permutation(speakers)) for corpus, speakers in by_corpus.items()}
    folds = {}
    for left_out, test in by_corpus.items():
        others = [order for corpus, order in orders.items() if corpus != left_out]
        validation = [
            s for order in others for s in order[: min(protocol.validation_speakers, len(order) // 3)]
        ]
        folds[f"{WITHOUT}{left_out}"] = _by_speakers(items, set(validation), set(test))
    return folds


def _speakers(items: Sequence[Item]) -> dict[str, list[str]]:
    """The speakers of each corpus; one whom two corpora have, as RAVDESS' speech and song, of the first alone."""
    found: dict[str, set[str]] = defaultdict(set)
    for item in items:
        found[item.corpus].add(item.speaker)
    if without := sorted(corpus for corpus, speakers in found.items() if "" in speakers):
        raise _no_speakers(without)
    known: set[str] = set()
    by_corpus = {}
    for corpus, speakers in sorted(found.items()):
        if new := speakers - known:
            by_corpus[corpus] = sorted(new)
        known |= speakers
    return by_corpus


def _no_speakers(corpora: Sequence[str]) -> CorpusError:
    return CorpusError(f"{', '.join(corpora)}: speakers are unknown; {unknown_speakers_remedy()}")


def _by_speakers(items: list[ItemT], validation: set[str], test: set[str]) -> _Parts[ItemT]:
    tested = {item.sha256 for item in items if item.speaker in test}
    validated = {item.sha256 for item in items if item.speaker in validation}
    held_out, heard = validation | test, validated | tested
    return {
        "train": [x for x in items if x.speaker not in held_out and x.sha256 not in heard],
        "validation": [x for x in items if x.speaker in validation and x.sha256 not in tested],
        "test": [x for x in items if x.speaker in test],
    }
