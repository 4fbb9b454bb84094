"""Results as tables: rows of cells by the columns' titles, for the screen and for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeemo.evaluation.results import Estimate, Evaluation

Row = Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: what it shows.
        about: how to read it, in a sentence or two.
        rows: cells by the columns' titles.
        figures: names of the figures that show the same, see `edgeemo.evaluation.figures`.
    """

    title: str
    about: str
    rows: Sequence[Row]
    figures: tuple[str, ...] = ()


def tables(evaluation: Evaluation) -> list[Table]:
    """All tables that have rows, the most important first."""
    models, interval = evaluation.models, f"In brackets: 95 %, bootstrap over {evaluation.interval}."
    found = [
        Table(
            "Scores",
            "UAR: mean recall of the classes, by the most probable of all labels; present: of those that occur in "
            "the data; always: likewise, also where none is probable enough to be named. AUC: agitated against calm "
            f"speech. {interval}",
            [
                {
                    "model": m.name,
                    "corpus": corpus,
                    "the model": c.exposure,
                    "clips": str(c.scores.n_clips),
                    "speakers": str(c.scores.n_speakers or "unknown"),
                    "UAR": percent(c.scores.uar),
                    "present": percent(c.scores.uar_present),
                    "always": percent(c.scores.uar_always),
                    "WAR": percent(c.scores.war),
                    "macro-F1": percent(c.scores.macro_f1),
                    "AUC": fraction(c.arousal_auc),
                }
                for m in models
                for corpus, c in m.corpora.items()
            ],
            ("speakers",),
        ),
        Table(
            "All corpora together",
            "ECE: how far confidence, the largest probability, is from being right, on average, where an emotion is "
            f"named. {interval}",
            [
                {
                    "model": m.name,
                    "clips": str(m.scores.n_clips),
                    "UAR": percent(m.scores.uar),
                    "AUC": fraction(m.arousal_auc),
                    "ECE": fraction(m.calibration.ece),
                    "Brier": _or_nothing(m.calibration.brier),
                    "confidence": _or_nothing(m.calibration.confidence),
                    "right": _or_nothing(m.calibration.accuracy),
                }
                for m in models
            ],
            ("reliability",),
        ),
        Table(
            "Models compared",
            "Difference of UAR in points, on the same clips, also where none is probable enough to be named. Where "
            f"the interval holds 0, there is none to speak of. {interval}",
            [{"model": d.model, "less": d.other, "UAR": points(d.uar)} for d in evaluation.differences],
        ),
        Table(
            "Recall of each class",
            "Percent of the clips of a class that are recognised.",
            [
                {"model": m.name}
                | {
                    label: "" if value is None else f"{100 * value:.0f}"
                    for label, value in m.scores.recall.items()
                }
                | {"unnamed": f"{100 * m.scores.unnamed:.0f}"}
                for m in models
            ],
            ("confusion",),
        ),
        Table(
            "When the model may pass",
            "UAR in percent of the clips that it is surest of, with the least confidence among them.",
            [
                {"clips answered": f"{100 * rows[0].coverage:.0f} %"}
                | {
                    m.name: f"{100 * row.uar:.1f} (from {row.threshold:.2f})"
                    for m, row in zip(models, rows, strict=True)
                }
                for rows in zip(*(m.coverage for m in models), strict=True)
            ],
            ("coverage",),
        ),
        Table(
            "Seconds heard",
            "UAR in percent by the step that ends so many seconds after a clip's start, of the clips that are so "
            f"long. {interval}",
            [
                {"model": m.name, "heard": "all" if row.seconds is None else f"{row.seconds:g} s"}
                | {"clips": str(row.n_clips), "UAR": percent(row.uar), "whole": f"{100 * row.uar_whole:.1f}"}
                for m in models
                for row in m.heard
            ],
            ("heard",),
        ),
        Table(
            "Time to a decision that stays",
            "Seconds from a clip's start until its label changes no more, and how often it changes.",
            [
                {
                    "model": m.name,
                    "clips": str(m.decision.n_clips),
                    "half by": f"{m.decision.median_s:.2f} s",
                    "nine in ten by": f"{m.decision.p90_s:.2f} s",
                    "changes": f"{m.decision.changes:.1f}",
                }
                for m in models
                if m.decision
            ],
        ),
        Table(
            "Robustness",
            f"Change of UAR in points against the same clips as they are. {interval}",
            [
                {"condition": rows[0].condition, "clips": str(rows[0].n_clips)}
                | {
                    m.name: points(row.change)
                    + (f"; {100 * row.unnamed:.0f} % unnamed" if row.unnamed else "")
                    for m, row in zip(models, rows, strict=True)
                }
                for rows in zip(*(m.robustness for m in models), strict=True)
            ],
            ("robustness",),
        ),
        Table(
            "After other speech of the speaker",
            f"UAR in percent, its change against the same clips heard first, and arousal AUC. {interval}",
            [
                {
                    "model": m.name,
                    "heard": row.heard,
                    "clips": str(row.n_clips),
                    "UAR": f"{100 * row.uar:.1f}",
                    "change": points(row.change),
                    "arousal AUC": fraction(row.arousal_auc),
                }
                for m in models
                for row in m.history
            ],
        ),
        Table(
            "No voice",
            "Percent of the live loop's steps that name an emotion where nobody speaks.",
            [
                {"sound": rows[0].sound, "steps": str(rows[0].n_steps)}
                | {m.name: f"{100 * row.named:.1f}" for m, row in zip(models, rows, strict=True)}
                for rows in zip(*(m.no_voice for m in models), strict=True)
            ],
        ),
        Table(
            "Ordinary speech",
            "Percent of the clips that get each label; the first column: neutral or none.",
            [
                {"model": m.name, "neutral or none": f"{100 * m.plain.neutral_or_unnamed:.1f}"}
                | {label: f"{100 * share:.0f}" for label, share in m.plain.shares.items()}
                | {"clips": str(m.plain.n_clips)}
                for m in models
                if m.plain
            ],
        ),
    ]
    return [table for table in found if table.rows]


def notes(evaluation: Evaluation) -> list[str]:
    """What a reader must know besides: what was left out, and what could not be measured."""
    return [
        *(f"{n} clips left out: {reason}" for reason, n in evaluation.left_out.items()),
        *(f"not measured: {name}: {reason}" for name, reason in evaluation.not_measured.items()),
    ]


def percent(e: Estimate) -> str:
    """Such as `31.2 (29.0 to 33.4)`; nothing where there is nothing to compute it from."""
    return _with_interval(e, 100, "{:.1f}")


def points(e: Estimate) -> str:
    """A difference of percents, such as `+1.2 (-0.3 to +2.5)`."""
    return _with_interval(e, 100, "{:+.1f}")


def fraction(e: Estimate) -> str:
    """Such as `0.81 (0.80 to 0.83)`."""
    return _with_interval(e, 1, "{:.2f}")


def _with_interval(e: Estimate, scale: float, form: str) -> str:
    value, low, high = (None if x is None else form.format(scale * x + 0.0) for x in (e.value, e.low, e.high))
    return "" if value is None else value if low is None else f"{value} ({low} to {high})"


def _or_nothing(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
