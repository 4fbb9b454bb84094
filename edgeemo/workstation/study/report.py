"""What a study found: one tidy CSV, a table, and plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from edgeemo.files import write_text
from edgeemo.markdown import markdown_table
from edgeemo.workstation.study.grid import Setting
from edgeemo.workstation.training.folder import read_history
from edgeemo.workstation.training.metrics import CellMetrics, PartMetrics
from edgeemo.workstation.training.plots import save_figure
from edgeemo.workstation.training.scores import Scores

CSV_FILE, TABLE_FILE = "results.csv", "results.md"
SCORES_PLOT, CURVES_PLOT = "results.png", "curves.png"


class _Score(NamedTuple):
    name: str
    title: str
    of: Callable[[Scores], float]


class _Part(NamedTuple):
    name: str
    title: str
    of: Callable[[CellMetrics], PartMetrics | None]


_SCORES = (
    _Score("uar", "UAR", lambda scores: scores.uar),
    _Score("macro_f1", "macro-F1", lambda scores: scores.macro_f1),
    _Score("war", "accuracy", lambda scores: scores.war),
    _Score("loss", "loss", lambda scores: scores.loss),
)
_PARTS = (
    _Part("test", "test", lambda cell: cell.test),
    _Part("validation", "val", lambda cell: cell.validation),
)


@dataclass(frozen=True)
class Result:
    """What is known of one cell.

    Attributes:
        setting: what was trained.
        fold: name of the split.
        seed: of weights and augmentation.
        metrics: of the finished training; None before.
        error: why it failed; empty if it did not.
        folder: its files.
    """

    setting: Setting
    fold: str
    seed: int
    metrics: CellMetrics | None
    error: str
    folder: Path

    @property
    def state(self) -> str:
        """`finished`, `failed` or `open`."""
        return "finished" if self.metrics else "failed" if self.error else "open"

    def row(self) -> dict[str, str | int | float]:
        """A line of the CSV file: what is not known yet is left out."""
        row: dict[str, str | int | float] = {
            "model": self.setting.recipe.name,
            "setting": self.setting.name,
            **self.setting.values,
            "protocol": self.setting.recipe.protocol.kind,
            "fold": self.fold,
            "seed": self.seed,
            "state": self.state,
            "error": self.error,
        }
        if self.metrics is None:
            return row
        row |= {
            "n_parameters": self.metrics.n_parameters,
            "n_train": self.metrics.n_train,
            "epochs": self.metrics.epochs,
            "best_epoch": self.metrics.best_epoch,
        }
        for part in _PARTS:
            if (metrics := part.of(self.metrics)) is None:
                continue
            scores = metrics.scores
            row |= {f"{part.name}_{score.name}": score.of(scores) for score in _SCORES}
            row[f"n_{part.name}"] = scores.n_clips
        return row


def write_report(results: Sequence[Result], folder: Path) -> None:
    """Write the CSV file, the table and the plots of what is known so far."""
    # What is varied goes before the scores, even if only a later recipe has it.
    varied = dict.fromkeys(key for result in results for key in result.setting.values)
    columns = ["model", "setting", *varied, "protocol", "fold", "seed", "state", "error"]
    columns += ["n_parameters", "n_train", "epochs", "best_epoch"]
    for part in _PARTS:
        columns += [*(f"{part.name}_{score.name}" for score in _SCORES), f"n_{part.name}"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.row() for result in results)
    write_text(folder / CSV_FILE, text.getvalue())
    write_text(folder / TABLE_FILE, table(results))
    if any(result.metrics for result in results):
        save_figure(scores_figure(results), folder / SCORES_PLOT)
        save_figure(curves_figure(results), folder / CURVES_PLOT)


def table_rows(results: Sequence[Result]) -> list[dict[str, str]]:
    """A row per setting, by the columns' titles: mean and standard deviation over its finished cells."""
    rows = []
    published = any(result.setting.recipe.published for result in results)
    for setting, group in _groups(results):
        cells = [r.metrics for r in group if r.metrics]
        row = {"setting": setting.name, "parameters": f"{cells[0].n_parameters:,}" if cells else ""}
        for part in _PARTS:
            for score in _SCORES:
                values = [score.of(metrics.scores) for cell in cells if (metrics := part.of(cell))]
                row[f"{part.title} {score.title}"] = spread(values)
        if published:
            row["published"] = _published(setting)
        row["cells"] = f"{len(cells)} of {len(group)}"
        if failed := sum(r.state == "failed" for r in group):
            row["cells"] += f", {failed} failed"
        rows.append(row)
    return rows


