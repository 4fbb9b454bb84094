"""Plots of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from edgeemo.files import replacing
from edgeemo.workstation.training.metrics import HistoryRow, kept_epoch
from edgeemo.workstation.training.scores import Scores

_N_IMAGES = 4  # right, and wrong, per class


def history_figure(history: Sequence[HistoryRow], *, title: str) -> Figure:
    """Loss on the left axis, accuracy and UAR on the right, over epochs; the kept epoch is marked.

    What is not known of the validation part leaves a gap.
    """
    epochs = [row.epoch for row in history]
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    for axis, name, colour, training, validation in (
        (left, "loss", "tab:blue", [r.loss for r in history], [r.val_loss for r in history]),
        (right, "accuracy", "tab:orange", [r.accuracy for r in history], [r.val_accuracy for r in history]),
    ):
        axis.plot(epochs, training, color=colour, alpha=0.45, label="training")
        axis.plot(epochs, np.array(validation, float), color=colour, label="validation")
        axis.set_ylabel(name, color=colour)
        axis.tick_params(axis="y", labelcolor=colour)
    uar = np.array([row.val_uar for row in history], float)
    right.plot(epochs, uar, color="tab:red", label="validation UAR")
    right.set_ylabel("accuracy; UAR (red)", color="tab:orange")
    left.axvline(kept_epoch(history), color="grey", linestyle=":", label="kept")
    left.set_ylim(bottom=0)
    right.set_ylim(0, 1)
    left.set_xlabel("epoch")
    left.set_title(f"{title} (pale: training, full: validation)", fontsize=10)
    return figure


def confusion_figure(scores: Scores, labels: Sequence[str], *, title: str) -> Figure:
    """The confusion matrix, rows normalised to recall, with the number of clips in each cell."""
    confusion = np.array(scores.confusion)
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
    axis.set_title(f"{title}\nUAR {scores.uar:.3f}, {scores.n_clips} clips", fontsize=10)
    return figure


def images_figure(
    pixels: npt.NDArray[np.float32],
    truth: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
    labels: Sequence[str],
) -> Figure:
    """A row of test images per true class, right answers first; their predicted labels above, wrong ones in red.

    It shows images of the corpus: it is for looking at, not for publishing.

    Args:
        pixels: shape `(n_images, height, width)`.
        truth, predicted: label indices, shape `(n_images,)`.
        labels: class names.
    """
    figure = Figure(figsize=(1.2 * 2 * _N_IMAGES, 1.35 * len(labels)), layout="constrained")
    axes = figure.subplots(len(labels), 2 * _N_IMAGES, squeeze=False)
    for row, label in zip(axes, range(len(labels)), strict=True):
        of_class = np.flatnonzero(truth == label)
        right, wrong = (
            of_class[(predicted[of_class] == label) == which][:_N_IMAGES] for which in (True, False)
        )
        for axis in row:
            axis.set_axis_off()
        for axis, i in [*zip(row, right, strict=False), *zip(row[_N_IMAGES:], wrong, strict=False)]:
            axis.imshow(pixels[i], cmap="gray", vmin=0, vmax=255)
            axis.set_title(
                labels[predicted[i]], fontsize=8, color="black" if predicted[i] == label else "tab:red"
            )
        row[0].text(-0.1, 0.5, labels[label], transform=row[0].transAxes, ha="right", va="center", fontsize=9)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; only a whole file replaces one that was there."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
