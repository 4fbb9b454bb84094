"""What a study found: one tidy CSV, a table, and plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from edgeemo.files import write_text
from edgeemo.markdown import markdown_table
from edgeemo.workstation.study.grid import Variant
from edgeemo.workstation.training.plots import save_figure

CSV_FILE, TABLE_FILE = "results.csv", "results.md"
SCORES_PLOT, CURVES_PLOT = "results.png", "curves.png"
_SCORES = ("uar", "macro_f1", "war", "loss")


@dataclass(frozen=True)
class Result:
    """What is known of one cell.

    Attributes:
        variant: what was trained.
        fold: name of the split.
        seed: of weights and augmentation.
        metrics: of the finished training; empty before.
        error: why it failed; empty if it did not.
        folder: its files.
    """

    variant: Variant
    fold: str
    seed: int
    metrics: dict[str, Any]
    error: str
    folder: Path

    @property
    def state(self) -> str:
        """`finished`, `failed` or `open`."""
        return "finished" if self.metrics else "failed" if self.error else "open"

    def row(self) -> dict[str, Any]:
        """A line of the CSV file."""
        m = self.metrics
        values = {
            "model": self.variant.recipe.name,
            "variant": self.variant.name,
            **self.variant.settings,
            "protocol": self.variant.recipe.protocol.kind,
            "fold": self.fold,
            "seed": self.seed,
            "state": self.state,
            "error": self.error,
        }
        for name in ("n_parameters", "n_train", "epochs", "best_epoch"):
            values[name] = m.get(name, "")
        for part in ("test", "validation"):
            values |= {f"{part}_{score}": m[part][score] if m else "" for score in _SCORES}
            values[f"n_{part}"] = m[part]["n_clips"] if m else ""
        return values


def write_report(results: Sequence[Result], folder: Path) -> None:
    """Write the CSV file, the table and the plots of what is known so far."""
    rows = [result.row() for result in results]
    # What is varied goes before the scores, also where only a later recipe has it.
    varied = dict.fromkeys(key for result in results for key in result.variant.settings)
    columns = [name for name in rows[0] if name not in varied]
    columns[2:2] = varied
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / CSV_FILE, text.getvalue())
    write_text(folder / TABLE_FILE, table(results))
    if any(result.metrics for result in results):
        _plot_scores(results, folder / SCORES_PLOT)
        _plot_curves(results, folder / CURVES_PLOT)


def table_rows(results: Sequence[Result]) -> list[dict[str, str]]:
    """A row per variant, by the columns' titles: mean and standard deviation over its finished cells."""
    rows = []
    published = any(result.variant.recipe.published for result in results)
    for variant, group in _groups(results):
        cells = [r.metrics for r in group if r.metrics]
        row = {"variant": variant.name, "parameters": f"{cells[0]['n_parameters']:,}" if cells else ""}
        for part, title in (("test", "test"), ("validation", "val")):
            for score in _SCORES:
                name = {"uar": "UAR", "macro_f1": "macro-F1", "war": "accuracy"}.get(score, score)
                row[f"{title} {name}"] = spread([cell[part][score] for cell in cells])
        if published:
            row["published"] = _published(variant)
        row["cells"] = f"{len(cells)} of {len(group)}"
        if failed := sum(r.state == "failed" for r in group):
            row["cells"] += f", {failed} failed"
        rows.append(row)
    return rows


def table(results: Sequence[Result]) -> str:
    """The table in Markdown, with what the protocol and seeds were, and where figures of others come from."""
    seeds = ", ".join(str(seed) for seed in sorted({r.seed for r in results}))
    folds = len({r.fold for r in results})
    recipes = {r.variant.recipe.name: r.variant.recipe for r in results}
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
            lines.append(f"- {r.variant.name}, {r.fold}, seed {r.seed} failed: {r.error}")
    return "\n".join(lines) + "\n"


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation as text; of one value, the value; of none, nothing."""
    if not len(values):
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def _published(variant: Variant) -> str:
    p = variant.recipe.published
    if p is None:
        return ""
    found = (("accuracy", p.accuracy), ("loss", p.loss), ("UAR", p.uar))
    return ", ".join(f"{name} {value:.3f}" for name, value in found if value is not None)


def _groups(results: Sequence[Result]) -> list[tuple[Variant, list[Result]]]:
    """The cells of each variant."""
    groups: dict[str, tuple[Variant, list[Result]]] = {}
    for r in results:
        groups.setdefault(r.variant.name, (r.variant, []))[1].append(r)
    return list(groups.values())


def _plot_scores(results: Sequence[Result], path: Path) -> None:
    """Test UAR and macro-F1 of each variant; whiskers: standard deviation over cells; dotted: UAR by chance."""
    groups = _groups(results)
    figure = Figure(figsize=(8, 1.2 + 0.45 * len(groups)), layout="constrained")
    axis = figure.subplots()
    y = np.arange(len(groups))
    for offset, score, colour, name in (
        (-0.2, "uar", "tab:blue", "UAR"),
        (0.2, "macro_f1", "tab:orange", "macro-F1"),
    ):
        values = [[r.metrics["test"][score] for r in group if r.metrics] for _, group in groups]
        axis.barh(
            y + offset,
            [np.mean(v) if v else 0 for v in values],
            0.38,
            xerr=[np.std(v, ddof=1) if len(v) > 1 else 0 for v in values],
            color=colour,
            label=f"test {name}",
            capsize=2,
        )
    for n_labels in {len(variant.recipe.label_map.labels) for variant, _ in groups}:
        axis.axvline(1 / n_labels, color="black", linestyle=":", linewidth=1)
    axis.set_yticks(y, _titles(groups), fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, min(1, 1.05 * axis.get_xlim()[1]))
    axis.grid(axis="x", alpha=0.3)
    figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    save_figure(figure, path)


def _plot_curves(results: Sequence[Result], path: Path) -> None:
    """A panel per variant: over epochs, validation loss on the left axis, UAR on the right, a line per cell."""
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
            history = r.folder / "history.csv"
            if not r.metrics or not history.is_file():
                continue
            with history.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            epochs = [int(row["epoch"]) for row in rows]
            for axis, column, colour in ((panel, "val_loss", "tab:blue"), (other, "val_uar", "tab:orange")):
                axis.plot(epochs, [float(row[column]) for row in rows], color=colour, alpha=0.7, linewidth=1)
        panel.set_title(title, fontsize=8)
        panel.grid(alpha=0.3)
        panel.tick_params(labelsize=8, labelcolor="tab:blue", axis="y")
        other.tick_params(labelsize=8, labelcolor="tab:orange")
    for unused in [*panels[len(groups) :], *others[len(groups) :]]:
        unused.set_axis_off()
    figure.supxlabel("epoch", fontsize=9)
    figure.suptitle("validation loss (blue, left) and UAR (orange, right)", fontsize=9)
    save_figure(figure, path)


def _titles(groups: Sequence[tuple[Variant, list[Result]]]) -> list[str]:
    """The variants' names, without the recipe's where they all have the same."""
    recipes = {variant.recipe.name for variant, _ in groups}
    names = [variant.name for variant, _ in groups]
    if len(recipes) == 1 and len(groups) > 1:
        (recipe,) = recipes
        return [name.removeprefix(recipe).removeprefix(", ") for name in names]
    return names
