"""Export: users' own models, what is refused without touching the old file, metadata, and loading it again."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from keras import layers
from typer.testing import CliRunner

from edgeemo import places
from edgeemo.answer import Judgement
from edgeemo.cli import app
from edgeemo.errors import ExportError, ModelError, ParityError
from edgeemo.metadata import CHECKSUM_KEY, KEY, Metadata, Mode, Precision
from edgeemo.model import EmotionModel
from edgeemo.workstation.export import policy, request
from edgeemo.workstation.export import source as source_module
from edgeemo.workstation.export.file import export
from edgeemo.workstation.graphs.frontend import FrontEnd
from edgeemo.workstation.training.recipe import Recipe
from support.evidence import score_row, training
from support.networks import randomise
from support.recipes import SHIPPED
from support.signals import speech_like

LABELS = ("yes", "no", "peut-être")
CLIPS = [speech_like(9000, 8000, seed=1), speech_like(3000, 8000, seed=2)]
OLD = b"the model that was here before"


def finish(features: Any, x: Any, *, n_labels: int = 3, activation: str | None = "softmax") -> keras.Model:
    return keras.Model(
        features, layers.Dense(n_labels, activation=activation, name="probabilities")(x), name="mine"
    )


def lstm_model(*, n_frames: int = 16, n_labels: int = 3, activation: str | None = "softmax") -> keras.Model:
    features = layers.Input((n_frames, 8))
    x = layers.Normalization()(features)
    x = layers.LSTM(6)(x)
    return randomise(finish(features, x, n_labels=n_labels, activation=activation))


def bidirectional_model() -> keras.Model:
    features = layers.Input((16, 8))
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(features)
    return randomise(finish(features, layers.LSTM(5, use_bias=False)(x)))


def gru_model() -> keras.Model:
    features = layers.Input((16, 8))
    x = layers.GRU(6, return_sequences=True)(layers.Normalization()(features))
    return randomise(finish(features, layers.GRU(5)(x)))


def wrapped_gru_model() -> keras.Model:
    features = layers.Input((16, 8))
    return randomise(finish(features, layers.Bidirectional(layers.GRU(5))(features)))


def image_model() -> keras.Model:
    features = layers.Input((16, 8, 1))
    x = layers.Rescaling(1 / 40)(features)
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return randomise(finish(features, x))


class SlowCell(keras.layers.Layer):
    """A recurrent cell of one's own."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = self.state_size = self.output_size = units
        self.dense = layers.Dense(units, activation="tanh")

    def build(self, shape: Any) -> None:
        self.dense.build((None, shape[-1] + self.units))

    def call(self, x: Any, states: Any) -> Any:
        output = self.dense(keras.ops.concatenate([x, states[0]], axis=-1))
        return output, [output]


def custom_cell_model() -> keras.Model:
    features = layers.Input((16, 8))
    return finish(features, layers.RNN(SlowCell(4))(features))


def initial_state_model() -> keras.Model:
    features = layers.Input((16, 8))
    state = layers.Dense(4, activation="tanh")(layers.GlobalAveragePooling1D()(features))
    return randomise(
        finish(features, layers.LSTM(4)(layers.Rescaling(0.1)(features), initial_state=[state, state]))
    )


def elu_lstm_model() -> keras.Model:
    features = layers.Input((16, 8))
    return finish(features, layers.LSTM(4, activation="elu")(features))


def nan_model() -> keras.Model:
    model = lstm_model()
    model.layers[-1].bias.assign([np.nan, 0, 0])
    return model


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.onnx"
    path.write_bytes(OLD)
    return path


def assert_untouched(path: Path) -> None:
    assert path.read_bytes() == OLD
    assert [p.name for p in path.parent.iterdir()] == [path.name], "left something behind"


