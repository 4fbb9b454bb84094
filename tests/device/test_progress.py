"""What long work says."""

from __future__ import annotations

import pytest
import typer

from edgeemo.cli.progress import resumable


def test_ctrl_c_says_what_comes_next(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stopped, resumable():
        raise KeyboardInterrupt
    assert stopped.value.exit_code == 130
    assert capsys.readouterr() == ("", "stopped; the same command goes on from here\n")
