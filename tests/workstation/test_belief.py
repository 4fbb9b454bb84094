"""What the cards and the README say of corpora never heard is what was measured."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from edgeemo.evaluation.results import Evaluation

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def belief() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "belief.py"))


@pytest.fixture(scope="module")
def blocks(belief: dict[str, Any]) -> dict[Path, str]:
    paths = [ROOT / "benchmarks" / "results" / f"{name}.json" for name in belief["GROUPS"]]
    return belief["documents"]([Evaluation.from_dict(json.loads(path.read_bytes())) for path in paths])


def test_documents_say_what_was_measured(belief: dict[str, Any], blocks: dict[Path, str]) -> None:
    """After another measurement or export: `python benchmarks/belief.py --documents`."""
    assert len(blocks) == 1 + sum(len(models) for models in belief["GROUPS"].values())
    for path, block in blocks.items():
        text = path.read_text(encoding="utf-8")
        assert belief["with_block"](text, block) == text, path.name


def test_a_card_that_was_written_anew_gets_its_block(belief: dict[str, Any]) -> None:
    card = "# x\n\n## Scores\n\nmany\n\n## Limits\n\nsome\n"
    with_block = belief["with_block"](card, "block")
    assert with_block == card.replace("## Limits", "<!-- belief -->\nblock\n<!-- /belief -->\n\n## Limits")
    assert belief["with_block"](with_block, "block") == with_block
