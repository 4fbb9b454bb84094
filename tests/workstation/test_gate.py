"""The gate: its rules one by one, and whole exports in which a variant is broken on purpose."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from onnx import TensorProto, helper

from edgeemo.bench.latency import Latency
from edgeemo.errors import ExportError
from edgeemo.metadata import Metadata
from edgeemo.model import EmotionModel
from edgeemo.workstation.export import build as export_module
from edgeemo.workstation.export import gate
from edgeemo.workstation.export.build import Source, prepare, stream_probabilities
from edgeemo.workstation.export.gate import HeldOut, compare_recognition
from edgeemo.workstation.export.variants import Evaluation, export_variants
from edgeemo.workstation.graphs.choose import Choice
from edgeemo.workstation.graphs.frontend import FrontEnd
from edgeemo.workstation.graphs.quantize import quantize
from edgeemo.workstation.training.recipe import Recipe
from support.networks import randomise
from support.signals import noise, speech_like

LABELS = ("yes", "no", "maybe")
N_STEPS = 50


@pytest.fixture(scope="module")
def source(small_recipe: Recipe) -> Source:
    """What it says depends on its last window only, so that a stream knows every clip that the window knows."""
    keras.utils.set_random_seed(0)
    features = layers.Input((16, 8))
    x = layers.Normalization()(features)
    x = layers.Conv1D(16, 3, padding="causal", activation="relu")(x)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    model = keras.Model(features, layers.Dense(3, activation="softmax", name="probabilities")(x), name="mine")
    clips = [speech_like(9000, 8000, seed=1), noise(5000, seed=2)]
    return prepare(randomise(model), small_recipe, clips=clips, labels=LABELS)


@pytest.fixture(scope="module")
def data(source: Source, small_recipe: Recipe) -> Evaluation:
    """Held-out clips labelled by what Keras says of them, so that fp32 knows them all."""
    clips = [speech_like(small_recipe.window_samples, 8000, seed=seed) for seed in range(40)]
    clips += [noise(small_recipe.window_samples, seed=seed, peak=0.01 * (seed + 1)) for seed in range(20)]
    features = FrontEnd(small_recipe.features)(np.stack(clips))
    truth = _network(source)(features)
    held_out = tuple(
        HeldOut(clip, int(label), f"s{i % 6}")
        for i, (clip, label) in enumerate(zip(clips, truth, strict=True))
    )
    return Evaluation(calibration=np.stack(clips[::4]), held_out=held_out)


def _network(source: Source) -> Callable[[np.ndarray], list[int]]:
    import onnxruntime as ort

    proto = ir.to_proto(ir.Model(source.network.clone(), ir_version=9))
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda features: [int(session.run(None, {name: f[np.newaxis]})[0].argmax()) for f in features]


@pytest.fixture
def equal_speed(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Milliseconds that a step is said to take: int8 and streams are faster, unless a test says otherwise."""
    times = {"window": 1.0, "stream": 0.5, "int8": 0.5, "fp16": 1.0}

    def side_by_side(models: list[EmotionModel], **options: Any) -> list[Latency]:
        def time_ms(path: Path) -> float:
            return float(np.prod([times[part] for part in path.stem.split(".")[1:]]))

        return [Latency("model", np.full(5, time_ms(model.path))) for model in models]

    monkeypatch.setattr(gate, "side_by_side", side_by_side)
    return times


# --- the rules -----------------------------------------------------------------------------------------


def test_a_loop_is_rejected(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_out"]), helper.make_node("Identity", ["x"], ["x_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", TensorProto.FLOAT, [1]),
        ],
    )
    loop = helper.make_node("Loop", ["n", "", "a"], ["b"], body=body)
    graph = helper.make_graph(
        [loop],
        "g",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [1])],
        [helper.make_tensor("n", TensorProto.INT64, [], [3])],
    )
    path = tmp_path / "loop.onnx"
    onnx.save(helper.make_model(graph), path)
    assert gate.loops(path) == ["it has Loop where a native recurrent node belongs"]


