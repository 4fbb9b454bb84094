"""PortAudio, through sounddevice: loading it, opening and closing streams, and looking for devices anew."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from edgeemo.errors import DeviceError

_CLOSE_S = 2.0
"""How long closing a stream may take whose sound server is gone; then it is left to itself."""

_lock = threading.Lock()
_open: set[int] = set()
"""The streams of this process that are open: while there is one, PortAudio cannot be started anew."""


def sounddevice() -> Any:
    """The module, once it can be loaded.

    Raises:
        DeviceError: PortAudio is not installed, or does not start.
    """
    try:
        import sounddevice as module
    except OSError as error:
        raise DeviceError(
            "PortAudio is not installed; on Debian, Ubuntu and Raspberry Pi OS: "
            f"sudo apt install libportaudio2 ({error})"
        ) from error
    except Exception as error:
        if type(error).__name__ != "PortAudioError":  # which is in the module that does not import
            raise
        raise DeviceError(
            f"PortAudio does not start ({error}); check the sound settings, as in ~/.asoundrc"
        ) from error
    return module


def look_again() -> None:
    """Have PortAudio look for devices anew, which it does only when it starts: not while a stream is open.

    Raises:
        DeviceError: as `sounddevice`.
    """
    module = sounddevice()
    with _lock:
        if _open:
            return
        try:
            module._terminate()
            module._initialize()
        except module.PortAudioError as error:
            raise DeviceError(f"PortAudio does not start ({error})") from error


def open_stream(
    *,
    device: int,
    sample_rate: int,
    channels: int,
    block_samples: int,
    callback: Callable[..., None],
    finished: Callable[[], None],
) -> Any:
    """An input stream of float32 that runs.

    Raises:
        sounddevice.PortAudioError: it refuses to open or to start.
    """
    module = sounddevice()
    stream = module.InputStream(
        device=device,
        samplerate=sample_rate,
        channels=channels,
        blocksize=block_samples,
        dtype="float32",
        callback=callback,
        finished_callback=finished,
    )
    with _lock:
        _open.add(id(stream))
    try:
        stream.start()
    except module.PortAudioError:
        close_stream(stream)
        raise
    return stream


def close_stream(stream: Any) -> None:
    """Close a stream, whatever has become of it; never waits for long."""
    closing = threading.Thread(target=stream.close, kwargs={"ignore_errors": True}, daemon=True)
    closing.start()
    closing.join(_CLOSE_S)
    if not closing.is_alive():
        with _lock:
            _open.discard(id(stream))
