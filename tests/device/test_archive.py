"""Scoring an archive on a real Ray cluster of two nodes, as a library and as `edgeemo classify --ray`."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from typer.testing import CliRunner, Result

from edgeemo.answer import UNSURE, Judgement
from edgeemo.archive import ArchiveSummary, _summary, classify_archive
from edgeemo.bench.signals import speech_like
from edgeemo.classify import Classifier, to_row
from edgeemo.cli import app
from edgeemo.cluster import connected
from edgeemo.errors import ClusterError, OutputError
from edgeemo.model import EmotionModel

pytestmark = pytest.mark.cluster

N_CLIPS = 20
STORE_BYTES = 100 * 2**20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one processor each, as processes of this machine."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of 8 to 48 kHz in folders, one that is no audio, and one that is empty."""
    folder = tmp_path_factory.mktemp("archive")
    for i in range(N_CLIPS):
        rate = (8000, 11025, 16000, 22050, 44100, 48000)[i % 6]
        path = folder / f"speaker {i % 3}" / f"{i:02d} é.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, speech_like(rate // 2 + 997 * i, rate, seed=i), rate)
    (folder / "corrupt.wav").write_bytes(b"RIFF but not audio at all")
    (folder / "empty.wav").touch()
    return folder


@pytest.fixture(scope="module")
def classifier(tiny_model_path: Path, stream_model_path: Path) -> Classifier:
    return Classifier([EmotionModel(tiny_model_path), EmotionModel(stream_model_path)])


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["classify", *map(str, arguments)])


def rows_of(folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    assert {path.suffix for path in folder.iterdir()} == {".parquet"}
    rows = [row for path in folder.iterdir() for row in pq.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: row["path"])


def rows_here(classifier: Classifier, paths: list[Path]) -> list[dict[str, Any]]:
    return [to_row(result, classifier.labels) for result in classifier.classify(sorted(paths))]


def test_archive_on_two_nodes_is_what_this_machine_says(
    cluster: Any, classifier: Classifier, archive: Path, tmp_path: Path
) -> None:
    paths = list(archive.rglob("*.wav"))
    strange = tmp_path / os.fsdecode(b"latin-1 \xe9.wav")
    output = tmp_path / "new" / "scores #1%20?"
    done = classify_archive(classifier, [*paths, paths[0], strange], output, address=cluster.address)
    assert done == ArchiveSummary(n_scored=N_CLIPS, n_unreadable=3)
    rows = rows_of(output)
    of_strange = rows.pop(next(i for i, row in enumerate(rows) if "latin-1" in row["path"]))
    assert rows == rows_here(classifier, paths)
    assert of_strange["path"] == f"{tmp_path}/latin-1 \\udce9.wav"
    assert of_strange["error"].endswith("no such file or folder")
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_command_led_by_a_task_inside_the_cluster(
    cluster: Any, classifier: Classifier, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `ray://`, whose server now and then dies when it starts (ray-project/ray#63202)."""
    monkeypatch.setattr("edgeemo.archive._is_outside", lambda: True)
    models = [option for model in classifier.models for option in ("--model", model.path)]
    output = tmp_path / "scores"
    output.mkdir()
    result = run(archive, tmp_path / "gone.wav", *models, "--ray", cluster.address, "-o", output)
    assert result.stderr == ""
    assert (result.exit_code, result.stdout) == (1, f"{N_CLIPS} scored, 3 could not be: {output}\n")
    assert rows_of(output) == rows_here(classifier, [*archive.rglob("*.wav"), tmp_path / "gone.wav"])


def test_timelines_of_an_archive(cluster: Any, tiny_model_path: Path, archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows"
    judged = ("--unsure-below", "0.6", "--temperature", "2")
    options = ("--model", tiny_model_path, "--ray", cluster.address, "--timeline", "-o", output, *judged)
    result = run(archive, *options)
    assert (result.exit_code, result.stdout) == (1, f"{N_CLIPS} scored, 2 could not be: {output}\n")
    judgement = Judgement(unsure_below=0.6, temperature=2.0, needs_voice=False, arousal={})
    classifier = Classifier([EmotionModel(tiny_model_path, judgement=judgement)])
    paths = sorted(archive.rglob("*.wav"))
    expected = [to_row(row, classifier.labels) for row in classifier.timelines(paths)]
    assert len(expected) > len(paths)
    assert {row["reason"] for row in expected} >= {None, UNSURE}, "the test cannot fail"
    assert rows_of(output) == expected


def test_failed_job_is_one_line_and_leaves_nothing(
    cluster: Any, tiny_model_path: Path, archive: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(tiny_model_path.read_bytes())
    classifier = Classifier([EmotionModel(copy)])
    copy.write_bytes(b"what the nodes cannot load")
    with pytest.raises(
        ClusterError, match=r"failed: edgeemo\.errors\.ModelError: .*not a model that edgeemo can load"
    ) as caught:
        classify_archive(classifier, [archive / "empty.wav"], tmp_path / "scores", address=cluster.address)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["copy.onnx"]


def test_cluster_of_this_machine_ends_with_its_use() -> None:
    import ray

    with connected("local"):
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        socket.create_connection((host, int(port))).close()
    assert not ray.is_initialized()
    deadline = time.monotonic() + 60
    with contextlib.suppress(ConnectionRefusedError):
        while time.monotonic() < deadline:
            socket.create_connection((host, int(port))).close()
            time.sleep(0.1)
        pytest.fail("Ray still runs")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "nowhere.invalid:6379"])
def test_no_cluster_there(address: str, classifier: Classifier, archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError) as caught:
        classify_archive(classifier, [archive / "empty.wav"], tmp_path / "scores", address=address)
    assert str(caught.value).startswith(f"no Ray cluster at {address} (")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["", "here", "127.0.0.1", "http://127.0.0.1:1", "ray://127.0.0.1"])
def test_address_of_no_kind(address: str) -> None:
    with (
        pytest.raises(ClusterError, match=r"expected auto, local, HOST:PORT or ray://HOST:PORT"),
        connected(address),
    ):
        pass


@pytest.mark.parametrize("taken", ["scores", "scores/already.parquet"])
def test_output_that_is_there_is_kept(
    taken: str, classifier: Classifier, archive: Path, tmp_path: Path
) -> None:
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_text("kept")
    with pytest.raises(OutputError, match=r"already exists; give a new folder"):
        classify_archive(classifier, [archive / "empty.wav"], tmp_path / "scores", address="local")
    assert (tmp_path / taken).read_text() == "kept"


def test_output_that_cannot_be_made(classifier: Classifier, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "scores"
    with pytest.raises(OutputError, match=r"cannot be created"):
        classify_archive(classifier, [archive / "empty.wav"], output, address="local")


def test_rows_that_went_to_a_folder_of_another_node_are_missed(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for i, error in enumerate(("no audio", None)):
        errors = pa.array([error, None, None], pa.string())  # the last clip has two rows
        paths = pa.array([f"{i}a", f"{i}b", f"{i}b"])
        pq.write_table(pa.table({"path": paths, "error": errors}), tmp_path / f"{i}.parquet")
    assert _summary(tmp_path, n_clips=4) == ArchiveSummary(n_scored=3, n_unreadable=1)
    with pytest.raises(ClusterError, match=r"4 of 5 clips .* all nodes share"):
        _summary(tmp_path, n_clips=5)
