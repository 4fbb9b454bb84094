"""Milliseconds per training step in Keras, beside milliseconds per inference in onnxruntime.

A training step is one `train_on_batch`: forward, backward, update. An inference is one input through the exported
fp32 window graph (of speech with its front end), batch 1. All networks have random weights, on which neither time
depends, and take turns, so that their ratios hold on a busy machine too.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from edgeemo.bench import machine
from edgeemo.bench.latency import Latency
from edgeemo.bench.report import side_by_side
from edgeemo.bench.turns import Progress, take_turns, timed_steps
from edgeemo.images import load_model
from edgeemo.markdown import markdown_table
from edgeemo.workstation.architectures import build as build_network
from edgeemo.workstation.architectures import count_parameters
from edgeemo.workstation.export.file import export
from edgeemo.workstation.training.fit import compile_model
from edgeemo.workstation.training.plots import save_figure
from edgeemo.workstation.training.recipe import Recipe

BATCH_SIZE = 32
N_TRAINING_STEPS = 200
BASELINES = {"image": "fashion_cnn", "speech": "pure_cnn"}
"""What the others of a kind are compared with."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What was measured of one recipe's network.

    Attributes:
        recipe: the recipe.
        n_parameters: weights.
        training_ms: of steps on batches of `BATCH_SIZE`.
        inference_ms: of single inputs.
        n_threads: onnxruntime's intra-op threads.
    """

    recipe: Recipe
    n_parameters: int
    training_ms: Latency
    inference_ms: Latency
    n_threads: int = 1

    @property
    def kind(self) -> str:
        """`image` or `speech`."""
        return "speech" if self.recipe.image is None else "image"

    @property
    def published_ms(self) -> float | None:
        """Published milliseconds per training step."""
        return self.recipe.published.training_step_ms if self.recipe.published else None


def training_speed(
    recipes: Sequence[Recipe],
    *,
    n_training_steps: int = N_TRAINING_STEPS,
    n_inferences: int = 1000,
    n_threads: int = 1,
    on_progress: Progress = lambda what, done, total: None,
) -> list[Speed]:
    """Measure networks side by side.

    Args:
        recipes: of the networks, with their optimisers.
        n_training_steps: timed steps of each, after warm-up.
        n_inferences: timed inferences of each, after warm-up.
        n_threads: onnxruntime's intra-op threads; TensorFlow takes as many as it likes.
        on_progress: told what is being done, how much of it is done, and how much there is.

    Returns:
        what was measured, in the order of `recipes`.

    Raises:
        RecipeError: a network that cannot be built.
        ExportError: one that cannot be exported.
    """
    networks = []
    with tempfile.TemporaryDirectory(prefix="edgeemo-speed-") as folder:
        exported = []
        for i, recipe in enumerate(recipes):
            on_progress("building and exporting", i, len(recipes))
            networks.append(_compiled(recipe))
            path = Path(folder) / f"{recipe.name}.onnx"
            export(networks[-1], recipe, path, clips=[_random_input(recipe)])
            exported.append(load_model(path, n_threads=n_threads))
        on_progress("building and exporting", len(recipes), len(recipes))
        inference_ms = side_by_side(exported, n_steps=n_inferences, on_progress=on_progress)
    training = take_turns(
        [_training_steps(*both) for both in zip(networks, recipes, strict=True)],
        n_training_steps,
        settling_steps=1,  # enough for steps that take up to half a second
        what="training steps",
        on_progress=on_progress,
    )
    return [
        Speed(
            recipe=recipe,
            n_parameters=count_parameters(network),
            training_ms=Latency("training step", np.array(taken.steps)),
            inference_ms=latency,
            n_threads=n_threads,
        )
        for recipe, network, taken, latency in zip(recipes, networks, training, inference_ms, strict=True)
    ]


def _random_input(recipe: Recipe) -> npt.NDArray[np.float32]:
    """A window of noise, or an image of it."""
    rng = np.random.default_rng(1)
    if recipe.image is not None:
        return rng.uniform(0, 255, recipe.input_shape).astype(np.float32)
    return rng.uniform(-0.1, 0.1, recipe.window_samples).astype(np.float32)


def _random_batch(recipe: Recipe) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Features in dB, or images, shape `(BATCH_SIZE, *recipe.input_shape)`; and labels, `(BATCH_SIZE, n_labels)`."""
    n_labels = len(recipe.label_map.labels)
    low, high = (0, 255) if recipe.image is not None else (-80, 0)
    rng = np.random.default_rng(0)
    inputs = rng.uniform(low, high, (BATCH_SIZE, *recipe.input_shape)).astype(np.float32)
    return inputs, np.eye(n_labels, dtype=np.float32)[rng.integers(n_labels, size=BATCH_SIZE)]


