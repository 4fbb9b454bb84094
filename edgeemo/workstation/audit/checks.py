"""One function for each kind of leak: what is compared -> findings."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from edgeemo.corpora.manifest import Clip
from edgeemo.wording import counted, printable
from edgeemo.workstation.audit.cues import Cue, cue
from edgeemo.workstation.audit.findings import Finding, Kind
from edgeemo.workstation.audit.hearing import Heard
from edgeemo.workstation.audit.sides import Material, Told
from edgeemo.workstation.training.metrics import kept_epoch

_Cases = dict[Clip, Clip]
"""Clips that a finding concerns, each with one that it shares something with."""

_MIN_SPEAKERS = 3  # one each to train, validate and test on
_OF_CLIPS = (
    Kind.same_audio,
    Kind.siblings,
    Kind.near_audio,
)  # whose cases are few, and to be dealt with one by one
_TEXTS = {
    "ravdess": "RAVDESS has two sentences in all",
    "tess": 'TESS says "Say the word ..." in every clip; its sentence code is the word',
}
"""What a corpus' sentence codes do not say."""

_WORDS = (
    "noise|noisy|pitch(?:ed)?|speed|slow|fast|stretch(?:ed)?|shift(?:ed)?|gain|reverb|aug(?:mented)?|copy|dup"
)
_SUFFIX = rf"(?:[ _.-]+(?:{_WORDS})(?:[ _.-]*[+-]?\d+(?:\.\d+)?(?:db)?)?| ?\(\d+\))+"
_ALTERED = re.compile(rf"(?:(?:copy|kopie) (?:of|von) )?(?P<base>.+?)(?P<suffix>{_SUFFIX})?", re.IGNORECASE)


# --- from training to test -----------------------------------------------------------------------------


def speakers(material: Material) -> Iterator[Finding]:
    """Speakers on both sides."""
    cases = _across(
        material,
        lambda learned, test: _pairs(learned, test, lambda c: c.speaker, lambda c: _named(c.speaker)),
    )
    if cases:
        shared = sorted({clip.speaker for clip in cases})
        yield _leak(
            Kind.speakers,
            material,
            cases,
            f"{counted(len(shared), 'speaker')} in training and test, such as {shared[0]}",
            "the score says how well a model knows these voices, not how well it will do on others; `--price` "
            "measures the difference",
            "split by speaker: protocol.kind=speaker",
        )


def audio(material: Material, heard: Heard) -> Iterator[Finding]:
    """The same audio, augmented siblings by name, and nearly the same audio: each clip under the first that fits."""
    same = _same(material)
    siblings = _without(_siblings(material), same)
    near = _without(_near(material, heard), same | siblings)
    found = (
        (Kind.same_audio, same, "the same audio", "keep one of each, or put all of a group on one side"),
        (
            Kind.siblings,
            siblings,
            "names that say they are altered copies of one clip",
            "split first, then augment, and the training part only",
        ),
        (
            Kind.near_audio,
            near,
            "the same sound at another level, rate, codec or cut",
            "keep one of each, or put all of a group on one side",
        ),
    )
    for kind, cases, what, advice in found:
        if cases and material.folds:
            yield _leak(
                kind,
                material,
                cases,
                f"{what} in training and test",
                "a model can know these test clips by heart",
                advice,
            )
        elif cases:
            yield _note(kind, material, cases, what, "a random split puts some on both sides", advice)


def sentences(material: Material) -> Iterator[Finding]:
    """Sentences that are on both sides, or, where nothing is split, spoken in several clips."""
    cases = _pairing(
        material, lambda c: (c.corpus, c.sentence), lambda c: [(c.corpus, c.sentence)] if c.sentence else []
    )
    by_corpus: dict[str, _Cases] = defaultdict(dict)
    for clip, other in cases.items():
        by_corpus[clip.corpus][clip] = other
    for corpus, of_corpus in sorted(by_corpus.items()):
        n_sentences = len({clip.sentence for clip in of_corpus})
        where = "in training and test" if material.folds else "each in several clips"
        text = f"; {_TEXTS[corpus]}" if corpus in _TEXTS else ""
        yield _note(
            Kind.sentences,
            material,
            of_corpus,
            f"{corpus}: {counted(n_sentences, 'sentence')} {where}{text}",
            "the score is of sentences that the model has heard, which is no fault; of other words it says nothing",
            "test on another corpus before you claim more",
        )


