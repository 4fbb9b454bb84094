"""What the edge graph gains: streaming and int8 against what people write today, side by side in one run.

    python benchmarks/edge_graph.py

For each of the three models, one step of the live loop (160 ms of new audio, one onnxruntime thread) as

- `librosa + Keras`: librosa's log-mel of the last window, then `predict` of the Keras model;
- `librosa + onnxruntime`: librosa's log-mel of the last window, then the network alone in fp32;
- every variant in `models/`: front end and network in one graph.

They take turns in short blocks, so that whatever else the machine does slows all of them alike. Before that, each
model's variant for `listen` runs through ten hours of audio as fast as it goes, to show that a step costs the same at
the end and memory stays flat. It writes `results/edge_graph.md`, `.json` and `.png` beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

# One thread for every way. numpy reads this when it is imported; who has set it already has the last word.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import librosa
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgeemo.bench import machine
from edgeemo.bench.latency import Latency
from edgeemo.bench.signals import endless_blocks
from edgeemo.bench.turns import take_turns, timed, timed_steps
from edgeemo.features import Features
from edgeemo.files import replacing, write_text
from edgeemo.model import EmotionModel
from edgeemo.places import EXPORT_DIR, MODELS_DIR, model_path
from edgeemo.session import session_options

MODELS = ("pure_cnn", "cnn_lstm", "pure_lstm")
RESULTS = Path(__file__).parent / "results"
WARM_UP_STEPS = 20
"""Of a model by itself."""

Array = npt.NDArray[np.float32]
Step = Callable[[Array], Any]


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1000, help="timed steps of each way")
    parser.add_argument("--hours", type=float, default=10.0, help="of audio in the long run")
    parser.add_argument(
        "--tables", action="store_true", help="measure nothing: write the tables of the last run"
    )
    arguments = parser.parse_args()

    if arguments.tables:
        write_tables(json.loads((RESULTS / "edge_graph.json").read_text(encoding="utf-8")))
        return
    report: dict[str, Any] = {
        "machine": machine.describe().to_dict(),
        "n_steps": arguments.steps,
        "models": {},
    }
    # Before Keras is loaded: its threads and memory would be seen here.
    for name in MODELS:
        print(f"{name}: {arguments.hours:g} hours of audio", flush=True)
        report["models"][name] = {
            "alone": alone(name, 5 * arguments.steps),
            "long_run": long_run(name, arguments.hours),
        }
    for name in MODELS:
        print(f"{name}: {arguments.steps} steps of each way", flush=True)
        report["models"][name] |= {
            "steps": side_by_side(ways(name), arguments.steps),
            "operators": operators(name),
            "int8": {
                mode: EmotionModel(MODELS_DIR / f"{name}.{mode}.int8.onnx").metadata.to_dict()["quantization"]
                for mode in ("window", "stream")
            },
        }
    write_text(RESULTS / "edge_graph.json", json.dumps(report) + "\n")
    write_tables(report)


def write_tables(report: dict[str, Any]) -> None:
    """The Markdown page and the plot."""
    write_text(RESULTS / "edge_graph.md", markdown(report))
    plot(report, RESULTS / "edge_graph.png")


def ways(name: str) -> dict[str, Step]:
    """Every way to take one step, by its title."""
    window = EmotionModel(MODELS_DIR / f"{name}.window.onnx")
    found: dict[str, Step] = {
        "librosa + Keras": with_librosa(window, keras_network(name)),
        "librosa + onnxruntime": with_librosa(window, onnx_network(window)),
    }
    for path in sorted(MODELS_DIR.glob(f"{name}.*.onnx"), key=lambda p: ("stream" in p.name, p.name)):
        found[path.stem] = EmotionModel(path).start()
    return found


def with_librosa(model: EmotionModel, network: Step) -> Step:
    """The last window's features by librosa, then a network."""
    m = model.metadata
    window = np.zeros(m.window_samples, np.float32)

    def step(audio: Array) -> Any:
        window[: -len(audio)] = window[len(audio) :]
        window[-len(audio) :] = audio
        return network(librosa_features(window, m.features))

    return step


def librosa_features(window: Array, f: Features) -> Array:
    """As one would write the front end with librosa; level by the loudest frame, as in the graph."""
    power = librosa.feature.melspectrogram(
        y=np.pad(window, (f.n_fft - f.hop_samples, 0)),
        sr=f.sample_rate,
        n_fft=f.n_fft,
        hop_length=f.hop_samples,
        n_mels=f.n_mels,
        fmin=f.fmin_hz,
        fmax=f.fmax_hz,
        center=False,
    )
    logmel = librosa.power_to_db(power, top_db=None)
    if f.level == "running_peak":
        level = np.maximum(librosa.power_to_db(power.mean(axis=0), top_db=None), f.level_floor_db)
        logmel = np.maximum(logmel - np.maximum.accumulate(level), -f.range_db)
    features: Array = logmel.T[np.newaxis].astype(np.float32)
    return features


