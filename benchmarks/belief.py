"""What labels are worth on corpora that were never heard: the shipped models, eGeMAPS with an SVM, and people.

    pip install opensmile scikit-learn
    python benchmarks/belief.py --data CORPORA

CORPORA is a folder with RAVDESS, TESS, CREMA-D, SAVEE and nEMO; of RAVDESS, the shipped models are judged by the
speakers that they were tested on alone, and of TESS not at all. `--no-voice` and `--plain` as of `edgeemo evaluate`.
It takes an hour on one core; a second call goes on where the first stopped.

- *models*: `edgeemo evaluate` of the variants that `edgeemo listen` uses.
- *eGeMAPS + SVM*: 88 functionals of openSMILE (Eyben et al. 2016, "The Geneva Minimalistic Acoustic Parameter Set"),
  standardised, into an SVM with an RBF kernel, C = 1, classes weighted alike; trained on four of the corpora, tested
  on the fifth. Nothing is tuned.
- *people*: what most of the listeners chose who heard CREMA-D's voices alone (`processedResults/tabulatedVotes.csv`,
  Cao et al. 2014), ties counting in parts.

It writes `results/belief.md`, `.html` and `.json` beside this file, and what is in them of the shipped models into
their cards and the README, between marks; `--documents` does that alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import edgeemo
from edgeemo.audio import read_audio
from edgeemo.cli.progress import progress_bar
from edgeemo.corpora.labels import LABEL_MAPS
from edgeemo.corpora.names import CORPORA
from edgeemo.corpora.votes import EMOTION_OF, TABLE, read_votes
from edgeemo.evaluation import conclusions
from edgeemo.evaluation.conclusions import Answers
from edgeemo.evaluation.evaluate import Plan, evaluate
from edgeemo.evaluation.figures import figures
from edgeemo.evaluation.material import Material, gather
from edgeemo.evaluation.measures import recall
from edgeemo.evaluation.page import html_page
from edgeemo.evaluation.results import Estimate, Evaluation, Scores
from edgeemo.evaluation.tables import notes, tables
from edgeemo.files import write_text
from edgeemo.folders import walk
from edgeemo.markdown import markdown_table
from edgeemo.places import MODELS_DIR, name_of

COMMAND = "python benchmarks/belief.py --data CORPORA --no-voice NOISES --plain COMMANDS"
"""As the results have it, wherever the folders are."""
MODELS = ("cnn_lstm", "pure_cnn", "pure_lstm", "conv1d_lstm")
LABELS = LABEL_MAPS["published7"].labels
ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MARKS = ("<!-- belief -->", "<!-- /belief -->")
RATE = 16_000


def main() -> None:
    """Measure, unless only the documents are wanted; then write these."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with the five corpora")
    parser.add_argument(
        "--documents", action="store_true", help="measure nothing: renew the cards and the README"
    )
    parser.add_argument("--no-voice", type=Path, help="folder of sounds without a voice")
    parser.add_argument("--plain", type=Path, help="folder of ordinary speech")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/belief"), help="for what is measured on the way"
    )
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.documents:
        if arguments.data is None:
            parser.error("--data is missing; give the folder with the five corpora")
        measure(arguments)
    renew_documents()


def measure(arguments: argparse.Namespace) -> None:
    """Measure what is missing, and write the results."""
    models = [edgeemo.load(name) for name in MODELS]
    with progress_bar() as report:
        evaluation = evaluate(
            models,
            Plan(
                data=arguments.data,
                output=arguments.runs,
                no_voice=arguments.no_voice,
                plain=arguments.plain,
                n_jobs=arguments.jobs,
                command=COMMAND,
            ),
            report,
        )
    evaluation = dataclasses.replace(evaluation, data="CORPORA")
    every = gather(arguments.data, LABELS, [None], heard_too=True)
    reference = by_svm(every, functionals(every, arguments.runs / "egemaps.npz", arguments.jobs))
    people = votes(arguments.data)
    write_text(RESULTS / "belief.html", html_page(evaluation, figures(evaluation)))
    write_text(RESULTS / "belief.json", json.dumps(evaluation.to_dict(), indent=1) + "\n")
    write_text(RESULTS / "belief.md", page(evaluation, reference, people))


def renew_documents() -> None:
    """Write the scores of the shipped models into their cards and the README."""
    evaluation = Evaluation.from_dict(json.loads((RESULTS / "belief.json").read_text(encoding="utf-8")))
    for path, block in documents(evaluation).items():
        write_text(path, with_block(path.read_text(encoding="utf-8"), block))


def documents(evaluation: Evaluation) -> dict[Path, str]:
    """What stands between the marks, by the documents."""
    strangers = {
        name_of(m.name): [
            {
                "corpus": CORPORA[corpus].title,
                "clips": str(c.scores.n_clips),
                "speakers": str(c.scores.n_speakers),
                "UAR": interval(c.scores.uar_present, 100),
                "arousal AUC": interval(c.arousal_auc, 1),
            }
            for corpus, c in m.corpora.items()
            if c.exposure == "never heard"
        ]
        for m in evaluation.models
    }
    about = (
        "UAR in percent, by the most probable of the labels that occur there; in brackets: 95 %, bootstrap over "
        "speakers."
    )
    found = {
        MODELS_DIR / f"{name}.md": "\n".join(
            [f"On corpora that it never heard. {about}", "", *markdown_table(rows)]
        )
        for name, rows in strangers.items()
    }
    titles = [row["corpus"] for row in next(iter(strangers.values()))]
    table = [
        {"model": name} | {title: row["UAR"] for title, row in zip(titles, rows, strict=True)}
        for name, rows in strangers.items()
    ]
    confidence = [
        f"{name_of(m.name)} claims {100 * (m.calibration.confidence or 0):.0f} % and is right in "
        f"{100 * (m.calibration.accuracy or 0):.0f} %"
        for m in evaluation.models
    ]
    readme = [
        about,
        "",
        *markdown_table(table),
        "",
        f"Confidence: {', '.join(confidence)}.",
    ]
    return found | {ROOT / "README.md": "\n".join(readme)}


