"""The same files in Python, C, node and browsers: how far they agree, and what a step takes.

    python benchmarks/clients.py

has each client hear the bundled sample of speech, four times in a row, with each model, and writes the table
`results/clients.md` and `.json` beside this file; `cards.py` puts them into the models' cards. It needs what
`tests/device/test_clients.py` and `test_web_page.py` need; ONNXRUNTIME_INCLUDE names the folder of onnxruntime's
header, where that is not installed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
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
from support.browser import Page, chromium, firefox  # noqa: E402
from support.node import NODE  # noqa: E402
from support.site import HEARD, READY, saved, shown  # noqa: E402

RESULTS = Path(__file__).parent / "results"
MODELS = (
    "emo_small.stream.int8",
    "emo_small.stream",
    "emo_small.window.int8",
    "emo_open.stream.int8",
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
        exact = partial(firefox, privacy__reduceTimerPrecision=False)
        clients: dict[str, Callable[[Path], Steps]] = {
            "C": lambda site: printed(program, site / "model.onnx", VOICE_PATH, clip),
            "node": lambda site: printed(NODE, ROOT / "examples" / "node" / "listen.mjs", site, clip),
            "Chromium": lambda site: in_browser(chromium, site, clip),
            "Firefox": lambda site: in_browser(exact, site, clip),
        }
        found = {
            "runtime": f"onnxruntime-web {VERSION}",
            "machine": describe().caption(),
            "models": [measured(folder / model, model, clip, clients) for model in MODELS],
            "load": round(os.getloadavg()[1], 1),
        }
    write_text(RESULTS / "clients.json", json.dumps(found, indent=1) + "\n")
    write_text(RESULTS / "clients.md", page(found))
    print(f"wrote {RESULTS / 'clients.md'}")


def measured(
    site: Path, model: str, clip: Path, clients: Mapping[str, Callable[[Path], Steps]]
) -> dict[str, Any]:
    """What each client makes of a model: how far it is from Python, and what its steps take."""
    write_site(site, model, runtime_files())
    expected = in_python(model, clip)
    found: dict[str, Any] = {"Python": times(expected)}
    for client, hear in clients.items():
        steps = hear(site)
        found[client] = difference(steps, expected) | times(steps)
    print(model, json.dumps(found), flush=True)
    checksum = hashlib.sha256(model_path(model).read_bytes()).hexdigest()
    return {"name": model, "checksum": checksum, "clients": found}


def page(found: dict[str, Any]) -> str:
    """The table, and what it says."""
    rows = [{"model": model["name"], **cells(model["clients"])} for model in found["models"]]
    text = [
        "How far each client's probabilities are at most from Python's (they are printed with six digits), and how",
        "many labels differ. Times of a step in which somebody speaks, in ms, with front end and voice detector: the",
        "median, and what one step in ten stays below, which other work on the machine disturbs less. Speech: the",
        f"bundled sample, {REPEATS} times in a row. node, Chromium and Firefox run {found['runtime']} in one",
        "thread; Firefox with its clock as fine as it goes (`privacy.reduceTimerPrecision`).",
        "",
        *markdown_table(rows),
        "",
        f"Machine: {found['machine']}; its load average was {found['load']:g} meanwhile.",
    ]
    return "\n".join(text) + "\n"


def cells(clients: dict[str, Any]) -> dict[str, str]:
    """A model's, by the columns' titles."""
    found = {}
    for client, of in clients.items():
        if "apart" in of:
            labels = f", {of['labels']} labels" if of["labels"] else ""
            found[f"{client}, apart"] = f"{max(of['apart'], 1e-6):.0e}".replace("e-0", "e-") + labels
        found[f"{client}, ms"] = f"{of['median_ms']:.2f} ({of['p10_ms']:.2f})"
    return found


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


def in_browser(browser: Callable[..., AbstractContextManager[Page]], site: Path, clip: Path) -> Steps:
    """The steps of the page."""
    with shown(site, browser=browser) as page:
        page.until(READY)
        page.type("#file", str(clip))
        page.until(HEARD)
        return steps(saved(page))


def steps(events: Any) -> Steps:
    """Of all events, the steps."""
    return [event for event in events if event["event"] == "step"]


def difference(found: Steps, expected: Steps) -> dict[str, Any]:
    """The largest between two probabilities, and how many labels differ."""
    assert [step["paused"] for step in found] == [step["paused"] for step in expected]
    pairs = list(zip(found, expected, strict=True))
    apart = max(
        abs(f["probabilities"][label] - p) for f, e in pairs for label, p in e["probabilities"].items()
    )
    return {"apart": apart, "labels": sum(f["label"] != e["label"] for f, e in pairs)}


def times(found: Steps) -> dict[str, float]:
    """Median and tenth percentile, of the steps in which somebody speaks."""
    tenths = statistics.quantiles((step["model_ms"] for step in found if not step["paused"]), n=10)
    return {"median_ms": round(tenths[4], 3), "p10_ms": round(tenths[0], 3)}


if __name__ == "__main__":
    main()
