"""Plots: what is drawn, before it is a file; and that the file is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgeemo.workstation.study.grid import Setting
from edgeemo.workstation.study.report import Result, curves_figure, scores_figure
from edgeemo.workstation.training.folder import write_history
from edgeemo.workstation.training.metrics import HistoryRow
from edgeemo.workstation.training.plots import (
    confusion_figure,
    history_figure,
    images_figure,
    save_figure,
)
from edgeemo.workstation.training.recipe import Recipe
from support.runs import make_cell, make_scores

HISTORY = [
    HistoryRow(
        epoch=epoch,
        loss=2 - 0.5 * epoch,
        accuracy=0.2 * epoch,
        val_loss=val_loss,
        val_accuracy=0.1 * epoch,
        val_uar=0.15 * epoch,
        learning_rate=0.01,
    )
    for epoch, val_loss in enumerate([1.9, 1.2, 1.4], start=1)
]


def lines(axis: Axes) -> dict[str, list[float]]:
    """The values of each line by its label."""
    return {str(line.get_label()): list(line.get_ydata()) for line in axis.lines}


def test_a_history_shows_all_curves_and_the_kept_epoch() -> None:
    figure = history_figure(HISTORY, title="tiny, fold-1, seed 0")
    left, right = figure.axes
    assert left.get_title() == "tiny, fold-1, seed 0 (pale: training, full: validation)"
    assert (left.get_xlabel(), left.get_ylabel()) == ("epoch", "loss")
    assert right.get_ylabel() == "accuracy; UAR (red)"
    of_left, of_right = lines(left), lines(right)
    assert of_left["training"] == [1.5, 1.0, 0.5]
    assert of_left["validation"] == [1.9, 1.2, 1.4]
    assert of_right["training"] == pytest.approx([0.2, 0.4, 0.6])
    assert of_right["validation"] == pytest.approx([0.1, 0.2, 0.3])
    assert of_right["validation UAR"] == pytest.approx([0.15, 0.3, 0.45])
    assert all(list(line.get_xdata()) == [1, 2, 3] for line in [*left.lines[:2], *right.lines])
    (kept,) = (line for line in left.lines if line.get_label() == "kept")
    assert set(kept.get_xdata()) == {2}, "of the lowest validation loss"
    assert left.get_ylim()[0] == 0
    assert right.get_ylim() == (0, 1)


def test_a_confusion_matrix_shows_counts_and_recalls() -> None:
    figure = confusion_figure(make_scores(0.375), ["neutral", "happy", "sad"], title="tiny: test")
    (axis,) = figure.axes
    assert axis.get_title() == "tiny: test\nUAR 0.375, 10 clips"
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")
    for ticks in (axis.get_xticklabels(), axis.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == ["neutral", "happy", "sad"]
    np.testing.assert_allclose(axis.images[0].get_array(), [[0.5, 0.5, 0], [0.25, 0.25, 0.5], [0, 0, 0]])
    counts = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axis.texts}
    assert counts == {(0, 0): "3", (0, 1): "3", (1, 0): "1", (1, 1): "1", (1, 2): "2"}


def test_images_show_right_answers_then_wrong_ones() -> None:
    truth, predicted = np.array([0] * 7 + [1]), np.array([0] * 5 + [1, 1] + [1])
    pixels = np.arange(8, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    figure = images_figure(pixels, truth, predicted, ["bag", "coat"])
    axes = np.array(figure.axes).reshape(2, 8)

    def shown(row: Sequence[Axes]) -> list[tuple[int, str, str] | None]:
        return [
            (
                int(axis.images[0].get_array()[0, 0]),
                axis.get_title(),
                str(axis.title.get_color()),
            )
            if axis.images
            else None
            for axis in row
        ]

    right, wrong = [(i, "bag", "black") for i in range(4)], [(i, "coat", "tab:red") for i in (5, 6)]
    assert shown(axes[0]) == [*right, *wrong, None, None]
    assert shown(axes[1]) == [(7, "coat", "black"), *[None] * 7]
    assert [row[0].texts[0].get_text() for row in axes] == ["bag", "coat"]
    assert not any(axis.axison for axis in figure.axes)


@pytest.fixture
def results(small_recipe: Recipe, tmp_path: Path) -> list[Result]:
    """Two settings: two finished cells of one, a failed one of the other."""
    first, second = (Setting(small_recipe, {"architecture.dropout": value}) for value in ("0.1", "0.2"))
    finished = []
    for seed, (uar, macro_f1) in enumerate(((0.4, 0.3), (0.6, 0.5))):
        folder = tmp_path / str(seed)
        rows = [dataclasses.replace(row, val_loss=row.val_loss + seed) for row in HISTORY]
        write_history(folder, rows)
        cell = make_cell(seed=seed, test=make_scores(uar, macro_f1=macro_f1))
        finished.append(Result(first, "fold-1", seed, cell, "", folder))
    return [*finished, Result(second, "fold-1", 0, None, "out of memory", tmp_path / "none")]


def test_scores_of_a_study(results: list[Result]) -> None:
    figure = scores_figure(results)
    (axis,) = figure.axes
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["dropout = 0.1", "dropout = 0.2"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["test UAR", "test macro-F1"]
    bars = [[bar.get_width() for bar in container] for container in axis.containers if len(container) == 2]
    assert bars == [pytest.approx([0.5, 0.0]), pytest.approx([0.4, 0.0])]
    whiskers = [collection.get_segments() for collection in axis.collections]
    half = 0.02**0.5  # the standard deviation of two values 0.2 apart
    for of_score, mean in zip(whiskers, (0.5, 0.4), strict=True):
        np.testing.assert_allclose(of_score[0][:, 0], [mean - half, mean + half])
        np.testing.assert_allclose(of_score[1][:, 0], [0, 0])
    chance = [line for line in axis.lines if line.get_linestyle() == ":"]
    assert [set(line.get_xdata()) for line in chance] == [{1 / 7}]
    assert axis.yaxis_inverted(), "the first setting is not on top"


def test_curves_of_a_study(results: list[Result]) -> None:
    figure = curves_figure(results)
    assert figure.get_suptitle() == "validation loss (blue, left) and UAR (orange, right)"
    assert figure.get_supxlabel() == "epoch"
    panels, others = figure.axes[:2], figure.axes[2:]
    assert [panel.get_title() for panel in panels] == ["dropout = 0.1", "dropout = 0.2"]
    assert [list(line.get_ydata()) for line in panels[0].lines] == [
        [1.9, 1.2, 1.4],
        [2.9, 2.2, 2.4],
    ]
    assert [list(line.get_ydata()) for line in others[0].lines] == [pytest.approx([0.15, 0.3, 0.45])] * 2
    assert not [*panels[1].lines, *others[1].lines], "a failed cell has no curve"


def test_unused_panels_are_empty(results: list[Result]) -> None:
    """Four settings in rows of three."""
    first = results[0]
    values = [dict(first.setting.values, **{"training.epochs": str(n)}) for n in range(4)]
    four = [dataclasses.replace(first, setting=Setting(first.setting.recipe, v)) for v in values]
    figure = curves_figure(four)
    assert [axis.axison for axis in figure.axes[:6]] == [True] * 4 + [False] * 2


def test_a_file_is_replaced_by_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plots" / "history.png"
    figure = history_figure(HISTORY, title="")
    save_figure(figure, path)
    before = path.read_bytes()
    assert before.startswith(b"\x89PNG")

    def half(self: Figure, path: Path, **_: object) -> None:
        path.write_bytes(b"\x89P")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(KeyboardInterrupt):
        save_figure(figure, path)
    assert path.read_bytes() == before
