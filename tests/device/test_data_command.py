"""`edgeemo data`: what it prints and writes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner, Result

from edgeemo.cli.data import data_command
from edgeemo.corpora.manifest import read_csv
from edgeemo.errors import CorpusError


def edgeemo_data(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(data_command)
    return CliRunner(env={"COLUMNS": "100"}).invoke(app, [str(argument) for argument in arguments])


def rows(output: str) -> list[list[str]]:
    """The lines of all tables, as cells."""
    return [
        [cell.strip() for cell in line.strip("│ ").split("│")] for line in output.splitlines() if "│" in line
    ]


def write_noise(path: Path, seed: int, *, sample_rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, sample_rate // 10)
    soundfile.write(path, noise, sample_rate)
    return path


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """One speaker of RAVDESS, two of EmoDB, 31 of CREMA-D; a duplicate, a broken file, twelve strangers."""
    root = tmp_path / "corpora"
    write_noise(root / "Actor_07" / "03-01-03-01-02-01-07.wav", 1, sample_rate=48_000)
    shutil.copy(
        root / "Actor_07" / "03-01-03-01-02-01-07.wav", root / "Actor_07" / "03-01-04-01-02-02-07.wav"
    )
    write_noise(root / "emodb" / "03a01La.wav", 2)
    write_noise(root / "emodb" / "16a01Wa.wav", 3, sample_rate=22_050)
    for n in range(31):
        write_noise(root / "crema" / f"{1001 + n}_DFA_ANG_XX.wav", 100 + n)
    (root / "crema" / "1090_DFA_ANG_XX.wav").write_bytes(b"")
    for n in range(12):
        write_noise(root / "others" / f"recording {n:02}.wav", 200 + n)
    return root


def test_what_is_printed(corpora, tmp_path):
    result = edgeemo_data(corpora, "--output", tmp_path / "out" / "m.csv")
    assert result.exit_code == 0, result.output
    cells = rows(result.stdout)
    assert ["crema_d", "31", "31", "0.00", "16", "mono", "ODbL 1.0"] in cells
    assert ["emodb", "2", "2", "0.00", "16, 22.05", "mono", "see its site"] in cells
    assert ["ravdess", "2", "1", "0.00", "48", "mono", "CC BY-NC-SA 4.0"] in cells
    assert ["boredom", "-", "1", "-", "1"] in cells
    assert ["angry", "31", "1", "-", "32"] in cells
    assert ["crema_d", "31 speakers, 1 to 1 clips each"] in cells
    assert ["emodb", "03: 1, 16: 1"] in cells

    lines = result.stdout.splitlines()
    assert "label map published7: 34 clips, without 1 of boredom" in lines
    duplicate = "  Actor_07/03-01-03-01-02-01-07.wav = Actor_07/03-01-04-01-02-02-07.wav  (different emotion)"
    assert duplicate in lines
    broken = lines.index("1 x empty file")
    assert lines[broken - 1 : broken + 4] == [
        "skipped: 13, of which 1 broken",
        "1 x empty file",
        "  crema/1090_DFA_ANG_XX.wav",
        "12 x not named like a clip of a known corpus",
        "  others/recording 00.wav",
    ]
    assert "  others/recording 09.wav" in lines
    assert "  others/recording 10.wav" not in lines
    assert "  ... and 2 more" in lines
    assert lines[-1] == f"wrote 35 clips to {tmp_path / 'out' / 'm.csv'}"
    assert len(read_csv(tmp_path / "out" / "m.csv").clips) == 35


def test_the_manifest_goes_to_the_working_folder(corpora, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert edgeemo_data("corpora").exit_code == 0
    assert len(read_csv(tmp_path / "manifest.csv").clips) == 35


def test_nothing_to_report(tmp_path):
    write_noise(tmp_path / "DC_a01.wav", 1)
    lines = edgeemo_data(tmp_path, "-o", tmp_path / "m.csv").stdout.splitlines()
    assert "duplicate audio: none" in lines
    assert "skipped: none" in lines


def test_copies_are_named_and_counted_once(corpora, tmp_path):
    shutil.copytree(corpora / "emodb", corpora / "unpacked again")
    lines = edgeemo_data(corpora, "-o", tmp_path / "m.csv").stdout.splitlines()
    copies = lines.index("2 x a copy: a clip with the same name and the same sound is counted already")
    assert lines[copies + 1 : copies + 3] == ["  unpacked again/03a01La.wav", "  unpacked again/16a01Wa.wav"]
    assert lines[-1].startswith("wrote 35 clips")


def test_stop_stops_and_writes_nothing(corpora, tmp_path):
    result = edgeemo_data(corpora, "-o", tmp_path / "m.csv", "--on-error", "stop")
    assert isinstance(result.exception, CorpusError)
    assert "1090_DFA_ANG_XX.wav" in str(result.exception)
    assert not (tmp_path / "m.csv").exists()


def test_wrong_choice_is_a_usage_error(corpora):
    assert edgeemo_data(corpora, "--on-error", "ignore").exit_code == 2


def test_no_clip_is_an_error_of_one_line(tmp_path):
    result = edgeemo_data(tmp_path)
    assert isinstance(result.exception, CorpusError)


def test_names_that_a_terminal_cannot_show(tmp_path):
    write_noise(tmp_path / "DC_a01.wav", 1)
    strange = tmp_path / os.fsdecode(b"[red]\x1b[2J\xff")
    try:
        strange.mkdir()
    except OSError:
        pytest.skip("this file system allows UTF-8 names only")
    (tmp_path / "DC_a01.wav").rename(strange / "x.wav")
    write_noise(tmp_path / "DC_a01.wav", 1)
    result = edgeemo_data(tmp_path, "-o", tmp_path / "m.csv")
    assert result.exit_code == 0, result.output
    assert r"  [red]\x1b[2J\udcff/x.wav" in result.stdout.splitlines()


def test_importing_the_command_loads_nothing_of_the_workstation():
    code = (
        "import sys, edgeemo.cli.data; print([m for m in sys.modules if m.startswith('edgeemo.workstation')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