def table(results: Sequence[Result]) -> str:
    """The table in Markdown, with the protocol, the seeds, and where published figures come from."""
    seeds = ", ".join(str(seed) for seed in sorted({r.seed for r in results}))
    folds = len({r.fold for r in results})
    recipes = {r.setting.recipe.name: r.setting.recipe for r in results}
    protocols = sorted({f"{r.protocol.kind} ({', '.join(r.data.corpora)})" for r in recipes.values()})
    lines = [
        *markdown_table(table_rows(results)),
        "",
        f"Mean ± standard deviation over the finished cells: {folds} fold{'s' * (folds > 1)}, "
        f"seeds {seeds}. Protocol: {'; '.join(protocols)}. UAR: unweighted average recall. Weights are those of "
        "the lowest validation loss; the test part chose nothing.",
    ]
    sources: dict[str, list[str]] = {}
    for name, recipe in recipes.items():
        if recipe.published:
            sources.setdefault(recipe.published.source, []).append(name)
    lines += [f"Published ({', '.join(names)}): {source}." for source, names in sources.items()]
    for r in results:
        if r.error:
            lines.append(f"- {r.setting.name}, {r.fold}, seed {r.seed} failed: {r.error}")
    return "\n".join(lines) + "\n"


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation as text; of a single value, that value; of none, nothing."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def _published(setting: Setting) -> str:
    p = setting.recipe.published
    if p is None:
        return ""
    found = (("accuracy", p.accuracy), ("loss", p.loss), ("UAR", p.uar))
    return ", ".join(f"{name} {value:.3f}" for name, value in found if value is not None)


def _groups(results: Sequence[Result]) -> list[tuple[Setting, list[Result]]]:
    """The cells of each setting."""
    groups: dict[str, tuple[Setting, list[Result]]] = {}
    for r in results:
        groups.setdefault(r.setting.name, (r.setting, []))[1].append(r)
    return list(groups.values())


def scores_figure(results: Sequence[Result]) -> Figure:
    """Test UAR and macro-F1 of each setting; whiskers: standard deviation over cells; dotted: UAR by chance."""
    groups = _groups(results)
    figure = Figure(figsize=(8, 1.2 + 0.45 * len(groups)), layout="constrained")
    axis = figure.subplots()
    y = np.arange(len(groups))
    for offset, colour, score in zip((-0.2, 0.2), ("tab:blue", "tab:orange"), _SCORES[:2], strict=True):
        values = [[score.of(r.metrics.test.scores) for r in group if r.metrics] for _, group in groups]
        axis.barh(
            y + offset,
            [float(np.mean(v)) if v else 0.0 for v in values],
            0.38,
            xerr=[float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for v in values],
            color=colour,
            label=f"test {score.title}",
            capsize=2,
        )
    for n_labels in {len(setting.recipe.label_map.labels) for setting, _ in groups}:
        axis.axvline(1 / n_labels, color="black", linestyle=":", linewidth=1)
    axis.set_yticks(y, _titles(groups), fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, min(1, 1.05 * axis.get_xlim()[1]))
    axis.grid(axis="x", alpha=0.3)
    figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    return figure


def curves_figure(results: Sequence[Result]) -> Figure:
    """A panel per setting: over epochs, validation loss on the left axis, UAR on the right, a line per cell."""
    groups = _groups(results)
    n_columns = min(3, len(groups))
    n_rows = -(-len(groups) // n_columns)
    figure = Figure(figsize=(4 * n_columns, 0.4 + 2.4 * n_rows), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).ravel()
    others = [panel.twinx() for panel in panels]
    for other in others[1:]:
        other.sharey(others[0])
    for panel, other, (_, group), title in zip(panels, others, groups, _titles(groups), strict=False):
        for r in group:
            if r.metrics is None:
                continue
            history = read_history(r.folder)
            epochs = [row.epoch for row in history]
            losses, uars = [row.val_loss for row in history], [row.val_uar for row in history]
            for axis, values, colour in ((panel, losses, "tab:blue"), (other, uars, "tab:orange")):
                axis.plot(epochs, values, color=colour, alpha=0.7, linewidth=1)
        panel.set_title(title, fontsize=8)
        panel.grid(alpha=0.3)
        panel.tick_params(labelsize=8, labelcolor="tab:blue", axis="y")
        other.tick_params(labelsize=8, labelcolor="tab:orange")
    for unused in [*panels[len(groups) :], *others[len(groups) :]]:
        unused.set_axis_off()
    figure.supxlabel("epoch", fontsize=9)
    figure.suptitle("validation loss (blue, left) and UAR (orange, right)", fontsize=9)
    return figure


def _titles(groups: Sequence[tuple[Setting, list[Result]]]) -> list[str]:
    """The settings' names, without the recipe's if all have the same recipe."""
    recipes = {setting.recipe.name for setting, _ in groups}
    names = [setting.name for setting, _ in groups]
    if len(recipes) == 1 and len(groups) > 1:
        (recipe,) = recipes
        return [name.removeprefix(recipe).removeprefix(", ") for name in names]
    return names
