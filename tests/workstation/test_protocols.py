"""Protocols, over generated lists of clips: who trains, validates and tests."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgeemo.corpora.labels import FASHION_MNIST_CLASSES, LABEL_MAPS
from edgeemo.corpora.manifest import Clip
from edgeemo.errors import CorpusError
from edgeemo.workstation.image_corpora import LabelledImage
from edgeemo.workstation.training.protocols import Split, split
from edgeemo.workstation.training.recipe import Protocol

LABELS = LABEL_MAPS["published7"]
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")


def make_clip(corpus: str, speaker: int, number: int, emotion: str, sound: str = "") -> Clip:
    name = f"{corpus}/{speaker:02d}/{number:03d}.wav"
    return Clip(
        path=Path("/data", name),
        corpus=corpus,
        emotion=emotion,
        speaker=f"{corpus}-{speaker:02d}",
        sentence="a",
        intensity="",
        sample_rate=16000,
        n_samples=16000,
        n_channels=1,
        sha256=hashlib.sha256((sound or name).encode()).hexdigest(),
    )


def corpus_of(name: str, n_speakers: int, n_clips: int) -> list[Clip]:
    """Each speaker with `n_clips` clips, the emotions in turn."""
    return [
        make_clip(name, speaker, number, EMOTIONS[number % len(EMOTIONS)])
        for speaker in range(n_speakers)
        for number in range(n_clips)
    ]


@st.composite
def clip_lists(draw: st.DrawFn) -> list[Clip]:
    clips = []
    for name in draw(
        st.lists(st.sampled_from(["ravdess", "tess", "savee", "emodb"]), min_size=1, unique=True)
    ):
        for speaker in range(draw(st.integers(1, 9))):
            for number in range(draw(st.integers(1, 4))):
                emotion = draw(st.sampled_from(EMOTIONS))
                copy_of = draw(
                    st.integers(0, number)
                )  # another file of the same speaker holds the same sound
                clips.append(make_clip(name, speaker, number, emotion, f"{name} {speaker} {copy_of}"))
    return draw(st.permutations(clips))


def parts(fold: Split[Clip]) -> tuple[tuple[Clip, ...], ...]:
    return fold.train, fold.validation, fold.test


def speakers(clips: tuple[Clip, ...] | list[Clip]) -> set[str]:
    return {clip.speaker for clip in clips}


def assert_partition(fold: Split[Clip], clips: list[Clip]) -> None:
    """Every clip is in exactly one part, and no part is empty."""
    assert all(parts(fold))
    assert Counter(clip.path for part in parts(fold) for clip in part) == Counter(clip.path for clip in clips)


def assert_disjoint_speakers(fold: Split[Clip]) -> None:
    train, validation, test = map(speakers, parts(fold))
    assert not train & validation
    assert not train & test
    assert not validation & test


# --- speaker -------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    clips=clip_lists(), folds=st.integers(2, 5), validation_speakers=st.integers(1, 4), seed=st.integers(0, 9)
)
def test_speaker_protocol(clips: list[Clip], folds: int, validation_speakers: int, seed: int) -> None:
    protocol = Protocol(kind="speaker", folds=folds, validation_speakers=validation_speakers, seed=seed)
    by_corpus = {c: speakers([x for x in clips if x.corpus == c]) for c in {x.corpus for x in clips}}
    dealt = {c: s for c, s in by_corpus.items() if len(s) >= max(folds, 3)}
    # A fold needs somebody left for validation and somebody left for training.
    possible = any(len(s) - math.ceil(len(s) / folds) >= 2 for s in dealt.values())
    if not possible:
        with pytest.raises(CorpusError):
            split(clips, protocol, LABELS)
        return
    splits = split(clips, protocol, LABELS)
    assert [fold.name for fold in splits] == [f"fold-{i + 1}" for i in range(folds)]
    for fold in splits:
        assert_partition(fold, clips)
        assert_disjoint_speakers(fold)
        for corpus, all_speakers in by_corpus.items():
            chosen = [{s for s in speakers(part) if s in all_speakers} for part in parts(fold)]
            if corpus not in dealt:
                assert chosen[0] == all_speakers, "a small corpus only trains"
                continue
            assert (
                math.floor(len(all_speakers) / folds)
                <= len(chosen[2])
                <= math.ceil(len(all_speakers) / folds)
            )
            assert len(chosen[1]) <= validation_speakers
            assert chosen[0], "every dealt corpus trains in every fold"
    tested = Counter(speaker for fold in splits for speaker in speakers(fold.test))
    assert tested == Counter(s for everybody in dealt.values() for s in everybody), "each tests exactly once"


def test_speaker_protocol_of_the_shipped_recipes() -> None:
    """24 actors in five folds, three of them for validation; TESS' two speakers only train."""
    clips = corpus_of("ravdess", 24, 8) + corpus_of("tess", 2, 50)
    splits = split(clips, Protocol(), LABELS)
    assert sorted(len(speakers(fold.test)) for fold in splits) == [4, 5, 5, 5, 5]
    assert all(len(speakers(fold.validation)) == 3 for fold in splits)
    assert all({"tess-00", "tess-01"} <= speakers(fold.train) for fold in splits)
    validated = Counter(speaker for fold in splits for speaker in speakers(fold.validation))
    assert max(validated.values()) <= 2, "over the folds, every speaker validates about as often"