def with_block(text: str, block: str) -> str:
    """A document with a block between the marks; a card that the export wrote anew gets them after its scores."""
    if MARKS[0] not in text:
        text = text.replace("\n## Limits\n", f"\n{MARKS[0]}\n{MARKS[1]}\n\n## Limits\n", 1)
    assert MARKS[0] in text, "neither marks nor a card"
    before, _, rest = text.partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    return f"{before}{MARKS[0]}\n{block}\n{MARKS[1]}{after}"


def interval(e: Estimate, scale: int) -> str:
    """Such as `31.2 (29.0 to 33.4)`."""
    digits = 1 if scale > 1 else 2
    value, low, high = (f"{scale * (x or 0):.{digits}f}" for x in (e.value, e.low, e.high))
    return f"{value} ({low} to {high})"


def functionals(material: Material, cache: Path, n_jobs: int) -> npt.NDArray[np.float32]:
    """eGeMAPS v02 of each clip, shape `(n_clips, 88)`."""
    digests = [clip.sha256 for clip in material.clips]
    if cache.is_file():
        stored = np.load(cache)
        if stored["digests"].tolist() == digests:
            values: npt.NDArray[np.float32] = stored["values"]
            return values
    with ProcessPoolExecutor(n_jobs) as pool:
        values = np.stack(list(pool.map(_functionals, [clip.path for clip in material.clips], chunksize=32)))
    np.savez(cache, digests=digests, values=values)
    return values


def _functionals(path: Path) -> npt.NDArray[np.float32]:
    import opensmile

    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    found: npt.NDArray[np.float32] = smile.process_signal(read_audio(path, RATE), RATE).to_numpy()[0]
    return np.nan_to_num(found)


def by_svm(material: Material, values: npt.NDArray[np.float32]) -> dict[str, tuple[Scores, float | None]]:
    """Leave one corpus out: the scores on it, and its arousal AUC."""
    corpora = np.array([clip.corpus for clip in material.clips])
    found = {}
    for corpus in np.unique(corpora):
        test = np.flatnonzero(corpora == corpus)
        machine = make_pipeline(StandardScaler(), SVC(class_weight="balanced"))
        machine.fit(values[corpora != corpus], material.truth[corpora != corpus])
        distances = machine.decision_function(values[test])
        # As probabilities, they say which class is first, and which of two sides is: no more is asked of them.
        shares = np.exp(distances) / np.exp(distances).sum(axis=1, keepdims=True)
        answers = Answers.from_lists(material.of(test), shares.tolist())
        found[str(corpus)] = conclusions.scores(answers), conclusions.arousal_auc(answers).value
    return found


def votes(data: Path) -> dict[str, float]:
    """The recall of each emotion in CREMA-D's voices by the vote of most listeners; and their mean, as `UAR`."""
    path = next(folder / TABLE for folder, _, files in walk(data, print) if TABLE in files)
    emotions = list(EMOTION_OF.values())
    counts = np.zeros((len(emotions),) * 2)
    for name, votes_of_clip in read_votes(path).items():
        given = np.array([votes_of_clip[emotion] for emotion in emotions])
        meant = list(EMOTION_OF).index(name.split("_")[2][0])
        counts[meant] += (given == given.max()) / (given == given.max()).sum()
    shares = dict(zip(emotions, recall(counts).tolist(), strict=True))
    return shares | {"UAR": float(np.mean(list(shares.values())))}


def page(
    evaluation: Evaluation, reference: dict[str, tuple[Scores, float | None]], people: dict[str, float]
) -> str:
    """All tables."""
    lines = ["# What labels are worth on corpora that were never heard", ""]
    lines += [f"`{evaluation.command}`", "", *_references(reference, people)]
    for table in tables(evaluation):
        text = [name for name in table.rows[0] if not table.rows[0][name][:1].isdigit()]
        lines += ["", f"## {table.title}", "", table.about, "", *markdown_table(table.rows, left=text)]
    lines += ["", *(f"- {note}" for note in notes(evaluation))]
    lines += [
        "",
        f"edgeemo {evaluation.edgeemo}, onnxruntime {evaluation.onnxruntime}, {evaluation.date}.",
        "",
    ]
    return "\n".join(lines)


def _references(reference: dict[str, tuple[Scores, float | None]], people: dict[str, float]) -> Sequence[str]:
    rows = [
        {
            "corpus": corpus,
            "clips": str(scores.n_clips),
            "UAR": f"{100 * (scores.uar.value or 0):.1f}",
            "present": f"{100 * (scores.uar_present.value or 0):.1f}",
            "AUC": "" if auc is None else f"{auc:.2f}",
        }
        for corpus, (scores, auc) in reference.items()
    ]
    recalls = ", ".join(f"{name} {100 * share:.0f}" for name, share in people.items() if name != "UAR")
    return [
        "## For comparison",
        "",
        "eGeMAPS + SVM, trained on the four other corpora:",
        "",
        *markdown_table(rows),
        "",
        f"People who only hear CREMA-D: UAR {100 * people['UAR']:.1f} by the vote of most; recall: {recalls}.",
    ]


if __name__ == "__main__":
    main()
