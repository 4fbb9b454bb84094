"""Clip and Manifest: what is in a folder of corpora, and the CSV file that keeps it."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeVar

from edgeemo.corpora.annotations import Annotation, Table, is_table, merge, read_table
from edgeemo.corpora.labels import LabelMap
from edgeemo.corpora.names import CORPORA, ClipName, Parsed, Unwanted, recognise
from edgeemo.corpora.sound import EXACT_SUFFIXES, OTHER_SUFFIXES, READ_SUFFIXES, read_sound
from edgeemo.errors import CorpusError
from edgeemo.files import replacing
from edgeemo.folders import walk

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
SEGMENT_COLUMNS = ("start_s", "end_s", "part")
"""Those that follow where a clip is a segment of its file, or has a part of its own."""
_HEADERS = (COLUMNS, COLUMNS[:-1], COLUMNS + SEGMENT_COLUMNS)

_NOT_ANNOTATED = Annotation(
    reason="in no annotation table: scan a folder that also holds the corpus' annotation folder"
)
_COPY = "a copy: a clip with the same name and the same sound is counted already"
_COMPRESSED_COPY = "a compressed copy: the same clip is there as .wav or .flac"
_OF_MACOS = "made by macOS beside a clip: no audio"
OnError = Literal["skip", "stop"]
"""What to do at what should have given a clip and did not."""
Progress = Callable[[int, int], None]
"""Called as `progress(n_done, n_all)`."""
ItemT = TypeVar("ItemT")
PARTS = ("train", "validation", "test")
"""What data can be divided into by themselves."""
PART_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "train": "train",
        "training": "train",
        "val": "validation",
        "valid": "validation",
        "validation": "validation",
        "dev": "validation",
        "test": "test",
    }
)
"""How people call those, in lower case."""


@dataclass(frozen=True)
class Clip:
    """One clip of emotional speech: where it is, what its name or annotation says of it, and its audio in numbers."""

    path: Path
    """Absolute."""
    corpus: str
    emotion: str
    """One of `labels.EMOTIONS`, or a label of one's own."""
    speaker: str
    """Empty when unknown."""
    sentence: str
    intensity: str
    """Empty when unknown."""
    sample_rate: int
    """Hz, of the file."""
    n_samples: int
    """Per channel, at the rate of the file."""
    n_channels: int
    sha256: str
    """Of the decoded audio: equal for two clips that hold the same sound, see `scan`."""
    session: str = ""
    """The recording session, unique over all corpora; empty where the corpus has none."""
    start_s: float = 0.0
    """Where in the file the clip begins."""
    end_s: float | None = None
    """Where it ends; None: with the file."""
    part: str = ""
    """One of `PARTS` where the data are divided by themselves; else empty."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate

    @property
    def label(self) -> str:
        """What label maps map: the emotion."""
        return self.emotion

    @property
    def place(self) -> tuple[Path, float]:
        """What splits sort clips by."""
        return self.path, self.start_s


@dataclass(frozen=True)
class Skipped:
    """A file that gave no clip; a folder that cannot be listed; an annotation table, whole or in part."""

    path: Path
    reason: str
    broken: bool = False
    """True: it should have given a clip, and `on_error="stop"` would have stopped at it."""


class Found(NamedTuple):
    """Files below a folder, sorted.

    Attributes:
        audio: by their suffixes.
        tables: of annotations, likewise.
        skipped: folders that could not be listed, and what macOS leaves beside clips (`__MACOSX`, `._`).
    """

    audio: list[Path]
    tables: list[Path]
    skipped: list[Skipped]


@dataclass(frozen=True)
class Manifest:
    """The clips of a folder in the order of their paths, and what was skipped on the way."""

    clips: tuple[Clip, ...]
    skipped: tuple[Skipped, ...] = field(default=())
    """Not kept in the CSV file."""
    reading: tuple[str, ...] = field(default=(), compare=False)
    """How the data were understood, in lines for a person; empty where file names said it all."""

    def copies(self) -> list[Path]:
        """Files that were skipped because a clip with the same name and sound came before, in order."""
        return [item.path for item in self.skipped if item.reason == _COPY]

    def duplicates(self) -> list[tuple[Clip, ...]]:
        """Groups of two or more clips that hold the same audio, in the order of their first clips."""
        groups: dict[str, list[Clip]] = defaultdict(list)
        for clip in self.clips:
            groups[clip.sha256].append(clip)
        return [tuple(group) for group in groups.values() if len(group) > 1]

    def select(self, *, corpora: Iterable[str] = (), label_map: LabelMap | None = None) -> tuple[Clip, ...]:
        """The clips of `corpora` (none: of all) that have a label in `label_map` (None: all emotions).

        Raises:
            CorpusError: the manifest has no clip of one of `corpora`.
        """
        present = {clip.corpus for clip in self.clips}
        wanted = set(corpora) or present
        if absent := sorted(wanted - present):
            have = ", ".join(sorted(present)) or "none"
            raise CorpusError(
                f"the manifest has no clip of {', '.join(absent)}; it has corpora: {have}; name those with --corpora"
            )
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
            whole = all(not clip.start_s and clip.end_s is None and not clip.part for clip in self.clips)
            columns = COLUMNS if whole else COLUMNS + SEGMENT_COLUMNS
            writer.writerow(columns)
            for clip in self.clips:
                values = {name: getattr(clip, name) for name in columns}
                place = clip.path.absolute()
                values["path"] = (
                    place.relative_to(folder) if place.is_relative_to(folder) else place
                ).as_posix()
                writer.writerow(values.values())


def scan(folder: Path, *, on_error: OnError = "skip", progress: Progress | None = None) -> Manifest:
    """Find the clips of all known corpora in a folder, and read every one of them to its end.

    Where the name of a clip does not say its emotion, annotation tables anywhere in the folder do.

    Links to folders are followed, each folder once. Clips and skipped files come in the order of their
    paths, so that the same folder gives the same manifest everywhere.

    A clip that is there as MP3, Ogg or Opus beside WAV or FLAC counts once, as the latter.

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
    return read_known(root, find_files(root), on_error=on_error, progress=progress)


