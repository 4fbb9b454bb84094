"""The bench and the machine's description. Nothing here depends on how fast the machine is."""

from __future__ import annotations

import dataclasses
import getpass
import json
import platform
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgeemo.bench import machine
from edgeemo.bench import report as bench_module
from edgeemo.bench.latency import Latency
from edgeemo.bench.report import BenchReport, bench
from edgeemo.cli import app
from edgeemo.cli.bench import tables
from edgeemo.errors import ModelError

STEPS = 60  # two blocks and a part of one


@pytest.fixture(scope="module")
def two_models(tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [
        Path(shutil.copy(tiny_model_path, folder / name)) for name in ("other.onnx", "pure_cnn.window.onnx")
    ]


@pytest.fixture(scope="module")
def report(two_models: list[Path]) -> BenchReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_module, "COLD_STARTS", 1)
        return bench(two_models, n_steps=STEPS)


def test_every_step_is_kept_and_warm_up_is_apart(report: BenchReport) -> None:
    kept = json.loads(report.to_json())
    assert [m["name"] for m in kept["models"]] == ["other", "pure_cnn.window"]
    for m in kept["models"]:
        for series in ("step_ms", "resample_ms", "model_ms"):
            assert m[series]["n"] == len(m[series]["values"]) == STEPS
            assert m[series]["p99"] == np.percentile(m[series]["values"], 99)
        assert m["warm_up_ms"]["n"] == bench_module.WARM_UP_STEPS
        parts = np.array(m["resample_ms"]["values"]) + np.array(m["model_ms"]["values"])
        assert (np.array(m["step_ms"]["values"]) >= parts).all(), "a step is shorter than its parts"
        assert m["real_time_factor"] == pytest.approx(m["step_ms"]["p50"] / 1000 / m["step_s"])
    assert kept["settings"]["n_steps"] == STEPS
    assert kept["machine"] == machine.describe()


@pytest.mark.parametrize(
    ("audio", "images", "words"),
    [
        (
            ["cnn_lstm.window", "pure_cnn.window"],
            ["small_cnn", "fashion_cnn"],
            "x CNN: to pure_cnn.window, of images to fashion_cnn.",
        ),
        (
            ["pure_lstm", "pure_cnn.stream", "cnn_lstm"],
            ["fashion_lstm", "small_cnn"],
            "x CNN: to pure_cnn.stream, of images to small_cnn.",
        ),
        (["mlp", "pure_lstm"], ["fashion_cnn"], "x baseline: to mlp, of images to fashion_cnn."),
        (["pure_cnn.window"], ["lstm", "mlp"], "x baseline: to pure_cnn.window, of images to lstm."),
        (["fashion_cnn"], ["pure_cnn.window"], "x CNN: to fashion_cnn, of images to pure_cnn.window."),
        (["pure_lstm", "mlp"], [], "x baseline: to pure_lstm."),
        ([], ["fashion_lstm", "fashion_cnn"], "x CNN: to fashion_cnn."),
    ],
)
def test_ratios_are_to_the_cnn_of_the_same_kind(
    audio: list[str], images: list[str], words: str, report: BenchReport
) -> None:
    measured = report.models[0]
    of_images = [dataclasses.replace(measured, name=name, step_s=None) for name in images]
    of_audio = [dataclasses.replace(measured, name=name) for name in audio]
    timed = [
        dataclasses.replace(m, step_ms=Latency("step", np.array([i])))
        for i, m in enumerate([*of_images, *of_audio], start=1)
    ]
    made = dataclasses.replace(report, models=tuple(timed))

    title, _, compared = words.removesuffix(".").partition(": to ")
    baselines = compared.split(", of images to ")
    expected = [baselines[-1]] * len(images) + [baselines[0]] * len(audio)
    ms = {m.name: m.step_ms.p50_ms for m in timed}
    ratios = [ms[m.name] / ms[name] for m, name in zip(timed, expected, strict=True)]
    kept = json.loads(made.to_json())
    assert [m["baseline"] for m in kept["models"]] == expected
    assert [m["ratio_to_baseline"] for m in kept["models"]] == ratios
    assert "baseline" not in kept
    assert f" {words} " in made.caption()

    header, _, *rows = [line.split(" | ") for line in made.to_markdown().splitlines() if "|" in line]
    assert [row[header.index(title)] for row in rows] == [f"{ratio:.2f}" for ratio in ratios]
    (shown,) = [column for column in tables(made)[0].columns if column.header == title]
    assert list(shown.cells) == [f"{ratio:.2f}" for ratio in ratios]


