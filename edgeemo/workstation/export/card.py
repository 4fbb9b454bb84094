"""The card of a model: what it is for, what it was made of, how good it is, on one Markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeemo.markdown import markdown_table
from edgeemo.metadata import ImageMetadata, Metadata
from edgeemo.workstation.corpora.images import IMAGE_CORPORA
from edgeemo.workstation.corpora.names import CORPORA


def model_card(variants: Sequence[Metadata], *, listen: str) -> str:
    """Write the card of a model from what is in its files.

    Args:
        variants: metadata of every file of the model, at least one.
        listen: the variant that `edgeemo listen` uses.

    Returns:
        Markdown. Every figure in it is in the metadata too.
    """
    m = variants[0]
    f = m.features
    return _page(
        m,
        does="Raw audio in, emotion probabilities out; the log-mel front end is part of the file.",
        takes=f"- `audio`: mono float32 in [-1, 1] at {f.sample_rate} Hz. A window graph takes "
        f"`(1, {m.window_samples})`, {m.window_s:g} s, every {m.step_s:g} s; a stream graph takes each step's "
        f"`(1, {m.step_samples})` and carries states (`edgeemo info` names them).\n"
        f"- Front end: {f.n_mels} mel bands of {f.fmin_hz:g} to {f.fmax_hz:g} Hz, frame {f.n_fft} samples, hop "
        f"{f.hop_samples}; level `{f.level}`.",
        limits="Acted emotion in studio recordings of few speakers and sentences, in English: on spontaneous speech, "
        "other languages, children, noise and far microphones expect less. It labels how speech sounds, not what a "
        "person feels, and it has no class for anything else: it answers on silence, music and noise too. Do not "
        "decide about people with it.",
        variants=_variants(variants, listen),
    )


def image_card(metadata: ImageMetadata) -> str:
    """Write the card of a model of images from what is in its file.

    Returns:
        Markdown. Every figure in it is in the metadata too.
    """
    m, p = metadata, metadata.parity
    return _page(
        m,
        does="Grey pixels in, class probabilities out. A network of a published comparison, to be measured "
        "(`edgeemo bench`): no microphone listens to it.",
        takes=f"- `image (1, {m.height}, {m.width})`: float32, from 0 (black) to 255.",
        limits="It was made to compare networks, not to be used. Do not decide about people with it.",
        variants=f"One graph in fp32. Difference of a probability from {p['reference']} on {p['n_images']} pictures: "
        f"{p['mean_difference']:.0e} in the mean, {p['max_difference']:.0e} at most.",
    )


def _page(m: Metadata | ImageMetadata, *, does: str, takes: str, limits: str, variants: str) -> str:
    """What every card has, in order."""
    made_with = ", ".join(f"{name} {version}" for name, version in m.tools.items())
    sections = [
        f"# {m.name}",
        f"{m.summary}: {m.n_parameters:,} parameters. {does}",
        "This card is written by `edgeemo export` from the metadata inside the file; "
        f"`edgeemo info {m.name}` shows all of it.",
        "## Input and output",
        f"{takes}\n- `probabilities (1, {len(m.labels)})`: {', '.join(m.labels)}.",
        *(["## Weights", _weights(m)] if m.training else []),
        "## Scores",
        _scores(m),
        "## Limits",
        limits,
        "## Terms",
        f"{m.licence}. The code of edgeemo is Apache-2.0; the weights are not covered by that.",
        "## Variants",
        variants,
        "## Made with",
        f"{made_with}.",
    ]
    return "\n\n".join(sections) + "\n"


def verdict_rows(verdicts: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The gate's verdicts as cells of a table, by the columns' titles.

    Args:
        verdicts: as `Verdict.to_dict` gives them.
    """
    return [
        {
            "variant": v["variant"],
            "bytes": f"{v['n_bytes']:,}" if v["n_bytes"] else "",
            "step ms": f"{v['latency']['p50_ms']:.3f}" if v["latency"] else "",
            "ratio": f"{v['latency']['ratio']:.2f}" if v["latency"] else "",
            "difference": f"{v['parity']['mean_difference']:.0e}, {v['parity']['max_difference']:.0e}"
            if v["parity"]
            else "",
            **_recognition(v["recognition"]),
            "verdict": "forced" if v["forced"] else "accepted" if v["accepted"] else "rejected",
        }
        for v in verdicts
    ]


