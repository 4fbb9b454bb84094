"""What surrounds a command changes nothing: its user's settings of Keras, a notebook's of Matplotlib."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from edgeemo.workstation.training.folder import load_run, read_history
from support.corpora import write_corpus
from support.recipes import TINY_TABLES

KERAS = {"floatx": "float16", "epsilon": 1e-3, "backend": "jax", "image_data_format": "channels_first"}
ENVIRONMENT = {
    "KERAS_BACKEND": "torch",
    "KERAS_MAX_STEPS_PER_EPOCH": "1",
    "KERAS_NNX_ENABLED": "true",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}
RECIPE = (
    """
name = "tiny"
summary = "a tiny Conv1D-LSTM"
[architecture]
builder = "conv1d_lstm"
filters = 4
units = 6
[window]
window_s = 0.256
step_s = 0.064
[training]
epochs = 2
batch_size = 8
learning_rate = 0.01
"""
    + TINY_TABLES
)

pytestmark = pytest.mark.slow  # every test starts TensorFlow


class Place(NamedTuple):
    """Where a user works: a home with settings of their own, a recipe, a corpus, and what a training made of them."""

    folder: Path

    @property
    def run(self) -> Path:
        """Of a training without any settings."""
        return self.folder / "plain"

    def python(self, *arguments: object, settings: bool) -> subprocess.CompletedProcess[str]:
        home = self.folder / ("home" if settings else "empty home")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KERAS_")}
        environment |= {"HOME": str(home), **(ENVIRONMENT if settings else {})}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def edgeemo(self, *arguments: object, settings: bool = True) -> str:
        """What a command writes to stdout; it must succeed."""
        done = self.python("-m", "edgeemo", *arguments, settings=settings)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    (folder / "empty home").mkdir()
    (folder / "home" / ".keras").mkdir(parents=True)
    (folder / "home" / ".keras" / "keras.json").write_text(json.dumps(KERAS))
    (folder / "tiny.toml").write_text(RECIPE)
    write_corpus(folder / "corpus")
    place = Place(folder)
    train = ("train", "-m", "tiny.toml", "-d", "corpus", "--fold", "1", "--threads", "1")
    place.edgeemo(*train, "-o", place.run, settings=False)
    return place


def assert_same_training(run: Path, expected: Path) -> None:
    cell = "fold-1_seed-0"
    assert read_history(run / cell) == read_history(expected / cell)
    (found,), (wanted,) = load_run(run)[1].cells, load_run(expected)[1].cells
    assert found == wanted
    for plot in ("history.png", "confusion.png"):
        assert (run / cell / plot).stat().st_size > 0


def test_the_settings_would_count(place: Place) -> None:
    """Else the other tests show nothing."""
    assert "matplotlib_inline" in place.python("-c", "import matplotlib", settings=True).stderr
    program = """
import os
os.environ["MPLBACKEND"] = "agg"
import edgeemo.workstation, keras
print(keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format())
"""
    assert place.python("-c", program, settings=True).stdout == "float16 0.001 channels_first\n"


def test_train_and_export(place: Place, tmp_path: Path) -> None:
    run = tmp_path / "run"
    place.edgeemo("train", "-m", "tiny.toml", "-d", "corpus", "--fold", 1, "--threads", 1, "-o", run)
    assert_same_training(run, place.run)
    assert load_run(run)[1].cells[0].n_parameters == 531
    for settings in (True, False):
        arguments = ("export", "--run", run, "--mode", "window", "--precision", "fp32", "--force")
        place.edgeemo(*arguments, "-o", tmp_path / str(settings), settings=settings)
    program = """
import sys, onnx
def parts(folder):  # without names: tf2onnx numbers them in the order of sets
    graph = onnx.load(f"{folder}/tiny.window.onnx").graph
    return [node.op_type for node in graph.node], sorted(bytes(t.raw_data) for t in graph.initializer)
print(parts(sys.argv[1]) == parts(sys.argv[2]))
"""
    assert (
        place.python("-c", program, tmp_path / "True", tmp_path / "False", settings=True).stdout == "True\n"
    )


def test_study(place: Place, tmp_path: Path) -> None:
    """Its trainings are processes of their own."""
    place.edgeemo("study", "tiny.toml", "-d", "corpus", "--fold", 1, "-o", tmp_path)
    (run,) = (path.parent for path in tmp_path.glob("*/recipe.json"))
    assert_same_training(run, place.run)
    assert (tmp_path / "results.csv").is_file()


def test_bench_of_training(place: Place, tmp_path: Path) -> None:
    arguments = ("bench", "--training", "-m", "tiny.toml", "--steps", 20, "--json", tmp_path / "speed.json")
    place.edgeemo(*arguments)
    (network,) = json.loads((tmp_path / "speed.json").read_text())["networks"]
    assert network["n_parameters"] == 531
