"""The benchmark on corpora that were left out: its tables say what was measured."""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path
from typing import Any

import pytest

from edgeemo.evaluation.tables import percent
from support.corpora import write_crema_d

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def strangers() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "strangers.py"))


@pytest.fixture(scope="module")
def stranger(strangers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("strangers")
    data = write_crema_d(folder / "data", speakers=(1001, 1002), emotions=("ANG", "NEU", "SAD"))
    options = argparse.Namespace(clips=4, no_voice=None, plain=data, jobs=1)
    model = ROOT / "tests" / "device" / "tiny.learning.onnx"
    return strangers["heard"]("crema_d", model, data, folder / "done", options)


def test_the_page_says_what_was_measured(strangers: dict[str, Any], stranger: Any) -> None:
    page = strangers["page"]("emo_small", [stranger], 4)
    assert "--clips 4`" in page
    always = stranger.always
    assert f"| CREMA-D | 6 | 2 | {percent(always.scores.uar)} |" in page
    assert f"| mean |  |  | **{100 * always.scores.uar.value:.1f}** |" in page
    assert f"arousal AUC of {always.history[0].n_clips} clips" in page
    for row in always.history:
        assert f"| {row.heard.removeprefix('after ')} | {100 * row.uar:.1f} / " in page
    assert [row.heard for row in always.history][-1] == "after 60 s of neutral speech"
    for row in always.robustness:
        assert f"| {row.group}: {row.condition} | {100 * row.change.value:+.1f} |" in page
    assert f"{100 * stranger.judged.plain.neutral_or_unnamed:.0f} % |" in page


def test_the_picture_shows_each_corpus(strangers: dict[str, Any], stranger: Any) -> None:
    [axes] = strangers["picture"]([stranger, stranger]).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["CREMA-D", "CREMA-D"]
    heights = sorted(bar.get_height() for bar in axes.patches)
    expected = [stranger.always.history[0].first, *(row.uar for row in stranger.always.history)]
    assert heights == pytest.approx(sorted(100 * value for value in expected * 2))
