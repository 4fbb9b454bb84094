"""Clips of one's own in a table: CSV, TSV, Parquet, or the `metadata.csv` or `metadata.jsonl` of an audio folder.

A row is a clip. Columns are known by their headings, in any spelling that `HEADINGS` lists; case and punctuation are
ignored. Paths are relative to the table.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgeemo.corpora.labels import spelled
from edgeemo.corpora.manifest import (
    PART_NAMES,
    PARTS,
    Clip,
    Manifest,
    OnError,
    Progress,
    Skipped,
    clip_of_file,
    each_clip,
    own_corpus,
    segment_of,
    without_copies,
)
from edgeemo.errors import CorpusError
from edgeemo.wording import printable

HEADINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "path": ("path", "file", "filename", "wav", "audio", "filepath"),
        "label": ("label", "emotion", "class", "category", "target"),
        "speaker": ("speaker", "speakerid", "actor", "subject"),
        "start_s": ("starts", "start", "begin", "offset"),
        "end_s": ("ends", "end", "stop"),
        "split": ("split", "set", "partition", "subset"),
        "corpus": ("corpus",),
    }
)
"""What a column says -> its headings, without punctuation."""
SUFFIXES = frozenset({".csv", ".tsv", ".parquet", ".jsonl"})
METADATA_FILES = ("metadata.csv", "metadata.jsonl")
"""What an audio folder of Hugging Face's `datasets` is described by."""

_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class _Table:
    """The cells of a table as text."""

    heading: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str]], ...]
    """The number of each row's line, and its cells by their headings."""


@dataclass(frozen=True)
class _Row:
    """A clip, as a row describes it."""

    path: Path
    label: str
    speaker: str
    start_s: float
    end_s: float | None
    part: str
    corpus: str


def read_tables(
    tables: Sequence[Path], name: str, *, on_error: OnError = "skip", progress: Progress | None = None
) -> Manifest:
    """Read the clips that tables list.

    Args:
        tables: one or more.
        name: what the clips' corpus is called, where there is no column for it.
        on_error, progress: as for `manifest.scan`.

    Raises:
        CorpusError: a table cannot be read, has no column for path or label, two for one of them, or an impossible
            value (with its line number); no clip can be read.
    """
    rows: list[_Row] = []
    reading: list[str] = []
    renamed: dict[str, str] = {}
    for path in tables:
        try:
            table = _read(path)
            columns = _columns(table.heading)
            rows += _rows(table, columns, path.parent.resolve(), own_corpus(name))
        except CorpusError as error:
            raise CorpusError(f"{str(path)!r}: {error}") from error
        except OSError as error:
            raise CorpusError(f"{str(path)!r} cannot be read: {error.strerror or error}") from error
        reading.append(f"{printable(str(path))}: {_understood(table.heading, columns)}")
        words = {cells[columns["label"]].strip() for _, cells in table.rows}
        renamed |= {word: spelled(word) for word in words if spelled(word) != word}
    if renamed:
        reading.append(", ".join(f"{printable(word)} counts as {renamed[word]}" for word in sorted(renamed)))
    rows.sort(key=lambda row: (row.path, row.start_s))
    clips, skipped = each_clip(rows, _clip, on_error=on_error, progress=progress)
    if not clips:
        first = f"the first: {str(skipped[0].path)!r}: {skipped[0].reason}" if skipped else "it has no rows"
        raise CorpusError(f"{str(tables[0])!r} lists no clip that can be read; {first}")
    return without_copies(clips, skipped, reading)


def _clip(row: _Row) -> Clip | Skipped:
    if not row.label:
        return Skipped(row.path, "no label in its table")
    return clip_of_file(
        row.path,
        corpus=row.corpus,
        emotion=spelled(row.label),
        speaker=row.speaker,
        start_s=row.start_s,
        end_s=row.end_s,
        part=row.part,
    )


def _rows(table: _Table, columns: Mapping[str, str], folder: Path, corpus: str) -> Iterator[_Row]:
    known: set[tuple[Path, float, float | None]] = set()
    for line, cells in table.rows:
        said = {what: cells[heading].strip() for what, heading in columns.items()}
        try:
            row = _row(said, folder, corpus)
            place = (row.path, row.start_s, row.end_s)
            if place in known:
                raise ValueError(f"{said['path']!r} occurs twice")
        except ValueError as error:
            raise CorpusError(f"line {line}: {error}") from error
        known.add(place)
        yield row


