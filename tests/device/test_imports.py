"""What the device loads, and what the workstation's commands say where only the device is installed.

`test_listen_command.py` has the same check on the libraries that are installed; here every library stands in as an
empty module, so that an import is found out whether or not it would have worked.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import edgeemo as package
from support.help import commands

HEAVY = {
    "PIL",
    "keras",
    "librosa",
    "matplotlib",
    "onnx",
    "onnx_ir",
    "onnxscript",
    "paho",
    "pandas",
    "pyarrow",
    "ray",
    "scipy",
    "sklearn",
    "tensorflow",
    "tf2onnx",
    "websockets",
}
PACKAGE = Path(package.__file__).parent
DEVICE = [f"edgeemo.{p.stem}" for p in sorted(PACKAGE.glob("[!_]*.py"))]
for folder in ("bench", "live", "sinks", "sources", "view"):
    DEVICE += [f"edgeemo.{folder}.{p.stem}" for p in sorted((PACKAGE / folder).glob("[!_]*.py"))]
COMMANDS = [f"edgeemo.cli.{p.stem}" for p in sorted((PACKAGE / "cli").glob("[!_]*.py"))]
WAIT_S = 120  # only so that a hanging process ends the test

STAND_INS = f"""
import importlib.abc, importlib.machinery, sys
HEAVY = {HEAVY}
class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name in HEAVY else None
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, StandIns())
"""
BASE_INSTALLATION = f"""
import importlib.abc, sys
HEAVY = {HEAVY}
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from edgeemo.cli import main
main()
"""


def python(code: str, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, cwd=folder)


def heavy_after(code: str, folder: Path) -> set[str]:
    """The heavy libraries that a fresh Python has loaded after `code`."""
    code = f"{STAND_INS}{code}\nprint('loaded:', *(HEAVY & sys.modules.keys()))"
    result = python(code, folder=folder)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].removeprefix("loaded:").split())


def importing(modules: list[str]) -> str:
    return "\n".join(f"import {module}" for module in modules)


def test_the_device_modules_load_no_heavy_library(tmp_path: Path) -> None:
    assert {
        "edgeemo.live.loop",
        "edgeemo.bench.report",
        "edgeemo.sinks.mqtt",
        "edgeemo.sinks.server",
        "edgeemo.view.live",
    } <= set(DEVICE)
    assert heavy_after(importing([*DEVICE, *COMMANDS]), tmp_path) == set()


def test_listening_to_the_sample_loads_no_heavy_library(tiny_model_path: Path, tmp_path: Path) -> None:
    arguments = ["listen", "--sample", "--fast", "--seconds", "1", "--model", str(tiny_model_path)]
    code = f"from edgeemo.cli import app\napp({arguments}, standalone_mode=False)"
    assert heavy_after(code, tmp_path) == set()


def test_classifying_on_this_machine_loads_no_heavy_library(tiny_model_path: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.ones(1600) / 2, 16000)
    arguments = ["classify", "clip.wav", "--format", "csv", "--model", str(tiny_model_path)]
    code = f"from edgeemo.cli import app\napp({arguments}, standalone_mode=False)"
    assert heavy_after(code, tmp_path) == set()


def test_the_checks_above_can_fail(tmp_path: Path) -> None:
    """A copy of the package, in which one device module imports every heavy library."""
    copy = tmp_path / "edgeemo"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("bundled", "workstation", "__pycache__"))
    with (copy / "metadata.py").open("a") as file:
        file.write(importing(sorted(HEAVY)))
    assert heavy_after(importing(["edgeemo.model"]), tmp_path) == HEAVY


def test_help_loads_no_heavy_library(tmp_path: Path) -> None:
    shown = [[command, "--help"] for command in commands() if command]
    code = f"from edgeemo.cli import app\nfor shown in {shown}: app(shown, standalone_mode=False)"
    assert heavy_after(code, tmp_path) == set()


@pytest.mark.parametrize("command", ["train", "export"])
def test_a_workstation_command_on_a_base_installation(command: str, tmp_path: Path) -> None:
    result = python(BASE_INSTALLATION, command, folder=tmp_path)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.stderr
    assert result.stderr.startswith("edgeemo: this command needs the workstation side (")
    assert result.stderr.endswith(" is missing); pip install 'edgeemo[train]', in a clone '.[train]'\n")


def test_ray_on_a_base_installation(tiny_model_path: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.ones(1600) / 2, 16000)
    arguments = ["classify", "clip.wav", "--ray", "local", "--output", "scores", "--model", tiny_model_path]
    result = python(BASE_INSTALLATION, *arguments, folder=tmp_path)
    expected = (
        "edgeemo: --ray needs Ray (ray is missing); pip install 'edgeemo[cluster]', in a clone '.[cluster]'\n"
    )
    assert (result.returncode, result.stdout, result.stderr) == (1, "", expected)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.wav"]


def test_serving_on_a_base_installation(tmp_path: Path) -> None:
    result = python(BASE_INSTALLATION, "listen", "--sample", "--serve", "0", folder=tmp_path)
    expected = (
        "edgeemo: --serve needs websockets (websockets is missing); pip install 'edgeemo[serve]', "
        "in a clone '.[serve]'\n"
    )
    assert (result.returncode, result.stdout, result.stderr) == (1, "", expected)


def test_data_needs_no_extra(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "03-01-05-01-02-01-12.wav", np.ones(1600) / 2, 16000)
    result = python(BASE_INSTALLATION, "data", ".", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "wrote 1 clips to manifest.csv" in result.stdout
