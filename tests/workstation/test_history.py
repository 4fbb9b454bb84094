"""What a voice usually sounds like: in training, and as states of a stream."""

from __future__ import annotations

import dataclasses
from itertools import chain, combinations
from pathlib import Path

import keras
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeemo import load
from edgeemo.errors import ExportError
from edgeemo.stepper import StreamStepper
from edgeemo.workstation.committee import members
from edgeemo.workstation.export.build import build as build_variant
from edgeemo.workstation.export.parity import probabilities
from edgeemo.workstation.export.source import Source, prepare
from edgeemo.workstation.graphs.assemble import save
from edgeemo.workstation.graphs.baseline import LEAST_FRAMES, MOST_UTTERANCES, STRENGTH, usual_shares
from edgeemo.workstation.history import (
    History,
    has_history,
    relative_weights,
    without_history,
)
from edgeemo.workstation.networks import load_network
from edgeemo.workstation.speakers import UNKNOWN, numbered
from edgeemo.workstation.training.fit import build_network
from edgeemo.workstation.training.recipe import Recipe, recipe_from_dict

LABELS = ("neutral", "angry", "disgust", "fear", "happy", "sad", "surprise")


ATTENTIVE = {"filters": [4, 4], "kernels": [3, 3], "strides": [[2, 4], [2, 2]], "hidden": 6}
ARCHITECTURES = {
    "attentive_cnn": {**ATTENTIVE, "voiced": True, "history": True},
    "committee": {**ATTENTIVE, "lstm_filters": [3, 4], "units": [5, 5]},
}


def recipe(builder: str = "attentive_cnn", **features: object) -> Recipe:
    return recipe_from_dict(
        {
            "name": "tiny_history",
            "summary": "for tests",
            "architecture": {"builder": builder, **ARCHITECTURES[builder]},
            "features": {
                "n_mels": 16,
                "hop_samples": 320,
                "level": "running_mean",
                "level_frames": 80,
                "range_db": 45,
                "peak_bands": builder == "committee",
                **features,
            },
            "window": {"window_s": 1.6, "step_s": 0.16},
        }
    )


@pytest.fixture(scope="module", params=ARCHITECTURES)
def chosen(request: pytest.FixtureRequest) -> Recipe:
    return recipe(request.param)


@pytest.fixture(scope="module")
def network(chosen: Recipe) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = build_network(chosen)
    seen = np.random.default_rng(0).normal(-5, 8, (4, *chosen.input_shape)).astype(np.float32)
    model.get_layer("normalisation").adapt(seen)
    rng = np.random.default_rng(1)
    for name in ("own", "relative"):
        kernel = model.get_layer(name).kernel
        kernel.assign(rng.normal(0, 1, kernel.shape))
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
    path = tmp_path_factory.mktemp("history") / "tiny_history.stream.onnx"
    save(build_variant(source, "stream"), path)
    return path


# --- in training -----------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(speakers=st.lists(st.integers(UNKNOWN, 2), min_size=2, max_size=7), seed=st.integers(0, 99))
def test_history_in_training_is_some_other_clips_of_the_speaker(speakers: list[int], seed: int) -> None:
    layer = History(without_share=0.0)
    layer.seed_generator.state.assign([seed, seed])
    embedding = np.random.default_rng(seed).standard_normal((len(speakers), 3)).astype(np.float32)
    found = np.array(layer(embedding, np.array(speakers, np.int32), training=True))
    for i, speaker in enumerate(speakers):
        others = [j for j, other in enumerate(speakers) if j != i and other == speaker != UNKNOWN]
        subsets = chain.from_iterable(combinations(others, n) for n in range(1, len(others) + 1))
        allowed = [np.zeros(3), *(embedding[i] - embedding[list(subset)].mean(axis=0) for subset in subsets)]
        assert min(np.abs(found[i] - one).max() for one in allowed) < 1e-5


def test_history_varies_and_is_sometimes_missing() -> None:
    layer = History(without_share=0.5)
    embedding = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    drawn = np.stack([np.array(layer(embedding, np.zeros(8, np.int32), training=True)) for _ in range(200)])
    missing = (drawn == 0).all(axis=2).mean()
    assert 0.5 < missing < 0.7  # and where the drawn share is small, nobody is heard either
    assert len(np.unique(drawn[:, 0].round(5), axis=0)) > 30


def test_outside_training_there_is_no_history() -> None:
    embedding = np.ones((4, 3), np.float32)
    assert not np.array(History()(embedding, np.zeros(4, np.int32))).any()


