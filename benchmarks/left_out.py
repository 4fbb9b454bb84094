"""What a recipe is worth on a corpus that it was not trained on: a row for each recipe and each corpus left out.

    edgeemo study pure_cnn conv1d_lstm --data CORPORA --output runs/left_out --set protocol.kind=corpus \
        --set 'data.corpora=["crema_d","nemo","ravdess","savee","tess"]' --set training.epochs=12
    edgeemo train --model emo_small --protocol corpus --data CORPORA --output runs/emo_small_left_out
    edgeemo train --model cnn_lstm --protocol corpus --data CORPORA --output runs/cnn_lstm_left_out SETTINGS
    python benchmarks/left_out.py runs/left_out/{pure_cnn,conv1d_lstm} runs/{cnn_lstm,emo_small}_left_out

SETTINGS are the `--set` values of `shipped` in `three_models.py`, but `training.epochs=15`: what CNN-LSTM ships with.
Each corpus is a fold: `--fold 1` trains without the first alone, and the same command goes on where one was stopped.
The table has what is there, and says what was trained. A second one has every two recipes together: what the mean of
their probabilities is worth where both left the same corpus out. Writes `results/left_out.md` beside this file;
`strangers.py` goes on from one of these runs, to what such networks are worth in noise and once they know the person.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeemo.answer import Judgement
from edgeemo.corpora.labels import AROUSAL
from edgeemo.corpora.names import CORPORA
from edgeemo.evaluation.measures import area_under_curve, calibration_error, confusion, uar
from edgeemo.files import write_text
from edgeemo.markdown import markdown_table
from edgeemo.workstation.training.folder import cell_folders, load_run, read_cell
from edgeemo.workstation.training.metrics import Answers
from edgeemo.workstation.training.protocols import WITHOUT

RESULT = Path(__file__).parent / "results" / "left_out.md"


def main() -> None:
    """Read run folders, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders of protocol corpus")
    found = [left_out for run in parser.parse_args().runs for left_out in trainings(run)]
    write_text(RESULT, page(found))


@dataclass(frozen=True)
class LeftOut:
    """One training, and what it says of the corpus that it left out.

    Attributes:
        recipe: its name.
        corpus: the corpus that was left out.
        labels: those of the recipe.
        answers: on the clips of that corpus.
        training: what it was trained on, by column.
    """

    recipe: str
    corpus: str
    labels: tuple[str, ...]
    answers: Answers
    training: dict[str, str]


def trainings(run: Path) -> Iterator[LeftOut]:
    """Those of a run, of corpora with several labels."""
    recipe, _ = load_run(run)
    labels = recipe.label_map.labels
    for folder in cell_folders(run):
        cell = read_cell(folder)
        if cell is None or cell.test_answers is None or not cell.fold.startswith(WITHOUT):
            continue
        left_out = cell.fold.removeprefix(WITHOUT)
        if len(set(cell.test_answers.truth)) < 2:
            continue
        trained_on = [CORPORA[name].title for name in sorted(recipe.data.corpora) if name != left_out]
        training = {
            "trained on": ", ".join(trained_on),
            "clips": f"{cell.n_train:,}",
            "epochs": f"{cell.epochs} of {recipe.training.epochs}",
            "seed": str(cell.seed),
        }
        yield LeftOut(recipe.name, CORPORA[left_out].title, labels, cell.test_answers, training)


def row(one: LeftOut) -> dict[str, str]:
    """What is said of a training, by column."""
    said = scores(np.array(one.answers.probabilities), np.array(one.answers.truth), one.labels)
    return {"recipe": one.recipe, "left out": one.corpus, **said, **one.training}


def together(found: list[LeftOut]) -> Iterator[dict[str, str]]:
    """A row for every two recipes that left the same corpus out: the mean of their probabilities."""
    for one, other in itertools.combinations(found, 2):
        if (one.corpus, one.labels, one.answers.truth) != (other.corpus, other.labels, other.answers.truth):
            continue
        mean = (np.array(one.answers.probabilities) + np.array(other.answers.probabilities)) / 2
        said = scores(mean, np.array(one.answers.truth), one.labels)
        yield {"recipes": f"{one.recipe}, {other.recipe}", "left out": one.corpus, **said}


def scores(
    probabilities: npt.NDArray[np.float64], truth: npt.NDArray[np.int64], labels: tuple[str, ...]
) -> dict[str, str]:
    """How well the corpus is recognised; a label is always named."""
    best, present = probabilities.argmax(axis=1), np.unique(truth)
    best_present = present[probabilities[:, present].argmax(axis=1)]
    judgement = Judgement.of(labels)
    said = [judgement.answer(dict(zip(labels, of_clip, strict=True))) for of_clip in probabilities.tolist()]
    side = np.array([AROUSAL.get(labels[i], np.nan) for i in truth])
    sided = ~np.isnan(side)
    arousal = np.array([np.nan if answer.arousal is None else answer.arousal for answer in said])
    auc = area_under_curve(side[sided] == 1, arousal[sided])
    error = calibration_error(probabilities.max(axis=1), best == truth)
    return {
        "tested clips": f"{len(truth):,}",
        "UAR": f"{100 * float(uar(confusion(truth, best, len(labels)))):.1f}",
        "present": f"{100 * float(uar(confusion(truth, best_present, len(labels)))):.1f}",
        "AUC": f"{auc:.2f}",
        "ECE": f"{error:.2f}",
    }


def page(found: list[LeftOut]) -> str:
    """The table in Markdown."""
    return "\n".join(
        [
            "# A corpus that was left out",
            "",
            "Made by `python benchmarks/left_out.py RUN...`, whose first lines say how the runs were "
            "trained. Each row is one training, of Keras' weights in float32, before calibration and "
            "`[export] usual`. UAR in percent, by the most probable of all labels; present: of those that "
            "occur in the corpus left out. AUC: agitated against calm speech. ECE: how far confidence is "
            "from being right. Epochs: trained, of at most; the kept one has the lowest validation loss on "
            "speakers of the corpora trained on. Of corpora that a recipe does not train on, such as SAVEE, "
            "[belief.md](belief.md) says what the shipped file is worth.",
            "",
            *markdown_table([row(one) for one in found], left=("recipe", "left out", "trained on")),
            "",
            "Two together, by the mean of their probabilities:",
            "",
            *markdown_table(list(together(found)), left=("recipes", "left out")),
            "",
        ]
    )


if __name__ == "__main__":
    main()
