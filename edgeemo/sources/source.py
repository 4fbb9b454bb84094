"""What the live loop listens to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from edgeemo.events import State, Why

Audio = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Lost:
    """Audio that is missing before the next block.

    Attributes:
        seconds: how much.
        why: it is.
    """

    seconds: float
    why: Why


@dataclass(frozen=True)
class Notice:
    """Something to tell of the source: see `Status`."""

    state: State
    active: bool
    text: str


class Source(Protocol):
    """What the live loop listens to.

    Attributes:
        name: for a person.
        kind: `microphone` or `file`.
        sample_rate: Hz; known before the source is entered.
        channels: how many it captures.
        channel: the one that is listened to, from 1; None: the mean of all.
        ended: why `blocks` ended: `stopped` or `end of file`.
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def channel(self) -> int | None: ...

    @property
    def ended(self) -> str: ...

    def blocks(self) -> Iterator[Audio | Lost | Notice]:
        """Mono float32 blocks, shape `(n_samples,)`, and what is to be told between them.

        An empty block says: nothing yet, still here.
        """
        ...

    def wants(self, seconds: float) -> None:
        """The loop has no use for less audio than this: `blocks` may wait until there is as much.

        It holds until the next call; at first any block is wanted.
        """
        ...

    def stop(self) -> None:
        """End `blocks` soon, from a signal handler or another thread."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
