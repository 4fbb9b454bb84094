"""A model: one ONNX file, raw PCM in, emotion probabilities out, checked when it is loaded."""

from __future__ import annotations

import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgeemo.answer import Answer, Judgement
from edgeemo.clip import SILENCE, Clip
from edgeemo.errors import AudioError, ModelError
from edgeemo.metadata import ImageMetadata, Metadata
from edgeemo.places import model_path
from edgeemo.profile import Profile
from edgeemo.session import ModelFile, check_graph, open_session, read_model_file, session_options
from edgeemo.speech import Speech
from edgeemo.stepper import Learnt, States, Stepper, stepper
from edgeemo.trial import try_silence
from edgeemo.utterances import EMPTY_DB, MINIMUM_DB, is_silent
from edgeemo.voice import NO_SPEECH
from edgeemo.windows import Bounds, moved, preceded_by_silence, step_bounds, stretches, window_bounds

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
class Score(Answer):
    """What a model says of a whole clip: an `Answer`, and what it is of.

    It judges the mean of the probabilities over the clip's windows, or over the steps of a stream graph; those
    without speech are left out where there are others. The mean is taken first, and then calibrated.

    Attributes:
        label: the most probable emotion; None where none is named.
        reason: why there is no label: `unsure`, where none is probable enough; `no speech`, where nobody speaks;
            `silence`, where nothing is louder than -60 dB; `the channels cancel in their mean`; or `shorter than a
            step of 0.16 s`.
        probabilities, arousal: as in `Answer`.
        duration_s: seconds of audio in the clip.
        n_windows: how many windows or steps the mean is over.
    """

    duration_s: float
    n_windows: int


@dataclass(frozen=True, eq=False)
class Moment:
    """What a model says of one window of a clip, or of one step of a stream.

    Attributes:
        start: first sample of the window or step, in the clip.
        end: the sample after its last.
        reason: why there is nothing to judge in it, or in the window's length that ends with a step: `silence`, where
            nothing is louder than -60 dB, or `no speech`; None where there is.
        probabilities: shape `(n_labels,)`, summing to 1; as the graph gives them, neither calibrated nor judged.
    """

    start: int
    end: int
    reason: str | None
    probabilities: Probabilities


@dataclass(frozen=True, eq=False)
class Mean:
    """The mean over the moments of a clip that have something to judge, or over all if none has.

    Attributes:
        probabilities: shape `(n_labels,)`, summing to 1; neither calibrated nor judged.
        n_windows: how many moments it is over.
        reason: why there is nothing to judge in any of them; None where there is.
    """

    probabilities: Probabilities
    n_windows: int
    reason: str | None


