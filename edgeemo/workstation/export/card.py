"""The card of a model: what it is for, what it was made of, how good it is, on one Markdown page."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence

from edgeemo.corpora.names import CORPORA, Corpus
from edgeemo.evidence import Parity, Recognition, Training, Verdict
from edgeemo.features import Features
from edgeemo.markdown import markdown_table
from edgeemo.metadata import ImageMetadata, Kind, Metadata, ModelFacts
from edgeemo.wording import counted
from edgeemo.workstation.image_corpora import IMAGE_CORPORA, ImageCorpus
from edgeemo.workstation.training.recipe import Export

_ACTED = {**dict.fromkeys(("ravdess", "savee", "tess", "crema_d"), "English"), "nemo": "Polish"}
_ORDINARY_SPEECH = {"coffee_commands", "wake_words"}
_USE = (
    "Use it where a wrong guess does no harm: games, art, teaching, research with people who agreed. Do not use it "
    "to make decisions about people, not even in part. In the European Union, inferring emotions of people at work "
    "and in schools is forbidden but for medical and safety reasons (AI Act, Regulation (EU) 2024/1689, "
    "Article 5(1)(f))."
)
_NO_CLASS = (
    "The graph has no class for silence, music and noise; edgeemo names nothing where its voice detector hears no "
    "voice."
)
_MOST_SPEAKERS = 30  # of a corpus, by name
_USUAL = (
    "It supposes that a third of what people say is neutral: answers are adjusted half of the way to that."
)
_UNKNOWN = "How it was trained is not stated: measure it on your own data before you trust it."


def model_card(variants: Sequence[Metadata], *, n_bytes: Mapping[str, int], listen: str) -> str:
    """Write the card of a model from what is in its files.

    Args:
        variants: metadata of every file of the model, at least one.
        n_bytes: sizes of the files, by the variants' names.
        listen: the variant that `edgeemo listen` uses; it was judged.

    Returns:
        Markdown. Every figure in it but the sizes is in the metadata too.
    """
    m = variants[0]
    f = m.features
    delay_ms = max(variant.delay_ms for variant in variants)
    late = (
        f" A stream's answer is of the audio up to {delay_ms:g} ms before the end of the step."
        if delay_ms
        else ""
    )
    return _page(
        m,
        does="Raw audio in, emotion probabilities out; the log-mel front end is part of the file.",
        takes=f"- `audio`: mono float32 in [-1, 1] at {f.sample_rate} Hz. A window graph takes "
        f"`(1, {m.window_samples})`, {m.window_s:g} s, every {m.step_s:g} s; a stream graph takes each step's "
        f"`(1, {m.step_samples})` and carries states (`edgeemo info` names them).{late}\n"
        f"- Front end: {f.n_mels} mel bands from {f.fmin_hz:g} to {f.fmax_hz:g} Hz, frame {f.n_fft} samples, hop "
        f"{f.hop_samples}; level `{f.level}`{_besides(f)}.",
        calls=_calls(m, listen),
        limits=f"{_expect(m.training)}\n\n{_USE}",
        variants=_variants(variants, n_bytes, listen),
    )


def _calls(m: Metadata, listen: str) -> str:
    """A line for each language."""
    file = f"{listen}.onnx"
    return "\n".join(
        [
            f"- A command: `edgeemo listen --model {m.name}`, or `--model {file}` for a file elsewhere.",
            f'- Python: `for event in edgeemo.listen(edgeemo.Microphone(), edgeemo.load("{m.name}")): ...`.',
            f"- A page, and node: `edgeemo web --model {m.name} --output site`; in JavaScript "
            '`const listener = await Listener.load("site/model.onnx"); await listener.push(float32)`.',
            f"- C: `listen {file} voice.onnx call.wav`, of `examples/c/`.",
            "- Other languages: docs/format.md says what a host does, docs/web.md has calls in Rust, Kotlin, Swift.",
        ]
    )


def _besides(features: Features) -> str:
    """What else the front end is told."""
    values = features.to_dict()
    return "".join(f"; {key} `{json.dumps(values[key])}`" for key in features.besides_levelling)


def image_card(metadata: ImageMetadata) -> str:
    """Write the card of a model of images from what is in its file.

    Returns:
        Markdown. Every figure in it is in the metadata too.
    """
    m, p = metadata, metadata.parity
    compared = ""
    if p is not None:
        compared = (
            f" Difference of a probability from {p.reference} on {p.inputs}: {p.mean_difference:.0e} on average, "
            f"{p.max_difference:.0e} at most."
        )
    return _page(
        m,
        does="Grey pixels in, class probabilities out. "
        f"{'A network of a published comparison, there' if m.training else 'It is there'} to be measured "
        "(`edgeemo bench`): no microphone listens to it.",
        takes=f"- `image (1, {m.height}, {m.width})`: float32, from 0 (black) to 255.",
        limits=f"{'It was made to compare networks, not to be used.' if m.training else _UNKNOWN} Do not use it to "
        "make decisions about people.",
        variants=f"One graph in fp32.{compared}",
    )


def _page(m: ModelFacts, *, does: str, takes: str, limits: str, variants: str, calls: str = "") -> str:
    """What every card has, in order."""
    made_with = ", ".join(f"{name} {version}" for name, version in m.tools.items())
    things = "images" if m.kind is Kind.IMAGE else "clips"
    sections = [
        f"# {m.name}",
        f"{m.summary}: {m.n_parameters:,} parameters. {does}",
        "`edgeemo export` writes this card from the metadata inside the file; "
        f"`edgeemo info {m.name}` shows all of it.",
        "## Input and output",
        f"{takes}\n- `probabilities (1, {len(m.labels)})`: {', '.join(m.labels)}.",
        *(["## How to call it", calls] if calls else []),
        *(["## Weights", _weights(m.training, things)] if m.training else []),
        "## Scores",
        _scores(m, things),
        "## Limits",
        limits,
        "## Terms",
        _terms(m.licence),
        "## Variants",
        variants,
        "## Made with",
        f"{made_with}.",
    ]
    return "\n\n".join(sections) + "\n"


def _terms(licence: str) -> str:
    if licence == Export().licence:
        return "Not stated."
    return f"{licence}. The code of edgeemo is Apache-2.0; that licence does not cover the weights."


def variant_row(
    name: str, verdict: Verdict | None, *, parity: Parity | None, n_bytes: int | None
) -> dict[str, str]:
    """One variant as cells of a table, by the columns' titles.

    Args:
        name: of the variant.
        verdict: the gate's; None where it was not judged.
        parity: with the source model; None where it could not be built.
        n_bytes: size of its file; None where there is none.
    """
    latency = verdict.latency if verdict else None
    return {
        "variant": name,
        "bytes": "" if n_bytes is None else f"{n_bytes:,}",
        "step ms": f"{latency.p50_ms:.3f}" if latency else "",
        "ratio": f"{latency.ratio:.2f}" if latency else "",
        "difference": f"{parity.mean_difference:.0e}, {parity.max_difference:.0e}" if parity else "",
        **_recognition(verdict.recognition if verdict else None),
        "verdict": _outcome(verdict),
    }


def _outcome(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not judged"
    return "forced" if verdict.forced else "accepted" if verdict.accepted else "rejected"


def _recognition(r: Recognition | None) -> dict[str, str]:
    if r is None:
        return {"UAR": "not measured", "UAR change": "", "worst recall change": ""}
    low, high = r.uar_interval
    change_low, change_high = r.uar_change_interval
    label, worst = min(
        ((name, change) for name, change in r.recall_change.items() if change is not None), key=lambda x: x[1]
    )
    return {
        "UAR": f"{r.uar:.3f} ({low:.3f} to {high:.3f})",
        "UAR change": f"{100 * r.uar_change:+.1f} ({100 * change_low:+.1f} to {100 * change_high:+.1f})",
        "worst recall change": f"{100 * worst:+.1f} ({label})",
    }


def legend(training: Training | None) -> str:
    """What the columns of `variant_row` are; `training` is the metadata's."""
    tested, draws = "held-out speakers of the weights' own fold", "speakers"
    if training is None:
        tested = "clips of the recipe's corpora, which may have been in the weights' training"
    elif not training.test_speakers:
        tested, draws = "test clips of the weights' own fold, whose speakers are unknown", "clips"
    elif set(training.test_speakers) & set(training.train_speakers):
        tested = "test clips of the weights' own fold, whose speakers are in the training clips too"
    return (
        "Step: median of the model's part of a step, front end included; ratio: to fp32 of the same mode, of fp32 "
        "streams to fp32 windows. Difference of a probability from the source model: mean, largest. UAR on "
        f"{tested}, whole clips; changes in points, against fp32 windows; intervals: 95 %, bootstrap over {draws}."
    )