# --- users' own models ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "native"),
    [
        (lstm_model, {"LSTM": 1}),
        (bidirectional_model, {"LSTM": 2}),
        (gru_model, {"GRU": 2}),
        (wrapped_gru_model, {"GRU": 2}),
        (initial_state_model, {"LSTM": 1}),
        (image_model, {}),
    ],
)
@pytest.mark.slow
def test_own_model(
    make: Callable[[], keras.Model], native: dict[str, int], small_recipe: Recipe, old_file: Path
) -> None:
    model = make()
    metadata = export(model, small_recipe, old_file, clips=CLIPS, labels=LABELS)
    loaded = EmotionModel(old_file)
    assert loaded.labels == metadata.labels == LABELS
    assert metadata.parity.n_clips == 2
    assert metadata.parity.same_label == 1
    window = speech_like(small_recipe.window_samples, 8000, seed=9)
    features = FrontEnd(small_recipe.features)(window[np.newaxis])
    expected = model.predict(features.reshape(1, *model.input_shape[1:]), verbose=0)[0]
    np.testing.assert_allclose(loaded.predict(window), expected, rtol=0, atol=1e-5)
    count = Counter(node.op_type for node in onnx.load(old_file).graph.node)
    assert {op: count[op] for op in ("LSTM", "GRU", "RNN", "Loop", "Scan", "If") if count[op]} == native


def test_own_model_by_command(small_recipe: Recipe, tmp_path: Path) -> None:
    recipe, weights, audio, folder = (tmp_path / n for n in ("r.toml", "w.keras", "a.wav", "sub"))
    recipe.write_text(
        'name = "mine"\nsummary = "an LSTM"\n'
        "[features]\nsample_rate = 8000\nn_fft = 256\nhop_samples = 128\nn_mels = 8\nfmax_hz = 4000\n"
        "[window]\nwindow_s = 0.256\nstep_s = 0.032\n[augmentation]\nmel_mask_bands = 2\ntime_mask_frames = 2\n"
    )
    lstm_model().save(weights)
    soundfile.write(audio, speech_like(48000, 16000), 16000)
    arguments = ["export", "-m", recipe, "--weights", weights, "--data", audio, "-o", folder]
    arguments += ["--mode", "window", "--precision", "fp32"]
    runner = CliRunner()
    result = runner.invoke(app, [*map(str, arguments), "--labels", "yes, no,maybe"])
    assert result.exit_code == 0, result.output
    assert "mine.window" in result.output
    assert "accepted" in result.output
    output = folder / "mine.window.onnx"
    assert EmotionModel(output).labels == ("yes", "no", "maybe")
    assert EmotionModel(output).metadata.name == "mine"
    assert json.loads((folder / "mine.json").read_text())["listen"] == "mine.window"

    before = output.read_bytes()
    for labels, words in (
        (["--labels", "yes,no"], "(batch, 3), expected (batch, 2)"),
        ([], "expected (batch, 7)"),
    ):
        result = runner.invoke(app, [*map(str, arguments), *labels])
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1].startswith("edgeemo: mine gives")
        assert words in result.stderr
        assert output.read_bytes() == before


