"""What a recipe is worth on people, recordings and a language that it never heard, and once it knows the person.

    edgeemo train --model emo_small --protocol corpus --data CORPORA --output runs/loco
    python benchmarks/strangers.py --run runs/loco --data CORPORA --no-voice NOISES --plain COMMANDS

Each fold of the run left one corpus out. Its network is exported as the stream that `edgeemo listen` uses, in int8,
and judged on the corpus that it never heard, as by `edgeemo evaluate`: as the first that is heard of a speaker; after
1, 3 and 10 other utterances; after 5, 20 and 60 seconds of neutral speech, or all that there is; in noise and rooms.
A second call goes on where the first stopped. Writes `results/strangers.md`, `.json` and `.png` beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure

from edgeemo.cli.progress import progress_bar
from edgeemo.corpora.find import find_clips
from edgeemo.corpora.manifest import Manifest
from edgeemo.corpora.names import CORPORA
from edgeemo.evaluation.evaluate import N_ROBUSTNESS_CLIPS, Plan, evaluate
from edgeemo.evaluation.results import Estimate, ModelResult
from edgeemo.evaluation.tables import fraction, percent
from edgeemo.files import replacing, write_text
from edgeemo.markdown import markdown_table
from edgeemo.model import load
from edgeemo.workstation.training.folder import load_run
from edgeemo.workstation.training.protocols import WITHOUT

RESULTS = Path(__file__).parent / "results"
UTTERANCES = (1, 3, 10)
SECONDS = (5.0, 20.0, 60.0)


@dataclass(frozen=True)
class Stranger:
    """A corpus that was left out, and what is made of it.

    Attributes:
        corpus: its name.
        always: scores where a label is always named.
        judged: scores as the file says, which passes where it is unsure.
    """

    corpus: str
    always: ModelResult
    judged: ModelResult


def main() -> None:
    """Export, evaluate, and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="run folder of protocol corpus")
    parser.add_argument("--data", type=Path, required=True, help="the corpora it was trained on")
    parser.add_argument("--no-voice", type=Path, help="folder of sounds without a voice")
    parser.add_argument("--plain", type=Path, help="folder of ordinary speech that no fold was trained on")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/strangers"), help="for what is made on the way"
    )
    parser.add_argument(
        "--clips",
        type=int,
        default=N_ROBUSTNESS_CLIPS,
        help="of each corpus, after others and in surroundings",
    )
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()

    recipe, metrics = load_run(arguments.run)
    manifest = find_clips(arguments.data)
    strangers = []
    for cell in metrics.cells:
        corpus = cell.fold.removeprefix(WITHOUT)
        clips = manifest.select(corpora=[corpus], label_map=recipe.label_map)
        if len({clip.label for clip in clips}) > 1:
            folder = arguments.work / corpus
            model = folder / f"{recipe.name}.stream.int8.onnx"
            if not model.is_file():
                export(arguments.run, cell.fold, arguments.data, folder)
            data = folder / "clips.csv"
            Manifest(tuple(clips)).write_csv(data)
            strangers.append(heard(corpus, model, data, folder, arguments))
    write_text(
        RESULTS / "strangers.json",
        json.dumps([{"corpus": s.corpus, **s.always.to_dict()} for s in strangers], indent=1) + "\n",
    )
    write_text(RESULTS / "strangers.md", page(recipe.name, strangers, arguments.clips))
    with replacing(RESULTS / "strangers.png") as temporary:
        picture(strangers).savefig(temporary, format="png", dpi=120)


def export(run: Path, fold: str, data: Path, folder: Path) -> None:
    """Export the stream in int8 of one fold, whatever the gate says: what it is worth is measured here."""
    command = [sys.executable, "-c", "from edgeemo.cli import main; main()", "export", "--force"]
    options = ["--run", str(run), "--fold", fold, "--data", str(data), "--output", str(folder)]
    subprocess.run([*command, *options, "--mode", "stream", "--precision", "int8"], check=True)


def heard(corpus: str, path: Path, data: Path, folder: Path, arguments: argparse.Namespace) -> Stranger:
    """Evaluate a model on a corpus, twice: what is heard in the first round is not heard again."""
    model = load(path)
    always = load(path, judgement=dataclasses.replace(model.judgement, unsure_below=0.0))
    plan = Plan(
        data=data,
        output=folder,
        n_robustness=arguments.clips,
        history=UTTERANCES,
        enrolled=SECONDS,
        no_voice=arguments.no_voice,
        plain=arguments.plain,
        n_jobs=arguments.jobs,
    )
    with progress_bar() as report:
        return Stranger(corpus, *(evaluate([judging], plan, report).models[0] for judging in (always, model)))


def page(recipe: str, strangers: list[Stranger], n_clips: int) -> str:
    """The results in Markdown, of so many clips of each corpus."""
    first = strangers[0]
    lines = [
        f"# Strangers: {recipe}",
        "",
        "Made by `python benchmarks/strangers.py --run RUN --data CORPORA --no-voice NOISES --plain COMMANDS --clips "
        f"{n_clips}`; RUN: "
        f"`edgeemo train --model {recipe} --protocol corpus --data CORPORA`. Each row is of a network that never "
        "heard that corpus, as int8 stream. UAR in percent (chance: 14), by the most probable of all labels; "
        "present: of those that occur there; a label is always named. In brackets: 95 %, bootstrap over speakers.",
        "",
        *markdown_table([*scores(strangers)], left=("corpus",)),
        "",
        "![UAR on each corpus, by what of the speaker was heard before](strangers.png)",
        "",
        "## Once it knows the person",
        "",
        f"UAR in percent and arousal AUC of {first.always.history[0].n_clips} clips of each corpus, of every speaker "
        "and emotion alike, after other speech of the speaker.",
        "",
        *markdown_table([*known(strangers)], left=("heard before",)),
        "",
        "## As the file judges",
        "",
        f"A label is named where its calibrated probability (temperature {first.judged.temperature:g}) is "
        f"{first.judged.unsure_below:g} or more; both were fitted on these corpora, left out. "
        "Ordinary speech: named neutral, or nothing.",
        "",
        *markdown_table([*judged(strangers)], left=("corpus left out",)),
        "",
        "## Without a voice",
        "",
        "Percent of the live loop's steps that name an emotion, mean over the models.",
        "",
        *markdown_table([*no_voice(strangers)], left=("sound",)),
        "",
        "## Surroundings",
        "",
        "Change of UAR in points on the same clips, mean over the corpora.",
        "",
        *markdown_table([*surroundings(strangers)], left=("condition",)),
        "",
    ]
    return "\n".join(lines)


