"""What labels are worth on corpora that were never heard: the shipped models, eGeMAPS with an SVM, and people.

    python benchmarks/belief.py --data CORPORA --no-voice NOISES --plain COMMANDS
    pip install opensmile scikit-learn
    python benchmarks/belief.py --data CORPORA --references

CORPORA is a folder with RAVDESS, TESS, CREMA-D, SAVEE and nEMO; other options are as of `edgeemo evaluate`.
Each takes half an hour on one core; a second call goes on where the first stopped.

- *models*: `edgeemo evaluate` of the variants that `edgeemo listen` uses; models that had the same training are
  compared on the same clips. A corpus that trained a model judges it by its test speakers alone, or, as TESS, not at
  all.
- *references*, which no model changes:
  - *eGeMAPS + SVM*: 88 functionals of openSMILE (Eyben et al. 2016, "The Geneva Minimalistic Acoustic Parameter
    Set"), standardised, into an SVM with an RBF kernel, C = 1, classes weighted alike. It is trained on four of the
    corpora and tested on the fifth. Nothing is tuned.
  - *people*: what most of the listeners chose who heard CREMA-D's voices alone
    (`processedResults/tabulatedVotes.csv`, Cao et al. 2014), ties counting in parts.

It writes `results/belief.md`, and for each group of models a page and a file with all numbers (`GROUPS`); and what is
in them of the shipped models into their cards and the README, between marks. `--documents` writes without measuring.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import edgeemo
from edgeemo.audio import clip_audio
from edgeemo.cli.progress import progress_bar
from edgeemo.corpora.find import find_clips
from edgeemo.corpora.labels import LABEL_MAPS
from edgeemo.corpora.manifest import Clip
from edgeemo.corpora.names import CORPORA
from edgeemo.corpora.votes import EMOTION_OF, TABLE, read_votes
from edgeemo.evaluation import conclusions
from edgeemo.evaluation.conclusions import Answers
from edgeemo.evaluation.evaluate import N_ROBUSTNESS_CLIPS, Plan, evaluate
from edgeemo.evaluation.figures import figures
from edgeemo.evaluation.material import Material, gather
from edgeemo.evaluation.measures import recall
from edgeemo.evaluation.page import html_page
from edgeemo.evaluation.results import Evaluation
from edgeemo.evaluation.tables import fraction, notes, percent, tables
from edgeemo.files import write_text
from edgeemo.folders import walk
from edgeemo.markdown import markdown_table
from edgeemo.places import MODELS_DIR, name_of

COMMAND = "python benchmarks/belief.py --data CORPORA --no-voice NOISES --plain COMMANDS --robustness {}"
"""As the results have it, wherever the folders are."""
GROUPS: dict[str, tuple[str, ...]] = {
    "belief": ("emo_small", "emo_tiny", "cnn_lstm", "pure_cnn", "pure_lstm"),
    "belief_emo_open": ("emo_open",),
    "belief_conv1d_lstm": ("conv1d_lstm",),
}
"""The models that are judged by the same clips, by the name of their results."""
LABELS = LABEL_MAPS["published7"].labels
ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
REFERENCES = RESULTS / "belief_references.json"
MARKS = ("<!-- belief -->", "<!-- /belief -->")
RATE = 16_000


def main() -> None:
    """Measure, unless only the documents are wanted; then write these."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with the five corpora")
    parser.add_argument(
        "--documents", action="store_true", help="measure nothing: renew the tables, the cards and the README"
    )
    parser.add_argument("--references", action="store_true", help="measure eGeMAPS + SVM and people instead")
    parser.add_argument("--no-voice", type=Path, help="folder of sounds without a voice")
    parser.add_argument("--plain", type=Path, help="folder of ordinary speech")
    parser.add_argument(
        "--robustness", type=int, default=N_ROBUSTNESS_CLIPS, help="clips in noise, rooms and codecs"
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/belief"), help="for what is measured on the way"
    )
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.documents:
        if arguments.data is None:
            parser.error("--data is missing; give the folder with the five corpora")
        if arguments.references:
            write_text(REFERENCES, _json(references(arguments)))
        else:
            clips = arguments.runs / "clips.csv"
            find_clips(arguments.data).write_csv(clips)
            for name, models in GROUPS.items():
                measure(name, models, clips, arguments)
    renew_documents()


def measure(name: str, models: Sequence[str], clips: Path, arguments: argparse.Namespace) -> None:
    """Evaluate a group of models on a manifest's clips, and write its page and its numbers."""
    with progress_bar() as report:
        evaluation = evaluate(
            [edgeemo.load(model) for model in models],
            Plan(
                data=clips,
                output=arguments.runs / name,
                no_voice=arguments.no_voice,
                plain=arguments.plain,
                n_jobs=arguments.jobs,
                command=COMMAND.format(arguments.robustness),
                n_robustness=arguments.robustness,
            ),
            report,
        )
    evaluation = dataclasses.replace(evaluation, data="CORPORA")
    write_text(RESULTS / f"{name}.html", html_page(evaluation, figures(evaluation)))
    write_text(RESULTS / f"{name}.json", _json(evaluation.to_dict()))


def references(arguments: argparse.Namespace) -> dict[str, Any]:
    """What others make of the same clips: `svm`, scores by corpus, and `people`, recall by emotion."""
    every = gather(arguments.data, LABELS, [None], heard_too=True)
    values = functionals(every, arguments.runs / "egemaps.npz", arguments.jobs)
    return {"svm": by_svm(every, values), "people": votes(arguments.data)}


