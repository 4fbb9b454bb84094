"""`edgeemo listen` from outside: real processes for pipes and signals, in-process for the rest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from edgeemo import live
from edgeemo.cli import app
from edgeemo.cli.extras import workstation
from edgeemo.errors import MissingExtraError
from edgeemo.model import EmotionModel
from edgeemo.sources import AudioFile

WAIT_S = 120  # only so that a hanging process ends the test
HEAVY = ["tensorflow", "keras", "tf2onnx", "librosa", "onnx", "onnx_ir", "scipy", "sklearn", "matplotlib"]


@pytest.fixture
def listen(tiny_model_path: Path) -> Callable[..., Any]:
    """Run `edgeemo listen` with the tiny model in this process."""

    def call(*arguments: str | Path) -> Any:
        return CliRunner().invoke(app, ["listen", "--model", str(tiny_model_path), *map(str, arguments)])

    return call


@pytest.fixture
def start(edgeemo: list[str], tiny_model_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start `edgeemo listen` with the tiny model as a process."""

    def call(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        command = [*edgeemo, "listen", "--model", str(tiny_model_path), *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)

    return call


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes: in real time, no test sees its end."""
    path = tmp_path_factory.mktemp("long") / "long.flac"
    soundfile.write(path, np.zeros(600 * 8000, np.int16), 8000)
    return path


# --- JSON

TIMINGS = {"resample_ms", "model_ms"}
OF_ONE_RUN = {*TIMINGS, "time", "latency_p50_ms", "latency_p99_ms", "real_time_factor"}


def test_json_lines_are_the_listeners_steps(either_model: EmotionModel, clip_48k: Path) -> None:
    arguments = ["listen", "--model", either_model.path, "--file", clip_48k, "--fast", "--json"]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    events = list(live.listen(AudioFile(clip_48k, realtime=False), either_model))
    assert [line["event"] for line in lines] == [event.name for event in events]
    for line, event in zip(lines[:-1], events, strict=False):
        told_at = datetime.fromisoformat(line.pop("time"))
        assert abs((datetime.now().astimezone() - told_at).total_seconds()) < 600
        expected = event.to_dict()
        for took in TIMINGS & line.keys():
            assert line.pop(took) > 0
            del expected[took]
        assert line == expected
    steps = [line for line in lines if line["event"] == "step"]
    assert len(steps) == int(4 * 16000 / either_model.metadata.step_samples)
    assert result.stderr.splitlines()[0].startswith(f"{len(steps)} steps")


@pytest.mark.parametrize(("seconds", "end_s"), [([], 4.0), (["--seconds", "1"], 0.96)])
@pytest.mark.slow
def test_real_time_says_what_fast_says(
    listen: Callable[..., Any], clip_48k: Path, seconds: list[str], end_s: float
) -> None:
    def said(*arguments: str) -> list[dict[str, Any]]:
        result = listen("--file", clip_48k, "--json", *seconds, *arguments)
        lines = map(json.loads, result.stdout.splitlines())
        return [{key: value for key, value in line.items() if key not in OF_ONE_RUN} for line in lines]

    in_real_time = said()
    assert in_real_time == said("--fast")
    assert [line["time_s"] for line in in_real_time if line["event"] == "step"][-1] == end_s


def test_each_line_is_flushed(start: Callable[..., subprocess.Popen[str]], long_clip: Path) -> None:
    with start("--file", long_clip, "--json") as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(4)]  # arrive while it runs
        assert process.poll() is None
        process.terminate()
    assert [line["time_s"] for line in lines] == pytest.approx([lines[1]["time_s"] * k for k in range(4)])


@pytest.mark.parametrize("mode", [["--json"], []])
@pytest.mark.parametrize("speed", [["--fast"], []])
def test_a_closed_pipe_ends_quietly(
    start: Callable[..., subprocess.Popen[str]], long_clip: Path, mode: list[str], speed: list[str]
) -> None:
    with start("--file", long_clip, *mode, *speed) as process:
        head = subprocess.run(["head", "-n1"], stdin=process.stdout, capture_output=True, text=True)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert (process.stderr.read(), process.wait(WAIT_S)) == ("", 0)
    assert head.stdout.count("\n") == 1


# --- Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("mode", [["--json"], []])
def test_signals_end_with_a_summary(
    start: Callable[..., subprocess.Popen[str]], long_clip: Path, number: signal.Signals, mode: list[str]
) -> None:
    with start("--file", long_clip, *mode) as process:
        assert process.stdout is not None
        first = "".join(process.stdout.readline() for _ in range(2 if mode else 1))
        os.kill(process.pid, number)
        rest, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 128 + number
    output, summary = (rest, errors) if mode else ("", rest)
    for line in (first + output).splitlines() if mode else []:
        json.loads(line)
    assert "steps, " in summary
    assert "real-time factor" in summary.splitlines()[-1]
    assert "Traceback" not in rest + errors
    if not mode:
        assert errors == ""


def test_handlers_are_put_back(listen: Callable[..., Any], clip_48k: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    listen("--file", clip_48k, "--fast")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# --- The summary, seconds, devices


def test_summary_of_a_file(listen: Callable[..., Any], clip_48k: Path, tiny_model: EmotionModel) -> None:
    result = listen("--file", clip_48k, "--fast")
    assert result.exit_code == 0
    first, means, cost = result.stdout.splitlines()[-3:]
    assert "4.00 s of stream at 48000 Hz" in first
    assert all(label in means for label in tiny_model.labels)
    assert all(word in cost for word in ("p50", "p99", "real-time factor", "nothing lost"))


def test_a_clip_shorter_than_a_step(listen: Callable[..., Any], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(80), 16000)
    result = listen("--file", tmp_path / "short.wav")
    assert result.exit_code == 0
    assert result.stdout.startswith("no step")


def capture_and_vanish(n_blocks: int) -> Callable[[Any], None]:
    """What `InputStream.start` is made to do: capture `n_blocks` of 0.02 s, then end."""

    def start(stream: Any) -> None:
        for _ in range(n_blocks):
            stream.capture(np.zeros((960, 1), np.float32))
        stream.finished()

    return start


def test_a_microphone(
    listen: Callable[..., Any], install_portaudio: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    portaudio = install_portaudio([("USB Mic", 2, 48000.0)])
    monkeypatch.setattr(portaudio.InputStream, "start", capture_and_vanish(50))
    result = listen("--device", "usb", "--json", "--seconds", "1")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    times_s = [line["time_s"] for line in lines if line["event"] == "step"]
    assert times_s == pytest.approx([0.16 * k for k in range(1, 7)]), "all steps of a second, and no more"


@pytest.mark.parametrize("mode", [["--json"], []])
@pytest.mark.parametrize("n_blocks", [50, 1, 0])
def test_a_microphone_that_goes_away_leaves_the_summary(
    listen: Callable[..., Any],
    install_portaudio: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    mode: list[str],
    n_blocks: int,
) -> None:
    portaudio = install_portaudio([("USB Mic", 2, 48000.0)])
    monkeypatch.setattr(portaudio.InputStream, "start", capture_and_vanish(n_blocks))
    result = listen("--device", "0", "--once", *mode)
    assert result.exit_code == 4
    *summary, error = result.stderr.splitlines()
    assert error == "edgeemo: the microphone 'USB Mic' went away"
    output = result.stdout.splitlines()
    if mode:
        *output, end = output
        assert json.loads(end)["reason"] == "the microphone 'USB Mic' went away"
        output = output[1:]  # after the start
    else:
        assert summary == []
        summary = output[-2:]
    if n_blocks == 50:  # a second of silence: 6 steps of 0.16 s
        assert summary[0] == "6 steps, 0.96 s of stream at 48000 Hz, nothing heard"
        assert "real-time factor" in summary[1]
    else:
        assert (summary, output) == ([], [])


def test_list_devices(install_portaudio: Callable[..., Any]) -> None:
    install_portaudio([("Speakers", 0, 44100.0), ("USB Mic", 2, 48000.0)], default=1)
    result = CliRunner().invoke(app, ["listen", "--list-devices"])
    assert (result.exit_code, result.stdout) == (0, "*  1  USB Mic  (ALSA, 2 channels, 48000 Hz)\n")
    result = CliRunner().invoke(app, ["listen", "--list-devices", "--json"])
    assert json.loads(result.stdout) == {
        "index": 1,
        "name": "USB Mic",
        "host_api": "ALSA",
        "channels": 2,
        "sample_rate": 48000,
        "is_default": True,
    }


# --- Errors


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--file", "missing.wav"], 1, "missing.wav: no such file or folder"),
        (["--file", "."], 1, "a folder"),
        (["--file", "{text}"], 1, "cannot read it as audio"),
        (["--model", "nope", "--file", "{clip}"], 3, "no model called 'nope'"),
        (["--model", "nope.onnx", "--file", "{clip}"], 3, "no model file at nope.onnx"),
        (["--model", "{broken}", "--file", "{clip}"], 3, "not a model that edgeemo can load"),
        (["--device", "nope"], 4, "no input device 'nope'"),
        (["--device", "9"], 4, "no input device 9"),
    ],
)
def test_errors_are_one_line(
    listen: Callable[..., Any],
    install_portaudio: Callable[..., Any],
    tmp_path: Path,
    clip_48k: Path,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    install_portaudio([("USB Mic", 2, 48000.0)])
    paths = {"clip": clip_48k} | {n: tmp_path / n for n in ("text", "nan.wav", "broken.onnx")}
    paths = {name.partition(".")[0]: path for name, path in paths.items()}
    paths["text"].write_text("not audio")
    paths["broken"].write_text("not a model")
    soundfile.write(paths["nan"], np.full(16000, np.nan), 16000, subtype="FLOAT")
    result = listen(*(argument.format(**paths) for argument in arguments))
    assert result.exit_code == code
    assert result.stderr.startswith("edgeemo: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "steps" not in result.stdout


@pytest.mark.parametrize("devices", [[], [("Speakers", 0, 44100.0)]])
def test_no_microphone(
    listen: Callable[..., Any], install_portaudio: Callable[..., Any], devices: list[Any]
) -> None:
    install_portaudio(devices, default=None)
    for arguments in ([], ["--list-devices"], ["--json"]):
        result = listen(*arguments)
        assert result.exit_code == 4
        assert result.stderr.count("\n") == 1
        assert "no microphone found" in result.stderr
        assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--file", "a.wav", "--sample"],
        ["--fast"],
        ["--file", "a.wav", "--device", "0"],
        ["--sample", "--device", "0"],
        ["--list-devices", "--file", "a.wav"],
        ["--list-devices", "--seconds", "3"],
        ["--seconds", "0"],
        ["--seconds", "-1"],
        ["--seconds", "nan"],
        ["--seconds", "soon"],
        ["--sample", "--once"],
        ["--sample", "--wait"],
        ["--sample", "--smooth", "much"],
        ["--list-devices", "--once"],
        ["--nonsense"],
    ],
)
def test_wrong_combinations_are_usage_errors(listen: Callable[..., Any], arguments: list[str]) -> None:
    result = listen(*arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("command", [["listen"], ["listen", "--list-devices"]])
def test_portaudio_missing(
    edgeemo: list[str], tiny_model_path: Path, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    model = ["--model", str(tiny_model_path)] if len(command) == 1 else []
    result = subprocess.run(
        [*edgeemo, *command, *model], env=with_path(tmp_path), capture_output=True, text=True, timeout=WAIT_S
    )
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (4, "", 1)
    assert "libportaudio2" in result.stderr


def test_an_unknown_error_keeps_its_traceback(
    edgeemo: list[str], tiny_model_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "sounddevice.py").write_text("raise ZeroDivisionError('a bug')\n")
    command = [*edgeemo, "listen", "--model", str(tiny_model_path)]
    result = subprocess.run(command, env=with_path(tmp_path), capture_output=True, text=True, timeout=WAIT_S)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError: a bug" in result.stderr


# --- What is loaded


def with_path(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path}


def loaded(code: str, folder: Path) -> set[str]:
    """The modules loaded after `code`, in a fresh Python that finds `folder` first."""
    code += "\nimport sys\nprint('loaded:', *sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], env=with_path(folder), capture_output=True, text=True, timeout=WAIT_S
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split()[1:])


def listening(tiny_model_path: Path, clip: Path, before: str = "") -> str:
    arguments = ["listen", "--model", str(tiny_model_path), "--file", str(clip), "--fast", "--json"]
    return f"{before}\nfrom edgeemo.cli import app\napp({arguments!r}, standalone_mode=False)"


def test_listening_loads_no_workstation_library(
    tiny_model_path: Path, clip_48k: Path, tmp_path: Path
) -> None:
    modules = loaded(listening(tiny_model_path, clip_48k), tmp_path)
    assert "onnxruntime" in modules
    assert modules.isdisjoint(HEAVY)
    assert not [m for m in modules if m.startswith("edgeemo.workstation")]


@pytest.mark.parametrize("library", ["tensorflow", "onnx"])
def test_the_check_above_can_fail(
    tiny_model_path: Path, clip_48k: Path, tmp_path: Path, library: str
) -> None:
    (tmp_path / f"{library}.py").touch()
    modules = loaded(listening(tiny_model_path, clip_48k, before=f"import {library}"), tmp_path)
    assert not modules.isdisjoint(HEAVY)


def test_the_root_is_quick(tmp_path: Path) -> None:
    modules = loaded("import edgeemo.cli", tmp_path)
    assert modules.isdisjoint([*HEAVY, "numpy", "onnxruntime", "sounddevice", "soundfile", "soxr"])
    assert not [m for m in modules if m.startswith("edgeemo.workstation")]


# --- The root


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"edgeemo {version('edgeemo')}\n")


def test_a_missing_extra_is_one_line() -> None:
    missing = ModuleNotFoundError("No module named 'onnx.helper'", name="onnx.helper")
    with pytest.raises(MissingExtraError, match=r"pip install 'edgeemo\[train\]'"), workstation():
        raise missing


@pytest.mark.parametrize("name", ["edgeemo.workstation.typo", "numpy", None])
def test_other_import_errors_stay(name: str | None) -> None:
    with pytest.raises(ImportError), workstation():
        raise ImportError("bug", name=name)


# --- Nobody is called


def listened_at(home: Path, edgeemo: list[str], **variables: str) -> None:
    """Listen to the sample as a user whose home is an empty folder."""
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    command = [*edgeemo, "listen", "--sample", "--fast", "--seconds", "1"]
    subprocess.run(
        command, env={**kept, "HOME": str(home), **variables}, check=True, capture_output=True, timeout=WAIT_S
    )


def test_nothing_is_written_to_the_users_home(edgeemo: list[str], tmp_path: Path) -> None:
    listened_at(tmp_path / "home", edgeemo)
    assert list((tmp_path / "home").iterdir()) == []


def test_a_users_own_setting_of_telemetry_stays() -> None:
    code = "import os, edgeemo; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, expected in (({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")):
        kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
        result = subprocess.run(
            [sys.executable, "-c", code], env=kept | given, capture_output=True, text=True, check=True
        )
        assert result.stdout.strip() == expected


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here")
def test_no_socket_is_opened(edgeemo: list[str], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    traced = ["strace", "-f", "-qq", "-e", "trace=socket", "-o", str(trace), *edgeemo]
    listened_at(tmp_path / "home", traced)
    assert "AF_INET" not in trace.read_text()
