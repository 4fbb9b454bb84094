"""The bench. Nothing here depends on how fast the machine is."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from edgeemo.bench import cadence, machine, turns
from edgeemo.bench import report as bench_module
from edgeemo.bench.kinds import whole_steps
from edgeemo.bench.latency import Latency
from edgeemo.bench.report import BenchReport, bench, side_by_side
from edgeemo.cli import app
from edgeemo.cli.bench import tables
from edgeemo.errors import EdgeEmoError, ModelError
from edgeemo.events import Step
from edgeemo.images import load_model
from edgeemo.live import Listener
from edgeemo.model import EmotionModel
from edgeemo.voice import SpeechDetector

STEPS = 60  # two blocks and a part of one


@pytest.fixture(scope="module", autouse=True)
def short_cadence() -> Iterator[None]:
    """A few steps at the cadence of a microphone, which take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cadence, "BUDGET_S", 1.0)
        yield


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
        assert m["warm_up_ms"]["n"] == turns.WARM_UP_STEPS
        assert m["cadence_ms"]["n"] == len(m["cadence_ms"]["values"]) == kept["settings"]["n_cadence_steps"]
        assert m["cadence_ratio"] == m["cadence_ms"]["p50"] / m["step_ms"]["p50"]
        parts = np.array(m["resample_ms"]["values"]) + np.array(m["model_ms"]["values"])
        assert (np.array(m["step_ms"]["values"]) >= parts).all(), "a step is shorter than its parts"
        assert m["real_time_factor"] == pytest.approx(m["step_ms"]["p50"] / 1000 / m["step_s"])
    assert kept["settings"]["n_steps"] == STEPS
    assert 0 < kept["settings"]["n_cadence_steps"] < STEPS
    assert kept["machine"] == machine.describe().to_dict()


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
    of_images = [dataclasses.replace(measured, name=name, audio=None) for name in images]
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
        assert m.audio is not None
        assert float(cells["at cadence p50 ms"]) == pytest.approx(m.audio.cadence_ms.p50_ms, abs=0.001)
        assert float(cells["x back to back"]) == pytest.approx(m.cadence_ratio, abs=0.01)
    assert f"{STEPS} steps" in report.to_markdown()
    assert str(report.machine.cpu) in report.to_markdown()


def test_a_stream_graph_is_measured_beside_its_window_graph(
    tiny_model_path: Path, stream_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_module, "COLD_STARTS", 1)
    report = bench([tiny_model_path, stream_model_path], n_steps=STEPS)
    window, stream = report.models
    assert (window.name, stream.name) == ("tiny", "tiny.stream")
    assert window.audio is not None
    assert stream.audio is not None
    assert (stream.audio.window_s, stream.audio.step_s) == (window.audio.window_s, window.audio.step_s)
    for m in report.models:
        assert m.step_ms.n == m.model_ms.n == STEPS
        assert m.frontend_share is not None
        assert 0 < m.frontend_share < 1
        assert m.cold.first_label_ms.n == 1
    assert "tiny.stream" in report.to_markdown()