def _compiled(recipe: Recipe) -> keras.Model:
    """A recipe's network with random weights, ready to be trained."""
    network = build_network(
        recipe.architecture.builder,
        recipe.architecture.settings,
        n_frames=recipe.input_shape[0],
        n_mels=recipe.input_shape[1],
        n_labels=len(recipe.label_map.labels),
    )
    inputs, _ = _random_batch(recipe)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.adapt(inputs)
    compile_model(network, recipe, n_batches=1000)
    return network


def _training_steps(network: keras.Model, recipe: Recipe) -> Iterator[float]:
    """The milliseconds of endless training steps, all on one random batch."""
    return timed_steps(lambda batch: network.train_on_batch(*batch), repeat(_random_batch(recipe)))


def rows(speeds: Sequence[Speed]) -> list[dict[str, str]]:
    """A row per network, by the columns' titles; ratios are to the CNN of its kind."""
    baselines = {s.kind: s for s in speeds if s.recipe.name == BASELINES[s.kind]}
    return [_row(speed, baselines.get(speed.kind)) for speed in speeds]


def _row(speed: Speed, baseline: Speed | None) -> dict[str, str]:
    def ratio(own: float | None, of_baseline: float | None) -> str:
        return f"{own / of_baseline:.2f}" if own and of_baseline else ""

    t, i = speed.training_ms, speed.inference_ms
    return {
        "network": speed.recipe.name,
        "parameters": f"{speed.n_parameters:,}",
        "training p50 ms": f"{t.p50_ms:.2f}",
        "p99": f"{t.p99_ms:.2f}",
        "x CNN": ratio(t.p50_ms, baseline.training_ms.p50_ms if baseline else None),
        "published ms": f"{speed.published_ms:g}" if speed.published_ms else "",
        "published x CNN": ratio(speed.published_ms, baseline.published_ms if baseline else None),
        "inference p50 ms": f"{i.p50_ms:.3f}",
        "p99 ": f"{i.p99_ms:.3f}",
        "inference x CNN": ratio(i.p50_ms, baseline.inference_ms.p50_ms if baseline else None),
    }


def caption(speeds: Sequence[Speed]) -> str:
    """How it was measured and where, in a few sentences."""
    return (
        f"Training: Keras {keras.__version__} on TensorFlow, batch {BATCH_SIZE}, {speeds[0].training_ms.n} steps "
        f"after warm-up, as many threads as it likes. Inference: onnxruntime, threads: "
        f"{speeds[0].n_threads}, one input, {speeds[0].inference_ms.n} steps, speech with its front end over a "
        "whole window. Networks in turn. "
        f"x CNN: to {BASELINES['image']} or {BASELINES['speech']}. Published: a training step on a notebook's GPU. "
        f"{machine.describe().caption()}."
    )


def to_markdown(speeds: Sequence[Speed]) -> str:
    """The table and its caption in Markdown."""
    return "\n".join([*markdown_table(rows(speeds)), "", caption(speeds), ""])


def to_json(speeds: Sequence[Speed]) -> str:
    """Summary and all raw values as JSON text."""
    values: dict[str, Any] = {
        "machine": machine.describe().to_dict(),
        "settings": {"batch_size": BATCH_SIZE, "n_threads": speeds[0].n_threads},
        "networks": [
            {
                "name": s.recipe.name,
                "kind": s.kind,
                "n_parameters": s.n_parameters,
                "published_ms": s.published_ms,
                "training_ms": s.training_ms.to_dict(),
                "inference_ms": s.inference_ms.to_dict(),
            }
            for s in speeds
        ],
    }
    return json.dumps(values) + "\n"


def plot(speeds: Sequence[Speed], path: Path) -> None:
    """Training steps (with the published ones) on the left, inferences on the right, in milliseconds."""
    figure = Figure(figsize=(10, 1.2 + 0.4 * len(speeds)), layout="constrained")
    left, right = figure.subplots(1, 2)
    y = np.arange(len(speeds))
    colours = ["tab:orange" if s.kind == "image" else "tab:blue" for s in speeds]
    trained = left.barh(y, [s.training_ms.p50_ms for s in speeds], 0.6, color=colours)
    published = [(i, s.published_ms) for i, s in enumerate(speeds) if s.published_ms]
    left.plot([ms for _, ms in published], [i for i, _ in published], "kd", label="published, on a GPU")
    inferred = right.barh(y, [s.inference_ms.p50_ms for s in speeds], 0.6, color=colours)
    left.set_title(f"a training step, batch {BATCH_SIZE}: ms", fontsize=10)
    right.set_title("an inference in onnxruntime: ms", fontsize=10)
    for axis, bars in ((left, trained), (right, inferred)):
        axis.set_xscale("log")
        axis.margins(x=0.15)
        axis.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.invert_yaxis()
        axis.grid(axis="x", alpha=0.3)
    left.set_yticks(y, [s.recipe.name for s in speeds])
    right.set_yticks(y, [])
    if published:
        left.legend(fontsize=8)
    save_figure(figure, path)
