"""An audit for a person: rows of a table, lines, and a page in Markdown."""

from __future__ import annotations

from edgeemo.markdown import markdown_table
from edgeemo.workstation.audit.findings import Audit, Finding, Price

_N_CASES = 20
LEFT = ("finding", "leaks", "what")
"""Columns of text."""


def table_rows(audit: Audit) -> list[dict[str, str]]:
    """A row for each finding; none where nothing was found."""
    return [
        {
            "finding": str(finding.kind),
            "leaks": "yes" if finding.leaks else "no",
            "clips": str(finding.n_clips),
            "share": f"{100 * finding.share:.1f} %",
            "what": finding.what,
        }
        for finding in audit.findings
    ]


def details(finding: Finding) -> list[str]:
    """What a table has no room for."""
    cases = [" = ".join(case) for case in finding.cases[:_N_CASES]] or [", ".join(finding.example)]
    more = f"; and {len(finding.cases) - _N_CASES} more" if len(finding.cases) > _N_CASES else ""
    return [
        f"{'these' if finding.cases else 'such as'}: {'; '.join(cases)}{more}",
        f"worth: {finding.worth}",
        f"what to do: {finding.advice}",
    ]


def summary(audit: Audit) -> str:
    """One line: what was audited."""
    if not audit.n_clips:
        return f"{audit.source}: the record of a run; {audit.split}"
    tested = f", {audit.n_test_clips} of them tested on" if audit.n_test_clips else ""
    speakers = f"{audit.n_speakers or 'unknown'} speakers"
    return f"{audit.source}: {audit.n_clips} clips of {speakers}{tested}; {audit.split}"


def unchecked(audit: Audit) -> list[str]:
    """What was not checked, a line for each reason."""
    reasons: dict[str, list[str]] = {}
    for kind, why in audit.unchecked.items():
        reasons.setdefault(why, []).append(kind)
    return [f"{', '.join(kinds)}: {why}" for why, kinds in reasons.items()]


def price_line(price: Price) -> str:
    """One line: both scores side by side."""
    return (
        f"{price.recipe}, at most {price.epochs} epochs: UAR {price.random_uar:.3f} on the random split "
        f"({price.n_random_clips} test clips), {price.speaker_uar:.3f} on {price.n_test_speakers} speakers "
        f"never heard ({price.n_speaker_clips} clips); chance {price.chance:.3f}"
    )


def markdown(audit: Audit) -> list[str]:
    """The lines of a section, without its heading."""
    lines = [f"{summary(audit)}.", ""]
    if rows := table_rows(audit):
        lines += markdown_table(rows, left=LEFT)
        for finding in audit.findings:
            lines += ["", f"**{finding.kind}**", "", *(f"- {line}" for line in details(finding))]
    else:
        lines.append("Nothing was found.")
    for line in unchecked(audit):
        lines += ["", f"Not checked: {line}."]
    if audit.price is not None:
        lines += ["", f"{price_line(audit.price)}."]
    return lines
