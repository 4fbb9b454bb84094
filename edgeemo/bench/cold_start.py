"""What a model costs before its first label, in processes that have nothing loaded yet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

import edgeemo
from edgeemo.bench import first_label
from edgeemo.bench.latency import Latency
from edgeemo.bench.turns import Progress
from edgeemo.errors import EdgeEmoError


@dataclass(frozen=True, kw_only=True)
class FirstLabel:
    """One fresh process, as `edgeemo.bench.first_label` measures it.

    Attributes:
        import_ms, load_ms, first_inference_ms, first_label_ms: see `ColdStart`.
        peak_bytes: its largest resident set; None where the system does not tell.
    """

    import_ms: float
    load_ms: float
    first_inference_ms: float
    first_label_ms: float
    peak_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """Fresh processes, each of which loads one model and does one step.

    Attributes:
        import_ms: importing edgeemo's modules, numpy and onnxruntime.
        load_ms: loading and checking the model file; a stream graph then runs through a window of silence.
        first_inference_ms: the first step; later ones are faster.
        first_label_ms: from just before the process starts to its first label, the interpreter's start
            included.
        peak_memory_bytes: the largest resident set of each process; empty where the system does not tell.
    """

    import_ms: Latency
    load_ms: Latency
    first_inference_ms: Latency
    first_label_ms: Latency
    peak_memory_bytes: tuple[int, ...]

    @classmethod
    def of(cls, runs: Sequence[FirstLabel]) -> Self:
        """Put together the processes of one model, at least one."""
        return cls(
            import_ms=Latency("cold import", np.array([run.import_ms for run in runs])),
            load_ms=Latency("cold load", np.array([run.load_ms for run in runs])),
            first_inference_ms=Latency(
                "cold first inference", np.array([run.first_inference_ms for run in runs])
            ),
            first_label_ms=Latency("cold first label", np.array([run.first_label_ms for run in runs])),
            peak_memory_bytes=tuple(run.peak_bytes for run in runs if run.peak_bytes is not None),
        )

    @property
    def peak_memory_mib(self) -> float | None:
        """The median over the processes, in MiB; None where the system does not tell."""
        return float(np.median(self.peak_memory_bytes)) / 2**20 if self.peak_memory_bytes else None

    def to_dict(self) -> dict[str, Any]:
        """What JSON keeps."""
        return {
            "import_ms": self.import_ms.to_dict(),
            "load_ms": self.load_ms.to_dict(),
            "first_inference_ms": self.first_inference_ms.to_dict(),
            "first_label_ms": self.first_label_ms.to_dict(),
            "peak_memory_bytes": list(self.peak_memory_bytes),
        }


@dataclass(frozen=True, kw_only=True)
class ColdStarts:
    """What `cold_starts` measured.

    Attributes:
        models: of each file, in their order.
        libraries_ms: from just before a process starts until it has imported numpy and onnxruntime, and nothing of
            edgeemo.
    """

    models: tuple[ColdStart, ...]
    libraries_ms: Latency


def cold_starts(
    paths: Sequence[Path],
    *,
    n_starts: int,
    n_threads: int = 1,
    on_progress: Progress = lambda what, done, total: None,
) -> ColdStarts:
    """Start `n_starts` fresh processes per model and as many without one, in turn.

    Args:
        paths: the model files.
        n_starts: processes per model, at least 1.
        n_threads: onnxruntime's intra-op threads.
        on_progress: told before each process how many there were.

    Raises:
        EdgeEmoError: a process failed.
    """
    runs: list[list[FirstLabel]] = [[] for _ in paths]
    libraries_ms = []
    for i in range(n_starts):
        libraries_ms.append(_libraries_ms())
        for j, path in enumerate(paths):
            on_progress("cold starts", i * len(paths) + j, n_starts * len(paths))
            runs[j].append(_run(path, n_threads))
    return ColdStarts(
        models=tuple(ColdStart.of(of_one) for of_one in runs),
        libraries_ms=Latency("cold import of numpy and onnxruntime", np.array(libraries_ms)),
    )


def _libraries_ms() -> float:
    """One fresh process, from just before its start until it has loaded what every model needs."""
    code = "import numpy, onnxruntime, time; print(time.perf_counter())"
    started_s = time.perf_counter()  # all processes of a system share its clock
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    return 1000 * (float(done.stdout) - started_s)


def _run(path: Path, n_threads: int) -> FirstLabel:
    """One fresh process.

    Raises:
        EdgeEmoError: it failed; the message carries the last line that it wrote to stderr.
    """
    package = str(Path(edgeemo.__file__).resolve().parent.parent)
    search = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
    command = [sys.executable, "-P", "-m", first_label.__name__, str(path), str(n_threads)]
    done = subprocess.run(
        [*command, repr(time.perf_counter())],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": search},
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise EdgeEmoError(f"{path}: a fresh process could not load and run it ({reason})")
    return FirstLabel(**json.loads(done.stdout))
