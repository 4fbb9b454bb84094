"""A training on another library than TensorFlow, and what an export makes of it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from edgeemo.errors import MissingExtraError, TrainingError
from edgeemo.workstation.backend import limit_threads, use_backend
from edgeemo.workstation.networks import load_network
from edgeemo.workstation.training.folder import load_run, read_history
from support.corpora import write_corpus
from support.recipes import TINY_TABLES

# Weights' averages and a history: what is done with variables beside the optimiser's steps.
RECIPE = (
    """
name = "tiny"
summary = "a tiny attentive CNN"
[architecture]
builder = "attentive_cnn"
filters = [4, 4]
kernels = [3, 3]
strides = [[2, 4], [2, 2]]
hidden = 8
[window]
window_s = 0.256
step_s = 0.064
[training]
epochs = 3
batch_size = 8
learning_rate = 0.01
averaging = 0.9
"""
    + TINY_TABLES
)


def edgeemo(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgeemo", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow  # JAX compiles
def test_what_jax_trained_is_exported_by_tensorflow(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    write_corpus(tmp_path / "corpus")
    train = ("train", "--backend", "jax", "-m", "tiny.toml", "-d", "corpus", "--fold", 1, "-o", "run")
    done = edgeemo(tmp_path, *train)
    assert done.returncode == 0, done.stderr
    cell = tmp_path / "run" / "fold-1_seed-0"
    losses = [row.loss for row in read_history(cell)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert len(load_run(tmp_path / "run")[1].cells) == 1
    assert load_network(cell / "model.keras").count_params() > 0
    export = ("export", "--run", "run", "--mode", "window", "--precision", "fp32", "--force", "-o", "models")
    done = edgeemo(tmp_path, *export)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models" / "tiny.window.onnx").is_file()  # equal to the network: export checks


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install torch"):
        use_backend("torch")
    use_backend("tensorflow")  # of an extra, whose own message says what to install


def test_keras_runs_on_one_library_a_process() -> None:
    with pytest.raises(TrainingError, match="on tensorflow in this process, expected jax"):
        use_backend("jax")


def test_threads_of_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    limit_threads(0)
    with pytest.raises(TrainingError, match="got --backend jax; leave it out"):
        limit_threads(2)
