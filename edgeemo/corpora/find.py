"""The clips of what `--data` names: known corpora, class folders, a table or a manifest; and what was understood."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections import Counter
from pathlib import Path

from edgeemo.corpora.class_folders import read_class_folders
from edgeemo.corpora.labels import LabelMap
from edgeemo.corpora.manifest import (
    Clip,
    Manifest,
    OnError,
    Progress,
    find_files,
    is_manifest,
    name_of,
    read_csv,
    read_known,
    scan,
)
from edgeemo.corpora.names import CORPORA
from edgeemo.corpora.tables import METADATA_FILES, SUFFIXES, read_tables
from edgeemo.errors import CorpusError
from edgeemo.folders import walk
from edgeemo.wording import counted, printable

_log = logging.getLogger(__name__)


def find_clips(
    data: Path,
    *,
    speaker_pattern: str | None = None,
    on_error: OnError = "skip",
    progress: Progress | None = None,
) -> Manifest:
    r"""The clips of a folder, a manifest of `edgeemo data`, or a table of one's own.

    A folder with clips of known corpora is scanned for those alone. In any other, the tables of an audio folder
    (`metadata.csv`, `metadata.jsonl`) say what its clips are; without such, the folders that they lie in do.

    A warning in the log says how many files are copies, see `manifest.scan`.

    Args:
        data: the folder or file.
        speaker_pattern: a regular expression with one group, such as `(\d+)_`, that finds the speaker in the path of
            a clip below `data`; for clips whose speaker is not known.
        on_error, progress: as for `manifest.scan`.

    Raises:
        CorpusError: neither, or no clip in it; a pattern that is none, or does not fit.
    """
    pattern = None if speaker_pattern is None else _compiled(speaker_pattern)
    manifest = _found(data, on_error, progress)
    if pattern is not None:
        root = (data if data.is_dir() else data.parent).resolve()
        manifest = dataclasses.replace(manifest, clips=_with_speakers(manifest.clips, pattern, root))
    if copies := manifest.copies():
        files = "1 file is a copy" if len(copies) == 1 else f"{len(copies)} files are copies"
        _log.warning(
            "%s of a clip with the same name and sound, which counts once: such as %r", files, str(copies[0])
        )
    return manifest


def is_table(data: Path) -> bool:
    """Whether a path is that of a manifest or a table, by its name."""
    return data.suffix.lower() in SUFFIXES and not data.is_dir()


def understood(manifest: Manifest, label_map: LabelMap | None = None) -> list[str]:
    """How data of one's own were understood, in lines for a person; none where all is known by file names.

    Args:
        manifest: the data.
        label_map: what they are to be trained as; None: everything is wanted.
    """
    clips = manifest.clips
    if all(clip.corpus in CORPORA for clip in clips):
        return []
    labels = Counter(clip.emotion for clip in clips)
    lines = [*manifest.reading, f"{counted(len(clips), 'clip')}: {_counts(labels)}", _speakers(clips)]
    if any(clip.part for clip in clips):
        parts = Counter(clip.part or "in no part" for clip in clips)
        lines.append(f"parts: {_counts(parts)}; --protocol holdout tests on the test part")
    if label_map is not None and (
        out := Counter({label: n for label, n in labels.items() if label_map.index(label) is None})
    ):
        lines.append(f"left out, having no label of the recipe: {_counts(out)}")
    if manifest.skipped:
        lines.append(f"skipped: {len(manifest.skipped)}; `edgeemo data` says why")
    return lines


def _found(data: Path, on_error: OnError, progress: Progress | None) -> Manifest:
    if is_table(data):
        if data.is_file() and not is_manifest(data) and data.stat().st_size:
            return read_tables([data], data.stem, on_error=on_error, progress=progress)
        return read_csv(data)
    if not data.is_dir():
        return scan(data)  # says that there is no folder
    root = data.resolve()
    found = find_files(root)
    if not found.audio or any(name_of(path, root) is not None for path in found.audio):
        return read_known(root, found, on_error=on_error, progress=progress)
    if tables := _metadata_files(root):
        return read_tables(tables, root.name, on_error=on_error, progress=progress)
    return read_class_folders(root, found.audio, found.skipped, on_error=on_error, progress=progress)


def _metadata_files(root: Path) -> list[Path]:
    return [
        folder / file
        for folder, _, files in walk(root, lambda error: None)
        for file in files
        if file.lower() in METADATA_FILES and "__MACOSX" not in folder.parts
    ]


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CorpusError(
            f"--speaker-pattern {pattern!r} is not a regular expression ({error}); one is '(\\d+)_'"
        ) from error
    if compiled.groups != 1:
        raise CorpusError(
            f"--speaker-pattern {pattern!r} has {counted(compiled.groups, 'group')}, expected one that finds the "
            "speaker, such as '(\\d+)_'"
        )
    return compiled


def _with_speakers(clips: tuple[Clip, ...], pattern: re.Pattern[str], root: Path) -> tuple[Clip, ...]:
    found, without = [], []
    for clip in clips:
        if clip.speaker:
            found.append(clip)
            continue
        where = (clip.path.relative_to(root) if clip.path.is_relative_to(root) else clip.path).as_posix()
        match = pattern.search(where)
        if match is None or not match[1]:
            without.append(where)
            continue
        found.append(dataclasses.replace(clip, speaker=f"{clip.corpus}-{match[1]}"))
    if without:
        raise CorpusError(
            f"--speaker-pattern {pattern.pattern!r} finds no speaker in {counted(len(without), 'path')}, such as "
            f"{without[0]!r}"
        )
    return tuple(found)


def _speakers(clips: tuple[Clip, ...]) -> str:
    n_unknown = sum(not clip.speaker for clip in clips)
    if not n_unknown:
        return f"{counted(len({clip.speaker for clip in clips}), 'speaker')}"
    of = "" if n_unknown == len(clips) else f" of {n_unknown} of {counted(len(clips), 'clip')}"
    return f"SPEAKERS UNKNOWN{of}: {unknown_speakers_remedy()}"


def unknown_speakers_remedy() -> str:
    """What is to be done where nobody knows who speaks."""
    return (
        "use --protocol random (or holdout, where the data have a test part), whose score is not "
        "speaker-independent, or name them with --speaker-pattern, such as '(\\d+)_'"
    )


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{printable(name)} {n}" for name, n in sorted(counts.items()))
