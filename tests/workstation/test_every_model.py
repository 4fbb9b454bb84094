"""Every registered model, from its recipe to its file by the commands of a user: trained for a few steps on made-up
data, exported, and compared with Keras on data that the export has not seen.
"""

from __future__ import annotations

import csv
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgeemo.cli import app
from edgeemo.images import ImageModel, load_model
from edgeemo.places import EXPORT_DIR
from edgeemo.workstation.graphs.frontend import FrontEnd
from edgeemo.workstation.networks import load_network
from edgeemo.workstation.training import speech
from edgeemo.workstation.training.recipe import load_recipe
from support.corpora import bars, write_corpus, write_fashion
from support.networks import narrow_resnet50
from support.recipes import RECIPES
from support.references import as_usually_said
from support.signals import speech_like

pytestmark = pytest.mark.slow

FER_CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
FEW_STEPS = ["--epochs", "2", "--fold", "1", "--set", "training.batch_size=16"]
LIKE_EMO_SMALL = ("emo_tiny", "emo_open")  # of another size, on other data
REDUCED = {
    "resnet50_lstm": ["--set", "features.n_mels=32", "--set", "window.window_s=1.6"],  # as in its benchmark
    "emo_small": ["--set", "training.clips_per_epoch=64"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a little of everything: RAVDESS, Fashion-MNIST and FER-2013 by their names."""
    folder = tmp_path_factory.mktemp("data")
    write_corpus(folder / "ravdess")
    write_fashion(folder / "fashion-mnist", *bars(48, 28, 10), *bars(20, 28, 10, seed=1))
    for part, n in (("train", 40), ("test", 14)):
        for i, (pixels, label) in enumerate(zip(*bars(n, 48, 7, seed=n), strict=True)):
            path = folder / "fer2013" / part / FER_CLASSES[label] / f"Training_{n}{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return folder


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in LIKE_EMO_SMALL])
def test_trained_exported_and_equal(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "CACHE_DIR", tmp_path / "cache")
    monkeypatch.setattr(keras.applications, "ResNet50", narrow_resnet50)
    overrides = REDUCED.get(name, [])
    recipe = load_recipe(EXPORT_DIR / f"{name}.toml", overrides[1::2])
    if recipe.image is None:
        overrides = [*overrides, "--corpora", "ravdess"]
    run = tmp_path / "run"
    command("train", "--model", name, "--data", data, "--output", run, *FEW_STEPS, *overrides)
    with (run / "fold-1_seed-0" / "history.csv").open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    assert losses[0] != losses[1], "nothing was learnt"

    variant = [] if recipe.image else ["--mode", "window", "--precision", "fp32"]
    command("export", "--model", name, "--run", run, "--data", data, "--output", tmp_path, *variant)
    (path,) = tmp_path.glob(f"{name}*.onnx")
    trained = load_network(run / "fold-1_seed-0" / "model.keras")
    model = load_model(path)
    if isinstance(model, ImageModel):
        inputs = features = bars(12, recipe.image.height, len(model.labels), seed=9)[0].astype(np.float32)
    else:
        inputs = np.stack([speech_like(recipe.window_samples, seed=seed) for seed in range(4)])
        features = FrontEnd(recipe.features)(inputs)
    features = features.reshape(-1, *trained.input_shape[1:])
    expected = as_usually_said(trained.predict(features, verbose=0), recipe)
    assert np.ptp(expected, axis=0).max() > 1e-4, "it says the same of everything"
    found = np.stack([model.predict(given) for given in inputs])
    np.testing.assert_allclose(found, expected, rtol=0, atol=recipe.export.tolerance)
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert not {"Loop", "Scan"} & operators
    assert ("LSTM" in operators) == any(isinstance(layer, keras.layers.LSTM) for layer in trained.layers)


def command(*arguments: str | Path) -> None:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