def test_a_sound_under_two_speakers_names_is_in_one_part_only() -> None:
    clips = corpus_of("ravdess", 6, 8)
    copies = [
        make_clip("ravdess", 5, 100 + i, c.emotion, str(c.path.relative_to("/data")))
        for i, c in enumerate(clips[:4])
    ]
    assert {c.sha256 for c in copies} == {c.sha256 for c in clips[:4]}
    for fold in split([*clips, *copies], Protocol(kind="speaker", folds=3, validation_speakers=1), LABELS):
        train, validation, test = ({c.sha256 for c in part} for part in parts(fold))
        assert not train & validation
        assert not (train | validation) & test
        assert_disjoint_speakers(fold)


contents = st.lists(st.text("abc", min_size=1), unique=True, min_size=3)


@settings(deadline=None)
@given(contents=contents, data=st.data())
def test_a_digest_is_of_the_content_of_each_part(contents: list[str], data: st.DataObject) -> None:
    """At least one clip in each part; no order, no folder and no name of the fold counts."""
    first, second = sorted(data.draw(st.sets(st.integers(1, len(contents) - 1), min_size=2, max_size=2)))
    in_parts = [contents[:first], contents[first:second], contents[second:]]

    def fold(of_parts: list[list[str]], *, name: str = "fold-1", folder: str = "/data") -> Split[Clip]:
        clips = (
            tuple(
                dataclasses.replace(make_clip("ravdess", 1, i, "sad", content), path=Path(folder, content))
                for i, content in enumerate(part)
            )
            for part in of_parts
        )
        return Split(name, *clips)

    digest = fold(in_parts).digest
    reordered = [data.draw(st.permutations(part)) for part in in_parts]
    assert fold(reordered, name="x", folder="/elsewhere").digest == digest

    giver = data.draw(st.integers(0, 2))
    receiver = (giver + data.draw(st.integers(1, 2))) % 3
    lost = data.draw(st.sampled_from(in_parts[giver]))
    fewer = [[content for content in part if content != lost] for part in in_parts]
    moved = [[*part, lost] if i == receiver else part for i, part in enumerate(fewer)]
    replaced = [[*part, "another"] if i == giver else part for i, part in enumerate(fewer)]
    digests = {digest, *(fold(parts).digest for parts in (fewer, moved, replaced))}
    assert len(digests) == 4


@pytest.mark.parametrize("kind", ["speaker", "session", "corpus"])
def test_each_fold_has_a_digest_of_its_own(kind: str) -> None:
    clips = corpus_of("ravdess", 6, 8) + corpus_of("tess", 6, 8)
    folds = split(clips, Protocol(kind=kind, folds=3), LABELS)
    assert len({fold.digest for fold in folds}) == len(folds) > 1


