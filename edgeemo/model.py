"""A model: one ONNX file, raw PCM in, emotion probabilities out, checked when it is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgeemo.audio import as_float32, read_audio, resample
from edgeemo.errors import AudioError, ModelError
from edgeemo.metadata import ImageMetadata, Metadata
from edgeemo.places import model_path
from edgeemo.session import ModelFile, check_graph, open_session, read_model_file, session_options
from edgeemo.stepper import States, Stepper, stepper
from edgeemo.trial import try_silence
from edgeemo.windows import iter_windows

Audio = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float32]


class Model(Protocol):
    """What models of audio and of images have in common: to measure and compare them, nobody asks which it is.

    Attributes:
        path: the file.
        session: of it; may be shared by threads.
    """

    path: Path
    session: ort.InferenceSession

    @property
    def metadata(self) -> Metadata | ImageMetadata:
        """What the file says of itself."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of what one step takes: `(step_samples,)` of audio, `(height, width)` of an image."""
        ...

    def start(self) -> Callable[[npt.NDArray[Any]], Probabilities]:
        """A run from its beginning: a function that takes one input after the other, of `input_shape`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a model says of a whole clip.

    Attributes:
        label: the most probable emotion.
        probabilities: label -> probability, in the model's order, summing to 1: the mean over the clip's windows,
            or over the steps of a stream graph.
        duration_s: seconds of audio in the clip.
        n_windows: how many windows or steps that mean is over.
    """

    label: str
    probabilities: dict[str, float]
    duration_s: float
    n_windows: int


