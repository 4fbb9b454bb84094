"""Which part of a model's time its front end takes, as onnxruntime's profiler tells one graph's nodes apart."""

from __future__ import annotations

import json
import math
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgeemo.bench.signals import endless_blocks
from edgeemo.model import EmotionModel
from edgeemo.session import session_options

FRONTEND_PREFIX = "frontend/"
PROFILED_STEPS = 100
_WARM_UP_STEPS = 2  # a session's first runs are slower


def frontend_share(path: Path, *, n_steps: int = PROFILED_STEPS, n_threads: int = 1) -> float | None:
    """The front end's part of an audio model's compute time, by onnxruntime's profiler in a session of its own.

    The front end's nodes are those named `frontend/...`; a node that onnxruntime fused from several keeps a
    name that contains one of theirs. Profiling adds some 3 us to every node and times whole microseconds: use
    this share, not the profiler's times. It was within 0.07 of the front end timed alone (small networks).

    Args:
        path: the model file.
        n_steps: profiled steps, after warm-up.
        n_threads: onnxruntime's intra-op threads.

    Returns:
        from 0 to 1: the median over `n_steps` steps of front-end node time over all node time; None
        where no node is named as the front end's.

    Raises:
        ModelError: the model cannot be loaded, or is one of images.
    """
    with tempfile.TemporaryDirectory(prefix="edgeemo-bench-") as folder:
        options = session_options(n_threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        model = EmotionModel(path, options=options)
        m = model.metadata
        step = model.start()
        # The stream begins with a window of silence, which may be faster to compute.
        n_unused = _WARM_UP_STEPS + math.ceil(m.window_samples / m.step_samples)
        for block in islice(endless_blocks(m.step_samples, model.sample_rate), n_unused + n_steps):
            step(block)
        profile = Path(model.session.end_profiling())
        events = json.loads(profile.read_text(encoding="utf-8"))
        del model, step
    n_runs = sum(event.get("name") == "model_run" for event in events)
    return share_in_profile(events, skip=n_runs - n_steps)


def share_in_profile(events: list[dict[str, Any]], *, skip: int) -> float | None:
    """The front end's share in the events of an onnxruntime profile.

    Args:
        events: the parsed profile.
        skip: how many runs at its beginning count as warm-up.

    Returns:
        from 0 to 1: the median over the runs; None if no node is named as the front end's, or no run is left.
    """
    durations: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith("_kernel_time"):
            durations.setdefault(event["name"], []).append(float(event["dur"]))
    runs = {name: np.array(values[skip:]) for name, values in durations.items()}
    frontend = [values for name, values in runs.items() if FRONTEND_PREFIX in name]
    if not frontend or not len(frontend[0]):
        return None
    total = np.sum(list(runs.values()), axis=0)
    return float(np.median(np.sum(frontend, axis=0) / total))
