"""The card of a model: what it is for, what it was made of, how good it is, on one Markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeemo.metadata import Metadata
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
    f, t = m.features, m.training
    sections = [
        f"# {m.name}",
        f"{m.summary}: {m.n_parameters:,} parameters. Raw audio in, emotion probabilities out; the log-mel front end "
        "is part of the file.",
        "This card is written by `edgeemo export` from the metadata inside the file; "
        f"`edgeemo info {m.name}` shows all of it.",
        "## Input and output",
        f"- `audio`: mono float32 in [-1, 1] at {f.sample_rate} Hz. A window graph takes `(1, {m.window_samples})`, "
        f"{m.window_s:g} s, every {m.step_s:g} s; a stream graph takes each step's `(1, {m.step_samples})` and "
        "carries states (`edgeemo info` names them).\n"
        f"- `probabilities (1, {len(m.labels)})`: {', '.join(m.labels)}.\n"
        f"- Front end: {f.n_mels} mel bands of {f.fmin_hz:g} to {f.fmax_hz:g} Hz, frame {f.n_fft} samples, hop "
        f"{f.hop_samples}; level `{f.level}`.",
    ]
    if t:
        sections += ["## Weights", _weights(t)]
    sections += ["## Scores", _scores(m.scores)]
    sections += [
        "## Limits",
        "Acted emotion in studio recordings of few speakers and sentences, in English: on spontaneous speech, other "
        "languages, children, noise and far microphones expect less. It labels how speech sounds, not what a person "
        "feels, and it has no class for anything else: it answers on silence, music and noise too. Do not decide "
        "about people with it.",
        "## Terms",
        f"{m.licence}. The code of edgeemo is Apache-2.0; the weights are not covered by that.",
    ]
    sections += ["## Variants", _variants(variants, listen)]
    made_with = ", ".join(f"{name} {version}" for name, version in m.tools.items())
    sections += ["## Made with", f"{made_with}."]
    return "\n\n".join(sections) + "\n"


def _variants(variants: Sequence[Metadata], listen: str) -> str:
    """The gate's table."""
    lines = [
        f"`edgeemo listen --model {variants[0].name}` uses **{listen}**, the fastest here. Step: median of the "
        "model's part, front end included; ratio: to fp32 of the same mode, fp32 streams to fp32 windows. "
        "Difference: of a probability from Keras, mean and largest. Interval: 95 %, bootstrap over speakers.",
        "",
        "| variant | bytes | step ms | ratio | difference | UAR, held-out speakers | change | verdict |",
        "|---|--:|--:|--:|---|---|---|---|",
    ]
    for m in variants:
        v = m.verdict
        lines.append(
            f"| {m.variant} | {v['n_bytes']:,} | {v['latency']['p50_ms']:.3f} | {v['latency']['ratio']:.2f} | "
            f"{v['parity']['mean_difference']:.1g}, {v['parity']['max_difference']:.1g} | "
            f"{_uar(v['recognition'])} | {'forced: ' + '; '.join(v['reasons']) if v['forced'] else 'accepted'} |"
        )
    p = variants[0].parity
    lines += [
        "",
        f"{p['n_windows']} windows of {p['n_clips']} clips. {variants[0].verdict['latency']['machine']}.",
    ]
    return "\n".join(lines)


def _uar(recognition: dict[str, Any] | None) -> str:
    if recognition is None:
        return "not measured | "
    r = recognition
    low, high = r["uar_interval"]
    change_low, change_high = r["uar_change_interval"]
    return (
        f"{r['uar']:.3f} ({low:.3f} to {high:.3f}; {r['n_speakers']} speakers) | "
        f"{100 * r['uar_change']:+.1f} points ({100 * change_low:+.1f} to {100 * change_high:+.1f})"
    )


def _weights(training: dict[str, Any]) -> str:
    lines = [
        f"Trained on {training['n_clips']} clips ({training['protocol']} protocol, {training['fold']}, seed "
        f"{training['seed']}; epoch {training['epoch']}, the lowest validation loss) of:",
        "",
    ]
    for name in training["corpora"]:
        corpus = CORPORA[name]
        lines.append(f"- **{corpus.title}** ({corpus.licence}). {corpus.citation}. From {corpus.source}.")
    lines += [
        "",
        f"Validation speakers: {', '.join(training['validation_speakers'])}. "
        f"Test speakers: {', '.join(training['test_speakers'])}. Neither is in the training clips.",
    ]
    if training["protocol"] == "random":
        lines[-1] = "Random split: the same speakers are in training, validation and test."
    return "\n".join(lines)


def _scores(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "None in the file: measure it on your own data before you trust it."
    lines = [
        "UAR is the unweighted average recall, WAR the accuracy.",
        "",
        "| part | protocol | corpus | speakers | clips | seeds | UAR | WAR | macro-F1 |",
        "|---|---|---|--:|--:|---|--:|--:|--:|",
    ]
    for row in rows:
        seeds = ", ".join(str(seed) for seed in row["seeds"])
        lines.append(
            f"| {row['part']} | {row['protocol']}, {row['fold']} | {row['corpus']} | {row['n_speakers']} | "
            f"{row['n_clips']} | {seeds} | {row['uar']:.3f} | {row['war']:.3f} | {row['macro_f1']:.3f} |"
        )
    test = rows[0]
    recalls = ", ".join(f"{label} {r:.2f}" for label, r in test["recall"].items() if r is not None)
    lines += ["", f"Recall on the {test['part']} clips of {test['corpus']}: {recalls}."]
    return "\n".join(lines)