class EmotionModel:
    """A loaded model of audio. Get one by `edgeemo.load`.

    It never changes, so that any number of threads may use it at once, and any number of listeners share it.

    Args:
        path: an ONNX file made by `edgeemo export`.
        n_threads: onnxruntime's intra-op threads. One is right for these small graphs on an edge device.
        options: onnxruntime session options to use instead of the defaults (for profiling).
        file: what `path` holds, where it has been read already.

    Raises:
        ModelError: the file is missing, is not ONNX, has no edgeemo metadata, or the two disagree; its graph is
            refused, or makes no probabilities; it is a model of images.

    Examples:
        >>> import edgeemo
        >>> model = edgeemo.load("cnn_lstm")
        >>> model.sample_rate
        16000
        >>> model.labels
        ('neutral', 'angry', 'disgust', 'fear', 'happy', 'sad', 'surprise')
    """

    def __init__(
        self,
        path: Path | str,
        *,
        n_threads: int = 1,
        options: ort.SessionOptions | None = None,
        file: ModelFile | None = None,
    ) -> None:
        self.path = Path(path)
        file = file or read_model_file(self.path)
        self.metadata = Metadata.from_json(file.metadata, source=str(self.path))
        self.session = open_session(file, options or session_options(n_threads))
        self._silent_states = self._checked()

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return self.metadata.labels

    @property
    def sample_rate(self) -> int:
        """Hz of the audio that the graph takes; audio of other rates is resampled on the way."""
        return self.metadata.features.sample_rate

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of what one step takes: `(step_samples,)`."""
        return (self.metadata.step_samples,)

    def classify(self, audio: Path | str | npt.NDArray[Any], *, sample_rate: int | None = None) -> Score:
        """Classify a whole clip of any length and rate.

        With a window graph: the mean of the probabilities over `edgeemo.windows.iter_windows`. With a stream graph:
        the mean over the steps that end at or after the end of the clip's first full window, each of which has heard
        that much of the clip; of a clip shorter than a window, the last step alone. The clip ends with a step:
        silence fills its first. Pauses in it reset nothing.

        Args:
            audio: the path of a file; or the samples, mono float32 in [-1, 1] or int16, shape `(n_samples,)`.
            sample_rate: Hz of the samples; a file says its own.

        Raises:
            AudioError: the file cannot be read; there are no samples, or they are of another type or shape, NaN or
                infinite; a rate is missing, not positive, or given beside a path.

        Examples:
            >>> import edgeemo
            >>> score = edgeemo.load("cnn_lstm").classify("call.wav")
            >>> score.label == max(score.probabilities, key=score.probabilities.get)
            True
        """
        if isinstance(audio, Path | str):
            if sample_rate is not None:
                raise AudioError(f"{audio}: a file says its own rate; leave out sample_rate")
            source, clip = f"{audio}: ", read_audio(audio, self.sample_rate)
        else:
            if sample_rate is None:
                raise AudioError("audio without its rate; give sample_rate, in Hz")
            source, clip = "", resample(as_float32(audio), sample_rate, self.sample_rate)
        if len(clip) == 0:
            raise AudioError(f"{source}no audio in it; expected at least one sample")
        probabilities, n_windows = self.score(clip)
        return Score(
            label=self.labels[int(probabilities.argmax())],
            probabilities=dict(zip(self.labels, probabilities.tolist(), strict=True)),
            duration_s=len(clip) / self.sample_rate,
            n_windows=n_windows,
        )

    def score(self, clip: Audio) -> tuple[Probabilities, int]:
        """`classify` of audio that is at the model's rate already.

        Args:
            clip: mono float32 in [-1, 1], shape `(n_samples,)`, at least one sample.

        Returns:
            probabilities, shape `(n_labels,)`, summing to 1, and the number of windows or steps they are the mean of.
        """
        scored = self._steps(clip) if self.metadata.mode == "stream" else self._windows(clip)
        total, n_scored = np.zeros(len(self.labels)), 0  # in double precision; none of them is kept
        for probabilities in scored:
            total += probabilities
            n_scored += 1
        return (total / n_scored).astype(np.float32), n_scored

    def stepper(self) -> Stepper:
        """The model at the start of a stream of its own; for one thread at a time."""
        return stepper(self.session, self.metadata, self._silent_states)

    def start(self) -> Callable[[Audio], Probabilities]:
        """`stepper().step`: a function that takes one step of a stream after the other."""
        return self.stepper().step

    def predict(self, window: Audio) -> Probabilities:
        """Classify one window, with a window graph; `stepper` runs graphs of both modes over a stream.

        Args:
            window: mono float32 in [-1, 1] at the model's sample rate, shape `(window_samples,)`.

        Returns:
            probabilities, shape `(n_labels,)`, summing to 1.

        Raises:
            ModelError: the graph is a stream graph.
            ValueError: another shape.
        """
        if self.metadata.mode != "window":
            raise ModelError(
                f"{self.path}: a {self.metadata.mode} graph, which carries state from step to step; use stepper()"
            )
        if window.shape != (self.metadata.window_samples,):
            raise ValueError(f"window of shape {window.shape}, expected ({self.metadata.window_samples},)")
        (probabilities,) = self.session.run(None, {"audio": window[np.newaxis]})
        result: Probabilities = probabilities[0]
        return result

    def __repr__(self) -> str:
        m = self.metadata
        return (
            f"EmotionModel({m.variant}: {', '.join(m.labels)}; {self.sample_rate} Hz, {m.mode} of {m.window_s:g} s, "
            f"a step every {m.step_s:g} s; {m.n_parameters:,} parameters, "
            f"{self.path.stat().st_size / 1e6:.1f} MB)"
        )

    def _windows(self, clip: Audio) -> Iterator[Probabilities]:
        for window in iter_windows(clip, self.metadata.window_samples):
            yield self.predict(window)

    def _steps(self, clip: Audio) -> Iterator[Probabilities]:
        """The probabilities of the steps by which a clip is scored, at least one."""
        steps, step_samples = self.stepper(), self.metadata.step_samples
        first_scored_end = min(self.metadata.window_samples, len(clip))
        for end in range((len(clip) - 1) % step_samples + 1, len(clip) + 1, step_samples):
            step = clip[max(0, end - step_samples) : end]
            probabilities = steps.step(np.pad(step, (step_samples - len(step), 0)))
            if end >= first_scored_end:
                yield probabilities

    def _checked(self) -> States:
        """Validation at load, never at the first inference; the states after one window of silence."""
        m = self.metadata
        if m.states and m.mode != "stream":
            raise ModelError(
                f"{self.path}: its metadata lists states of a {m.mode} graph, which has none; "
                "export the model again"
            )
        n_samples = m.step_samples if m.mode == "stream" else m.window_samples
        inputs = {"audio": (1, n_samples), **{state.name: state.shape for state in m.states}}
        outputs = {
            "probabilities": (1, len(m.labels)),
            **{state.next_name: state.shape for state in m.states},
        }
        check_graph(self.session, self.path, inputs.items(), outputs.items())
        return try_silence(
            self.session,
            self.path,
            inputs,
            n_labels=len(m.labels),
            carried={state.next_name: state.name for state in m.states},
            n_runs=math.ceil(m.window_samples / n_samples),
        )


def load(model: Path | str, *, n_threads: int = 1) -> EmotionModel:
    """Load a model.

    Args:
        model: the name of a shipped one (`edgeemo models` lists them), or the path of an ONNX file made by
            `edgeemo export`.
        n_threads: onnxruntime's intra-op threads. One is right for these small graphs on an edge device.

    Raises:
        ModelError: there is no such model; the file is not ONNX, has no edgeemo metadata, or the two disagree; its
            graph is refused, or makes no probabilities; it is a model of images.

    Examples:
        >>> import edgeemo
        >>> edgeemo.load("cnn_lstm.stream")  # doctest: +NORMALIZE_WHITESPACE
        EmotionModel(cnn_lstm.stream: neutral, angry, disgust, fear, happy, sad, surprise;
            16000 Hz, stream of 3.2 s, a step every 0.16 s; 249,991 parameters, 1.0 MB)
    """
    return EmotionModel(model_path(str(model)), n_threads=n_threads)