def test_two_speakers_never_test_by_speaker() -> None:
    with pytest.raises(CorpusError, match=r"5 folds over speakers need .* \(at least 3\); have: tess 2"):
        split(corpus_of("tess", 2, 50), Protocol(), LABELS)


# --- corpus --------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(clips=clip_lists(), validation_speakers=st.integers(1, 4), seed=st.integers(0, 9))
def test_corpus_protocol(clips: list[Clip], validation_speakers: int, seed: int) -> None:
    protocol = Protocol(kind="corpus", validation_speakers=validation_speakers, seed=seed)
    corpora = sorted({clip.corpus for clip in clips})
    n_speakers = {corpus: len({x.speaker for x in clips if x.corpus == corpus}) for corpus in corpora}
    expected = {
        left_out: {c: min(validation_speakers, n // 3) for c, n in n_speakers.items() if c != left_out}
        for left_out in corpora
    }
    if not all(any(others.values()) for others in expected.values()):
        with pytest.raises(CorpusError):
            split(clips, protocol, LABELS)
        return
    splits = split(clips, protocol, LABELS)
    assert [fold.name for fold in splits] == [f"without-{corpus}" for corpus in corpora]
    for fold, corpus in zip(splits, corpora, strict=True):
        assert_partition(fold, clips)
        assert_disjoint_speakers(fold)
        assert set(fold.test) == {clip for clip in clips if clip.corpus == corpus}
        assert corpus not in {clip.corpus for clip in (*fold.train, *fold.validation)}
        validated = {c: len({x.speaker for x in fold.validation if x.corpus == c}) for c in expected[corpus]}
        assert validated == expected[corpus]


def test_one_corpus_cannot_be_left_out() -> None:
    with pytest.raises(CorpusError, match="leaving one corpus out needs at least two; have: ravdess"):
        split(corpus_of("ravdess", 24, 8), Protocol(kind="corpus"), LABELS)


# --- random --------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    clips=clip_lists(),
    test_share=st.floats(0.05, 0.45),
    validation_share=st.floats(0.05, 0.45),
    seed=st.integers(0, 9),
)
@pytest.mark.slow
def test_random_protocol(clips: list[Clip], test_share: float, validation_share: float, seed: int) -> None:
    protocol = Protocol(kind="random", test_share=test_share, validation_share=validation_share, seed=seed)
    try:
        (fold,) = split(clips, protocol, LABELS)
    except CorpusError:
        assume(False)
    assert_partition(fold, clips)
    where = defaultdict(set)
    for i, part in enumerate(parts(fold)):
        for clip in part:
            where[clip.sha256].add(i)
    assert all(len(found) == 1 for found in where.values()), "copies of a clip stay together"


@pytest.mark.parametrize("n_clips", [8, 40, 80])
def test_random_split_is_stratified(n_clips: int) -> None:
    """Ten speakers a corpus: each label of each corpus has a tenth in test, a fifth in validation."""
    clips = corpus_of("ravdess", 10, n_clips) + corpus_of("savee", 20, n_clips)
    protocol = Protocol(kind="random", test_share=0.1, validation_share=0.2)
    (fold,) = split(clips, protocol, LABELS)

    def strata(part: tuple[Clip, ...] | list[Clip]) -> Counter[tuple[str, str]]:
        return Counter((clip.corpus, LABELS.of[clip.emotion]) for clip in part)

    total = strata(clips)
    assert total["ravdess", "neutral"] == 2 * total["ravdess", "happy"]  # with calm
    assert strata(fold.test) == Counter({k: round(0.1 * n) for k, n in total.items()})
    assert strata(fold.validation) == Counter({k: round(0.2 * n) for k, n in total.items()})


def test_copies_stay_together_even_under_two_names() -> None:
    clips = corpus_of("ravdess", 10, 16)
    copies = [dataclasses.replace(c, path=Path("/data/copies", f"{i}.wav")) for i, c in enumerate(clips)]
    (fold,) = split(clips + copies, Protocol(kind="random"), LABELS)
    assert len(fold.test) == 2 * len({clip.sha256 for clip in fold.test})
    assert len(fold.validation) == 2 * len({clip.sha256 for clip in fold.validation})


# --- all -----------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(clips=clip_lists(), kind=st.sampled_from(["random", "speaker", "corpus"]), seed=st.integers(0, 9))
def test_same_again(clips: list[Clip], kind: str, seed: int) -> None:
    protocol = Protocol(kind=kind, folds=2, seed=seed)
    try:
        first = split(clips, protocol, LABELS)
    except CorpusError as error:
        with pytest.raises(CorpusError) as again:
            split(clips, protocol, LABELS)
        assert str(again.value) == str(error)  # noqa: PT017 - either outcome is right
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
        return
    assert split(clips, protocol, LABELS) == first
    for fold in first:
        for part in parts(fold):
            assert list(part) == sorted(part, key=lambda clip: clip.path)


@pytest.mark.parametrize("kind", ["random", "speaker"])
def test_seed_of_the_protocol_changes_the_split(kind: str) -> None:
    clips = corpus_of("ravdess", 24, 8)
    tests = [split(clips, Protocol(kind=kind, seed=seed), LABELS)[0].test for seed in range(3)]
    assert len(set(tests)) == 3


@pytest.mark.parametrize("kind", ["speaker", "corpus"])
def test_order_of_the_clips_does_not_matter(kind: str) -> None:
    clips = corpus_of("ravdess", 7, 3) + corpus_of("tess", 4, 3)
    protocol = Protocol(kind=kind, folds=3)
    assert split(clips, protocol, LABELS) == split(clips[::-1], protocol, LABELS)


@pytest.mark.parametrize(
    ("kind", "clips", "words"),
    [
        ("random", [], "the random protocol leaves no items for"),
        ("random", corpus_of("ravdess", 1, 4), "the random protocol leaves no items for"),
        ("speaker", [], "5 folds over speakers need"),
        ("speaker", corpus_of("ravdess", 4, 8), "5 folds over speakers need .* have: ravdess 4"),
        ("corpus", [], "leaving one corpus out"),
        (
            "corpus",
            corpus_of("a", 1, 8) + corpus_of("b", 1, 8),
            "leaves no items for validation in without-a",
        ),
    ],
)
def test_too_little_data(kind: str, clips: list[Clip], words: str) -> None:
    with pytest.raises(CorpusError, match=words) as caught:
        split(clips, Protocol(kind=kind), LABELS)
    assert "\n" not in str(caught.value)


# --- session and holdout -------------------------------------------------------------------------------


def in_sessions(clips: list[Clip], n_sessions: int) -> list[Clip]:
    return [dataclasses.replace(c, session=f"s-{int(c.speaker[-2:]) % n_sessions}") for c in clips]


@settings(max_examples=50, deadline=None)
@given(clips=clip_lists(), folds=st.integers(2, 6), seed=st.integers(0, 9))
def test_session_folds_hold_each_clip_once_as_test(clips: list[Clip], folds: int, seed: int) -> None:
    try:
        found = split(clips, Protocol(kind="session", folds=folds, seed=seed), LABELS)
    except CorpusError:
        assume(False)
    assert Counter(c.path for fold in found for c in fold.test) == Counter(c.path for c in clips)
    for fold in found:
        assert_partition(fold, clips)
        sounds = [{c.sha256 for c in part} for part in parts(fold)]
        assert not sounds[0] & sounds[2], "a sound is in training and test"
        assert not sounds[0] & sounds[1]


@settings(max_examples=50, deadline=None)
@given(clips=clip_lists(), folds=st.integers(2, 6), seed=st.integers(0, 9))
def test_folds_over_clips_hold_each_once_as_test_and_have_no_validation(
    clips: list[Clip], folds: int, seed: int
) -> None:
    try:
        found = split(clips, Protocol(kind="clips", folds=folds, seed=seed), LABELS)
    except CorpusError:
        assume(False)
    assert Counter(c.path for fold in found for c in fold.test) == Counter(c.path for c in clips)
    for fold in found:
        assert not fold.validation
        assert Counter(c.path for c in (*fold.train, *fold.test)) == Counter(c.path for c in clips)
        assert not {c.sha256 for c in fold.train} & {c.sha256 for c in fold.test}


def test_folds_over_clips_have_every_label_of_every_speaker() -> None:
    clips = corpus_of("ravdess", 3, 8 * 10)
    for fold in split(clips, Protocol(kind="clips", folds=5), LABELS):
        n = Counter((c.speaker, LABELS.index(c.emotion)) for c in fold.test)
        assert len(n) == 3 * len(LABELS.labels)
        assert sum(n.values()) == len(clips) / 5


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25, 0.4, 0.45])
def test_the_validation_share_of_a_session_is_that_of_what_is_no_test(share: float) -> None:
    clips = corpus_of("ravdess", 5, 80)
    protocol = Protocol(kind="session", folds=5, validation_share=share)
    for fold in split(clips, protocol, LABELS):
        assert len(fold.test) == 80
        assert len(fold.validation) == pytest.approx(share * 320, abs=1)


