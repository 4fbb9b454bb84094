"""What is wrong with a command line is said before a library is loaded that takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgeemo.workstation.training.folder import claim_run
from edgeemo.workstation.training.recipe import recipe_from_dict
from support.own import write_class_folders

# Runs commands in one process, and tells of each what it said and which of the slow libraries are loaded by then.
COMMANDS = """
import json, sys
from typer.testing import CliRunner
from edgeemo.cli import app
for arguments in json.load(sys.stdin):
    result = CliRunner().invoke(app, arguments)
    slow = sorted({"tensorflow", "keras", "onnx_ir", "tf2onnx"} & sys.modules.keys())
    print(json.dumps([result.exit_code, result.output, slow]))
"""


def run(commands: list[list[str]], folder: Path) -> list[tuple[int, str, list[str]]]:
    """Exit code, output and loaded libraries of each."""
    result = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        cwd=folder, input=json.dumps(commands), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_slips_of_an_export(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"x")  # what is in it is not looked at before
    (tmp_path / "net.tflite").write_bytes(b"\0\0\0\0TFL3")
    (tmp_path / "file").write_text("x")
    soundfile.write(tmp_path / "clip.wav", np.ones(64000) / 2, 16000)
    soundfile.write(tmp_path / "short.wav", np.ones(1600) / 2, 16000)
    np.save(tmp_path / "features.npy", np.zeros((320, 64)))
    np.save(tmp_path / "bands.npy", np.zeros((320, 40)))
    own = ["--weights", "net.onnx"]
    check = [*own, "--check", "clip.wav", "features.npy"]
    slips = {
        "no recipe called 'nobody'": ["--model", "nobody"],
        "no ONNX file at not.onnx": ["--weights", "not.onnx"],
        "no Keras model at not.keras": ["--weights", "not.keras"],
        "a network of TensorFlow Lite": ["--weights", "net.tflite"],
        "preset is 'wisper'": [*own, "--features", "wisper"],
        "each must be a name and occur only once": [*own, "--labels", "a,a"],
        "n_mells": [*own, "--set", "features.n_mells=3"],
        "no finished run here": ["--run", "nowhere"],
        "step_s": [*own, "--step-ms", "7"],
        "file is a file; give a folder": [*own, "--output", "file"],
        "--data nowhere: no such file or folder": [*own, "--data", "nowhere"],
        "--calibrate nowhere: no such file or folder": [*own, "--calibrate", "nowhere"],
        "not.wav: no such file": [*own, "--check", "not.wav", "features.npy"],
        "not.npy: not an array": [*own, "--check", "clip.wav", "not.npy"],
        "the recipe says 64 values a frame": [*own, "--check", "clip.wav", "bands.npy"],
        "clip.wav: not an array": [*check, "--predictions", "clip.wav"],
        "short.wav: shorter than the network's window": [
            *own, "--check", "short.wav", "features.npy", "--predictions", "features.npy",
        ],
    }  # fmt: skip
    found = run([["export", *arguments] for arguments in slips.values()], tmp_path)
    for words, (code, said, slow) in zip(slips, found, strict=True):
        assert (code != 0, words in said, slow) == (True, True, []), (words, said, slow)


def test_slips_of_a_training(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "mine", n_clips=10)
    fixed = ["--model", "conv1d_lstm", "--corpora", "", "--labels", "own"]
    random = [*fixed, "--data", "mine", "--protocol", "random"]
    recipe = recipe_from_dict({"name": "another", "summary": "", "architecture": {"builder": "conv1d_lstm"}})
    claim_run(tmp_path / "taken", recipe)
    slips = {
        "no recipe called 'nobody'": ["--model", "nobody"],
        "on the command line: [training] unknown key 'epoch'": ["--set", "training.epoch=3"],
        "no folder at 'nowhere'": [*fixed, "--data", "nowhere"],
        "mine: speakers are unknown; use --protocol random": [*fixed, "--data", "mine"],
        "the manifest has no clip of tess": [*random, "--corpora", "tess"],
        "no fold 9": [*random, "--fold", "9"],
        "taken holds a run of another recipe (name": [*random, "--output", "taken"],
    }
    found = run([["train", *arguments] for arguments in slips.values()], tmp_path)
    for words, (code, said, slow) in zip(slips, found, strict=True):
        assert (code != 0, words in said, {*slow} - {"onnx_ir"}) == (True, True, set()), (words, said, slow)


@pytest.mark.slow
def test_what_can_only_be_seen_with_them(tmp_path: Path) -> None:
    """That the check above can fail."""
    (tmp_path / "net.onnx").write_bytes(b"x")
    ((code, _, slow),) = run([["export", "--weights", "net.onnx"]], tmp_path)
    assert code != 0
    assert "tensorflow" in slow