def _variants(variants: Sequence[Metadata], n_bytes: Mapping[str, int], listen: str) -> str:
    """The gate's table."""
    rows = [variant_row(m.variant, m.verdict, parity=m.parity, n_bytes=n_bytes[m.variant]) for m in variants]
    verdicts = [m.verdict for m in variants if m.verdict]
    lines = [
        f"`edgeemo listen --model {variants[0].name}` uses **{listen}**, the fastest here. "
        f"{legend(variants[0].training)}",
        "",
        *markdown_table(rows, left=["verdict"]),
        "",
        *(f"- {v.variant} is forced: {'; '.join(v.reasons)}." for v in verdicts if v.forced),
        "",
        _measured_on(verdicts),
    ]
    return "\n".join(lines)


def _measured_on(verdicts: Sequence[Verdict]) -> str:
    """On what the figures of the table were measured: the same for all that were judged."""
    p, r, latency = verdicts[0].parity, verdicts[0].recognition, verdicts[0].latency
    parts = []
    if r:
        speakers = counted(r.n_speakers, "speaker") if r.n_speakers else "speakers unknown"
        parts.append(f"UAR: {speakers}, {counted(r.n_clips, 'clip')}.")
    if p:
        parts.append(f"Differences: {counted(p.n_windows, 'window')} of {counted(p.n_clips, 'clip')}.")
    if latency:
        parts.append(f"{latency.machine}.")
    return " ".join(parts)