def test_front_end_and_network_add_up_to_the_model(report: BenchReport) -> None:
    for m in report.models:
        assert m.frontend_share is not None, "the front end's nodes are not named as such"
        assert 0 < m.frontend_share < 1
        assert m.frontend_ms + m.network_ms == pytest.approx(m.model_ms.p50_ms)


def test_markdown_table_parses(report: BenchReport) -> None:
    header, rule, *rows = [line for line in report.to_markdown().splitlines() if line.startswith("|")]
    names = [cell.strip() for cell in header.strip("|").split("|")]
    assert len(rule.strip("|").split("|")) == len(names)
    assert len(rows) == 2
    for row, m in zip(rows, report.models, strict=True):
        cells = dict(zip(names, (cell.strip() for cell in row.strip("|").split("|")), strict=True))
        assert cells["model"] == m.name
        assert int(cells["parameters"]) == m.n_parameters
        assert float(cells["step p50 ms"]) == pytest.approx(m.step_ms.p50_ms, abs=0.001)
        assert float(cells["x CNN"]) == pytest.approx(report.ratio(m), abs=0.01)
    assert f"{STEPS} steps" in report.to_markdown()
    assert str(report.machine["cpu"]) in report.to_markdown()


def test_a_stream_graph_is_measured_beside_its_window_graph(
    tiny_model_path: Path, stream_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_module, "COLD_STARTS", 1)
    report = bench([tiny_model_path, stream_model_path], n_steps=STEPS)
    window, stream = report.models
    assert (window.name, stream.name) == ("tiny", "tiny.stream")
    assert (stream.window_s, stream.step_s) == (window.window_s, window.step_s)
    for m in report.models:
        assert m.step_ms.n == m.model_ms.n == STEPS
        assert m.frontend_share is not None
        assert 0 < m.frontend_share < 1
        assert m.cold.first_label_ms.n == 1
    assert "tiny.stream" in report.to_markdown()


