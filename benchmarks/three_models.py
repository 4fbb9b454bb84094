"""The published comparison of Pure CNN, CNN-LSTM and Pure LSTM, and the speaker-independent score beside it.

    python benchmarks/three_models.py --data CORPORA

runs three studies (`edgeemo study pure_cnn cnn_lstm pure_lstm` with the `--set` values below; hours on two cores, and
a second call goes on where the first stopped):

- `random`: RAVDESS + TESS, the published 7 classes, a stratified random split, as published;
- `speaker`: RAVDESS alone, its 8 classes, 5 folds over actors with separate validation actors, 2 seeds;
- `shipped`: the corpora that `emo_small` learns, as it learns them, 7 classes: what ships.

CORPORA is a folder with RAVDESS and TESS, and for `shipped` with CREMA-D, nEMO and the wake words too.

It writes `results/three_models.md`, `.json` and `.png` beside this file; a cell without a run keeps the figures that
are in the JSON file. `--only STUDY` runs one study.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from edgeemo.corpora.labels import LABEL_MAPS
from edgeemo.corpora.names import CORPORA
from edgeemo.files import replacing, write_text
from edgeemo.places import recipe_path
from edgeemo.workstation.training.folder import cell_folders, read_cell
from edgeemo.workstation.training.metrics import CellMetrics
from edgeemo.workstation.training.recipe import Channel, Published, load_recipe
from edgeemo.workstation.training.scores import Scores, scores

MODELS = {"pure_cnn": "Pure CNN", "cnn_lstm": "CNN-LSTM", "pure_lstm": "Pure LSTM"}
RAVDESS_TESS = 'data.corpora=["ravdess", "tess"]'


def as_emo_small() -> list[str]:
    """Its corpora and its channel, and what goes with them; the networks and their optimiser stay as published.

    Rooms are near: they were trained before `emo_small` learned far ones.
    """
    small = load_recipe(recipe_path("emo_small"))
    channel = dataclasses.asdict(
        dataclasses.replace(small.channel or Channel(), room_share=0.4, room_db=Channel().room_db)
    )
    values = {
        "data.corpora": small.data.corpora,
        "features.range_db": 50.0,
        "training.epochs": 30,
        "training.patience": 30,
        "training.clips_per_speaker": 0,
        "training.clips_per_epoch": small.training.clips_per_epoch,
        "training.balance": small.training.balance,
        "training.class_weights": False,
        "training.label_smoothing": small.training.label_smoothing,
        "training.averaging": 0.99,
        "augmentation.speed": 0.0,
        "augmentation.gain_db": 0.0,
        "augmentation.noise_share": 0.0,
        "augmentation.mixup": 0.0,
        **{f"channel.{name}": value for name, value in channel.items()},
        "export.usual": small.export.usual,
        "export.baseline": small.export.baseline,
        "export.licence": small.export.licence,
    }
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


STUDIES: dict[str, list[str]] = {
    "shipped": as_emo_small(),
    # The same voices and rooms are in training and test, so that what makes the shipped models hold elsewhere (gain,
    # noise, very different voices) only costs here.
    "random": [
        RAVDESS_TESS,
        "protocol.kind=random",
        "training.clips_per_speaker=300",
        "training.epochs=130",
        "augmentation.speed=0.1",
        "augmentation.gain_db=0.0",
        "augmentation.noise_share=0.0",
        "augmentation.time_masks=1",
        "augmentation.mel_masks=1",
        "augmentation.mixup=0.2",
    ],
    "speaker": ['data.corpora=["ravdess"]', "data.labels=ravdess8", "training.seeds=[0, 1]"],
}
FOLDS = {"shipped": [1]}
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Cell:
    """What the tables need of one training.

    Attributes:
        metrics: without answers.
        test_7: of 8-class cells: the test scores with neutral and calm as one class.
    """

    metrics: CellMetrics
    test_7: Scores | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the JSON file."""
        values = self.metrics.to_dict()
        return values if self.test_7 is None else values | {"test_7": self.test_7.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cell:
        """What `to_dict` gave."""
        test_7 = Scores.from_dict(values["test_7"]) if "test_7" in values else None
        return cls(CellMetrics.from_dict(values), test_7)


Cells = dict[str, list[Cell]]
"""The cells of each model."""


def main() -> None:
    """Train what is missing, then write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--runs", type=Path, default=Path("runs/three_models"), help="folder of the studies")
    parser.add_argument("--only", action="append", choices=STUDIES, help="run only this study; repeatable")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="trainings at a time, on a core each"
    )
    parser.add_argument(
        "--tables", action="store_true", help="train nothing: write the tables of what is finished"
    )
    arguments = parser.parse_args()

    if not arguments.tables:
        for name in arguments.only or STUDIES:
            train(name, arguments)
    write_results(arguments.runs)


def train(name: str, arguments: argparse.Namespace) -> None:
    """Run one study: all models with the same values."""
    from edgeemo.workstation.study.engines import local_processes
    from edgeemo.workstation.study.grid import settings
    from edgeemo.workstation.study.study import study

    study(
        settings([recipe_path(model) for model in MODELS], (), STUDIES[name]),
        arguments.data,
        arguments.runs / name,
        local_processes(arguments.jobs),
        folds=FOLDS.get(name, ()),
        progress=lambda done, total, last: print(f"{name}: {done} of {total}. {last}", file=sys.stderr),
    )


def write_results(runs: Path) -> None:
    """Make the tables and the plot of finished runs."""
    path = RESULTS / "three_models.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = {
        study: joined(
            {model: list(map(Cell.from_dict, cells)) for model, cells in before.get(study, {}).items()},
            load(runs / study),
        )
        for study in ("random", "speaker", "shipped")
    }
    random, speaker, shipped = found["random"], found["speaker"], found["shipped"]
    speaker = {model: whole_seeds(cells) for model, cells in speaker.items()}
    text = "\n".join(
        [
            "# The three models",
            "",
            "Made by `python benchmarks/three_models.py --data CORPORA`. UAR: unweighted average recall; WAR: "
            "accuracy; ±: standard deviation.",
            "",
            "## Random split, as published",
            "",
            "RAVDESS + TESS (published: with SAVEE), 7 classes, stratified random split 80 : 10 : 10, seed "
            f"{seeds(*random.values())}. The same speakers are in training and test: this says how well a model "
            "knows 26 voices, and TESS, two speakers with one carrier phrase, is easy. Each clip counts once. "
            "Settings and sizes were chosen on this split's validation part among those tried (CNN-LSTM three, "
            "Pure CNN and Pure LSTM five): the validation column is the optimistic one; the test column was looked "
            "at, not chosen by.",
            "",
            *random_table(random),
            "",
            "## Speakers never heard",
            "",
            "RAVDESS, 5 folds over 24 actors, in each fold 3 other actors for validation (early stopping). UAR is "
            "the mean over all cells, of the seeds that all folds are trained with; ± over folds: standard deviation "
            "of the folds' means, whose actors differ; ± over seeds: of the seeds' means. 7 classes: the same "
            "networks, probabilities of neutral and calm added. "
            "Features do not depend on the recording level. In each fold, no weight and no stopping epoch was "
            "chosen on its test actors. Sizes were chosen on the random split, where every voice occurs, the largest "
            "number of epochs on validation actors of folds 1 and 2, who are test actors of other folds: slightly "
            "optimistic.",
            "",
            *speaker_table(speaker),
            *(f"| {name} | not trained yet |" for model, name in MODELS.items() if model not in speaker),
            "",
            "## What ships",
            "",
            "CREMA-D, nEMO, RAVDESS, TESS and wake words (ordinary speech, which is neutral), 7 classes, through the "
            "channels that `emo_small` is trained through; fold 1 of the speaker protocol, so that speakers remain "
            "that the shipped weights never heard. UAR of those of each corpus, of the labels that it has; of wake "
            "words, the share that is named neutral.",
            "",
            *shipped_table(shipped),
            "",
            "![accuracy under the random split, and UAR on speakers never heard](three_models.png)",
            "",
        ]
    )
    write_text(RESULTS / "three_models.md", text)
    values = {
        study: {model: [cell.to_dict() for cell in cells] for model, cells in models.items()}
        for study, models in found.items()
    }
    write_text(path, json.dumps(values, indent=1) + "\n")
    with replacing(RESULTS / "three_models.png") as temporary:
        figure(random, speaker).savefig(temporary, dpi=120)
    print(text)


def load(study: Path) -> Cells:
    """Every finished cell of each model, folds and seeds in order."""
    found = {}
    for model in MODELS:
        cells = [cell for folder in cell_folders(study / model) if (cell := read_cell(folder))]
        if cells:
            found[model] = [Cell(dataclasses.replace(c, test_answers=None), merged(c)) for c in cells]
    return found


def joined(before: Cells, found: Cells) -> Cells:
    """What was written before, with the cells that were found in place of their former selves."""
    return {
        model: sorted(
            {
                (cell.metrics.fold, cell.metrics.seed): cell
                for cell in [*before.get(model, []), *found.get(model, [])]
            }.values(),
            key=lambda cell: (cell.metrics.seed, cell.metrics.fold),
        )
        for model in MODELS
        if model in before or model in found
    }


def whole_seeds(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of seeds that every fold is trained with: a mean over others would weigh some actors more."""
    folds = {cell.metrics.fold for cell in cells}
    trained = Counter(cell.metrics.seed for cell in cells)
    return [cell for cell in cells if trained[cell.metrics.seed] == len(folds)]


def merged(cell: CellMetrics) -> Scores | None:
    """Test scores of an 8-class RAVDESS cell with neutral and calm as one class; None of others."""
    eight, seven = LABEL_MAPS["ravdess8"].labels, LABEL_MAPS["published7"]
    if cell.test_answers is None or tuple(cell.test.scores.recall) != eight:
        return None
    index = np.array([seven.index(label) for label in eight])
    of_eight = np.array(cell.test_answers.probabilities)
    probabilities = np.zeros((len(of_eight), len(seven.labels)))
    for i, j in enumerate(index):
        probabilities[:, j] += of_eight[:, i]
    return scores(index[np.array(cell.test_answers.truth)], probabilities, seven.labels)


def published(model: str) -> Published:
    """The figures that others published of a model."""
    found = load_recipe(recipe_path(model)).published
    if found is None:
        raise ValueError(f"{model}: its recipe has no [published]")
    return found


def random_table(runs: Cells) -> list[str]:
    """A row per model for both corpora together, then one per corpus."""
    lines = [
        "| model | parameters | clips of | val loss | val accuracy | test loss | test accuracy | test UAR "
        "| published val loss, accuracy |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for model, cells in runs.items():
        all_metrics = [cell.metrics for cell in cells]
        rows = {"both": [(m.validated.scores, m.test.scores) for m in all_metrics]}
        for corpus in ("ravdess", "tess"):
            rows[corpus] = [(m.validated.by_corpus[corpus], m.test.by_corpus[corpus]) for m in all_metrics]
        of_others = published(model)
        for corpus, parts in rows.items():
            val, test = [v for v, _ in parts], [t for _, t in parts]
            first = corpus == "both"
            lines.append(
                f"| {MODELS[model] if first else ''} "
                f"| {format(all_metrics[0].n_parameters, ',') if first else ''} "
                f"| {corpus} | {mean(s.loss for s in val):.3f} | {mean(s.war for s in val):.1%} "
                f"| {mean(s.loss for s in test):.3f} | {mean(s.war for s in test):.1%} "
                f"| {mean(s.uar for s in test):.3f} "
                f"| {f'{of_others.loss:.3f}, {of_others.accuracy:.1%}' if first else ''} |"
            )
    return lines


def eight_classes(cell: Cell) -> Scores:
    """Test scores as the network was trained."""
    return cell.metrics.test.scores


def seven_classes(cell: Cell) -> Scores:
    """Test scores with neutral and calm as one class."""
    if cell.test_7 is None:
        raise ValueError(f"{cell.metrics.fold}, seed {cell.metrics.seed} has no 7-class scores")
    return cell.test_7


def speaker_table(runs: Cells) -> list[str]:
    """A row per model and number of classes."""
    lines = [
        "| model | classes | UAR | ± over folds | ± over seeds | WAR | macro-F1 | UAR on validation actors "
        "| seeds | test clips |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for classes, test in ((8, eight_classes), (7, seven_classes)):
        for model, cells in runs.items():
            tests = [test(cell) for cell in cells]
            validation = f"{mean(c.metrics.validated.scores.uar for c in cells):.3f}" if classes == 8 else ""
            lines.append(
                f"| {MODELS[model]} | {classes} | {mean(t.uar for t in tests):.3f} "
                f"| {deviation(by_fold(cells, test))} | {deviation(by_seed(cells, test))} "
                f"| {mean(t.war for t in tests):.3f} | {mean(t.macro_f1 for t in tests):.3f} "
                f"| {validation} | {seeds(cells)} "
                f"| {sum(t.n_clips for t in tests) // len({cell.metrics.seed for cell in cells})} |"
            )
    return lines


def shipped_table(runs: Cells) -> list[str]:
    """A row per model: the speakers of each corpus who were never heard."""
    corpora = sorted({corpus for (cell,) in runs.values() for corpus in cell.metrics.test.by_corpus})
    titles = " | ".join(CORPORA[corpus].title for corpus in corpora)
    lines = [
        f"| model | parameters | {titles} | speakers | all: UAR on validation speakers | epoch |",
        f"|---|--:|{'--:|' * len(corpora)}--:|--:|--:|",
    ]
    for model, (cell,) in runs.items():
        m = cell.metrics
        of_corpora = " | ".join(f"{m.test.by_corpus[corpus].uar:.3f}" for corpus in corpora)
        lines.append(
            f"| {MODELS[model]} | {m.n_parameters:,} | {of_corpora} | {len(m.test.speakers)} "
            f"| {m.validated.scores.uar:.3f} | {m.best_epoch} |"
        )
    return lines


def figure(random: Cells, speaker: Cells) -> Figure:
    """Two groups of bars: what the random split says, and what speakers never heard say."""
    drawn = Figure(figsize=(8, 4), layout="constrained")
    left, right = drawn.subplots(1, 2, sharey=True)
    x = np.arange(len(random))
    left.bar(
        x - 0.2,
        [published(model).accuracy for model in random],
        0.4,
        color="lightgrey",
        label="published (+ SAVEE)",
    )
    ours = [mean(c.metrics.validated.scores.war for c in cells) for cells in random.values()]
    left.bar(x + 0.2, ours, 0.4, color="tab:blue", label="edgeemo")
    left.set_title("random split: validation accuracy,\n7 classes, RAVDESS + TESS", fontsize=10)
    left.legend(loc="lower right")
    for offset, test, colour, name in (
        (-0.2, eight_classes, "tab:orange", "8 classes"),
        (0.2, seven_classes, "tab:green", "7 classes"),
    ):
        values = [by_fold(cells, test) for cells in speaker.values()]
        right.bar(
            np.arange(len(speaker)) + offset,
            [mean(v) for v in values],
            0.4,
            yerr=[float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for v in values],
            color=colour,
            label=name,
            capsize=3,
        )
    right.set_title("actors never heard: test UAR,\nRAVDESS, 5 folds (bars: spread over folds)", fontsize=10)
    right.legend(loc="upper right")
    for axis, models in ((left, random), (right, speaker)):
        axis.set_xticks(range(len(models)), [MODELS[m] for m in models])
        axis.set_ylim(0, 1)
        axis.grid(axis="y", alpha=0.3)
    return drawn


def seeds(*models: Sequence[Cell]) -> str:
    """The seeds of cells, such as `0, 1`."""
    return ", ".join(map(str, sorted({cell.metrics.seed for cells in models for cell in cells})))


def mean(values: Iterable[float]) -> float:
    """The mean of some values."""
    return float(np.mean(list(values)))


def deviation(values: Sequence[float]) -> str:
    """Standard deviation as text; of a single value, nothing."""
    return f"{np.std(values, ddof=1):.3f}" if len(values) > 1 else ""


def by_fold(cells: Sequence[Cell], test: Callable[[Cell], Scores]) -> list[float]:
    """Mean UAR of each fold."""
    return _means((cell.metrics.fold, test(cell).uar) for cell in cells)


def by_seed(cells: Sequence[Cell], test: Callable[[Cell], Scores]) -> list[float]:
    """Mean UAR of each seed."""
    return _means((cell.metrics.seed, test(cell).uar) for cell in cells)


def _means(values: Iterable[tuple[str | int, float]]) -> list[float]:
    groups: dict[str | int, list[float]] = {}
    for group, value in values:
        groups.setdefault(group, []).append(value)
    return [mean(group) for group in groups.values()]


if __name__ == "__main__":
    main()
