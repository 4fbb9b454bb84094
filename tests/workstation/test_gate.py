"""The gate: its rules one by one, and whole exports in which a variant is broken on purpose."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from onnx import TensorProto, helper

from edgeemo.bench.latency import Latency
from edgeemo.errors import ExportError
from edgeemo.evidence import Parity, Recognition, Timing, Verdict
from edgeemo.metadata import KEY, Metadata, Mode, Precision
from edgeemo.model import EmotionModel
from edgeemo.workstation.export import build as build_module
from edgeemo.workstation.export import gate
from edgeemo.workstation.export.file import write
from edgeemo.workstation.export.gate import HeldOut, compare_recognition
from edgeemo.workstation.export.parity import probabilities
from edgeemo.workstation.export.source import Source, prepare
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
        def time_ms(name: str) -> float:
            return float(np.prod([times[part] for part in name.split(".")[1:]]))

        return [Latency("model", np.full(5, time_ms(model.metadata.variant))) for model in models]

    monkeypatch.setattr(gate, "side_by_side", side_by_side)
    return times


# --- the rules -----------------------------------------------------------------------------------------


def test_a_loop_is_rejected() -> None:
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
    model = ir.from_proto(helper.make_model(graph))
    assert gate.control_flow(model) == ["it has Loop where a native recurrent node belongs"]


@pytest.mark.parametrize(
    ("precision", "largest", "mean", "accepted"),
    [
        (Precision.FP32, 0.9e-4, 1e-6, True),
        (Precision.FP32, 1.1e-4, 1e-6, False),
        (Precision.FP32, float("nan"), 0.0, False),
        (Precision.INT8, 0.3, 0.019, True),
        (Precision.INT8, 0.3, 0.021, False),
        (Precision.INT8, float("nan"), float("nan"), False),
        (Precision.FP16, 0.3, 0.021, False),
    ],
)
def test_parity(precision: Precision, largest: float, mean: float, accepted: bool) -> None:
    found = Parity(
        reference="Keras",
        max_difference=largest,
        mean_difference=mean,
        tolerance=1e-4,
        n_clips=3,
        same_label=1,
    )
    reasons = gate.broken_parity(found, precision, 0.02)
    assert (not reasons) == accepted
    assert all("\n" not in reason and "more than" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("precision", "ratio", "accepted"),
    [
        (Precision.INT8, 0.99, True),
        (Precision.INT8, 1.0, False),
        (Precision.FP32, 1.2, False),
        (Precision.FP16, 1.05, True),
        (Precision.FP16, 1.2, False),
    ],
)
def test_speed(precision: Precision, ratio: float, accepted: bool) -> None:
    timing = Timing(p50_ms=ratio, p99_ms=9, n_steps=5, compared_with="m.window", ratio=ratio, machine="any")
    reasons = gate.too_slow(timing, precision)
    assert (not reasons) == accepted


@pytest.mark.parametrize(
    ("interval", "accepted"), [((-0.2, -0.006), False), ((-0.2, -0.004), True), ((0.0, 0.1), True)]
)
def test_recognition(interval: tuple[float, float], accepted: bool) -> None:
    recognition = Recognition(
        uar=0.5,
        uar_interval=(0.4, 0.6),
        uar_change=-0.1,
        uar_change_interval=interval,
        recall_change={},
        n_speakers=5,
        n_clips=50,
    )
    assert (not gate.lost_recognition(recognition)) == accepted


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), n_speakers=st.integers(2, 6), lost=st.integers(0, 20))
@pytest.mark.slow
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
    assert same.uar_change == 0
    assert same.uar_change_interval == (0, 0)
    found = compare_recognition(worse, right, clips, LABELS)
    np.testing.assert_allclose(found.uar_change, -lost / len(truth), atol=1e-12)
    low, high = found.uar_change_interval
    assert low - 1e-12 <= found.uar_change <= high + 1e-12
    assert found.uar == pytest.approx(1 + found.uar_change)
    assert found.n_speakers == n_speakers
    assert found.recall_change["yes"] == pytest.approx(-np.mean(np.isin(np.flatnonzero(truth == 0), chosen)))


# --- whole exports -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_variants(
    source: Source, data: Evaluation, equal_speed: dict[str, float], tmp_path: Path
) -> None:
    exported = export_variants(source, tmp_path, data=data, n_steps=N_STEPS)
    verdicts = exported.verdicts
    names = [f"small.{mode}{p}" for mode in ("window", "stream") for p in ("", ".int8", ".fp16")]
    assert [v.variant for v in verdicts] == names
    assert {v.variant: v.reasons for v in verdicts if v.reasons} == {}
    written = {p.name for p in tmp_path.iterdir()}
    assert written == {*(f"{name}.onnx" for name in names), "small.json", "small.md"}
    assert json.loads((tmp_path / "small.json").read_text())["listen"] == "small.stream.int8"
    for verdict in verdicts:
        m: Metadata = EmotionModel(tmp_path / f"{verdict.variant}.onnx").metadata
        assert m.variant == verdict.variant
        assert m.verdict == verdict
        assert m.verdict.recognition.n_speakers == 6
        assert m.parity == verdict.parity
        n_bytes = (tmp_path / f"{verdict.variant}.onnx").stat().st_size
        assert exported.n_bytes[m.variant] == n_bytes
        assert f"| {m.variant} | {n_bytes:,} |" in (tmp_path / "small.md").read_text()
    by_name = {v.variant: v for v in verdicts}
    assert by_name["small.window"].recognition.uar == 1
    assert by_name["small.stream"].parity.max_difference < 1e-5
    assert by_name["small.stream"].latency.compared_with == "small.window"
    assert by_name["small.stream.int8"].latency.compared_with == "small.stream"


def test_a_file_does_not_say_how_large_it_is(
    source: Source, equal_speed: dict[str, float], tmp_path: Path
) -> None:
    export_variants(source, tmp_path, modes=[Mode.WINDOW], precisions=[Precision.FP32], n_steps=N_STEPS)
    stored = EmotionModel(tmp_path / "small.window.onnx").session.get_modelmeta().custom_metadata_map[KEY]
    assert "n_bytes" not in json.loads(stored)["verdict"]
    older = json.loads(stored)
    older["verdict"]["n_bytes"] = 1
    read = Metadata.from_json(json.dumps(older), source="older")
    assert read == Metadata.from_json(stored, source="newer")


def test_a_verdict_is_read_as_it_was_written() -> None:
    verdict = Verdict(variant="m.window", reasons=("slow", "wrong"), forced=True)
    assert verdict.to_dict() == {
        "accepted": True,
        "variant": "m.window",
        "reasons": ["slow", "wrong"],
        "forced": True,
        "parity": None,
        "recognition": None,
        "latency": None,
    }
    assert Verdict.from_dict(verdict.to_dict()) == verdict


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

    monkeypatch.setattr(build_module, "choose_float", broken)
    (tmp_path / "small.window.int8.onnx").write_bytes(b"of the weights before")
    exported = export_variants(source, tmp_path, modes=[Mode.WINDOW], data=data, n_steps=N_STEPS)
    rejected = {v.variant: v.reasons for v in exported.verdicts if not v.accepted}
    assert set(rejected) == {"small.window.int8"}
    assert any("differ from Keras's" in reason for reason in rejected["small.window.int8"])
    assert any("UAR on 6 speakers" in reason for reason in rejected["small.window.int8"])
    assert not (tmp_path / "small.window.int8.onnx").exists()
    assert (tmp_path / "small.window.onnx").exists()
    assert exported.n_bytes["small.window.int8"] < exported.n_bytes["small.window"], (
        "it was built and measured"
    )


def test_a_slow_variant_is_rejected_and_can_be_forced(
    source: Source, data: Evaluation, equal_speed: dict[str, float], tmp_path: Path
) -> None:
    equal_speed["int8"] = 1.5
    options = {"modes": [Mode.WINDOW], "data": data, "n_steps": N_STEPS}
    verdicts = {v.variant: v for v in export_variants(source, tmp_path, **options).verdicts}
    assert verdicts["small.window.int8"].reasons == (
        "a step takes 1.50 times as long as one of small.window on this machine",
    )
    assert not (tmp_path / "small.window.int8.onnx").exists()

    verdicts = {v.variant: v for v in export_variants(source, tmp_path, force=True, **options).verdicts}
    assert verdicts["small.window.int8"].accepted
    kept = EmotionModel(tmp_path / "small.window.int8.onnx").metadata.verdict
    assert kept.forced
    assert kept.reasons == verdicts["small.window.int8"].reasons
    assert "small.window.int8 is forced: a step takes" in (tmp_path / "small.md").read_text()


def test_other_weights_are_not_mixed_in(
    source: Source, equal_speed: dict[str, float], tmp_path: Path
) -> None:
    older = dataclasses.replace(source, metadata=dataclasses.replace(source.metadata, n_parameters=1))
    export_variants(
        older, tmp_path, modes=[Mode.WINDOW], precisions=[Precision.FP32, Precision.FP16], n_steps=N_STEPS
    )
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ExportError, match=r"small\.window\.fp16\.onnx holds other weights"):
        export_variants(source, tmp_path, modes=[Mode.WINDOW], precisions=[Precision.FP32], n_steps=N_STEPS)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    # Of a model whose name begins alike, nothing is taken.
    (tmp_path / "small.v2.onnx").write_bytes(b"another model")
    export_variants(
        source, tmp_path, modes=[Mode.WINDOW], precisions=[Precision.FP32, Precision.FP16], n_steps=N_STEPS
    )
    assert "v2" not in (tmp_path / "small.md").read_text()


def listens_to(folder: Path) -> str:
    """What the model's name alone stands for."""
    return json.loads((folder / "small.json").read_text())["listen"]


