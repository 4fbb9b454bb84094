"""`edgeemo doctor`: machines that are odd, by a PortAudio that is not there; and a real microphone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgeemo.cli import app
from edgeemo.doctor import Check, Finding, Verdict, machine, microphones, models, sound
from edgeemo.places import shipped_models
from support.signals import noise
from support.virtual_microphone import WAIT_S, VirtualMicrophone

Install = Callable[..., Any]
RATE = 48000
HEARD = 0.1 * noise(RATE)[:, np.newaxis]
"""A second of one channel."""
MICROPHONE = [("USB Mic", 1, 48000.0)]


def found(check: Check, findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [finding for finding in findings if finding["check"] == check]


def doctor() -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    answer = json.loads(result.stdout)
    assert answer["exit_code"] == result.exit_code
    assert all(finding["mend"] for finding in answer["findings"] if finding["verdict"] == "problem")
    return result.exit_code, answer["findings"]


@pytest.fixture
def few_models(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The default model's file alone."""
    few = [path for path in shipped_models() if path.stem == "emo_small.stream.int8"]
    monkeypatch.setattr(models, "shipped_models", lambda: few)
    return few


@pytest.fixture(autouse=True)
def quick(few_models: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What never comes is not waited for as long."""
    monkeypatch.setattr(microphones, "_FIRST_S", 0.1)
    monkeypatch.setattr(microphones, "_HANGS_S", 3.0)


# --- Microphones


def test_a_microphone_that_works(install_portaudio: Install) -> None:
    portaudio = install_portaudio(MICROPHONE, heard={0: HEARD})
    code, findings = doctor()
    assert code == 0
    (heard,) = found(Check.MICROPHONE, findings)
    assert (heard["verdict"], heard["mend"]) == ("ok", None)
    assert heard["facts"] | {"level_db": -20.0} == {
        "index": 0,
        "name": "USB Mic",
        "host_api": "ALSA",
        "is_default": True,
        "sample_rate": RATE,
        "channels": 1,
        "records_from": None,
        "level_db": -20.0,
        "muted": False,
    }
    level_db = 10 * np.log10(np.var(HEARD[: RATE // 2]))
    assert heard["facts"]["level_db"] == pytest.approx(level_db, abs=0.01)
    assert found(Check.PORTAUDIO, findings)[0]["facts"]["host_apis"] == ["ALSA"]
    assert not any(stream.is_open for stream in portaudio.streams)


def test_each_is_opened_on_each_host_api(install_portaudio: Install) -> None:
    devices = [("Mic", 2, 44100.0), ("Speakers", 0, 44100.0), ("Mic", 2, 44100.0)]
    heard = {0: np.repeat(HEARD, 2, 1), 2: np.repeat(HEARD, 2, 1)}
    install_portaudio(devices, host_apis=["MME", "MME", "Windows WASAPI"], heard=heard)
    _, findings = doctor()
    of = [finding["facts"] for finding in found(Check.MICROPHONE, findings)]
    assert [(facts["index"], facts["host_api"], facts["channels"]) for facts in of] == [
        (0, "MME", 2),
        (2, "Windows WASAPI", 2),
    ]


@pytest.mark.parametrize(
    ("heard", "words", "to_do"),
    [
        (0 * HEARD, "only zeros", "mute" if sys.platform == "linux" else "allow"),
        (1e-5 * HEARD, "very quiet", "turn the gain up"),
        (np.sign(HEARD), "at full scale", "turn the gain down"),
        (HEARD + 0.05, "a constant of 0.05", "does no harm"),
        (np.hstack([HEARD, 0 * HEARD]), "only zeros in channel 2 of 2", "--channel 1"),
        (np.hstack([HEARD, -HEARD]), "the channels cancel each other", "--channel"),
        (HEARD * np.nan, "not numbers", ""),
    ],
    ids=["muted", "quiet", "clipped", "constant", "dead", "cancel", "nan"],
)
def test_what_the_live_loop_would_warn_of(
    install_portaudio: Install, heard: np.ndarray, words: str, to_do: str
) -> None:
    install_portaudio([("USB Mic", heard.shape[1], 48000.0)], heard={0: heard})
    code, findings = doctor()
    (microphone,) = found(Check.MICROPHONE, findings)
    assert (code, microphone["verdict"]) == (0, "warning")
    assert words in microphone["found"]
    assert to_do in (microphone["mend"] or "")


def test_one_that_works_is_enough(install_portaudio: Install) -> None:
    install_portaudio([("Dead", 1, 48000.0), *MICROPHONE], heard={1: HEARD})
    code, findings = doctor()
    dead, alive = found(Check.MICROPHONE, findings)
    assert (code, dead["verdict"], alive["verdict"]) == (0, "problem", "ok")
    assert "gives nothing for 0.1 s" in dead["found"]


@pytest.mark.parametrize(
    ("devices", "options", "words"),
    [
        ([], {"default": None}, "no microphone found"),
        (MICROPHONE, {"only_channels": 99}, "does not open (Invalid number of channels"),
        (MICROPHONE, {}, "gives nothing"),
        (MICROPHONE, {"heard": {0: None}}, "hangs"),
    ],
    ids=["none", "refuses", "nothing", "hangs"],
)
def test_no_microphone_to_listen_to(
    install_portaudio: Install,
    monkeypatch: pytest.MonkeyPatch,
    devices: list[Any],
    options: Mapping[str, Any],
    words: str,
) -> None:
    monkeypatch.setattr("os._exit", sys.exit)
    portaudio = install_portaudio(devices, **options)
    code, findings = doctor()
    portaudio.stuck.set()
    assert code == 4
    (microphone,) = found(Check.MICROPHONE, findings)
    assert microphone["verdict"] == "problem"
    assert words in microphone["found"]


@pytest.mark.slow
def test_a_device_that_hangs_keeps_no_process(edgeemo: list[str], tmp_path: Path) -> None:
    """Neither while it is tried nor at the end, when PortAudio would wait for it."""
    (tmp_path / "sounddevice.py").write_text(
        "import atexit, threading\n"
        "class PortAudioError(Exception): pass\n"
        "atexit.register(threading.Event().wait)\n"
        "threading.Event().wait()\n"
    )
    code = "from edgeemo.doctor import microphones; microphones._HANGS_S = 1.0; from edgeemo.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "doctor"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert result.returncode == 4, result.stderr
    assert "it looks for devices for more than 1 s" in result.stdout


@pytest.mark.slow
def test_portaudio_missing(edgeemo: list[str], tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    result = subprocess.run(
        [*edgeemo, "doctor"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert (result.returncode, result.stderr) == (4, "")
    *_, problem, to_do = result.stdout.splitlines()
    assert problem == "problem PortAudio    PortAudio is not installed"
    assert to_do.strip().startswith(
        "to do: on Debian, Ubuntu and Raspberry Pi OS: sudo apt install libportaudio2"
    )


# --- Models


def test_a_damaged_model(install_portaudio: Install, few_models: list[Path], tmp_path: Path) -> None:
    install_portaudio(MICROPHONE, heard={0: HEARD})
    content = bytearray(few_models[0].read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(content)
    few_models.append(damaged)
    code, findings = doctor()
    assert code == 3
    problem, rest = found(Check.MODELS, findings)
    assert (problem["verdict"], rest["verdict"], rest["facts"]["files"]) == ("problem", "ok", 1)
    assert problem["facts"]["path"] == str(damaged)
    assert problem["mend"] == "get the file again"


def test_the_step_is_measured_and_judged(install_portaudio: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install_portaudio(MICROPHONE, heard={0: HEARD})
    (step,) = found(Check.STEP, doctor()[1])
    facts = step["facts"]
    assert (facts["model"], facts["step_ms"]) == ("emo_small.stream.int8", 160)
    assert facts["n"] > 20
    # Slower by as much as a step is long: the same loop, a clock that runs faster.
    counter = time.perf_counter
    monkeypatch.setattr("time.perf_counter", lambda: counter() * 3200 / facts["median_ms"])
    code, findings = doctor()
    (slow,) = found(Check.STEP, findings)
    assert (code, slow["verdict"]) == (1, "problem")
    assert slow["found"].endswith("slower than real time")


# --- The machine


@pytest.mark.parametrize(
    ("cpuinfo", "features"),
    [
        (
            "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\nbugs\t: x",
            ["AVX2", "AVX512", "AVX512-VNNI"],
        ),
        ("flags\t: fpu avx2 avx_vnni\n", ["AVX2", "AVX-VNNI"]),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n", ["dot product", "i8mm"]),
        ("Features\t: fp asimd crc32\n", []),
        ("", None),
    ],
    ids=["server", "laptop", "pi5", "pi4", "no Linux"],
)
def test_cpu_features(cpuinfo: str, features: list[str] | None) -> None:
    assert machine.cpu_features(cpuinfo) == features


def test_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 1000000 kB\nMemAvailable: 512000 kB\n")
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_LIMITS", (tmp_path / "max",))

    def memory() -> Finding:
        (finding,) = [f for f in machine.examine_machine() if f.check is Check.MEMORY]
        return finding

    for limit, available_mib, verdict in (
        (None, 500, Verdict.OK),
        ("max", 500, Verdict.OK),
        (str(100 * 2**20), 100, Verdict.WARNING),
    ):
        if limit is not None:
            (tmp_path / "max").write_text(limit)
        assert (memory().facts["available_mib"], memory().verdict) == (available_mib, verdict)


def test_a_home_that_is_not_there_is_fine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    (disk,) = [f for f in machine.examine_machine() if f.check is Check.DISK]
    assert (disk.verdict, "no home" in disk.found) == (Verdict.OK, True)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux' sound cards")
def test_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "in_container", lambda: True)
    none = sound._permissions(tmp_path, reaches_server=False)
    assert none.verdict is Verdict.WARNING
    assert "--device /dev/snd" in str(none.mend)
    assert sound._permissions(tmp_path, reaches_server=True).verdict is Verdict.OK
    for name in "pcmC0D0c", "pcmC0D0p", "controlC0":
        (tmp_path / name).touch()
    assert sound._permissions(tmp_path, reaches_server=False).verdict is Verdict.OK
    monkeypatch.setattr("os.access", lambda *_: False)  # the superuser may read anything
    denied = sound._permissions(tmp_path, reaches_server=False)
    assert (denied.verdict, denied.facts["denied"]) == (Verdict.PROBLEM, 1)
    assert str(denied.mend).startswith("sudo usermod -aG audio ")


def test_a_line_has_what_to_do_after_its_semicolon() -> None:
    finding = Finding.of(Check.MODELS, Verdict.PROBLEM, "it is\nbroken; mend it; soon", n=1)
    assert (finding.found, finding.mend, finding.facts) == ("it is broken", "mend it; soon", {"n": 1})


# --- The real thing


def examined(microphone: VirtualMicrophone, edgeemo: list[str], *options: str) -> tuple[int, str]:
    result = subprocess.run(
        [*edgeemo, "doctor", *options],
        env=microphone.environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert result.stderr == ""
    return result.returncode, result.stdout


@pytest.mark.microphone
def test_a_real_microphone(microphone: VirtualMicrophone, edgeemo: list[str], clip_48k: Path) -> None:
    code, text = examined(microphone, edgeemo, "--json")
    findings = json.loads(text)["findings"]
    assert (code, found(Check.SOUND_SERVER, findings)[0]["verdict"]) == (0, "ok")
    silent = [f for f in found(Check.MICROPHONE, findings) if f["facts"]["is_default"]]
    assert [f["verdict"] for f in silent] == ["warning"]
    assert silent[0]["facts"]["muted"]
    assert silent[0]["facts"]["records_from"] == "Remapped Monitor of Null Output"

    player = subprocess.Popen(
        ["sh", "-c", f"while paplay -d mic_sink {clip_48k}; do :; done"],
        env=microphone.environment,
        start_new_session=True,
    )
    try:
        code, text = examined(microphone, edgeemo, "--json")
    finally:
        os.killpg(player.pid, signal.SIGTERM)
        player.wait(WAIT_S)
    heard = [f for f in found(Check.MICROPHONE, json.loads(text)["findings"]) if f["facts"]["is_default"]]
    assert code == 0
    assert heard[0]["facts"]["level_db"] > -60
    assert microphone.pactl("list", "short", "source-outputs").count("\n") == 1, (
        "only the remapped source's own"
    )


@pytest.mark.microphone
def test_a_real_sound_server_that_is_gone(microphone: VirtualMicrophone, edgeemo: list[str]) -> None:
    microphone.kill()
    code, text = examined(microphone, edgeemo)
    assert code == 4
    assert "problem" in text
    assert not any(line != line.rstrip() for line in text.splitlines())
