"""What a recipe is worth for unknown speakers of the corpora that it learned from: a row for each recipe and corpus.

    edgeemo train --model emo_small --data CORPORA --output runs/emo_small
    python benchmarks/unknown_speakers.py runs/emo_small

Each fold has other test speakers, and is one training; `--fold 1` runs the first alone, and the same command goes on
where one was stopped. The table has what is there. Writes `results/unknown_speakers.md` and `.png` beside this file.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from edgeemo.corpora.names import CORPORA
from edgeemo.files import replacing, write_text
from edgeemo.markdown import markdown_table
from edgeemo.workstation.training.folder import cell_folders, load_run, read_cell
from edgeemo.workstation.training.scores import Scores

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Read run folders, write table and plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders of protocol speaker")
    found = [known for run in parser.parse_args().runs for known in corpora_of(run)]
    write_text(RESULTS / "unknown_speakers.md", page(found))
    with replacing(RESULTS / "unknown_speakers.png") as temporary:
        figure(found).savefig(temporary, format="png", dpi=150)


@dataclass(frozen=True)
class Known:
    """What the trainings of a recipe say of unknown speakers of one corpus.

    Attributes:
        recipe: its name.
        corpus: the corpus.
        n_labels: how many the recipe has.
        of_folds: the test scores of each fold and seed.
    """

    recipe: str
    corpus: str
    n_labels: int
    of_folds: tuple[Scores, ...]

    @property
    def occurring(self) -> int:
        """How many labels the corpus has."""
        return sum(recall is not None for recall in self.of_folds[0].recall.values())


def corpora_of(run: Path) -> list[Known]:
    """A run's corpora, by name."""
    recipe, _ = load_run(run)
    of_corpus: dict[str, list[Scores]] = defaultdict(list)
    for folder in cell_folders(run):
        if (cell := read_cell(folder)) is not None:
            for corpus, scores in cell.test.by_corpus.items():
                of_corpus[corpus].append(scores)
    return [
        Known(
            recipe.name,
            CORPORA[corpus].title,
            len(recipe.label_map.labels),
            tuple(scores),
        )
        for corpus, scores in sorted(of_corpus.items())
    ]


def row(known: Known) -> dict[str, str]:
    """What is said of a corpus, by column."""
    return {
        "recipe": known.recipe,
        "corpus": known.corpus,
        "trainings": f"{len(known.of_folds)}",
        "tested clips": f"{sum(scores.n_clips for scores in known.of_folds):,}",
        "its labels": f"{known.occurring} of {known.n_labels}",
        "UAR": spread([scores.uar for scores in known.of_folds]),
        "accuracy": spread([scores.war for scores in known.of_folds]),
        "macro-F1": spread([scores.macro_f1 for scores in known.of_folds]),
    }


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation, in percent."""
    mean = f"{100 * np.mean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * np.std(values, ddof=1):.1f}"


def page(found: Sequence[Known]) -> str:
    """The table in Markdown."""
    return "\n".join(
        [
            "# Speakers never heard",
            "",
            "Made by `python benchmarks/unknown_speakers.py RUN...`, whose first lines say how the runs "
            "were trained: Keras' weights in float32, before `[export] usual`, of whole clips, each by the "
            "most probable of all labels. In percent; ±: standard deviation over trainings, whose test "
            "speakers differ. The kept epoch has the lowest validation loss on three other speakers of each "
            "corpus. Of a corpus of one label, UAR is the share of its clips that is named so.",
            "",
            *markdown_table([row(known) for known in found], left=("recipe", "corpus")),
            "",
            "![UAR of each training](unknown_speakers.png)",
            "",
        ]
    )


def figure(found: Sequence[Known]) -> Figure:
    """UAR of each training, by corpus; a line is chance."""
    drawn = Figure(figsize=(8, 0.5 * len(found) + 1.2), layout="constrained")
    axes = drawn.subplots()
    for place, known in enumerate(found):
        values = [100 * scores.uar for scores in known.of_folds]
        axes.plot(values, [place] * len(values), "o", color="C0", alpha=0.6)
        axes.plot([np.mean(values)] * 2, [place - 0.3, place + 0.3], color="C0")
    axes.axvline(100 / found[0].n_labels, color="0.6", linewidth=1)
    axes.set_yticks(range(len(found)), [f"{known.recipe}, {known.corpus}" for known in found])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("UAR of speakers never heard, percent\n(dots: trainings; bar: their mean; line: chance)")
    return drawn


if __name__ == "__main__":
    main()
