"""Each command's help, as it is printed, beside what it is known to be."""

from __future__ import annotations

import pytest

from support import help as help_texts

RENEW = (
    "read the difference; if it is meant, run `python tests/support/help.py` and commit tests/device/help/"
)


@pytest.mark.parametrize("command", help_texts.commands(), ids=lambda command: command or "edgeemo")
def test_help_is_what_was_committed(command: str) -> None:
    expected = help_texts.golden(command).read_text(encoding="utf-8")
    assert help_texts.rendered(command) == expected, RENEW


def test_every_file_is_of_a_command() -> None:
    found = set(help_texts.FOLDER.iterdir())
    assert found == set(map(help_texts.golden, help_texts.commands())), RENEW