def test_a_file_that_was_never_judged(source: Source, equal_speed: dict[str, float], tmp_path: Path) -> None:
    """It stays, the card says so, and the model's name does not stand for it, however fast it may be."""
    path = tmp_path / "small.stream.onnx"
    write(source, path, mode=Mode.STREAM)
    written = path.read_bytes()
    exported = export_variants(source, tmp_path, modes=[Mode.WINDOW], n_steps=N_STEPS)
    assert {v.variant for v in exported.verdicts if v.accepted} == {"small.window", "small.window.fp16"}
    assert exported.listen == listens_to(tmp_path) == "small.window"
    assert path.read_bytes() == written
    (row,) = [line for line in (tmp_path / "small.md").read_text().splitlines() if "| small.stream |" in line]
    assert f"| {len(written):,} |  |  |" in row
    assert row.endswith("| not judged |")


def test_a_verdict_of_an_earlier_export_counts(
    source: Source, equal_speed: dict[str, float], tmp_path: Path
) -> None:
    fp32 = [Precision.FP32]
    export_variants(source, tmp_path, modes=[Mode.STREAM], precisions=fp32, n_steps=N_STEPS)
    exported = export_variants(source, tmp_path, modes=[Mode.WINDOW], precisions=fp32, n_steps=N_STEPS)
    assert [v.variant for v in exported.verdicts] == ["small.window"]
    assert exported.listen == listens_to(tmp_path) == "small.stream"