@pytest.mark.parametrize("n_sessions", [4, 0])
def test_every_session_is_split_8_to_2(n_sessions: int) -> None:
    """Without sessions, each speaker is one."""
    clips = corpus_of("ravdess", 8, 40)
    if n_sessions:
        clips = in_sessions(clips, n_sessions)
    for fold in split(clips, Protocol(kind="session", folds=5), LABELS):
        of = Counter(c.session or c.speaker for c in clips)
        tested = Counter(c.session or c.speaker for c in fold.test)
        assert set(tested) == set(of)
        assert all(abs(tested[s] - of[s] / 5) <= 1 for s in of)
        labels = Counter(LABELS.index(c.emotion) for c in fold.test)
        whole = Counter(LABELS.index(c.emotion) for c in clips)
        assert all(abs(labels[k] - whole[k] / 5) <= len(of) for k in whole)
        assert 0.05 < len(fold.validation) / len(clips) < 0.12


def images(n: int, *, n_test: int, repeated: int = 0) -> list[LabelledImage]:
    """The first `repeated` test images are training images, too."""
    made = []
    for i in range(n + n_test):
        part, content = ("train", i) if i < n else ("test", i if i - n >= repeated else i - n)
        label = FASHION_MNIST_CLASSES[i % 10]
        made.append(
            LabelledImage("fashion_mnist", part, label, f"{part}-{i:05d}", str(content), np.zeros((2, 2)))
        )
    return made


