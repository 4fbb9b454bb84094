"""What is wrong with what a microphone gives: nothing, too much, a constant, channels that do not fit together."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edgeemo.events import State
from edgeemo.sources.source import Notice

PIECE_S = 1.0
"""What is looked at together."""
_PATIENCE = {
    State.MUTED: 5,
    State.CHANNEL_DEAD: 5,
    State.TOO_QUIET: 10,
    State.CONSTANT: 3,
    State.CHANNELS_CANCEL: 2,
}
"""In how many pieces in a row something must be so before it is told; at once otherwise."""
_OVER = 3
"""In how many pieces it must not be so before it is over."""

_FULL_SCALE = 0.999
_MOST = 1e6
"""Samples beyond this count as this, so that their squares are numbers."""
_CLIPPED_SHARE = 1e-3
_CONSTANT = 0.005
_CONSTANT_SHARE = 0.05
_QUIET_DB = -75.0
_HEARD_DB = -60.0
_CANCELLED_DB = 12.0


class SignalWatch:
    """Looks at what is captured, a second at a time.

    Args:
        sample_rate: Hz.
        channels: how many are captured.
        channel: the one that is listened to, from 1; None: the mean of all.
        microphone: whether it is one: of a file, silence and quiet passages are nobody's fault.
    """

    def __init__(self, sample_rate: int, channels: int, channel: int | None, *, microphone: bool) -> None:
        self._piece_samples = max(1, round(PIECE_S * sample_rate))
        self._channels, self._channel, self._microphone = channels, channel, microphone
        self._blocks: list[npt.NDArray[np.float32]] = []
        self._n_samples = 0
        self._seen: dict[State, int] = dict.fromkeys(State, 0)
        self._unseen: dict[State, int] = dict.fromkeys(State, 0)
        self._active: dict[State, bool] = dict.fromkeys(State, False)

    def push(self, block: npt.NDArray[np.float32]) -> Iterator[Notice]:
        """Take a block, shape `(n_samples, n_channels)`, all of it finite; what is to be told."""
        while len(block):
            part = block[: self._piece_samples - self._n_samples]
            block = block[len(part) :]
            self._blocks.append(part)  # at once for all of a piece: block by block it costs ten times as much
            self._n_samples += len(part)
            if self._n_samples == self._piece_samples:
                found = self._found(_Piece(self._blocks))
                self._blocks, self._n_samples = [], 0
                for state in _STATES:
                    yield from self._told(state, found.get(state))

    def end(self) -> Iterator[Notice]:
        """Nothing more will come: what was wrong is not known any more."""
        for state in _STATES:
            if self._active[state]:
                self._active[state] = False
                yield Notice(state, False, f"{state}: not known while nothing is captured")

    def _told(self, state: State, text: str | None) -> Iterator[Notice]:
        self._seen[state] = 0 if text is None else self._seen[state] + 1
        self._unseen[state] = self._unseen[state] + 1 if text is None else 0
        if text is not None and not self._active[state] and self._seen[state] >= _PATIENCE.get(state, 1):
            self._active[state] = True
            yield Notice(state, True, text)
        elif self._active[state] and self._unseen[state] >= _OVER:
            self._active[state] = False
            yield Notice(state, False, _OVER_TEXT[state])

    def _found(self, piece: _Piece) -> dict[State, str]:
        """What is wrong in a piece, with what to say of it."""
        found = {}
        loudest = int(piece.power.argmax())
        loudest_power = float(piece.power[loudest])
        below_db = _db(loudest_power) - _db(piece.mixed)
        if piece.clipped > _CLIPPED_SHARE:
            found[State.CLIPPED] = (
                f"{100 * piece.clipped:.1f} % of the samples are at full scale; turn the gain down"
            )
        constant = float(piece.mean[0] if self._channel is None else piece.mean[1 + self._channel - 1])
        # In loud noise the mean of a second is not zero either.
        if abs(constant) > max(_CONSTANT, _CONSTANT_SHARE * math.sqrt(loudest_power)):
            found[State.CONSTANT] = f"a constant of {constant:.3f} in the signal; it does no harm to edgeemo"
        if self._microphone and not piece.peak.any():
            found[State.MUTED] = (
                "only zeros: is the microphone muted? On macOS, allow the terminal to use it in System Settings, "
                "Privacy & Security, Microphone"
            )
        elif self._microphone and _db(loudest_power) < _QUIET_DB:
            found[State.TOO_QUIET] = f"very quiet, {_db(loudest_power):.0f} dBFS; turn the gain up"
        if self._channels > 1 and piece.peak.any():
            heard = self._channel
            dead = [i + 1 for i, peak in enumerate(piece.peak) if peak == 0 and heard in (None, i + 1)]
            if dead:
                found[State.CHANNEL_DEAD] = (
                    f"only zeros in channel {', '.join(map(str, dead))} of {self._channels}; "
                    f"try --channel {loudest + 1}"
                )
            elif heard is None and below_db > _CANCELLED_DB and _db(loudest_power) > _HEARD_DB:
                found[State.CHANNELS_CANCEL] = (
                    f"the channels cancel each other: their mean is {below_db:.0f} dB below channel {loudest + 1}; "
                    f"try --channel {loudest + 1}"
                )
        return found


_STATES = (
    State.MUTED,
    State.TOO_QUIET,
    State.CLIPPED,
    State.CONSTANT,
    State.CHANNEL_DEAD,
    State.CHANNELS_CANCEL,
)
_OVER_TEXT = {
    State.MUTED: "there is sound again",
    State.TOO_QUIET: "loud enough again",
    State.CLIPPED: "no longer clipped",
    State.CONSTANT: "the constant is gone",
    State.CHANNEL_DEAD: "all channels have sound again",
    State.CHANNELS_CANCEL: "the channels no longer cancel each other",
}


class _Piece:
    """A piece in numbers.

    Args:
        blocks: of all channels, shape `(n_samples, n_channels)` each.

    Attributes:
        mean: of the mean of the channels, then of each channel.
        mixed: power of the mean of the channels, without its constant.
        power: of each channel, without its constant.
        peak: the largest absolute value of each channel.
        clipped: the share of samples at full scale.
    """

    def __init__(self, blocks: list[npt.NDArray[np.float32]]) -> None:
        channels = np.ascontiguousarray(np.concatenate(blocks).T)
        self.peak = np.maximum(channels.max(axis=1), -channels.min(axis=1))
        self.clipped = 0.0
        if self.peak.max() >= _FULL_SCALE:
            self.clipped = np.count_nonzero(np.abs(channels) >= _FULL_SCALE) / channels.size
            np.clip(channels, -_MOST, _MOST, out=channels)
        means = channels.mean(axis=1, dtype=np.float64)
        self.mean = np.concatenate([[means.mean()], means])
        channels -= means.astype(np.float32)[:, np.newaxis]
        # How much two channels have in common, of which a mean's power is made.
        common = channels @ channels.T / channels.shape[1]
        self.mixed, self.power = max(float(common.mean()), 0.0), np.diagonal(common)


def _db(power: float) -> float:
    return 10 * math.log10(power) if power > 1e-20 else -200.0
