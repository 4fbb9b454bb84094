"""Clip and Manifest: what is in a folder of corpora, and the CSV file that keeps it."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from edgeemo.corpora.annotations import TABLE_SUFFIX, Annotation, Table, merge, read_table
from edgeemo.corpora.labels import EMOTIONS, LabelMap
from edgeemo.corpora.names import CORPORA, Unwanted, recognise
from edgeemo.errors import CorpusError
from edgeemo.files import replacing
from edgeemo.folders import walk

_log = logging.getLogger(__name__)

READ_SUFFIXES = frozenset({".wav", ".flac"})
OTHER_AUDIO_SUFFIXES = frozenset({".mp3", ".ogg", ".opus", ".m4a", ".aac", ".wma", ".aif", ".aiff", ".aifc"})
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000, 48_000

COLUMNS = (
    "path",
    "corpus",
    "emotion",
    "speaker",
    "sentence",
    "intensity",
    "sample_rate",
    "n_samples",
    "n_channels",
    "sha256",
    "session",
)
"""The columns of the CSV file, in order."""
_COLUMNS_WITHOUT_SESSION = COLUMNS[:-1]

_NOT_ANNOTATED = Annotation(
    reason="in no annotation table: scan a folder that also holds the corpus' annotation folder"
)
_COPY = "a copy: a clip with the same name and the same sound is counted already"
_BLOCK_SAMPLES = 1 << 16
_LFS_POINTER = b"version https://git-lfs"
_SHORT_WAV = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)


@dataclass(frozen=True)
class Clip:
    """One clip of emotional speech: where it is, what its name or annotation says of it, and its audio in numbers."""

    path: Path
    """Absolute."""
    corpus: str
    emotion: str
    speaker: str
    sentence: str
    intensity: str
    """Empty when unknown."""
    sample_rate: int
    """Hz, of the file."""
    n_samples: int
    """Per channel, at the rate of the file."""
    n_channels: int
    sha256: str
    """Of the decoded audio: equal for two files that hold the same sound, see `scan`."""
    session: str = ""
    """The recording session, unique over all corpora; empty where the corpus has none."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate

    @property
    def label(self) -> str:
        """What label maps map: the emotion."""
        return self.emotion

    @property
    def place(self) -> Path:
        """What splits sort clips by."""
        return self.path

    @property
    def part(self) -> str:
        """Empty: corpora of speech have no training and test part of their own."""
        return ""


@dataclass(frozen=True)
class Skipped:
    """A file that gave no clip; a folder that cannot be listed; an annotation table, whole or in part."""

    path: Path
    reason: str
    broken: bool = False
    """True: it should have given a clip, and `on_error="stop"` would have stopped at it."""


