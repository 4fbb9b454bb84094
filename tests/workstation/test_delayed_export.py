"""Networks that look ahead, exported with a delay: files, card, parity, and whole clips."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from edgeemo.answer import Judgement
from edgeemo.high_pass import without_constant
from edgeemo.metadata import KEY, Mode, Precision
from edgeemo.model import EmotionModel
from edgeemo.workstation.export.build import build
from edgeemo.workstation.export.card import model_card
from edgeemo.workstation.export.file import export
from edgeemo.workstation.export.source import prepare
from edgeemo.workstation.export.variants import export_variants
from edgeemo.workstation.graphs.assemble import save
from edgeemo.workstation.graphs.walk import EXTENT
from edgeemo.workstation.training.recipe import Recipe
from support.networks import randomise
from support.signals import noise, speech_like

LABELS = ("yes", "no", "maybe")
CLIPS = [speech_like(9000, 8000, seed=1), noise(5000, seed=2)]


def network() -> keras.Model:
    """Looks five frames ahead, in three layers."""
    features = layers.Input((16, 8))
    x = layers.Normalization()(features)
    x = layers.Conv1D(6, 5, padding="same", activation="relu")(x)
    x = layers.Add()([layers.Conv1D(6, 7, padding="same")(x), x])
    x = layers.GRU(5, return_sequences=True)(layers.LayerNormalization()(x))
    return randomise(
        keras.Model(features, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(x)))
    )


@pytest.mark.slow
def test_whole_export(small_recipe: Recipe, tmp_path: Path) -> None:
    source = prepare(network(), small_recipe, clips=CLIPS, labels=LABELS)
    refused = export_variants(source, tmp_path / "plain", precisions=[Precision.FP32], force=True, n_steps=20)
    assert refused.delay_ms == 0
    assert "looks 32 ms ahead" in refused.verdicts[1].reasons[0]  # two frames of 16 ms: of the first layer
    assert refused.verdicts[1].reasons[0].endswith("or accept a delay with --delay")

    exported = export_variants(
        source, tmp_path / "out", precisions=[Precision.FP32], force=True, delay=True, n_steps=20
    )
    assert exported.delay_ms == 96  # five frames of 16 ms, in steps of 32
    window, stream = (
        EmotionModel(tmp_path / "out" / f"{verdict.variant}.onnx") for verdict in exported.verdicts
    )
    assert stream.metadata.delay_ms == 96
    assert stream.metadata.delay_samples == 768
    assert stream.metadata.parity is not None
    assert stream.metadata.parity.reference == "Keras"
    assert stream.metadata.parity.max_difference < 1e-5
    assert EXTENT in {state.name for state in stream.metadata.states}
    assert "delay_ms" not in json.loads(window.session.get_modelmeta().custom_metadata_map[KEY])
    card = (tmp_path / "out" / "small.md").read_text(encoding="utf-8")
    assert "A stream's answer is of the audio up to 96 ms before the end of the step." in card
    assert "before the end of the step" not in model_card(
        [window.metadata], n_bytes={"small.window": 1}, listen="small.window"
    )


@pytest.mark.slow
def test_whole_clips_are_heard_to_their_end(small_recipe: Recipe, tmp_path: Path) -> None:
    """A clip's answers are those of its own steps, not of the steps that they come in."""
    path = tmp_path / "mine.onnx"
    any_sound = dataclasses.replace(Judgement.of(LABELS), needs_voice=False)
    source = prepare(network(), small_recipe, clips=CLIPS, labels=LABELS, judgement=any_sound)
    save(build(source, Mode.STREAM, delay=True), path)
    model = EmotionModel(path)
    n, n_late = model.metadata.step_samples, model.metadata.delay_samples // model.metadata.step_samples
    clip = speech_like(20 * n, 8000, seed=3)
    steps = model.stepper()
    heard = without_constant(clip, 8000)
    answers = [steps.step(part) for part in np.split(np.pad(heard, (0, n_late * n)), 20 + n_late)]
    found = model.classify(clip, sample_rate=8000)
    n_window = model.metadata.window_samples // n
    expected = np.mean(answers[n_late + n_window - 1 :], axis=0)
    np.testing.assert_allclose(list(found.probabilities.values()), expected, rtol=0, atol=1e-6)
    assert found.n_windows == 20 - n_window + 1
    short = model.classify(clip[: n // 2 + n], sample_rate=8000)
    assert short.n_windows == 1


@pytest.mark.slow
def test_a_network_that_does_not_look_ahead_is_as_without_the_option(
    small_recipe: Recipe, tmp_path: Path
) -> None:
    features = layers.Input((16, 8))
    x = layers.GlobalAveragePooling1D()(layers.Conv1D(6, 3, padding="causal")(features))
    model = randomise(keras.Model(features, layers.Dense(3, activation="softmax")(x)))
    source = prepare(model, small_recipe, clips=CLIPS, labels=LABELS)
    late, plain = (build(source, Mode.STREAM, delay=delay) for delay in (True, False))
    assert late.metadata_props[KEY] == plain.metadata_props[KEY]
    assert [node.op_type for node in late.graph] == [node.op_type for node in plain.graph]
    metadata = export(model, small_recipe, tmp_path / "a.onnx", mode=Mode.STREAM, clips=CLIPS, labels=LABELS)
    assert "delay_ms" not in metadata.to_dict()