def test_own_model_described_by_options(tmp_path: Path) -> None:
    """No recipe file: features by --set; logits; name and terms."""
    weights = tmp_path / "w.keras"
    network = lstm_model(activation=None)
    network.save(weights)
    features = {"sample_rate": 8000, "n_fft": 256, "hop_samples": 128, "n_mels": 8, "fmax_hz": 4000}
    values = {f"features.{key}": value for key, value in features.items()}
    values |= {"window.window_s": 0.256, "window.step_s": 0.032}
    arguments = ["export", "--weights", str(weights), "--labels", "yes,no,maybe", "-o", str(tmp_path)]
    arguments += [argument for key, value in values.items() for argument in ("--set", f"{key}={value}")]
    arguments += [
        "--mode",
        "stream",
        "--precision",
        "fp32",
        "--name",
        "calm_or_not",
        "--licence",
        "mine alone",
    ]
    runner = CliRunner()
    assert "where they are logits, --softmax adds one" in runner.invoke(app, arguments).stderr
    result = runner.invoke(app, [*arguments, "--softmax"])
    assert result.exit_code == 0, result.output
    model = EmotionModel(tmp_path / "calm_or_not.stream.onnx")
    m = model.metadata
    assert (m.name, m.licence, m.features.n_mels, m.labels) == (
        "calm_or_not",
        "mine alone",
        8,
        ("yes", "no", "maybe"),
    )
    assert "mine alone" in (tmp_path / "calm_or_not.md").read_text()

    int8 = [*arguments, "--softmax", "--precision", "int8", "--force"]
    assert "or any speech with --calibrate" in runner.invoke(app, int8).output
    soundfile.write(tmp_path / "speech.wav", speech_like(48000, 16000), 16000)
    result = runner.invoke(app, [*int8, "--calibrate", str(tmp_path / "speech.wav")])
    assert result.exit_code == 0, result.output
    verdict = EmotionModel(tmp_path / "calm_or_not.stream.int8.onnx").metadata.verdict
    assert verdict is not None
    assert verdict.recognition is None

    lstm_model().save(weights)
    result = runner.invoke(app, [*arguments, "--softmax"])
    assert "gives probabilities already; leave out --softmax" in result.stderr
    result = runner.invoke(app, ["export", "--model", "cnn_lstm", "--softmax"])
    assert "--softmax goes with --weights" in result.stderr


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `models/` of a checkout in which one's own network and a shipped model are."""
    models = tmp_path / "models"
    models.mkdir()
    for name in ("pure_lstm.json", "pure_lstm.window.onnx"):
        (models / name).write_bytes(OLD)
    features = layers.Input((320, 64))
    x = layers.LSTM(3)(layers.MaxPooling1D(32)(features))
    randomise(finish(features, x, n_labels=2)).save(tmp_path / "my net.v2.keras")
    monkeypatch.setattr(places, "MODELS_DIR", models)
    monkeypatch.chdir(tmp_path)
    return models


