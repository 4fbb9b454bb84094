"""From one's own recordings to a model: what a recipe leaves to the data; speakers that nobody knows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import edgeemo
from edgeemo.cli import app
from edgeemo.corpora.find import find_clips
from edgeemo.corpora.labels import LABEL_MAPS, OWN, listed
from edgeemo.corpora.manifest import Manifest
from edgeemo.errors import CorpusError, RecipeError
from edgeemo.workstation.training.protocols import split
from edgeemo.workstation.training.recipe import Protocol, Recipe, load_recipe, recipe_from_dict, with_data
from edgeemo.workstation.training.speech import SpeechDataset
from edgeemo.workstation.training.voices import voices
from support.corpora import clip
from support.own import write_class_folders
from support.recipes import TINY_RECIPE

OWN_RECIPE = TINY_RECIPE.replace('corpora = ["ravdess"]', 'corpora = []\nlabels = "own"')


def recipe(tmp_path: Path, *overrides: str, text: str = OWN_RECIPE) -> Recipe:
    path = tmp_path / "tiny.toml"
    path.write_text(text)
    return load_recipe(path, overrides)


def mine(*labels: str, corpus: str = "mine", speaker: str = "") -> Manifest:
    return Manifest(
        tuple(clip(n, emotion=label, corpus=corpus, speaker=speaker) for n, label in enumerate(labels))
    )


# --- recipes -------------------------------------------------------------------------------------------


def test_what_a_recipe_leaves_to_the_data(tmp_path):
    left = recipe(tmp_path)
    assert (left.data.corpora, left.data.labels) == ((), OWN)
    with pytest.raises(RecipeError, match="only the data say"):
        _ = left.label_map
    found = SpeechDataset(left, mine("shout", "happy", "Zest", "happy")).recipe
    assert found.data.corpora == ("mine",)
    assert found.data.labels == found.label_map.labels == ("Zest", "happy", "shout")
    assert found.label_map.name == OWN
    assert recipe_from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert with_data(found, ()) is found


def test_labels_are_mapped_by_the_recipe(tmp_path):
    text = OWN_RECIPE + '[labels]\njoy = "good"\nZest = "good"\n'
    found = SpeechDataset(recipe(tmp_path, text=text), mine("shout", "happy", "Zest"))
    assert found.recipe.data.labels == ("good", "shout")
    assert [found.recipe.label_map.index(item.emotion) for item in found.items] == [1, 0, 0]


def test_listed_labels_leave_the_others_out(tmp_path):
    wanted = recipe(tmp_path, 'data.labels=["anger", "Zest"]', 'labels.shout="anger"')
    found = SpeechDataset(wanted, mine("shout", "angry", "happy", "Zest"))
    assert found.recipe.label_map.labels == ("anger", "Zest")
    assert [item.emotion for item in found.items] == ["shout", "angry", "Zest"]
    assert "left out, having no label of the recipe: happy 1" in found.understood


def test_a_recipe_without_such_labels_is_written_as_ever(tmp_path):
    known = recipe(tmp_path, text=TINY_RECIPE)
    assert "labels" not in known.to_dict()
    assert known.label_map is LABEL_MAPS["published7"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ('data.labels="mine"', r"\[data\] labels is 'mine', expected ravdess8 or .* or own, or a list"),
        ('data.labels=["a"]', "expected .* a list of two or more different labels"),
        ('data.labels=["joy", "happy"]', "expected .* a list of two or more different labels"),
        ("data.labels=7", r"\[data\] labels is 7, expected text"),
        ("labels.rage=7", r"\[labels\] is .*, expected labels in quotes"),
        ('labels="rage"', "labels is 'rage', expected a table"),
    ],
)
def test_labels_that_are_none(tmp_path, override, message):
    values = recipe(tmp_path).to_dict()
    section, _, key = override.partition("=")[0].partition(".")
    value = eval(override.partition("=")[2])
    values[section] = {**values.get(section, {}), key: value} if key else value
    with pytest.raises(RecipeError, match=message):
        recipe_from_dict(values)


def test_a_mapping_to_no_label(tmp_path):
    with pytest.raises(RecipeError, match=r"\[labels\] maps to 'rage', expected one of neutral, angry"):
        recipe(tmp_path, "data.labels=published7", "labels.fury=rage")


def test_data_of_one_label_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="two or more different labels"):
        SpeechDataset(recipe(tmp_path), mine("happy", "happy"))


# --- protocols -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["speaker", "session", "corpus"])
def test_protocols_that_need_speakers_say_what_is_possible(kind):
    clips = mine(*["a", "b"] * 10).clips
    with pytest.raises(CorpusError) as caught:
        split(clips, Protocol(kind=kind), listed(["a", "b"]))
    assert "mine: speakers are unknown; use --protocol random" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_holdout_takes_the_parts_of_the_data():
    clips = mine(*["a", "b"] * 9).clips
    parts = ("train", "validation", "test")
    items = [dataclasses.replace(c, part=parts[n // 2 % 3]) for n, c in enumerate(clips)]
    (fold,) = split(items, Protocol(kind="holdout"), listed(["a", "b"]))
    assert [{c.part for c in part} for part in (fold.train, fold.validation, fold.test)] == [
        {p} for p in parts
    ]


def test_singers_are_in_the_fold_of_their_speech():
    items = [
        clip(100 * n + 10 * k + m, emotion=label, corpus=corpus, speaker=f"ravdess-{n:02}")
        for n in range(1, 7)
        for k, corpus in enumerate(("ravdess", "ravdess_song"))
        for m, label in enumerate(("happy", "sad"))
    ]
    folds = split(items, Protocol(folds=3, validation_speakers=1), listed(["happy", "sad"]))
    tested = [speaker for fold in folds for speaker in {c.speaker for c in fold.test}]
    assert sorted(tested) == [f"ravdess-{n:02}" for n in range(1, 7)]
    for fold in folds:
        train, validation, test = (
            {c.speaker for c in part} for part in (fold.train, fold.validation, fold.test)
        )
        assert not train & validation | train & test | validation & test
        assert {c.corpus for c in fold.test} == {"ravdess", "ravdess_song"}


def test_whoever_is_unknown_is_no_voice_of_their_own():
    assert set(voices(mine("a", "b", "a").clips)) == {"one clip each, mine"}


# --- the whole -----------------------------------------------------------------------------------------


def run(*arguments: object) -> Result:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' variables
def test_from_a_folder_of_clips_to_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = write_class_folders(tmp_path / "mine", n_clips=12)
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE)
    run("data", root, "-o", "m.csv")
    options = ("--model", "tiny.toml", "--corpora", "", "--labels", "own", "--epochs", 2, "--output", "run")
    refused = CliRunner().invoke(app, ["train", "--data", "m.csv", *map(str, options)])
    assert isinstance(refused.exception, CorpusError | SystemExit)
    assert "speakers are unknown; use --protocol random" in refused.output + str(refused.exception)

    trained = run("train", "--data", "m.csv", *options, "--protocol", "random")
    assert "SPEAKERS UNKNOWN" in trained.stderr
    assert "24 clips: happy 12, shout 12" in trained.stderr
    assert "test speakers" not in trained.stdout
    kept = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert kept["data"] | {"cached": False} == {
        "corpora": ["mine"],
        "labels": ["happy", "shout"],
        "cached": False,
    }

    exported = run(
        *("export", "--run", "run", "--data", "m.csv", "--output", "models"),
        *("--mode", "window", "--precision", "fp32"),
    )
    assert "SPEAKERS UNKNOWN" in exported.stderr
    assert "test clips of the weights' own fold, whose speakers are unknown" in " ".join(
        exported.stdout.split()
    )
    card = (tmp_path / "models" / "tiny.md").read_text()
    assert "Random split. Speakers are unknown" in card
    assert "UAR: speakers unknown, " in card
    assert "Test speakers" not in card
    assert "held-out speakers" not in card

    (model,) = (tmp_path / "models").glob("*.onnx")
    assert edgeemo.load(model).labels == ("happy", "shout")
    evaluated = run("evaluate", model, "--data", "m.csv", "--output", "e", "--robustness", 0, "--heard")
    assert "SPEAKERS UNKNOWN" in evaluated.stderr
    page = (tmp_path / "e" / "evaluation.html").read_text()
    assert "over 24 clips of unknown speakers" in page
    assert "bootstrap over clips" in page
    assert "speakers never heard" not in page
    assert "strangers" not in page

    clip = next((root / "joy").glob("*.wav"))
    heard = run("listen", "--model", model, "--file", clip, "--fast", "--json", "--any-sound")
    steps = [json.loads(line) for line in heard.stdout.splitlines()]
    assert {step["label"] for step in steps if step.get("label")} <= {"happy", "shout"}
    assert any(step.get("label") for step in steps)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' variables
def test_named_speakers_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = write_class_folders(tmp_path / "mine", n_clips=8)
    (tmp_path / "tiny.toml").write_text(OWN_RECIPE)
    trained = run(
        *("train", "--model", "tiny.toml", "--data", root, "--epochs", 1, "--output", "run", "--fold", 1),
        *("--speaker-pattern", r"(s\d)_"),
    )
    assert "4 speakers" in trained.stderr
    assert "2 test speakers" in trained.stdout
    assert find_clips(root).clips  # the folder itself still says nothing of them
