"""Listening for long: a day of audio at full speed, and an hour at a microphone that fails every five minutes.

    python benchmarks/soak.py --part fast --hours 24
    python benchmarks/soak.py --part live --minutes 60

Each writes its part of results/soak.json, and soak.md and soak.png anew. `fast` runs the whole loop in one
process: voice detector, utterances, recordings with a limit. `live` runs `edgeemo listen` at a virtual microphone
(PulseAudio), into which the bundled speech is played again and again, and breaks something every `--every` seconds.
What is judged: memory, whether each second is heard or told as a gap, and the latency of the first and the last part.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import soundfile

import edgeemo
from edgeemo.audio import read_audio
from edgeemo.bench.machine import describe
from edgeemo.cli.progress import progress_bar
from edgeemo.files import write_text
from edgeemo.markdown import markdown_table
from edgeemo.places import DEFAULT_MODEL, sample_path
from edgeemo.sinks.recorder import Recorder

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from support.virtual_microphone import Listening, VirtualMicrophone

RESULTS = Path(__file__).resolve().parent / "results"
RATE = 16000
BLOCK_SAMPLES = RATE // 50
PAUSE_S = 6.0
LIMIT_MB = 50
N_PARTS = 24
"""Into how many parts a run is cut, for its table and plot."""

Row = dict[str, float]


class Endless:
    """The bundled speech, a pause, some noise, a pause, and again, for so many hours.

    Args:
        hours: until it ends.
    """

    name, kind, sample_rate, channels, channel, ended = "endless", "file", RATE, 1, None, "end of file"

    def __init__(self, hours: float) -> None:
        random = np.random.default_rng(0)
        speech = read_audio(sample_path(), RATE)
        pause = (1e-3 * random.standard_normal(round(PAUSE_S * RATE))).astype(np.float32)
        noise = (0.05 * random.standard_normal(4 * RATE)).astype(np.float32)
        whole = np.concatenate([speech, pause, noise, pause])
        self._round = whole[: len(whole) // BLOCK_SAMPLES * BLOCK_SAMPLES]
        self._n_samples = round(hours * 3600 * RATE)

    def blocks(self) -> Iterator[npt.NDArray[np.float32]]:
        """Blocks of 20 ms."""
        for start in range(0, self._n_samples, BLOCK_SAMPLES):
            at = start % len(self._round)
            yield self._round[at : at + BLOCK_SAMPLES]

    def wants(self, seconds: float) -> None:
        """It waits for nothing."""

    def stop(self) -> None:
        """It ends by itself."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def fast(hours: float) -> dict[str, Any]:
    """A day of audio, as fast as it goes."""
    model = edgeemo.load(DEFAULT_MODEL)
    rows: list[Row] = []
    latencies_ms: list[float] = []
    n_utterances = 0
    part_s = hours * 3600 / N_PARTS
    with (
        tempfile.TemporaryDirectory() as folder,
        progress_bar() as report,
        Recorder(Path(folder), sample_rate=model.sample_rate, limit_mb=LIMIT_MB) as recorder,
    ):
        start_s = time.monotonic()
        for event in edgeemo.listen(Endless(hours), model, keep_audio=True):
            recorder.take(event, datetime.now().astimezone())
            n_utterances += isinstance(event, edgeemo.Utterance)
            if isinstance(event, edgeemo.Step):
                latencies_ms.append(event.latency_ms)
                if event.time_s >= (len(rows) + 1) * part_s - 1e-6:
                    recorded = sum(path.stat().st_size for path in Path(folder).iterdir())
                    rows.append(
                        {
                            "until_h": event.time_s / 3600,
                            "rss_mib": rss_mib(os.getpid()),
                            "p50_ms": float(np.median(latencies_ms)),
                            "utterances": n_utterances,
                            "recorded_mb": recorded / 1e6,
                        }
                    )
                    latencies_ms, n_utterances = [], 0
                    report("hours of audio", round(event.time_s / 3600), round(hours))
        took_s = time.monotonic() - start_s
    assert isinstance(event, edgeemo.End)
    return {"hours": hours, "took_s": took_s, "end": event.to_dict(), "parts": rows}


