"""What the device's tests share: the tiny model, a clip, the command, and a PortAudio that is not there."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from edgeemo.model import EmotionModel
from support.portaudio import FakePortAudio
from support.signals import voice_like
from support.virtual_microphone import PROGRAMS, Listening, VirtualMicrophone

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def tiny_model_path() -> Path:
    """The committed test model: small weights, a real graph, real metadata."""
    return HERE / "tiny.onnx"


@pytest.fixture(scope="session")
def tiny_model(tiny_model_path: Path) -> EmotionModel:
    return EmotionModel(tiny_model_path)


@pytest.fixture(scope="session")
def stream_model_path() -> Path:
    """The same weights as a stream graph."""
    return HERE / "tiny.stream.onnx"


@pytest.fixture(scope="session")
def stream_model(stream_model_path: Path) -> EmotionModel:
    return EmotionModel(stream_model_path)


@pytest.fixture(scope="session")
def learning_model_path() -> Path:
    """A stream graph with lasting states: it learns what a voice usually sounds like."""
    return HERE / "tiny.learning.onnx"


@pytest.fixture(scope="session")
def learning_model(learning_model_path: Path) -> EmotionModel:
    return EmotionModel(learning_model_path)


@pytest.fixture(scope="session", params=["window", "stream"])
def either_model_path(request: pytest.FixtureRequest, tiny_model_path: Path, stream_model_path: Path) -> Path:
    """A test with this runs with a window graph and with a stream graph."""
    return {"window": tiny_model_path, "stream": stream_model_path}[request.param]


@pytest.fixture(scope="session")
def either_model(either_model_path: Path) -> EmotionModel:
    return EmotionModel(either_model_path)


@pytest.fixture(scope="session")
def clip_48k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds at 48 kHz that a front end can tell apart in time: gliding tones, pauses, noise."""
    path = tmp_path_factory.mktemp("clips") / "clip.wav"
    soundfile.write(path, voice_like(4.0, 48000), 48000, subtype="PCM_16")
    return path


@pytest.fixture(scope="session")
def edgeemo() -> list[str]:
    """The command `edgeemo`, whether or not the package is installed as a script."""
    return [sys.executable, "-c", "from edgeemo.cli import main; main()"]


@pytest.fixture
def install_portaudio(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakePortAudio]:
    def install(*arguments: Any, **options: Any) -> FakePortAudio:
        fake = FakePortAudio(*arguments, **options)
        monkeypatch.setitem(sys.modules, "sounddevice", fake)
        return fake

    return install


@pytest.fixture
def make_microphone() -> Iterator[Callable[..., VirtualMicrophone]]:
    """Makes virtual microphones; see `VirtualMicrophone`."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt install pulseaudio pulseaudio-utils libasound2-plugins")
    with tempfile.TemporaryDirectory(prefix="mic-", ignore_cleanup_errors=True) as home:
        made: list[VirtualMicrophone] = []

        def make(**options: Any) -> VirtualMicrophone:
            folder = Path(home) / str(len(made))
            folder.mkdir()
            made.append(VirtualMicrophone(folder, **options))
            return made[-1]

        try:
            yield make
        finally:
            for microphone in made:
                microphone.kill()


@pytest.fixture
def microphone(make_microphone: Callable[..., VirtualMicrophone]) -> VirtualMicrophone:
    return make_microphone()


@pytest.fixture
def start_listening(edgeemo: list[str]) -> Iterator[Callable[..., Listening]]:
    """Starts `edgeemo listen --json` at a virtual microphone."""
    started: list[Listening] = []

    def start(microphone: VirtualMicrophone, *arguments: str) -> Listening:
        started.append(Listening(edgeemo, microphone, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.close()
