"""Whether somebody speaks, every 32 ms: Silero's voice detector, in a graph of this project's own.

The graph is `silero/voice.onnx`, a plain file that a browser or a program in C runs as well: audio and four states
in, one probability per chunk and the states' next values out. `edgeemo.workstation.voice` makes it, and says how.
"""

from __future__ import annotations

import functools
import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgeemo.audio import Resampler, as_float32
from edgeemo.errors import ModelError
from edgeemo.metadata import State
from edgeemo.records import Record
from edgeemo.session import check_graph, open_session, read_model_file, session_options

Audio = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float32]

SAMPLE_RATE = 16000
"""Hz, of what the network hears."""
CHUNK_SAMPLES = 512
"""What one probability is of: 32 ms."""
VOICE_PATH = Path(__file__).resolve().parent / "silero" / "voice.onnx"

VOICED = 0.5
RECENT_CHUNKS = 8
LEAST_VOICED = 6
HANG_CHUNKS = 20
"""0.64 s: what a pause within an utterance may last."""
MARGIN_CHUNKS = 4
"""0.13 s: what is kept before and after a voice, which begins and ends softly."""
NO_SPEECH = "no speech"
"""The reason why nothing is judged where nobody speaks."""

KIND = "voice"
FORMAT = 1
_MAX_CHUNKS = 256
"""In one run: 8 s, for which the network needs 10 MB."""


@dataclass(frozen=True, kw_only=True)
class VoiceSource(Record):
    """Where the weights are from.

    Attributes:
        package: on PyPI.
        version: of it.
        file: in its wheel.
        sha256: of that file.
    """

    package: str
    version: str
    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class VoiceMetadata(Record):
    """The JSON in a voice detector's file.

    Attributes:
        format: version of this structure.
        kind: `"voice"`: no model of emotions.
        sample_rate: Hz.
        chunk_samples: what one probability is of; `audio` holds a whole number of chunks.
        states: graph inputs that are the graph's outputs of the run before; zeros at the start.
        licence: of the weights.
        source: where they are from.
    """

    format: int = FORMAT
    kind: str = KIND
    sample_rate: int
    chunk_samples: int
    states: tuple[State, ...]
    licence: str
    source: VoiceSource


class VoiceDetector:
    """Finds voices in a stream. No thread and no clock: whoever has audio pushes it.

    Neither the level of the audio nor a constant offset matters: the graph takes each chunk's mean away, and scales
    it by the loudest chunk of the last second. A peak below -60 dBFS counts as that, so that silence stays quiet.

    Any number of detectors, in any threads, share one network; each of them belongs to one thread at a time.

    Args:
        sample_rate: of what is pushed, in Hz.

    Raises:
        AudioError: it is not positive.
        ModelError: the network's file is damaged.
    """

    def __init__(self, sample_rate: int = SAMPLE_RATE) -> None:
        self._resampler = Resampler(sample_rate, SAMPLE_RATE)
        self._session, self._metadata = _network()
        self._waiting: Audio
        self.reset()

    def push(self, audio: Audio) -> Probabilities:
        """Take new audio, and hear the chunks that it completes.

        Args:
            audio: mono float32 in [-1, 1], shape `(n_samples,)`, of any length.

        Returns:
            for each of these chunks the probability that it holds a voice, float32, shape `(n_chunks,)`. They do not
            depend on how the stream is cut.

        Raises:
            AudioError: another type or shape, or a sample that is NaN or infinite; the stream is as before.
        """
        waiting = np.concatenate([self._waiting, self._resampler.push(as_float32(audio))])
        n_whole = len(waiting) - len(waiting) % CHUNK_SAMPLES
        self._waiting = waiting[n_whole:].copy()  # not a view, which would keep all of it
        longest = _MAX_CHUNKS * CHUNK_SAMPLES
        runs = [self._run(waiting[at : min(at + longest, n_whole)]) for at in range(0, n_whole, longest)]
        return np.concatenate([np.zeros(0, np.float32), *runs])

    def reset(self) -> None:
        """Forget the stream: the next sample is the first, after silence."""
        self._resampler.reset()
        self._waiting = np.zeros(0, np.float32)
        self._states = {s.name: np.zeros(s.shape, np.float32) for s in self._metadata.states}

    def _run(self, audio: Audio) -> Probabilities:
        states = self._metadata.states
        voice, *following = self._session.run(
            ["voice", *(s.next_name for s in states)], {"audio": audio[np.newaxis], **self._states}
        )
        self._states = {s.name: value for s, value in zip(states, following, strict=True)}
        probabilities: Probabilities = voice[0]
        return probabilities


