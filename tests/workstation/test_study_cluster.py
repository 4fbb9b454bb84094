"""A study on a real Ray cluster of two nodes, one of which is killed while it trains."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeemo.errors import EdgeEmoError
from edgeemo.workstation.study.engines import ray_cluster
from edgeemo.workstation.study.grid import settings
from edgeemo.workstation.study.study import study
from support.corpora import write_corpus
from support.recipes import TINY_RECIPE

pytestmark = pytest.mark.cluster


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head and a second node with one processor each, as processes of this machine."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 * 2**20})
    made.second = made.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def test_a_node_is_killed_and_every_cell_is_there_once(cluster: Any, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY_RECIPE)
    corpus = write_corpus(tmp_path / "corpus", n_actors=3)
    # The second setting fails in each of its cells, on whatever node.
    overrides = ["training.epochs=1", "protocol.folds=3"]
    compared = settings([recipe], ["pools=[[2, 2], [2, 2]],[[5, 2], [2, 2]]"], overrides)
    told: list[str] = []

    def kill_after_the_first(done: int, total: int, last: str) -> None:
        told.append(last)
        if done == 1:
            cluster.remove_node(cluster.second, allow_graceful=False)

    results = study(
        compared,
        corpus,
        tmp_path / "study",
        ray_cluster(cluster.address),
        progress=kill_after_the_first,
    )
    assert len(told) == 1 + 6, "told of a cell twice, or not"
    with (tmp_path / "study" / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells = Counter((row["setting"], row["fold"], row["seed"]) for row in rows)
    assert len(cells) == 6
    assert set(cells.values()) == {1}
    good = [row for row in rows if "2, 2], [2" in row["setting"]]
    assert [(row["state"], row["error"]) for row in good] == [("finished", "")] * 3
    assert [row["state"] for row in rows if row not in good] == ["failed"] * 3
    assert all("cannot be pooled by 5" in row["error"] for row in rows if row not in good)
    for result in results:
        if result.metrics:
            files = {path.name for path in result.folder.iterdir()}
            assert {"model.keras", "history.csv", "history.png", "confusion.png", "metrics.json"} <= files
            assert (result.metrics.fold, result.metrics.seed) == (result.fold, result.seed)


def test_no_cluster_there(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY_RECIPE)
    corpus = write_corpus(tmp_path / "corpus", n_actors=3)
    with pytest.raises(EdgeEmoError, match=r"127\.0\.0\.1:1"):
        study(settings([recipe]), corpus, tmp_path / "study", ray_cluster("127.0.0.1:1"))