def test_models_take_turns(two_models: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[tuple[str, int]] = []
    measure = bench_module._Runner.measure

    def spy(self: Any, n_steps: int) -> None:
        turns.append((self._model.path.stem, n_steps))
        measure(self, n_steps)

    monkeypatch.setattr(bench_module._Runner, "measure", spy)
    monkeypatch.setattr(bench_module, "COLD_STARTS", 1)
    bench(two_models, n_steps=STEPS)
    block, rest = bench_module.BLOCK_STEPS, STEPS % bench_module.BLOCK_STEPS
    assert turns == [
        ("other", block),
        ("pure_cnn.window", block),
        ("pure_cnn.window", block),
        ("other", block),
        ("other", rest),
        ("pure_cnn.window", rest),
    ]


def test_a_model_whose_front_end_is_unknown_is_measured_all_the_same(report: BenchReport) -> None:
    model = dataclasses.replace(report.models[0], frontend_share=None)
    without = dataclasses.replace(report, models=(model,))
    assert json.loads(without.to_json())["models"][0]["frontend_ms"] is None
    assert "|  |  |" in without.to_markdown()
    assert all(table.row_count == 1 for table in tables(without))


@pytest.mark.parametrize(("n_steps", "n_threads"), [(0, 1), (-5, 1), (10, 0)])
def test_impossible_numbers_are_refused(tiny_model_path: Path, n_steps: int, n_threads: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        bench([tiny_model_path], n_steps=n_steps, n_threads=n_threads)


def test_no_model_is_an_error() -> None:
    with pytest.raises(ModelError, match="--model"):
        bench([])


def test_command_writes_what_it_shows(
    tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_module, "COLD_STARTS", 1)
    markdown, raw = tmp_path / "bench.md", tmp_path / "bench.json"
    arguments = ["bench", "--model", str(tiny_model_path), "--steps", "7"]
    result = CliRunner().invoke(app, [*arguments, "--markdown", str(markdown), "--json", str(raw)])
    assert result.exit_code == 0, result.output
    kept = json.loads(raw.read_text(encoding="utf-8"))
    (m,) = kept["models"]
    assert m["step_ms"]["n"] == 7
    for shown in (result.stdout, markdown.read_text(encoding="utf-8")):
        assert tiny_model_path.stem in shown
        assert f"{m['step_ms']['p50']:.3f}" in shown
        assert "7 steps" in shown


def test_measured_values_outlive_a_screen_that_is_gone(
    tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(report: BenchReport) -> None:
        raise RuntimeError

    monkeypatch.setattr(sys.modules[tables.__module__], "tables", gone)
    monkeypatch.setattr(bench_module, "COLD_STARTS", 1)
    raw = tmp_path / "bench.json"
    arguments = ["bench", "--model", str(tiny_model_path), "--steps", "7", "--json", str(raw)]
    assert isinstance(CliRunner().invoke(app, arguments).exception, RuntimeError)
    assert json.loads(raw.read_text(encoding="utf-8"))["models"][0]["step_ms"]["n"] == 7


def test_a_file_that_cannot_be_written_is_told_before_measuring(
    tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_module, "bench", lambda *given, **named: pytest.fail("measured"))
    for option in ("--json", "--markdown"):
        result = CliRunner().invoke(app, ["bench", "--model", str(tiny_model_path), option, str(tmp_path)])
        assert result.exit_code
        assert f"{tmp_path}: cannot be written" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["--steps", "0"], ["--threads", "0"], ["--threads", "1025"], ["--steps", "many"]]
)
def test_command_refuses_impossible_options(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["bench", *arguments])
    assert result.exit_code == 2
    assert arguments[0] in result.stderr


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Names that this machine and its user have from now on: the real ones may be parts of other words."""
    host, user = "host-of-tests", "user-of-tests"
    system = platform.uname()._replace(node=host, release=f"6.1.0-{host}")
    monkeypatch.setattr(platform, "uname", lambda: system)
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, user)
    return host, user


def test_machine_is_described_without_names(names: tuple[str, str]) -> None:
    assert (platform.node(), getpass.getuser()) == names, "the test cannot fail"
    found = machine.describe()
    assert {"cpu", "architecture", "cores", "ram_mib", "os", "python", "onnxruntime", "numpy"} <= set(found)
    assert all(isinstance(value, str | int) for value in found.values())
    text = json.dumps(found) + machine.caption(found)
    assert [name for name in names if name in text] == []


PI_4 = "".join(
    f"processor\t: {i}\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n" for i in range(4)
)


@pytest.mark.parametrize(
    ("text", "cpu", "clock_mhz"),
    [
        (PI_4, "4 x Cortex-A72", None),
        ("CPU part\t: 0xd05\nCPU part\t: 0xfff\n", "1 x Cortex-A55 + 1 x ARM core 0xfff", None),
        ("model name\t: Intel(R)  Core(TM) i5\ncpu MHz\t\t: 2100.500\n", "Intel(R) Core(TM) i5", 2100),
        (
            "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n",
            "AMD EPYC (family 25, model 17)",
            None,
        ),
        ("", None, None),
    ],
)
def test_cpuinfo_of_other_machines(text: str, cpu: str | None, clock_mhz: int | None) -> None:
    assert machine.cpu_in_cpuinfo(text) == cpu
    assert machine.clock_in_cpuinfo(text) == clock_mhz


def test_caption_does_without_what_is_unknown() -> None:
    expected = "unknown CPU, CPython 3.11, onnxruntime ?, numpy ?"
    assert machine.caption({"python": "CPython 3.11"}) == expected
