"""How far from the microphone labels still hold: the same speech in simulated rooms, from near and from far.

    pip install pyroomacoustics
    python benchmarks/rooms.py --data CORPORA

Each clip is spoken in one of `N_ROOMS` rooms of each reverberation time, 4 to 7 m long (image sources with
jittered positions, De Sena et al. 2015; walls after Sabine), and heard from every distance in a random direction, as
loud as it is without a room: who stands far away speaks up, or the microphone amplifies. Clips are of speakers that
none of the models has heard; a label is always named. Writes `results/rooms.md` and `.png` beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

import edgeemo
from edgeemo.audio import clip_audio
from edgeemo.cli.progress import progress_bar
from edgeemo.clip import Clip
from edgeemo.evaluation.conclusions import Answers
from edgeemo.evaluation.degradations import in_room
from edgeemo.evaluation.hearing import whole
from edgeemo.evaluation.material import Material, gather
from edgeemo.evaluation.measures import uar
from edgeemo.files import replacing, write_text
from edgeemo.markdown import markdown_table
from edgeemo.model import EmotionModel

RESULTS = Path(__file__).parent / "results"
MODELS = ("emo_small", "emo_tiny", "cnn_lstm", "pure_cnn")
RT60_S = (0.3, 0.6)
DISTANCES_M = (0.5, 1.0, 2.0, 3.0)
N_ROOMS = 12
SMALLEST_M, LARGEST_M = (4.0, 4.0, 2.4), (7.0, 6.0, 3.0)
FROM_WALLS_M = 0.4
RATE = 16_000

Audio = npt.NDArray[np.float32]
Point = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """Where somebody is heard from; None twice: no room.

    Attributes:
        rt60_s: the room's reverberation time.
        distance_m: between mouth and microphone.
    """

    rt60_s: float | None = None
    distance_m: float | None = None


PLACES = (Place(), *(Place(rt60_s, distance_m) for rt60_s in RT60_S for distance_m in DISTANCES_M))


def main() -> None:
    """Build the rooms, hear, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="acted corpora")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--clips", type=int, default=500)
    arguments = parser.parse_args()
    models = [edgeemo.load(model) for model in arguments.models]
    found = gather(
        arguments.data, models[0].labels, [model.metadata.training for model in models], heard_too=False
    )
    material = found.of(found.sample(arguments.clips))
    scores = heard(models, material, responses(np.random.default_rng(0)))
    write_text(RESULTS / "rooms.md", page(arguments.models, material, scores))
    with replacing(RESULTS / "rooms.png") as temporary:
        picture(arguments.models, scores).savefig(temporary, format="png", dpi=120)


def responses(random: np.random.Generator) -> dict[Place, list[Audio]]:
    """The impulse responses of each place, one of each room."""
    import pyroomacoustics

    made: dict[Place, list[Audio]] = {place: [] for place in PLACES[1:]}
    for rt60_s in RT60_S:
        for _ in range(N_ROOMS):
            size = random.uniform(SMALLEST_M, LARGEST_M)
            mouth, microphones = positions(size, random)
            absorption, max_order = pyroomacoustics.inverse_sabine(rt60_s, size)
            room = pyroomacoustics.ShoeBox(
                size,
                fs=RATE,
                materials=pyroomacoustics.Material(absorption),
                max_order=max_order,
                use_rand_ism=True,
            )
            room.add_source(mouth)
            room.add_microphone_array(microphones.T)
            room.compute_rir()
            for distance_m, (response,) in zip(DISTANCES_M, room.rir, strict=True):
                # From the direct sound on, so that speech is as late as without a room.
                start = max(0, int(np.abs(response).argmax()) - 40)
                made[Place(rt60_s, distance_m)].append(np.asarray(response[start:], np.float32))
    return made


