"""Evaluation below the command: which clips, what is kept, what is concluded."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeemo
from edgeemo.answer import Judgement
from edgeemo.clip import Clip
from edgeemo.corpora.labels import as_label
from edgeemo.errors import CorpusError, OutputError
from edgeemo.evaluation import conclusions, hearing
from edgeemo.evaluation.answers import Journal
from edgeemo.evaluation.conclusions import Answers
from edgeemo.evaluation.hearing import CLEAN, STEPS, Task, hear_all
from edgeemo.evaluation.material import Material, gather, has_heard
from edgeemo.evaluation.no_voice import SOUNDS, named_in_sound
from edgeemo.evidence import Training
from support.corpora import clip, write_crema_d
from support.events import steps_in
from support.signals import voice_like

LABELS = ("neutral", "angry", "disgust", "fear", "happy", "sad", "surprise")
TRAINING = Training(
    protocol="speaker",
    fold="fold-1",
    seed=0,
    corpora=("crema_d",),
    label_map="published7",
    n_clips=1,
    train_speakers=("crema_d-1001",),
    validation_speakers=("crema_d-1002",),
    test_speakers=("crema_d-1003", "crema_d-1004"),
    epoch=1,
    recipe={},
)


def material(truth: list[int], speakers: list[str] | None = None) -> Material:
    speakers = speakers or [str(n % 4) for n in range(len(truth))]
    clips = [clip(n, speaker=speaker) for n, speaker in enumerate(speakers)]
    return Material(tuple(clips), np.array(truth, np.int64), LABELS)


def one_hot(labels: list[int | None], confidence: float = 0.9) -> list[list[float] | None]:
    rest = (1 - confidence) / (len(LABELS) - 1)
    return [
        None if label is None else [confidence if i == label else rest for i in range(len(LABELS))]
        for label in labels
    ]


# --- material ------------------------------------------------------------------------------------------


def test_emotions_as_labels() -> None:
    assert as_label("calm", LABELS) == "neutral"
    assert as_label("calm", ("neutral", "calm")) == "calm"
    assert as_label("boredom", LABELS) is None
    assert as_label("disgust", ("angry", "sad")) is None


def test_only_speakers_that_no_model_heard_are_judged_by(tmp_path: Path) -> None:
    data = write_crema_d(tmp_path, speakers=range(1001, 1005), emotions=("ANG", "SAD"))
    known = gather(data, LABELS, [TRAINING], heard_too=False)
    assert set(known.speakers) == {"crema_d-1003", "crema_d-1004"}
    assert known.left_out == {"crema_d: its speaker was heard in training or validation": 4}
    assert len(gather(data, LABELS, [TRAINING], heard_too=True).clips) == 8
    other = dataclasses.replace(TRAINING, corpora=("ravdess",))
    assert len(gather(data, LABELS, [other, None], heard_too=False).clips) == 8
    both = dataclasses.replace(TRAINING, test_speakers=("crema_d-1001",))
    with pytest.raises(CorpusError, match=r"no clip of .*8 x crema_d: .*or --heard"):
        gather(data, LABELS, [TRAINING, both], heard_too=False)
    assert not has_heard(None, known.clips[0])


def test_clips_without_a_label_are_counted(tmp_path: Path) -> None:
    data = write_crema_d(tmp_path, speakers=[1001], emotions=("ANG", "DIS", "SAD"))
    found = gather(data, ("angry", "sad"), [None], heard_too=False)
    assert [found.labels[i] for i in found.truth] == ["angry", "sad"]
    assert found.left_out == {"disgust: not a label of the model": 1}


@given(
    groups=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["sad", "angry"])), min_size=1, max_size=60
    ),
    n=st.integers(0, 70),
)
def test_a_sample_has_every_speaker_and_emotion_alike(groups: list[tuple[str, str]], n: int) -> None:
    clips = [clip(i, speaker=speaker, emotion=emotion) for i, (speaker, emotion) in enumerate(groups)]
    every = Material(tuple(clips), np.zeros(len(clips), np.int64), LABELS)
    chosen = every.sample(n)
    assert len(chosen) == min(n, len(clips)) == len(set(chosen.tolist()))
    taken = {group: sum(groups[i] == group for i in chosen) for group in set(groups)}
    for group, k in taken.items():
        if k < groups.count(group):
            assert k >= max(taken.values()) - 1
    assert every.sample(n).tolist() == chosen.tolist()


def test_intervals_are_over_clips_where_speakers_are_unknown() -> None:
    assert material([0, 1, 2]).over_speakers
    assert not material([0, 1, 2], ["a", "unknown", "b"]).over_speakers
    assert not material([0, 1, 2], ["a", "a", "a"]).over_speakers


# --- answers -------------------------------------------------------------------------------------------


def test_a_journal_goes_on_after_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path, header = tmp_path / "sub" / "a.jsonl", {"model": "x"}
    with Journal(path, header) as journal:
        journal.add([("clean", "1", [0.5, 0.5]), ("clean", "2", None)])
    whole = path.read_bytes()
    for n_bytes in range(whole.index(b"\n") + 1, len(whole) + 1):
        path.write_bytes(whole[:n_bytes])
        with Journal(path, header) as journal:
            n_lines = whole[:n_bytes].count(b"\n")
            assert [("clean", key) in journal for key in "12"] == [n_lines > 1, n_lines > 2]
            journal.add([("clean", "3", [1.0, 0.0])])
        with Journal(path, header) as journal:
            assert journal["clean", "3"] == [1.0, 0.0]


def test_a_journal_of_other_circumstances_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path, {"clips": "x"}) as journal:
        journal.add([("clean", "1", [1.0])])
    with Journal(path, {"clips": "y"}) as journal:
        assert ("clean", "1") not in journal
    assert len(path.read_text().splitlines()) == 1


def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        Journal(tmp_path / "file" / "a.jsonl", {})


def any_sound(name: str) -> edgeemo.EmotionModel:
    """A shipped model that judges made-up voices too."""
    model = edgeemo.load(name)
    model.judgement = dataclasses.replace(model.judgement, needs_voice=False)
    return model


# --- hearing -------------------------------------------------------------------------------------------


def test_whole_clips_and_steps_are_what_the_model_says(tmp_path: Path) -> None:
    data = write_crema_d(tmp_path, speakers=[1001, 1002], emotions=("ANG",))
    model = any_sound("conv1d_lstm")
    clips = gather(data, LABELS, [None], heard_too=False).clips
    tasks = [Task(each, {CLEAN: (0,), STEPS: (0,)}) for each in clips]
    for task, heard in hear_all([model], tasks, clips):
        answers = {condition: answer for _, condition, answer in heard}
        score = model.classify(task.clip.path)
        assert answers[CLEAN] == pytest.approx(list(score.probabilities.values()), abs=1e-6)
        listener = edgeemo.Listener(model, sample_rate=task.clip.sample_rate)
        audio = edgeemo.audio.read_audio(task.clip.path, task.clip.sample_rate)
        live = [list(step.probabilities.values()) for step in steps_in(listener.push(audio))]
        assert np.allclose(answers[STEPS], live, atol=1e-6)


@pytest.mark.slow
def test_several_processes_hear_the_same(tmp_path: Path) -> None:
    data = write_crema_d(tmp_path, speakers=range(1001, 1007), emotions=("ANG", "SAD"))
    models = [edgeemo.load("conv1d_lstm"), edgeemo.load("cnn_lstm")]
    clips = gather(data, LABELS, [None], heard_too=False).clips
    wanted = {CLEAN: (0, 1), "babble at 0 dB": (0, 1), "room of 0.6 s": (1,), STEPS: (0,)}
    tasks = [Task(each, wanted) for each in clips]
    alone = list(hear_all(models, tasks, clips))
    assert list(hear_all(models, tasks, clips, n_jobs=2)) == alone
    assert list(hear_all(models, tasks[::-1], clips)) == alone[::-1], "answers depend on the order"


def test_a_small_probability_is_not_rounded_away(stream_model: edgeemo.EmotionModel) -> None:
    """A temperature may raise it."""
    audio = voice_like(2.0, 16000)
    [*kept] = hearing.whole(stream_model, Clip.of_samples(audio, 16000, 16000)) or []
    said = stream_model.classify(audio, sample_rate=16000).probabilities
    assert kept == pytest.approx(list(said.values()), rel=1e-5)
    assert hearing.whole(stream_model, Clip.of_samples(0 * audio, 16000, 16000)) is None


def test_what_is_heard_does_not_depend_on_the_judgement(stream_model_path: Path) -> None:
    audio = voice_like(2.0, 16000)
    model = edgeemo.load(stream_model_path)
    careful = dataclasses.replace(model.judgement, temperature=3.0, unsure_below=0.99, arousal={})
    models = [model, edgeemo.load(stream_model_path, judgement=careful)]
    for hear in (hearing.whole, hearing.steps_of):
        clip = Clip.of_samples(audio, 16000, 16000)
        assert hear(models[0], clip) == hear(models[1], clip)
    assert models[1].classify(audio, sample_rate=16000).label is None


def test_the_loop_names_nothing_where_it_is_unsure(stream_model_path: Path) -> None:
    careful = Judgement(unsure_below=0.9999, needs_voice=False, arousal={})
    sure, unsure = (edgeemo.load(stream_model_path, judgement=by) for by in (None, careful))
    assert named_in_sound(sure, "white noise")["n_named"] > 0
    assert named_in_sound(unsure, "white noise")["n_named"] == 0


def test_the_loop_names_nothing_where_nobody_speaks() -> None:
    gated, deaf = edgeemo.load("conv1d_lstm"), any_sound("conv1d_lstm")
    assert named_in_sound(deaf, "silence") == {"n_steps": 187, "n_named": 0}
    assert named_in_sound(deaf, "white noise")["n_named"] > 0, "the checks can fail"
    for name in SOUNDS:
        assert named_in_sound(gated, name) == {"n_steps": 187, "n_named": 0}
    for make in SOUNDS.values():
        assert make(1600, 16_000).shape == (1600,)


# --- conclusions ---------------------------------------------------------------------------------------


def test_scores_of_known_answers() -> None:
    truth = [0, 0, 1, 1, 5, 5, 5, 5]
    answers = Answers.from_lists(material(truth), one_hot([0, 1, 1, 1, 5, 2, None, 5]))
    found = conclusions.scores(answers)
    assert found.recall == {
        "neutral": 0.5,
        "angry": 1.0,
        "disgust": None,
        "fear": None,
        "happy": None,
        "sad": 0.5,
        "surprise": None,
    }
    assert found.uar.value == pytest.approx(2 / 3, abs=1e-6)
    assert (found.war.value, found.unnamed, found.n_clips, found.n_speakers) == (0.625, 0.125, 8, 4)
    assert found.uar.low is not None
    assert found.uar.high is not None
    assert found.uar.low <= found.uar.value <= found.uar.high
    # Where disgust cannot be meant, the tie behind it goes to the first label: neutral.
    assert found.uar_present.value == pytest.approx(2 / 3, abs=1e-6)
    assert answers.counts()[:-1].sum() == 8
    assert answers.counts()[-1].sum() == 0


def test_restricted_to_the_classes_present() -> None:
    probabilities = [[0.3, 0.1, 0.5, 0.1, 0, 0, 0], [0.1, 0.3, 0.6, 0, 0, 0, 0]]
    found = conclusions.scores(Answers.from_lists(material([0, 1]), list(probabilities)))
    assert (found.uar.value, found.uar_present.value) == (0.0, 1.0)


def test_arousal_leaves_out_disgust_and_what_is_not_named() -> None:
    truth = [0, 5, 1, 3, 2, 6]
    answers: list[list[float] | None] = one_hot([0, 5, 1, 6, 0, None])
    found = conclusions.arousal_auc(Answers.from_lists(material(truth), answers))
    assert found.value == 1.0
    swapped = conclusions.arousal_auc(Answers.from_lists(material(truth), one_hot([1, 1, 0, 5, 0, None])))
    assert swapped.value == 0.0
    assert conclusions.arousal_auc(Answers.from_lists(material([0, 5]), one_hot([0, 5]))).value is None
    assert conclusions.arousal_auc(Answers.from_lists(material([2]), one_hot([2]))).value is None


def test_calibration_of_a_model_that_overstates() -> None:
    answers = Answers.from_lists(material([0, 1, 2, 3]), one_hot([0, 1, 3, None]))
    found = conclusions.calibration(answers)
    assert found.accuracy == pytest.approx(2 / 3, abs=1e-6)
    assert found.ece.value == pytest.approx(0.9 - 2 / 3, abs=1e-6)
    assert sum(b.n_clips for b in found.bins) == 3
    silent = conclusions.calibration(Answers.from_lists(material([0]), [None]))
    assert silent.ece.value is None
    assert silent.bins == ()


def test_unsure_answers_are_passed_on_and_have_arousal() -> None:
    truth = [0, 1, 5, 6]
    said = [*one_hot([0, 1], 0.9), *one_hot([5, 6], 0.3)]
    judgement = dataclasses.replace(Judgement.of(LABELS), unsure_below=0.5)
    sure, careful = (
        Answers.from_lists(material(truth), said),
        Answers.from_lists(material(truth), said, judgement),
    )
    assert (conclusions.scores(sure).war.value, conclusions.scores(careful).war.value) == (1.0, 0.5)
    assert conclusions.scores(careful).unnamed == 0.5
    assert conclusions.scores(careful).uar_present.value == 0.5
    assert conclusions.scores(careful).uar_always == conclusions.scores(sure).uar_present
    assert conclusions.scores(Answers.from_lists(material([0, 1]), [None, None])).uar_always.value == 0
    assert careful.counts()[:-1, -1].sum() == 2
    assert conclusions.calibration(careful).confidence == pytest.approx(0.9)
    assert conclusions.coverage(careful) == conclusions.coverage(sure), "it sets thresholds of its own"
    assert conclusions.arousal_auc(careful) == conclusions.arousal_auc(sure)
    assert conclusions.arousal_auc(careful).value == 1.0


def test_calibrated_probabilities_are_judged() -> None:
    truth = [0, 1, 2, 4]
    said = one_hot([0, 1, 3, 4])
    judgement = dataclasses.replace(Judgement.of(LABELS), temperature=2.0)
    before, after = (
        conclusions.calibration(Answers.from_lists(material(truth), said, by)) for by in (None, judgement)
    )
    expected = judgement.answer(dict(zip(LABELS, said[0] or [], strict=True)))
    assert after.confidence == pytest.approx(expected.probabilities["neutral"], abs=1e-6)
    assert (before.confidence, after.accuracy) == (0.9, before.accuracy)
    assert after.ece.value == pytest.approx(abs((after.confidence or 0) - 0.75), abs=1e-6)


def test_steps_may_be_unsure() -> None:
    steps = [[[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [[0.5, 0.5]]]
    judgement = Judgement(unsure_below=0.7, arousal={})
    found = conclusions.step_labels(steps, ("a", "b"), judgement)
    assert [each.tolist() for each in found] == [[0, 2, 1], [2]]


def test_the_surest_are_kept_first() -> None:
    truth = [n % 7 for n in range(70)]
    sure, unsure = one_hot(truth, 0.95), one_hot([(n + 1) % 7 for n in truth], 0.5)
    answers = Answers.from_lists(material(truth), [sure[n] if n < 35 else unsure[n] for n in range(70)])
    found = {row.coverage: row for row in conclusions.coverage(answers)}
    assert found[0.5].uar == 1.0
    assert found[0.5].threshold == 0.95
    assert found[1.0].uar == 0.5
    assert list(found) == list(conclusions.COVERAGES)


def test_seconds_heard_and_the_decision_that_stays() -> None:
    steps = [np.array(labels) for labels in ([1, 0, 0, 0], [1, 1, 1], [2, 1, 2, 1])]
    whole = Answers.from_lists(material([0, 1, 1]), one_hot([0, 1, 1]))
    rows = conclusions.seconds_heard(steps, whole, 0.5)
    assert [(row.seconds, row.n_clips, row.uar.value) for row in rows] == [
        (0.5, 3, 0.25),
        (1.0, 3, 1.0),
        (1.5, 3, 0.75),
        (2.0, 2, 1.0),
        (None, 3, 1.0),
    ]
    found = conclusions.decision(steps, 0.5)
    assert found is not None
    assert (found.median_s, found.n_clips) == (1.0, 3)
    assert found.changes == pytest.approx(4 / 3, abs=1e-6)
    assert conclusions.decision([np.array([1])], 0.5) is None


def test_a_difference_has_the_interval_of_the_same_draws() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 7, 200).tolist()
    said = [t if rng.random() < 0.5 else int(rng.integers(7)) for t in truth]
    answers = Answers.from_lists(material(truth), one_hot(said))
    same = conclusions.difference(answers, answers)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    worse = [(t + 1) % 7 if n % 5 == 0 else s for n, (t, s) in enumerate(zip(truth, said, strict=True))]
    found = conclusions.robustness("noise", "x", Answers.from_lists(material(truth), one_hot(worse)), answers)
    assert found.change.value == pytest.approx(found.uar - found.clean, abs=2e-6)
    assert found.change.high is not None
    assert found.change.high < 0


def test_results_are_what_json_knows(tmp_path: Path) -> None:
    answers = Answers.from_lists(material([0, 1]), one_hot([0, None]))
    for record in (conclusions.scores(answers), conclusions.calibration(answers)):
        assert type(record).from_dict(json.loads(json.dumps(record.to_dict(), allow_nan=False))) == record