# --- from the run's record -----------------------------------------------------------------------------


def record(material: Material) -> Iterator[Finding]:
    """What a run says of itself: its speakers, what normalisation was fitted on, and what chose the epoch."""
    if not material.folds:
        yield from _recorded_speakers(material)
    yield from _recorded(
        material,
        Kind.normalisation,
        _wrong_normalisation,
        "test clips have shaped the features; a little where they resemble the training's, much where they do not",
        "fit normalisation on training clips alone, and train again",
    )
    yield from _recorded(
        material,
        Kind.epochs,
        _wrong_epoch,
        "the best of many epochs on the test is better than what any model is worth on other clips",
        "choose the epoch on a validation part that shares no speaker with the test, and train again",
    )


def unrecorded(material: Material) -> dict[str, str]:
    """What a run's record does not say, and why."""
    if not material.told:
        return dict.fromkeys(map(str, (Kind.normalisation, Kind.epochs)), "no training run")
    why = "the record is of an earlier version and does not say"
    return {
        str(kind): why
        for kind, said in (
            (Kind.normalisation, [told.metrics.normalised_on for told in material.told]),
            (Kind.epochs, [told.metrics.stopped_on for told in material.told if told.metrics.validation]),
        )
        if None in said
    }


def _recorded_speakers(material: Material) -> Iterator[Finding]:
    def wrong(told: Told) -> str:
        metrics = told.metrics
        validated = metrics.validation.speakers if metrics.validation else ()
        learned = {*metrics.train_speakers, *validated}
        shared = sorted(learned & set(metrics.test.speakers))
        return (
            f"{counted(len(shared), 'speaker')} in training and test, such as {shared[0]}" if shared else ""
        )

    yield from _recorded(
        material,
        Kind.speakers,
        wrong,
        "the score says how well a model knows these voices, not how well it will do on others",
        "split by speaker: protocol.kind=speaker; with --data DIR the clips are counted",
    )


def _wrong_normalisation(told: Told) -> str:
    part = told.metrics.normalised_on
    return f"normalisation was fitted on {part!r}, not on 'train'" if part not in (None, "train") else ""


def _wrong_epoch(told: Told) -> str:
    metrics = told.metrics
    if metrics.stopped_on not in (None, "validation"):
        return f"the epoch was chosen on {metrics.stopped_on!r}, not on 'validation'"
    if metrics.validation is not None and metrics.validation.scores == metrics.test.scores:
        return "validation and test have the same scores to the last digit: they are the same clips"
    lowest = kept_epoch(told.history) or metrics.best_epoch
    if metrics.best_epoch != lowest:
        return (
            f"the weights are of epoch {metrics.best_epoch}, though epoch {lowest} had the lowest validation loss: "
            "something else chose"
        )
    return ""


def _recorded(
    material: Material, kind: Kind, wrong: Callable[[Told], str], worth: str, advice: str
) -> Iterator[Finding]:
    reasons = [(told, reason) for told in material.told if (reason := wrong(told))]
    if reasons:
        told, reason = reasons[0]
        # Every fold is tested once for each seed.
        n_clips = {one.metrics.fold: one.metrics.test.scores.n_clips for one in material.told}
        concerned = {one.metrics.fold for one, _ in reasons}
        n_concerned = sum(n for fold, n in n_clips.items() if fold in concerned)
        yield Finding(
            kind=kind,
            leaks=True,
            n_clips=n_concerned,
            share=n_concerned / sum(n_clips.values()),
            what=reason,
            example=(printable(str(told.path)),),
            worth=worth,
            advice=advice,
            scores={},
        )


