"""From probabilities to what is said: by itself, from a file, and in what the commands print."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

import edgeemo
from edgeemo.answer import UNSURE, Answer, Judgement
from edgeemo.classify import Classifier, ClipScore
from edgeemo.cli import app
from edgeemo.clip import Clip as WholeClip
from edgeemo.corpora.labels import AROUSAL, EMOTIONS
from edgeemo.errors import ModelError
from edgeemo.metadata import Metadata
from edgeemo.model import EmotionModel
from edgeemo.utterances import QUIET
from support.events import steps_in, steps_in_lines
from support.mutants import with_metadata
from support.signals import voice_like

LABELS = ("sad", "happy", "disgust")
SURE = Judgement.of(LABELS)
ANY_SOUND = {"needs_voice": False, "arousal": SURE.arousal}


@st.composite
def tables(draw: st.DrawFn) -> dict[str, float]:
    """Probabilities of some emotions, as a softmax gives them: some may be 0."""
    labels = draw(st.lists(st.sampled_from(EMOTIONS), min_size=2, unique=True))
    weights = draw(st.lists(st.floats(0, 1), min_size=len(labels), max_size=len(labels)))
    weights[draw(st.integers(0, len(labels) - 1))] = 1.0
    return {label: weight / sum(weights) for label, weight in zip(labels, weights, strict=True)}


TEMPERATURES = st.floats(0.05, 20)


# --- Judging


@given(tables(), TEMPERATURES)
def test_calibration_keeps_the_order_and_the_sum(table: dict[str, float], temperature: float) -> None:
    before = list(table.values())
    after = Judgement(temperature=temperature, arousal={}).calibrated(before)
    assert math.fsum(after) == pytest.approx(1)
    assert all(0 <= p <= 1 for p in after)
    order = np.argsort(before, kind="stable")
    assert (np.diff(np.array(after)[order]) >= 0).all()
    # Of two that differ by rounding alone, either may come out first.
    assert before[after.index(max(after))] == pytest.approx(max(before))


@given(tables())
def test_a_temperature_of_1_changes_nothing(table: dict[str, float]) -> None:
    assert Judgement(arousal={}).calibrated(list(table.values())) == list(table.values())


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=9), TEMPERATURES)
def test_calibration_divides_the_logits(logits: list[float], temperature: float) -> None:
    def softmax(x: np.ndarray) -> np.ndarray:
        e = np.exp(x - x.max())
        return e / e.sum()

    found = Judgement(temperature=temperature, arousal={}).calibrated(softmax(np.array(logits)).tolist())
    np.testing.assert_allclose(found, softmax(np.array(logits) / temperature), atol=1e-9)


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e308])
@pytest.mark.parametrize("probabilities", [[1.0, 0.0], [0.6, 0.4], [0.0, 0.0], [1e-320, 0.0]])
def test_the_ends_of_what_floats_can_hold(temperature: float, probabilities: list[float]) -> None:
    found = Judgement(temperature=temperature, arousal={}).calibrated(probabilities)
    assert all(0 <= p <= 1 for p in found)


@given(tables(), TEMPERATURES, st.floats(0, 0.999), st.randoms())
def test_the_order_of_the_labels_changes_nothing(
    table: dict[str, float], temperature: float, unsure_below: float, random: Any
) -> None:
    judgement = dataclasses.replace(
        Judgement.of(EMOTIONS), temperature=temperature, unsure_below=unsure_below
    )
    answer = judgement.answer(table)
    shuffled = judgement.answer(dict(random.sample(list(table.items()), len(table))))
    # Of two that are as probable, once tempered, the first is named.
    if list(answer.probabilities.values()).count(max(answer.probabilities.values())) == 1:
        assert shuffled == answer
    assert shuffled.probabilities == answer.probabilities
    assert shuffled.arousal == answer.arousal


@given(tables(), TEMPERATURES, st.dictionaries(st.sampled_from(EMOTIONS), st.floats(0, 1)))
def test_arousal_is_a_share(table: dict[str, float], temperature: float, of: dict[str, float]) -> None:
    arousal = Judgement(temperature=temperature, arousal=of).answer(table).arousal
    assert arousal is None or 0 <= arousal <= 1


def test_arousal_is_the_share_of_the_agitated_labels() -> None:
    answer = SURE.answer({"sad": 0.1, "happy": 0.3, "disgust": 0.6})
    assert answer == Answer(
        label="disgust",
        reason=None,
        probabilities={"sad": 0.1, "happy": 0.3, "disgust": 0.6},
        arousal=pytest.approx(0.75),
    )
    assert SURE.answer({"sad": 0.0, "happy": 0.0, "disgust": 1.0}).arousal is None, "nothing to share"
    assert Judgement.of(("sad", "calm")).answer({"sad": 0.5, "calm": 0.5}).arousal is None, "one side alone"
    assert Judgement.of(("low", "high")).answer({"low": 0.5, "high": 0.5}).arousal is None
    hotter = dataclasses.replace(SURE, temperature=2.0).answer({"sad": 0.09, "happy": 0.25, "disgust": 0.66})
    assert hotter.arousal == pytest.approx(0.5 / 0.8), "of calibrated probabilities"


def test_which_emotions_have_no_side() -> None:
    assert set(EMOTIONS) - set(AROUSAL) == {"disgust", "boredom", "frustration"}
    assert set(AROUSAL.values()) == {0.0, 1.0}


def test_a_label_is_named_if_it_is_probable_enough() -> None:
    table = {"sad": 0.5, "happy": 0.3, "disgust": 0.2}
    for threshold, label in ((0.0, "sad"), (0.5, "sad"), (0.5000001, None), (0.9, None)):
        answer = dataclasses.replace(SURE, unsure_below=threshold).answer(table)
        assert (answer.label, answer.reason) == (label, None if label else UNSURE)
        assert answer.judged
        assert answer.arousal == pytest.approx(0.375), "claimed all the same"
    calibrated = dataclasses.replace(SURE, unsure_below=0.45, temperature=2.0).answer(table)
    assert calibrated.label is None, "the threshold is for the calibrated probability"


def test_where_there_is_nothing_to_judge() -> None:
    table = {"sad": 0.5, "happy": 0.5, "disgust": 0.0}
    answer = SURE.answer(table, reason="no speech")
    assert answer == Answer(label=None, reason="no speech", probabilities=table, arousal=None)
    assert not answer.judged


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; it must be positive"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"unsure_below": 1.0}, "unsure_below is 1.0; it must be from 0 to below 1"),
        ({"unsure_below": -0.1}, "unsure_below is -0.1"),
        ({"unsure_below": math.nan}, "unsure_below is nan"),
        ({"arousal": {"sad": 1.5}}, "arousal of 'sad' is 1.5; it must be from 0 to 1"),
        ({"arousal": {"sad": math.nan}}, "arousal of 'sad' is nan"),
    ],
)
def test_what_no_judgement_can_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message) as error:
        Judgement(**{"arousal": {}, **values})
    assert "\n" not in str(error.value)


# --- From a file

Make = Callable[..., Path]


@pytest.fixture
def emotional(either_model_path: Path, tmp_path: Path) -> Make:
    """Write the tiny model with emotions as labels, and a judgement as JSON; without one, as an older file."""

    def make(judgement: Any = None, name: str = "emotional.onnx") -> Path:
        values = EmotionModel(either_model_path).metadata.to_dict() | {"labels": LABELS}
        del values["judgement"]
        content = bytearray(either_model_path.read_bytes())
        given = {} if judgement is None else {"judgement": judgement}
        with_metadata(content, json.dumps(values | given).encode())
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return make


def test_older_files_are_judged_by_their_labels(emotional: Make, either_model: EmotionModel) -> None:
    for path in (emotional(), emotional({})):
        model = edgeemo.load(path)
        assert model.metadata.judgement is None
        assert model.judgement == SURE == Judgement(arousal={"sad": 0.0, "happy": 1.0})
    assert either_model.judgement == Judgement(arousal={}, needs_voice=False)


def test_a_file_carries_its_judgement(emotional: Make) -> None:
    judgement = Judgement(temperature=1.5, unsure_below=0.4, arousal={"sad": 0.0, "happy": 1.0})
    model = edgeemo.load(emotional(judgement.to_dict()))
    assert model.judgement == judgement
    read = Metadata.from_json(model.metadata.to_json(), source="it")
    assert read == model.metadata
    assert edgeemo.load(emotional(judgement.to_dict()), judgement=SURE).judgement == SURE


@pytest.mark.parametrize(
    ("judgement", "message"),
    [
        ([], r"'?judgement'? is \[\], expected a table"),
        ({"temperature": 1.5}, "'judgement.arousal' is missing"),
        ({"arousal": {"sad": "low"}}, "judgement.arousal.sad is 'low', expected a number"),
        ({"arousal": {}, "temperature": 0}, "temperature is 0; it must be positive"),
        ({"arousal": {}, "unsure_below": 2}, "unsure_below is 2; it must be"),
    ],
)
def test_a_broken_judgement_is_one_line(emotional: Make, judgement: Any, message: str) -> None:
    with pytest.raises(ModelError, match=f"broken edgeemo metadata .*{message}") as error:
        edgeemo.load(emotional(judgement))
    assert "\n" not in str(error.value)


# --- In what is said of audio


@pytest.fixture
def model(emotional: Make) -> EmotionModel:
    return edgeemo.load(emotional({"temperature": 2.0, "unsure_below": 0.45, **ANY_SOUND}))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.concatenate([voice_like(3.0, 16000), np.zeros(32000, np.float32)]), 16000)
    return path


def test_the_mean_over_a_clip_is_taken_first(model: EmotionModel, emotional: Make, clip: Path) -> None:
    raw = edgeemo.load(emotional(ANY_SOUND, name="raw.onnx")).classify(clip)
    score = model.classify(clip)
    expected = model.judgement.answer(raw.probabilities)
    assert (score.label, score.reason, score.arousal) == (expected.label, expected.reason, expected.arousal)
    assert score.probabilities == expected.probabilities != raw.probabilities
    assert raw.arousal is not None
    [of_command] = Classifier([model]).classify([clip])
    assert of_command == ClipScore(**vars(score), path=clip)


def test_steps_are_judged_and_pauses_are_not(model: EmotionModel, emotional: Make, clip: Path) -> None:
    def heard(by: EmotionModel) -> list[edgeemo.Step]:
        return steps_in(edgeemo.listen(edgeemo.AudioFile(clip, realtime=False), by))

    steps = heard(model)
    assert {step.reason for step in steps} == {None, UNSURE, QUIET}, "the test cannot fail"
    for step, raw in zip(steps, heard(edgeemo.load(emotional(ANY_SOUND, name="raw.onnx"))), strict=True):
        assert (step.reason == QUIET) == step.paused == raw.paused
        expected = model.judgement.answer(raw.probabilities, reason=QUIET if step.paused else None)
        assert {key: getattr(step, key) for key in vars(expected)} == vars(expected)
        assert (step.arousal is None) == step.paused


def test_a_timeline_is_judged_row_by_row(model: EmotionModel, clip: Path) -> None:
    rows = list(Classifier([model]).timeline(clip))
    assert len({row.reason for row in rows}) > 1, "the test cannot fail"
    for row, moment in zip(rows, model.moments(WholeClip.of_file(clip, 16000)), strict=True):
        expected = model.answer(moment.probabilities, reason=moment.reason)
        assert {key: getattr(row, key) for key in vars(expected)} == vars(expected)
        assert (row.to_dict()["probabilities"] is None) == (moment.reason is not None)


def test_models_are_averaged_after_each_is_calibrated(emotional: Make, clip: Path) -> None:
    temperatures = (1.0, 3.0)
    models = [
        edgeemo.load(emotional({"temperature": t, "unsure_below": 0.4, **ANY_SOUND})) for t in temperatures
    ]
    [score] = Classifier(models).classify([clip])
    each = [model.classify(clip) for model in models]
    for label in LABELS:
        assert score.probabilities[label] == pytest.approx(np.mean([s.probabilities[label] for s in each]))
    assert score.label == (
        max(score.probabilities, key=score.probabilities.__getitem__)
        if max(score.probabilities.values()) >= 0.4
        else None
    )


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_models_that_pass_elsewhere_are_not_averaged(emotional: Make, clip: Path) -> None:
    paths = [emotional({"unsure_below": t, **ANY_SOUND}, name=f"{t}.onnx") for t in (0.25, 0.375)]
    both = ["classify", "-m", paths[0], "-m", paths[1], clip]
    result = run(*both)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (3, "", 1)
    assert "0.375.onnx is unsure below 0.375" in result.stderr
    assert run(*both, "--unsure-below", "0.3").exit_code == 0


# --- The commands


def test_listen_says_why_there_is_no_label(emotional: Make, clip: Path) -> None:
    arguments = ["listen", "--model", emotional(ANY_SOUND), "--file", clip, "--fast"]
    result = run(*arguments, "--json", "--unsure-below", 0.6, "--temperature", 2)
    assert result.exit_code == 0, result.output
    lines = steps_in_lines(result.stdout)
    assert {line["reason"] for line in lines} == {None, UNSURE, QUIET}, "the test cannot fail"
    for line in lines:
        assert (line["label"] is None) == (line["reason"] is not None)
        assert (line["reason"] == QUIET) == line["paused"] == (line["arousal"] is None)
        assert line["label"] is None or line["probabilities"][line["label"]] >= 0.6
        assert line["reason"] != UNSURE or max(line["probabilities"].values()) < 0.6
    plain = run(*arguments, "--unsure-below", 0.6, "--temperature", 2).stdout
    assert "(unsure)" in plain
    assert "arousal 0." in plain
    assert "unsure in " in plain
    assert "(unsure)" not in run(*arguments).stdout


@pytest.mark.parametrize("timeline", [[], ["--timeline"]])
def test_classify_says_why_there_is_no_label(emotional: Make, clip: Path, timeline: list[str]) -> None:
    arguments = ["classify", "-m", emotional(ANY_SOUND), clip, "--unsure-below", 0.999, *timeline]
    rows = json.loads(run(*arguments, "-f", "json").stdout)
    facts = ["start_s", "end_s"] if timeline else ["duration_s"]
    n_windows = [] if timeline else ["n_windows"]
    assert list(rows[0]) == [
        "path",
        *facts,
        "label",
        "reason",
        "arousal",
        "probabilities",
        *n_windows,
        "error",
    ]
    unsure = [row for row in rows if row["reason"] == UNSURE]
    assert unsure
    for row in unsure:
        assert row["label"] is None
        assert list(row["probabilities"]) == list(LABELS)
        agitated, calm = row["probabilities"]["happy"], row["probabilities"]["sad"]
        assert row["arousal"] == pytest.approx(agitated / (agitated + calm), abs=1e-3)
    of_csv = list(csv.DictReader(io.StringIO(run(*arguments, "-f", "csv").stdout)))
    assert [row["arousal"] for row in of_csv] == [
        "" if row["arousal"] is None else str(row["arousal"]) for row in rows
    ]
    assert [float(row["p_sad"]) for row in of_csv if row["reason"] == UNSURE] == [
        row["probabilities"]["sad"] for row in unsure
    ]
    table = run(*arguments)
    assert "(unsure)" in table.stdout
    assert f"{unsure[0]['arousal']:.2f}" in table.stdout
    if not timeline:
        assert table.stderr == "1 of 1 got no label: silent, too short or unsure\n"


@pytest.mark.parametrize("command", ["listen", "classify", "evaluate"])
@pytest.mark.parametrize(
    "options", [("--unsure-below", "1"), ("--temperature", "0"), ("--temperature", "nan")]
)
def test_impossible_options(command: str, options: tuple[str, str], emotional: Make, clip: Path) -> None:
    where = {
        "listen": ("--model", emotional(), "--file", clip),
        "classify": ("--model", emotional(), clip),
        "evaluate": (emotional(), "--data", clip.parent),
    }
    result = run(command, *where[command], *options)
    assert result.exit_code == 2
    assert f"{options[0][2:].replace('-', '_')} is {float(options[1])}" in result.stderr