def _recognition(r: dict[str, Any] | None) -> dict[str, str]:
    if r is None:
        return {"UAR": "not measured", "UAR change": "", "worst recall change": ""}
    low, high = r["uar_interval"]
    change_low, change_high = r["uar_change_interval"]
    label, worst = min(
        ((name, c) for name, c in r["recall_change"].items() if c is not None), key=lambda x: x[1]
    )
    return {
        "UAR": f"{r['uar']:.3f} ({low:.3f} to {high:.3f})",
        "UAR change": f"{100 * r['uar_change']:+.1f} ({100 * change_low:+.1f} to {100 * change_high:+.1f})",
        "worst recall change": f"{100 * worst:+.1f} ({label})",
    }


def legend(training: dict[str, Any]) -> str:
    """What the columns of `verdict_rows` are; `training` is the metadata's."""
    tested = "held-out speakers of the weights' own fold"
    if not training:
        tested = "clips of the recipe's corpora, which may have been in the weights' training"
    elif set(training["test_speakers"]) & set(training["train_speakers"]):
        tested = "test clips of the weights' own fold, whose speakers are in the training clips too"
    return (
        "Step: median of the model's part of a step, front end included; ratio: to fp32 of the same mode, of fp32 "
        "streams to fp32 windows. Difference of a probability from the source model: mean, largest. UAR on "
        f"{tested}, whole clips; changes in points, against fp32 windows; intervals: 95 %, bootstrap over speakers."
    )


def _variants(variants: Sequence[Metadata], listen: str) -> str:
    """The gate's table."""
    rows = verdict_rows([m.verdict for m in variants])
    lines = [
        f"`edgeemo listen --model {variants[0].name}` uses **{listen}**, the fastest here. "
        f"{legend(variants[0].training)}",
        "",
        *markdown_table(rows, left=["verdict"]),
        "",
        *(
            f"- {m.variant} is forced: {'; '.join(m.verdict['reasons'])}."
            for m in variants
            if m.verdict["forced"]
        ),
    ]
    p, r = variants[0].parity, variants[0].verdict["recognition"]
    speakers = f"UAR: {r['n_speakers']} speakers, {r['n_clips']} clips. " if r else ""
    lines += [
        "",
        f"{speakers}Differences: {p['n_windows']} windows of {p['n_clips']} clips. "
        f"{variants[0].verdict['latency']['machine']}.",
    ]
    return "\n".join(lines)


def _things(m: Metadata | ImageMetadata) -> str:
    """What is classified."""
    return "pictures" if isinstance(m, ImageMetadata) else "clips"


def _weights(m: Metadata | ImageMetadata) -> str:
    corpora, training = {**CORPORA, **IMAGE_CORPORA}, m.training
    lines = [
        f"Trained on {training['n_clips']} {_things(m)} ({training['protocol']} protocol, {training['fold']}, seed "
        f"{training['seed']}; epoch {training['epoch']}, the lowest validation loss) of:",
        "",
    ]
    for name in training["corpora"]:
        corpus = corpora.get(name)
        lines.append(
            f"- **{corpus.title}** ({corpus.licence}). {corpus.citation}. From {corpus.source}."
            if corpus
            else f"- {name}: a corpus of the maker's own, whose terms edgeemo does not know."
        )
    lines += ["", _kept_apart(training)]
    return "\n".join(lines)


def _kept_apart(training: dict[str, Any]) -> str:
    """What validation and test have in common with training."""
    if not training["test_speakers"]:
        return "The test part is the corpus' own."
    heard = set(training["train_speakers"])
    if heard & {*training["validation_speakers"], *training["test_speakers"]}:
        return f"{training['protocol'].capitalize()} split: the same speakers are in training, validation and test."
    return (
        f"Validation speakers: {', '.join(training['validation_speakers'])}. "
        f"Test speakers: {', '.join(training['test_speakers'])}. Neither is in the training clips."
    )


def _scores(m: Metadata | ImageMetadata) -> str:
    rows, things = m.scores, _things(m)
    if not rows:
        return "None in the file: measure it on your own data before you trust it."
    table = [
        {
            "part": row["part"],
            "protocol": f"{row['protocol']}, {row['fold']}",
            "corpus": row["corpus"],
            **({} if isinstance(m, ImageMetadata) else {"speakers": str(row["n_speakers"])}),
            things: str(row["n_clips"]),
            "seeds": ", ".join(map(str, row["seeds"])),
            "UAR": f"{row['uar']:.3f}",
            "WAR": f"{row['war']:.3f}",
            "macro-F1": f"{row['macro_f1']:.3f}",
        }
        for row in rows
    ]
    left = ["protocol", "corpus", "seeds"]
    lines = ["UAR is the unweighted average recall, WAR the accuracy.", "", *markdown_table(table, left=left)]
    test = rows[0]
    recalls = ", ".join(f"{label} {r:.2f}" for label, r in test["recall"].items() if r is not None)
    lines += ["", f"Recall on the {test['part']} {things} of {test['corpus']}: {recalls}."]
    return "\n".join(lines)