def renew_documents() -> None:
    """Write the tables, and the scores of the shipped models into their cards and the README."""
    evaluations = [Evaluation.from_dict(_read(RESULTS / f"{name}.json")) for name in GROUPS]
    write_text(RESULTS / "belief.md", page(evaluations, _read(REFERENCES)))
    for path, block in documents(evaluations).items():
        write_text(path, with_block(path.read_text(encoding="utf-8"), block))
    from cards import cards  # beside this file; its cards keep what is between the marks

    for path, card in cards().items():
        write_text(path, card)


def documents(evaluations: Sequence[Evaluation]) -> dict[Path, str]:
    """What stands between the marks, by the documents."""
    strangers = {
        name_of(m.name): {
            CORPORA[corpus].title: c for corpus, c in m.corpora.items() if c.exposure == "never heard"
        }
        for evaluation in evaluations
        for m in evaluation.models
    }
    about = (
        "UAR in percent, by the most probable of the labels that occur there, also where the model names none; in "
        "brackets: 95 %, bootstrap over speakers."
    )
    found = {}
    for name, corpora in strangers.items():
        rows = [
            {
                "corpus": title,
                "clips": str(c.scores.n_clips),
                "speakers": str(c.scores.n_speakers),
                "named": f"{100 * (1 - c.scores.unnamed):.0f} %",
                "UAR": percent(c.scores.uar_always),
                "arousal AUC": fraction(c.arousal_auc),
            }
            for title, c in corpora.items()
        ]
        found[MODELS_DIR / f"{name}.md"] = "\n".join(
            [f"On corpora that it never heard. {about}", "", *markdown_table(rows)]
        )
    titles = sorted({title for corpora in strangers.values() for title in corpora})
    table = [
        {"model": name_of(m.name), "labels": str(len(evaluation.labels))}
        | {
            title: percent(corpora[title].scores.uar_always) if title in corpora else "heard"
            for corpora in [strangers[name_of(m.name)]]
            for title in titles
        }
        for evaluation in evaluations
        for m in evaluation.models
    ]
    confidence = [
        f"{name_of(m.name)} claims {100 * (m.calibration.confidence or 0):.0f} % and is right in "
        f"{100 * (m.calibration.accuracy or 0):.0f} %"
        + (f" of the {100 * (1 - m.scores.unnamed):.0f} % that it names" if m.scores.unnamed > 0.05 else "")
        for evaluation in evaluations
        for m in evaluation.models
    ]
    readme = [
        about,
        "",
        *markdown_table(table),
        "",
        f"Confidence, there and on unknown speakers of corpora that were heard: {', '.join(confidence)}.",
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


def functionals(material: Material, cache: Path, n_jobs: int) -> npt.NDArray[np.float32]:
    """eGeMAPS v02 of each clip, shape `(n_clips, 88)`."""
    digests = [clip.sha256 for clip in material.clips]
    if cache.is_file():
        stored = np.load(cache)
        if stored["digests"].tolist() == digests:
            values: npt.NDArray[np.float32] = stored["values"]
            return values
    with ProcessPoolExecutor(n_jobs) as pool:
        values = np.stack(list(pool.map(_functionals, material.clips, chunksize=32)))
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.savez(cache, digests=digests, values=values)
    return values


def _functionals(clip: Clip) -> npt.NDArray[np.float32]:
    import opensmile

    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    found: npt.NDArray[np.float32] = smile.process_signal(clip_audio(clip, RATE), RATE).to_numpy()[0]
    return np.nan_to_num(found)


def by_svm(material: Material, values: npt.NDArray[np.float32]) -> dict[str, dict[str, float | None]]:
    """Leave one corpus out: the scores on it."""
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
        scores = conclusions.scores(answers)
        found[str(corpus)] = {
            "clips": len(test),
            "UAR": scores.uar.value,
            "present": scores.uar_present.value,
            "AUC": conclusions.arousal_auc(answers).value,
        }
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


def page(evaluations: Sequence[Evaluation], others: Mapping[str, Any]) -> str:
    """All tables."""
    lines = ["# What labels are worth on corpora that were never heard", ""]
    lines += [f"`{evaluations[0].command}`", "", *_references(others)]
    for evaluation in evaluations:
        lines += ["", f"## {', '.join(name_of(m.name) for m in evaluation.models)}"]
        for table in tables(evaluation):
            text = [name for name in table.rows[0] if not table.rows[0][name][:1].isdigit()]
            lines += ["", f"### {table.title}", "", table.about, "", *markdown_table(table.rows, left=text)]
        lines += ["", *(f"- {note}" for note in notes(evaluation))]
        lines += [
            "",
            f"edgeemo {evaluation.edgeemo}, onnxruntime {evaluation.onnxruntime}, {evaluation.date}.",
        ]
    return "\n".join([*lines, ""])


def _references(others: Mapping[str, Any]) -> Sequence[str]:
    rows = [
        {
            "corpus": corpus,
            "clips": str(scores["clips"]),
            "UAR": f"{100 * scores['UAR']:.1f}",
            "present": f"{100 * scores['present']:.1f}",
            "AUC": "" if scores["AUC"] is None else f"{scores['AUC']:.2f}",
        }
        for corpus, scores in others["svm"].items()
    ]
    people = others["people"]
    recalls = ", ".join(f"{name} {100 * share:.0f}" for name, share in people.items() if name != "UAR")
    return [
        "## For comparison",
        "",
        "`python benchmarks/belief.py --data CORPORA --references`",
        "",
        "eGeMAPS + SVM, trained on the four other corpora:",
        "",
        *markdown_table(rows),
        "",
        f"People who only hear CREMA-D: UAR {100 * people['UAR']:.1f} by the vote of most; recall: {recalls}.",
    ]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=1) + "\n"


if __name__ == "__main__":
    main()