def keras_network(name: str) -> Step:
    """`predict` of the model that the shipped files were exported from."""
    from edgeemo.workstation.networks import load_network

    (weights,) = (EXPORT_DIR / name).glob("*/model.keras")
    model = load_network(weights)
    return lambda features: model.predict(features, verbose=0)


def onnx_network(model: EmotionModel) -> Step:
    """The network of a window file, without the front end."""
    import onnx
    from onnx.utils import Extractor

    proto = onnx.shape_inference.infer_shapes(onnx.load(model.path))
    inside = {o for node in proto.graph.node if node.name.startswith("frontend/") for o in node.output}
    (boundary,) = {
        i
        for node in proto.graph.node
        if not node.name.startswith("frontend/")
        for i in node.input
        if i in inside
    }
    n_frames = model.metadata.window_samples // model.metadata.features.hop_samples
    shape = [1, n_frames, model.metadata.features.n_mels]
    known = onnx.helper.make_tensor_value_info(boundary, onnx.TensorProto.FLOAT, shape)
    proto.graph.value_info.append(known)
    network = Extractor(proto).extract_model([boundary], ["probabilities"])
    session = ort.InferenceSession(
        network.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
    return lambda features: session.run(None, {boundary: features})[0]


def side_by_side(steps: dict[str, Step], n_steps: int) -> dict[str, Any]:
    """Milliseconds of every way, in turn."""
    compared = [timed_steps(step, endless_blocks(2560, 16000)) for step in steps.values()]
    taken = take_turns(compared, n_steps)
    return {
        title: Latency("step", np.array(own.steps)).to_dict() for title, own in zip(steps, taken, strict=True)
    }


def alone(name: str, n_steps: int) -> dict[str, Any]:
    """The variant that `listen` uses, by itself: its steps, and what the system did to this thread during each."""
    model = EmotionModel(model_path(name))
    step, audio = model.start(), endless_blocks(model.metadata.step_samples, model.sample_rate)
    times_ms, preempted, faulted = [], [], []
    for i in range(WARM_UP_STEPS + n_steps):
        block = next(audio)
        before = resource.getrusage(resource.RUSAGE_THREAD)
        took_ms, _ = timed(step, block)
        after = resource.getrusage(resource.RUSAGE_THREAD)
        if i >= WARM_UP_STEPS:
            times_ms.append(took_ms)
            preempted.append(after.ru_nivcsw > before.ru_nivcsw)
            faulted.append(after.ru_minflt > before.ru_minflt)
    slow = np.array(times_ms) > np.percentile(times_ms, 99)
    return {
        "variant": model.metadata.variant,
        "step": Latency("step", np.array(times_ms)).to_dict(),
        "slow_preempted": float(np.mean(np.array(preempted)[slow])),
        "slow_faulted": float(np.mean(np.array(faulted)[slow])),
        "preempted": float(np.mean(preempted)),
    }


def long_run(name: str, hours: float) -> dict[str, Any]:
    """Hours of audio through the variant that `listen` uses: median step and resident memory, hour by hour."""
    model = EmotionModel(model_path(name))
    m = model.metadata
    steps_ms = timed_steps(model.start(), endless_blocks(m.step_samples, model.sample_rate))
    n_parts = max(1, round(hours))
    per_part = round(hours * 3600 / m.step_s / n_parts)
    parts = []
    for _ in range(n_parts):
        part = Latency("step", np.fromiter(islice(steps_ms, per_part), float))
        parts.append({"p50_ms": part.p50_ms, "resident_mib": resident_mib()})
    return {"variant": m.variant, "hours": hours, "n_steps": n_parts * per_part, "parts": parts}


def resident_mib() -> float:
    """This process's resident memory, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def operators(name: str) -> dict[str, int]:
    """Operators of the network as tf2onnx converts it, simplified, and as onnxruntime runs it."""
    import onnx_ir as ir

    from edgeemo.workstation.graphs.network import network_graph
    from edgeemo.workstation.graphs.simplify import simplify
    from edgeemo.workstation.networks import load_network
    from edgeemo.workstation.training.folder import load_run

    recipe, _ = load_run(EXPORT_DIR / name)
    (weights,) = (EXPORT_DIR / name).glob("*/model.keras")
    model = load_network(weights)
    graph = network_graph(
        model, n_frames=recipe.n_frames, n_mels=recipe.features.n_mels, n_labels=len(recipe.label_map.labels)
    )
    before = len(graph)
    simplify(graph)
    with replacing(RESULTS / "optimized.onnx") as temporary:
        options = session_options()
        options.optimized_model_filepath = str(temporary)
        ort.InferenceSession(
            ir.to_proto(ir.Model(graph, ir_version=9)).SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
        )
        loaded = len(ir.load(temporary).graph)
    (RESULTS / "optimized.onnx").unlink()
    return {"converted": before, "simplified": len(graph), "as run": loaded}


def markdown(report: dict[str, Any]) -> str:
    """The tables."""
    lines = [
        "# The edge graph",
        "",
        "Made by `python benchmarks/edge_graph.py`. A step: 160 ms of new audio to probabilities, front end "
        f"included, one onnxruntime thread; medians of {report['n_steps']} steps, all ways in turn in one run. "
        f"{machine.Machine(**report['machine']).caption()}.",
        "",
        "| model | way | step ms, median | p99 | p99 / median | times faster than librosa + onnxruntime | than "
        "librosa + Keras | fp32 / this, same mode |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, found in report["models"].items():
        steps = found["steps"]
        for title, s in steps.items():
            mode = "stream" if ".stream" in title else "window"
            fp32 = steps.get(f"{name}.{mode}") if title.startswith(name) else None
            today, keras = (steps[t]["p50"] / s["p50"] for t in ("librosa + onnxruntime", "librosa + Keras"))
            lines.append(
                f"| {name} | {title.removeprefix(f'{name}.')} | {s['p50']:.3f} | {s['p99']:.3f} | "
                f"{s['p99'] / s['p50']:.2f} | {today:.1f} | {keras:.0f} | "
                + (f"{fp32['p50'] / s['p50']:.2f} |" if fp32 else "|")
            )
    lines += ["", "![median step of every way](edge_graph.png)", "", *network_alone(report)]
    lines += ["", *tail(report)]
    lines += [
        "",
        "## Ten hours",
        "",
        "| model | variant | steps | step ms, first and last part | resident MiB |",
    ]
    lines += ["|---|---|--:|---|---|"]
    for name, found in report["models"].items():
        run = found["long_run"]
        first, last = run["parts"][0], run["parts"][-1]
        lines.append(
            f"| {name} | {run['variant']} | {run['n_steps']:,} ({run['hours']:g} h) | {first['p50_ms']:.3f}, "
            f"{last['p50_ms']:.3f} | {first['resident_mib']:.1f}, {last['resident_mib']:.1f} |"
        )
    lines += [
        "",
        "## Operators of the network",
        "",
        "| model | as converted | simplified | as onnxruntime runs it |",
    ]
    lines += ["|---|--:|--:|--:|"]
    for name, found in report["models"].items():
        lines.append(f"| {name} | " + " | ".join(str(n) for n in found["operators"].values()) + " |")
    return "\n".join(lines) + "\n"


def network_alone(report: dict[str, Any]) -> list[str]:
    """What int8 does to the network without the front end, as measured when its nodes were chosen."""
    lines = [
        "## int8 of the network alone",
        "",
        "The front end stays in float, and is a good part of a window graph's step. Medians from the export, which "
        "timed these side by side to choose the nodes that stay float.",
        "",
        "| model | mode | fp32 ms | all int8 | chosen | fp32 / chosen | stays float |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for name, found in report["models"].items():
        for mode, q in found["int8"].items():
            fp32, everything, chosen = (q["network_ms"][k] for k in ("fp32", "int8", "chosen"))
            lines.append(
                f"| {name} | {mode} | {fp32:.3f} | {everything:.3f} | {chosen:.3f} | {fp32 / chosen:.2f} | "
                f"{', '.join(q['keep_float']) or 'nothing'} |"
            )
    return lines


def tail(report: dict[str, Any]) -> list[str]:
    """What the slowest steps have in common."""
    lines = [
        "## The tail",
        "",
        "The variant of `listen` by itself. Of the slowest 1 % of its steps: during how many the system took the "
        "core away, or mapped a page.",
        "",
        "| model | variant | steps | median ms | p99 | p99 / median | core taken away | page mapped |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, found in report["models"].items():
        a = found["alone"]
        s = a["step"]
        lines.append(
            f"| {name} | {a['variant']} | {s['n']:,} | {s['p50']:.3f} | {s['p99']:.3f} | {s['p99'] / s['p50']:.2f} | "
            f"{a['slow_preempted']:.0%} | {a['slow_faulted']:.0%} |"
        )
    return lines


def plot(report: dict[str, Any], path: Path) -> None:
    """Median step of every way, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(report["models"]), figsize=(12, 4), sharex=True, layout="constrained")
    for axis, (name, found) in zip(axes, report["models"].items(), strict=True):
        titles = list(found["steps"])[::-1]
        medians = [found["steps"][title]["p50"] for title in titles]
        bars = axis.barh([t.removeprefix(f"{name}.") for t in titles], medians)
        axis.bar_label(bars, [f" {m:.2f}" for m in medians])
        axis.set(title=name, xscale="log", xlabel="median step, ms")
        axis.margins(x=0.2)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)


if __name__ == "__main__":
    main()
