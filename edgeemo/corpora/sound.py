"""The sound of a clip in numbers: its rate, length, channels and digest."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from edgeemo.errors import CorpusError

EXACT_SUFFIXES = frozenset({".wav", ".flac", ".aif", ".aiff", ".aifc"})
"""Of files that hold every sample as it was recorded."""
READ_SUFFIXES = EXACT_SUFFIXES | {".mp3", ".ogg", ".opus"}
OTHER_SUFFIXES = frozenset({".m4a", ".aac", ".wma"})
"""Of audio that libsndfile does not read."""
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000, 48_000

_BLOCK_SAMPLES = 1 << 16
_LFS_POINTER = b"version https://git-lfs"
_SHORT_WAV = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
_EXACT_FORMATS = ("WAV", "FLAC", "AIFF")
_UNKNOWN_LENGTH = 1 << 62  # and more: what libsndfile says of a FLAC stream that does not say its own
_ROUNDED_S = 0.1  # by how much the end of a segment may lie behind that of its file


class Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from its start to its end.

    soundfile seeks after each block where it can. That fails at the end of a FLAC stream of unknown length, such as
    recorders and pipes write, and makes a decoder of MP3 start anew.
    """

    def seekable(self) -> bool:
        return False

    def skip(self, n_samples: int) -> int:
        """Before anything is read, pass over samples where the format has each at a known place.

        Returns:
            how many were passed over: all of them, or none.
        """
        if not self.format.startswith(_EXACT_FORMATS) or not 0 < n_samples < self.frames < _UNKNOWN_LENGTH:
            return 0
        return int(self.seek(n_samples))


@dataclass(frozen=True)
class Sound:
    """What a file holds, or a segment of it."""

    sample_rate: int
    """Hz."""
    n_samples: int
    """Per channel."""
    n_channels: int
    sha256: str
    """Over the sample rate and the mean of the channels as little-endian float32."""


def read_sound(path: Path, start_s: float = 0.0, end_s: float | None = None) -> Sound:
    """Decode a file to its end, or a segment of it: compressed with losses, from the start of the file.

    Args:
        path: of the file.
        start_s, end_s: the segment; None: to the end of the file.

    Raises:
        CorpusError: what is wrong with the file or the segment, without its name.
    """
    try:
        # First without libsndfile: it says "System error" to a missing permission, and would wait at a pipe.
        if not stat.S_ISREG(path.stat().st_mode):
            raise CorpusError("not a regular file")
        with path.open("rb") as file:
            head = file.read(len(_LFS_POINTER))
    except OSError as error:
        raise CorpusError(f"cannot be read: {error.strerror or error}") from error
    if not head:
        raise CorpusError("empty file")
    if head == _LFS_POINTER:
        raise CorpusError("a Git LFS pointer instead of audio: run `git lfs pull` in its repository")

    try:
        # As bytes, because soundfile cannot encode a name that is not UTF-8.
        sound = Forward(os.fsencode(path) if os.name == "posix" else path)
    except soundfile.SoundFileError as error:
        raise CorpusError(f"not audio: {_cause(error)}") from error
    with sound:
        rate, n_channels = sound.samplerate, sound.channels
        if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
            raise CorpusError(f"{rate} Hz, expected {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz")
        if n_channels > 2:
            raise CorpusError(f"{n_channels} channels, expected mono or stereo")
        if sound.frames == 0:
            raise CorpusError("no samples")
        _refuse_short_wav(sound)
        first, last = round(start_s * rate), None if end_s is None else round(end_s * rate)
        digest = hashlib.sha256(f"{rate} Hz\n".encode())
        n_samples = 0
        try:
            position = sound.skip(first)
            while last is None or position < last:
                block = sound.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)
                if not len(block):
                    break
                if not np.isfinite(block).all():
                    raise CorpusError("NaN or infinite samples")
                wanted = block[max(first - position, 0) : None if last is None else last - position]
                digest.update(wanted.mean(axis=1).astype("<f4").tobytes())
                position += len(block)
                n_samples += len(wanted)
        except soundfile.SoundFileError as error:
            raise CorpusError(f"corrupt audio: {_cause(error)}") from error
        # What a compressed file says of its length may be a guess.
        if last is None and position != sound.frames and sound.format.startswith(_EXACT_FORMATS):
            raise CorpusError(f"cut short: {position} of {sound.frames} samples")
        if n_samples == 0 or (last is not None and position < last - _ROUNDED_S * rate):
            segment = f"{start_s:g} s to {'its end' if end_s is None else f'{end_s:g} s'}"
            raise CorpusError(f"a segment from {segment}, but the file lasts {position / rate:g} s")
    return Sound(rate, n_samples, n_channels, digest.hexdigest())


def _refuse_short_wav(sound: soundfile.SoundFile) -> None:
    """Raise CorpusError for a WAV file that ends before its header says; libsndfile just reads less.

    A header that is wrong by a few bytes is a common slip of writers, and one that says about 2 or 4 GiB was
    written to a pipe before the length was known: both are whole.
    """
    if not sound.format.startswith("WAV"):
        return
    match = _SHORT_WAV.search(sound.extra_info)
    if match is None:
        return
    declared, there = int(match[1]), int(match[2])
    if there < 0.99 * declared and declared < (1 << 31) - (1 << 16):
        raise CorpusError(f"cut short: {there} of {declared} bytes of audio")


def _cause(error: soundfile.SoundFileError) -> str:
    """libsndfile's own words, without the path that soundfile puts in front."""
    return str(getattr(error, "error_string", error)).rstrip(".")
