"""A recipe as a file to edit: the same recipe, and every key with what it means."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeemo.cli import app
from edgeemo.places import EXPORT_DIR
from edgeemo.workstation.training.commented import commented
from edgeemo.workstation.training.recipe import load_recipe
from support.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_it_makes_the_same_recipe(name: str, tmp_path: Path) -> None:
    recipe = dataclasses.replace(load_recipe(EXPORT_DIR / f"{name}.toml"), published=None)
    path = tmp_path / "copy.toml"
    path.write_text(commented(recipe))
    assert load_recipe(path) == recipe
    lines = path.read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if line and not line.startswith("#"):
            assert before.startswith("# "), line


def test_what_else_counts_as_a_label(tmp_path: Path) -> None:
    plain = load_recipe(EXPORT_DIR / "cnn_lstm.toml")
    recipe = dataclasses.replace(plain, published=None, labels={"very cross": "angry"})
    (tmp_path / "copy.toml").write_text(commented(recipe))
    assert load_recipe(tmp_path / "copy.toml") == recipe


def test_the_command_writes_one_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = CliRunner().invoke(app, ["new", "mine", "--like", "conv1d_lstm"])
    assert (written.exit_code, written.output.split(":")[0]) == (0, "wrote mine.toml")
    recipe, like = load_recipe(Path("mine.toml")), load_recipe(EXPORT_DIR / "conv1d_lstm.toml")
    assert (recipe.name, recipe.summary) == ("mine", "like conv1d_lstm")
    assert (recipe.training, recipe.architecture) == (like.training, like.architecture)
    before = Path("mine.toml").read_bytes()
    again = CliRunner().invoke(app, ["new", "mine"])
    assert (again.exit_code, again.output) == (
        1,
        "edgeemo: mine.toml is there already; delete it, or give another --output\n",
    )
    assert Path("mine.toml").read_bytes() == before
    assert CliRunner().invoke(app, ["new", "../mine"]).exit_code == 1
