"""The runtime and the models: whether each loads, and what a step takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from edgeemo.doctor.findings import Check, Finding, Verdict
from edgeemo.errors import EdgeEmoError
from edgeemo.events import Step
from edgeemo.images import load_model
from edgeemo.live import listen
from edgeemo.model import load
from edgeemo.places import DEFAULT_MODEL, MODELS_DIR, sample_path, shipped_models
from edgeemo.sources import AudioFile
from edgeemo.wording import counted


def examine_models() -> Iterator[Finding]:
    """The findings on onnxruntime, the shipped models and the default one."""
    yield Finding(
        check=Check.RUNTIME, verdict=Verdict.OK, found=ort.__version__, facts={"version": ort.__version__}
    )
    yield from _files(shipped_models())
    yield _step()


def _files(paths: Sequence[Path]) -> Iterator[Finding]:
    """One finding on all files that load, and one on each that does not. Loading checks the graph's checksum."""
    if not paths:
        yield Finding.of(Check.MODELS, Verdict.PROBLEM, f"no models in {MODELS_DIR}; install edgeemo again")
    loaded_bytes = []
    for path in paths:
        try:
            load_model(path)
        except EdgeEmoError as error:
            yield Finding.of(Check.MODELS, Verdict.PROBLEM, str(error), path=str(path))
        else:
            loaded_bytes.append(path.stat().st_size)
    if loaded_bytes:
        files = counted(len(loaded_bytes), "file")
        yield Finding(
            check=Check.MODELS,
            verdict=Verdict.OK,
            found=f"{files} of {sum(loaded_bytes) / 2**20:.1f} MiB loaded, their checksums fit",
            facts={"files": len(loaded_bytes), "bytes": sum(loaded_bytes)},
        )


def _step() -> Finding:
    """What a step of the default model takes in the live loop, where somebody speaks."""
    try:
        model = load(DEFAULT_MODEL)
        events = list(listen(AudioFile(sample_path(), realtime=False), model))
    except EdgeEmoError as error:
        return Finding.of(Check.MODELS, Verdict.PROBLEM, str(error))
    spoken = [event.latency_ms for event in events if isinstance(event, Step) and not event.paused]
    median_ms, step_ms = float(np.median(spoken)), 1000 * model.metadata.step_s
    found = (
        f"{model.metadata.variant}: {median_ms:.2f} ms (median of {len(spoken)}) for {step_ms:g} ms of sound"
    )
    facts = {"model": model.metadata.variant, "median_ms": median_ms, "step_ms": step_ms, "n": len(spoken)}
    if median_ms > step_ms:
        mend = "choose a faster model: edgeemo bench --model emo_small --model conv1d_lstm"
        slow = f"{found}: slower than real time"
        return Finding(check=Check.STEP, verdict=Verdict.PROBLEM, found=slow, mend=mend, facts=facts)
    return Finding(check=Check.STEP, verdict=Verdict.OK, found=found, facts=facts)