def test_every_step_at_the_cadence_follows_a_pause(
    tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the model's steps and of the voice detector's, in turns; those back to back never wait."""
    happened: list[str] = []
    push, detect, sleep = Listener.push, SpeechDetector.push, time.sleep

    def spy(self: Listener, block: npt.NDArray[np.float32]) -> list[Step]:
        happened.append("step")
        return push(self, block)

    def spy_voice(self: SpeechDetector, audio: npt.NDArray[np.float32]) -> bool:
        happened.append("voice")
        return detect(self, audio)

    def spy_sleep(seconds: float) -> None:
        happened.append("pause")
        sleep(seconds)

    monkeypatch.setattr(Listener, "push", spy)
    monkeypatch.setattr(SpeechDetector, "push", spy_voice)
    monkeypatch.setattr(time, "sleep", spy_sleep)
    monkeypatch.setattr(bench_module, "COLD_STARTS", 1)
    model = load_model(tiny_model_path)
    model.judgement = dataclasses.replace(model.judgement, needs_voice=True)
    monkeypatch.setattr(bench_module, "load_model", lambda path, n_threads: model)
    report = bench([tiny_model_path], n_steps=STEPS)

    assert report.voice is not None
    assert report.voice.step_ms.n == STEPS
    n = report.settings.n_cadence_steps
    assert report.voice.cadence_ms.n == report.models[0].audio.cadence_ms.n == n > 0
    first = happened.index("pause")
    assert first >= 2 * (STEPS + turns.WARM_UP_STEPS)
    paced = happened[first:]
    for name in ("step", "voice"):
        assert paced.count(name) >= n + cadence.SETTLING_STEPS
    # a push that completes no step is followed by another one
    runs = [
        "".join(name[0] for name in group) for paused, group in groupby(paced, "pause".__eq__) if not paused
    ]
    assert set(runs) <= {"s", "ss", "v"}
    assert [len(list(group)) for paused, group in groupby(paced, "pause".__eq__) if paused] == [1] * len(runs)
    assert "voice detector" in report.caption()
    assert tables(report)[-1].row_count == 2


def test_models_take_turns(two_models: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[str] = []
    push = Listener.push

    def spy(self: Listener, block: npt.NDArray[np.float32]) -> list[Step]:
        pushed.append(self.model.path.stem)
        return push(self, block)

    monkeypatch.setattr(Listener, "push", spy)
    monkeypatch.setattr(bench_module, "COLD_STARTS", 1)
    bench(two_models, n_steps=STEPS)
    timed = [name for name, _ in groupby(pushed)]
    warm_up = first = ["other", "pure_cnn.window"]
    at_cadence = first  # a single turn each
    assert timed == joined([*warm_up, *first, *reversed(first), *first, *at_cadence])


def joined(names: list[str]) -> list[str]:
    """Turns of one name that follow each other look like one."""
    return [name for name, _ in groupby(names)]


def test_side_by_side_times_models_that_are_loaded(
    tiny_model_path: Path, stream_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Path(__file__).parent / "tiny.image.onnx"
    models = [load_model(path) for path in (tiny_model_path, stream_model_path, image)]
    monkeypatch.setattr("edgeemo.session.ort.InferenceSession", None)  # no file is opened again
    told: list[tuple[str, int, int]] = []
    latencies = side_by_side(models, n_steps=STEPS, on_progress=lambda *given: told.append(given))
    assert [latency.n for latency in latencies] == [STEPS] * 3
    assert told[-1] == ("steps", STEPS, STEPS)


def test_a_listener_that_never_completes_a_step_ends_the_bench(
    tiny_model: EmotionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Listener, "push", lambda self, block: [])
    with pytest.raises(EdgeEmoError, match=r"tiny\.onnx: a push of one step .* does not complete one step"):
        next(whole_steps(tiny_model))


def test_the_model_runs_in_every_step_that_is_timed(
    tiny_model: EmotionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test signal is no speech: where that matters, the loop passes over it, and times the voice detector."""
    model = EmotionModel(
        tiny_model.path, judgement=dataclasses.replace(tiny_model.judgement, needs_voice=True)
    )
    run, push = [], Listener.push

    def counted(self: Listener, block: np.ndarray) -> list[Step]:
        steps = push(self, block)
        run.extend(bool(step.probabilities) for step in steps)
        return steps

    monkeypatch.setattr(Listener, "push", counted)
    timed = whole_steps(model)
    for _ in range(5):
        next(timed)
    assert len(run) >= 5
    assert all(run)
    assert model.judgement.needs_voice, "the model itself is as it was"


def test_pushes_of_no_step_or_two_are_left_out(
    tiny_model: EmotionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    (step,) = Listener(tiny_model, sample_rate=16000).push(np.zeros(tiny_model.input_shape, np.float32))
    given = iter([[], [step, step], [dataclasses.replace(step, model_ms=1.5, resample_ms=0.25)]])
    monkeypatch.setattr(Listener, "push", lambda self, block: next(given))
    times = next(whole_steps(tiny_model))
    assert (times.model_ms, times.resample_ms) == (1.5, 0.25)


def test_a_model_whose_front_end_is_unknown_is_measured_all_the_same(report: BenchReport) -> None:
    measured = report.models[0]
    assert measured.audio is not None
    audio = dataclasses.replace(measured.audio, frontend_share=None)
    model = dataclasses.replace(measured, audio=audio)
    without = dataclasses.replace(report, models=(model,), voice=None)
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