# --- in the data themselves ----------------------------------------------------------------------------


def labels(material: Material, heard: Heard) -> Iterator[Finding]:
    """Labels that disagree over equal audio."""
    groups = [group for group in _groups(material.clips, heard) if len(set(map(material.label, group))) > 1]
    if groups:
        cases = {clip: group[0] for group in groups for clip in group}
        first = groups[0]
        named = " and ".join(sorted(set(map(material.label, first))))
        yield Finding(
            kind=Kind.labels,
            leaks=False,
            n_clips=len(cases),
            share=len(cases) / len(material.clips),
            what=f"{len(groups)} x the same sound under several labels, such as {named}",
            example=tuple(map(material.name, first)),
            cases=tuple(tuple(map(material.name, group)) for group in groups),
            worth="no model can have more than one of a group right",
            advice="leave these clips out: which label is right nobody can say here",
            scores={},
        )


def cues(material: Material, heard: Heard) -> Iterator[Finding]:
    """Facts that are not speech and tell the class."""
    clips = material.clips
    found = cue(
        np.stack([heard.facts[clip.sha256] for clip in clips]),
        [material.label(clip) for clip in clips],
        [clip.speaker or str(clip.path) for clip in clips],
    )
    if found is not None and found.found:
        of = "unknown speakers" if all(clip.speaker for clip in clips) else "other clips"
        yield _cue_finding(found, len(clips), of)


def few_speakers(material: Material) -> Iterator[Finding]:
    """Corpora that no split can test on unknown speakers."""
    by_corpus: dict[str, set[str]] = defaultdict(set)
    for clip in material.clips:
        by_corpus[clip.corpus].add(clip.speaker)
    for corpus, names in sorted(by_corpus.items()):
        if len(names) < _MIN_SPEAKERS and "" not in names:
            n_clips = sum(clip.corpus == corpus for clip in material.clips)
            yield Finding(
                kind=Kind.few_speakers,
                leaks=False,
                n_clips=n_clips,
                share=n_clips / len(material.clips),
                what=f"{corpus}: {counted(len(names), 'speaker')}",
                example=tuple(sorted(names)),
                worth="no split of it trains, validates and tests on different people",
                advice="train on it, and test on another corpus",
                scores={},
            )


def _cue_finding(found: Cue, n_clips: int, of: str) -> Finding:
    low, high = found.interval
    best = [f"{name} {uar:.2f}" for name, uar in found.alone.items() if uar > found.chance + 0.02]
    recorded = f"; {' and '.join(found.recorded)} is not speech at all" if found.recorded else ""
    return Finding(
        kind=Kind.cue,
        leaks=found.given_away,
        n_clips=n_clips,
        share=1.0,
        what=f"facts that are not speech tell the class of {of}: UAR {found.uar:.2f} "
        f"({low:.2f} to {high:.2f}), chance {found.chance:.2f}; alone: {', '.join(best)}{recorded}",
        example=tuple(found.alone)[:3],
        worth=f"up to {100 * (found.uar - found.chance):.0f} points of UAR; some are the voice's own: anger is loud",
        advice="level and trim all clips alike, or train with gain augmentation, and compare a model's score with "
        "this one",
        scores={
            "uar": found.uar,
            "low": low,
            "high": high,
            "chance": found.chance,
            **{f"{name} alone": uar for name, uar in found.alone.items()},
        },
    )


# --- pairs of clips ------------------------------------------------------------------------------------


def altered(stem: str) -> tuple[str, bool]:
    """A name without what augmentation adds, `x` of `x_noise`, `x_pitch2` or `copy of x`; whether that was there."""
    match = _ALTERED.fullmatch(stem)
    base = match["base"] if match else stem
    return base.lower(), base != stem


