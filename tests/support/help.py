"""The help of each command as text: `python tests/support/help.py` writes it anew into tests/device/help/."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from typer import rich_utils
from typer.main import get_group
from typer.testing import CliRunner

from edgeemo.cli import app

FOLDER = Path(__file__).parents[1] / "device" / "help"
WIDTH = 100


def commands() -> list[str]:
    """The names of all commands, and the empty name of the root."""
    return ["", *get_group(app).commands]


def rendered(command: str) -> str:
    """What `edgeemo COMMAND --help` prints, `WIDTH` columns wide, without colour and without spaces at line ends."""
    with patch.multiple(rich_utils, MAX_WIDTH=WIDTH, FORCE_TERMINAL=False):
        result = CliRunner().invoke(app, [*command.split(), "--help"], prog_name="edgeemo")
    assert result.exit_code == 0, result.output
    return "\n".join(line.rstrip() for line in result.stdout.strip().splitlines()) + "\n"


def golden(command: str) -> Path:
    """The file that holds a command's help."""
    return FOLDER / f"{command or 'edgeemo'}.txt"


def main() -> None:
    """Write all files, and remove those of commands that are gone."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.txt"):
        path.unlink()
    for command in commands():
        golden(command).write_text(rendered(command), encoding="utf-8")


if __name__ == "__main__":
    main()
