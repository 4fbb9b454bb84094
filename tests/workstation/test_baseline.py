"""What a voice is usually called, as states of a stream."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from edgeemo import load
from edgeemo.errors import ExportError, RecipeError
from edgeemo.stepper import StreamStepper
from edgeemo.workstation.export import build as building
from edgeemo.workstation.export.build import build as build_variant
from edgeemo.workstation.export.parity import probabilities
from edgeemo.workstation.export.source import Source, prepare
from edgeemo.workstation.graphs.assemble import save
from edgeemo.workstation.graphs.baseline import LEAST_FRAMES, MOST_UTTERANCES
from edgeemo.workstation.graphs.choose import Choice
from edgeemo.workstation.graphs.quantize import quantize
from edgeemo.workstation.graphs.usual import STRENGTH, usual_shares
from edgeemo.workstation.training.fit import build_network
from edgeemo.workstation.training.recipe import Recipe, recipe_from_dict

LABELS = ("neutral", "angry", "disgust", "fear", "happy", "sad", "surprise")
NETWORKS: dict[str, dict[str, object]] = {
    "running_mean": {
        "builder": "attentive_cnn",
        "filters": [4, 4],
        "kernels": [3, 3],
        "strides": [[2, 4], [2, 2]],
        "hidden": 6,
        "voiced": True,
    },
    "running_peak": {"builder": "cnn_lstm", "filters": [3, 4], "pools": [[2, 4], [2, 4]], "units": [5, 5]},
}


def recipe(level: str = "running_mean") -> Recipe:
    return recipe_from_dict(
        {
            "name": "tiny_baseline",
            "summary": "for tests",
            "architecture": NETWORKS.get(level, NETWORKS["running_peak"]),
            "features": {
                "n_mels": 16,
                "hop_samples": 320,
                "level": level,
                "level_frames": 80,
                "range_db": 45,
            },
            "window": {"window_s": 1.6, "step_s": 0.16},
            "export": {"baseline": True},
        }
    )


@pytest.fixture(scope="module", params=NETWORKS)
def chosen(request: pytest.FixtureRequest) -> Recipe:
    return recipe(request.param)


@pytest.fixture(scope="module")
def network(chosen: Recipe) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = build_network(chosen)
    seen = np.random.default_rng(0).normal(-5, 8, (4, *chosen.input_shape)).astype(np.float32)
    model.get_layer("normalisation").adapt(seen)
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if layer.name == "probabilities":
            layer.kernel.assign(rng.normal(0, 1, layer.kernel.shape))
    return model


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    """Noise that comes and goes in different colours, as long as a window."""
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((6, 25_600))
    noise = np.cumsum(noise, axis=1) * rng.uniform(0, 0.1, (6, 1)) + noise
    swell = 1 + np.sin(np.arange(25_600) * rng.uniform(1e-3, 3e-3, (6, 1)))
    return list((0.05 * noise * swell).astype(np.float32))


@pytest.fixture(scope="module")
def source(network: keras.Model, chosen: Recipe, clips: list[np.ndarray]) -> Source:
    return prepare(network, chosen, clips=clips[:2], labels=LABELS)


@pytest.fixture(scope="module")
def stream_path(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("baseline") / "tiny_baseline.stream.onnx"
    save(build_variant(source, "stream"), path)
    return path


def without(source: Source, path: Path) -> Path:
    """The same stream without a baseline."""
    recipe = dataclasses.replace(
        source.recipe, export=dataclasses.replace(source.recipe.export, baseline=False)
    )
    save(build_variant(dataclasses.replace(source, recipe=recipe), "stream"), path)
    return path


def test_stream_is_the_definition(
    source: Source, stream_path: Path, clips: list[np.ndarray], tmp_path: Path
) -> None:
    """Utterance after utterance, some too short to count: against the mean, kept by hand."""
    steps = load(stream_path).stepper()
    plain = load(without(source, tmp_path / "plain.stream.onnx")).stepper()
    assert isinstance(steps, StreamStepper)
    shares, usual, count, n_counted = usual_shares(LABELS), np.zeros(len(LABELS)), 0, 0
    n_steps_of = [10, 2, 10, 5, 10, 10, 1, *[4] * 12, 10]
    for utterance, n in enumerate(n_steps_of):
        audio = np.roll(clips[utterance % len(clips)], 977 * utterance)[: 2560 * n]
        if utterance:
            steps.begin_utterance()
            plain.begin_utterance()
        for step in audio.reshape(n, 2560):
            answer = plain.step(step)
            expected = answer * (shares / ((count * usual + shares) / (count + 1))) ** STRENGTH
            np.testing.assert_allclose(steps.step(step), expected / expected.sum(), rtol=0, atol=2e-5)
        if 8 * n >= LEAST_FRAMES:
            count = min(count + 1, MOST_UTTERANCES)
            usual = usual + (answer - usual) / count
            n_counted += 1
    assert n_counted > MOST_UTTERANCES
    assert n_counted < len(n_steps_of)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_whatever_weights_are_stored_in(
    source: Source, clips: list[np.ndarray], precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the last layer is int8, which is a matter of speed: the baseline is computed in float."""
    monkeypatch.setattr(
        building, "choose_float", lambda model, batches: Choice(quantize(model, batches), (), {"chosen": 1.0})
    )
    model = build_variant(source, "stream", precision, calibration=np.stack(clips))
    save(model, tmp_path / "tiny_baseline.stream.onnx")
    stepper = load(tmp_path / "tiny_baseline.stream.onnx").stepper()
    answers = []
    for _ in range(2):
        for step in clips[0].reshape(-1, 2560):
            answer = stepper.step(step)
        answers.append(answer)
        stepper.begin_utterance()
    assert np.abs(answers[1] - answers[0]).max() > 1e-3


