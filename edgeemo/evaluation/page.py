"""Results as one HTML page that a person can hand on: no network, no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from edgeemo.evaluation.results import Evaluation, ModelResult
from edgeemo.evaluation.tables import Row, Table, notes, tables
from edgeemo.wording import counted

_STYLE = """
:root { color-scheme: light; }
body { font: 14px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24;
  background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem; }
p.lead { font-size: 1.05rem; } p.about, footer { color: #57606a; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; white-space: nowrap; border-bottom: 1px solid #d8dee4; }
th { font-weight: 600; }
svg { max-width: 100%; height: auto; margin: .6rem 1rem 0 0; }
code { font-size: .92em; overflow-wrap: anywhere; }
"""
_NO_FIGURES = (
    "Figures need matplotlib: <code>pip install 'edgeemo[plots]'</code>, then run the command again."
)


def html_page(evaluation: Evaluation, figures: Mapping[str, str] | None) -> str:
    """Write the page.

    Args:
        evaluation: the results.
        figures: `<svg>` elements by the names that tables give them; None where they cannot be drawn.
    """
    title = ", ".join(m.name for m in evaluation.models)
    verb = "is" if len(evaluation.models) == 1 else "are"
    named = all(m.scores.n_speakers for m in evaluation.models)
    whom = "strangers" if named else "clips whose speakers are not named"
    parts = [
        f"<h1>What {escape(title)} {verb} worth on {whom}</h1>",
        *(f'<p class="lead">{escape(_lead(evaluation, m))}</p>' for m in evaluation.models),
        *(_section(table, figures or {}) for table in tables(evaluation)),
        "<h2>What was measured</h2>",
        _list(_facts(evaluation)),
    ]
    if figures is None:
        parts.append(f'<p class="about">{_NO_FIGURES}</p>')
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}: evaluation</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _lead(evaluation: Evaluation, m: ModelResult) -> str:
    """The result in two sentences."""
    s, n = m.scores, len(evaluation.labels)
    chance = f"guessing gives {100 / n:.0f} %"
    text = (
        f"{m.name} recognises {100 * (s.uar.value or 0):.0f} % of the clips of a class on average, over {s.n_clips} "
        f"clips of {counted(s.n_speakers, 'speaker') if s.n_speakers else 'unknown speakers'} ({chance})."
    )
    if m.calibration.confidence is not None and m.calibration.accuracy is not None:
        text += (
            f" It claims to be right in {100 * m.calibration.confidence:.0f} % of the clips, and is in "
            f"{100 * m.calibration.accuracy:.0f} %."
        )
    return text


def _section(table: Table, figures: Mapping[str, str]) -> str:
    drawn = [figures[name] for name in table.figures if name in figures]
    return "\n".join(
        [
            f"<h2>{escape(table.title)}</h2>",
            f'<p class="about">{escape(table.about)}</p>',
            *drawn,
            _table(table.rows),
        ]
    )


def _table(rows: Sequence[Row]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in rows[0])
    body = "\n".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row.values())}</tr>" for row in rows
    )
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'


def _facts(evaluation: Evaluation) -> list[str]:
    return [
        f"Command: <code>{escape(evaluation.command)}</code>",
        f"Data: <code>{escape(evaluation.data)}</code>; digest of clips and labels: <code>{evaluation.clips}</code>",
        *(
            f"{escape(m.name)}: SHA-256 <code>{m.checksum}</code>; trained on "
            f"{escape(', '.join(m.trained_on) or 'data that are not stated')}; judged at temperature "
            f"{m.temperature:g}, unsure below {m.unsure_below:g}"
            for m in evaluation.models
        ),
        "Protocol: no speaker of a clip has trained a model or chosen its epoch, unless the first table says so; "
        f"intervals by a bootstrap over {evaluation.interval}; clips of which no emotion is named count as wrong.",
        *map(escape, notes(evaluation)),
        f"edgeemo {escape(evaluation.edgeemo)}, onnxruntime {escape(evaluation.onnxruntime)}, {evaluation.date}. "
        "All numbers are in <code>evaluation.json</code>.",
    ]


def _list(items: Sequence[str]) -> str:
    return "<ul>\n" + "\n".join(f"<li>{item}</li>" for item in items) + "\n</ul>"
