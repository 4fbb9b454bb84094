"""Front end + network + metadata: one model file."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import onnx_ir.tape

from edgeemo.metadata import KEY, Metadata
from edgeemo.workstation.graphs.frontend import IR_VERSION, OPSET, add_frontend


def assemble(network: ir.Graph, metadata: Metadata) -> ir.Model:
    """Put the front end before a network, `audio (1, window_samples)` -> `probabilities (1, n_labels)`.

    Args:
        network: as `network_graph` gives it; it is taken over, not copied.
        metadata: its `features` say which front end; all of it goes into the file.
    """
    audio = ir.val("audio", dtype=ir.DataType.FLOAT, shape=(1, metadata.window_samples))
    tape = ir.tape.Tape()
    features = add_frontend(tape, audio, metadata.features)
    network.inputs[0].replace_all_uses_with(features)
    network.inputs[:] = [audio]
    network.insert_before(network[0], tape.nodes)
    for initializer in tape.initializers:
        network.register_initializer(initializer)
    network.outputs[0].name = "probabilities"
    network.name = metadata.name
    network.opset_imports.clear()
    network.opset_imports[""] = OPSET
    model = ir.Model(network, ir_version=IR_VERSION, producer_name="edgeemo")
    model.metadata_props[KEY] = metadata.to_json()
    return model


def save(model: ir.Model, path: Path) -> None:
    """Write a model file, everything inside it."""
    path.write_bytes(ir.to_proto(model).SerializeToString())
