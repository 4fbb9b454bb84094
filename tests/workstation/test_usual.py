"""How often people say each label, and what follows for answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from edgeemo import load
from edgeemo.errors import ExportError
from edgeemo.places import EXPORT_DIR
from edgeemo.workstation.export.build import build as build_variant
from edgeemo.workstation.export.parity import probabilities
from edgeemo.workstation.export.source import prepare
from edgeemo.workstation.graphs.assemble import save
from edgeemo.workstation.graphs.usual import STRENGTH, add_usual, adjusted, usual_shares
from edgeemo.workstation.training.folder import finish_cell, read_cell
from edgeemo.workstation.training.recipe import Recipe
from edgeemo.workstation.training.run import left_out
from support.signals import speech_like


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("angry", "neutral", "sad"), [1 / 3, 1 / 3, 1 / 3]),
        (("neutral", "calm", "happy", "sad", "fear", "angry"), [1 / 6] * 6),
        (("neutral", "a", "b", "c", "d"), [1 / 3, 1 / 6, 1 / 6, 1 / 6, 1 / 6]),
        (("on", "off"), [0.5, 0.5]),
        (("calm", "angry"), [0.5, 0.5]),
        (("neutral", "calm", "angry"), [1 / 3] * 3),
    ],
)
def test_what_people_usually_say(labels: tuple[str, ...], expected: list[float]) -> None:
    np.testing.assert_allclose(usual_shares(labels), expected, rtol=1e-6)


def test_answers_are_adjusted_half_of_the_way() -> None:
    labels = ("angry", "neutral", "happy", "sad")
    answers = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    odds = adjusted(answers, labels) / adjusted(answers, labels)[:, :1]
    expected = answers / answers[:, :1] * (usual_shares(labels) / usual_shares(labels)[0]) ** STRENGTH
    np.testing.assert_allclose(odds, expected, rtol=1e-6)
    np.testing.assert_allclose(adjusted(answers, labels).sum(axis=1), 1)
    np.testing.assert_allclose(adjusted(answers, ("on", "off", "up", "down")), answers)


@pytest.mark.parametrize("mode", ["window", "stream"])
def test_files_answer_so(
    mode: str,
    shipped_recipe: Callable[[str], Recipe],
    random_model: Callable[[str], keras.Model],
    tmp_path: Path,
) -> None:
    """Both modes, and the reference that they are compared with, as far as Keras' answers are."""
    recipe, network = shipped_recipe("emo_tiny"), random_model("emo_tiny")
    assert recipe.export.usual
    clips = [speech_like(51_200, seed=seed) for seed in range(3)]
    source = prepare(network, recipe, clips=clips)
    alike = dataclasses.replace(recipe, export=dataclasses.replace(recipe.export, usual=False))
    plain = prepare(network, alike, clips=clips)
    np.testing.assert_allclose(
        source.expected, adjusted(plain.expected, recipe.label_map.labels), rtol=0, atol=1e-7
    )
    assert np.abs(source.expected - plain.expected).max() > 0.01
    path = tmp_path / f"emo_tiny.{mode}.onnx"
    save(build_variant(source, mode), path)
    for clip, expected in zip(clips, source.expected, strict=True):
        np.testing.assert_allclose(probabilities(load(path), clip), expected, rtol=0, atol=2e-5)


def test_what_is_fitted_is_what_files_say(shipped_recipe: Callable[[str], Recipe], tmp_path: Path) -> None:
    recipe = shipped_recipe("emo_small")
    cell = read_cell(EXPORT_DIR / "emo_small" / "fold-1_seed-0")
    assert cell is not None
    assert cell.test_answers is not None
    folder = tmp_path / "without-crema_d_seed-0"
    folder.mkdir()
    finish_cell(folder, dataclasses.replace(cell, fold="without-crema_d"))
    (part,) = left_out(recipe, tmp_path)
    assert part.corpus == "crema_d"
    answers = np.array(cell.test_answers.probabilities)
    np.testing.assert_allclose(part.probabilities, adjusted(answers, recipe.label_map.labels))


def test_without_a_softmax_it_is_refused(
    shipped_recipe: Callable[[str], Recipe], random_model: Callable[[str], keras.Model]
) -> None:
    recipe = shipped_recipe("emo_tiny")
    network = prepare(random_model("emo_tiny"), recipe, clips=[speech_like(51_200)]).network
    answer = network.outputs[0].producer()
    assert answer is not None
    answer.op_type = "Sigmoid"
    answer.attributes.clear()
    with pytest.raises(ExportError, match=r"\[export\] usual needs a network that ends with a softmax"):
        add_usual(network, recipe.label_map.labels)