class EmotionModel:
    """A loaded model of audio. Get one by `edgeemo.load`.

    It never changes by itself: any number of threads may use it at once, and any number of listeners share it.

    Attributes:
        judgement: how its probabilities become answers: as the file says, unless given or set otherwise.

    Args:
        path: an ONNX file made by `edgeemo export`.
        n_threads: onnxruntime's intra-op threads. One is right for these small graphs on an edge device.
        options: onnxruntime session options to use instead of the defaults (for profiling).
        file: what `path` holds, where it has been read already.
        judgement: how to judge instead of as the file says.

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
        judgement: Judgement | None = None,
    ) -> None:
        self.path = Path(path)
        file = file or read_model_file(self.path)
        self.metadata = Metadata.from_json(file.metadata, source=str(self.path))
        self.judgement = judgement or self.metadata.judgement or Judgement.of(self.metadata.labels)
        self.session = open_session(file, options or session_options(n_threads))
        self._silent_states = self._checked()
        self._graph = file.graph

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return self.metadata.labels

    @property
    def sample_rate(self) -> int:
        """Hz of the audio that the graph takes; audio of other rates is resampled on the way."""
        return self.metadata.features.sample_rate

    @property
    def graph_sha256(self) -> str:
        """Of the graph in its file, metadata apart."""
        return self._graph

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of what one step takes: `(step_samples,)`."""
        return (self.metadata.step_samples,)

    def classify(
        self,
        audio: Path | str | npt.NDArray[Any],
        *,
        sample_rate: int | None = None,
        profile: Profile | None = None,
    ) -> Score:
        """Classify a whole clip of any length and rate.

        With a window graph: the mean of the probabilities over the windows of `edgeemo.windows.window_bounds`. With
        a stream graph: the mean over the steps that end at or after the end of the clip's first full window, each
        of which has heard that much of the clip; of a clip shorter than a window, the last step alone. The clip
        ends with a step: silence fills its first. Pauses in it reset nothing.

        Any length fits into little memory: a long file is read twice, first to check it and to learn its length.

        Args:
            audio: the path of a file; or the samples, mono float32 in [-1, 1] or int16, shape `(n_samples,)`.
            sample_rate: Hz of the samples; a file says its own.
            profile: of the voice and the microphone; the clip is then heard as if after what it was learnt from.

        Raises:
            AudioError: the file cannot be read; there are no samples, or they are of another type or shape, NaN or
                infinite; a rate is missing, not positive, or given beside a path.
            ProfileError: the profile is another model's, or this model learns nothing of a voice.

        Examples:
            >>> import edgeemo
            >>> score = edgeemo.load("cnn_lstm").classify("call.wav")
            >>> score.label == max(score.probabilities, key=score.probabilities.get)
            True
        """
        if isinstance(audio, Path | str):
            if sample_rate is not None:
                raise AudioError(f"{audio}: a file says its own rate; leave out sample_rate")
            clip = Clip.of_file(audio, self.sample_rate)
        else:
            if sample_rate is None:
                raise AudioError("audio without its rate; give sample_rate, in Hz")
            clip = Clip.of_samples(audio, sample_rate, self.sample_rate)
        mean = self.mean(clip, profile)
        reason = why_unlabelled(clip, self.metadata.step_samples, mean.reason)
        answer = self.answer(mean.probabilities, reason=reason)
        return Score(**vars(answer), duration_s=clip.duration_s, n_windows=mean.n_windows)

    def answer(self, probabilities: Probabilities, *, reason: str | None = None) -> Answer:
        """Calibrate and judge by `judgement`.

        Args:
            probabilities: as the graph gives them, or the mean of such; shape `(n_labels,)`.
            reason: why there is nothing to judge, such as `silence`; None where there is.
        """
        named = dict(zip(self.labels, probabilities.tolist(), strict=True))
        return self.judgement.answer(named, reason=reason)

    def mean(self, clip: Clip, profile: Profile | None = None) -> Mean:
        """The mean over `moments`.

        Args:
            clip: at the model's rate.
            profile: see `classify`.

        Raises:
            AudioError: the clip's file cannot be read a second time.
            ProfileError: as `classify`.
        """
        # In double precision; no moment is kept.
        total: dict[str | None, npt.NDArray[np.float64]] = {}
        n: Counter[str | None] = Counter()
        for moment in self.moments(clip, profile):
            total[moment.reason] = total.get(moment.reason, np.zeros(len(self.labels))) + moment.probabilities
            n[moment.reason] += 1
        if None in n:
            return Mean((total[None] / n[None]).astype(np.float32), n[None], None)
        reason = NO_SPEECH if NO_SPEECH in n else SILENCE
        return Mean((np.sum(list(total.values()), axis=0) / n.total()).astype(np.float32), n.total(), reason)

    def moments(self, clip: Clip, profile: Profile | None = None) -> Iterator[Moment]:
        """The windows or steps by which a clip is scored (see `classify`), one after the other; at least one.

        Args:
            clip: at the model's rate.
            profile: see `classify`.

        Raises:
            AudioError: the clip's file cannot be read a second time.
            ProfileError: as `classify`.
        """
        if self.metadata.mode == "stream":
            return self._steps(clip, self.stepper(profile))
        if profile is not None:
            profile.learnt(self.metadata, self._graph)  # says why not
        return self._windows(clip)

    def stepper(self, profile: Profile | None = None) -> Stepper:
        """The model at the start of a stream of its own; for one thread at a time.

        Args:
            profile: what was learnt before.

        Raises:
            ProfileError: it is another model's, or this model learns nothing of a voice.
        """
        found = stepper(self.session, self.metadata, self._silent_states)
        if profile is not None:
            found.reset(profile.learnt(self.metadata, self._graph))
        return found

    def profile(self, learnt: Learnt, *, n_utterances: int) -> Profile:
        """What a stepper of this model has learnt, to be kept.

        Args:
            learnt: of the stepper.
            n_utterances: how many it has heard.

        Raises:
            ProfileError: this model learns nothing of a voice.
        """
        return Profile.of(self.metadata, self._graph, learnt, n_utterances=n_utterances)

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

    def _windows(self, clip: Clip) -> Iterator[Moment]:
        window_samples, speech = self.metadata.window_samples, self._speech(clip)
        first, last = self._heard(clip, speech)
        bounds = moved(window_bounds(last - first, window_samples), first)
        for (start, end), window in stretches(clip.blocks(), bounds):
            reason = SILENCE if self._is_silent(window) else speech.why_not(start, end)
            yield Moment(start, end, reason, self.predict(preceded_by_silence(window, window_samples)))

    def _steps(self, clip: Clip, steps: Stepper) -> Iterator[Moment]:
        window_samples, speech = self.metadata.window_samples, self._speech(clip)
        first, last = self._heard(clip, speech)
        first_scored_end = first + min(window_samples, last - first)
        n_silent = 0  # samples that the silence so far has lasted
        bounds = moved(step_bounds(last - first, self.metadata.step_samples), first)
        for (start, end), step, probabilities in self._answered(steps, stretches(clip.blocks(), bounds)):
            n_silent = n_silent + len(step) if self._is_silent(step) else 0
            if end >= first_scored_end:
                silent = n_silent >= min(window_samples, end - first)
                reason = SILENCE if silent else speech.why_not(end - window_samples, end)
                yield Moment(start, end, reason, probabilities)

    def _answered(
        self, steps: Stepper, parts: Iterable[tuple[Bounds, Audio]]
    ) -> Iterator[tuple[Bounds, Audio, Probabilities]]:
        """Each step of a clip with its answer, which comes `delay_ms` later: silence follows the clip."""
        n_samples, waiting = self.metadata.step_samples, deque[tuple[Bounds, Audio]]()
        n_late = self.metadata.delay_samples // n_samples
        silence = itertools.repeat((None, np.zeros(n_samples, np.float32)), n_late)
        for i, (bounds, part) in enumerate(itertools.chain(parts, silence)):
            if bounds is not None:
                waiting.append((bounds, part))
            probabilities = steps.step(preceded_by_silence(part, n_samples))
            if i >= n_late:
                yield *waiting.popleft(), probabilities

    def _heard(self, clip: Clip, speech: Speech) -> tuple[int, int]:
        """What is heard of a clip: a front end that learns from what it hears begins with the first voice."""
        span = speech.span() if self.metadata.features.level == "running_mean" else None
        return span or (0, clip.n_samples)

    def _is_silent(self, audio: Audio) -> bool:
        """Whether there is nothing to judge: by the level, unless the voice detector decides, which hears any."""
        return is_silent(audio, self.sample_rate, EMPTY_DB if self.judgement.needs_voice else MINIMUM_DB)

    def _speech(self, clip: Clip) -> Speech:
        return clip.speech if self.judgement.needs_voice else Speech.everywhere(clip.n_samples)

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


