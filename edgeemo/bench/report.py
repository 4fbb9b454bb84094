"""Latency of models on this machine, measured side by side.

A *step* is what the live loop does for every `step_samples` of audio: one `Listener.push` of that much microphone
audio, through the resampler and the model. A window graph sees a whole window each time, a stream graph the new audio
alone. Of a model of images, a step is one image.

Steps are measured twice: *back to back*, each right after the other, and *at the cadence* of a microphone, where the
loop sleeps until the next step is due. The second is what the live loop shows.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeemo import __version__
from edgeemo.bench import cadence
from edgeemo.bench.cadence import take_turns_at_cadence
from edgeemo.bench.cold_start import ColdStart, cold_starts
from edgeemo.bench.frontend_share import PROFILED_STEPS
from edgeemo.bench.kinds import (
    SOURCE_RATE,
    AudioPart,
    Compared,
    StepTimes,
    audio_part,
    compared_steps,
    endless_inputs,
)
from edgeemo.bench.latency import Latency
from edgeemo.bench.machine import Machine, describe
from edgeemo.bench.signals import SEED
from edgeemo.bench.turns import (
    BLOCK_STEPS,
    SETTLING_STEPS,
    WARM_UP_STEPS,
    Progress,
    take_turns,
    timed_steps,
)
from edgeemo.errors import ModelError
from edgeemo.images import load_model
from edgeemo.markdown import markdown_table
from edgeemo.model import Model

BASELINES = {"audio": "pure_cnn.window", "image": "fashion_cnn"}
"""What the other models of a kind are compared with, where it is among them."""
COLD_STARTS = 3


@dataclass(frozen=True, kw_only=True)
class ModelBench:
    """What was measured of one model.

    Attributes:
        name: the file's name without its suffix.
        n_parameters: weights of the network.
        n_bytes: size of the file.
        step_ms: whole steps, back to back.
        warm_up_ms: the steps before those, counted nowhere else.
        model_ms: of each step, the part spent in the model, as `edgeemo.live.Step` has it.
        cold: fresh processes.
        audio: what only a model of audio has; None of a model of images.
    """

    name: str
    n_parameters: int
    n_bytes: int
    step_ms: Latency
    warm_up_ms: Latency
    model_ms: Latency
    cold: ColdStart
    audio: AudioPart | None

    @property
    def kind(self) -> str:
        """`audio` or `image`."""
        return "image" if self.audio is None else "audio"

    @property
    def frontend_share(self) -> float | None:
        """The front end's part of the model's time; None where there is none, or it is not known."""
        return self.audio.frontend_share if self.audio else None

    @property
    def frontend_ms(self) -> float | None:
        """The front end's share of the unprofiled median of the model's time."""
        return None if self.frontend_share is None else self.frontend_share * self.model_ms.p50_ms

    @property
    def network_ms(self) -> float | None:
        """The network's share of the unprofiled median of the model's time: all of it in a model of images."""
        if self.kind == "image":
            return self.model_ms.p50_ms
        return None if self.frontend_share is None else (1 - self.frontend_share) * self.model_ms.p50_ms

    @property
    def cadence_ratio(self) -> float | None:
        """Median step at the cadence of a microphone over that back to back."""
        return self.audio.cadence_ms.p50_ms / self.step_ms.p50_ms if self.audio else None

    @property
    def real_time_factor(self) -> float | None:
        """Median step over the audio it has to keep up with; 0.01 leaves 99 % of a core idle."""
        return self.step_ms.p50_ms / (1000 * self.audio.step_s) if self.audio else None


@dataclass(frozen=True, kw_only=True)
class VoiceBench:
    """What was measured of the voice detector, which runs in each step of a model that judges voices only.

    Attributes:
        step_ms: its part of a step, back to back.
        cadence_ms: likewise, at the cadence of a microphone.
    """

    step_ms: Latency
    cadence_ms: Latency

    def to_dict(self) -> dict[str, Any]:
        """What JSON keeps."""
        return {"step_ms": self.step_ms.to_dict(), "cadence_ms": self.cadence_ms.to_dict()}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How models were measured.

    Attributes:
        edgeemo: its version.
        n_steps: timed steps per model.
        n_threads: onnxruntime's intra-op threads.
        source_rate: Hz of the audio that a step resamples.
        n_warm_up_steps: steps per model before the timed ones.
        n_block_steps: steps in a turn.
        n_settling_steps: steps before each turn that do not count.
        n_cadence_steps: timed steps per model at the cadence of a microphone; 0 without a model of audio.
        n_cadence_block_steps: steps in a turn of those.
        n_cadence_settling_steps: steps before each such turn that do not count.
        n_profiled_steps: steps that the front end's share is a median of.
        n_cold_starts: fresh processes per model.
        seed: of the signal.
    """

    edgeemo: str
    n_steps: int
    n_threads: int
    source_rate: int
    n_warm_up_steps: int
    n_block_steps: int
    n_settling_steps: int
    n_cadence_steps: int
    n_cadence_block_steps: int
    n_cadence_settling_steps: int
    n_profiled_steps: int
    n_cold_starts: int
    seed: int

    def to_dict(self) -> dict[str, int | str]:
        """What JSON keeps."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """A whole run: every model, the machine, and how it was measured.

    Attributes:
        models: one result per model, in the order asked for.
        voice: the voice detector, where one of the models judges voices only.
        libraries_ms: fresh processes that only import numpy and onnxruntime: the part of every start that is theirs.
        machine: what it ran on.
        settings: how it was measured.
    """

    models: tuple[ModelBench, ...]
    voice: VoiceBench | None
    libraries_ms: Latency
    machine: Machine
    settings: Settings

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
        s, kinds = self.settings, {m.kind for m in self.models}
        steps = ""
        if "audio" in kinds:
            steps += (
                f"A step resamples {s.source_rate} Hz audio and runs the model once; front end and "
                "network are the model's median split by onnxruntime's profiler. "
                "Back to back, each step follows right after another, with warm caches; at cadence "
                f"({s.n_cadence_steps} steps) the loop sleeps until a microphone would have the next step, which is "
                "what `edgeemo listen` shows; what is not said to be at cadence is back to back. "
            )
        if self.voice is not None:
            steps += (
                "Where only voices are judged, the voice detector adds "
                f"{self.voice.step_ms.p50_ms:.3f} ms back to back and {self.voice.cadence_ms.p50_ms:.3f} ms at "
                "cadence (medians). "
            )
        if "image" in kinds:
            steps += "A step of a model of images is one image. "
        compared = ", of images to ".join(m.name for m in self.baselines.values())
        return (
            f"{s.n_steps} steps per model after warm-up, onnxruntime threads: {s.n_threads}, models in "
            f"turn. {steps}{self.ratio_title}: to {compared}. First inference, start (process "
            f"to first label) and peak memory: medians of {s.n_cold_starts} fresh processes; one that only imports "
            f"numpy and onnxruntime takes {self.libraries_ms.p50_ms:.0f} ms. "
            f"edgeemo {s.edgeemo}. {self.machine.caption()}."
        )

    def to_dict(self) -> dict[str, Any]:
        """What JSON keeps: machine, settings, and per model the summary and all raw values."""
        return {
            "machine": self.machine.to_dict(),
            "settings": self.settings.to_dict(),
            "libraries_ms": self.libraries_ms.to_dict(),
            "voice": self.voice.to_dict() if self.voice else None,
            "models": [
                {
                    "name": m.name,
                    "n_parameters": m.n_parameters,
                    "n_bytes": m.n_bytes,
                    "window_s": m.audio.window_s if m.audio else None,
                    "step_s": m.audio.step_s if m.audio else None,
                    "real_time_factor": m.real_time_factor,
                    "baseline": self.baselines[m.kind].name,
                    "ratio_to_baseline": self.ratio(m),
                    "frontend_share": m.frontend_share,
                    "frontend_ms": m.frontend_ms,
                    "network_ms": m.network_ms,
                    "step_ms": m.step_ms.to_dict(),
                    "warm_up_ms": m.warm_up_ms.to_dict(),
                    "resample_ms": m.audio.resample_ms.to_dict() if m.audio else None,
                    "model_ms": m.model_ms.to_dict(),
                    "cadence_ms": m.audio.cadence_ms.to_dict() if m.audio else None,
                    "cadence_ratio": m.cadence_ratio,
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
            "at cadence p50 ms",
            "at cadence p99",
            "x back to back",
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
            _decimals(m.audio.resample_ms.p50_ms if m.audio else None, 3),
            _decimals(m.frontend_ms, 3),
            _decimals(m.network_ms, 3),
            f"{m.step_ms.p50_ms:.3f}",
            f"{m.step_ms.p90_ms:.3f}",
            f"{m.step_ms.p99_ms:.3f}",
            f"{m.step_ms.max_ms:.3f}",
            f"{self.ratio(m):.2f}",
            _decimals(m.audio.cadence_ms.p50_ms if m.audio else None, 3),
            _decimals(m.audio.cadence_ms.p99_ms if m.audio else None, 3),
            _decimals(m.cadence_ratio, 2),
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
    on_progress: Progress = lambda what, done, total: None,
) -> BenchReport:
    """Measure models side by side on this machine: each in this process, in fresh ones, and under the profiler.

    Args:
        paths: the model files.
        n_steps: timed steps per model, after warm-up.
        n_threads: onnxruntime's intra-op threads.
        on_progress: told what is being done, how much of it is done, and how much there is.

    Raises:
        ModelError: no model, or one that cannot be loaded.
        EdgeEmoError: a fresh process failed.
        ValueError: less than one step or thread.
    """
    if n_steps < 1 or n_threads < 1:
        raise ValueError(f"{n_steps} steps on {n_threads} threads; both must be at least 1")
    if not paths:
        raise ModelError("no model to measure: none is shipped here; give one with --model FILE")
    models = [load_model(path, n_threads=n_threads) for path in paths]
    cold = cold_starts(paths, n_starts=COLD_STARTS, n_threads=n_threads, on_progress=on_progress)
    compared = compared_steps(models)
    taken = take_turns([one.steps for one in compared], n_steps, on_progress=on_progress)
    paced = _paced(compared, n_steps, on_progress)
    parts = []
    for i, model in enumerate(models):
        on_progress("profiling", i, len(models))
        parts.append(audio_part(model, taken[i].steps, paced[i], n_threads=n_threads))
    on_progress("profiling", len(models), len(models))
    voice = None
    if len(compared) > len(models):
        voice = VoiceBench(
            step_ms=_whole("voice detector", taken[-1].steps),
            cadence_ms=_whole("voice detector at cadence", paced[-1]),
        )
    return BenchReport(
        models=tuple(
            ModelBench(
                name=model.path.stem,
                n_parameters=model.metadata.n_parameters,
                n_bytes=model.path.stat().st_size,
                step_ms=_whole("step", own.steps),
                warm_up_ms=_whole("warm-up step", own.warm_up),
                model_ms=Latency("model", np.array([step.model_ms for step in own.steps])),
                cold=started,
                audio=part,
            )
            for model, own, started, part in zip(
                models, taken[: len(models)], cold.models, parts, strict=True
            )
        ),
        voice=voice,
        libraries_ms=cold.libraries_ms,
        machine=describe(),
        settings=Settings(
            edgeemo=__version__,
            n_steps=n_steps,
            n_threads=n_threads,
            source_rate=SOURCE_RATE,
            n_warm_up_steps=WARM_UP_STEPS,
            n_block_steps=BLOCK_STEPS,
            n_settling_steps=SETTLING_STEPS,
            n_cadence_steps=max(map(len, paced)),
            n_cadence_block_steps=cadence.BLOCK_STEPS,
            n_cadence_settling_steps=cadence.SETTLING_STEPS,
            n_profiled_steps=PROFILED_STEPS,
            n_cold_starts=COLD_STARTS,
            seed=SEED,
        ),
    )


def _paced(compared: Sequence[Compared], n_steps: int, on_progress: Progress) -> list[list[StepTimes]]:
    """Steps at the cadence of a microphone; none of what nothing paces."""
    periods_s = {i: one.step_s for i, one in enumerate(compared) if one.step_s is not None}
    taken = take_turns_at_cadence(
        [compared[i].steps for i in periods_s], list(periods_s.values()), n_steps, on_progress=on_progress
    )
    found = dict(zip(periods_s, taken, strict=True))
    return [found.get(i, []) for i in range(len(compared))]


def side_by_side(
    models: Sequence[Model],
    *,
    n_steps: int = 1000,
    on_progress: Progress = lambda what, done, total: None,
) -> list[Latency]:
    """Time only the models' part of a step, front end and network, of models that are to be compared.

    Args:
        models: loaded, of one kind or of several.
        n_steps: timed steps per model, after warm-up.
        on_progress: told how many steps of each are done, and how many there are.

    Returns:
        one latency per model, in their order.
    """
    compared = [timed_steps(model.start(), endless_inputs(model)) for model in models]
    taken = take_turns(compared, n_steps, on_progress=on_progress)
    return [Latency("model", np.array(own.steps)) for own in taken]


def _whole(name: str, steps: Sequence[StepTimes]) -> Latency:
    return Latency(name, np.array([step.whole_ms for step in steps]))


def _decimals(value: float | None, n: int) -> str:
    return "" if value is None else f"{value:.{n}f}"
