"""`edgeemo doctor`: whether this machine can run edgeemo."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from edgeemo.cli.exit_codes import FAILED, exit_code
from edgeemo.cli.quiet import quiet_libraries
from edgeemo.errors import DeviceError, ModelError
from edgeemo.wording import printable

if TYPE_CHECKING:
    from edgeemo.doctor import Finding

_PIPE_COLUMNS = 1000
_INDENT = 21
_LEAST_COLUMNS = 20


def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for other programs.")] = False,
) -> None:
    """Find out whether this machine can run edgeemo, and what mends it; opens each microphone for half a second.

    The exit code is 0 if a microphone can be listened to, 3 if models do not load, 4 if no microphone
    can be listened to, and 1 if the default model is slower than real time.
    """
    from edgeemo.doctor import examine

    findings = []
    with quiet_libraries():
        for finding in examine():
            findings.append(finding)
            if not as_json:
                _show(finding)
    code = _code(findings)
    if as_json:
        print(json.dumps({"exit_code": code, "findings": [f.to_dict() for f in findings]}, indent=1))
    if any(finding.facts.get("hangs") for finding in findings):
        sys.stdout.flush()
        os._exit(code)  # at its ordinary end, Python would wait for what hangs
    raise typer.Exit(code)


def _code(findings: Sequence[Finding]) -> int:
    from edgeemo.doctor import Check, Verdict

    problems = {finding.check for finding in findings if finding.verdict is Verdict.PROBLEM}
    if Check.MODELS in problems:
        return exit_code(ModelError())
    if not any(f.check is Check.MICROPHONE and f.verdict is not Verdict.PROBLEM for f in findings):
        return exit_code(DeviceError())
    return FAILED if Check.STEP in problems else 0


def _show(finding: Finding) -> None:
    import textwrap

    from rich.text import Text

    from edgeemo.cli.tables import stdout_console
    from edgeemo.doctor import Verdict

    console = stdout_console(_PIPE_COLUMNS)
    style = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.PROBLEM: "bold red"}[finding.verdict]
    width = max(_LEAST_COLUMNS, console.width - _INDENT)
    head = Text.assemble((f"{finding.verdict:8}", style), (f"{finding.check:13}", "cyan"))
    lines = textwrap.wrap(printable(finding.found), width)
    if finding.mend is not None:
        lines += textwrap.wrap(printable(f"to do: {finding.mend}"), width)
    for line in lines:
        console.print(head + Text(line), soft_wrap=True)
        head = Text(" " * _INDENT)