class Player(threading.Thread):
    """Plays a file into the microphone again and again, whatever becomes of the sound server."""

    def __init__(self, microphone: VirtualMicrophone, clip: Path) -> None:
        super().__init__(daemon=True)
        self._microphone, self._clip = microphone, clip
        self.over = False

    def run(self) -> None:
        """Until `over`."""
        while not self.over:
            with suppress(subprocess.SubprocessError):
                self._microphone.play(self._clip)
            time.sleep(PAUSE_S)


def faults(microphone: VirtualMicrophone, process: Listening) -> list[tuple[str, Callable[[], None]]]:
    """What is broken, and mended some seconds later."""

    def server() -> None:
        microphone.kill()
        time.sleep(10)
        microphone.start()

    def plug() -> None:
        microphone.unplug()
        time.sleep(10)
        microphone.plug_in()

    def suspended() -> None:
        microphone.pactl("suspend-source", "virtual_mic", "1")
        time.sleep(4)
        microphone.pactl("suspend-source", "virtual_mic", "0")

    def stopped() -> None:
        process.process.send_signal(signal.SIGSTOP)
        time.sleep(20)
        process.process.send_signal(signal.SIGCONT)

    def moved() -> None:
        microphone.pactl("unload-module", "module-remap-source")
        time.sleep(10)
        microphone.load("module-remap-source", "source_name=virtual_mic", "master=mic_sink.monitor")
        microphone.pactl("set-default-source", "virtual_mic")

    return [
        ("sound server killed, back after 10 s", server),
        ("unplugged, back after 10 s", plug),
        ("source suspended for 4 s", suspended),
        ("process stopped for 20 s", stopped),
        ("another source for 10 s", moved),
    ]


def live(minutes: float, every_s: float) -> dict[str, Any]:
    """An hour at a virtual microphone."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home, records, clip = Path(folder) / "home", Path(folder) / "records", Path(folder) / "speech.wav"
        home.mkdir()
        soundfile.write(clip, read_audio(sample_path(), 48000), 48000)
        microphone = VirtualMicrophone(home)
        command = [sys.executable, "-m", "edgeemo"]
        process = Listening(command, microphone, "--record", str(records), "--record-limit", str(LIMIT_MB))
        process.wait_for_steps(1)
        began_s = time.monotonic() - process.steps[-1]["time_s"]
        player = Player(microphone, clip)
        player.start()
        rows: list[Row] = []
        done: list[dict[str, Any]] = []
        n_before = 0
        part_s = minutes * 60 / N_PARTS
        breaking = itertools.cycle(faults(microphone, process))
        with progress_bar() as report:
            while (passed_s := time.monotonic() - began_s) < minutes * 60:
                if passed_s > (len(done) + 1) * every_s and passed_s < minutes * 60 - every_s / 2:
                    name, fault = next(breaking)
                    fault()
                    done.append({"at_s": passed_s, "fault": name})
                if passed_s > (len(rows) + 1) * part_s:
                    steps, n_before = process.steps[n_before:], len(process.steps)
                    took = [step["resample_ms"] + step["model_ms"] for step in steps if not step["paused"]]
                    rows.append(
                        {
                            "until_h": passed_s / 3600,
                            "rss_mib": rss_mib(process.process.pid),
                            "p50_ms": float(np.median(took)) if took else float("nan"),
                            "utterances": sum(step["utterance"] for step in steps[-1:]),
                        }
                    )
                report("minutes", round(passed_s / 60), round(minutes))
                time.sleep(1)
        player.over = True
        passed_s = time.monotonic() - began_s
        code, errors = process.end(signal.SIGTERM)
        microphone.kill()
        assert code == 128 + signal.SIGTERM, errors
        return {
            "minutes": minutes,
            "passed_s": passed_s,
            "end": process.lines[-1],
            "gaps": process.events("gap"),
            "states": [(s["state"], s["active"]) for s in process.events("status")],
            "faults": done,
            "recordings": len(list(records.glob("*.flac"))),
            "parts": rows,
        }


def rss_mib(pid: int) -> float:
    """What a process holds of memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def write_results(found: dict[str, Any]) -> None:
    """The page and the plot of what was measured so far."""
    text = ["# Listening for long", "", f"{found['machine']}", ""]
    if "fast" in found:
        run, end = found["fast"], found["fast"]["end"]
        rows = run["parts"]
        text += [
            f"## {run['hours']:g} h of audio at full speed",
            "",
            f"`python benchmarks/soak.py --part fast --hours {run['hours']:g}`: {run['took_s'] / 60:.0f} min. Heard "
            f"{end['heard_s']:.2f} s of {run['hours'] * 3600:.2f}, {end['n_utterances']} utterances.",
            "",
            *markdown_table(
                [
                    {
                        "until": f"{row['until_h']:.0f} h",
                        "memory": f"{row['rss_mib']:.1f} MiB",
                        "step p50": f"{row['p50_ms']:.2f} ms",
                        "utterances": f"{row['utterances']}",
                        "recordings kept": f"{row['recorded_mb']:.1f} MB",
                    }
                    for row in rows
                ]
            ),
            "",
        ]
    if "live" in found:
        run, end = found["live"], found["live"]["end"]
        first, last = run["parts"][0], run["parts"][-1]
        text += [
            f"## {run['minutes']:g} min at a microphone, something broken every five",
            "",
            f"`python benchmarks/soak.py --part live --minutes {run['minutes']:g}`: {run['passed_s']:.1f} s passed; "
            f"heard {end['heard_s']:.1f} s, missing {end['gap_s']:.1f} s in {end['n_gaps']} gaps, together "
            f"{end['time_s']:.1f} s. {end['n_utterances']} utterances, {run['recordings']} recordings. Memory "
            f"{first['rss_mib']:.1f} MiB at first, {last['rss_mib']:.1f} at last; steps with a voice "
            f"{first['p50_ms']:.2f} ms at first, {last['p50_ms']:.2f} at last (medians).",
            "",
            *markdown_table(
                [
                    {"at": f"{fault['at_s'] / 60:.0f} min", "what was broken": fault["fault"]}
                    for fault in run["faults"]
                ],
                left=["what was broken"],
            ),
            "",
            *markdown_table(
                [
                    {
                        "gap at": f"{gap['start_s']:.1f} s",
                        "length": f"{gap['length_s']:.2f} s",
                        "why": gap["why"],
                    }
                    for gap in run["gaps"]
                ],
                left=["why"],
            ),
            "",
        ]
    text += ["![Memory and latency over time](soak.png)", ""]
    write_text(RESULTS / "soak.md", "\n".join(text))
    write_plot(found)


