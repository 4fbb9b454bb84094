"""Plots of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from edgeemo.files import replacing

_N_PICTURES = 4  # right, and wrong, per class


def plot_history(history: Sequence[dict[str, float]], path: Path, *, title: str) -> None:
    """Loss on the left axis, accuracy and UAR on the right, over epochs; the kept epoch is marked."""
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    for axis, name, colour in ((left, "loss", "tab:blue"), (right, "accuracy", "tab:orange")):
        axis.plot(epochs, [row[name] for row in history], color=colour, alpha=0.45, label="training")
        axis.plot(epochs, [row[f"val_{name}"] for row in history], color=colour, label="validation")
        axis.set_ylabel(name, color=colour)
        axis.tick_params(axis="y", labelcolor=colour)
    right.plot(epochs, [row["val_uar"] for row in history], color="tab:red", label="validation UAR")
    right.set_ylabel("accuracy; UAR (red)", color="tab:orange")
    best = min(history, key=lambda row: row["val_loss"])
    left.axvline(best["epoch"], color="grey", linestyle=":", label="kept")
    left.set_ylim(bottom=0)
    right.set_ylim(0, 1)
    left.set_xlabel("epoch")
    left.set_title(f"{title} (pale: training, full: validation)", fontsize=10)
    save_figure(figure, path)


def plot_confusion(scores: dict[str, Any], labels: Sequence[str], path: Path, *, title: str) -> None:
    """The confusion matrix, rows normalised to recall, with the number of clips in each cell."""
    confusion = np.array(scores["confusion"])
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(1.8 + 0.7 * len(labels), 1.4 + 0.65 * len(labels)), layout="constrained")
    axis = figure.subplots()
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), n in np.ndenumerate(confusion):
        if n:
            colour = "white" if share[row, column] > 0.5 else "black"
            axis.text(column, row, str(n), ha="center", va="center", color=colour, fontsize=8)
    axis.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axis.set_yticks(range(len(labels)), labels)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(f"{title}\nUAR {scores['uar']:.3f}, {scores['n_clips']} clips", fontsize=10)
    save_figure(figure, path)


def plot_pictures(
    pixels: np.ndarray, truth: np.ndarray, predicted: np.ndarray, labels: Sequence[str], path: Path
) -> None:
    """A row of test pictures per true class, right answers first; their predicted labels above, wrong ones in red.

    The file holds pictures of the corpus: it is for looking at, not for publishing.

    Args:
        pixels: shape `(n_pictures, height, width)`.
        truth, predicted: label indices, shape `(n_pictures,)`.
        labels: class names.
        path: the PNG file.
    """
    figure = Figure(figsize=(1.2 * 2 * _N_PICTURES, 1.35 * len(labels)), layout="constrained")
    axes = figure.subplots(len(labels), 2 * _N_PICTURES, squeeze=False)
    for row, label in zip(axes, range(len(labels)), strict=True):
        of_class = np.flatnonzero(truth == label)
        right, wrong = (
            of_class[(predicted[of_class] == label) == which][:_N_PICTURES] for which in (True, False)
        )
        for axis in row:
            axis.set_axis_off()
        for axis, i in [*zip(row, right, strict=False), *zip(row[_N_PICTURES:], wrong, strict=False)]:
            axis.imshow(pixels[i], cmap="gray", vmin=0, vmax=255)
            axis.set_title(
                labels[predicted[i]], fontsize=8, color="black" if predicted[i] == label else "tab:red"
            )
        row[0].text(-0.1, 0.5, labels[label], transform=row[0].transAxes, ha="right", va="center", fontsize=9)
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; a file that was there is replaced only by a whole one."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