def _expect(training: Training | None) -> str:
    """What a model of audio is not for, by what is known of its training."""
    if training is None:
        return f"{_UNKNOWN} {_NO_CLASS}"
    if {*_ACTED, *_ORDINARY_SPEECH}.issuperset(training.corpora):
        languages = " and ".join(sorted({_ACTED[name] for name in training.corpora if name in _ACTED}))
        heard = (
            f"It was trained on acted emotion: studio recordings of adults saying few sentences, in {languages}. "
            "Expect less on spontaneous speech, noise and distant microphones. It was never judged on children, "
            "illness, and most languages and accents."
        )
    else:
        heard = "Expect less on speech unlike its training clips, on noise and distant microphones."
    supposed = f" {_USUAL}" if training.recipe.get("export", {}).get("usual") else ""
    return f"{heard}{supposed} It labels how speech sounds, not what a person feels. {_NO_CLASS}"


def _weights(training: Training, things: str) -> str:
    corpora: dict[str, Corpus | ImageCorpus] = {**CORPORA, **IMAGE_CORPORA}
    kept = "the last" if training.protocol == "clips" else "the lowest validation loss"
    start = training.recipe.get("training", {}).get("start")
    started = (
        f", from the weights of `{start}` on, whose card says what those were trained on," if start else ""
    )
    lines = [
        f"Trained on {training.n_clips} {things} ({training.protocol} protocol, {training.fold}, seed "
        f"{training.seed}; epoch {training.epoch}, {kept}){started} of:",
        "",
    ]
    for name in training.corpora:
        corpus = corpora.get(name)
        lines.append(
            f"- **{corpus.title}** ({corpus.licence}). {corpus.citation}. From {corpus.source}."
            if corpus
            else f"- {name}: a corpus of the maker's own, whose terms edgeemo does not know."
        )
    lines += ["", _kept_apart(training, things)]
    return "\n".join(lines)


def _kept_apart(training: Training, things: str) -> str:
    """What validation and test have in common with training."""
    own_part = "The test part is the corpus' own."
    if not training.test_speakers and things == "images":
        return own_part
    if not training.test_speakers:
        split = own_part if training.protocol == "holdout" else f"{training.protocol.capitalize()} split."
        return (
            f"{split} Speakers are unknown: whoever is in the test may be in the training clips too, so expect less "
            "on other people."
        )
    heard = set(training.train_speakers)
    if heard & {*training.validation_speakers, *training.test_speakers}:
        return (
            f"{training.protocol.capitalize()} split: the same speakers are in training, validation and test."
        )
    return (
        f"Validation speakers: {_speakers(training.validation_speakers)}. "
        f"Test speakers: {_speakers(training.test_speakers)}. None of them is in the training clips."
    )


def _speakers(names: Sequence[str]) -> str:
    """Speakers by name; of a corpus with many, how many."""
    by_corpus: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_corpus[name.partition("-")[0]].append(name)
    return ", ".join(
        ", ".join(of_corpus) if len(of_corpus) <= _MOST_SPEAKERS else f"{len(of_corpus)} of {corpus}"
        for corpus, of_corpus in by_corpus.items()
    )


def _scores(m: ModelFacts, things: str) -> str:
    if not m.scores:
        return "None in the file: measure the model on your own data before you trust it."
    table = [
        {
            "part": row.part,
            "protocol": f"{row.protocol}, {row.fold}",
            "corpus": row.corpus,
            **({} if m.kind is Kind.IMAGE else {"speakers": str(row.n_speakers or "unknown")}),
            things: str(row.n_clips),
            "seeds": ", ".join(map(str, row.seeds)),
            "UAR": f"{row.uar:.3f}",
            "WAR": f"{row.war:.3f}",
            "macro-F1": f"{row.macro_f1:.3f}",
        }
        for row in m.scores
    ]
    left = ["protocol", "corpus", "seeds"]
    lines = ["UAR is the unweighted average recall, WAR the accuracy.", "", *markdown_table(table, left=left)]
    test = m.scores[0]
    recalls = ", ".join(f"{label} {r:.2f}" for label, r in test.recall.items() if r is not None)
    lines += ["", f"Recall on the {test.part} {things} of {test.corpus}: {recalls}."]
    return "\n".join(lines)