def why_unlabelled(clip: Clip, step_samples: int, reason: str | None) -> str | None:
    """Why there is nothing to judge in a clip; None where there is.

    Args:
        clip: the clip.
        step_samples: the step of the model, at the clip's rate: nothing shorter has an emotion to be heard.
        reason: that of all its moments.
    """
    if clip.n_samples < step_samples:
        return f"shorter than a step of {step_samples / clip.sample_rate:g} s"
    return clip.why_silent() if reason == SILENCE else reason


def load(model: Path | str, *, n_threads: int = 1, judgement: Judgement | None = None) -> EmotionModel:
    """Load a model.

    Args:
        model: the name of a shipped one (`edgeemo models` lists them), or the path of an ONNX file made by
            `edgeemo export`.
        n_threads: onnxruntime's intra-op threads. One is right for these small graphs on an edge device.
        judgement: how its probabilities become answers, instead of as the file says.

    Raises:
        ModelError: there is no such model; the file is not ONNX, has no edgeemo metadata, or the two disagree; its
            graph is refused, or makes no probabilities; it is a model of images.

    Examples:
        >>> import edgeemo
        >>> edgeemo.load("cnn_lstm.stream")  # doctest: +NORMALIZE_WHITESPACE
        EmotionModel(cnn_lstm.stream: neutral, angry, disgust, fear, happy, sad, surprise;
            16000 Hz, stream of 3.2 s, a step every 0.16 s; 249,991 parameters, 1.1 MB)
    """
    return EmotionModel(model_path(str(model)), n_threads=n_threads, judgement=judgement)
