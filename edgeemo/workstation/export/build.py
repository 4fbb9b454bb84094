"""One variant of a network, in memory: front end, network and metadata in one graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from edgeemo.errors import ExportError
from edgeemo.evidence import Parity, Quantization, Verdict
from edgeemo.features import Features
from edgeemo.metadata import KEY, ImageMetadata, Metadata, Mode, Precision, State, read_metadata
from edgeemo.workstation.export.source import Source, stream_windows
from edgeemo.workstation.graphs.assemble import assemble
from edgeemo.workstation.graphs.calibrate import Batch
from edgeemo.workstation.graphs.choose import choose_float
from edgeemo.workstation.graphs.editing import as_model, open_session
from edgeemo.workstation.graphs.frontend import FrontEnd
from edgeemo.workstation.graphs.stream import delayed_stream, stream
from edgeemo.workstation.graphs.widen import half

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


def build(
    source: Source,
    mode: Mode = Mode.WINDOW,
    precision: Precision = Precision.FP32,
    *,
    calibration: np.ndarray | None = None,
    delay: bool = False,
    on_progress: Progress = lambda what, done, total: None,
) -> ir.Model:
    """Build one variant in memory.

    Args:
        source: the network; not changed.
        mode: of images, `window`.
        precision: of images, `fp32`.
        calibration: for int8: windows of audio of training speakers, shape `(n_windows, window_samples)`.
        delay: let the answers of a stream come late where the network looks ahead.
        on_progress: told what is being done, how much of it is done, and how much there is.

    Raises:
        ExportError: the network cannot be streamed, or there is nothing to calibrate on; of images, any other variant
            than `window` in `fp32`.
    """
    if isinstance(source.metadata, ImageMetadata):
        if (mode, precision) != (Mode.WINDOW, Precision.FP32):
            raise ExportError(
                f"{source.recipe.name} is a network over images, which has one variant: a graph in fp32"
            )
        return assemble(source.network.clone(), source.metadata)
    metadata = dataclasses.replace(source.metadata, mode=Mode(mode), precision=Precision(precision))
    network, states = source.network.clone(), list[State]()
    features = metadata.features
    if mode == Mode.STREAM:
        step_frames, n_late = metadata.step_samples // features.hop_samples, 0
        _refuse_stream(features, source.recipe.n_frames, step_frames)
        frame_ms = 1000 * features.hop_samples / features.sample_rate
        if delay:
            network, states, n_late = delayed_stream(network, step_frames=step_frames, frame_ms=frame_ms)
        else:
            network, states = stream(network, step_frames=step_frames, frame_ms=frame_ms)
        metadata = dataclasses.replace(metadata, states=tuple(states), delay_ms=n_late * frame_ms)
    if precision == Precision.INT8:
        if calibration is None or not len(calibration):
            raise ExportError(
                "int8 is calibrated on clips of training speakers; give --data with the recipe's corpora, or any "
                "speech with --calibrate"
            )
        if mode == Mode.STREAM and features.framing != "causal":
            features, calibration = features.causal, stream_windows(calibration, source.recipe)
        batches = _batches(network, states, FrontEnd(features)(calibration))
        on_progress(f"choosing int8 operators, {metadata.variant}", 0, 1)
        choice = choose_float(as_model(network), batches)
        on_progress(f"choosing int8 operators, {metadata.variant}", 1, 1)
        network = choice.model.graph
        quantization = Quantization(keep_float=choice.keep_float, network_ms=choice.latency_ms)
        metadata = dataclasses.replace(metadata, quantization=quantization)
    elif precision == Precision.FP16:
        network = half(as_model(network)).graph
    return assemble(network, metadata, baseline=source.recipe.export.baseline)


def _refuse_stream(features: Features, n_frames: int, step_frames: int) -> None:
    """Refuse what a stream cannot be, or cannot be compared with windows.

    Raises:
        ExportError: naming the key, or the steps that would do.
    """
    if features.window_only:
        raise ExportError(
            f"[features] {features.window_only[0]} needs a whole window at once: there is no stream of it, window "
            "files alone"
        )
    if n_frames % step_frames:
        hop_ms = 1000 * features.hop_samples / features.sample_rate
        steps = [n for n in range(1, n_frames + 1) if n_frames % n == 0 and n < 2 * step_frames]
        raise ExportError(
            f"a window of {n_frames} frames is no whole number of steps of {step_frames}; give --step-ms, such as "
            + " or ".join(f"{n * hop_ms:.6g}" for n in steps[-2:])
        )


def annotate(
    model: ir.Model, *, parity: Parity | None, verdict: Verdict | None = None
) -> Metadata | ImageMetadata:
    """Put what was measured into the metadata inside a model.

    Returns:
        all of the metadata.
    """
    metadata = read_metadata(model.metadata_props[KEY], source="the exported model")
    metadata = dataclasses.replace(metadata, parity=parity, verdict=verdict)
    model.metadata_props[KEY] = metadata.to_json()
    return metadata


def _batches(network: ir.Graph, states: Sequence[State], features: np.ndarray) -> list[Batch]:
    """Inputs to calibrate on: whole windows, or their successive steps with the states that belong to them."""
    name = str(network.inputs[0].name)
    if not states:
        return [{name: window[np.newaxis]} for window in features]
    session = open_session(as_model(network))
    n_frames = session.get_inputs()[0].shape[1]
    batches: list[Batch] = []
    for window in features:
        carried = {state.name: np.zeros(state.shape, np.float32) for state in states}
        for step in window.reshape(-1, n_frames, window.shape[1]):
            batches.append({name: step[np.newaxis], **carried})
            _, *following = session.run(None, dict(batches[-1]))
            carried = dict(zip(carried, following, strict=True))
    return batches
