"""The front end's share of a model's time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeemo.bench.frontend_share import frontend_share, share_in_profile


def node(name: str, us: int) -> dict[str, Any]:
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": us}


def test_share_is_the_front_ends_part_of_node_time() -> None:
    warm_up = [node("frontend/mel", 999), node("fused frontend/log", 999), node("net/conv", 1)]
    run = [
        {"cat": "Session", "name": "model_run", "dur": 10_000},
        {"cat": "Node", "name": "frontend/mel_fence_before", "dur": 5_000},
        node("frontend/mel", 20),
        node("fused frontend/log", 10),
        node("net/conv", 70),
    ]
    assert share_in_profile([*warm_up, *run, *run], skip=1) == pytest.approx(0.3)
    assert share_in_profile([*run, *run, *warm_up], skip=0) == pytest.approx(0.3), "the median run"


@pytest.mark.parametrize("events", [[], [node("net/conv", 3)], [node("frontend/mel", 3)]])
def test_a_profile_without_front_end_or_runs_has_no_share(events: list[dict[str, Any]]) -> None:
    assert share_in_profile(events, skip=1) is None


def test_profile_is_left_nowhere(
    tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    share = frontend_share(tiny_model_path, n_steps=5)
    assert share is not None, "nothing was profiled"
    assert 0 < share < 1
    assert list(tmp_path.iterdir()) == []