@pytest.mark.parametrize(
    ("precision", "largest", "mean", "accepted"),
    [
        ("fp32", 0.9e-4, 1e-6, True),
        ("fp32", 1.1e-4, 1e-6, False),
        ("fp32", float("nan"), 0.0, False),
        ("int8", 0.3, 0.019, True),
        ("int8", 0.3, 0.021, False),
        ("int8", float("nan"), float("nan"), False),
        ("fp16", 0.3, 0.021, False),
    ],
)
def test_parity(precision: str, largest: float, mean: float, accepted: bool) -> None:
    agreement = {
        "reference": "Keras",
        "max_difference": largest,
        "mean_difference": mean,
        "tolerance": 1e-4,
        "n_clips": 3,
    }
    reasons = gate.broken_parity(agreement, precision, 0.02)
    assert (not reasons) == accepted
    assert all("\n" not in reason and "more than" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("precision", "ratio", "accepted"),
    [
        ("int8", 0.99, True),
        ("int8", 1.0, False),
        ("fp32", 1.2, False),
        ("fp16", 1.05, True),
        ("fp16", 1.2, False),
    ],
)
def test_speed(precision: str, ratio: float, accepted: bool) -> None:
    reasons = gate.too_slow({"ratio": ratio, "compared_with": "m.window"}, precision)
    assert (not reasons) == accepted


@pytest.mark.parametrize(
    ("interval", "accepted"), [([-0.2, -0.006], False), ([-0.2, -0.004], True), ([0.0, 0.1], True)]
)
def test_recognition(interval: list[float], accepted: bool) -> None:
    recognition = {"uar_change": -0.1, "uar_change_interval": interval, "n_speakers": 5}
    assert (not gate.lost_recognition(recognition)) == accepted


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), n_speakers=st.integers(2, 6), lost=st.integers(0, 20))
def test_recognition_of_known_answers(seed: int, n_speakers: int, lost: int) -> None:
    """The change is what was lost, lies in its interval, and no change has no interval."""
    rng = np.random.default_rng(seed)
    truth = np.tile(np.arange(3), 20 * n_speakers)
    clips = [HeldOut(np.zeros(1), int(label), f"s{i % n_speakers}") for i, label in enumerate(truth)]
    right = np.eye(3)[truth]
    worse = right.copy()
    chosen = rng.choice(len(truth), lost, replace=False)
    worse[chosen] = np.roll(worse[chosen], 1, axis=1)
    same = compare_recognition(right, right, clips, LABELS)
    assert same["uar_change"] == 0
    assert same["uar_change_interval"] == [0.0, 0.0]
    found = compare_recognition(worse, right, clips, LABELS)
    np.testing.assert_allclose(found["uar_change"], -lost / len(truth), atol=1e-12)
    low, high = found["uar_change_interval"]
    assert low - 1e-12 <= found["uar_change"] <= high + 1e-12
    assert found["uar"] == pytest.approx(1 + found["uar_change"])
    assert found["n_speakers"] == n_speakers
    assert found["recall_change"]["yes"] == pytest.approx(
        -np.mean(np.isin(np.flatnonzero(truth == 0), chosen))
    )


# --- whole exports -------------------------------------------------------------------------------------


def test_all_variants(
    source: Source, data: Evaluation, equal_speed: dict[str, float], tmp_path: Path
) -> None:
    verdicts = export_variants(source, tmp_path, data=data, n_steps=N_STEPS)
    names = [f"small.{mode}{p}" for mode in ("window", "stream") for p in ("", ".int8", ".fp16")]
    assert [v.variant for v in verdicts] == names
    assert {v.variant: v.reasons for v in verdicts if v.reasons} == {}
    written = {p.name for p in tmp_path.iterdir()}
    assert written == {*(f"{name}.onnx" for name in names), "small.json", "small.md"}
    assert json.loads((tmp_path / "small.json").read_text())["listen"] == "small.stream.int8"
    for verdict in verdicts:
        m: Metadata = EmotionModel(tmp_path / f"{verdict.variant}.onnx").metadata
        assert m.variant == verdict.variant
        assert m.verdict == verdict.to_dict()
        assert m.verdict["n_bytes"] == (tmp_path / f"{verdict.variant}.onnx").stat().st_size
        assert m.verdict["recognition"]["n_speakers"] == 6
        assert m.parity == verdict.parity
        assert f"| {m.variant} |" in (tmp_path / "small.md").read_text()
    by_name = {v.variant: v for v in verdicts}
    assert by_name["small.window"].recognition["uar"] == 1
    assert by_name["small.stream"].parity["max_difference"] < 1e-5
    assert by_name["small.stream"].latency["compared_with"] == "small.window"
    assert by_name["small.stream.int8"].latency["compared_with"] == "small.stream"