def test_numbers_of_speakers() -> None:
    assert numbered(["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]


def test_a_file_gives_the_same_network(network: keras.Model, chosen: Recipe, tmp_path: Path) -> None:
    network.save(tmp_path / "network.keras")
    again = load_network(tmp_path / "network.keras")
    features = np.random.default_rng(3).normal(-5, 8, (3, *chosen.input_shape)).astype(np.float32)
    given = [features, np.full(3, UNKNOWN, np.int32)]
    np.testing.assert_array_equal(again.predict(given, verbose=0), network.predict(given, verbose=0))
    alone = without_history(again)
    assert has_history(again)
    assert not has_history(alone)
    np.testing.assert_allclose(
        alone.predict(features, verbose=0), network.predict(given, verbose=0), atol=1e-6
    )
    added = network.get_layer("relative").kernel.numpy() / members(network)
    np.testing.assert_array_equal(relative_weights(again), added)
    assert relative_weights(alone) is None


# --- in a stream -----------------------------------------------------------------------------------------


def observed(source: Source) -> tuple[ort.InferenceSession, list[str]]:
    """The stream without a baseline, which also gives logits and embedding; and the names of its lasting states."""
    model = build_variant(dataclasses.replace(source, relative=None), "stream")
    softmax = model.graph.outputs[0].producer()
    assert softmax is not None
    logits = softmax.inputs[0]
    assert logits is not None
    (pooled,) = [node for node in model.graph if node.op_type == "Concat" and node.name.endswith("/concat")]
    embedding = pooled.outputs[0]
    for value, shape in ((logits, (1, len(LABELS))), (embedding, (1, 12))):
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
        model.graph.outputs.append(value)
    return ort.InferenceSession(ir.to_proto(model).SerializeToString()), [
        str(logits.name),
        str(embedding.name),
    ]


def softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def test_stream_is_the_definition(source: Source, stream_path: Path, clips: list[np.ndarray]) -> None:
    """Utterance after utterance, some too short to count: against the means, kept by hand."""
    model = load(stream_path)
    steps = model.stepper()
    assert isinstance(steps, StreamStepper)
    session, (logits_name, embedding_name) = observed(source)
    lasting = {s.name for s in model.metadata.states if s.lasting}
    n_steps = -(-model.metadata.window_samples // 2560)

    def silent() -> dict[str, np.ndarray]:
        state = {v.name: np.zeros(v.shape, np.float32) for v in session.get_inputs() if v.name != "audio"}
        for _ in range(n_steps):
            state, *_ = run(np.zeros(2560, np.float32), state)
        return state

    def run(
        audio: np.ndarray, state: dict[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        names = [logits_name, embedding_name, *(f"{name}_next" for name in state)]
        logits, embedding, *following = session.run(names, {"audio": audio[np.newaxis], **state})
        return dict(zip(state, following, strict=True)), logits[0], embedding[0]

    weights, at_start = np.asarray(source.relative), silent()
    state, mean, count, n_counted = at_start, np.zeros(12), 0, 0
    shares = usual_shares(LABELS)
    usual = np.zeros(len(LABELS))
    n_steps_of = [10, 2, 10, 5, 10, 10, 1, *[4] * 12, 10]
    for utterance, n in enumerate(n_steps_of):
        audio = np.roll(clips[utterance % len(clips)], 977 * utterance)[: 2560 * n]
        if utterance:
            steps.begin_utterance()
            state = {k: v if k in lasting else at_start[k] for k, v in state.items()}
        for step in audio.reshape(n, 2560):
            state, logits, embedding = run(step, state)
            difference = (embedding - mean) * (count > 0)
            adjusted = logits + difference @ weights
            rarer = np.log(shares / ((count * usual + shares) / (count + 1)))
            expected = softmax(adjusted + STRENGTH * rarer)
            np.testing.assert_allclose(steps.step(step), expected, rtol=0, atol=2e-5)
        if 8 * n >= LEAST_FRAMES:
            count = min(count + 1, MOST_UTTERANCES)
            mean = mean + (embedding - mean) / count
            usual = usual + (softmax(adjusted) - usual) / count
            n_counted += 1
    assert n_counted > MOST_UTTERANCES
    assert n_counted < len(n_steps_of)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("angry", "neutral", "sad"), [1 / 3, 1 / 3, 1 / 3]),
        (("neutral", "calm", "happy", "sad", "fear", "angry"), [1 / 6] * 6),
        (("neutral", "a", "b", "c", "d"), [1 / 3, 1 / 6, 1 / 6, 1 / 6, 1 / 6]),
        (("on", "off"), [0.5, 0.5]),
    ],
)
def test_what_people_usually_say(labels: tuple[str, ...], expected: list[float]) -> None:
    np.testing.assert_allclose(usual_shares(labels), expected, rtol=1e-6)


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
    assert sum(state.lasting for state in model.metadata.states) == 8  # two of them the front end's


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


def test_history_without_voiced_frames_is_refused(clips: list[np.ndarray]) -> None:
    chosen = recipe(level="running_peak")
    model = build_network(chosen)
    source = prepare(model, chosen, clips=clips[:1], labels=LABELS)
    build_variant(source, "window")
    with pytest.raises(ExportError, match="needs to know voiced frames"):
        build_variant(source, "stream")