def scores(strangers: list[Stranger]) -> Iterable[Mapping[str, str]]:
    """A row for each corpus, and their mean."""
    for s in strangers:
        m = s.always
        yield {
            "corpus": CORPORA[s.corpus].title,
            "clips": str(m.scores.n_clips),
            "speakers": str(m.scores.n_speakers),
            "UAR": percent(m.scores.uar),
            "present": percent(m.scores.uar_present),
            "arousal AUC": fraction(m.arousal_auc),
            "calibration error": fraction(m.calibration.ece),
        }
    models = [s.always for s in strangers]
    uar, present = (
        fmean(100 * number(x) for x in values)
        for values in ([m.scores.uar for m in models], [m.scores.uar_present for m in models])
    )
    yield {
        "corpus": "mean",
        "clips": "",
        "speakers": "",
        "UAR": f"**{uar:.1f}**",
        "present": f"**{present:.1f}**",
        "arousal AUC": f"**{fmean(number(m.arousal_auc) for m in models):.3f}**",
        "calibration error": f"**{fmean(number(m.calibration.ece) for m in models):.3f}**",
    }


def known(strangers: list[Stranger]) -> Iterable[Mapping[str, str]]:
    """A row for each amount of speech."""
    firsts = [s.always.history[0].first for s in strangers]
    cells = [f"{100 * first:.1f}" for first in firsts]
    titles = [CORPORA[s.corpus].title for s in strangers]
    yield (
        {"heard before": "nothing"}
        | dict(zip(titles, cells, strict=True))
        | {"mean UAR": f"{100 * fmean(firsts):.1f}", "mean arousal AUC": ""}
    )
    for rows in zip(*(s.always.history for s in strangers), strict=True):
        yield (
            {"heard before": rows[0].heard.removeprefix("after ")}
            | {
                title: f"{100 * row.uar:.1f} / {number(row.arousal_auc):.3f}"
                for title, row in zip(titles, rows, strict=True)
            }
            | {
                "mean UAR": f"{100 * fmean(row.uar for row in rows):.1f}",
                "mean arousal AUC": f"{fmean(number(row.arousal_auc) for row in rows):.3f}",
            }
        )


def judged(strangers: list[Stranger]) -> Iterable[Mapping[str, str]]:
    """A row for each corpus: how often a label is named, and how often it is right."""
    for s in strangers:
        m = s.judged
        named = 1 - m.scores.unnamed
        right = number(m.scores.war) / named if named else 0.0
        yield {
            "corpus left out": CORPORA[s.corpus].title,
            "named": f"{100 * named:.0f} %",
            "of these right": f"{100 * right:.0f} %",
            "calibration error": fraction(m.calibration.ece),
            "ordinary speech": f"{100 * m.plain.neutral_or_unnamed:.0f} %" if m.plain else "",
        }


def no_voice(strangers: list[Stranger]) -> Iterable[Mapping[str, str]]:
    """A row for each sound."""
    for rows in zip(*(s.judged.no_voice for s in strangers), strict=True):
        yield {
            "sound": rows[0].sound,
            "steps": str(rows[0].n_steps),
            "named": f"{100 * fmean(row.named for row in rows):.1f}",
        }


def surroundings(strangers: list[Stranger]) -> Iterable[Mapping[str, str]]:
    """A row for each condition."""
    for rows in zip(*(s.always.robustness for s in strangers), strict=True):
        changes = [100 * number(row.change) for row in rows]
        yield {
            "condition": f"{rows[0].group}: {rows[0].condition}",
            "mean": f"{fmean(changes):+.1f}",
            **{CORPORA[s.corpus].title: f"{c:+.1f}" for s, c in zip(strangers, changes, strict=True)},
        }


def picture(strangers: list[Stranger]) -> Figure:
    """UAR on each corpus, by what of the speaker was heard before."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    heard = ["nothing before", *(row.heard for row in strangers[0].always.history)]
    width = 0.8 / len(heard)
    for i, name in enumerate(heard):
        values = [
            100 * (s.always.history[0].first if i == 0 else s.always.history[i - 1].uar) for s in strangers
        ]
        axes.bar(np.arange(len(strangers)) + (i - len(heard) / 2 + 0.5) * width, values, width, label=name)
    axes.axhline(100 / 7, color="black", linewidth=0.8, linestyle=":", label="chance")
    axes.set_xticks(range(len(strangers)), [CORPORA[s.corpus].title for s in strangers])
    axes.set_ylabel("UAR, %")
    axes.set_title("A corpus that was left out")
    figure.legend(loc="outside lower center", fontsize="small", ncols=3)
    return figure


def number(estimate: Estimate) -> float:
    """A value that is there: every corpus has several labels."""
    return float("nan") if estimate.value is None else estimate.value


if __name__ == "__main__":
    main()