def test_holdout_tests_on_the_corpus_own_part() -> None:
    items = images(600, n_test=100, repeated=30)
    found = split(items, Protocol(kind="holdout", folds=6), LABEL_MAPS["fashion10"])
    validated = Counter(p.name for fold in found for p in fold.validation)
    assert [fold.name for fold in found] == [f"fold-{i}" for i in range(1, 7)]
    assert len(validated) == 570
    assert set(validated.values()) == {1}
    for fold in found:
        assert [p.name for p in fold.test] == [p.name for p in items if p.part == "test"]
        assert len(fold.validation) == 95
        assert len(fold.train) == 475
        tested = {p.sha256 for p in fold.test}
        assert not tested & {p.sha256 for p in fold.train + fold.validation}, "a test image was trained on"
        counts = Counter(p.label for p in fold.validation)
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize(
    ("kind", "items", "labels", "words"),
    [
        ("holdout", corpus_of("ravdess", 6, 8), "published7", "ravdess has no test part of its own"),
        (
            "speaker",
            images(20, n_test=10),
            "fashion10",
            "fashion_mnist: speakers are unknown; use --protocol random",
        ),
        ("holdout", images(20, n_test=0), "fashion10", "leaves no items for test"),
    ],
)
def test_protocol_that_does_not_fit_the_corpus(kind: str, items: list[Any], labels: str, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        split(items, Protocol(kind=kind), LABEL_MAPS[labels])
