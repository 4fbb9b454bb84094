"""What a model costs before its first label, in processes that have nothing loaded yet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgeemo
from edgeemo.bench.latency import Latency
from edgeemo.errors import EdgeEmoError

# Runs in a fresh interpreter. The clock is system-wide, so that the parent can read it first. On Linux the
# peak is VmHWM: ru_maxrss there starts from the parent's peak at the moment of the fork.
_SCRIPT = """
import sys, time
start_s, path, n_threads = float(sys.argv[1]), sys.argv[2], int(sys.argv[3])
marks = [time.perf_counter()]
import numpy as np
from edgeemo.images import ImageModel, load_model
marks.append(time.perf_counter())
model = load_model(path, n_threads=n_threads)
is_image = isinstance(model, ImageModel)
step = model.predict if is_image else model.stepper().step
marks.append(time.perf_counter())
m = model.metadata
signal = np.sin(0.05 * np.arange(m.height * m.width if is_image else m.step_samples))
given = 127.5 * (1 + signal.reshape(m.height, m.width)) if is_image else 0.1 * signal
given = given.astype(np.float32)
ready_s = time.perf_counter()
label = model.labels[step(given).argmax()]
marks.append(time.perf_counter())
try:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
except (OSError, StopIteration):
    try:
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    except ImportError:
        peak = 0
import json
print(json.dumps({
    "import": marks[1] - marks[0], "load": marks[2] - marks[1], "first_inference": marks[3] - ready_s,
    "first_label": marks[3] - start_s, "peak": peak,
}))
"""


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """Fresh processes, each of which loads one model and does one step.

    Attributes:
        import_ms: importing edgeemo, numpy and onnxruntime.
        load_ms: loading and checking the model file; a stream graph then runs through a window of silence.
        first_inference_ms: the first step; later ones are faster.
        first_label_ms: from just before the process starts to its first label, the interpreter's start
            included.
        peak_memory_bytes: the process's largest resident set, per process; empty where the system does not
            tell.
    """

    import_ms: Latency
    load_ms: Latency
    first_inference_ms: Latency
    first_label_ms: Latency
    peak_memory_bytes: tuple[int, ...]

    @property
    def peak_memory_mib(self) -> float | None:
        """The median over the processes, in MiB."""
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


def cold_starts(
    paths: Sequence[Path],
    *,
    n_starts: int,
    n_threads: int = 1,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> list[ColdStart]:
    """Start `n_starts` fresh processes per model, the models in turn as in `edgeemo.bench`.

    Args:
        paths: the model files.
        n_starts: processes per model, at least 1.
        n_threads: onnxruntime's intra-op threads.
        on_progress: called with what is being done, how much of it is done, and how much there is.

    Returns:
        one result per file, in their order.

    Raises:
        EdgeEmoError: a process failed.
    """
    runs: list[list[dict[str, float]]] = [[] for _ in paths]
    for i in range(n_starts):
        for j, path in enumerate(paths):
            if on_progress is not None:
                on_progress("cold starts", i * len(paths) + j, n_starts * len(paths))
            runs[j].append(_run(path, n_threads))
    return [_joined(of_one) for of_one in runs]


def _run(path: Path, n_threads: int) -> dict[str, float]:
    """Seconds and bytes of one fresh process.

    Raises:
        EdgeEmoError: it failed; the message carries its last line.
    """
    package = str(Path(edgeemo.__file__).resolve().parent.parent)
    search = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
    command = [sys.executable, "-P", "-c", _SCRIPT, repr(time.perf_counter()), str(path), str(n_threads)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": search}, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise EdgeEmoError(f"{path}: a fresh process could not load and run it ({reason})")
    values: dict[str, float] = json.loads(done.stdout)
    return values


def _joined(runs: Sequence[dict[str, float]]) -> ColdStart:
    """What `_run` found of one model, per process, in the units people quote."""

    def latency(name: str) -> Latency:
        return Latency(f"cold {name.replace('_', ' ')}", np.array([1000 * run[name] for run in runs]))

    return ColdStart(
        import_ms=latency("import"),
        load_ms=latency("load"),
        first_inference_ms=latency("first_inference"),
        first_label_ms=latency("first_label"),
        peak_memory_bytes=tuple(int(run["peak"]) for run in runs if run["peak"]),
    )