def test_what_a_voice_is_usually_called_is_said_less(stream_path: Path, clips: list[np.ndarray]) -> None:
    """After the same utterance five times, its label is less probable than at first."""
    steps = load(stream_path).stepper()
    answers = []
    for _ in range(6):
        steps.begin_utterance()
        for step in clips[0].reshape(-1, 2560):
            answer = steps.step(step)
        answers.append(answer)
    label = int(np.argmax(answers[0] / usual_shares(LABELS)))
    assert answers[-1][label] < answers[0][label]


def test_first_utterance_is_the_window(source: Source, stream_path: Path, clips: list[np.ndarray]) -> None:
    """From states of zeros, exactly; whichever weights."""
    model = load(stream_path)
    for i, clip in enumerate(clips[:2]):
        np.testing.assert_allclose(probabilities(model, clip), source.expected[i], rtol=0, atol=2e-5)
    lasting = [state.voice for state in model.metadata.states if state.lasting]
    assert sum(lasting) == 4


def test_pauses_between_utterances_change_nothing(stream_path: Path, clips: list[np.ndarray]) -> None:
    """Silence after `begin_utterance` belongs to no utterance: only a sound begins one."""
    model = load(stream_path)
    answers = []
    for n_silent in (0, 7):
        steps = model.stepper()
        for clip in clips[:3]:
            for step in clip.reshape(-1, 2560):
                found = steps.step(step)
            steps.begin_utterance()
        for _ in range(n_silent):
            steps.begin_utterance()
            steps.step(np.zeros(2560, np.float32))
        steps.begin_utterance()
        for step in clips[3].reshape(-1, 2560):
            found = steps.step(step)
        answers.append(found)
    np.testing.assert_allclose(answers[0], answers[1], rtol=0, atol=1e-5)


def test_what_has_no_baseline_is_refused(clips: list[np.ndarray]) -> None:
    with pytest.raises(
        RecipeError, match=r"\[export\] baseline is True, expected false with \[features\] level"
    ):
        recipe(level="none")
    chosen = recipe()
    source = prepare(build_network(chosen), chosen, clips=clips[:1], labels=LABELS)
    answer = source.network.outputs[0].producer()
    assert answer is not None
    answer.op_type = "Sigmoid"
    answer.attributes.clear()
    build_variant(source, "window")
    with pytest.raises(ExportError, match="ends with a softmax"):
        build_variant(source, "stream")
