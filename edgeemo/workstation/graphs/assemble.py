"""Front end (for audio) + network + metadata: one model file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx_ir as ir

from edgeemo.metadata import CHECKSUM_KEY, KEY, ImageMetadata, Metadata
from edgeemo.onnx_file import read_onnx
from edgeemo.workstation.graphs.baseline import add_baseline
from edgeemo.workstation.graphs.editing import IR_VERSION, OPSET, remove_unused, to_bytes
from edgeemo.workstation.graphs.frontend import PREFIX, add_frontend
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.past import Carried, Zeros


def assemble(
    network: ir.Graph,
    metadata: Metadata | ImageMetadata,
    *,
    baseline: bool = False,
) -> ir.Model:
    """Make a model of a network: `audio` or `image` -> `probabilities (1, n_labels)`.

    Args:
        network: `features` -> `probabilities`, for a window or an image, or for a stream, with states after both;
            taken over, not copied.
        metadata: goes into the file. For audio, its `mode` says whether it is a window or a stream, and its
            `features` which front end comes before the network. Its states are the network's; those of the front end
            are added here.
        baseline: a stream of audio remembers what it usually answers.

    Raises:
        ExportError: as `add_baseline`.
    """
    if isinstance(metadata, ImageMetadata):
        network.inputs[0].name = "image"
    else:
        metadata = _with_frontend(network, metadata, baseline=baseline)
    network.outputs[0].name = "probabilities"
    network.name = metadata.name
    domains = {node.domain for node in network} - {""}
    network.opset_imports.clear()
    network.opset_imports.update({"": OPSET} | dict.fromkeys(sorted(domains), 1))
    model = ir.Model(network, ir_version=IR_VERSION, producer_name="edgeemo")
    model.metadata_props[KEY] = metadata.to_json()
    return model


def _with_frontend(network: ir.Graph, metadata: Metadata, *, baseline: bool) -> Metadata:
    """Put the front end before a network, and its states into the metadata."""
    is_stream = metadata.mode == "stream"
    n_samples = metadata.step_samples if is_stream else metadata.window_samples
    audio = ir.val("audio", dtype=ir.DataType.FLOAT, shape=(1, n_samples))
    nodes, past = Nodes(PREFIX), Carried("frontend_state") if is_stream else Zeros()
    features = metadata.features.causal if is_stream else metadata.features
    heard = add_frontend(nodes, audio, features, past)
    network.inputs[0].replace_all_uses_with(heard.features)
    network.inputs[0] = audio
    nodes.insert(network, before=network[0])
    if isinstance(past, Carried):
        if baseline:
            add_baseline(network, heard, metadata.labels, past)
        network.inputs.extend(past.inputs)
        network.outputs.extend(past.outputs)
        metadata = dataclasses.replace(metadata, states=(*metadata.states, *past.states))
    remove_unused(network)  # voiced frames, where nothing asks for them
    return metadata


def save(model: ir.Model, path: Path) -> None:
    """Write a model file, everything inside it, with the checksum of its graph."""
    model.metadata_props[CHECKSUM_KEY] = read_onnx(to_bytes(model)).graph_sha256()
    path.write_bytes(to_bytes(model))