def read_known(
    root: Path, found: Found, *, on_error: OnError = "skip", progress: Progress | None = None
) -> Manifest:
    """Read the clips of known corpora among files that were found below a folder; see `scan`."""
    paths, table_files, skipped = found
    tables, unread = _read_tables(table_files)
    skipped = [*skipped, *unread]
    if on_error == "stop" and (broken := [item for item in skipped if item.broken]):
        raise _stopped(broken[0])
    annotations = merge(tables)
    skipped += _without_audio(tables, paths)

    said = {path: name_of(path, root) for path in paths}
    exact = {
        (path.stem.lower(), name)
        for path, name in said.items()
        if path.suffix.lower() in EXACT_SUFFIXES and isinstance(name, ClipName)
    }

    def clip_at(path: Path) -> Clip | Skipped:
        name = said[path]
        if path.suffix.lower() not in EXACT_SUFFIXES and (path.stem.lower(), name) in exact:
            return Skipped(path, _COMPRESSED_COPY)
        return _examine(path, name, annotations)

    clips, without = each_clip(paths, clip_at, on_error=on_error, progress=progress)
    skipped += without
    if not clips:
        raise CorpusError(_nothing(root, skipped))
    return without_copies(clips, skipped)


def read_csv(path: Path) -> Manifest:
    """Read a manifest that `Manifest.write_csv` wrote. The audio files are not opened.

    The column `session` may be absent: older manifests do not have it. They may hold copies, which are skipped as
    `scan` does.

    Raises:
        CorpusError: no such file, other columns, or a row with an impossible value (with its line number).
    """
    path = Path(path)
    folder = path.parent.resolve()
    clips: dict[tuple[Path, float, float | None], Clip] = {}
    try:
        # utf-8-sig: a spreadsheet that saved the file may have put a byte order mark in front.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = tuple(next(reader, ()))
            if header not in _HEADERS:
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
                    if (place := (clip.path, clip.start_s, clip.end_s)) in clips:
                        raise ValueError(f"path {row[0]!r} occurs twice")
                except ValueError as error:
                    raise CorpusError(f"{str(path)!r}, line {reader.line_num}: {error}") from error
                clips[place] = clip
    except csv.Error as error:
        raise CorpusError(f"{str(path)!r}, line {reader.line_num}: not CSV ({error})") from error
    except OSError as error:
        cause = error.strerror or error
        raise CorpusError(
            f"cannot read the manifest {str(path)!r}: {cause}; write one with `edgeemo data`"
        ) from error
    if not clips:
        raise CorpusError(f"the manifest {str(path)!r} has no rows; write one with `edgeemo data`")
    return without_copies(clips.values(), ())


