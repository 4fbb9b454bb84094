"""Classifying a large archive of clips in parallel on a Ray cluster, into Parquet.

Ray is the engine: it distributes the work, redistributes it when a node dies, and writes the files. It is imported
inside the functions, because a device does without it. Every node needs edgeemo with the extra `cluster`, and must
see the clips and the output's parent folder under the same paths as this machine; the models travel with the job.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeemo.answer import Judgement
from edgeemo.classify import Classifier, columns, to_row
from edgeemo.cluster import connected, reason
from edgeemo.errors import ClusterError, OutputError
from edgeemo.model import EmotionModel

if TYPE_CHECKING:
    import pyarrow as pa

# Ray Data gives up when no block ends for half an hour: blocks stay small, however long the clips are.
_MAX_BLOCK_CLIPS = 32
_MIN_BLOCKS = 200

_FILE_BYTES = 1 << 20  # in memory: some 5000 clips
_ROW_GROUP_ROWS = 1 << 20  # a whole file; Ray Data would make one of each block

_Models = tuple[tuple[str, bytes, Judgement], ...]
"""Name and content of each model file, and how its probabilities become answers."""


@dataclass(frozen=True)
class ArchiveSummary:
    """What became of an archive.

    Attributes:
        n_scored: clips that were read; some of them may have no label, and the reason instead.
        n_unreadable: clips with an error instead of a score.
    """

    n_scored: int
    n_unreadable: int


def classify_archive(
    classifier: Classifier,
    clips: Iterable[Path],
    output: Path,
    *,
    address: str,
    timeline: bool = False,
    progress_bar: bool = False,
) -> ArchiveSummary:
    """Score clips in parallel on a Ray cluster.

    Args:
        classifier: what scores them.
        clips: at least one audio file; one that is named twice counts once.
        output: folder for the Parquet files. It appears once everything is scored, never half done. Its columns are
            `edgeemo.classify.columns`; one row per clip, in no particular order, with its absolute path. Where
            one cannot be read, `error` says why, `n_windows` is 0 and the rest is null.
        address: the cluster, as of `edgeemo.cluster.connected`.
        timeline: write a row per window or step of each clip instead of one per clip.
        progress_bar: show Ray Data's, if stdout is a terminal; with `ray://` there is none.

    Raises:
        OutputError: `output` cannot be created, or exists already and is not an empty folder.
        ClusterError: there is no such cluster, or the job failed, or did nothing for half an hour (for example
            because a clip kills every worker that reads it: Ray would retry forever).
        ImportError: Ray is not installed.
    """
    import ray
    import ray.data.exceptions

    models = tuple((m.path.name, m.path.read_bytes(), m.judgement) for m in classifier.models)
    paths = list(dict.fromkeys(os.fsencode(path.absolute()) for path in clips))
    with _new_folder(output.absolute()) as folder, connected(address):
        arguments = (models, paths, str(folder), timeline)
        try:
            if _is_outside():
                # Ray Data cannot be led from outside of a cluster: a task inside leads it.
                lead = ray.remote(num_cpus=0, max_retries=0)(_write_parquet)
                ray.get(lead.remote(*arguments))
            else:
                _write_parquet(*arguments, progress_bar=progress_bar)
        except (ray.exceptions.RayError, ray.data.exceptions.ExecutionTimeoutError) as error:
            raise ClusterError(
                f"the job on the Ray cluster at {address} failed: {reason(error)}; every node needs "
                "edgeemo[cluster] of this version, and must see the clips and the output under the same paths"
            ) from error
        return _summary(folder, n_clips=len(paths))


def _is_outside() -> bool:
    """Whether the connection is through `ray://`, be it by its address or by the variable that `auto` looks up."""
    import ray.util.client

    return bool(ray.util.client.ray.is_connected())  # type: ignore[no-untyped-call]


def _write_parquet(
    models: _Models, paths: list[bytes], folder: str, timeline: bool, *, progress_bar: bool = False
) -> None:
    """Lead the job: cut `paths` into blocks, have each scored by a task, and the rows written to `folder`."""
    import pyarrow as pa
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # an error is raised as well
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = progress_bar
    context.enable_rich_progress_bars = True  # the other kind needs tqdm
    context.use_ray_tqdm = False

    size = min(max(len(paths) // _MIN_BLOCKS, 1), _MAX_BLOCK_CLIPS)
    blocks = [
        pa.table({"path": pa.array(paths[start : start + size], pa.binary())})
        for start in range(0, len(paths), size)
    ]
    # A function, not a class: Ray Data keeps processors back from a class' actors until it sees them busy.
    score = functools.partial(_score_block, models=models, timeline=timeline)
    rows = ray.data.from_arrow(blocks).map_batches(score, batch_format="pyarrow", batch_size=None)
    rows.write_parquet(
        folder,
        min_bytes_per_file=_FILE_BYTES,
        row_group_size=_ROW_GROUP_ROWS,
        ray_remote_args={"num_cpus": 0},  # it takes no time, and would keep a processor from the scoring
    )


def _score_block(block: pa.Table, models: _Models, *, timeline: bool) -> pa.Table:
    """Score some clips, in a worker on some node: a column of paths in, whole rows out."""
    import pyarrow as pa

    classifier = _loaded(models)
    paths = [Path(os.fsdecode(path)) for path in block["path"].to_pylist()]
    score = classifier.timelines if timeline else classifier.classify
    rows = [to_row(result, classifier.labels) for result in score(paths)]
    for row in rows:
        for column in ("path", "error"):  # Parquet takes text only, which the name of a file need not be
            if row[column] is not None:
                row[column] = row[column].encode("utf-8", "backslashreplace").decode("utf-8")
    kinds = dict.fromkeys(("path", "label", "reason", "error"), pa.string()) | {"n_windows": pa.int32()}
    names = columns(classifier.labels, timeline=timeline)
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in names])
    return pa.Table.from_pylist(rows, schema)


@functools.lru_cache(maxsize=1)
def _loaded(models: _Models) -> Classifier:
    """The classifier, loaded once in each worker."""
    loaded = []
    with tempfile.TemporaryDirectory(prefix="edgeemo-") as folder:
        for i, (name, content, judgement) in enumerate(models):
            path = Path(folder) / f"{i}-{name}"
            path.write_bytes(content)
            loaded.append(EmotionModel(path, judgement=judgement))
    return Classifier(loaded)


def _summary(folder: Path, *, n_clips: int) -> ArchiveSummary:
    """Count what is in `folder`.

    Raises:
        ClusterError: not all clips are there.
    """
    import pyarrow.parquet as pq

    scored: set[str] = set()
    unreadable: set[str] = set()
    for file in folder.glob("*.parquet"):
        rows = pq.read_table(file, columns=["path", "error"])
        failed = rows["error"].is_valid()
        unreadable |= set(rows["path"].filter(failed).unique().to_pylist())
        scored |= set(rows["path"].filter(rows["error"].is_null()).unique().to_pylist())
    n_found = len(scored | unreadable)
    if n_found != n_clips:
        raise ClusterError(
            f"{n_found} of {n_clips} clips arrived in {folder}; the folder around the output "
            "must be one that this machine and all nodes share"
        )
    return ArchiveSummary(n_scored=len(scored - unreadable), n_unreadable=len(unreadable))


@contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """A temporary folder beside `output`, which becomes `output` only if the block ends without an error.

    Raises:
        OutputError: it cannot be created, or `output` exists already and is not an empty folder.
    """
    try:
        if output.exists() and not (output.is_dir() and not any(output.iterdir())):
            raise OutputError(f"{output} already exists; give a new folder or an empty one")
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    except OSError as error:
        raise OutputError(f"{output}: cannot be created ({error.strerror}); give another folder") from error
    folder.chmod(0o755)
    try:
        yield folder
        if output.is_dir():
            output.rmdir()
        folder.rename(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
