"""Reading audio files, finding them in folders, and resampling a stream.

Past this module audio is mono float32 in [-1, 1], shape `(n_samples,)`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from edgeemo.corpora.sound import Forward
from edgeemo.errors import AudioError
from edgeemo.features import MIN_RATE
from edgeemo.folders import walk
from edgeemo.wav import UntilItsEnd, unfinished_length

if TYPE_CHECKING:
    from edgeemo.corpora.manifest import Clip

Audio = npt.NDArray[np.float32]

SUFFIXES = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd"}
    | {".caf", ".w64", ".rf64"}
)
"""What counts as audio in a folder. A file that is named explicitly may have any suffix."""
CONTAINERS = frozenset({".m4a", ".mp4", ".aac", ".wma", ".webm", ".mka", ".amr", ".3gp", ".ac3"})
"""Audio that libsndfile does not read. It is found all the same: passing over it would lose clips without a word."""

_QUALITY = "HQ"
_READ_SAMPLES = 1 << 18


def find_audio(
    paths: Iterable[Path | str], on_unreadable: Callable[[OSError], None] | None = None
) -> list[Path]:
    """Find audio files.

    Args:
        paths: files, taken as they are, and folders, searched recursively, also through links, for `SUFFIXES` and
            `CONTAINERS`; hidden files and folders in them (such as macOS' `._name.wav`) are skipped.
        on_unreadable: called with the error, which names the folder, for each folder that cannot be searched; the
            search goes on.

    Returns:
        the files, sorted, each once.

    Raises:
        AudioError: a path does not exist or cannot be looked at, or a folder holds no audio file. Without
            `on_unreadable`: a folder cannot be searched.
    """
    found: set[Path] = set()
    for path in map(Path, paths):
        if not stat.S_ISDIR(_looked_up(path).st_mode):
            found.add(path)
            continue
        unreadable: list[OSError] = []
        inside = set(_search(path, unreadable))
        for failure in unreadable:
            if on_unreadable is None:
                raise AudioError(f"{failure.filename}: this folder cannot be searched ({failure.strerror})")
            on_unreadable(failure)
        if not inside and not unreadable:
            raise AudioError(f"{path}: no audio file in this folder ({', '.join(sorted(SUFFIXES))})")
        found |= inside
    return sorted(found)


def native_rate(path: Path | str) -> int:
    """The sample rate of an audio file, in Hz.

    Raises:
        AudioError: as `read_blocks`.
    """
    return native_format(path)[0]


def native_format(path: Path | str) -> tuple[int, int]:
    """The sample rate of an audio file, in Hz, and how many channels it has.

    Raises:
        AudioError: as `read_blocks`.
    """
    with _opened(Path(path)) as file:
        return int(file.samplerate), int(file.channels)


def read_blocks(
    path: Path | str, block_samples: int, start_samples: int = 0, *, channel: int | None = None
) -> Iterator[Audio]:
    """Read a file block by block, at its own sample rate.

    Args:
        path: a WAV, FLAC, OGG, MP3 or other file that libsndfile reads, of any rate and number of channels.
        block_samples: length of a block, in samples of the file.
        start_samples: where to begin, likewise.
        channel: which to read, from 1; None: the mean of all.

    Yields:
        mono float32, shape `(block_samples,)`; the last one may be shorter.

    Raises:
        AudioError: the file is missing, a folder, not audio, or empty; its rate is impossible; it has no such
            channel; or it holds samples that are NaN, infinite, or too large to average.
    """
    path = Path(path)
    n_samples = start_samples
    for block in read_channels(path, block_samples, start_samples):
        try:
            mono = one_channel(block, channel)
        except AudioError as error:
            raise AudioError(f"{path}: {error}") from error
        if not np.isfinite(mono).all():
            time_s = n_samples / native_rate(path)
            raise AudioError(f"{path}: holds NaN or infinite samples from about {time_s:.2f} s on")
        n_samples += len(block)
        yield mono


def read_channels(path: Path | str, block_samples: int, start_samples: int = 0) -> Iterator[Audio]:
    """Read a file block by block, each channel on its own; the samples are not checked.

    Args:
        path, block_samples, start_samples: as `read_blocks`.

    Yields:
        float32, shape `(block_samples, n_channels)`; the last one may be shorter.

    Raises:
        AudioError: the file is missing, a folder, not audio, or empty; its rate is impossible.
    """
    path = Path(path)
    with _opened(path) as file:
        n_samples = file.skip(start_samples)
        # Not soundfile's own `blocks`: if a damaged file ends before its header says, that returns stale memory.
        while len(block := file.read(block_samples, dtype="float32", always_2d=True)):
            before = start_samples - n_samples
            n_samples += len(block)
            if before < len(block):
                yield block[max(before, 0) :]
        if n_samples == 0:
            raise AudioError(f"{path}: holds no audio, 0 samples")


def read_audio(path: Path | str, sample_rate: int) -> Audio:
    """Read a whole file. A long one is never held in memory at its own, higher rate.

    Args:
        path: as `read_blocks`.
        sample_rate: the wanted rate, Hz.

    Returns:
        mono float32, shape `(n_samples,)`.

    Raises:
        AudioError: as `read_blocks`.
    """
    return _resampled(path, sample_rate, 0.0, None)


def clip_audio(clip: Clip, sample_rate: int) -> Audio:
    """Read a clip of a manifest: a whole file, or its segment as if it had been cut out.

    Args:
        clip: the clip.
        sample_rate: the wanted rate, Hz.

    Returns:
        mono float32, shape `(n_samples,)`.

    Raises:
        AudioError: as `read_blocks`.
    """
    return _resampled(clip.path, sample_rate, clip.start_s, clip.end_s)


def _resampled(path: Path | str, sample_rate: int, start_s: float, end_s: float | None) -> Audio:
    """A file at another rate, from one time to another; None: to its end."""
    rate = native_rate(path)
    resampler = Resampler(rate, sample_rate)
    first = round(start_s * rate)
    left = None if end_s is None else round(end_s * rate) - first
    pieces: list[Audio] = []
    for block in read_blocks(path, _READ_SAMPLES, first):
        pieces.append(resampler.push(block[:left]))
        if left is not None and (left := left - len(block)) <= 0:
            break
    return np.concatenate([*pieces, resampler.flush()])


def to_mono(block: npt.NDArray[Any]) -> Audio:
    """Average the channels.

    Args:
        block: shape `(n_samples,)` or `(n_samples, n_channels)`.

    Returns:
        float32, shape `(n_samples,)`; never a view of `block` when there are several channels.

    Raises:
        AudioError: another shape.
    """
    if block.ndim == 1:
        return block.astype(np.float32, copy=False)
    if block.ndim != 2 or block.shape[1] == 0:
        raise AudioError(f"block of shape {block.shape}, expected (n_samples,) or (n_samples, n_channels)")
    if block.shape[1] == 1:
        return block[:, 0].astype(np.float32, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):  # infinite then, which the caller looks for
        if block.shape[1] == 2:  # the same, in a third of the time: a microphone gives 50 blocks a second
            pair = block.astype(np.float32, copy=False)
            return (pair[:, 0] + pair[:, 1]) * np.float32(0.5)
        mono: Audio = block.mean(axis=1, dtype=np.float32)
    return mono


def one_channel(block: npt.NDArray[Any], channel: int | None) -> Audio:
    """One channel, or the mean of all.

    Args:
        block: as of `to_mono`.
        channel: from 1; None: the mean.

    Returns:
        as `to_mono`.

    Raises:
        AudioError: another shape, or there is no such channel.
    """
    if channel is None:
        return to_mono(block)
    check_channel(channel, 1 if block.ndim == 1 else block.shape[1])
    chosen: Audio = block.reshape(len(block), -1)[:, channel - 1].astype(np.float32)
    return chosen


def check_channel(channel: int | None, channels: int) -> None:
    """Check that there is a channel of this number.

    Raises:
        AudioError: there is not.
    """
    if channel is not None and not 1 <= channel <= channels:
        has = "one channel" if channels == 1 else f"{channels} channels"
        raise AudioError(
            f"there is no channel {channel}: it has {has}; give --channel from 1 to {channels}, or none"
        )


def check_samples(samples: npt.NDArray[Any]) -> None:
    """Check the type and shape of samples that come from the caller's own program, but not their values.

    Args:
        samples: float32 in [-1, 1] or int16, shape `(n_samples,)` of mono audio.

    Raises:
        AudioError: another type or shape.
    """
    if not isinstance(samples, np.ndarray) or samples.dtype not in (np.float32, np.int16):
        kind = samples.dtype if isinstance(samples, np.ndarray) else type(samples).__name__
        raise AudioError(
            f"audio of type {kind}; expected a NumPy array of float32 in [-1, 1] or of int16: "
            "convert it with .astype('float32')"
        )
    if samples.ndim != 1:
        raise AudioError(
            f"audio of shape {samples.shape}; expected mono, (n_samples,): pick a channel or average them"
        )


def as_float32(samples: npt.NDArray[Any]) -> Audio:
    """Check and convert samples that come from the caller's own program.

    Args:
        samples: float32 in [-1, 1], or int16, which is scaled; shape `(n_samples,)` of mono audio.

    Returns:
        float32, shape `(n_samples,)`; `samples` itself if it is that already.

    Raises:
        AudioError: another type or shape, or a sample that is NaN or infinite.
    """
    check_samples(samples)
    if samples.dtype == np.int16:
        scaled: Audio = samples.astype(np.float32) / np.float32(32768)
        return scaled
    if not np.isfinite(samples).all():
        raise AudioError(f"{len(samples)} samples of audio hold NaN or infinite values; expected [-1, 1]")
    return samples


class Resampler:
    """Resamples a stream with an anti-aliasing filter that keeps its state from block to block.

    The output does not depend on how the stream is cut into blocks: it equals soxr's of the whole, bit for bit. It
    lags behind the input by the filter's length (0.01 to 0.04 s) until `flush`.

    Args:
        source_rate: Hz of what is pushed.
        target_rate: Hz of what is returned. Equal rates pass the audio through untouched.

    Raises:
        AudioError: a rate is not positive.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        if source_rate <= 0 or target_rate <= 0:
            raise AudioError(f"cannot resample from {source_rate} Hz to {target_rate} Hz; rates are positive")
        self.source_rate = source_rate
        self.target_rate = target_rate
        self.reset()

    def reset(self) -> None:
        """Forget the stream: the next sample is the first."""
        self._stream = (
            None
            if self.source_rate == self.target_rate
            else soxr.ResampleStream(self.source_rate, self.target_rate, 1, dtype="float32", quality=_QUALITY)
        )

    def push(self, block: Audio) -> Audio:
        """Take new audio, float32 `(n_samples,)` at `source_rate`; return what is ready at `target_rate`."""
        if self._stream is None:
            return block
        ready: Audio = self._stream.resample_chunk(np.ascontiguousarray(block, np.float32))
        return ready

    def flush(self) -> Audio:
        """End the stream: return the rest of it, shape `(n_samples,)`; the next `push` starts another."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        rest: Audio = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        self.reset()
        return rest


def _search(folder: Path, unreadable: list[OSError]) -> Iterator[Path]:
    """Audio files below a folder; of folders that cannot be searched, the error goes to `unreadable`."""
    for name, folders, files in walk(folder, unreadable.append):
        folders[:] = [f for f in folders if not f.startswith(".")]
        if not os.access(name, os.X_OK):
            unreadable.append(PermissionError(None, "Permission denied", str(name)))
            continue
        for file in (name / f for f in files if not f.startswith(".")):
            if file.suffix.lower() in SUFFIXES | CONTAINERS and file.is_file():
                yield file


def _looked_up(path: Path) -> os.stat_result:
    """What the file system says of a path, if it is there."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise AudioError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    facts = _looked_up(path)
    if stat.S_ISDIR(facts.st_mode):
        raise AudioError(f"{path}: a folder, expected an audio file")
    if not stat.S_ISREG(facts.st_mode):
        raise AudioError(f"{path}: a pipe or device, expected an audio file: reading one needs to seek")
    if path.suffix.lower() == ".raw":
        raise AudioError(f"{path}: headerless audio, its rate is unknown; expected WAV, FLAC, OGG or MP3")
    if facts.st_size == 0:
        raise AudioError(f"{path}: an empty file, 0 bytes")
    try:
        length_at = unfinished_length(path)
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        with ExitStack() as stack:
            # As bytes, where names are bytes: soundfile refuses those that are not UTF-8.
            source: Any = os.fsencode(path) if os.name == "posix" else path
            if length_at is not None:
                source = stack.enter_context(UntilItsEnd(path, length_at))
            file = stack.enter_context(Forward(source))
            if file.samplerate < MIN_RATE:
                raise AudioError(
                    f"{path}: a rate of {file.samplerate} Hz, expected at least {MIN_RATE}; its header is broken"
                )
            yield file
    except soundfile.LibsndfileError as error:
        if path.suffix.lower() in CONTAINERS:
            raise AudioError(
                f"{path}: libsndfile does not read {path.suffix} files; convert it first, for example with "
                f"ffmpeg -i {path.name} {path.stem}.wav"
            ) from error
        reason = error.error_string.strip().rstrip(".")
        raise AudioError(
            f"{path}: libsndfile cannot read it as audio ({reason}); expected WAV, FLAC, OGG or MP3"
        ) from error
