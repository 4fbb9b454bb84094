"""What the commands write where it goes: to terminals and files of other encodings, with names that are not text."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgeemo.cli.exit_codes import exit_code
from edgeemo.errors import DeviceError, EdgeEmoError, ModelError
from edgeemo.places import sample_path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals and names")

ASCII = {"PYTHONIOENCODING": "ascii"}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


def run(
    command: list[str], *arguments: str | bytes | Path, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*command, *arguments], capture_output=True, env={**os.environ, **variables}, check=False
    )


def on_a_terminal(command: list[str], *arguments: str | Path, variables: Mapping[str, str]) -> bytes:
    """What a command writes to a terminal of 80 columns."""
    import pty

    main, end = pty.openpty()
    process = subprocess.Popen(
        [*command, *arguments],
        stdin=end,
        stdout=end,
        stderr=end,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", **variables},
    )
    os.close(end)
    written = b""
    try:
        while some := os.read(main, 65536):
            written += some
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        os.close(main)
    assert process.wait() == 0, written
    return written


@pytest.mark.slow
@pytest.mark.parametrize("variables", [ASCII, C_LOCALE, {"PYTHONIOENCODING": "utf-8"}])
def test_bars_on_a_terminal(edgeemo: list[str], tiny_model_path: Path, variables: dict[str, str]) -> None:
    for arguments in (
        ["listen", "--sample", "--fast", "--seconds", "2", "--model", tiny_model_path],
        ["bench", "--model", tiny_model_path, "--steps", "2"],
    ):
        shown = on_a_terminal(edgeemo, *arguments, variables=variables)
        assert b"\\u" not in shown
        assert (b"##" in shown) == shown.isascii() == ("utf-8" not in variables.values())


@pytest.mark.parametrize("variables", [{"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}, ASCII])
def test_a_log_of_the_live_loop_has_no_control_codes(
    edgeemo: list[str], tiny_model_path: Path, variables: dict[str, str]
) -> None:
    done = run(edgeemo, "listen", "--sample", "--fast", "--model", tiny_model_path, **variables)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not CONTROL.search(done.stdout)
    assert len(done.stdout.splitlines()) > 5


def test_a_log_of_errors_has_no_control_codes(
    edgeemo: list[str], tiny_model_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"not audio")
    done = run(edgeemo, "classify", "-m", tiny_model_path, tmp_path, sample_path(), FORCE_COLOR="1")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2
    assert not CONTROL.search(done.stderr)


@pytest.mark.slow
def test_names_that_are_not_utf8(edgeemo: list[str], tiny_model_path: Path, tmp_path: Path) -> None:
    """A model, a clip, outputs and a folder: each command takes them, and writes them as escapes."""
    odd = os.fsencode(tmp_path) + b"/b\xe4d"
    Path(os.fsdecode(odd + b".onnx")).write_bytes(tiny_model_path.read_bytes())
    Path(os.fsdecode(odd + b".flac")).write_bytes(sample_path().read_bytes())
    model, clip = odd + b".onnx", odd + b".flac"
    for arguments in (
        ["listen", "--file", clip, "--fast", "--model", model],
        ["listen", "--file", clip, "--fast", "--json", "--model", model],
        ["classify", "-m", model, clip],
        ["classify", "-m", model, "-f", "csv", "--timeline", clip],
        ["classify", "-m", model, "-o", odd + b".json", clip],
        ["info", model],
        ["info", "--json", model],
        ["bench", "-m", model, "--steps", "2", "--markdown", odd + b".md", "--json", odd + b".json"],
    ):
        done = run(edgeemo, *arguments, **C_LOCALE)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["listen", "--sample", "--fast", "--model"],
        ["listen", "--fast", "--file"],
        ["listen", "--device"],
        ["classify", "-m"],
        ["classify"],
        ["info"],
        ["bench", "-m"],
    ],
    ids=" ".join,
)
def test_a_name_that_is_not_utf8_and_leads_nowhere_is_one_line(
    edgeemo: list[str], tmp_path: Path, arguments: list[str]
) -> None:
    odd = os.fsencode(tmp_path) + b"/b\xe4d"
    more = [sample_path()] if arguments == ["classify", "-m"] else []
    done = run(edgeemo, *arguments, odd, *more, PYTHONIOENCODING="utf-8:strict")
    errors = {"-m": ModelError, "--model": ModelError, "info": ModelError, "--device": DeviceError}
    assert done.returncode == exit_code(errors.get(arguments[-1], EdgeEmoError)(""))
    assert b"Traceback" not in done.stderr
    if arguments == ["classify"]:
        assert done.stderr.endswith(b"\n1 of 1 could not be scored\n")
    else:
        assert done.stderr.startswith(b"edgeemo: ")
        assert done.stderr.count(b"\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["listen", "--sample", "--fast", "--model", "MODEL"],
        ["classify", "-m", "MODEL", str(sample_path())],
        ["info", "MODEL"],
        ["bench", "-m", "MODEL"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_label_that_is_not_text_is_one_line(
    edgeemo: list[str], tiny_model_path: Path, tmp_path: Path, arguments: list[str]
) -> None:
    content = tiny_model_path.read_bytes()
    labels = b'["low", "middle", "high"]'
    assert content.count(labels) == 1
    (tmp_path / "odd.onnx").write_bytes(content.replace(labels, rb'["l\ud83d","m\u00e9","b"]'))
    named = [str(tmp_path / "odd.onnx") if word == "MODEL" else word for word in arguments]
    done = run(edgeemo, *named, PYTHONIOENCODING="utf-8:strict")
    assert (done.returncode, done.stdout) == (exit_code(ModelError("")), b"")
    assert done.stderr.count(b"\n") == 1
    assert rb"l\ud83d" in done.stderr


@pytest.mark.parametrize("variables", [ASCII, {"PYTHONIOENCODING": "latin-1"}])
def test_a_label_that_the_output_lacks_is_an_escape(
    edgeemo: list[str], tiny_model_path: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    content = tiny_model_path.read_bytes()
    labels = b'["low", "middle", "high"]'
    (tmp_path / "odd.onnx").write_bytes(content.replace(labels, rb'["\u4f4e","m\u00e9","bc"]'))
    done = run(edgeemo, "info", tmp_path / "odd.onnx", **variables)
    assert done.returncode == 0
    assert rb"\u4f4e" in done.stdout
    assert (rb"m\xe9" if variables is ASCII else b"m\xe9") in done.stdout
