"""Figures of results, as SVG; the one module of the device that draws, where matplotlib is installed."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgeemo.evaluation.results import Evaluation

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
"""Text stays text: small files, in the reader's font."""


def figures(evaluation: Evaluation) -> dict[str, str]:
    """All figures that there is something to show in: name -> an `<svg>` element."""
    with mpl.rc_context(_STYLE):
        drawn = {name: draw(evaluation) for name, draw in _DRAW.items()}
        return {name: _svg(figure, name) for name, figure in drawn.items() if figure is not None}


def _reliability(evaluation: Evaluation) -> Figure:
    figure, axis = _new(4.2, 3.6)
    axis.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
    for m in evaluation.models:
        bins = m.calibration.bins
        axis.plot(
            [b.confidence for b in bins], [b.accuracy for b in bins], marker="o", markersize=3, label=m.name
        )
    axis.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    return _with_legend(figure, axis)


def _coverage(evaluation: Evaluation) -> Figure:
    figure, axis = _new(4.2, 3.2)
    for m in evaluation.models:
        axis.plot(
            [100 * c.coverage for c in m.coverage],
            [100 * c.uar for c in m.coverage],
            marker="o",
            markersize=3,
            label=m.name,
        )
    axis.set(xlabel="clips answered, %", ylabel="UAR, %", xlim=(105, 0), ylim=(0, 100))
    return _with_legend(figure, axis)


def _heard(evaluation: Evaluation) -> Figure | None:
    if not any(m.heard for m in evaluation.models):
        return None
    figure, axis = _new(4.2, 3.2)
    for m in evaluation.models:
        points = [(row.seconds, 100 * (row.uar.value or 0)) for row in m.heard if row.seconds is not None]
        (line,) = axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=m.name)
        for row in m.heard:
            if row.seconds is None:
                axis.axhline(100 * (row.uar.value or 0), color=line.get_color(), linestyle=":", linewidth=1)
    axis.set(xlabel="seconds heard (dotted: whole clips)", ylabel="UAR, %", xlim=(0, None), ylim=(0, None))
    return _with_legend(figure, axis)


def _robustness(evaluation: Evaluation) -> Figure | None:
    names = [row.condition for row in evaluation.models[0].robustness]
    if not names:
        return None
    figure, axis = _new(6.5, 0.6 + 0.2 * len(names))
    place = np.arange(len(names))
    for k, m in enumerate(evaluation.models):
        values = np.array([row.change.value for row in m.robustness], float)
        ends = np.array([(row.change.low, row.change.high) for row in m.robustness], float)
        shift = 0.6 * ((k + 0.5) / len(evaluation.models) - 0.5)
        reach = np.abs(ends.T - values)
        axis.errorbar(
            100 * values, place + shift, xerr=100 * reach, fmt="o", markersize=3, linewidth=1, label=m.name
        )
    axis.axvline(0, color="grey", linewidth=0.8)
    axis.set_yticks(place, names)
    axis.invert_yaxis()
    axis.set_xlabel("change of UAR, points")
    return _with_legend(figure, axis)


def _confusion(evaluation: Evaluation) -> Figure:
    labels = [*evaluation.labels, "none"]
    n = len(evaluation.models)
    figure = Figure(figsize=(3.8 * n, 3.4), layout="constrained")
    for axis, m in zip(np.atleast_1d(figure.subplots(1, n)), evaluation.models, strict=True):
        counts = np.array(m.confusion)
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axis.pcolormesh(share, cmap="Blues", vmin=0, vmax=1)
        axis.invert_yaxis()
        for (row, column), value in np.ndenumerate(share):
            if value >= 0.005:
                colour = "white" if value > 0.5 else "black"
                axis.text(
                    column, row, f"{100 * value:.0f}", ha="center", va="center", color=colour, fontsize=7
                )
        axis.set_xticks(np.arange(len(labels)) + 0.5, labels, rotation=45, ha="right")
        axis.set_yticks(np.arange(len(labels) - 1) + 0.5, labels[:-1])
        axis.set(xlabel="named, %", ylabel="true", title=m.name)
    return figure


def _speakers(evaluation: Evaluation) -> Figure:
    figure, axis = _new(6.5, 0.5 + 0.45 * len(evaluation.models))
    for k, m in enumerate(evaluation.models):
        values = np.array([100 * s.uar_present for s in m.speakers.values()])
        scatter = np.random.default_rng(0).uniform(-0.25, 0.25, len(values))
        axis.scatter(values, k + scatter, s=8, alpha=0.6)
        axis.plot(2 * [np.median(values)], [k - 0.35, k + 0.35], color="black", linewidth=1)
    axis.set_yticks(range(len(evaluation.models)), [m.name for m in evaluation.models])
    axis.set(xlabel="UAR of each speaker, %; line: median", xlim=(0, 100))
    return figure


_DRAW: Mapping[str, Callable[[Evaluation], Figure | None]] = MappingProxyType(
    {
        "speakers": _speakers,
        "reliability": _reliability,
        "confusion": _confusion,
        "coverage": _coverage,
        "heard": _heard,
        "robustness": _robustness,
    }
)


def _new(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _with_legend(figure: Figure, axis: Axes) -> Figure:
    if len(axis.get_legend_handles_labels()[0]) > 1:
        axis.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def _svg(figure: Figure, name: str) -> str:
    """The element alone; marks and clips of two figures on one page must not share names."""
    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :].strip()
