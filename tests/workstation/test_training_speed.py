"""Milliseconds per training step beside milliseconds per inference."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from edgeemo.bench.latency import Latency
from edgeemo.cli import app
from edgeemo.workstation import training_speed as speed_module
from edgeemo.workstation.training.recipe import Published, Recipe, load_recipe, recipe_from_dict
from edgeemo.workstation.training_speed import Speed, plot, rows, to_json, to_markdown, training_speed
from support.recipes import TINY_RECIPE


def image_recipe(name: str, builder: str, published_ms: float | None, **settings: object) -> Recipe:
    return recipe_from_dict({
        "name": name,
        "summary": "for tests",
        "architecture": {"builder": builder, **settings},
        "image": {"height": 8, "width": 8},
        "data": {"corpora": ["fashion_mnist"], "labels": "fashion10"},
        "protocol": {"kind": "holdout"},
        "published": {"source": "x"} | ({"training_step_ms": published_ms} if published_ms else {}),
    })  # fmt: skip


@pytest.mark.slow
def test_measures_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE)
    cnn = image_recipe("fashion_cnn", "fashion_cnn", 16.0, filters=[4], hidden=4)
    mlp = image_recipe("fer_mlp", "fer_mlp", None, units=[4])
    told: set[str] = set()
    speeds = training_speed(
        [cnn, mlp, load_recipe(tmp_path / "tiny.toml")],
        n_training_steps=6,
        n_inferences=12,
        on_progress=lambda what, done, total: told.add(what),
    )
    assert [s.recipe.name for s in speeds] == ["fashion_cnn", "fer_mlp", "tiny"]
    assert [s.kind for s in speeds] == ["image", "image", "speech"]
    assert [(s.training_ms.n, s.inference_ms.n) for s in speeds] == [(6, 12)] * 3
    # Forward, backward and update of 32 inputs take longer than one input forward.
    assert all(s.training_ms.p50_ms > s.inference_ms.p50_ms > 0 for s in speeds)
    assert "training steps" in told
    kept = json.loads(to_json(speeds))["networks"]
    assert kept[0]["training_ms"]["p50"] == speeds[0].training_ms.p50_ms


def made(
    name: str, training_ms: float, inference_ms: float, published_ms: float | None, recipe: Recipe
) -> Speed:
    published = Published(source="x", training_step_ms=published_ms)
    return Speed(
        recipe=dataclasses.replace(recipe, name=name, published=published),
        n_parameters=1000,
        training_ms=Latency("training step", np.array([training_ms] * 3)),
        inference_ms=Latency("model", np.array([inference_ms] * 3)),
    )


def test_ratios_are_to_the_cnn_of_the_same_kind(small_recipe: Recipe) -> None:
    image = image_recipe("any", "fer_mlp", None)
    table = rows([
        made("fashion_lstm", 10.0, 0.2, 13.0, image),
        made("fashion_cnn", 20.0, 0.1, 16.0, image),
        made("fashion_lstm2", 50.0, 0.4, 37.0, image),
        made("pure_cnn", 100.0, 1.0, None, small_recipe),
        made("pure_lstm", 300.0, 2.0, None, small_recipe),
    ])  # fmt: skip
    assert [row["x CNN"] for row in table] == ["0.50", "1.00", "2.50", "1.00", "3.00"]
    assert [row["published x CNN"] for row in table] == ["0.81", "1.00", "2.31", "", ""]
    assert [row["inference x CNN"] for row in table] == ["2.00", "1.00", "4.00", "1.00", "2.00"]
    assert [row["published ms"] for row in table] == ["13", "16", "37", "", ""]
    assert "| fashion_lstm2 |" in to_markdown([made("fashion_lstm2", 50.0, 0.4, 37.0, image)])


def test_the_plot_shows_what_was_measured(small_recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(speed_module, "save_figure", lambda figure, path: drawn.append(figure))
    image = image_recipe("any", "fer_mlp", None)
    plot(
        [made("fashion_cnn", 20.0, 0.1, 16.0, image), made("pure_cnn", 100.0, 1.0, None, small_recipe)],
        Path(),
    )
    left, right = drawn[0].axes
    assert [bar.get_width() for bar in left.patches] == [20.0, 100.0]
    assert [bar.get_width() for bar in right.patches] == [0.1, 1.0]
    assert [label.get_text() for label in left.get_yticklabels()] == ["fashion_cnn", "pure_cnn"]
    (published,) = left.lines
    assert published.get_xydata().tolist() == [[16.0, 0.0]]
    colours = [bar.get_facecolor() for bar in left.patches]
    assert colours[0] != colours[1], "images and speech look alike"


def test_without_a_cnn_there_are_no_ratios() -> None:
    (row,) = rows([made("fashion_lstm", 10.0, 0.2, 13.0, image_recipe("any", "fer_mlp", None))])
    assert (row["x CNN"], row["published x CNN"], row["inference x CNN"]) == ("", "", "")


@pytest.mark.slow
def test_command(tmp_path: Path) -> None:
    recipe = tmp_path / "mlp.toml"
    recipe.write_text(
        'name = "mlp"\nsummary = "for tests"\n[architecture]\nbuilder = "fer_mlp"\nunits = [4]\n'
        '[image]\nheight = 8\nwidth = 8\n[data]\ncorpora = ["fer2013"]\nlabels = "fer7"\n'
    )
    table = tmp_path / "speed.md"
    arguments = ["bench", "--training", "--model", str(recipe), "--steps", "5", "--markdown", str(table)]
    done = CliRunner().invoke(app, [*arguments, "--json", str(tmp_path / "speed.json")])
    assert done.exit_code == 0, done.output
    assert "mlp" in done.output
    assert "| mlp | 295 |" in table.read_text()
    assert (tmp_path / "speed.png").is_file()
    assert (
        len(json.loads((tmp_path / "speed.json").read_text())["networks"][0]["training_ms"]["values"]) == 200
    )