def test_nothing_accepted_leaves_everything(
    source: Source, data: Evaluation, equal_speed: dict[str, float], tmp_path: Path
) -> None:
    equal_speed["int8"] = 2.0
    old = tmp_path / "small.window.int8.onnx"
    old.write_bytes(b"the file that was here before")
    with pytest.raises(ExportError, match=r"every variant was rejected, nothing was replaced: small\.window"):
        export_variants(
            source, tmp_path, modes=[Mode.WINDOW], precisions=[Precision.INT8], data=data, n_steps=N_STEPS
        )
    assert old.read_bytes() == b"the file that was here before"
    assert [p.name for p in tmp_path.iterdir()] == [old.name]


def test_broken_parity_of_fp32(source: Source, equal_speed: dict[str, float], tmp_path: Path) -> None:
    shifted = dataclasses.replace(source, expected=np.roll(source.expected, 1, axis=1))
    with pytest.raises(ExportError, match="differs from Keras"):
        export_variants(shifted, tmp_path, precisions=[Precision.FP32], n_steps=N_STEPS)
    assert list(tmp_path.iterdir()) == []


def test_format_of_reduced_builds(source: Source, equal_speed: dict[str, float], tmp_path: Path) -> None:
    options = {"modes": [Mode.STREAM], "precisions": [Precision.FP32], "n_steps": N_STEPS}
    export_variants(source, tmp_path, ort_format=True, **options)
    names = {p.name for p in tmp_path.iterdir()}
    assert {
        "small.stream.onnx",
        "small.stream.ort",
        "small.stream.required_operators_and_types.config",
    } <= names
    one, other = (EmotionModel(tmp_path / f"small.stream.{suffix}") for suffix in ("onnx", "ort"))
    assert one.metadata == other.metadata
    audio = speech_like(one.metadata.window_samples, 8000, seed=3)
    np.testing.assert_allclose(probabilities(other, audio), probabilities(one, audio), atol=1e-6)


