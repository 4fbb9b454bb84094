"""ONNX files of other tools: their layouts, whole exports, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeemo.errors import ExportError
from edgeemo.model import EmotionModel
from edgeemo.workstation.export.file import export
from edgeemo.workstation.export.source import prepare
from edgeemo.workstation.export.variants import export_variants
from edgeemo.workstation.graphs.editing import IR_VERSION, OPSET
from edgeemo.workstation.graphs.imported import imported_graph, original_probabilities
from edgeemo.workstation.graphs.simplify import simplify
from edgeemo.workstation.graphs.stream import stream
from edgeemo.workstation.training.recipe import Recipe
from support.graphs import op_types, run, run_steps
from support.signals import noise, speech_like

LABELS = ("yes", "no", "maybe")
N_FRAMES, N_MELS = 16, 8
CLIPS = [speech_like(9000, 8000, seed=1), noise(5000, seed=2)]
LAYOUTS = {
    "frames, bands": (1, N_FRAMES, N_MELS),
    "open batch": ("batch", N_FRAMES, N_MELS),
    "channel last": ("batch", N_FRAMES, N_MELS, 1),
    "channel first": ("batch", 1, N_FRAMES, N_MELS),
    "bands, frames": ("batch", N_MELS, N_FRAMES),
    "channel, bands, frames": (1, 1, N_MELS, N_FRAMES),
}


def gru_file(
    path: Path, shape: tuple[object, ...], *, opset: int = 17, ir_version: int = 8, softmax: bool = True
) -> Path:
    """A GRU over features of this layout, as another tool writes it: opset 17, Y_h, Gemm."""
    rng = np.random.default_rng(0)
    bands_first = next(size for size in shape[1:] if size != 1) == N_MELS
    order = [1, 0, 2]
    nodes, x = [], "in"
    if len(shape) == 4:
        nodes.append(helper.make_node("Squeeze", [x, "channel"], ["flat"]))
        x = "flat"
    if bands_first:
        order = [2, 0, 1]
    nodes += [
        helper.make_node("Transpose", [x], ["t"], perm=order),
        helper.make_node("Mul", ["t", "scale"], ["scaled"]),
        helper.make_node("GRU", ["scaled", "w", "r", "b"], ["", "h"], hidden_size=6, linear_before_reset=1),
        helper.make_node("Squeeze", ["h", "zero"], ["last"]),
        helper.make_node("Gemm", ["last", "dense", "bias"], ["logits"], transB=1),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["out"]),
    ]
    constants = {
        "channel": np.array([3 if shape[-1] == 1 else 1]),
        "zero": np.array([0]),
        "scale": np.array(0.05, np.float32),
        "w": rng.normal(0, 1, (1, 18, N_MELS)).astype(np.float32),
        "r": rng.normal(0, 0.5, (1, 18, 6)).astype(np.float32),
        "b": rng.normal(0, 0.2, (1, 36)).astype(np.float32),
        "dense": rng.normal(0, 1, (3, 6)).astype(np.float32),
        "bias": rng.normal(0, 1, 3).astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [shape[0], 3])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_whole_export(layout: str, small_recipe: Recipe, tmp_path: Path) -> None:
    """Window and stream equal the file as it was, run on the same features."""
    path = gru_file(tmp_path / "other.onnx", LAYOUTS[layout])
    source = prepare(path, small_recipe, clips=CLIPS, labels=LABELS)
    assert source.expected.std(axis=0).max() > 0.01
    exported = export_variants(source, tmp_path / "out", precisions=["fp32"], force=True, n_steps=20)
    assert [v.variant for v in exported.verdicts] == ["small.window", "small.stream"]
    for verdict in exported.verdicts:
        assert verdict.parity.reference == "other.onnx"
        assert verdict.parity.max_difference < 1e-5
        metadata = EmotionModel(tmp_path / "out" / f"{verdict.variant}.onnx").metadata
        assert metadata.n_parameters == 18 * N_MELS + 18 * 6 + 36 + 18 + 3 + 1


def torch_file(
    path: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], shape: list[object]
) -> Path:
    """A file with open sizes, `in` -> `out`, as PyTorch writes it."""
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def torch_recurrent(path: Path, kind: str) -> Path:
    """nn.LSTM or nn.GRU (batch_first), x[:, -1], Linear, softmax: initial states are zeros of a computed shape."""
    gates, rng = {"LSTM": 4, "GRU": 3}[kind], np.random.default_rng(1)
    states = ["h", "h"] if kind == "LSTM" else ["h"]
    attributes = {"linear_before_reset": 1} if kind == "GRU" else {}
    nodes = [
        helper.make_node("Shape", ["in"], ["size"]),
        helper.make_node("Gather", ["size", "0"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "[0]"], ["[n]"]),
        helper.make_node("Concat", ["[1]", "[n]", "[6]"], ["state_size"], axis=0),
        helper.make_node("ConstantOfShape", ["state_size"], ["h"]),
        helper.make_node("Transpose", ["in"], ["x"], perm=[1, 0, 2]),
        helper.make_node(kind, ["x", "w", "r", "b", "", *states], ["y"], hidden_size=6, **attributes),
        helper.make_node("Squeeze", ["y", "[1]"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["batch_first"], perm=[1, 0, 2]),
        helper.make_node("Gather", ["batch_first", "-1"], ["last"], axis=1),
        helper.make_node("Gemm", ["last", "dense", "bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["out"]),
    ]
    constants = {
        **{
            "0": np.array(0),
            "-1": np.array(-1),
            "[0]": np.array([0]),
            "[1]": np.array([1]),
            "[6]": np.array([6]),
        },
        "w": rng.normal(0, 1, (1, gates * 6, N_MELS)).astype(np.float32),
        "r": rng.normal(0, 0.5, (1, gates * 6, 6)).astype(np.float32),
        "b": rng.normal(0, 0.2, (1, 2 * gates * 6)).astype(np.float32),
        "dense": rng.normal(0, 1, (3, 6)).astype(np.float32),
        "bias": rng.normal(0, 1, 3).astype(np.float32),
    }
    return torch_file(path, nodes, constants, ["batch", "frames", N_MELS])


def torch_padded(path: Path) -> Path:
    """F.pad(x, (4, 0)), Conv1d, mean(-1), softmax: the sizes of the padding are computed."""
    rng = np.random.default_rng(1)
    far = np.iinfo(np.int64).min + 1
    nodes = [
        helper.make_node("ConstantOfShape", ["[4]"], ["zeros"], value=numpy_helper.from_array(np.array([0]))),
        helper.make_node("Concat", ["sizes", "zeros"], ["all"], axis=0),
        helper.make_node("Reshape", ["all", "[-1, 2]"], ["pairs"]),
        helper.make_node("Slice", ["pairs", "[-1]", "[far]", "[0]", "[-1]"], ["turned"]),
        helper.make_node("Transpose", ["turned"], ["columns"], perm=[1, 0]),
        helper.make_node("Reshape", ["columns", "[-1]"], ["row"]),
        helper.make_node("Cast", ["row"], ["pads"], to=TensorProto.INT64),
        helper.make_node("Pad", ["in", "pads", ""], ["padded"], mode="constant"),
        helper.make_node("Conv", ["padded", "w", "b"], ["y"], kernel_shape=[3], dilations=[2]),
        helper.make_node("ReduceMean", ["y"], ["mean"], axes=[-1], keepdims=0),
        helper.make_node("Softmax", ["mean"], ["out"]),
    ]
    constants = {
        **{
            "[4]": np.array([4]),
            "sizes": np.array([4, 0]),
            "[-1, 2]": np.array([-1, 2]),
            "[0]": np.array([0]),
        },
        **{"[-1]": np.array([-1]), "[far]": np.array([far])},
        "w": rng.normal(0, 0.5, (3, N_MELS, 3)).astype(np.float32),
        "b": rng.normal(0, 1, 3).astype(np.float32),
    }
    return torch_file(path, nodes, constants, ["batch", N_MELS, "frames"])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "F.pad"])
def test_sizes_that_pytorch_computes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "torch.onnx"
    if kind == "F.pad":
        torch_padded(path)
    else:
        torch_recurrent(path, kind)
    graph = imported_graph(path, n_frames=N_FRAMES, n_mels=N_MELS, n_labels=3)
    simplify(graph)
    assert not {"Shape", "ConstantOfShape"} & set(op_types(graph))
    features = np.random.default_rng(2).normal(0, 1, (N_FRAMES, N_MELS)).astype(np.float32)
    answers, _ = run_steps(*stream(graph, step_frames=4), features)
    for k, answer in enumerate(answers, start=1):
        if 4 * k == N_MELS:
            continue  # as many frames as bands: which are which cannot be told
        expected = original_probabilities(path, features[np.newaxis, : 4 * k])
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(run(graph, features), answers[-1], rtol=0, atol=1e-5)
    assert np.ptp(answers, axis=0).max() > 1e-3


def test_a_newer_format_is_lowered(small_recipe: Recipe, tmp_path: Path) -> None:
    """Onnx writes one that no onnxruntime reads: the same answers as in an old one."""
    old = gru_file(tmp_path / "old.onnx", LAYOUTS["open batch"])
    new = gru_file(tmp_path / "new.onnx", LAYOUTS["open batch"], ir_version=onnx.IR_VERSION)
    with pytest.raises(Exception, match="Unsupported model IR version"):
        ort.InferenceSession(new)
    sources = [prepare(path, small_recipe, clips=CLIPS, labels=LABELS) for path in (old, new)]
    np.testing.assert_array_equal(sources[0].expected, sources[1].expected)
    metadata = export(new, small_recipe, tmp_path / "mine.onnx", clips=CLIPS, labels=LABELS)
    assert metadata.parity is not None
    assert metadata.parity.max_difference < 1e-5
    exported = onnx.load(tmp_path / "mine.onnx")
    assert exported.ir_version == IR_VERSION
    assert [(o.domain, o.version) for o in exported.opset_import] == [("", OPSET)]


def test_newer_operators_than_onnxruntime_knows(small_recipe: Recipe, tmp_path: Path) -> None:
    path = gru_file(tmp_path / "new.onnx", LAYOUTS["open batch"], opset=onnx.defs.onnx_opset_version())
    with pytest.raises(ExportError, match=r"onnxruntime cannot load it .*; write it with opset 18") as caught:
        prepare(path, small_recipe, clips=CLIPS, labels=LABELS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 17, N_MELS), r"takes .*17.*the recipe says \(1, 16, 8\)"),
        ((1, 2, N_FRAMES, N_MELS), "the recipe says"),
    ],
)
def test_other_shapes_are_refused(
    shape: tuple[int, ...], words: str, small_recipe: Recipe, tmp_path: Path
) -> None:
    path = gru_file(tmp_path / "other.onnx", (1, N_FRAMES, N_MELS))
    proto = onnx.load(path)
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("in", TensorProto.FLOAT, shape))
    onnx.save(proto, path)
    with pytest.raises(ExportError, match=words):
        prepare(path, small_recipe, clips=CLIPS, labels=LABELS)


def test_other_files_are_refused(small_recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(ExportError, match="not an ONNX model"):
        prepare(path, small_recipe, clips=CLIPS, labels=LABELS)
    with pytest.raises(ExportError, match="not an ONNX model"):
        prepare(tmp_path / "missing.onnx", small_recipe, clips=CLIPS, labels=LABELS)
    gru_file(path, (1, N_FRAMES, N_MELS), softmax=False)
    with pytest.raises(ExportError, match=r"other.onnx does not give probabilities .*softmax"):
        prepare(path, small_recipe, clips=CLIPS, labels=LABELS)
    gru_file(path, (1, N_FRAMES, N_MELS))
    with pytest.raises(ExportError, match=r"gives .*3.*expected \(1, 2\)"):
        prepare(path, small_recipe, clips=CLIPS, labels=("yes", "no"))
