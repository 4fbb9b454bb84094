"""The same files in Python, C, node and a browser: how far they agree, and what a step takes.

    python benchmarks/clients.py

has each client hear the bundled sample of speech, four times in a row, with each model, and writes the table
`results/clients.md` beside this file. It needs what `tests/device/test_clients.py` and `test_web_page.py` need.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import edgeemo
from edgeemo.bench.machine import describe
from edgeemo.files import write_text
from edgeemo.markdown import markdown_table
from edgeemo.places import model_path, sample_path
from edgeemo.voice import VOICE_PATH
from edgeemo.web.runtime import VERSION, runtime_files
from edgeemo.web.site import write_site

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support import native  # noqa: E402
from support.node import NODE  # noqa: E402
from support.site import HEARD, READY, saved, shown  # noqa: E402

RESULT = Path(__file__).parent / "results" / "clients.md"
MODELS = (
    "emo_small.stream.int8",
    "emo_small.stream",
    "emo_small.window.int8",
    "cnn_lstm.stream.int8",
    "pure_lstm.stream.int8",
    "pure_cnn.stream.int8",
    "conv1d_lstm.stream.int8",
)
REPEATS = 4

Steps = list[dict[str, Any]]


def main() -> None:
    """Measure all, and write the table."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = folder / "clip.wav"
        samples, rate = soundfile.read(sample_path(), dtype="int16")
        soundfile.write(clip, np.tile(samples, REPEATS), rate, subtype="PCM_16")
        program = native.built(folder)
        clients: dict[str, Callable[[Path], Steps]] = {
            "C": lambda site: printed(program, site / "model.onnx", VOICE_PATH, clip),
            "node": lambda site: printed(NODE, ROOT / "examples" / "node" / "listen.mjs", site, clip),
            "Chromium": lambda site: in_chromium(site, clip),
        }
        rows = [row(folder / model, model, clip, clients) for model in MODELS]
    text = [
        "How far each client's probabilities are at most from Python's (they are printed with six digits), and how",
        "many labels differ. Times of a step in which somebody speaks, in ms, with front end and voice detector: the",
        "median, and what one step in ten stays below, which other work on the machine disturbs less. Speech: the",
        f"bundled sample, {REPEATS} times in a row. node and Chromium run onnxruntime-web {VERSION} in one thread.",
        "",
        *markdown_table(rows),
        "",
        f"Machine: {describe().caption()}; its load average was {os.getloadavg()[1]:.0f} meanwhile.",
    ]
    write_text(RESULT, "\n".join(text) + "\n")
    print(f"wrote {RESULT}")


def row(site: Path, model: str, clip: Path, clients: dict[str, Callable[[Path], Steps]]) -> dict[str, str]:
    """What each client makes of a model."""
    write_site(site, model, runtime_files())
    expected = in_python(model, clip)
    cells = {"model": model, "Python, ms": times(expected)}
    for client, hear in clients.items():
        found = hear(site)
        cells |= {f"{client}, apart": difference(found, expected), f"{client}, ms": times(found)}
    print(json.dumps(cells), flush=True)
    return cells


def in_python(model: str, clip: Path) -> Steps:
    """The steps of the live loop."""
    audio, rate = soundfile.read(clip, dtype="float32")
    listener = edgeemo.Listener(edgeemo.load(model_path(model)), sample_rate=rate)
    listener.warm_up()
    return [event.to_dict() for event in listener.push(audio) if isinstance(event, edgeemo.Step)]


def printed(*command: str | Path | None) -> Steps:
    """The steps that a program prints."""
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    return steps(map(json.loads, result.stdout.splitlines()))


def in_chromium(site: Path, clip: Path) -> Steps:
    """The steps of the page."""
    with shown(site) as page:
        page.until(READY)
        page.type("#file", str(clip))
        page.until(HEARD)
        return steps(saved(page))


def steps(events: Any) -> Steps:
    """Of all events, the steps."""
    return [event for event in events if event["event"] == "step"]


def difference(found: Steps, expected: Steps) -> str:
    """The largest between two probabilities, and how many labels differ, if any do."""
    assert [step["paused"] for step in found] == [step["paused"] for step in expected]
    largest = 0.0
    for f, e in zip(found, expected, strict=True):
        largest = max(
            [largest, *(abs(f["probabilities"][label] - p) for label, p in e["probabilities"].items())]
        )
    n_labels = sum(f["label"] != e["label"] for f, e in zip(found, expected, strict=True))
    return f"{max(largest, 1e-6):.0e}".replace("e-0", "e-") + (f", {n_labels} labels" if n_labels else "")


def times(found: Steps) -> str:
    """Median and tenth percentile, of the steps in which somebody speaks."""
    tenths = statistics.quantiles((step["model_ms"] for step in found if not step["paused"]), n=10)
    return f"{tenths[4]:.2f} ({tenths[0]:.2f})"


if __name__ == "__main__":
    main()
