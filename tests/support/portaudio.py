"""A PortAudio that is not there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np


class FakePortAudio(SimpleNamespace):
    """Stands in for the module `sounddevice`; a test feeds `stream.callback` itself.

    Args:
        devices: (name, input channels, native rate) of each.
        only_channels: the one number of channels that devices open with; None: any.
        only_rates: the sample rates that devices open with; None: any.
        host_apis: of each device; None: all are ALSA's.
        heard: index of a device -> what a stream of it captures while it starts, shape `(n_samples, n_channels)`;
            None: it does not start until `stuck` is set.

    Attributes:
        streams: those that were made.
        stuck: what a device that hangs waits for.
    """

    class PortAudioError(Exception):
        pass

    def __init__(
        self,
        devices: list[tuple[str, int, float]],
        default: int | None = 0,
        only_channels: int | None = None,
        only_rates: tuple[int, ...] | None = None,
        host_apis: list[str] | None = None,
        heard: Mapping[int, np.ndarray | None] | None = None,
    ) -> None:
        super().__init__(streams=[], stuck=threading.Event())
        self.plug_in(devices, default, only_channels, only_rates, host_apis)
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
                block = (heard or {}).get(self.options["device"], ...)
                if block is None:
                    portaudio.stuck.wait()
                elif block is not ...:
                    self.capture(block)

            def close(self, ignore_errors: bool = True) -> None:
                self.is_open = False
                self.finished()

            def capture(self, block: np.ndarray, overflow: bool = False) -> None:
                buffer = block.copy()
                if block.shape[1] == 1:
                    buffer = np.repeat(buffer, self.options["channels"], axis=1)
                self.callback(buffer, len(buffer), None, SimpleNamespace(input_overflow=overflow))
                buffer[:] = np.nan  # PortAudio reuses its buffer: who kept a view of it is found out

        self.InputStream = InputStream

    def plug_in(
        self,
        devices: list[tuple[str, int, float]],
        default: int | None = 0,
        only_channels: int | None = None,
        only_rates: tuple[int, ...] | None = None,
        host_apis: list[str] | None = None,
    ) -> None:
        """From now on, these are the devices."""
        self._default = default
        self._only_channels = only_channels
        self._only_rates = only_rates
        host_apis = ["ALSA"] * len(devices) if host_apis is None else host_apis
        self._host_apis = list(dict.fromkeys(host_apis))  # in PortAudio's order, which is that of the devices
        self._devices = [
            {
                "index": i,
                "name": name,
                "hostapi": self._host_apis.index(host_api),
                "max_input_channels": channels,
                "default_samplerate": rate,
            }
            for i, ((name, channels, rate), host_api) in enumerate(zip(devices, host_apis, strict=True))
        ]

    def _terminate(self) -> None:
        assert not any(stream.is_open for stream in self.streams), "PortAudio ends under an open stream"

    def _initialize(self) -> None:
        pass

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

    def query_hostapis(self) -> list[dict[str, Any]]:
        return [{"name": name} for name in self._host_apis]

    def get_portaudio_version(self) -> tuple[int, str]:
        return 1246976, "PortAudio V19.7.0-devel, revision unknown"
