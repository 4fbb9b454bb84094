"""Where utterances begin in a stream, by its level alone: for models that are to judge any sound.

This is not a voice detector (that is `edgeemo.voice`): a slammed door is an utterance too. It says when the sound
before is over, so that a model that carries state can forget it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Audio = npt.NDArray[np.float32]

PAUSE_S = 0.64
MARGIN_DB = 6.0
MINIMUM_DB = -60.0
EMPTY_DB = -90.0
"""Below this there is nothing, not even from a microphone that is much too quiet: less than a bit of 16."""
QUIET = "quiet"
"""The reason why nothing is judged in a pause."""
RISE_DB_PER_S = 3.0

_PIECE_S = 0.16  # a step of the shipped models


def is_silent(audio: Audio, sample_rate: int, minimum_db: float = MINIMUM_DB) -> bool:
    """Whether no piece of audio, as long as a step, is louder than a level: then no step of it could be speech.

    Args:
        audio: mono float32 in [-1, 1], shape `(n_samples,)`.
        sample_rate: Hz of it.
        minimum_db: the level, RMS in dB re 1.
    """
    size = max(1, round(_PIECE_S * sample_rate))
    return all(rms_db(audio[start : start + size]) <= minimum_db for start in range(0, len(audio), size))


class UtteranceDetector:
    """Finds the steps of a stream with which utterances begin.

    The rule, on the level (RMS, in dB re 1) of each step:

    1. The *floor* is the estimated level of the background. It starts at the level of the first step, drops at once
       to the level of any quieter step, and rises towards louder ones by `RISE_DB_PER_S` at most.
    2. A step is *speech* if it is more than `margin_db` above the floor, and above `minimum_db`. The first step has
       no background to be compared with: it is speech if it is above `minimum_db`.
    3. A *pause* is a run of steps without speech. If the floor drops so far that an earlier, louder step of the run
       would have been speech, that step was not part of a pause: the run starts again with the step that showed it.
    4. An *utterance* begins with the first speech of the stream, and with the first speech after a pause of at
       least `pause_s`.

    So a stream that starts in the middle of noise begins with an utterance, and the first voice after a pause's
    length of that noise begins the second. If the noise rises for good, one more utterance begins, and voices in it
    go unnoticed until the floor has caught up.

    Scaling all of the audio changes nothing as long as every step stays above `minimum_db`. The floor never drops
    more than `margin_db` below that, so that it does not have to climb out of digital silence.

    Args:
        sample_rate: Hz of the audio.
        pause_s: seconds without speech that separate two utterances.
        margin_db: how far speech is above the floor.
        minimum_db: a step at or below this is never speech, whatever the floor; dB re 1.
    """

    def __init__(
        self,
        sample_rate: int,
        *,
        pause_s: float = PAUSE_S,
        margin_db: float = MARGIN_DB,
        minimum_db: float = MINIMUM_DB,
    ) -> None:
        self._sample_rate = sample_rate
        self._pause_samples = round(pause_s * sample_rate)
        self._margin_db = margin_db
        self._minimum_db = minimum_db
        self.reset()

    def reset(self) -> None:
        """Forget the stream: the next step is the first."""
        self._floor_db: float | None = None
        self._spoken = False
        self._n_samples = self._onset = self._last_speech = self._ended = 0
        self._quiet_samples = 0  # length of the run of steps without speech so far
        self._quiet_peak_db = -math.inf  # level of the loudest step in it

    @property
    def paused(self) -> bool:
        """Whether the last step pushed is in a pause of at least `pause_s`, or before the first utterance.

        This is what is known so far: by rule 3, what looked like a pause may turn out not to have been one, and then
        ends without an utterance.
        """
        return not self._spoken or self._quiet_samples >= self._pause_samples

    @property
    def onset_s(self) -> float:
        """Where the latest utterance begins, in seconds of the stream."""
        return self._onset / self._sample_rate

    @property
    def last_voice_s(self) -> float:
        """Where its last step of speech so far ends."""
        return self._last_speech / self._sample_rate

    @property
    def voice_before_s(self) -> float:
        """Where the last step of speech of the utterance before it ended."""
        return self._ended / self._sample_rate

    def push(self, audio: Audio) -> bool:
        """Take the next step of the stream.

        Args:
            audio: mono float32 in [-1, 1], shape `(n_samples,)`, at least one sample.

        Returns:
            whether an utterance begins with this step.
        """
        # No lower than the lowest floor that makes a difference.
        level_db = max(rms_db(audio), self._minimum_db - self._margin_db)
        if self._floor_db is None:
            self._floor_db = level_db
            is_speech = level_db > self._minimum_db
        else:
            risen_db = self._floor_db + RISE_DB_PER_S * len(audio) / self._sample_rate
            self._floor_db = min(level_db, risen_db)
            is_speech = self._is_speech(level_db)
        self._n_samples += len(audio)
        if is_speech:
            begins = self.paused
            self._spoken = True
            if begins:
                self._onset, self._ended = self._n_samples - len(audio), self._last_speech
            self._last_speech = self._n_samples
            self._quiet_samples, self._quiet_peak_db = 0, -math.inf
            return begins
        if self._is_speech(self._quiet_peak_db):
            self._quiet_samples, self._quiet_peak_db = 0, -math.inf
        self._quiet_samples += len(audio)
        self._quiet_peak_db = max(self._quiet_peak_db, level_db)
        return False

    def _is_speech(self, level_db: float) -> bool:
        assert self._floor_db is not None
        return level_db > max(self._floor_db + self._margin_db, self._minimum_db)


def rms_db(audio: Audio) -> float:
    """RMS of at least one sample, in dB re 1."""
    power = float(np.dot(audio, audio)) / len(audio)
    return 10 * math.log10(power) if power > 0 else -math.inf
