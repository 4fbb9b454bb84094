"""What a few clips of a person teach a trained model: UAR on that person's other clips, before and after.

    python benchmarks/adaptation.py --model emo_small --data CORPORA

For each test speaker of the run that the model ships from, whom neither weights nor their epoch ever met: `N` clips
of each label train as `edgeemo train --from MODEL` does, the speaker's other clips test. `--part validation` does the
same with the validation speakers: other settings of `--from` are tried there (`--set training.epochs=40` and others).
Writes `results/adaptation.md` and `.png` beside this file; a second call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure

from edgeemo.cli.progress import progress_bar
from edgeemo.corpora.find import find_clips
from edgeemo.corpora.labels import LabelMap
from edgeemo.corpora.manifest import Clip
from edgeemo.corpora.names import CORPORA
from edgeemo.files import replacing, write_text
from edgeemo.markdown import markdown_table
from edgeemo.workstation.networks import load_network
from edgeemo.workstation.training.fit import fit, predict
from edgeemo.workstation.training.folder import MODEL_FILE, best_cell, cell_folder, load_run, read_cell
from edgeemo.workstation.training.protocols import Split
from edgeemo.workstation.training.recipe import recipe_from_dict
from edgeemo.workstation.training.scores import scores
from edgeemo.workstation.training.speech import SpeechDataset
from edgeemo.workstation.training.start import recipe_from, start_run

RESULTS = Path(__file__).parent / "results"
N_CLIPS = (2, 5, 10)
N_SPEAKERS = 6
LEAST_TEST = 2
"""Clips of a label that are to be left to test on."""

Results = dict[tuple[str, int], list[tuple[float, float]]]
"""Corpus and number of clips of each label -> UAR of each speaker, before and after."""


def main() -> None:
    """Adapt to each speaker, and write what it was worth."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="emo_small", help="a shipped model, or a run folder")
    parser.add_argument("--data", type=Path, required=True, help="the corpora")
    parser.add_argument("--corpora", default="ravdess", help="comma-separated")
    parser.add_argument("--part", choices=("test", "validation"), default="test")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--work", type=Path, default=Path("runs/adaptation"))
    arguments = parser.parse_args()

    run = start_run(arguments.model)
    held, metrics = load_run(run)
    folder, cell = best_cell(run, metrics.cells)
    part = cell.test if arguments.part == "test" else cell.validated
    known = load_network(folder / MODEL_FILE)
    corpora = arguments.corpora.split(",")
    values = recipe_from(arguments.model, arguments.set).to_dict()
    values["data"] = {"corpora": corpora, "labels": held.data.labels}
    recipe = recipe_from_dict(values)
    dataset = SpeechDataset(recipe, find_clips(arguments.data))
    labels = recipe.label_map

    tasks = []
    for corpus in corpora:
        speakers = sorted({c.speaker for c in dataset.items if c.corpus == corpus} & set(part.speakers))
        for speaker in speakers[:N_SPEAKERS]:
            clips = [c for c in dataset.items if c.speaker == speaker]
            for n in N_CLIPS:
                if learned := chosen(clips, n, labels):
                    tasks.append((corpus, speaker, n, clips, learned))

    results: Results = defaultdict(list)
    with progress_bar() as report:
        for i, (corpus, speaker, n, clips, learned) in enumerate(tasks):
            report("adapting", i, len(tasks))
            rest = tuple(c for c in clips if c not in learned)
            name = f"{speaker}-{n}"
            where = cell_folder(arguments.work, name, 0)
            if read_cell(where) is None:
                split = Split(name, tuple(learned), (), rest)
                fit(recipe, split, seed=0, folder=where, dataset=dataset, progress=lambda row: None)
            after = read_cell(where)
            assert after is not None
            test = dataset.fixed(rest)
            before = scores(
                test.labels, test.clip_probabilities(predict(known, test.features)), labels.labels
            )
            results[corpus, n].append((before.uar, after.test.scores.uar))
            print(f"{name}: {before.uar:.3f} -> {after.test.scores.uar:.3f}", flush=True)
    if arguments.part == "test":
        text = page(arguments.model, arguments.corpora, results, recipe.training.epochs)
        write_text(RESULTS / "adaptation.md", text)
        with replacing(RESULTS / "adaptation.png") as temporary:
            picture(results).savefig(temporary, format="png", dpi=120)
    else:
        print("\n".join(markdown_table(rows(results), left=("corpus",))))


def chosen(clips: Sequence[Clip], n: int, labels: LabelMap) -> list[Clip]:
    """`n` clips of each label, drawn at random; none where that would leave too few of one to test on."""
    rng = np.random.default_rng(0)
    of_label: dict[str, list[Clip]] = defaultdict(list)
    for i in rng.permutation(len(clips)):
        of_label[labels.of[clips[i].label]].append(clips[i])
    if min(map(len, of_label.values())) < n + LEAST_TEST:
        return []
    return [clip for found in of_label.values() for clip in found[:n]]


def page(model: str, corpora: str, results: Results, n_epochs: int) -> str:
    """The results in Markdown."""
    lines = [
        f"# A few clips of a person: {model}",
        "",
        f"Made by `python benchmarks/adaptation.py --model {model} --corpora {corpora} --data CORPORA`: UAR in "
        "percent on clips of people whom the model never heard, before and after it was trained on some of their "
        f"other clips as `edgeemo train --from {model}` does ({n_epochs} epochs); one seed, one draw of clips. "
        f"Better: people for whom it rose. Tested on what is left, {LEAST_TEST} clips of each label or more: where "
        "most are trained on, few are.",
        "",
        *markdown_table(rows(results), left=("corpus",)),
        "",
        "![UAR of each person before and after](adaptation.png)",
    ]
    return "\n".join(lines) + "\n"


def rows(results: Results) -> list[dict[str, str]]:
    """A row for each corpus and number of clips."""
    return [
        {
            "corpus": CORPORA[corpus].title,
            "clips of each label": str(n),
            "people": str(len(pairs)),
            "before": f"{100 * fmean(before for before, _ in pairs):.1f}",
            "after": f"{100 * fmean(after for _, after in pairs):.1f}",
            "better": str(sum(after > before for before, after in pairs)),
        }
        for (corpus, n), pairs in sorted(results.items())
    ]


def picture(results: Results) -> Figure:
    """A line for each person, from before to after."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for axis, ((corpus, n), pairs) in zip(axes, sorted(results.items()), strict=True):
        for pair in pairs:
            axis.plot((0, 1), [100 * uar for uar in pair], marker="o", color="tab:blue", alpha=0.6)
        axis.set_xticks((0, 1), ("before", "after"))
        axis.set_title(f"{CORPORA[corpus].title}\n{n} clips of each label", fontsize=9)
        axis.set_xlim(-0.3, 1.3)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("UAR, %")
    return figure


if __name__ == "__main__":
    main()
