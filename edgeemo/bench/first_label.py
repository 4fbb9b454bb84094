"""A process up to its first label. `edgeemo.bench.cold_start` runs this module in fresh ones:

    python -P -m edgeemo.bench.first_label PATH N_THREADS STARTED_S

It loads a model, does one step, and writes what that took as one line of JSON. Importing is part of what is measured:
nothing is imported up here that Python has not loaded anyway.
"""

from __future__ import annotations

import sys
import time


def main(path: str, n_threads: int, started_s: float) -> None:
    """Measure, and write the fields of `edgeemo.bench.cold_start.FirstLabel` to stdout.

    Args:
        path: the model file.
        n_threads: onnxruntime's intra-op threads.
        started_s: when this process was about to be started, in the seconds of `time.perf_counter`, whose clock all
            processes of a system share.

    Raises:
        ModelError: the file cannot be loaded.
    """
    begun_s = time.perf_counter()
    import numpy as np

    from edgeemo.images import load_model

    imported_s = time.perf_counter()
    model = load_model(path, n_threads=n_threads)
    step = model.start()
    loaded_s = time.perf_counter()
    # In the range of audio, and of grey values: a hum, or dark stripes. What it shows does not change the time.
    hum = 0.1 + 0.1 * np.sin(0.05 * np.arange(np.prod(model.input_shape)))
    given = hum.reshape(model.input_shape).astype(np.float32)
    ready_s = time.perf_counter()
    _ = model.labels[step(given).argmax()]
    labelled_s = time.perf_counter()
    peak_bytes = _peak_bytes()

    import json

    found = {
        "import_ms": 1000 * (imported_s - begun_s),
        "load_ms": 1000 * (loaded_s - imported_s),
        "first_inference_ms": 1000 * (labelled_s - ready_s),
        "first_label_ms": 1000 * (labelled_s - started_s),
        "peak_bytes": peak_bytes,
    }
    sys.stdout.write(json.dumps(found) + "\n")


def _peak_bytes() -> int | None:
    """This process's largest resident set; None where the system does not tell."""
    from pathlib import Path

    status = Path("/proc/self/status")
    if status.exists():  # Linux, where ru_maxrss starts from the parent's peak at the moment of the fork
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