def test_without_data(source: Source, equal_speed: dict[str, float], tmp_path: Path) -> None:
    """Recognition is not judged, int8 cannot be calibrated; the rest is exported."""
    exported = export_variants(source, tmp_path, n_steps=N_STEPS)
    verdicts = {v.variant: v for v in exported.verdicts}
    assert "calibrated on clips of training speakers" in verdicts["small.window.int8"].reasons[0]
    assert verdicts["small.stream"].accepted
    assert verdicts["small.stream"].recognition is None
    assert "small.window.int8" not in exported.n_bytes
    assert "not measured" in (tmp_path / "small.md").read_text()


def test_measured_side_by_side(source: Source, tmp_path: Path) -> None:
    """The real clock: every variant is timed, ratios are of medians of the same run."""
    exported = export_variants(source, tmp_path, precisions=[Precision.FP32], force=True, n_steps=N_STEPS)
    window, stream = (verdict.latency for verdict in exported.verdicts)
    assert window.ratio == 1
    assert window.n_steps == stream.n_steps == N_STEPS
    assert stream.ratio == pytest.approx(stream.p50_ms / window.p50_ms)


@pytest.mark.slow
def test_a_network_that_cannot_stream(small_recipe: Recipe, tmp_path: Path) -> None:
    features = layers.Input((16, 8))
    x = layers.Bidirectional(layers.LSTM(4))(features)
    model = keras.Model(features, layers.Dense(3, activation="softmax", name="probabilities")(x), name="mine")
    source = prepare(randomise(model), small_recipe, clips=[noise(5000)], labels=LABELS)
    exported = export_variants(source, tmp_path, precisions=[Precision.FP32], n_steps=N_STEPS)
    verdicts = {v.variant: v for v in exported.verdicts}
    assert verdicts["small.window"].accepted
    assert "forward layer" in verdicts["small.stream"].reasons[0]
    with pytest.raises(ExportError, match="cannot stream LSTM"):
        export_variants(source, tmp_path, modes=[Mode.STREAM], precisions=[Precision.FP32], n_steps=N_STEPS)
    with pytest.raises(ExportError, match=r"stream\.int8: .*cannot stream LSTM"):
        export_variants(source, tmp_path, modes=[Mode.STREAM], precisions=[Precision.INT8], n_steps=N_STEPS)
