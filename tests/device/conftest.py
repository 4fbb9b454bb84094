"""What the device's tests share: the tiny model, a clip, the command, and a PortAudio that is not there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from edgeemo.model import EmotionModel

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


def voice_like(duration_s: float, sample_rate: int) -> np.ndarray:
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    pitch_hz = 180 + 90 * np.sin(2 * np.pi * 0.31 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / sample_rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * (1.1 + 0.3 * time_s) * time_s), 0, 1)
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    return (0.2 * voice * syllables + 0.003 * noise).astype(np.float32)


class FakePortAudio(SimpleNamespace):
    """Stands in for the module `sounddevice`; a test feeds `stream.callback` itself.

    Args:
        devices: (name, input channels, native rate) of each.
        only_channels: the one number of channels that devices open with; None: any.
        only_rates: the sample rates that devices open with; None: any.
    """

    class PortAudioError(Exception):
        pass

    def __init__(
        self,
        devices: list[tuple[str, int, float]],
        default: int | None = 0,
        only_channels: int | None = None,
        only_rates: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(streams=[])
        self._default = default
        self._only_channels = only_channels
        self._only_rates = only_rates
        self._devices = [
            {"index": i, "name": name, "max_input_channels": channels, "default_samplerate": rate}
            for i, (name, channels, rate) in enumerate(devices)
        ]
        portaudio = self

        class InputStream:
            def __init__(self, **options: Any) -> None:
                portaudio.check_input_settings(options["device"], options["channels"], options["samplerate"])
                self.options = options
                self.callback: Callable[..., None] = options["callback"]
                self.finished: Callable[[], None] = options["finished_callback"]
                self.is_open = False
                portaudio.streams.append(self)

            def start(self) -> None:
                self.is_open = True

            def close(self, ignore_errors: bool = True) -> None:
                self.is_open = False
                self.finished()

            def capture(self, block: np.ndarray, overflow: bool = False) -> None:
                buffer = block.copy()
                self.callback(buffer, len(buffer), None, SimpleNamespace(input_overflow=overflow))
                buffer[:] = np.nan  # PortAudio reuses its buffer: who kept a view of it is found out

        self.InputStream = InputStream

    def check_input_settings(
        self, device: int, channels: int, samplerate: float, dtype: str = "float32"
    ) -> None:
        assert dtype == "float32"
        if channels > self._devices[device]["max_input_channels"] or self._only_channels not in (
            None,
            channels,
        ):
            raise self.PortAudioError("Invalid number of channels [PaErrorCode -9998]")
        if self._only_rates is not None and samplerate not in self._only_rates:
            raise self.PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    def query_devices(self, device: int | None = None, kind: str | None = None) -> Any:
        if kind is None:
            return self._devices
        if self._default is None:
            raise self.PortAudioError("Error querying device -1")
        return self._devices[self._default]


@pytest.fixture
def install_portaudio(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakePortAudio]:
    def install(*arguments: Any, **options: Any) -> FakePortAudio:
        fake = FakePortAudio(*arguments, **options)
        monkeypatch.setitem(sys.modules, "sounddevice", fake)
        return fake

    return install
