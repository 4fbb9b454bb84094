"""Running a model over a stream: a step of new audio in, the probabilities at its end out.

A window graph sees the last `window_samples` again in each step; a stream graph computes the new audio alone and
carries its states. To the caller they are the same.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgeemo.metadata import Metadata

Audio = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float32]
States = Sequence[npt.NDArray[np.float32]]
ONSET_S = 0.256
"""How long somebody may have spoken before it is known: what `edgeemo.voice` takes to be sure."""
Learnt = Mapping[str, npt.NDArray[np.float32]]
"""Lasting states by name."""


class Stepper(Protocol):
    """A model on its way through a stream. A new one is at the start of its stream, as after `reset`."""

    def step(self, audio: Audio) -> Probabilities:
        """Take the next step of the stream.

        Args:
            audio: mono float32 in [-1, 1] at the model's sample rate, shape `(step_samples,)`; it is copied.

        Returns:
            probabilities, shape `(n_labels,)`, summing to 1; the caller's own.

        Raises:
            ValueError: another shape; the stream is as before.
        """
        ...

    def skip(self, audio: Audio) -> None:
        """Let a step of the stream pass in which there is nothing to judge: it costs no inference.

        Args:
            audio: as `step`.
        """
        ...

    def begin_utterance(self) -> None:
        """Forget the utterance before the next step, but not what was learnt of the microphone and the voice.

        The last steps that were skipped, `ONSET_S` of them, are its beginning: a voice is known by then only.
        """
        ...

    def reset(self, learnt: Learnt | None = None) -> None:
        """Forget the stream: the next step is the first, after one window of silence.

        Args:
            learnt: of microphone and voice, by an earlier stream; without, that is forgotten too.
        """
        ...

    @property
    def learnt(self) -> Learnt:
        """What was learnt of microphone and voice so far: copies of the lasting states; none of a window graph."""
        ...


def stepper(session: ort.InferenceSession, metadata: Metadata, silent_states: States = ()) -> Stepper:
    """The stepper for a model's mode.

    Args:
        session: of the model's file; any number of steppers, in any threads, may share it.
        metadata: of the same file.
        silent_states: of a stream graph: its states after one window of silence.
    """
    if metadata.mode == "stream":
        return StreamStepper(session, metadata, silent_states)
    return WindowStepper(session, metadata)


class WindowStepper:
    """Steps of a window graph: each classifies the last `window_samples` of the stream.

    Args:
        session: of a file of mode `"window"`.
        metadata: of the same file.
    """

    def __init__(self, session: ort.InferenceSession, metadata: Metadata) -> None:
        self._session = session
        self._step_samples = metadata.step_samples
        self._window: Audio = np.zeros((1, metadata.window_samples), np.float32)

    def step(self, audio: Audio) -> Probabilities:
        """Take the next step of the stream; see `Stepper.step`."""
        _check_shape(audio, self._step_samples)
        self._shift(audio)
        (probabilities,) = self._session.run(None, {"audio": self._window})
        result: Probabilities = probabilities[0]
        return result

    def skip(self, audio: Audio) -> None:
        """Let a step of the stream pass; see `Stepper.skip`."""
        _check_shape(audio, self._step_samples)
        self._shift(audio)

    def begin_utterance(self) -> None:
        """Nothing: the window passes, and the utterance before with it."""

    def reset(self, learnt: Learnt | None = None) -> None:
        """Forget the stream: what precedes the next step is silence."""
        assert not learnt, "a window graph has no lasting states"
        self._window[:] = 0

    @property
    def learnt(self) -> Learnt:
        """Nothing."""
        return {}

    def _shift(self, audio: Audio) -> None:
        window = self._window[0]
        window[: -self._step_samples] = window[self._step_samples :]
        window[-self._step_samples :] = audio


class StreamStepper:
    """Steps of a stream graph, whose states stay where onnxruntime writes them.

    Every state has two buffers. Of two bindings, one reads the first buffers and writes the second, the other
    the reverse; they take turns. So a step copies no state, allocates nothing but its result, and one that fails
    leaves the states as they were.

    A stream begins with the states after one window of silence, as a window graph begins with a window of silence.

    Args:
        session: of a file of mode `"stream"`.
        metadata: of the same file.
        silent_states: what each state is at the start of a stream.
    """

    def __init__(self, session: ort.InferenceSession, metadata: Metadata, silent_states: States) -> None:
        self._session = session
        self._audio: Audio = np.zeros((1, metadata.step_samples), np.float32)
        self._probabilities: Probabilities = np.zeros((1, len(metadata.labels)), np.float32)
        self._buffers = tuple(
            [np.zeros(state.shape, np.float32) for state in metadata.states] for _ in range(2)
        )
        self._bindings = tuple(self._bound(metadata, source) for source in range(2))
        self._silent_states = silent_states
        self._states = metadata.states
        self._skipped: deque[Audio] = deque(maxlen=math.ceil(ONSET_S / metadata.step_s))
        self._turn = 0  # the binding of the next step, and the buffers that it reads
        self.reset()

    @property
    def states(self) -> States:
        """What the next step starts from: copies, in the metadata's order."""
        return [state.copy() for state in self._buffers[self._turn]]

    def step(self, audio: Audio) -> Probabilities:
        """Take the next step of the stream; see `Stepper.step`."""
        _check_shape(audio, self._audio.shape[1])
        self._skipped.clear()
        return self._step(audio)

    def _step(self, audio: Audio) -> Probabilities:
        self._audio[0] = audio
        self._session.run_with_iobinding(self._bindings[self._turn])
        self._turn = 1 - self._turn
        result: Probabilities = self._probabilities[0].copy()
        return result

    def begin_utterance(self) -> None:
        """Forget the utterance before the next step: all states but lasting ones are as after silence."""
        for i, silent in enumerate(self._silent_states):
            if not self._states[i].lasting:
                self._buffers[self._turn][i][...] = silent
        for audio in self._skipped:
            self._step(audio)
        self._skipped.clear()

    def skip(self, audio: Audio) -> None:
        """Let a step of the stream pass; see `Stepper.skip`."""
        _check_shape(audio, self._audio.shape[1])
        self._skipped.append(audio.copy())

    def reset(self, learnt: Learnt | None = None) -> None:
        """Forget the stream: what precedes the next step is one window of silence; see `Stepper.reset`."""
        self._turn = 0  # from the same buffers each time: the same bits each time
        self._skipped.clear()
        start = learnt or {}
        for i, silent in enumerate(self._silent_states):
            self._buffers[self._turn][i][...] = start.get(self._states[i].name, silent)

    @property
    def learnt(self) -> Learnt:
        """What was learnt of microphone and voice so far; see `Stepper.learnt`."""
        buffers = zip(self._states, self._buffers[self._turn], strict=True)
        return {state.name: buffer.copy() for state, buffer in buffers if state.lasting}

    def _bound(self, metadata: Metadata, source: int) -> ort.IOBinding:
        """The binding that reads the states in `self._buffers[source]` and writes them to the others.

        onnxruntime keeps bare addresses: the arrays behind them live as long as this object.
        """
        binding = ort.IOBinding(self._session)
        inputs = [("audio", self._audio)]
        outputs = [("probabilities", self._probabilities)]
        for i, state in enumerate(metadata.states):
            inputs.append((state.name, self._buffers[source][i]))
            outputs.append((state.next_name, self._buffers[1 - source][i]))
        for name, array in inputs:
            binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        for name, array in outputs:
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        return binding


def _check_shape(audio: Audio, step_samples: int) -> None:
    if audio.shape != (step_samples,):
        raise ValueError(f"step of shape {audio.shape}, expected ({step_samples},)")
