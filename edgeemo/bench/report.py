"""Latency of models on this machine, measured side by side.

A *step* is what the live loop does per `step_samples` of audio: one `Listener.push` of that much microphone
audio through the resampler and the model: a window graph sees a whole window each time, a stream graph the new
audio. Of a model of images, a step is one image.

The models take turns: in each round, each of them does a short block of steps, beginning with another model
each time. Whatever else the machine does then slows all of them alike, and their ratios hold on a busy
machine too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeemo import __version__
from edgeemo.bench import machine
from edgeemo.bench.cold_start import ColdStart, cold_starts
from edgeemo.bench.frontend_share import frontend_share
from edgeemo.bench.latency import Latency
from edgeemo.bench.signals import SEED, endless_blocks
from edgeemo.errors import EdgeEmoError, ModelError
from edgeemo.images import ImageModel, load_model
from edgeemo.live import Listener
from edgeemo.markdown import markdown_table
from edgeemo.metadata import Metadata
from edgeemo.model import EmotionModel, Probabilities
from edgeemo.stepper import stepper

Audio = npt.NDArray[np.float32]

SOURCE_RATE = 48000
BASELINES = {"audio": "pure_cnn.window", "image": "fashion_cnn"}
"""What the other models of a kind are compared with, where it is among them."""
BLOCK_STEPS = 25
WARM_UP_STEPS = 25
SETTLING_STEPS = 2
PROFILED_STEPS = 100
COLD_STARTS = 3
_N_IMAGES = 64
_MAX_FRUITLESS = 100


@dataclass(frozen=True, kw_only=True)
class ModelBench:
    """What was measured of one model.

    Attributes:
        name: the file's name without its suffix.
        n_parameters: weights of the network.
        n_bytes: size of the file.
        window_s: seconds of audio that the network was trained on, and that one inference of a window graph takes;
            None of a model of images.
        step_s: seconds of audio that one step has to keep up with; None of a model of images.
        step_ms: whole steps, warm.
        warm_up_ms: the steps before those, counted nowhere else.
        resample_ms: of each step, the part spent resampling; None of a model of images.
        model_ms: of each step, the part spent in the model, as `edgeemo.live.Step` has it.
        frontend_share: the front end's part of the model's time, from 0 to 1, as onnxruntime's profiler sees
            it; None of a model of images, and where no node is named as the front end's.
        cold: fresh processes.
    """

    name: str
    n_parameters: int
    n_bytes: int
    window_s: float | None
    step_s: float | None
    step_ms: Latency
    warm_up_ms: Latency
    resample_ms: Latency | None
    model_ms: Latency
    frontend_share: float | None
    cold: ColdStart

    @property
    def kind(self) -> str:
        """`audio` or `image`."""
        return "image" if self.step_s is None else "audio"

    @property
    def frontend_ms(self) -> float | None:
        """The front end's share of the unprofiled median of the model's time."""
        return None if self.frontend_share is None else self.frontend_share * self.model_ms.p50_ms

    @property
    def network_ms(self) -> float | None:
        """The network's share of the unprofiled median of the model's time: all of it in a model of images."""
        if self.step_s is None:
            return self.model_ms.p50_ms
        return None if self.frontend_share is None else (1 - self.frontend_share) * self.model_ms.p50_ms

    @property
    def real_time_factor(self) -> float | None:
        """Median step over the audio it has to keep up with; 0.01 leaves 99 % of a core idle."""
        return None if self.step_s is None else self.step_ms.p50_ms / (1000 * self.step_s)


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """A whole run: every model, the machine, and how it was measured.

    Attributes:
        models: one result per model, in the order asked for.
        machine: what `edgeemo.bench.machine.describe` found.
        settings: how it was measured: `n_steps`, `n_threads`, `source_rate` and the like.
    """

    models: tuple[ModelBench, ...]
    machine: dict[str, str | int]
    settings: dict[str, int | str]

    @property
    def baselines(self) -> dict[str, ModelBench]:
        """What the models of each kind in the report are compared with: the one that `BASELINES` names; else the
        first that is called a CNN, as the published comparisons have it; else the first.
        """
        found = {}
        for kind, name in BASELINES.items():
            own = [m for m in self.models if m.kind == kind]
            cnns = [m for m in own if m.name == name] + [m for m in own if "cnn" in m.name]
            if own:
                found[kind] = (cnns or own)[0]
        return found

    @property
    def ratio_title(self) -> str:
        """What a column of ratios is called."""
        return "x CNN" if all("cnn" in m.name for m in self.baselines.values()) else "x baseline"

    def ratio(self, model: ModelBench) -> float:
        """Median step of `model` over that of its kind's baseline, from this same run."""
        return model.step_ms.p50_ms / self.baselines[model.kind].step_ms.p50_ms

    def caption(self) -> str:
        """How it was measured and where, in a few sentences."""
        s = self.settings
        steps = ""
        if any(m.step_s is not None for m in self.models):
            steps += (
                f"A step resamples {s['source_rate']} Hz audio and runs the model once; front end and "
                "network are the model's median split by onnxruntime's profiler. "
            )
        if any(m.step_s is None for m in self.models):
            steps += "A step of a model of images is one image. "
        compared = ", of images to ".join(m.name for m in self.baselines.values())
        return (
            f"{s['n_steps']} steps per model after warm-up, onnxruntime threads: {s['n_threads']}, models in "
            f"turn. {steps}{self.ratio_title}: to {compared}. First inference, start (process "
            f"to first label) and peak memory: medians of {s['n_cold_starts']} fresh processes. "
            f"edgeemo {s['edgeemo']}. {machine.caption(self.machine)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """What JSON keeps: machine, settings, and per model the summary and all raw values."""
        return {
            "machine": self.machine,
            "settings": self.settings,
            "models": [
                {
                    "name": m.name,
                    "n_parameters": m.n_parameters,
                    "n_bytes": m.n_bytes,
                    "window_s": m.window_s,
                    "step_s": m.step_s,
                    "real_time_factor": m.real_time_factor,
                    "baseline": self.baselines[m.kind].name,
                    "ratio_to_baseline": self.ratio(m),
                    "frontend_share": m.frontend_share,
                    "frontend_ms": m.frontend_ms,
                    "network_ms": m.network_ms,
                    "step_ms": m.step_ms.to_dict(),
                    "warm_up_ms": m.warm_up_ms.to_dict(),
                    "resample_ms": None if m.resample_ms is None else m.resample_ms.to_dict(),
                    "model_ms": m.model_ms.to_dict(),
                    "cold": m.cold.to_dict(),
                }
                for m in self.models
            ],
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False) + "\n"

    def to_markdown(self) -> str:
        """The table and its caption in Markdown."""
        titles = [
            "model",
            "parameters",
            "KiB",
            "resample ms",
            "front end ms",
            "network ms",
            "step p50 ms",
            "p90",
            "p99",
            "max",
            self.ratio_title,
            "real-time factor",
            "first inference ms",
            "process to first label ms",
            "peak MiB",
        ]
        rows = [dict(zip(titles, self._row(m), strict=True)) for m in self.models]
        return "\n".join([*markdown_table(rows), "", self.caption(), ""])

    def _row(self, m: ModelBench) -> list[str]:
        return [
            m.name,
            f"{m.n_parameters}",
            f"{m.n_bytes / 1024:.0f}",
            _decimals(m.resample_ms.p50_ms if m.resample_ms else None, 3),
            _decimals(m.frontend_ms, 3),
            _decimals(m.network_ms, 3),
            f"{m.step_ms.p50_ms:.3f}",
            f"{m.step_ms.p90_ms:.3f}",
            f"{m.step_ms.p99_ms:.3f}",
            f"{m.step_ms.max_ms:.3f}",
            f"{self.ratio(m):.2f}",
            _decimals(m.real_time_factor, 4),
            f"{m.cold.first_inference_ms.p50_ms:.2f}",
            f"{m.cold.first_label_ms.p50_ms:.0f}",
            _decimals(m.cold.peak_memory_mib, 0),
        ]


def bench(
    paths: Sequence[Path],
    *,
    n_steps: int = 1000,
    n_threads: int = 1,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> BenchReport:
    """Measure models side by side on this machine.

    Args:
        paths: the model files.
        n_steps: timed steps per model, after warm-up.
        n_threads: onnxruntime's intra-op threads.
        on_progress: called with what is being done, how much of it is done, and how much there is.

    Raises:
        ModelError: no model, or one that cannot be loaded.
        EdgeEmoError: a fresh process failed.
        ValueError: less than one step or thread.
    """
    if n_steps < 1 or n_threads < 1:
        raise ValueError(f"{n_steps} steps on {n_threads} threads; both must be at least 1")
    if not paths:
        raise ModelError("no model to measure: none is shipped here; give one with --model FILE")
    report = on_progress or (lambda what, done, total: None)
    models = [load_model(path, n_threads=n_threads) for path in paths]
    benches = [_Runner(model) for model in models]

    cold = cold_starts(paths, n_starts=COLD_STARTS, n_threads=n_threads, on_progress=report)
    in_turn(benches, n_steps, report)

    shares = []
    for i, model in enumerate(models):
        report("profiling", i, len(paths))
        is_audio = isinstance(model, EmotionModel)
        shares.append(
            frontend_share(model.path, n_steps=PROFILED_STEPS, n_threads=n_threads) if is_audio else None
        )
    report("profiling", len(paths), len(paths))
    return BenchReport(
        models=tuple(r.result(c, share) for r, c, share in zip(benches, cold, shares, strict=True)),
        machine=machine.describe(),
        settings={
            "edgeemo": __version__,
            "n_steps": n_steps,
            "n_threads": n_threads,
            "source_rate": SOURCE_RATE,
            "n_warm_up_steps": WARM_UP_STEPS,
            "n_block_steps": BLOCK_STEPS,
            "n_settling_steps": SETTLING_STEPS,
            "n_profiled_steps": PROFILED_STEPS,
            "n_cold_starts": COLD_STARTS,
            "seed": SEED,
        },
    )


def side_by_side(
    models: Sequence[Path | EmotionModel | ImageModel],
    *,
    n_steps: int = 1000,
    n_threads: int = 1,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> list[Latency]:
    """Time only the models' part of a step, front end and network, for files that are to be compared.

    Args:
        models: files, or what they were loaded as.
        n_steps, n_threads, on_progress: see `bench`; `n_threads` counts for files.

    Returns:
        one latency per model, in their order.

    Raises:
        ModelError: a file cannot be loaded.
    """
    runners = [_BareRunner(load_model(m, n_threads=n_threads) if isinstance(m, Path) else m) for m in models]
    in_turn(runners, n_steps, on_progress or (lambda what, done, total: None))
    return [Latency("model", np.array(runner.values_ms)) for runner in runners]


class _Takes(Protocol):
    """What takes turns."""

    def warm_up(self, n_steps: int) -> None: ...

    def measure(self, n_steps: int) -> None: ...


def in_turn(runners: Sequence[_Takes], n_steps: int, report: Callable[[str, int, int], None]) -> None:
    """Have `n_steps` of each measured, a block of each at a time, beginning with another one each round."""
    for runner in runners:
        runner.warm_up(WARM_UP_STEPS)
    for done in range(0, n_steps, BLOCK_STEPS):
        first = done // BLOCK_STEPS % len(runners)
        report("steps", done, n_steps)
        for runner in [*runners[first:], *runners[:first]]:
            runner.measure(min(BLOCK_STEPS, n_steps - done))
    report("steps", n_steps, n_steps)


def _bare_steps(model: EmotionModel | ImageModel) -> Iterator[float]:
    """Milliseconds of endless steps of a model, without the live loop around it."""
    step: Callable[[Audio], Probabilities]
    inputs: Iterator[Audio]
    if isinstance(model, ImageModel):
        m = model.metadata
        images = np.random.default_rng(SEED).uniform(0, 255, (_N_IMAGES, m.height, m.width))
        step, inputs = model.predict, cycle(images.astype(np.float32))
    else:
        step = stepper(model).step
        inputs = endless_blocks(model.metadata.step_samples, model.metadata.features.sample_rate)
    for given in inputs:
        start_ns = time.perf_counter_ns()
        step(given)
        yield (time.perf_counter_ns() - start_ns) / 1e6


def _steps(model: EmotionModel | ImageModel) -> Iterator[tuple[float, float | None, float]]:
    """Milliseconds of endless steps: whole, resampling, model. An audio model makes them in the live loop.

    The resampler gives its samples in chunks, so that now and then a push completes no step or two: those are not
    one step, and are not counted.

    Raises:
        EdgeEmoError: no push completes one step.
    """
    if isinstance(model, ImageModel):
        for whole_ms in _bare_steps(model):
            yield whole_ms, None, whole_ms
        return
    listener = Listener(model, SOURCE_RATE)
    fruitless = 0
    for block in endless_blocks(round(model.metadata.step_s * SOURCE_RATE), SOURCE_RATE):
        start_ns = time.perf_counter_ns()
        steps = listener.push(block)
        whole_ms = (time.perf_counter_ns() - start_ns) / 1e6
        if len(steps) == 1:
            yield whole_ms, steps[0].resample_ms, steps[0].model_ms
        fruitless = 0 if len(steps) == 1 else fruitless + 1
        if fruitless == _MAX_FRUITLESS:
            raise EdgeEmoError(f"{model.path}: a push of one step of audio does not complete one step")


class _BareRunner:
    """One model, stepped without the live loop around it.

    Attributes:
        values_ms: of the measured steps.
    """

    def __init__(self, model: EmotionModel | ImageModel) -> None:
        self._steps = _bare_steps(model)
        self.values_ms: list[float] = []

    def warm_up(self, n_steps: int) -> None:
        """Do `n_steps` without counting them."""
        for _ in islice(self._steps, n_steps):
            pass

    def measure(self, n_steps: int) -> None:
        """Do `n_steps`; a few untimed ones first bring this model back into the caches."""
        self.warm_up(SETTLING_STEPS)
        self.values_ms += islice(self._steps, n_steps)


class _Runner:
    """One model, fed with the same endless signal as the others of its kind; one of audio in the live loop."""

    def __init__(self, model: EmotionModel | ImageModel) -> None:
        self._model = model
        self._steps = _steps(model)
        self._warm_up: list[float] = []
        self._step: list[float] = []
        self._resample: list[float] = []
        self._network: list[float] = []

    def warm_up(self, n_steps: int) -> None:
        """Do `n_steps`, timed apart."""
        self._warm_up += [whole for whole, _, _ in islice(self._steps, n_steps)]

    def measure(self, n_steps: int) -> None:
        """Do `n_steps`; a few untimed ones first bring this model back into the caches."""
        for _ in islice(self._steps, SETTLING_STEPS):
            pass
        for whole, resample, network in islice(self._steps, n_steps):
            self._step.append(whole)
            self._network.append(network)
            if resample is not None:
                self._resample.append(resample)

    def result(self, cold: ColdStart, share: float | None) -> ModelBench:
        m = self._model.metadata
        return ModelBench(
            name=self._model.path.stem,
            n_parameters=m.n_parameters,
            n_bytes=self._model.path.stat().st_size,
            window_s=m.window_s if isinstance(m, Metadata) else None,
            step_s=m.step_s if isinstance(m, Metadata) else None,
            step_ms=Latency("step", np.array(self._step)),
            warm_up_ms=Latency("warm-up step", np.array(self._warm_up)),
            resample_ms=Latency("resample", np.array(self._resample)) if self._resample else None,
            model_ms=Latency("model", np.array(self._network)),
            frontend_share=share,
            cold=cold,
        )


def _decimals(value: float | None, n: int) -> str:
    return "" if value is None else f"{value:.{n}f}"