def positions(size: Point, random: np.random.Generator) -> tuple[Point, Point]:
    """A mouth somewhere in a room, and a microphone at each distance from it, all off the walls."""
    while True:
        mouth = random.uniform(FROM_WALLS_M, size - FROM_WALLS_M)
        mouth[2] = random.uniform(1.1, 1.8)  # sitting or standing
        angle, rise = random.uniform(0, 2 * np.pi), random.uniform(-0.2, 0.1)
        direction = np.array([np.cos(angle), np.sin(angle), rise]) / np.hypot(1, rise)
        microphones = mouth + np.outer(DISTANCES_M, direction)
        if np.all((microphones > FROM_WALLS_M) & (microphones < size - FROM_WALLS_M)):
            return mouth, microphones


def heard(
    models: list[EmotionModel], material: Material, rooms: Mapping[Place, list[Audio]]
) -> dict[Place, list[float]]:
    """The UAR of each model at each place."""
    answers: dict[Place, list[list[list[float] | None]]] = {place: [[] for _ in models] for place in PLACES}
    with progress_bar() as report:
        for i, clip in enumerate(material.clips):
            report("clips", i, len(material.clips))
            audio = clip_audio(clip, RATE)
            for place in PLACES:
                there = Clip.of_samples(at(place, audio, rooms, i), RATE, RATE)
                for k, model in enumerate(models):
                    answers[place][k].append(whole(model, there))
        report("clips", len(material.clips), len(material.clips))
    return {
        place: [float(uar(Answers.from_lists(material, each).counts())) for each in of_models]
        for place, of_models in answers.items()
    }


def at(place: Place, audio: Audio, rooms: Mapping[Place, list[Audio]], i: int) -> Audio:
    """The `i`-th clip as it is heard at a place, as loud as it is without a room."""
    if place not in rooms:
        return audio
    there = in_room(audio, rooms[place][i % len(rooms[place])])
    return there * np.float32(np.linalg.norm(audio) / max(float(np.linalg.norm(there)), 1e-9))


def page(models: Sequence[str], material: Material, scores: Mapping[Place, list[float]]) -> str:
    """The results in Markdown."""
    n_clips = len(material.clips)
    corpora = ", ".join(sorted({clip.corpus for clip in material.clips}))
    lines = [
        "# In rooms",
        "",
        f"Made by `python benchmarks/rooms.py --data CORPORA --clips {n_clips}`: UAR in percent (7 labels; "
        f"chance: 14) of {n_clips} clips of {material.n_speakers} speakers that no model has heard ({corpora}), by "
        f"how far the microphone is from the mouth, in {N_ROOMS} simulated rooms of each reverberation time. A label "
        "is always named.",
        "",
        *markdown_table([*rows(models, scores)], left=("room",)),
        "",
        "![UAR by the distance from the microphone](rooms.png)",
        "",
    ]
    return "\n".join(lines)


def rows(models: Sequence[str], scores: Mapping[Place, list[float]]) -> Iterable[Mapping[str, str]]:
    """A row for each place."""
    for place, values in scores.items():
        named = {"room": "none", "distance": ""}
        if place.rt60_s is not None:
            named = {"room": f"{place.rt60_s:g} s", "distance": f"{place.distance_m:g} m"}
        yield named | {model: f"{100 * value:.1f}" for model, value in zip(models, values, strict=True)}


def picture(models: Sequence[str], scores: Mapping[Place, list[float]]) -> Figure:
    """A panel for each reverberation time: UAR by distance, a line for each model."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(RT60_S), sharey=True)
    for axes, rt60_s in zip(panels, RT60_S, strict=True):
        for k, model in enumerate(models):
            values = [100 * scores[Place(rt60_s, distance_m)][k] for distance_m in DISTANCES_M]
            (line,) = axes.plot(DISTANCES_M, values, marker="o", label=model)
            axes.axhline(100 * scores[Place()][k], color=line.get_color(), linewidth=0.8, linestyle=":")
        axes.set_title(f"reverberation time {rt60_s:g} s", fontsize=10)
        axes.set_xlabel("metres from the microphone")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("UAR in percent (dotted: no room)")
    panels[-1].legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main()