def _same(material: Material) -> _Cases:
    return _pairing(material, lambda clip: clip.sha256, lambda clip: [clip.sha256])


def _near(material: Material, heard: Heard) -> _Cases:
    return _pairing(material, lambda clip: clip.sha256, lambda clip: sorted(heard.alike.get(clip.sha256, ())))


def _siblings(material: Material) -> _Cases:
    def key(clip: Clip) -> tuple[str, ...]:
        return altered(clip.path.stem)[0], clip.corpus, clip.speaker, clip.emotion, clip.sentence

    return _pairing(
        material,
        key,
        lambda clip: [key(clip)],
        lambda one, other: altered(one.path.stem)[1] or altered(other.path.stem)[1],
    )


def _pairing(
    material: Material,
    key: Callable[[Clip], object],
    keys: Callable[[Clip], Iterable[object]],
    fits: Callable[[Clip, Clip], bool] = lambda one, other: True,
) -> _Cases:
    """Test clips with a clip learned from; where nothing is split, clips with another."""
    if material.folds:
        return _across(material, lambda learned, test: _pairs(learned, test, key, keys, fits))
    return _pairs(
        material.clips, material.clips, key, keys, lambda one, other: one != other and fits(one, other)
    )


def _across(material: Material, find: Callable[[Sequence[Clip], Sequence[Clip]], _Cases]) -> _Cases:
    cases: _Cases = {}
    for sides in material.folds:
        cases = find(sides.learned, sides.test) | cases
    return cases


def _pairs(
    learned: Sequence[Clip],
    test: Sequence[Clip],
    key: Callable[[Clip], object],
    keys: Callable[[Clip], Iterable[object]],
    fits: Callable[[Clip, Clip], bool] = lambda one, other: True,
) -> _Cases:
    """Each test clip with the first clip learned from that has one of its keys and fits."""
    by_key: dict[object, list[Clip]] = defaultdict(list)
    for clip in learned:
        by_key[key(clip)].append(clip)
    cases = {}
    for clip in test:
        others = (other for k in keys(clip) for other in by_key.get(k, ()) if fits(clip, other))
        if (other := next(others, None)) is not None:
            cases[clip] = other
    return cases


def _groups(clips: Sequence[Clip], heard: Heard) -> list[list[Clip]]:
    """Clips that hold the same or nearly the same audio, in the order of their first."""
    by_audio: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_audio[clip.sha256].append(clip)
    groups, seen = [], set()
    for sha256 in by_audio:
        reached, rest = [], [sha256]
        while rest:
            one = rest.pop()
            if one not in seen:
                seen.add(one)
                reached += by_audio.get(one, [])
                rest += sorted(heard.alike.get(one, ()))
        if len(reached) > 1:
            groups.append(reached)
    return groups


# --- words ---------------------------------------------------------------------------------------------


def _leak(kind: Kind, material: Material, cases: _Cases, what: str, worth: str, advice: str) -> Finding:
    return _finding(kind, material, cases, what, worth, advice, leaks=True)


def _note(kind: Kind, material: Material, cases: _Cases, what: str, worth: str, advice: str) -> Finding:
    return _finding(kind, material, cases, what, worth, advice, leaks=False)


def _finding(
    kind: Kind, material: Material, cases: _Cases, what: str, worth: str, advice: str, *, leaks: bool
) -> Finding:
    of = material.test if material.folds else material.clips
    pairs = tuple((material.name(clip), material.name(other)) for clip, other in cases.items())
    return Finding(
        kind=kind,
        leaks=leaks,
        n_clips=len(cases),
        share=len(cases) / len(of),
        what=what,
        example=pairs[0],
        cases=pairs if kind in _OF_CLIPS else (),
        worth=worth,
        advice=advice,
        scores={},
    )


def _without(cases: _Cases, others: Mapping[Clip, Clip]) -> _Cases:
    return {clip: other for clip, other in cases.items() if clip not in others}


def _named(name: str) -> list[str]:
    return [name] if name else []
