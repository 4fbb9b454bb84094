"""Trainings that start from the weights of another: recipes, what is taken over, and the whole."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import edgeemo
from edgeemo.cli import app
from edgeemo.corpora.labels import LABEL_MAPS, listed
from edgeemo.errors import RecipeError, TrainingError
from edgeemo.places import EXPORT_DIR
from edgeemo.workstation.networks import load_network, take_over
from edgeemo.workstation.training.fit import build_network
from edgeemo.workstation.training.folder import load_run
from edgeemo.workstation.training.protocols import Split
from edgeemo.workstation.training.recipe import load_recipe, recipe_from_dict
from edgeemo.workstation.training.start import check_strangers, columns, recipe_from, too_few
from support.corpora import clip
from support.own import write_class_folders
from support.recipes import SHIPPED, TINY_RECIPE
from support.runs import make_cell

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # Keras' variables


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_model_of_speech_can_be_adapted(name):
    recipe = recipe_from(name, ["training.epochs=3"])
    assert (recipe.name, recipe.protocol.kind, recipe.data.labels) == (f"{name}_own", "clips", "own")
    assert (recipe.training.start, recipe.training.epochs, recipe.data.corpora) == (name, 3, ())
    shipped, _ = load_run(EXPORT_DIR / name)
    assert (recipe.features, recipe.window, recipe.architecture) == (
        shipped.features,
        shipped.window,
        shipped.architecture,
    )
    assert recipe.export.licence == shipped.export.licence


def test_what_cannot_be_started_from():
    with pytest.raises(RecipeError, match="no recipe called 'nothing'"):
        recipe_from("nothing")
    with pytest.raises(TrainingError, match="fer_mlp is a network over images; give one over audio"):
        recipe_from("fer_mlp")
    with pytest.raises(TrainingError, match=r"no weights of resnet50_lstm in .*give a run folder"):
        recipe_from("resnet50_lstm")
    with pytest.raises(RecipeError, match=r"\[training\] epochs is 0"):
        recipe_from("cnn_lstm", ["training.epochs=0"])


def test_labels_are_found_again_under_other_names():
    of = columns(listed(["anger", "bored", "neutral"]), LABEL_MAPS["published7"])
    assert of == [LABEL_MAPS["published7"].labels.index("angry"), None, 0]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A recipe, and a network of it whose normalisation is fitted."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.toml"
    path.write_text(TINY_RECIPE)
    recipe = load_recipe(path)
    keras.utils.set_random_seed(1)
    network = build_network(recipe)
    features = np.random.default_rng(0).normal(-40, 10, (20, *recipe.input_shape)).astype(np.float32)
    network.get_layer("normalisation").adapt(features)
    return recipe, network, features


def relabelled(recipe, labels):
    values = recipe.to_dict()
    values["data"]["labels"] = labels
    return recipe_from_dict(values)


def test_with_the_same_labels_it_is_the_same_network(tiny):
    recipe, network, features = tiny
    other = build_network(recipe)
    take_over(other, network, columns(recipe.label_map, recipe.label_map))
    np.testing.assert_array_equal(other.predict(features, verbose=0), network.predict(features, verbose=0))


def test_known_labels_keep_their_weights_and_new_ones_have_others(tiny):
    recipe, network, features = tiny
    labels = ["sad", "bored", "angry"]
    other = build_network(relabelled(recipe, labels))
    fresh = other.get_layer("probabilities").get_weights()[0]
    take_over(other, network, columns(listed(labels), recipe.label_map))
    kernel, known = (n.get_layer("probabilities").get_weights()[0] for n in (other, network))
    sad, angry = (recipe.label_map.labels.index(label) for label in ("sad", "angry"))
    np.testing.assert_array_equal(kernel[:, [0, 2]], known[:, [sad, angry]])
    np.testing.assert_array_equal(kernel[:, 1], fresh[:, 1])
    # Of the known two, the odds are those of before.
    odds = other.predict(features, verbose=0), network.predict(features, verbose=0)
    np.testing.assert_allclose(odds[0][:, 0] / odds[0][:, 2], odds[1][:, sad] / odds[1][:, angry], rtol=1e-4)


@pytest.mark.parametrize("override", ["architecture.units=[5, 6]", "architecture.units=[6]"])
def test_another_network_is_not_taken_over(tiny, tmp_path, override):
    recipe, network, _ = tiny
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE)
    other = build_network(load_recipe(tmp_path / "tiny.toml", [override]))
    with pytest.raises(ValueError, match="expected"):
        take_over(other, network, columns(recipe.label_map, recipe.label_map))


def test_whoever_the_start_has_heard_is_no_stranger():
    cell = make_cell()
    known, other = (clip(n, emotion="sad", speaker=f"ravdess-0{n}") for n in (1, 9))
    for kind, test, refused in (
        ("speaker", known, True),
        ("corpus", known, True),
        ("clips", known, False),
        ("speaker", other, False),
    ):
        recipe = recipe_from("cnn_lstm", [f"protocol.kind={kind}"])
        split = Split("fold-2", (other,), (), (test,))
        if refused:
            with pytest.raises(
                TrainingError, match="ravdess-01 is to be a stranger in fold-2, but cnn_lstm was"
            ):
                check_strangers(recipe, split, cell)
        else:
            check_strangers(recipe, split, cell)


def test_few_clips_are_said():
    labels = listed(["bliss", "sad"])
    clips = [clip(n, emotion="sad" if n else "bliss") for n in range(7)]
    (line,) = too_few(clips, labels)
    assert line.startswith("bliss has 1 clip: expect little")
    assert too_few([*clips] * 5, labels) == []


@pytest.mark.slow
def test_adapting_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE)
    write_class_folders(tmp_path / "first", n_clips=12)
    write_class_folders(tmp_path / "mine", n_clips=4)
    (tmp_path / "mine" / "joy").rename(tmp_path / "mine" / "bliss")

    def run(*arguments: object):
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None:
            raise result.exception
        return result

    own = ("--corpora", "", "--labels", "own", "--protocol", "random")
    run("train", "--model", "tiny.toml", "--data", "first", *own, "--epochs", 2, "--output", "run")
    adapt = ("train", "--from", "run", "--data", "mine", "--output", "adapted", "--set", "protocol.folds=2")
    adapted = run(*adapt, "--fold", 1)
    assert "bliss has 4 clips, shout has 4 clips: expect little" in adapted.stderr
    assert "SPEAKERS UNKNOWN" in adapted.stderr
    assert "val UAR" not in adapted.stdout

    metrics = json.loads((tmp_path / "adapted" / "metrics.json").read_text())
    assert metrics["labels"] == ["bliss", "shout"]
    assert "validation_uar" not in metrics
    (cell,) = metrics["cells"]
    assert (cell["epochs"], cell["best_epoch"], cell["n_train"]) == (20, 20, 4)
    assert "stopped_on" not in cell
    before, after = (
        load_network(tmp_path / folder / "model.keras").get_layer("normalisation").mean.numpy()
        for folder in ("run/random_seed-0", "adapted/fold-1_seed-0")
    )
    np.testing.assert_array_equal(after, before)
    assert run(*adapt, "--fold", 1).stdout == adapted.stdout, "a finished fold is not trained again"

    run(
        "export",
        "--run",
        "adapted",
        "--data",
        "mine",
        "--output",
        "models",
        "--mode",
        "window",
        "--precision",
        "fp32",
        "--force",
    )
    (model,) = (tmp_path / "models").glob("*.onnx")
    assert edgeemo.load(model).labels == ("bliss", "shout")
    card = " ".join((tmp_path / "models" / "tiny_own.md").read_text().split())
    assert "from the weights of `run` on" in card
    assert "epoch 20, the last" in card


def test_a_recipe_and_a_start_are_one_too_many():
    result = CliRunner().invoke(app, ["train", "--from", "cnn_lstm", "--model", "cnn_lstm", "--data", "."])
    assert result.exit_code == 2
    assert "leave out --model" in " ".join(result.output.split())