def _row(said: Mapping[str, str], folder: Path, corpus: str) -> _Row:
    """Raises ValueError saying which value is impossible."""
    if not said["path"]:
        raise ValueError("no path")
    split = said.get("split", "")
    if split and split.lower() not in PART_NAMES:
        raise ValueError(f"split {split!r}, expected {', '.join(PARTS)} or nothing")
    start_s, end_s = segment_of(said.get("start_s", ""), said.get("end_s", ""))
    corpus = said.get("corpus") or corpus
    speaker = said.get("speaker", "")
    return _Row(
        path=folder / said["path"],
        label=said["label"],
        speaker=f"{corpus}-{speaker}" if speaker and not speaker.startswith(f"{corpus}-") else speaker,
        start_s=start_s,
        end_s=end_s,
        part=PART_NAMES[split.lower()] if split else "",
        corpus=corpus,
    )


def _columns(heading: Sequence[str]) -> dict[str, str]:
    """What is said -> the heading that says it."""
    columns: dict[str, str] = {}
    for what, names in HEADINGS.items():
        found = [name for name in heading if re.sub("[^a-z0-9]", "", name.lower()) in names]
        if len(found) > 1:
            raise CorpusError(
                f"the columns {found[0]!r} and {found[1]!r} can both be the {what}; rename or remove one"
            )
        if found:
            columns[what] = found[0]
    for what in ("path", "label"):
        if what not in columns:
            have = printable(", ".join(heading))[:_SHOWN_CHARACTERS] or "none"
            raise CorpusError(f"no column for the {what} ({', '.join(HEADINGS[what])}); its columns: {have}")
    return columns


def _understood(heading: Sequence[str], columns: Mapping[str, str]) -> str:
    said = ", ".join(f"{printable(name)!r} as {what}" for what, name in columns.items())
    unused = ", ".join(printable(name) for name in heading if name not in columns.values())
    return f"read {said}" + (f"; not used: {unused}" if unused else "")


# --- files ---------------------------------------------------------------------------------------------


def _read(path: Path) -> _Table:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _of_records(_parquet(path), first_line=1)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError("not UTF-8; save it as UTF-8") from error
    if suffix == ".jsonl":
        return _of_records(_json_lines(text), first_line=1)
    return _csv(text, tabs=suffix == ".tsv")


def _csv(text: str, *, tabs: bool) -> _Table:
    first = text.partition("\n")[0]
    delimiter = "\t" if tabs else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        heading = tuple(name.strip() for name in next(reader, ()))
        for row in reader:
            if not any(row):
                continue
            if len(row) != len(heading):
                raise CorpusError(f"line {reader.line_num}: {len(row)} values, expected {len(heading)}")
            rows.append((reader.line_num, dict(zip(heading, row, strict=True))))
    except csv.Error as error:
        raise CorpusError(f"line {reader.line_num}: not CSV ({error})") from error
    if twice := next((name for name in heading if heading.count(name) > 1), None):
        raise CorpusError(f"two columns {twice!r}; rename or remove one")
    return _Table(heading, tuple(rows))


def _json_lines(text: str) -> list[dict[str, Any]]:
    records = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            record = json.loads(line) if line.strip() else {}
        except ValueError as error:
            raise CorpusError(f"line {number}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise CorpusError(f"line {number}: expected an object, such as {{'file_name': 'x.wav'}}")
        records.append(record)
    return records


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise CorpusError("reading Parquet needs pyarrow: pip install pyarrow, or save it as CSV") from error
    try:
        records: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (ArrowException, ValueError) as error:
        raise CorpusError(f"not a Parquet file ({error})") from error
    return records


def _of_records(records: Sequence[Mapping[str, Any]], *, first_line: int) -> _Table:
    heading = tuple(dict.fromkeys(name for record in records for name in record))
    rows = []
    for line, record in enumerate(records, start=first_line):
        for name, value in record.items():
            if not isinstance(value, str | int | float | None):
                raise CorpusError(
                    f"line {line}: {name!r} is a {type(value).__name__}, expected text or a number"
                )
        if record:
            cells = {name: "" if record.get(name) is None else str(record[name]) for name in heading}
            rows.append((line, cells))
    return _Table(heading, tuple(rows))
