"""All variants of a model: built, judged side by side, and those that passed put in place together."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgeemo.errors import ExportError
from edgeemo.evidence import Verdict
from edgeemo.files import replace_set, sweep, write_text
from edgeemo.metadata import Metadata, Mode, Precision, variant_name
from edgeemo.model import EmotionModel
from edgeemo.workstation.export.build import Progress, annotate, build
from edgeemo.workstation.export.card import model_card
from edgeemo.workstation.export.gate import N_STEPS, Candidate, HeldOut, judge
from edgeemo.workstation.export.source import Source
from edgeemo.workstation.graphs.assemble import save
from edgeemo.workstation.graphs.ort_format import ort_format_files, to_ort_format

Variant = tuple[Mode, Precision]

VARIANTS: tuple[Variant, ...] = tuple(itertools.product(Mode, Precision))
"""In the order of tables."""


@dataclass(frozen=True)
class Evaluation:
    """What the gate needs of the corpora: windows of training clips, and test clips.

    Attributes:
        calibration: shape `(n_windows, window_samples)`.
        held_out: test clips of the fold that the weights were trained in; of weights of unknown origin, some clips;
            none where nothing is known of the clips.
    """

    calibration: np.ndarray
    held_out: tuple[HeldOut, ...]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What became of an export.

    Attributes:
        verdicts: on what was asked for, in order.
        n_bytes: sizes of the files, by the variants' names; of what was rejected, as it was judged.
        listen: the variant that the model's name alone stands for.
        delay_ms: how late the answers of a stream come; 0 where they do not.
    """

    verdicts: tuple[Verdict, ...]
    n_bytes: dict[str, int]
    listen: str
    delay_ms: float = 0.0


def export_variants(
    source: Source,
    folder: Path,
    *,
    modes: Sequence[Mode] = tuple(Mode),
    precisions: Sequence[Precision] = tuple(Precision),
    data: Evaluation | None = None,
    ort_format: bool = False,
    force: bool = False,
    delay: bool = False,
    n_steps: int = N_STEPS,
    on_progress: Progress = lambda what, done, total: None,
) -> Exported:
    """Build and judge variants; put the accepted ones into `folder`, with a card and an index.

    Nothing in `folder` changes before all are judged and everything is made; then it all changes as one. Files of
    variants that were asked for and rejected are removed: they would be of other weights than the rest. Other
    variants of the same weights stay.
    In the index, the model's name alone stands for the fastest of all that were judged, in this export or before;
    never for one without a verdict.

    Args:
        source: the network, of audio.
        folder: where `NAME.MODE[.PRECISION].onnx`, `NAME.md` and `NAME.json` go.
        modes, precisions: which; all combinations.
        data: calibration and held-out clips; without, int8 is rejected and recognition is not judged.
        ort_format: write files in onnxruntime's own format too, and their operator lists, beside the ONNX files.
        force: keep what the gate rejects, where it could be built.
        delay: stream networks that look ahead too, with a delay.
        n_steps: timed steps per variant.
        on_progress: told what is being done, how much of it is done, and how much there is.

    Raises:
        ExportError: nothing was accepted, or `folder` has files of this model, with other weights, that this call
            would not replace; it is as it was.
        OutputError: nothing can be written to `folder`.
    """
    sweep(folder)
    name = source.metadata.name
    asked = [(Mode(mode), Precision(precision)) for mode, precision in itertools.product(modes, precisions)]
    wanted = list(dict.fromkeys(variant_name(name, *variant) for variant in asked))
    # What verdicts compare with is built too, though it may not be kept.
    needed = {(Mode.WINDOW, Precision.FP32), *((mode, Precision.FP32) for mode, _ in asked), *asked}
    others = _others(source, folder, wanted)
    with tempfile.TemporaryDirectory(prefix="edgeemo-export-") as staging:
        graphs, verdicts = _build(source, needed, data, delay, on_progress)
        candidates = {
            variant: Candidate(graph, _saved(graph, Path(staging) / f"{variant}.onnx"))
            for variant, graph in graphs.items()
        }
        verdicts |= judge(
            candidates,
            source,
            data.held_out if data else (),
            force=force,
            n_steps=n_steps,
            on_progress=on_progress,
        )
        results = tuple(verdicts[variant] for variant in wanted)
        accepted = {verdict.variant: verdict for verdict in results if verdict.accepted}
        if not accepted:
            raise ExportError(
                f"{name}: every variant was rejected, nothing was replaced: "
                + "; ".join(f"{v.variant}: {', '.join(v.reasons)}" for v in results)
            )
        for variant, verdict in accepted.items():
            annotate(graphs[variant], parity=verdict.parity, verdict=verdict)
        made = Path(staging) / "made"
        made.mkdir()
        new = {variant: _saved(graphs[variant], made / f"{variant}.onnx") for variant in accepted}
        kept = sorted([*others, *new.values()], key=lambda m: VARIANTS.index(_variant(m.metadata)))
        listen = _fastest(model.metadata for model in kept)
        n_bytes = {
            model.metadata.variant: model.path.stat().st_size
            for model in (*(candidate.model for candidate in candidates.values()), *kept)
        }
        card = model_card([model.metadata for model in kept], n_bytes=n_bytes, listen=listen)
        write_text(made / f"{name}.md", card)
        write_text(made / f"{name}.json", json.dumps({"name": name, "listen": listen}, indent=1) + "\n")
        if ort_format:
            for model in new.values():
                to_ort_format(model.path, model.path.with_suffix(".ort"))
        files = {path.name: path for path in made.iterdir()}
        replace_set(folder, name, files, remove=_files(wanted) - files.keys())
    delay_ms = max(model.metadata.delay_ms for model in new.values())
    return Exported(verdicts=results, n_bytes=n_bytes, listen=listen, delay_ms=delay_ms)


