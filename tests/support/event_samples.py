"""Events that were made by hand, one of each kind."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np

from edgeemo.events import End, Event, Gap, Start, State, Status, Step, Turn, Utterance, Why

AT = datetime(2026, 3, 29, 1, 59, 59, 999_000, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))
PROBABILITIES = {"angry": 0.75, "sad": 0.25}


def start() -> Start:
    """Of a microphone, and a model with the labels `angry` and `sad`."""
    return Start(
        time_s=0.0,
        version="0.1.0",
        model="tiny.window",
        graph_sha256="0" * 64,
        source="USB Mic",
        kind="microphone",
        sample_rate=48000,
        channels=2,
        channel=1,
        labels=tuple(PROBABILITIES),
        step_s=0.16,
        delay_s=0.0,
        settings={"temperature": 1.0, "unsure_below": 0.0, "needs_voice": True, "smooth": "light"},
    )


def step(time_s: float = 0.16, **changed: Any) -> Step:
    """Of somebody who speaks."""
    values = {
        "label": "angry",
        "reason": None,
        "probabilities": PROBABILITIES,
        "arousal": 0.75,
        "utterance": 1,
        "paused": False,
        "level_db": -30.0,
        "peak": 0.1,
        "resample_ms": 0.01,
        "model_ms": 1.0,
    }
    return Step(time_s=time_s, **(values | changed))


def utterance(number: int = 1, *, seconds: float = 0.0, **changed: Any) -> Utterance:
    """The utterance of a number; with its audio, a tone, if that is to last some seconds."""
    tone = 0.1 * np.sin(2 * np.pi * 200 * np.arange(round(16000 * seconds)) / 16000)
    values = {
        "label": "angry",
        "reason": None,
        "probabilities": PROBABILITIES,
        "arousal": 0.75,
        "start_s": 2.0 * number,
        "end_s": 2.0 * number + 1,
        "evolution": (Turn(time_s=2.16 * number, label=None), Turn(time_s=2.32 * number, label="angry")),
        "cut": False,
        "audio": tone.astype(np.float32) if seconds else None,
    }
    return Utterance(time_s=2.0 * number + 1.64, utterance=number, **(values | changed))


def each_kind() -> list[Event]:
    """One of each kind, or more."""
    end = End(
        time_s=10.0,
        reason="stopped",
        heard_s=8.0,
        gap_s=2.0,
        n_gaps=1,
        n_steps=50,
        n_utterances=1,
        label_steps={"angry": 2},
        n_unsure=1,
        flips_per_minute=20.0,
        latency_p50_ms=1.0,
        latency_p99_ms=2.0,
        real_time_factor=0.01,
    )
    nothing = {"latency_p50_ms": None, "latency_p99_ms": None, "real_time_factor": None, "label_steps": {}}
    return [
        start(),
        step(),
        step(label=None, reason="unsure"),
        step(label=None, reason="no speech", probabilities={}, arousal=None, paused=True, level_db=-120.0),
        utterance(),
        utterance(label=None, reason="unsure"),
        *(Gap(time_s=4.0, start_s=2.0, length_s=2.0, why=why) for why in Why),
        *(Status(time_s=1.0, state=state, active=True, text="something") for state in State),
        Status(time_s=1.0, state=State.SINK, subject="the table", active=True, text="no space"),
        end,
        End(**(vars(end) | nothing)),
    ]
