"""Where the cells of a study run: in local processes, or on a Ray cluster.

An engine takes jobs and yields each one as it ends, with the reason why it failed, or None. By then the job's files
are in its folder.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from edgeemo.cluster import connected, reason
from edgeemo.errors import EdgeEmoError
from edgeemo.files import replacing
from edgeemo.workstation.study.job import Job, command, limit_threads, train_job
from edgeemo.workstation.training.folder import METRICS_FILE

Engine = Callable[[Sequence[Job]], Iterator[tuple[Job, str | None]]]


def local_processes(n_processes: int) -> Engine:
    """So many processes of this machine at a time, a fresh one for each job: one that dies takes no other with it."""

    def run(jobs: Sequence[Job]) -> Iterator[tuple[Job, str | None]]:
        with ThreadPoolExecutor(n_processes) as pool:
            running = {pool.submit(_in_process, job): job for job in jobs}
            try:
                for done in as_completed(running):
                    yield running[done], done.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    return run


def _in_process(job: Job) -> str | None:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    # The job's standard input ends when this process does, however it ends, and the job with it.
    reader, writer = os.pipe()
    try:
        done = subprocess.run(
            command(job), stdin=reader, capture_output=True, text=True, env=environment, check=False
        )
    finally:
        os.close(writer)
        os.close(reader)
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"killed by {signal.Signals(-done.returncode).name}"
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def ray_cluster(address: str) -> Engine:
    """A Ray cluster, which places the jobs, and places them again if a node dies.

    Its nodes need edgeemo with the extras `train` and `cluster`, and the corpora under the same path.

    Args:
        address: as `edgeemo.cluster.connected` takes it.

    Raises:
        ImportError: Ray is not installed.
    """
    import ray

    def run(jobs: Sequence[Job]) -> Iterator[tuple[Job, str | None]]:
        with connected(address):
            remote = ray.remote(_on_node)
            running = {
                remote.options(num_cpus=job.threads or 1, name=job.name).remote(job, _manifest(job)): job
                for job in jobs
            }
            while running:
                (done,), _ = ray.wait(list(running))
                job = running.pop(done)
                try:
                    error, files = ray.get(done)
                except ray.exceptions.RayError as failure:
                    error, files = reason(failure), {}
                for name, content in files.items():
                    with replacing(Path(job.folder) / name) as temporary:
                        temporary.write_bytes(content)
                yield job, error

    return run


def _manifest(job: Job) -> bytes | None:
    """A manifest travels with its job; a folder has to be on the node."""
    path = Path(job.data)
    return path.read_bytes() if path.is_file() else None


def _on_node(job: Job, manifest: bytes | None) -> tuple[str | None, dict[str, bytes]]:
    """Train a job in a temporary folder of the node.

    Returns:
        why it failed, or None; its files by name, the metrics last, because they say that the cell is finished.
    """
    with tempfile.TemporaryDirectory(prefix="edgeemo-job-") as name:
        folder = Path(name)
        changes: dict[str, Any] = {"folder": str(folder / "job")}
        if manifest is not None:
            (folder / "manifest.csv").write_bytes(manifest)
            changes["data"] = str(folder / "manifest.csv")
        try:
            limit_threads(job)
            train_job(dataclasses.replace(job, **changes))
        except EdgeEmoError as error:
            return str(error), {}
        files = sorted((folder / "job").iterdir(), key=lambda path: path.name == METRICS_FILE)
        return None, {path.name: path.read_bytes() for path in files}
