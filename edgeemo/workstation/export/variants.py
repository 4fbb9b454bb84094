"""All variants of a model: built, judged side by side, and those that passed put in place together."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeemo.errors import CorpusError, ExportError
from edgeemo.files import replacing, write_text
from edgeemo.metadata import MODES, PRECISIONS, Metadata
from edgeemo.model import EmotionModel
from edgeemo.windows import clip_windows
from edgeemo.workstation.corpora.manifest import Clip
from edgeemo.workstation.export.build import Progress, Source, annotate, build
from edgeemo.workstation.export.card import model_card
from edgeemo.workstation.export.gate import N_STEPS, HeldOut, Verdict, judge
from edgeemo.workstation.graphs.assemble import n_bytes_of, save
from edgeemo.workstation.graphs.ort_format import remove_ort_format, to_ort_format
from edgeemo.workstation.training.protocols import Split
from edgeemo.workstation.training.speech import SpeechDataset

N_CALIBRATION_CLIPS = 64


@dataclass(frozen=True)
class Evaluation:
    """What the gate needs of the corpora: windows of training clips, and test clips.

    Attributes:
        calibration: shape `(n_windows, window_samples)`.
        held_out: test clips of the fold that the weights were trained in; of weights of unknown origin, some clips.
    """

    calibration: np.ndarray
    held_out: tuple[HeldOut, ...]


def evaluation(source: Source, dataset: SpeechDataset) -> Evaluation:
    """Choose clips by the recipe's protocol: of the weights' own fold, where it is known, else of the first.

    Args:
        source: the network, its recipe, labels, and how its weights were made.
        dataset: the clips to choose from.

    Raises:
        CorpusError: too few clips for the protocol, none with a label of the network, or other clips than those that
            the weights were trained on, so that test clips may be among them.
    """
    recipe, training = source.recipe, source.metadata.training
    splits = {s.name: s for s in dataset.splits()}
    chosen = splits.get(training["fold"]) if training else next(iter(splits.values()))
    if chosen is None or (training and not _same_split(chosen, training)):
        raise CorpusError(f"the data are not those that {training['fold']} was trained on")
    # By name: the network's labels may be some of the recipe's, in another order.
    labels, names = source.metadata.labels, recipe.label_map.labels
    named = [(clip, names[recipe.label_map.index(clip.emotion)]) for clip in chosen.test]
    held_out = [(clip, labels.index(name)) for clip, name in named if name in labels]
    if not held_out:
        raise CorpusError(f"no test clip has one of the labels {', '.join(labels)}")
    audio = dataset.audio
    some = chosen.train[:: -(-len(chosen.train) // N_CALIBRATION_CLIPS)]
    return Evaluation(
        calibration=np.stack([clip_windows(audio[clip], recipe.window_samples)[0] for clip in some]),
        held_out=tuple(HeldOut(audio[clip], label, clip.speaker) for clip, label in held_out),
    )


def _same_split(split: Split[Clip], training: dict[str, Any]) -> bool:
    """Whether a split is that of the weights: of older ones only their speakers are known."""
    if training.get("split"):
        return bool(split.digest == training["split"])
    return all(
        {clip.speaker for clip in getattr(split, part)} == set(training[f"{part}_speakers"])
        for part in ("train", "validation", "test")
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

    Nothing in `folder` changes before all are judged and everything is made. Files of variants that were asked for
    and rejected are taken away: they would be of other weights than the rest.

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
        ExportError: nothing was accepted, or `folder` has files of this model, with other weights, that this call
            would not replace; it is as it was.
    """
    asked = [(mode, precision) for mode in modes for precision in precisions]
    # What verdicts compare with is built too, though it may not be kept.
    needed = {("window", "fp32")} | {(mode, "fp32") for mode in modes} | set(asked)
    wanted = [dataclasses.replace(source.metadata, mode=m, precision=p).variant for m, p in asked]
    others = _others(source, folder, wanted)
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
                if precision == "fp32":  # none of this mode then
                    for other in PRECISIONS:
                        same = dataclasses.replace(source.metadata, mode=mode, precision=other).variant
                        verdicts[same] = Verdict(variant=same, reasons=(str(error),))
                    break
                continue
            files[name] = Path(staging) / f"{name}.onnx"
            save(graphs[name], files[name])
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
        kept = list(others)
        for verdict in accepted:
            verdicts[verdict.variant] = _noted(graphs[verdict.variant], verdict)
            save(graphs[verdict.variant], files[verdict.variant])
            kept.append(EmotionModel(files[verdict.variant]).metadata)
        kept.sort(key=lambda m: (MODES.index(m.mode), PRECISIONS.index(m.precision)))
        fastest = min(kept, key=lambda m: m.verdict["latency"]["p50_ms"]).variant
        card = model_card(kept, listen=fastest)

        for verdict in results:
            path = folder / f"{verdict.variant}.onnx"
            remove_ort_format(path.with_suffix(".ort"))  # of the weights before
            if not verdict.accepted:
                path.unlink(missing_ok=True)
                continue
            with replacing(path) as temporary:
                shutil.copyfile(files[verdict.variant], temporary)
            if file_format == "ort":
                to_ort_format(path, path.with_suffix(".ort"))
    name = source.metadata.name
    write_text(folder / f"{name}.json", json.dumps({"name": name, "listen": fastest}, indent=1) + "\n")
    write_text(folder / f"{name}.md", card)
    return [verdicts[verdict.variant] for verdict in results]


def _noted(graph: ir.Model, verdict: Verdict) -> Verdict:
    """Put a verdict into its file, whose size, which it names, changes by it."""
    while True:
        annotate(graph, parity=verdict.parity, verdict=verdict.to_dict())
        n_bytes = n_bytes_of(graph)
        if n_bytes == verdict.n_bytes:
            return verdict
        verdict = dataclasses.replace(verdict, n_bytes=n_bytes)


def _others(source: Source, folder: Path, wanted: Sequence[str]) -> list[Metadata]:
    """Metadata of the model's other variants in `folder`, which have to be of the same weights."""
    names = [
        dataclasses.replace(source.metadata, mode=mode, precision=precision).variant
        for mode in MODES
        for precision in PRECISIONS
    ]
    found = []
    for path in (folder / f"{name}.onnx" for name in names if name not in wanted):
        if not path.is_file():
            continue
        m = EmotionModel(path).metadata
        ours = source.metadata
        if (m.training, m.labels, m.n_parameters) != (ours.training, ours.labels, ours.n_parameters):
            raise ExportError(
                f"{path} is of other weights, and this export would leave it beside the new ones; export all "
                "variants, or give another --output"
            )
        found.append(m)
    return found