class SpeechDetector:
    """Finds the utterances of a stream by the voice in it.

    The rule: somebody speaks once `LEAST_VOICED` of the last `RECENT_CHUNKS` chunks hold a voice with a probability
    of `VOICED` or more, and for `HANG_CHUNKS` chunks after such a moment. An utterance begins where somebody speaks
    and nobody did before. A single voiced chunk, as in a slammed door or a cough, is not enough: a syllable is.

    Args:
        sample_rate: of what is pushed, in Hz.
    """

    def __init__(self, sample_rate: int = SAMPLE_RATE) -> None:
        self._voice = VoiceDetector(sample_rate)
        self._hang: int
        self._n_chunks: int
        self._onset: int
        self._last_voiced: int
        self._ended: int
        self.reset()

    @property
    def paused(self) -> bool:
        """Whether nobody speaks, as far as has been heard."""
        return self._hang == 0

    @property
    def onset_s(self) -> float:
        """Where the latest utterance begins, in seconds: `MARGIN_CHUNKS` before its first voice."""
        return self._onset * CHUNK_SAMPLES / SAMPLE_RATE

    @property
    def last_voice_s(self) -> float:
        """Where its last voice so far ends, with `MARGIN_CHUNKS` after it: these may not have been heard yet."""
        return (self._last_voiced + MARGIN_CHUNKS) * CHUNK_SAMPLES / SAMPLE_RATE

    @property
    def voice_before_s(self) -> float:
        """Where the last voice of the utterance before it ended, likewise."""
        return (self._ended + MARGIN_CHUNKS) * CHUNK_SAMPLES / SAMPLE_RATE

    def push(self, audio: Audio) -> bool:
        """Take new audio; whether an utterance begins in it.

        Args:
            audio: as `VoiceDetector.push`.

        Raises:
            AudioError: as `VoiceDetector.push`.
        """
        before, begins = not self.paused, False
        for left in self.follow(audio):
            begins = begins or (left > 0 and not before)
            before = left > 0
        return begins

    def follow(self, audio: Audio) -> list[int]:
        """Take new audio; for each chunk that it completes, how long somebody then counts as speaking.

        In chunks: `HANG_CHUNKS` while there is a voice, then one less with each chunk; 0: nobody speaks.

        Args:
            audio: as `VoiceDetector.push`.

        Raises:
            AudioError: as `VoiceDetector.push`.
        """
        found = []
        for probability in self._voice.push(audio).tolist():
            self._recent.append(probability >= VOICED)
            self._n_chunks += 1
            if sum(self._recent) >= LEAST_VOICED:
                if self.paused:
                    self._ended = self._last_voiced
                    begin = self._n_chunks - RECENT_CHUNKS - MARGIN_CHUNKS
                    self._onset = max(begin, self._last_voiced + MARGIN_CHUNKS if self._last_voiced else 0)
                self._hang, self._last_voiced = HANG_CHUNKS, self._n_chunks
            else:
                self._hang = max(self._hang - 1, 0)
            found.append(self._hang)
        return found

    def reset(self) -> None:
        """Forget the stream: the next sample is the first."""
        self._voice.reset()
        self._recent: deque[bool] = deque(maxlen=RECENT_CHUNKS)
        self._hang = self._n_chunks = self._onset = self._last_voiced = self._ended = 0


@functools.lru_cache(maxsize=1)
def _network() -> tuple[ort.InferenceSession, VoiceMetadata]:
    """The network, loaded once per process.

    Raises:
        ModelError: its file is missing or damaged, or is another than this version reads.
    """
    file = read_model_file(VOICE_PATH)
    try:
        metadata = VoiceMetadata.from_dict(json.loads(file.metadata))
    except ValueError as error:
        raise ModelError(f"{file.path}: its metadata is damaged ({error}); install edgeemo again") from error
    found = (metadata.kind, metadata.format, metadata.sample_rate, metadata.chunk_samples)
    expected = (KIND, FORMAT, SAMPLE_RATE, CHUNK_SAMPLES)
    if found != expected:
        raise ModelError(
            f"{file.path}: kind, format, rate and chunk are {found}, expected {expected}; install edgeemo again"
        )
    session = open_session(file, session_options())
    check_graph(
        session,
        file.path,
        inputs=[("audio", (1, "n_samples")), *((s.name, s.shape) for s in metadata.states)],
        outputs=[("voice", (1, "n_chunks")), *((s.next_name, s.shape) for s in metadata.states)],
    )
    return session, metadata
