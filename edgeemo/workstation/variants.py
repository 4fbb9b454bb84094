"""All variants of a model: built, judged side by side, and those that passed put in place together."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgeemo.errors import ExportError
from edgeemo.files import replacing, write_text
from edgeemo.metadata import MODES, PRECISIONS
from edgeemo.model import EmotionModel
from edgeemo.windows import clip_windows
from edgeemo.workstation.card import model_card
from edgeemo.workstation.export import Progress, Source, annotate, build
from edgeemo.workstation.gate import N_STEPS, HeldOut, Verdict, judge
from edgeemo.workstation.graphs.assemble import n_bytes_of, save
from edgeemo.workstation.graphs.ort_format import to_ort_format
from edgeemo.workstation.training.recipe import Recipe
from edgeemo.workstation.training.speech import SpeechDataset

N_CALIBRATION_CLIPS = 64


@dataclass(frozen=True)
class Evaluation:
    """What the gate needs of the corpora: windows of training speakers, and clips of held-out ones.

    Attributes:
        calibration: shape `(n_windows, window_samples)`.
        held_out: test clips of the fold that the weights were trained in.
    """

    calibration: np.ndarray
    held_out: tuple[HeldOut, ...]


def evaluation(recipe: Recipe, dataset: SpeechDataset, *, fold: str | None = None) -> Evaluation:
    """Choose clips by the recipe's protocol.

    Args:
        recipe: its corpora, labels and protocol.
        dataset: the clips to choose from.
        fold: the name of the split that the weights are of; None for the first.

    Raises:
        CorpusError: too few clips for the protocol.
        ExportError: there is no such fold.
    """
    splits = {s.name: s for s in dataset.splits()}
    if fold is not None and fold not in splits:
        raise ExportError(f"the protocol has no {fold}; it has {', '.join(splits)}")
    chosen = splits[fold] if fold else next(iter(splits.values()))
    audio = dataset.audio
    some = chosen.train[:: -(-len(chosen.train) // N_CALIBRATION_CLIPS)]
    return Evaluation(
        calibration=np.stack([clip_windows(audio[clip], recipe.window_samples)[0] for clip in some]),
        held_out=tuple(
            HeldOut(audio[clip], recipe.label_map.index(clip.emotion), clip.speaker) for clip in chosen.test
        ),
    )


def export_variants(
    source: Source,
    folder: Path,
    *,
    modes: Sequence[str] = MODES,
    precisions: Sequence[str] = PRECISIONS,
    data: Evaluation | None = None,
    file_format: str = "onnx",
    force: bool = False,
    n_steps: int = N_STEPS,
    on_progress: Progress = lambda what, done, total: None,
) -> list[Verdict]:
    """Build and judge variants; put the accepted ones into `folder`, with a card and an index.

    Nothing in `folder` changes before all are judged. Files of variants that were asked for and rejected are taken
    away: they would be of other weights than the rest.

    Args:
        source: the network.
        folder: where `NAME.MODE[.PRECISION].onnx`, `NAME.md` and `NAME.json` go.
        modes, precisions: which; all combinations.
        data: calibration and held-out clips; without, int8 is rejected and recognition is not judged.
        file_format: `onnx`, or `ort` for files in onnxruntime's own format and their operator lists beside them.
        force: keep what the gate rejects, where it could be built.
        n_steps: timed steps per variant.
        on_progress: told what is being done, how much of it is done, and how much there is.

    Returns:
        the verdicts of what was asked for, in order.

    Raises:
        ExportError: nothing was accepted; `folder` is as it was.
    """
    asked = [(mode, precision) for mode in modes for precision in precisions]
    # What verdicts compare with is built too, though it may not be kept.
    needed = {("window", "fp32")} | {(mode, "fp32") for mode in modes} | set(asked)
    with tempfile.TemporaryDirectory(prefix="edgeemo-export-") as staging:
        graphs, files, verdicts = {}, {}, {}
        for mode, precision in sorted(needed, key=lambda v: (MODES.index(v[0]), PRECISIONS.index(v[1]))):
            name = dataclasses.replace(source.metadata, mode=mode, precision=precision).variant
            on_progress(f"building {name}", 0, 1)
            try:
                graphs[name] = build(
                    source,
                    mode,
                    precision,
                    calibration=data.calibration if data else (),
                    on_progress=on_progress,
                )
            except ExportError as error:
                verdicts[name] = Verdict(variant=name, reasons=(str(error),))
                if precision == "fp32":
                    break
                continue
            files[name] = Path(staging) / f"{name}.onnx"
            save(graphs[name], files[name])
        wanted = [dataclasses.replace(source.metadata, mode=m, precision=p).variant for m, p in asked]
        judged = judge(
            files,
            source,
            data.held_out if data else (),
            force=force,
            n_steps=n_steps,
            on_progress=on_progress,
        )
        verdicts.update(judged)
        results = [verdicts[name] for name in wanted if name in verdicts]
        accepted = [verdict for verdict in results if verdict.accepted]
        if not accepted:
            raise ExportError(
                f"{source.recipe.name}: every variant was rejected, nothing was replaced: "
                + "; ".join(f"{v.variant}: {', '.join(v.reasons)}" for v in results)
            )
        for verdict in accepted:
            verdicts[verdict.variant] = _noted(graphs[verdict.variant], verdict)
            with replacing(folder / f"{verdict.variant}.onnx") as temporary:
                save(graphs[verdict.variant], temporary)
                EmotionModel(temporary)
            if file_format == "ort":
                path = folder / f"{verdict.variant}.onnx"
                to_ort_format(path, path.with_suffix(".ort"))
        for verdict in results:
            if not verdict.accepted:
                for suffix in (".onnx", ".ort"):
                    (folder / f"{verdict.variant}{suffix}").unlink(missing_ok=True)
    _write_index(source.recipe.name, folder)
    return [verdicts[verdict.variant] for verdict in results]


def _noted(graph: ir.Model, verdict: Verdict) -> Verdict:
    """Put a verdict into its file, whose size, which it names, changes by it."""
    while True:
        annotate(graph, parity=verdict.parity, verdict=verdict.to_dict())
        n_bytes = n_bytes_of(graph)
        if n_bytes == verdict.n_bytes:
            return verdict
        verdict = dataclasses.replace(verdict, n_bytes=n_bytes)


def _write_index(name: str, folder: Path) -> None:
    """The card, and which of the files in `folder` is the fastest here: what `name` alone stands for."""
    variants = [EmotionModel(path).metadata for path in folder.glob(f"{name}.*.onnx")]
    variants.sort(key=lambda m: (MODES.index(m.mode), PRECISIONS.index(m.precision)))
    fastest = min(variants, key=lambda m: m.verdict["latency"]["p50_ms"]).variant
    write_text(folder / f"{name}.json", json.dumps({"name": name, "listen": fastest}, indent=1) + "\n")
    write_text(folder / f"{name}.md", model_card(variants, listen=fastest))