@pytest.mark.slow
def test_own_model_has_its_files_name_and_claims_nothing(checkout: Path) -> None:
    arguments = ["export", "--weights", "my net.v2.keras", "--labels", "calm,tense", "--precision", "fp32"]
    arguments += ["--mode", "window"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    new = {"my_net_v2.json", "my_net_v2.md", "my_net_v2.window.onnx"}
    assert {path.name for path in checkout.iterdir()} == {"pure_lstm.json", "pure_lstm.window.onnx", *new}
    m = EmotionModel(checkout / "my_net_v2.window.onnx").metadata
    assert (m.name, m.summary) == ("my_net_v2", "a network of one's own (1 LSTM + 1 Gemm)")
    assert (m.licence, m.training, m.scores) == ("not stated", None, ())
    card = (checkout / "my_net_v2.md").read_text()
    assert "\n## Terms\n\nNot stated.\n\n## Variants\n" in card
    assert "How it was trained is not stated" in card
    for claim in ("cnn_lstm", "Conv2D", "acted", "English", "CC BY", "RAVDESS", "Trained on"):
        assert claim not in card
    # It is in models/ now, as what ships is.
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("edgeemo: models has a model my_net_v2, and what is there ships; give")
    assert CliRunner().invoke(app, [*arguments, "--replace"]).exit_code == 0


@pytest.mark.parametrize("name", ["pure_lstm", "Pure_LSTM"])
@pytest.mark.slow
def test_a_shipped_model_is_not_replaced_unasked(
    name: str, checkout: Path, small_recipe: Recipe, tmp_path: Path
) -> None:
    weights = tmp_path / "w.keras"
    lstm_model().save(weights)
    recipe = dataclasses.replace(small_recipe, name=name)
    network = request.Network(recipe=recipe, weights=weights, labels=LABELS)
    with pytest.raises(ExportError, match=f"has a model {name}, and what is there ships; .* or --replace"):
        policy.plan_export(network, checkout)
    assert {path.read_bytes() for path in checkout.iterdir()} == {OLD}
    assert policy.plan_export(network, checkout, replace=True).source.metadata.name == name
    assert policy.plan_export(network, tmp_path).source.metadata.name == name, "another folder"


def test_own_model_from_python(small_recipe: Recipe, tmp_path: Path) -> None:
    weights = tmp_path / "w.keras"
    lstm_model().save(weights)
    network = request.Network(recipe=small_recipe, weights=weights, labels=LABELS)
    options = request.Options(modes=(Mode.WINDOW,), precisions=(Precision.FP32,), step_ms=64)
    plan = policy.plan_export(network, tmp_path / "out", options=options)
    assert (plan.source.n_clips, plan.evaluation, plan.unfit) == (1, None, None), "the sample alone"
    assert not plan.folder.exists()
    exported = policy.carry_out(plan)
    assert ([v.variant for v in exported.verdicts], exported.listen) == (["small.window"], "small.window")
    metadata = EmotionModel(tmp_path / "out" / "small.window.onnx").metadata
    assert metadata.labels == LABELS
    assert (metadata.step_s, small_recipe.window.step_s) == (0.064, 0.032)


def test_a_file_carries_its_judgement(small_recipe: Recipe, tmp_path: Path) -> None:
    labels = ("sad", "happy", "disgust")
    model, path = lstm_model(), tmp_path / "mine.onnx"
    export(model, small_recipe, path, clips=CLIPS, labels=labels)
    assert EmotionModel(path).metadata.judgement == Judgement(arousal={"sad": 0.0, "happy": 1.0})

    model.save(tmp_path / "mine.keras")
    known = Judgement(temperature=1.7, unsure_below=0.4, arousal={"sad": 0.0, "happy": 1.0})
    network = request.Network(
        recipe=small_recipe, weights=tmp_path / "mine.keras", labels=labels, judgement=known
    )
    metadata = policy.plan_export(network, tmp_path / "out").source.metadata
    assert isinstance(metadata, Metadata)
    assert metadata.judgement == known


def test_audio_that_is_of_no_corpus_serves_to_compare(small_recipe: Recipe, tmp_path: Path) -> None:
    weights = tmp_path / "w.keras"
    lstm_model().save(weights)
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", speech_like(4000, 8000, seed=i), 8000)
    network = request.Network(recipe=small_recipe, weights=weights, labels=LABELS)
    plan = policy.plan_export(network, tmp_path / "out", data=tmp_path)
    assert (plan.source.n_clips, plan.evaluation) == (3, None)
    assert plan.unfit is not None
    assert "\n" not in plan.unfit


def test_options_as_the_command_line_calls_them() -> None:
    assert request.Options().given == []
    every = request.Options(
        modes=(Mode.STREAM,), precisions=(Precision.INT8,), step_ms=0, ort_format=True, force=True
    )
    assert every.given == ["--mode", "--precision", "--step-ms", "--format", "--force"]


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("--mode", ["window", "stream"]),
        ("--precision", ["fp32", "int8", "fp16"]),
        ("--format", ["onnx", "ort"]),
    ],
)
def test_a_choice_that_there_is_not(option: str, choices: list[str], old_file: Path) -> None:
    result = CliRunner().invoke(app, ["export", option, "other", "-o", str(old_file.parent)])
    assert result.exit_code == 2
    assert option in result.stderr
    assert all(choice in result.stderr for choice in choices)
    assert_untouched(old_file)


def test_output_must_be_a_folder(tmp_path: Path, old_file: Path) -> None:
    weights = tmp_path / "w.keras"
    lstm_model(n_labels=7).save(weights)
    result = CliRunner().invoke(app, ["export", "--weights", str(weights), "-o", str(old_file)])
    assert result.exit_code == 1
    assert result.stderr == f"edgeemo: {old_file} is a file; give a folder to write the variants into\n"
    assert old_file.read_bytes() == OLD


