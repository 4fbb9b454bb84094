"""How long a sound takes to become a label: through a real capture, the loop, and a line of JSON.

    python benchmarks/sound_to_label.py [--model NAME] [--onsets 100]

Clicks, then pieces of the bundled sample of speech, are played into a virtual microphone (PulseAudio; see
`tests/support`) at random positions between steps, and `edgeemo.listen` hears them from there. Writes
`results/sound_to_label.md`, `.json` and `.png` beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import soundfile

import edgeemo
from edgeemo.audio import read_audio
from edgeemo.bench import machine
from edgeemo.bench.latency import Latency
from edgeemo.events import Event, Gap, Step
from edgeemo.files import replacing, write_text
from edgeemo.live import LoopStatistics
from edgeemo.markdown import markdown_table
from edgeemo.places import DEFAULT_MODEL, sample_path
from edgeemo.sinks.json_lines import JsonLines
from edgeemo.sinks.sink import Background
from edgeemo.sources.continuity import clock_s

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.virtual_microphone import VirtualMicrophone  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
Audio = npt.NDArray[np.float32]

RATE = 48_000
SEED = 2024
ROUND_ONSETS = 20
MAX_LOST_ROUNDS = 20
LEAD_S = 2.0
"""Silence before the first sound: a capture begins irregularly."""
HEARD = 0.02
"""From this value on, after silence, it is a sound."""
SILENT_S = 0.3
SPEECH_S = 1.2
STAGES = {
    "capture": "from the sound, by PortAudio's clock, until PortAudio hands over the block that holds it",
    "rest of the step": "until PortAudio hands over the block that completes the step",
    "queue": "until the loop takes that block",
    "step": "until the loop has the step: resampler, voice detector, and model where there is a voice",
    "sink": "until its line of JSON is written, by a thread of its own",
    "whole": "from the sound to the line",
}


class StampedMicrophone(edgeemo.Microphone):
    """A microphone that writes down what it captures, and when what was where: blocks are taken several at once."""

    def __init__(self) -> None:
        super().__init__()
        self.captured: list[Audio] = []
        self.sounded_s: list[float] = []
        self.captured_s: list[float] = []
        self.taken_s: list[float] = []
        self.n_taken: list[int] = []

    def _callback(self, block: npt.NDArray[np.float32], n_samples: int, at: Any, status: Any) -> None:
        now_s = clock_s()
        self.captured_s.append(now_s)
        # PortAudio's estimate is sometimes wrong: no sample comes before it has sounded.
        age_s = max(at.currentTime - at.inputBufferAdcTime, n_samples / self.sample_rate)
        self.sounded_s.append(now_s - age_s)
        self.captured.append(block.mean(axis=1))
        super()._callback(block, n_samples, at, status)

    def blocks(self) -> Iterator[Any]:
        for heard in super().blocks():
            if isinstance(heard, np.ndarray) and len(heard):
                self.taken_s.append(clock_s())
                self.n_taken.append(len(heard))
            yield heard


class StampedLines(JsonLines):
    """Lines of JSON, and when each was written."""

    def __init__(self, file: TextIO) -> None:
        super().__init__(file)
        self.written_s: list[float] = []

    def take(self, event: Event, at: datetime) -> None:
        super().take(event, at)
        self.written_s.append(clock_s())


@dataclass
class Found:
    """What was measured of one kind of sound.

    Attributes:
        stages_ms: stage -> a value for each onset.
        n_missed: onsets that no step told of before the next one.
        n_lost_rounds: rounds in which the capture lost audio; they were repeated.
        statistics: of the loop.
    """

    stages_ms: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    n_missed: int = 0
    n_lost_rounds: int = 0
    statistics: LoopStatistics = field(default_factory=LoopStatistics)

    @property
    def n_onsets(self) -> int:
        """How many were measured."""
        return len(self.stages_ms["whole"])

    def latency(self, stage: str) -> Latency:
        """A stage of all onsets."""
        return Latency(stage, np.array(self.stages_ms[stage]))


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--onsets", type=int, default=100)
    arguments = parser.parse_args()
    model = edgeemo.load(arguments.model)
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory(prefix="mic-", ignore_cleanup_errors=True) as home:
        microphone = VirtualMicrophone(Path(home))
        try:
            os.environ.update(microphone.environment)  # before PortAudio is loaded
            found = {
                "click": measured(click(), 0.5, sounds, model, microphone, arguments.onsets, rng),
                "speech": measured(words(), 1.3, judged, model, microphone, arguments.onsets, rng),
            }
        finally:
            microphone.kill()
    command = f"python benchmarks/sound_to_label.py --model {arguments.model} --onsets {arguments.onsets}"
    text = report(found, model, command)
    print(text)
    write_text(RESULTS / "sound_to_label.md", text)
    write_text(RESULTS / "sound_to_label.json", to_json(found, model, command))
    plot(found, RESULTS / "sound_to_label.png")


def click() -> Audio:
    """A burst of 10 ms."""
    n = RATE // 100
    tone: Audio = (0.5 * np.cos(2 * np.pi * 1000 * np.arange(n) / RATE)).astype(np.float32)
    return tone


def words() -> Audio:
    """`SPEECH_S` of the sample, from where it is no longer silent."""
    speech = read_audio(sample_path(), RATE)
    start = int(np.argmax(np.abs(speech) > HEARD))
    return speech[start : start + round(SPEECH_S * RATE)]


def sounds(step: Step) -> bool:
    """Whether a step holds a click."""
    return step.peak > HEARD


def judged(step: Step) -> bool:
    """Whether a step names an emotion, or says that it is unsure."""
    return step.judged


def measured(
    sound: Audio,
    pause_s: float,
    tells: Callable[[Step], bool],
    model: edgeemo.EmotionModel,
    microphone: VirtualMicrophone,
    n_onsets: int,
    rng: np.random.Generator,
) -> Found:
    """Play a sound again and again, at random positions between steps, until enough of it was heard.

    Args:
        sound: at `RATE`, with its first sample.
        pause_s: silence after it, at least; up to two steps more.
        tells: whether a step tells of the sound.
        model: that listens.
        microphone: to play into.
        n_onsets: how many are wanted.
        rng: of the positions.
    """
    found = Found()
    with tempfile.TemporaryDirectory(prefix="edgeemo-sounds-") as folder:
        clip, lines = Path(folder) / "sounds.wav", Path(folder) / "events.jsonl"
        while found.n_onsets < n_onsets and found.n_lost_rounds < MAX_LOST_ROUNDS:
            pieces = [np.zeros(round(LEAD_S * RATE), np.float32)]
            for _ in range(ROUND_ONSETS):
                silent_s = pause_s + rng.uniform(0, 2 * model.metadata.step_s)
                pieces += [sound, np.zeros(round(silent_s * RATE), np.float32)]
            soundfile.write(clip, np.concatenate(pieces), RATE)
            add_round(found, clip, lines, tells, model, microphone)
            print(
                f"{found.n_onsets} onsets, {found.n_missed} missed, {found.n_lost_rounds} rounds lost",
                flush=True,
            )
    return found


def add_round(
    found: Found,
    clip: Path,
    lines: Path,
    tells: Callable[[Step], bool],
    model: edgeemo.EmotionModel,
    microphone: VirtualMicrophone,
) -> None:
    """Play a clip to the loop once, and add what comes of each onset."""
    told: list[tuple[float, Event]] = []
    with StampedMicrophone() as mic, lines.open("w", encoding="utf-8") as file:

        def play() -> None:
            microphone.play(clip)
            mic.stop()

        written = StampedLines(file)
        player = threading.Thread(target=play)
        with Background(written, "the reader", lossless=True) as sink:
            player.start()
            for event in edgeemo.listen(mic, model):
                told.append((clock_s(), event))
                sink.take(event, datetime.now().astimezone())
        player.join()
    if any(isinstance(event, Gap) for _, event in told):
        found.n_lost_rounds += 1  # positions in the stream are no longer those in what was captured
        return
    for _, event in told:
        found.statistics.add(event)
    steps = [
        (step, told_s, written_s)
        for (told_s, step), written_s in zip(told, written.written_s, strict=True)
        if isinstance(step, Step)
    ]
    add_onsets(found, mic, steps, tells)


def add_onsets(
    found: Found,
    mic: StampedMicrophone,
    steps: list[tuple[Step, float, float]],
    tells: Callable[[Step], bool],
) -> None:
    """Add the stages of each onset in what was captured; `steps`: each with when it was told and written."""
    ends = np.cumsum([len(block) for block in mic.captured])
    taken_ends = np.cumsum(mic.n_taken)
    onsets = found_onsets(np.concatenate(mic.captured), mic.sample_rate)
    for i, onset in enumerate(onsets):
        onset_s = onset / mic.sample_rate
        until_s = onsets[i + 1] / mic.sample_rate if i + 1 < len(onsets) else np.inf
        telling = (one for one in steps if onset_s < one[0].time_s <= until_s and tells(one[0]))
        if (first := next(telling, None)) is None:
            found.n_missed += 1
            continue
        _, told_s, written_s = first
        block = int(np.searchsorted(ends, onset, side="right"))
        taken = int(np.searchsorted(mic.taken_s, told_s)) - 1  # the blocks whose push gave the step
        last = int(np.searchsorted(ends, taken_ends[taken]))  # of them
        sounded_s = (
            mic.sounded_s[block] + (onset - (ends[block] - len(mic.captured[block]))) / mic.sample_rate
        )
        moments_s = [
            sounded_s,
            mic.captured_s[block],
            mic.captured_s[last],
            mic.taken_s[taken],
            told_s,
            written_s,
        ]
        for stage, took_s in zip(STAGES, [*np.diff(moments_s), written_s - sounded_s], strict=True):
            found.stages_ms[stage].append(1000 * float(took_s))


def found_onsets(audio: Audio, sample_rate: int) -> list[int]:
    """The samples at which sounds begin: loud ones after `SILENT_S` without any."""
    loud = np.flatnonzero(np.abs(audio) > HEARD)
    begins = np.diff(loud, prepend=-sample_rate) > SILENT_S * sample_rate
    return [int(at) for at in loud[begins]]


def report(found: Mapping[str, Found], model: edgeemo.EmotionModel, command: str) -> str:
    """The tables and what they mean, in Markdown."""
    clicks, speech = found["click"], found["speech"]
    step_ms = 1000 * model.metadata.step_s
    lost = clicks.n_lost_rounds + speech.n_lost_rounds
    return "\n".join(
        [
            f"`{command}`",
            "",
            f"From a sound to a label with {model.metadata.variant}, in ms. A real capture: PortAudio and PulseAudio "
            f"at {RATE} Hz, the null sink's monitor as the microphone. Sounds begin at random positions between "
            "steps.",
            "",
            f"**A click, until the step that holds it is told** ({clicks.n_onsets} clicks, {clicks.n_missed} "
            "missed). Nobody speaks, so the voice detector runs and the model does not.",
            "",
            *table(clicks),
            "",
            f"**Speech, until the first step that is judged** ({speech.n_onsets} times {SPEECH_S:g} s, "
            f"{speech.n_missed} missed). The voice detector has to be sure first, which takes 6 of 8 "
            "chunks of 32 ms, and the step has to end.",
            "",
            *table(speech),
            "",
            "| stage | what it is |",
            "|---|---|",
            *(f"| {stage} | {what} |" for stage, what in STAGES.items()),
            "",
            f"Most of it is waiting for the end of a step: a sound comes anywhere in the {step_ms:.0f} ms of its "
            "step, and one in its last block waits for one or two more blocks of 20 ms, since the resampler "
            "lags. What is computed (step and sink) is "
            f"{computed(clicks):.1f} ms of a click and {computed(speech):.1f} ms of speech (medians). The loop "
            f"itself shows {shown(clicks)} and {shown(speech)}.",
            "",
            f"Rounds that lost audio and were repeated: {lost}. The machine was shared with other work, which is in "
            f"every stage: read the stages beside each other. {machine.describe().caption()}.",
            "",
            "![from a sound to its label](sound_to_label.png)",
            "",
        ]
    )


def table(found: Found) -> list[str]:
    """A row for each stage."""
    rows = []
    for stage in STAGES:
        ms = found.latency(stage)
        columns = {"least": 0, "p50": 50, "p90": 90, "p99": 99, "largest": 100}
        rows.append({"stage": stage} | {name: f"{ms.percentile_ms(p):.2f}" for name, p in columns.items()})
    return markdown_table(rows)


def computed(found: Found) -> float:
    """The median of what is no waiting."""
    return float(np.median(np.add(found.stages_ms["step"], found.stages_ms["sink"])))


def shown(found: Found) -> str:
    """What the loop shows as the latency of its steps."""
    return f"p50 {found.statistics.latency_ms(50):.2f} ms, p99 {found.statistics.latency_ms(99):.2f} ms"


def to_json(found: Mapping[str, Found], model: edgeemo.EmotionModel, command: str) -> str:
    """All values."""
    kept = {
        "command": command,
        "model": model.metadata.variant,
        "machine": machine.describe().to_dict(),
        "sounds": {
            name: {
                "n_missed": one.n_missed,
                "n_lost_rounds": one.n_lost_rounds,
                "stages": {stage: one.latency(stage).to_dict() for stage in STAGES},
            }
            for name, one in found.items()
        },
    }
    return json.dumps(kept) + "\n"


def plot(found: Mapping[str, Found], path: Path) -> None:
    """How the wholes are distributed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    wholes = {name: found[name].stages_ms["whole"] for name in found}
    longest_ms = min(1500.0, max(map(max, wholes.values())))
    titles = {"click": "a click, until its step is told", "speech": "speech, until the first judged step"}
    for name, whole_ms in wholes.items():
        axes.hist(whole_ms, bins=np.arange(0, longest_ms + 20, 20).tolist(), alpha=0.6, label=titles[name])
    axes.set(xlabel="from the sound to the line of JSON, ms", ylabel="onsets")
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
