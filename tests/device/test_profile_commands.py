"""Profiles on the command line and in the live loop: enrol, listen, classify, evaluate."""

from __future__ import annotations

import dataclasses
import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from edgeemo import AudioFile, Profile, ProfileError, listen, read_profile
from edgeemo.audio import clip_audio
from edgeemo.classify import Classifier
from edgeemo.cli import app
from edgeemo.corpora.find import find_clips
from edgeemo.corpora.manifest import Clip
from edgeemo.enrol import enrol
from edgeemo.evaluation import hearing
from edgeemo.evaluation.hearing import Hearer, Task, after_alike, after_two, learnt_from
from edgeemo.evaluation.results import Evaluation
from edgeemo.live import Listener
from edgeemo.model import EmotionModel
from support.corpora import write_crema_d
from support.events import steps_in, steps_in_lines

RATE = 16_000


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five utterances of a second, with pauses of a second between them."""
    rng = np.random.default_rng(4)
    bursts = [
        np.concatenate([1e-4 * rng.standard_normal(RATE), level * np.cumsum(rng.standard_normal(RATE)) / 50])
        for level in (0.1, 0.2, 0.05, 0.1, 0.3)
    ]
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, np.clip(np.concatenate(bursts), -1, 1), RATE)
    return path


@pytest.fixture
def edgeemo(learning_model_path: Path) -> Callable[..., Any]:
    def call(command: str, *arguments: object) -> Any:
        model = ["--model", str(learning_model_path)]
        return CliRunner().invoke(app, [command, *map(str, arguments), *model])

    return call


def probabilities(result: Any) -> np.ndarray:
    assert result.exit_code == 0, result.output
    return np.array([list(step["probabilities"].values()) for step in steps_in_lines(result.stdout)])


# --- the live loop ---------------------------------------------------------------------------------------


def test_a_stream_starts_with_what_was_learnt(learning_model: EmotionModel, talk: Path) -> None:
    told: list[Profile] = []
    first = steps_in(listen(AudioFile(talk, realtime=False), learning_model, learned=told.append))
    assert [p.n_utterances for p in told] == [0, *range(1, 6), 5]
    again = steps_in(
        listen(AudioFile(talk, realtime=False), learning_model, profile=told[-1], learned=told.append)
    )
    assert told[-1].n_utterances == 10
    assert first[-1].utterance == again[-1].utterance == 5
    moved = [abs(a.probabilities["sad"] - b.probabilities["sad"]) for a, b in zip(first, again, strict=True)]
    assert max(moved) > 0.01
    # The same, by hand.
    listener = Listener(learning_model, sample_rate=RATE, profile=told[6])
    expected = steps_in(listener.push(soundfile.read(talk, dtype="float32")[0]))
    assert [step.probabilities for step in expected] == [step.probabilities for step in again]
    listener.reset()
    assert listener.profile.n_utterances == 5, "a reset forgets the stream, not the profile"


def test_a_model_that_learns_nothing_is_told_before_the_first_step(
    stream_model: EmotionModel, talk: Path
) -> None:
    with pytest.raises(ProfileError, match="learns nothing of a voice"):
        listen(AudioFile(talk, realtime=False), stream_model, learned=print)


# --- listen ----------------------------------------------------------------------------------------------


def test_baseline_is_kept_between_starts(edgeemo: Callable[..., Any], talk: Path, tmp_path: Path) -> None:
    kept = tmp_path / "me.json"
    arguments = ("listen", "--file", talk, "--fast", "--json")
    plain = probabilities(edgeemo(*arguments))
    result = edgeemo(*arguments, "--baseline", kept)
    first = probabilities(result)
    assert result.stderr.splitlines()[-1] == f"baseline: 5 utterances in {kept}"
    np.testing.assert_array_equal(first, plain)
    assert read_profile(kept).n_utterances == 5
    if sys.platform != "win32":
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    content = kept.read_bytes()
    second = probabilities(edgeemo(*arguments, "--profile", kept))
    assert kept.read_bytes() == content, "--profile only reads"
    np.testing.assert_array_equal(probabilities(edgeemo(*arguments, "--baseline", kept)), second)
    assert np.abs(second - first).max() > 0.01
    assert read_profile(kept).n_utterances == 10
    kept.unlink()
    np.testing.assert_array_equal(probabilities(edgeemo(*arguments, "--baseline", kept)), first)


def test_silence_leaves_no_baseline(edgeemo: Callable[..., Any], tmp_path: Path) -> None:
    quiet = tmp_path / "quiet.wav"
    soundfile.write(quiet, np.zeros(RATE), RATE)
    result = edgeemo("listen", "--file", quiet, "--fast", "--baseline", tmp_path / "me.json")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "baseline: nobody spoke"
    assert not (tmp_path / "me.json").exists()


@pytest.mark.parametrize("option", ["--profile", "--baseline"])
def test_a_file_that_is_no_profile(
    edgeemo: Callable[..., Any], talk: Path, tmp_path: Path, option: str
) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("my notes", encoding="utf-8")
    result = edgeemo("listen", "--file", talk, "--fast", option, other)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"edgeemo: {other}: not a profile")
    assert other.read_text(encoding="utf-8") == "my notes", "nothing is written over it"


def test_profile_and_baseline_together(edgeemo: Callable[..., Any], talk: Path) -> None:
    result = edgeemo("listen", "--file", talk, "--profile", "a", "--baseline", "b")
    assert result.exit_code == 2
    assert "not both" in result.output


# --- enrol -----------------------------------------------------------------------------------------------


def test_enrol(edgeemo: Callable[..., Any], talk: Path, tmp_path: Path, learning_model: EmotionModel) -> None:
    me = tmp_path / "me.json"
    result = edgeemo("enrol", "--file", talk, "--seconds", 3, "-o", me)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{me}: tiny.learning.stream, 3 s of speech\n"
    heard: list[float] = []
    profile = enrol(AudioFile(talk, realtime=False), learning_model, seconds=3, report=heard.append)
    assert read_profile(me).states == profile.states
    assert heard == sorted(heard)
    assert heard[-1] == 3
    assert profile.n_utterances in (2, 3)
    assert profile == profile.of_voice(learning_model.metadata), "the bands' mean is of the microphone"


def test_enrol_with_too_little_speech(edgeemo: Callable[..., Any], talk: Path, tmp_path: Path) -> None:
    result = edgeemo("enrol", "--file", talk, "-o", tmp_path / "me.json")
    assert result.exit_code == 1
    assert "s of speech, expected 20; speak on or give a longer file" in result.stderr
    assert not list(tmp_path.iterdir())


def test_enrol_for_a_model_that_learns_nothing(stream_model_path: Path, talk: Path, tmp_path: Path) -> None:
    arguments = ["enrol", "--file", str(talk), "--model", str(stream_model_path), "-o", str(tmp_path / "me")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "tiny.stream learns nothing of a voice" in result.stderr
    assert result.stderr.count("\n") == 1


# --- classify --------------------------------------------------------------------------------------------


def test_classify_with_a_profile(
    edgeemo: Callable[..., Any], talk: Path, tmp_path: Path, learning_model: EmotionModel
) -> None:
    me = tmp_path / "me.json"
    assert edgeemo("enrol", "--file", talk, "--seconds", 3, "-o", me).exit_code == 0
    [found] = json.loads(edgeemo("classify", talk, "--profile", me, "--format", "json").stdout)
    [without] = json.loads(edgeemo("classify", talk, "--format", "json").stdout)
    expected = learning_model.classify(talk, profile=read_profile(me))
    assert found["probabilities"] == {k: round(p, 6) for k, p in expected.probabilities.items()}
    assert found["probabilities"] != without["probabilities"]


def test_an_archive_is_of_many_voices(edgeemo: Callable[..., Any], talk: Path, tmp_path: Path) -> None:
    result = edgeemo(
        "classify", talk, "--ray", "local", "-o", tmp_path / "rows", "--profile", tmp_path / "me.json"
    )
    assert result.exit_code == 2
    assert "many voices" in result.output


def test_a_profile_is_for_one_model(
    learning_model: EmotionModel, stream_model: EmotionModel, talk: Path
) -> None:
    profile = learnt_from(learning_model, [soundfile.read(talk, dtype="float32")[0]])
    with pytest.raises(ProfileError, match="learns nothing"):
        Classifier([stream_model], profile=profile)


# --- evaluate --------------------------------------------------------------------------------------------


def test_evaluation_after_other_utterances(learning_model_path: Path, tmp_path: Path) -> None:
    data = write_crema_d(
        tmp_path / "data", speakers=(1001, 1002), emotions=("ANG", "NEU", "SAD"), seconds=1.2
    )
    output = tmp_path / "done"
    options = ["-d", str(data), "-o", str(output), "--robustness", "6", "--history", "1", "--history", "10"]
    options += ["--enrolled", "1.5", "--enrolled", "60"]
    result = CliRunner().invoke(app, ["evaluate", str(learning_model_path), *options])
    assert result.exit_code == 0, result.output
    [found] = Evaluation.from_dict(json.loads((output / "evaluation.json").read_text())).models
    assert [(row.heard, row.n_clips) for row in found.history] == [
        ("after 1 utterance", 6),
        ("after 10 utterances", 6),
        ("after 10 utterances in one emotion", 6),
        ("after 10 utterances of two people in turn", 6),
        ("after 1.5 s of neutral speech", 6),
        ("after 60 s of neutral speech", 6),
    ]
    assert all(row.first == found.scores.uar.value for row in found.history)
    answers = [
        json.loads(line) for line in next((output / "answers").glob("*.jsonl")).read_text().splitlines()
    ]
    heard = {
        row[0]: row[2]
        for row in answers
        if isinstance(row, list) and row[0] in ("clean", "after 1 utterance")
    }
    assert heard["clean"] != heard["after 1 utterance"]
    assert "After other speech of the speaker" in result.stdout


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Clip]:
    """The clips that are read for what is heard, one after another."""
    read: list[Clip] = []

    def reading(clip: Clip, rate: int) -> Any:
        read.append(clip)
        return clip_audio(clip, rate)

    monkeypatch.setattr(hearing, "clip_audio", reading)
    return read


def test_utterances_in_one_emotion(learning_model: EmotionModel, tmp_path: Path, read: list[Clip]) -> None:
    """Any one of the speaker's, whatever the clip's own is."""
    emotions = ("ANG", "NEU", "SAD")
    clips = find_clips(write_crema_d(tmp_path / "data", speakers=(1001, 1002), emotions=emotions)).clips
    louder = [dataclasses.replace(c, sha256=f"{c.sha256}{i}") for c in clips for i in range(3)]
    pairs = set()
    for clip in louder:
        read.clear()
        Hearer([learning_model], louder).hear(Task(clip, {after_alike(2): (0,)}))
        judged, *before = read
        assert judged == clip
        assert len(before) == 2
        assert clip not in before
        assert {c.speaker for c in before} == {clip.speaker}
        (emotion,) = {c.emotion for c in before}
        pairs.add((clip.emotion, emotion))
    assert len(pairs) > len(emotions)


def test_two_people_in_turn(learning_model: EmotionModel, tmp_path: Path, read: list[Clip]) -> None:
    speakers = (1001, 1002, 1003)
    data = write_crema_d(tmp_path / "data", speakers=speakers, emotions=("ANG", "NEU", "SAD"), seconds=1.2)
    clips = find_clips(data).clips
    for clip in clips:
        read.clear()
        Hearer([learning_model], clips).hear(Task(clip, {after_two(4): (0,)}))
        judged, *before = read
        assert judged == clip
        own, others = before[::2], before[1::2]
        assert len(own) == len(others) == 2 == len(set(own)) == len(set(others))
        assert clip not in own
        assert {c.speaker for c in own} == {clip.speaker}
        assert len({c.speaker for c in others} - {clip.speaker}) == 1


def test_history_of_a_model_that_learns_nothing(tmp_path: Path) -> None:
    data = write_crema_d(tmp_path / "data", speakers=(1001, 1002), emotions=("ANG", "NEU"), seconds=0.8)
    options = ["-d", str(data), "-o", str(tmp_path / "done"), "--history", "1"]
    result = CliRunner().invoke(app, ["evaluate", "conv1d_lstm", *options])
    assert result.exit_code == 1
    assert "conv1d_lstm.stream.int8 learns nothing of a voice" in result.stderr
