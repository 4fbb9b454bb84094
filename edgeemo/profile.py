"""Profile: what a stream has learnt of a microphone and a voice, kept between starts.

A profile is the lasting states of a stream graph: how loud each band usually is, and what the model usually answers.
It holds no audio, and no audio can be had from it; of a person it tells no more than such averages do.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeemo.errors import ProfileError
from edgeemo.files import write_text
from edgeemo.metadata import Metadata
from edgeemo.records import Record
from edgeemo.stepper import Learnt

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Profile(Record):
    """What one model has learnt of a microphone and a voice.

    Attributes:
        model: the variant that learnt it, for people.
        graph: SHA-256 of its graph: no other can use it.
        saved: when, in ISO 8601.
        n_utterances: how many were heard for it.
        states: the numbers of each lasting state, by name.
        format: version of this structure.
    """

    model: str
    graph: str
    saved: str
    n_utterances: int
    states: dict[str, tuple[float, ...]]
    format: int = FORMAT

    @classmethod
    def of(cls, metadata: Metadata, graph: str, learnt: Learnt, *, n_utterances: int) -> Profile:
        """What a stepper has learnt so far.

        Args:
            metadata: of its model.
            graph: the SHA-256 of its graph.
            learnt: its lasting states.
            n_utterances: how many it has heard.

        Raises:
            ProfileError: the model learns nothing.
        """
        _check_learns(metadata)
        return cls(
            model=metadata.variant,
            graph=graph,
            saved=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            n_utterances=n_utterances,
            states={name: tuple(state.ravel().tolist()) for name, state in learnt.items()},
        )

    def of_voice(self, metadata: Metadata) -> Profile:
        """Without what was learnt of the microphone and the line, unless the model learns nothing else.

        How loud each band is in neutral speech is a bad start for other speech: with it, the utterance that follows
        is called agitated too often. What the voice is usually called does no such harm.

        Args:
            metadata: of its model.
        """
        voice = {state.name for state in metadata.states if state.voice}
        if not voice:
            return self
        # As at the start of a stream.
        states = {
            name: numbers if name in voice else (0.0,) * len(numbers) for name, numbers in self.states.items()
        }
        return dataclasses.replace(self, states=states)

    def learnt(self, metadata: Metadata, graph: str) -> Learnt:
        """The lasting states to start a stream of a model from.

        Raises:
            ProfileError: it is another model's, or its numbers are not what the model's states are.
        """
        _check_learns(metadata)
        if self.graph != graph:
            raise ProfileError(
                f"the profile is of another model ({self.model}), expected one of this file of {metadata.variant}; "
                "make one with `edgeemo enrol`"
            )
        lasting = {state.name: state.shape for state in metadata.states if state.lasting}
        found = {name: len(numbers) for name, numbers in self.states.items()}
        expected = {name: math.prod(shape) for name, shape in lasting.items()}
        numbers = [x for state in self.states.values() for x in state]
        if found != expected or not np.isfinite(numbers).all():
            raise ProfileError(
                f"the profile has {sum(found.values())} numbers in {len(found)} states, expected "
                f"{sum(expected.values())} in {len(expected)}, all finite; make one with `edgeemo enrol`"
            )
        return {
            name: np.reshape(self.states[name], shape).astype(np.float32) for name, shape in lasting.items()
        }

    def save(self, path: Path) -> None:
        """Write it to a file that its owner alone can read.

        Raises:
            OutputError: it cannot be written.
        """
        write_text(path, json.dumps(self.to_dict()) + "\n", private=True)


def read_profile(path: Path) -> Profile:
    """Read a profile.

    Raises:
        ProfileError: there is no such file, or it is no profile.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        profile = Profile.from_dict(values)
    except OSError as error:
        raise ProfileError(
            f"{path}: cannot be read ({error.strerror or error}); make one with `edgeemo enrol`"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"{path}: not a profile ({error}); make one with `edgeemo enrol`") from error
    if profile.format != FORMAT:
        raise ProfileError(
            f"{path}: a profile of format {profile.format}, expected {FORMAT}; make one with `edgeemo enrol`"
        )
    return profile


def _check_learns(metadata: Metadata) -> None:
    if not metadata.learns:
        raise ProfileError(
            f"{metadata.variant} learns nothing of a voice; use a model that does, such as emo_small.stream"
        )