def _build(
    source: Source, needed: Iterable[Variant], data: Evaluation | None, delay: bool, on_progress: Progress
) -> tuple[dict[str, ir.Model], dict[str, Verdict]]:
    """The variants that can be built, and why the others cannot: all of a mode, where its fp32 cannot."""
    graphs: dict[str, ir.Model] = {}
    failed: dict[str, Verdict] = {}
    hopeless: dict[Mode, str] = {}
    for mode, precision in sorted(needed, key=VARIANTS.index):
        variant = variant_name(source.metadata.name, mode, precision)
        if mode in hopeless:
            failed[variant] = Verdict(variant=variant, reasons=(hopeless[mode],))
            continue
        on_progress(f"building {variant}", 0, 1)
        try:
            graphs[variant] = build(
                source,
                mode,
                precision,
                calibration=data.calibration if data else None,
                delay=delay,
                on_progress=on_progress,
            )
        except ExportError as error:
            failed[variant] = Verdict(variant=variant, reasons=(str(error),))
            if precision is Precision.FP32:
                hopeless[mode] = str(error)
    return graphs, failed


def _files(variants: Iterable[str]) -> set[str]:
    """Names of all files that variants may have."""
    paths = [Path(f"{variant}.onnx") for variant in variants]
    return {path.name for onnx in paths for path in (onnx, *ort_format_files(onnx.with_suffix(".ort")))}


def _saved(graph: ir.Model, path: Path) -> EmotionModel:
    """The file of a graph, loaded, and so checked."""
    save(graph, path)
    return EmotionModel(path)


def _fastest(variants: Iterable[Metadata]) -> str:
    """What the model's name alone stands for: the fastest of those whose time is known.

    fp16 is fp32 once it is loaded: where it is faster, that is chance, and it counts only where it is alone.
    """
    times_ms = {
        (m.precision is Precision.FP16, m.verdict.latency.p50_ms): m.variant
        for m in variants
        if m.verdict and m.verdict.latency
    }
    return times_ms[min(times_ms)]


def _others(source: Source, folder: Path, wanted: Sequence[str]) -> list[EmotionModel]:
    """The model's other variants in `folder`, which have to be of the same weights."""
    names = [variant_name(source.metadata.name, *variant) for variant in VARIANTS]
    found = []
    for path in (folder / f"{name}.onnx" for name in names if name not in wanted):
        if not path.is_file():
            continue
        model = EmotionModel(path)
        m, ours = model.metadata, source.metadata
        if (m.training, m.labels, m.n_parameters) != (ours.training, ours.labels, ours.n_parameters):
            raise ExportError(
                f"{path} holds other weights, and this export would leave it beside the new ones; export all "
                "variants, or give another --output"
            )
        found.append(model)
    return found


def _variant(m: Metadata) -> Variant:
    return m.mode, m.precision
