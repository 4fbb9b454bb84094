"""What the live loop names where nobody speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from edgeemo.audio import native_rate, read_blocks
from edgeemo.evaluation.degradations import add_mains, pink, white
from edgeemo.events import Step
from edgeemo.live import Listener
from edgeemo.live.listener import Heard
from edgeemo.model import EmotionModel

Audio = npt.NDArray[np.float32]

SECONDS = 30
_LEVEL = np.float32(0.03)  # -30 dBFS
_BLOCK_SAMPLES = 1 << 14


def _tone(n_samples: int, rate: int) -> Audio:
    tone: Audio = (_LEVEL * np.sqrt(2) * np.sin(2 * np.pi * 440 * np.arange(n_samples) / rate)).astype(
        np.float32
    )
    return tone


def _level(noise: Audio) -> Audio:
    result: Audio = _LEVEL * noise / noise.std()
    return result


SOUNDS: Mapping[str, Callable[[int, int], Audio]] = MappingProxyType(
    {
        "silence": lambda n, _: np.zeros(n, np.float32),
        "white noise": lambda n, _: _level(white(n, np.random.default_rng(1))),
        "pink noise": lambda n, rate: _level(pink(n, np.random.default_rng(1), rate)),
        "a tone of 440 Hz": _tone,
        "mains hum of 50 Hz": lambda n, rate: add_mains(np.zeros(n, np.float32), 50, -30, rate),
    }
)
"""What is made here, by name: a number of samples and a rate in Hz -> mono float32, noise at -30 dBFS."""


def named_in_sound(model: EmotionModel, name: str) -> dict[str, int]:
    """The steps of `SECONDS` of one of `SOUNDS`, and how many of them name an emotion."""
    rate = model.sample_rate
    listener = Listener(model, sample_rate=rate)
    return _counted([*listener.push(SOUNDS[name](SECONDS * rate, rate)), *listener.flush()])


def named_in_file(model: EmotionModel, path: Path) -> dict[str, int]:
    """Likewise, of a file.

    Raises:
        AudioError: it cannot be read.
    """
    listener = Listener(model, sample_rate=native_rate(path))
    events = [event for block in read_blocks(path, _BLOCK_SAMPLES) for event in listener.push(block)]
    return _counted([*events, *listener.flush()])


def _counted(events: list[Heard]) -> dict[str, int]:
    steps = [event for event in events if isinstance(event, Step)]
    return {"n_steps": len(steps), "n_named": sum(step.label is not None for step in steps)}