def is_manifest(path: Path) -> bool:
    """Whether a file begins as one that `Manifest.write_csv` wrote."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return tuple(next(csv.reader(file), ())) in _HEADERS
    except (OSError, csv.Error):
        return False


def _clip_of(row: list[str], header: tuple[str, ...], folder: Path) -> Clip:
    """One row of the CSV file as a Clip. Raises ValueError saying which value is impossible."""
    if len(row) != len(header):
        raise ValueError(f"{len(row)} values, expected {len(header)}")
    values = dict(zip(header, row, strict=True))
    for name in ("path", "corpus", "emotion"):
        if not values[name].strip():
            raise ValueError(f"{name} is empty")
    if not re.fullmatch("[0-9a-f]{64}", values["sha256"]):
        raise ValueError(f"sha256 {values['sha256']!r}, expected 64 hexadecimal digits")
    numbers = {}
    for name in ("sample_rate", "n_samples", "n_channels"):
        if not re.fullmatch("[1-9][0-9]{0,14}", values[name]):
            raise ValueError(f"{name} {values[name]!r}, expected a whole number above 0")
        numbers[name] = int(values[name])
    if (part := values.get("part", "")) not in ("", *PARTS):
        raise ValueError(f"part {part!r}, expected {', '.join(PARTS)} or nothing")
    start_s, end_s = segment_of(values.get("start_s", ""), values.get("end_s", ""))
    return Clip(
        path=folder / values["path"],
        corpus=values["corpus"],
        emotion=values["emotion"].strip(),
        speaker=values["speaker"],
        sentence=values["sentence"],
        intensity=values["intensity"],
        sha256=values["sha256"],
        session=values.get("session", ""),
        start_s=start_s,
        end_s=end_s,
        part=part,
        **numbers,
    )


def segment_of(start: str, end: str) -> tuple[float, float | None]:
    """Where a segment begins and ends, in seconds, by the cells of a table; None: with the file.

    Raises:
        ValueError: saying which is impossible.
    """

    def seconds(name: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} {text!r}, expected seconds from the start of the file")
        return value

    start_s = seconds("start_s", start) if start.strip() else 0.0
    end_s = seconds("end_s", end) if end.strip() else None
    if end_s is not None and end_s <= start_s:
        raise ValueError(f"end_s {end!r}, expected more than start_s, {start_s:g}")
    return start_s, end_s


def find_files(root: Path) -> Found:
    """The audio files and annotation tables below a folder."""
    audio: list[Path] = []
    tables: list[Path] = []
    skipped: list[Skipped] = []

    def note(error: OSError) -> None:
        skipped.append(Skipped(Path(error.filename), f"folder cannot be read: {error.strerror}", broken=True))

    for folder, _, files in walk(root, note):
        of_macos = "__MACOSX" in folder.relative_to(root).parts
        for path in (folder / file for file in files):
            is_audio = path.suffix.lower() in READ_SUFFIXES | OTHER_SUFFIXES
            if not is_audio and not is_table(path):
                continue
            if of_macos or path.name.startswith("._"):
                skipped.append(Skipped(path, _OF_MACOS))
            else:
                (audio if is_audio else tables).append(path)
    return Found(sorted(audio), sorted(tables), sorted(skipped, key=lambda item: item.path))


def each_clip(
    items: Sequence[ItemT],
    clip_of: Callable[[ItemT], Clip | Skipped],
    *,
    on_error: OnError = "skip",
    progress: Progress | None = None,
) -> tuple[list[Clip], list[Skipped]]:
    """Make a clip of each item, or say why there is none.

    Raises:
        CorpusError: with "stop", at the first broken one.
    """
    clips: list[Clip] = []
    skipped: list[Skipped] = []
    for n_done, item in enumerate(items, start=1):
        result = clip_of(item)
        if isinstance(result, Clip):
            clips.append(result)
        elif on_error == "stop" and result.broken:
            raise _stopped(result)
        else:
            skipped.append(result)
        if progress is not None:
            progress(n_done, len(items))
    return clips, skipped


def _read_tables(files: Iterable[Path]) -> tuple[dict[Path, Table], list[Skipped]]:
    """The annotation tables among files, and those that cannot be read."""
    tables, unread = {}, []
    for path in files:
        try:
            table = read_table(path)
        except CorpusError as error:
            unread.append(Skipped(path, str(error), broken=True))
        else:
            if table is not None:
                tables[path] = table
    return tables, unread


def own_corpus(name: str) -> str:
    """What a corpus of one's own is called, by the name of its folder or table: never as a known one."""
    plain = re.sub(r"[^\w.-]+", "_", name) or "own"
    return f"own_{plain}" if plain in CORPORA else plain