def test_a_broken_quantization_is_rejected(
    source: Source,
    data: Evaluation,
    equal_speed: dict[str, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every other output channel of every layer is ten times too small."""

    def broken(model: ir.Model, batches: Any) -> Choice:
        result = quantize(model, batches)
        for value in result.graph.initializers.values():
            scale = value.const_value.numpy()
            if "scale" in value.name and scale.ndim:
                wrong = np.where(np.arange(scale.size) % 2, scale, scale / 10).astype(np.float32)
                value.const_value = ir.tensor(wrong, name=value.name)
        return Choice(result, (), {})

    monkeypatch.setattr(export_module, "choose_float", broken)
    (tmp_path / "small.window.int8.onnx").write_bytes(b"of the weights before")
    verdicts = export_variants(source, tmp_path, modes=["window"], data=data, n_steps=N_STEPS)
    rejected = {v.variant: v.reasons for v in verdicts if not v.accepted}
    assert set(rejected) == {"small.window.int8"}
    assert any("differ from Keras's" in reason for reason in rejected["small.window.int8"])
    assert any("UAR on 6 speakers" in reason for reason in rejected["small.window.int8"])
    assert not (tmp_path / "small.window.int8.onnx").exists()
    assert (tmp_path / "small.window.onnx").exists()


def test_a_slow_variant_is_rejected_and_can_be_forced(
    source: Source, data: Evaluation, equal_speed: dict[str, float], tmp_path: Path
) -> None:
    equal_speed["int8"] = 1.5
    options = {"modes": ["window"], "data": data, "n_steps": N_STEPS}
    verdicts = {v.variant: v for v in export_variants(source, tmp_path, **options)}
    assert verdicts["small.window.int8"].reasons == (
        "a step takes 1.50 times that of small.window on this machine",
    )
    assert not (tmp_path / "small.window.int8.onnx").exists()

    verdicts = {v.variant: v for v in export_variants(source, tmp_path, force=True, **options)}
    assert verdicts["small.window.int8"].accepted
    kept = EmotionModel(tmp_path / "small.window.int8.onnx").metadata.verdict
    assert kept["forced"]
    assert kept["reasons"] == list(verdicts["small.window.int8"].reasons)
    assert "small.window.int8 is forced: a step takes" in (tmp_path / "small.md").read_text()


def test_other_weights_are_not_mixed_in(
    source: Source, equal_speed: dict[str, float], tmp_path: Path
) -> None:
    older = dataclasses.replace(source, metadata=dataclasses.replace(source.metadata, n_parameters=1))
    export_variants(older, tmp_path, modes=["window"], precisions=["fp32", "fp16"], n_steps=N_STEPS)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ExportError, match=r"small\.window\.fp16\.onnx is of other weights"):
        export_variants(source, tmp_path, modes=["window"], precisions=["fp32"], n_steps=N_STEPS)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    # Of a model whose name begins alike, nothing is taken.
    (tmp_path / "small.v2.onnx").write_bytes(b"another model")
    export_variants(source, tmp_path, modes=["window"], precisions=["fp32", "fp16"], n_steps=N_STEPS)
    assert "v2" not in (tmp_path / "small.md").read_text()


def test_nothing_accepted_leaves_everything(
    source: Source, data: Evaluation, equal_speed: dict[str, float], tmp_path: Path
) -> None:
    equal_speed["int8"] = 2.0
    old = tmp_path / "small.window.int8.onnx"
    old.write_bytes(b"the file that was here before")
    with pytest.raises(ExportError, match=r"every variant was rejected, nothing was replaced: small\.window"):
        export_variants(source, tmp_path, modes=["window"], precisions=["int8"], data=data, n_steps=N_STEPS)
    assert old.read_bytes() == b"the file that was here before"
    assert [p.name for p in tmp_path.iterdir()] == [old.name]


def test_broken_parity_of_fp32(source: Source, equal_speed: dict[str, float], tmp_path: Path) -> None:
    shifted = dataclasses.replace(source, expected=np.roll(source.expected, 1, axis=1))
    with pytest.raises(ExportError, match="differs from Keras"):
        export_variants(shifted, tmp_path, precisions=["fp32"], n_steps=N_STEPS)
    assert list(tmp_path.iterdir()) == []


def test_format_of_reduced_builds(source: Source, equal_speed: dict[str, float], tmp_path: Path) -> None:
    options = {"modes": ["stream"], "precisions": ["fp32"], "n_steps": N_STEPS}
    export_variants(source, tmp_path, file_format="ort", **options)
    names = {p.name for p in tmp_path.iterdir()}
    assert {
        "small.stream.onnx",
        "small.stream.ort",
        "small.stream.required_operators_and_types.config",
    } <= names
    one, other = (EmotionModel(tmp_path / f"small.stream.{suffix}") for suffix in ("onnx", "ort"))
    assert one.metadata == other.metadata
    audio = speech_like(one.metadata.window_samples, 8000, seed=3)
    np.testing.assert_allclose(
        stream_probabilities(other, audio), stream_probabilities(one, audio), atol=1e-6
    )


def test_without_data(source: Source, equal_speed: dict[str, float], tmp_path: Path) -> None:
    """Recognition is not judged, int8 cannot be calibrated; the rest is exported."""
    verdicts = {v.variant: v for v in export_variants(source, tmp_path, n_steps=N_STEPS)}
    assert "calibrated on clips of training speakers" in verdicts["small.window.int8"].reasons[0]
    assert verdicts["small.stream"].accepted
    assert verdicts["small.stream"].recognition is None
    assert "not measured" in (tmp_path / "small.md").read_text()


def test_measured_side_by_side(source: Source, tmp_path: Path) -> None:
    """The real clock: every variant is timed, ratios are of medians of the same run."""
    verdicts = export_variants(source, tmp_path, precisions=["fp32"], force=True, n_steps=N_STEPS)
    window, stream = verdicts
    assert window.latency["ratio"] == 1
    assert window.latency["n_steps"] == stream.latency["n_steps"] == N_STEPS
    assert stream.latency["ratio"] == pytest.approx(stream.latency["p50_ms"] / window.latency["p50_ms"])


def test_a_network_that_cannot_stream(small_recipe: Recipe, tmp_path: Path) -> None:
    features = layers.Input((16, 8))
    x = layers.Bidirectional(layers.LSTM(4))(features)
    model = keras.Model(features, layers.Dense(3, activation="softmax", name="probabilities")(x), name="mine")
    source = prepare(randomise(model), small_recipe, clips=[noise(5000)], labels=LABELS)
    verdicts = {v.variant: v for v in export_variants(source, tmp_path, precisions=["fp32"], n_steps=N_STEPS)}
    assert verdicts["small.window"].accepted
    assert "forward layer" in verdicts["small.stream"].reasons[0]
    with pytest.raises(ExportError, match="cannot stream LSTM"):
        export_variants(source, tmp_path, modes=["stream"], precisions=["fp32"], n_steps=N_STEPS)
    with pytest.raises(ExportError, match=r"stream\.int8: .*cannot stream LSTM"):
        export_variants(source, tmp_path, modes=["stream"], precisions=["int8"], n_steps=N_STEPS)