def write_plot(found: dict[str, Any]) -> None:
    """Memory and latency over time."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    parts = [name for name in ("fast", "live") if name in found]
    figure, axes = plt.subplots(
        2, len(parts), figsize=(5 * len(parts), 5), squeeze=False, layout="constrained"
    )
    titles = {"fast": "at full speed", "live": "at a microphone that fails"}
    for column, name in enumerate(parts):
        rows = found[name]["parts"]
        hours = [row["until_h"] for row in rows]
        for axis, key, label in zip(
            axes[:, column], ("rss_mib", "p50_ms"), ("memory, MiB", "median step, ms"), strict=True
        ):
            axis.plot(hours, [row[key] for row in rows], marker=".")
            axis.set_ylim(bottom=0)
            axis.set_ylabel(label)
            axis.set_xlabel("hours")
        axes[0, column].set_title(titles[name])
        for fault in found[name].get("faults", []):
            axes[0, column].axvline(fault["at_s"] / 3600, color="tab:red", alpha=0.3)
    figure.savefig(RESULTS / "soak.png", dpi=110)


def main() -> None:
    """Run one part, then write what is known of both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=["fast", "live"], required=True)
    parser.add_argument(
        "--hours", type=float, default=24.0, help="of audio, at full speed (default: %(default)s)"
    )
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="at the microphone (default: %(default)s)"
    )
    parser.add_argument(
        "--every", type=float, default=300.0, help="seconds between faults (default: %(default)s)"
    )
    arguments = parser.parse_args()
    result = RESULTS / "soak.json"
    part = fast(arguments.hours) if arguments.part == "fast" else live(arguments.minutes, arguments.every)
    found = json.loads(result.read_text(encoding="utf-8")) if result.is_file() else {}
    found |= {"machine": describe().caption(), arguments.part: part}
    write_text(result, json.dumps(found, indent=1) + "\n")
    write_results(found)
    print(f"wrote {result}, soak.md and soak.png")


if __name__ == "__main__":
    main()