@dataclass(frozen=True)
class Manifest:
    """The clips of a folder in the order of their paths, and what was skipped on the way."""

    clips: tuple[Clip, ...]
    skipped: tuple[Skipped, ...] = field(default=())
    """Not kept in the CSV file."""

    def copies(self) -> list[Path]:
        """Files that were skipped because a clip with the same name and sound came before, in order."""
        return [item.path for item in self.skipped if item.reason == _COPY]

    def duplicates(self) -> list[tuple[Clip, ...]]:
        """Groups of two or more clips that hold the same audio, in the order of their first clips."""
        groups: dict[str, list[Clip]] = defaultdict(list)
        for clip in self.clips:
            groups[clip.sha256].append(clip)
        return [tuple(group) for group in groups.values() if len(group) > 1]

    def select(
        self, *, corpora: Iterable[str] | None = None, label_map: LabelMap | None = None
    ) -> tuple[Clip, ...]:
        """The clips of `corpora` (None: of all) that have a label in `label_map` (None: all emotions).

        Raises:
            CorpusError: the manifest has no clip of one of `corpora`.
        """
        present = {clip.corpus for clip in self.clips}
        wanted = present if corpora is None else set(corpora)
        if absent := sorted(wanted - present):
            have = ", ".join(sorted(present)) or "none"
            raise CorpusError(f"the manifest has no clip of {', '.join(absent)}; it has corpora: {have}")
        return tuple(
            clip
            for clip in self.clips
            if clip.corpus in wanted and (label_map is None or label_map.index(clip.emotion) is not None)
        )

    def write_csv(self, path: Path) -> None:
        """Write the clips to a CSV file, atomically.

        A clip below the folder of the CSV file is written relative to that folder, any other as an absolute
        path: corpora and a manifest beside them can move together, and a manifest elsewhere still finds its
        clips. File names that are not UTF-8 are kept byte for byte.

        Raises:
            OutputError: the file cannot be written.
        """
        path = Path(path)
        folder = path.parent.resolve()
        with (
            replacing(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for clip in self.clips:
                values = {name: getattr(clip, name) for name in COLUMNS}
                place = clip.path.absolute()
                values["path"] = (
                    place.relative_to(folder) if place.is_relative_to(folder) else place
                ).as_posix()
                writer.writerow(values.values())


def scan(
    folder: Path,
    *,
    on_error: Literal["skip", "stop"] = "skip",
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Find the clips of all known corpora in a folder, and read every one of them to its end.

    Where the name of a clip does not say its emotion, annotation tables anywhere in the folder do.

    Links to folders are followed, each folder once. Clips and skipped files come in the order of their
    paths, so that the same folder gives the same manifest everywhere.

    A corpus that lies there twice, as an archive unpacked beside its inner folder, counts once: of clips with the
    same sound, file name, emotion and speaker, the first is taken and the others are skipped. Clips with the same
    sound that differ in one of these are all taken, see `Manifest.duplicates`: corpora have such takes, some under
    two emotions, and which one is right nobody can say here.

    `Clip.sha256` is taken over the sample rate and the mean of the channels as little-endian float32, not
    over the bytes of the file: a clip as WAV and as FLAC, or in mono and on two equal channels, then has one
    digest. float32 holds 8- to 24-bit PCM exactly; int16 would cut 24-bit files off and clip float files. The
    same sound at another sample rate counts as another.

    Args:
        folder: the folder, with any nesting below it.
        on_error: what to do at a file that is named like a clip and does not hold one (empty, corrupt, not audio,
            unreadable, outside 8 to 48 kHz or mono/stereo, NaN), at an annotation table that cannot be read, and at
            a clip whose tables contradict each other: skip it, or stop.
        progress: called as `progress(n_done, n_files)` after every file.

    Raises:
        CorpusError: the folder does not exist or holds no clip; with "stop", at the first broken file.
    """
    if not Path(folder).is_dir():
        raise CorpusError(f"no folder at {str(folder)!r}; give the folder that a corpus was unpacked into")
    root = Path(folder).resolve()
    paths, csv_files, skipped = _find(root)
    tables, unread = _read_tables(csv_files)
    skipped += unread
    if on_error == "stop" and skipped:
        raise _stopped(skipped[0])
    annotations = merge(tables)
    skipped += _without_audio(tables, paths)

    clips = []
    for n_done, path in enumerate(paths, start=1):
        result = _examine(path, root, annotations)
        if isinstance(result, Clip):
            clips.append(result)
        elif on_error == "stop" and result.broken:
            raise _stopped(result)
        else:
            skipped.append(result)
        if progress is not None:
            progress(n_done, len(paths))
    if not clips:
        raise CorpusError(_nothing(root, skipped))
    return _without_copies(clips, skipped)


def read_csv(path: Path) -> Manifest:
    """Read a manifest that `Manifest.write_csv` wrote. The audio files are not opened.

    The column `session` may be absent: older manifests do not have it. They may hold copies, which are skipped as
    `scan` does.

    Raises:
        CorpusError: no such file, other columns, or a row with an impossible value (with its line number).
    """
    path = Path(path)
    folder = path.parent.resolve()
    clips: dict[Path, Clip] = {}
    try:
        # utf-8-sig: a spreadsheet that saved the file may have put a byte order mark in front.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = tuple(next(reader, ()))
            if header not in (COLUMNS, _COLUMNS_WITHOUT_SESSION):
                got = ",".join(header) or "nothing"
                raise CorpusError(
                    f"{str(path)!r} is not a manifest: its first line is {got!r}, "
                    f"expected {','.join(COLUMNS)!r}; write one with `edgeemo data`"
                )
            for row in reader:
                if not row:
                    continue
                try:
                    clip = _clip_of(row, header, folder)
                    if clip.path in clips:
                        raise ValueError(f"path {row[0]!r} occurs twice")
                except ValueError as error:
                    raise CorpusError(f"{str(path)!r}, line {reader.line_num}: {error}") from error
                clips[clip.path] = clip
    except csv.Error as error:
        raise CorpusError(f"{str(path)!r}, line {reader.line_num}: not CSV ({error})") from error
    except OSError as error:
        cause = error.strerror or error
        raise CorpusError(
            f"cannot read the manifest {str(path)!r}: {cause}; write one with `edgeemo data`"
        ) from error
    if not clips:
        raise CorpusError(f"the manifest {str(path)!r} has no rows; write one with `edgeemo data`")
    return _without_copies(clips.values(), ())


def find_clips(data: Path) -> Manifest:
    """The clips of a folder of corpora (scanned) or of a manifest (read).

    A warning in the log says how many files are copies, see `scan`.

    Raises:
        CorpusError: neither, or no clip in it.
    """
    manifest = read_csv(data) if data.suffix.lower() == ".csv" else scan(data)
    if copies := manifest.copies():
        files = "1 file is a copy" if len(copies) == 1 else f"{len(copies)} files are copies"
        _log.warning(
            "%s of a clip with the same name and sound, which counts once: such as %r", files, str(copies[0])
        )
    return manifest


def _clip_of(row: list[str], header: tuple[str, ...], folder: Path) -> Clip:
    """One row of the CSV file as a Clip. Raises ValueError saying which value is impossible."""
    if len(row) != len(header):
        raise ValueError(f"{len(row)} values, expected {len(header)}")
    values = dict(zip(header, row, strict=True))
    for name in ("path", "corpus", "speaker"):
        if not values[name]:
            raise ValueError(f"{name} is empty")
    if values["emotion"] not in EMOTIONS:
        raise ValueError(f"emotion {values['emotion']!r}, expected one of {', '.join(EMOTIONS)}")
    if not re.fullmatch("[0-9a-f]{64}", values["sha256"]):
        raise ValueError(f"sha256 {values['sha256']!r}, expected 64 hexadecimal digits")
    numbers = {}
    for name in ("sample_rate", "n_samples", "n_channels"):
        if not re.fullmatch("[1-9][0-9]{0,14}", values[name]):
            raise ValueError(f"{name} {values[name]!r}, expected a whole number above 0")
        numbers[name] = int(values[name])
    return Clip(
        path=folder / values["path"],
        corpus=values["corpus"],
        emotion=values["emotion"],
        speaker=values["speaker"],
        sentence=values["sentence"],
        intensity=values["intensity"],
        sha256=values["sha256"],
        session=values.get("session", ""),
        **numbers,
    )


def _find(root: Path) -> tuple[list[Path], list[Path], list[Skipped]]:
    """All audio files and all CSV files below `root` by suffix, sorted; and the folders that could not be listed."""
    audio: list[Path] = []
    csv_files: list[Path] = []
    closed: list[Skipped] = []

    def note(error: OSError) -> None:
        closed.append(Skipped(Path(error.filename), f"folder cannot be read: {error.strerror}", broken=True))

    for folder, _, files in walk(root, note):
        for file in files:
            suffix = Path(file).suffix.lower()
            if suffix in READ_SUFFIXES | OTHER_AUDIO_SUFFIXES:
                audio.append(folder / file)
            elif suffix == TABLE_SUFFIX:
                csv_files.append(folder / file)
    return sorted(audio), sorted(csv_files), sorted(closed, key=lambda item: item.path)


def _read_tables(csv_files: Iterable[Path]) -> tuple[dict[Path, Table], list[Skipped]]:
    """The annotation tables among CSV files, and those that cannot be read."""
    tables, unread = {}, []
    for path in csv_files:
        try:
            table = read_table(path)
        except CorpusError as error:
            unread.append(Skipped(path, str(error), broken=True))
        else:
            if table is not None:
                tables[path] = table
    return tables, unread


def _without_copies(clips: Iterable[Clip], skipped: Iterable[Skipped]) -> Manifest:
    """The manifest of clips in the order of their paths, with the first of each group of copies."""
    first: dict[tuple[str, ...], Clip] = {}
    copies = []
    for clip in clips:
        same = (clip.sha256, clip.path.stem.lower(), clip.corpus, clip.emotion, clip.speaker)
        if first.setdefault(same, clip) is not clip:
            copies.append(Skipped(clip.path, _COPY))
    return Manifest(tuple(first.values()), tuple(sorted([*skipped, *copies], key=lambda item: item.path)))


def _without_audio(tables: Mapping[Path, Table], audio: Iterable[Path]) -> list[Skipped]:
    """One item for each table that lists segments of which there is no file: whole sessions may be absent."""
    there = {path.stem.lower() for path in audio}
    absent = {path: len(table.keys() - there) for path, table in tables.items()}
    return [
        Skipped(path, f"{n} of {len(tables[path])} segments in this annotation table have no audio file")
        for path, n in absent.items()
        if n
    ]


def _examine(path: Path, root: Path, annotations: Mapping[str, Annotation]) -> Clip | Skipped:
    """The clip at `path`, or why there is none."""
    if path.suffix.lower() not in READ_SUFFIXES:
        return Skipped(path, f"{path.suffix.lower()} is not read: convert it to .wav or .flac")
    # The name of the root counts (`edgeemo data SAVEE/DC`), the folders above it do not.
    parsed = recognise(Path(root.name) / path.relative_to(root))
    if parsed is None:
        return Skipped(path, "not named like a clip of a known corpus")
    if isinstance(parsed, Unwanted):
        return Skipped(path, parsed.reason)
    emotion = parsed.emotion
    if not emotion:
        annotation = annotations.get(path.stem.lower(), _NOT_ANNOTATED)
        if annotation.reason:
            return Skipped(path, annotation.reason, annotation.broken)
        emotion = annotation.emotion
    try:
        sample_rate, n_samples, n_channels, sha256 = _read_audio(path)
    except CorpusError as error:
        return Skipped(path, str(error), broken=True)
    return Clip(
        path=path,
        corpus=parsed.corpus,
        emotion=emotion,
        speaker=parsed.speaker,
        sentence=parsed.sentence,
        intensity=parsed.intensity,
        sample_rate=sample_rate,
        n_samples=n_samples,
        n_channels=n_channels,
        sha256=sha256,
        session=parsed.session,
    )


def _read_audio(path: Path) -> tuple[int, int, int, str]:
    """Decode a file to its end: sample rate in Hz, samples per channel, channels, SHA-256 of the audio.

    Raises:
        CorpusError: what is wrong with the file, without its name.
    """
    try:
        # First without libsndfile: it says "System error" to a missing permission, and would wait at a pipe.
        if not stat.S_ISREG(path.stat().st_mode):
            raise CorpusError("not a regular file")
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
    except OSError as error:
        raise CorpusError(f"cannot be read: {error.strerror or error}") from error
    if not start:
        raise CorpusError("empty file")
    if start == _LFS_POINTER:
        raise CorpusError("a Git LFS pointer instead of audio: run `git lfs pull` in its repository")

    try:
        # As bytes, because soundfile cannot encode a name that is not UTF-8.
        sound = soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else path)
    except soundfile.SoundFileError as error:
        raise CorpusError(f"not audio: {_cause(error)}") from error
    with sound:
        sample_rate, n_channels = sound.samplerate, sound.channels
        if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
            raise CorpusError(f"{sample_rate} Hz, expected {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz")
        if n_channels > 2:
            raise CorpusError(f"{n_channels} channels, expected mono or stereo")
        if sound.frames == 0:
            raise CorpusError("no samples")
        _refuse_short_wav(sound)
        digest = hashlib.sha256(f"{sample_rate} Hz\n".encode())
        n_samples = 0
        try:
            while len(block := sound.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)):
                if not np.isfinite(block).all():
                    raise CorpusError("NaN or infinite samples")
                digest.update(block.mean(axis=1).astype("<f4").tobytes())
                n_samples += len(block)
        except soundfile.SoundFileError as error:
            raise CorpusError(f"corrupt audio: {_cause(error)}") from error
        if n_samples != sound.frames:
            raise CorpusError(f"cut short: {n_samples} of {sound.frames} samples")
    return sample_rate, n_samples, n_channels, digest.hexdigest()


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


def _stopped(item: Skipped) -> CorpusError:
    return CorpusError(
        f"{str(item.path)!r}: {item.reason}; repair or remove it, or skip such files (on_error: skip)"
    )


def _nothing(root: Path, skipped: list[Skipped]) -> str:
    """For a folder without a clip: what was there, which names are known, where the corpora come from."""
    reasons = Counter(item.reason for item in skipped).most_common(3)
    what = "; ".join(f"{n} x {reason}" for reason, n in reasons) or "no audio file at all"
    known = ", ".join(f"{c.title} ({c.example}, from {c.source})" for c in CORPORA.values())
    return f"no clip of a known corpus in {str(root)!r} ({what}); known: {known}"