def without_copies(
    clips: Iterable[Clip], skipped: Iterable[Skipped], reading: Iterable[str] = ()
) -> Manifest:
    """The manifest of clips in the order that they have, with the first of each group of copies."""
    first: dict[tuple[str, ...], Clip] = {}
    copies = []
    for clip in clips:
        same = (clip.sha256, clip.path.stem.lower(), clip.corpus, clip.emotion, clip.speaker, clip.part)
        if first.setdefault(same, clip) is not clip:
            copies.append(Skipped(clip.path, _COPY))
    in_order = sorted([*skipped, *copies], key=lambda item: item.path)
    return Manifest(tuple(first.values()), tuple(in_order), tuple(reading))


def _without_audio(tables: Mapping[Path, Table], audio: Iterable[Path]) -> list[Skipped]:
    """One item for each table that lists segments of which there is no file: whole sessions may be absent."""
    there = {path.stem.lower() for path in audio}
    absent = {path: len(table.keys() - there) for path, table in tables.items()}
    return [
        Skipped(path, f"{n} of {len(tables[path])} segments in this annotation table have no audio file")
        for path, n in absent.items()
        if n
    ]


def name_of(path: Path, root: Path) -> Parsed:
    """What the name of a file below `root` says; the name of the root counts, those of folders above it do not."""
    return recognise(Path(root.name) / path.relative_to(root))


def unread(path: Path) -> Skipped | None:
    """Why a file of another kind is not read; None of those that are."""
    if path.suffix.lower() in READ_SUFFIXES:
        return None
    return Skipped(path, f"{path.suffix.lower()} is not read: convert it to .wav or .flac")


def _examine(path: Path, parsed: Parsed, annotations: Mapping[str, Annotation]) -> Clip | Skipped:
    """The clip at `path`, or why there is none."""
    if (other := unread(path)) is not None:
        return other
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
    return clip_of_file(
        path,
        corpus=parsed.corpus,
        emotion=emotion,
        speaker=parsed.speaker,
        sentence=parsed.sentence,
        intensity=parsed.intensity,
        session=parsed.session,
    )


def clip_of_file(
    path: Path,
    *,
    corpus: str,
    emotion: str,
    speaker: str = "",
    sentence: str = "",
    intensity: str = "",
    session: str = "",
    start_s: float = 0.0,
    end_s: float | None = None,
    part: str = "",
) -> Clip | Skipped:
    """The clip that a file or a segment of it holds, of which the rest is known; or why it cannot be read."""
    try:
        sound = read_sound(path, start_s, end_s)
    except CorpusError as error:
        return Skipped(path, str(error), broken=True)
    return Clip(
        path=path,
        corpus=corpus,
        emotion=emotion,
        speaker=speaker,
        sentence=sentence,
        intensity=intensity,
        sample_rate=sound.sample_rate,
        n_samples=sound.n_samples,
        n_channels=sound.n_channels,
        sha256=sound.sha256,
        session=session,
        start_s=start_s,
        end_s=end_s,
        part=part,
    )


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