def test_file_that_is_not_keras(tmp_path: Path) -> None:
    weights = tmp_path / "w.keras"
    weights.write_bytes(b"nothing of Keras")
    arguments = ["export", "-m", "pure_cnn", "--weights", str(weights), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 3
    assert result.stderr.startswith(f"edgeemo: {weights}: Keras cannot load it (")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--weights", "w.keras", "--run", "r"],
        ["--weights", "w.keras", "--fold", "fold-1"],
        ["--labels", "a,b"],
        ["--labels", "a,b", "--run", "r"],
    ],
)
def test_options_that_exclude_each_other(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["export", *arguments]).exit_code == 2


@given(n_items=st.integers(0, 5000), n=st.integers(1, 1000))
def test_evenly_chosen(n_items: int, n: int) -> None:
    """As many clips as the gate hears: not only the first ones, which are of few speakers."""
    chosen = policy._some(range(n_items), n)
    assert min(n_items, n) / 2 <= len(chosen) <= n
    assert len(set(np.diff(chosen))) <= 1
    assert not chosen or n_items - chosen[-1] <= -(-n_items // n)


def test_an_unknown_fold_of_the_shipped_run(old_file: Path) -> None:
    arguments = ["export", "-m", "pure_cnn", "--fold", "fold-9", "-o", str(old_file.parent)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert result.stderr.endswith("pure_cnn has no fold 'fold-9'; it has fold-1\n")
    assert result.stderr.count("\n") == 1
    assert_untouched(old_file)


# --- refused -------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], keras.Model], type[Exception], str]] = {
    "custom cell": (custom_cell_model, ExportError, r"Loop .* where a native LSTM or GRU node belongs"),
    "activation": (elu_lstm_model, ExportError, r"Loop .* where a native LSTM or GRU node belongs"),
    "input shape": (lambda: lstm_model(n_frames=17), ExportError, r"\(batch, 17, 8\).*\(batch, 16, 8\)"),
    "number of labels": (lambda: lstm_model(n_labels=4), ExportError, r"\(batch, 4\), expected \(batch, 3\)"),
    "no softmax": (lambda: lstm_model(activation=None), ExportError, "does not give probabilities.*softmax"),
    "sigmoid": (
        lambda: lstm_model(activation="sigmoid"),
        ExportError,
        "does not give probabilities.*softmax",
    ),
    "NaN": (nan_model, ExportError, "does not give probabilities"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.slow
def test_refused_and_nothing_replaced(case: str, small_recipe: Recipe, old_file: Path) -> None:
    make, error, words = REFUSED[case]
    with pytest.raises(error, match=words) as caught:
        export(make(), small_recipe, old_file, clips=CLIPS, labels=LABELS)
    assert "\n" not in str(caught.value)
    assert_untouched(old_file)


def test_broken_graph_is_refused(
    small_recipe: Recipe, old_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph that computes something slightly different never becomes a model file."""
    convert = source_module.network_graph

    def perturbed(*arguments: Any, **options: Any) -> Any:
        import onnx_ir as ir

        graph = convert(*arguments, **options)
        weights = max(graph.initializers.values(), key=lambda value: value.const_value.size)
        array = weights.const_value.numpy().copy()
        weights.const_value = ir.tensor(array + np.float32(0.02) * np.sign(array))
        return graph

    monkeypatch.setattr(source_module, "network_graph", perturbed)
    with pytest.raises(
        ParityError, match=r"differs from Keras by up to .* on 2 clips.*0\.0001.*nothing was replaced"
    ):
        export(lstm_model(), small_recipe, old_file, clips=CLIPS, labels=LABELS)
    assert_untouched(old_file)


def test_tolerance_of_the_recipe_counts(small_recipe: Recipe, old_file: Path) -> None:
    strict = dataclasses.replace(
        small_recipe, export=dataclasses.replace(small_recipe.export, tolerance=1e-12)
    )
    with pytest.raises(ParityError, match="1e-12"):
        export(lstm_model(), strict, old_file, clips=CLIPS, labels=LABELS)
    assert_untouched(old_file)


@pytest.mark.parametrize("labels", [("a", "a", "b"), ("a", "", "b")])
def test_impossible_labels(labels: tuple[str, ...], small_recipe: Recipe, old_file: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export(lstm_model(), small_recipe, old_file, clips=CLIPS, labels=labels)
    assert "label" in str(caught.value)
    assert_untouched(old_file)


# --- metadata ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.slow
def test_metadata_travels_in_the_file(name: str, exported: Callable[[str], Any]) -> None:
    recipe, keras_model, path, metadata = exported(name)
    found = EmotionModel(path).metadata
    assert found == metadata
    assert (found.name, found.summary, found.features) == (recipe.name, recipe.summary, recipe.features)
    assert (found.window_samples, found.step_samples) == (51200, 2560)
    assert found.labels == recipe.label_map.labels
    assert found.licence == recipe.export.licence
    assert found.training == training()
    assert found.scores == (score_row(),)
    normalisation = 2 * recipe.features.n_columns + 1
    assert found.n_parameters == keras_model.count_params() - normalisation
    assert set(found.tools) >= {"edgeemo", "keras", "tensorflow", "onnx", "onnxruntime"}
    parity = found.parity
    assert 0 < parity.mean_difference <= parity.max_difference < 1e-5
    assert (parity.n_clips, parity.n_windows, parity.same_label) == (2, 3, 1.0)
    assert parity.tolerance == recipe.export.tolerance


def test_json_round_trip(exported: Callable[[str], Any]) -> None:
    metadata = exported("cnn_lstm").metadata
    assert Metadata.from_json(metadata.to_json(), source="x") == metadata
    later = json.loads(metadata.to_json()) | {"added_later": 1}
    later["features"]["added_later"] = later["training"]["added_later"] = later["scores"][0][
        "added_later"
    ] = 2
    assert Metadata.from_json(json.dumps(later), source="x") == metadata


def changed(path: Path, folder: Path, change: Callable[[dict[str, Any]], Any] | str | None) -> Path:
    """A copy of a model file with other metadata."""
    proto = onnx.load(path)
    (stored,) = [p for p in proto.metadata_props if p.key == KEY]
    if change is None:
        proto.metadata_props.remove(stored)
    elif isinstance(change, str):
        stored.value = change
    else:
        values = json.loads(stored.value)
        result = change(values)
        stored.value = json.dumps(values if result is None else result)
    copy = folder / "changed.onnx"
    onnx.save(proto, copy)
    return copy


CHANGED: dict[str, tuple[Callable[[dict[str, Any]], Any] | str | None, str]] = {
    "none": (None, "without edgeemo metadata"),
    "not JSON": ("{", "broken edgeemo metadata"),
    "not a table": ("[1]", r"broken edgeemo metadata .it is \[1\], expected a table"),
    "newer": (lambda m: m.update(format=2), "model format 2, this edgeemo reads format 1"),
    "no format": (lambda m: m.pop("format") and None, "broken edgeemo metadata .'format'"),
    "no labels": (lambda m: m.pop("labels") and None, "broken edgeemo metadata .'labels'"),
    "no licence": (lambda m: m.pop("licence") and None, "broken edgeemo metadata .*licence"),
    "a label more": (
        lambda m: m["labels"].append("boredom"),
        r"graph has .*\[1, 7\].*metadata says .*\[1, 8\]",
    ),
    "a label twice": (lambda m: m["labels"].__setitem__(0, "sad"), "a label occurs twice"),
    "window": (lambda m: m.update(window_samples=48000), r"graph has .*51200.*metadata says .*48000"),
    "step": (lambda m: m.update(step_samples=2561), "2561 samples is not a multiple of the hop"),
    "no step": (lambda m: m.update(step_samples=0), "step of 0 samples"),
    "mode": (lambda m: m.update(mode="batch"), "mode is 'batch', expected window or stream"),
    "precision": (lambda m: m.update(precision="int4"), "precision is 'int4', expected fp32 or int8 or fp16"),
    "mode of another graph": (lambda m: m.update(mode="stream"), r"graph has .*51200.*metadata says .*2560"),
    "features": (lambda m: m["features"].update(n_fft=0), "n_fft is 0"),
    "features not a table": (lambda m: m.update(features=[1]), r"features is \[1\], expected a table"),
    "text for a number": (
        lambda m: m.update(step_samples="2560"),
        "step_samples is '2560', expected a whole",
    ),
    "no name": (lambda m: m.update(name=None), "name is None, expected text"),
    "numbers as labels": (lambda m: m.update(labels=[1, 2]), r"labels\[0\] is 1, expected text"),
    "text for the weights": (lambda m: m.update(n_parameters="many"), "n_parameters is 'many', expected a"),
    "a table for the scores": (lambda m: m.update(scores={"a": {}}), "scores is .*, expected a list"),
    "scores that are no tables": (lambda m: m.update(scores=[1]), r"scores\[0\] is 1, expected a table"),
    "a score in words": (
        lambda m: m["scores"][0].update(uar="0.5"),
        r"scores\[0\].uar is '0.5', expected a num",
    ),
    "a fold that is missing": (lambda m: m["training"].pop("fold") and None, "'training.fold' is missing"),
    "a number as a reason": (lambda m: m.update(verdict={"variant": "x", "reasons": [1]}), "verdict.reasons"),
    "parity in words": (
        lambda m: m["parity"].update(n_clips="two"),
        "parity.n_clips is 'two', expected a whole",
    ),
    "endless rate": (
        lambda m: m["features"].update(sample_rate=math.inf),
        "the number Infinity, expected a finite one",
    ),
    "impossible rate": (
        lambda m: m["features"].update(sample_rate=1),
        "broken edgeemo metadata .sample_rate is 1; it must be a whole number of Hz",
    ),
    "number for the labels": (lambda m: m.update(labels=7), "labels is 7, expected a list"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_model_refuses_other_metadata(case: str, exported: Callable[[str], Any], tmp_path: Path) -> None:
    change, words = CHANGED[case]
    path = changed(exported("cnn_lstm").path, tmp_path, change)
    with pytest.raises(ModelError, match=words) as caught:
        EmotionModel(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unchanged_metadata_is_taken(exported: Callable[[str], Any], tmp_path: Path) -> None:
    path = changed(exported("cnn_lstm").path, tmp_path, lambda m: None)
    assert EmotionModel(path).metadata == exported("cnn_lstm").metadata


@pytest.mark.parametrize("content", [b"", b"not ONNX", bytes(2000)])
def test_model_refuses_a_file_that_is_not_onnx(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"not a model that edgeemo can load"):
        EmotionModel(path)


def test_model_refuses_half_a_file(exported: Callable[[str], Any], tmp_path: Path) -> None:
    content = exported("cnn_lstm").path.read_bytes()
    path = tmp_path / "m.onnx"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="it ends too early"):
        EmotionModel(path)


def test_model_refuses_another_sample_type(exported: Callable[[str], Any], tmp_path: Path) -> None:
    """At load, never at the first inference."""
    proto = onnx.load(exported("cnn_lstm").path)
    cast = onnx.helper.make_node("Cast", ["samples"], ["audio"], to=onnx.TensorProto.FLOAT)
    proto.graph.node.insert(0, cast)
    proto.graph.input[0].name = "samples"
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for node in proto.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = {"samples": "audio", "audio": "as_float"}.get(name, name)
        for i, name in enumerate(node.output):
            node.output[i] = {"audio": "as_float"}.get(name, name)
    proto.graph.input[0].name = "audio"
    kept = [entry for entry in proto.metadata_props if entry.key != CHECKSUM_KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="double"):
        EmotionModel(tmp_path / "m.onnx")
