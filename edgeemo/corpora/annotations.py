"""Annotation tables: which emotion a clip shows, for corpora whose file names do not say it.

KEMDy19 and KEMDy20 name each clip by its segment, and keep what ten raters heard in it in CSV files:

    Numb  Wav         ...  Segment ID           Total Evaluation                     Eval01F                     ...
          start  end  ...                       Emotion           Valence  Arousal   Emotion   Valence  Arousal  ...
    1     0.1    2.3  ...  Sess01_impro04_F013  neutral           3.1      2.8       happy     4        3        ...
    2     2.9    4.0  ...  Sess01_impro04_M001  neutral;happy     3.5      3.0       neutral   3        3        ...

KEMDy19 has two such tables per session (`annotation/Session01_F_res.csv` and `_M_`), which both list the segments of
both speakers; KEMDy20 has one (`annotation/Sess01_eval.csv`). A table is known by its header, whatever its name and
folder. The total evaluation is the emotion that most raters chose; where several were chosen as often, it names all.

IEMOCAP keeps a text file for each dialogue (`dialog/EmoEvaluation/Ses01F_impro01.txt`), in which a line like

    [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]

gives the emotion that most raters chose, or `xxx` where there is no such. Excited counts as happy, as it does in the
usual comparison of four classes.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from edgeemo.errors import CorpusError

_TABLE_SUFFIX = ".csv"
_IEMOCAP_FILE = re.compile(r"Ses0[1-5][FM]_(?:impro|script)\w+\.txt", re.ASCII | re.IGNORECASE)
_IEMOCAP_LINE = re.compile(r"\[[\d.]+ - [\d.]+\]\t(\w+)\t(\w+)\t\[.*")
_IEMOCAP_EMOTIONS = {
    "neu": "neutral",
    "hap": "happy",
    "exc": "happy",
    "sad": "sad",
    "ang": "angry",
    "fea": "fear",
    "dis": "disgust",
    "sur": "surprise",
    "fru": "frustration",
}
_WITHOUT_EMOTION = {
    "xxx": "no emotion has a majority of the raters",
    "oth": "annotated as another emotion than those asked for",
}
_EMOTIONS = {
    "neutral": "neutral",
    "happy": "happy",
    "sad": "sad",
    "angry": "angry",
    "fear": "fear",
    "disgust": "disgust",
    "disqust": "disgust",  # how the originals spell it
    "surprise": "surprise",
}
_KNOWN = {*_EMOTIONS.values(), *_IEMOCAP_EMOTIONS.values()}
_SEGMENT_COLUMNS = ("segmentid",)
# The raters' own columns are called "Emotion" too, and come after the final one.
_EMOTION_COLUMNS = ("totalevaluationemotion", "totalevaluation", "emotion")
_N_HEADER_ROWS = 2
_HEAD_BYTES = 1 << 16
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Annotation:
    """What the annotation tables say about one segment: an emotion, or why it has none."""

    emotion: str = ""
    """One of `labels.EMOTIONS`; empty if the segment is left out."""
    reason: str = ""
    """Why the segment is left out."""
    broken: bool = False
    """Whether a fault in the tables is the reason."""


Table = dict[str, set[str]]
"""Segment ID in lower case -> what a table says about it: emotions in alphabetical order, joined by ";", or an empty
string. More than one such string if the table lists the segment again with other emotions."""


def is_table(path: Path) -> bool:
    """Whether a file may be an annotation table, by its name."""
    return path.suffix.lower() == _TABLE_SUFFIX or _IEMOCAP_FILE.fullmatch(path.name) is not None


def read_table(path: Path) -> Table | None:
    """Read an annotation table: UTF-8 or CP949, one or two header rows; or a text file of IEMOCAP.

    Returns:
        what it says about each segment; None if the file has no column of segment IDs: it is another kind of table.

    Raises:
        CorpusError: what is wrong with the table, without its name.
    """
    try:
        if not path.is_file():
            return None
        if path.suffix.lower() != _TABLE_SUFFIX:
            return _read_iemocap(path)
        with path.open("rb") as file:
            content = file.read(_HEAD_BYTES)
            # Most CSV files in a folder of corpora are others, such as bio-signals: they are not read whole.
            head = _rows(content.decode("latin-1"), _N_HEADER_ROWS)
            if _column(head, _SEGMENT_COLUMNS) is None:
                return None
            content += file.read()
    except OSError as error:
        raise CorpusError(f"cannot be read: {error.strerror or error}") from error

    rows = _rows(_decoded(content))
    segment, emotion = _column(rows, _SEGMENT_COLUMNS), _column(rows, _EMOTION_COLUMNS)
    if segment is None or emotion is None:
        shown = ",".join(rows[0])[:_SHOWN_CHARACTERS]
        raise CorpusError(
            f"an annotation table without emotions: its first line is {shown!r}, expected a column "
            "'Total Evaluation' or 'Emotion'"
        )
    table: Table = defaultdict(set)
    for row in rows:
        row += [""] * (max(segment, emotion) + 1 - len(row))
        # The header's second row has nothing in this column, or the name again; so have empty rows at the end.
        if (name := row[segment].strip().lower()) and _plain(name) not in _SEGMENT_COLUMNS:
            table[name].add(_spelled(row[emotion]))
    if not table:
        raise CorpusError("an annotation table without segments: nothing below its header")
    return dict(table)


def _read_iemocap(path: Path) -> Table | None:
    """A dialogue's emotions; None of a file without such lines, as transcripts are, which have the same names."""
    lines = map(_IEMOCAP_LINE.fullmatch, path.read_text(encoding="utf-8", errors="replace").splitlines())
    table: Table = defaultdict(set)
    for line in lines:
        if line is not None:
            emotion = line[2].lower()
            table[line[1].lower()].add(_IEMOCAP_EMOTIONS.get(emotion, emotion))
    return dict(table) or None


def merge(tables: Mapping[Path, Table]) -> dict[str, Annotation]:
    """What several tables together say about each segment, by its ID in lower case.

    A segment may be in several of them, as long as they say the same.
    """
    said: dict[str, set[str]] = defaultdict(set)
    where: dict[str, list[str]] = defaultdict(list)
    for path, table in tables.items():
        for segment, cells in table.items():
            # A row that was left empty does not contradict another that was filled in.
            said[segment] |= cells - {""}
            where[segment].append(path.name)
    return {segment: _judged(cells, where[segment]) for segment, cells in said.items()}


def _judged(cells: set[str], tables: Iterable[str]) -> Annotation:
    if not cells:
        return Annotation(reason="no emotion in its annotation table")
    if len(cells) > 1:
        names = " and ".join(sorted(set(tables)))
        return Annotation(reason=f"listed with different emotions in {names}", broken=True)
    [cell] = cells
    if cell in _WITHOUT_EMOTION:
        return Annotation(reason=_WITHOUT_EMOTION[cell])
    if ";" in cell:
        return Annotation(reason="a tie between raters: no emotion has the majority")
    if cell not in _KNOWN:
        known = ", ".join(dict.fromkeys(_EMOTIONS.values()))
        shown = cell[:_SHOWN_CHARACTERS]
        return Annotation(reason=f"annotated as {shown!r}, expected one of {known}", broken=True)
    return Annotation(cell)


def _rows(text: str, n_rows: int | None = None) -> list[list[str]]:
    """The first rows of a CSV text; None: all, and then strictly: a table that was cut off is an error."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=n_rows is None)
    try:
        return list(islice(reader, n_rows))
    except csv.Error as error:
        raise CorpusError(f"line {reader.line_num}: not CSV ({error})") from error


def _column(rows: list[list[str]], names: Iterable[str]) -> int | None:
    """The first column with one of `names` (the first one that is there) in a header row."""
    for name in names:
        for row in rows[:_N_HEADER_ROWS]:
            for i, cell in enumerate(row):
                if _plain(cell) == name:
                    return i
    return None


def _plain(heading: str) -> str:
    """`Segment ID`, `segment_id` and the same after a byte order mark are one heading."""
    return re.sub("[^a-z0-9]", "", heading.lower())


def _decoded(content: bytes) -> str:
    # CP949 is what Korean spreadsheets save; it would take some UTF-8 too, as other letters.
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            pass
    raise CorpusError("an annotation table that is neither UTF-8 nor CP949: save it as UTF-8")


def _spelled(cell: str) -> str:
    """The emotions of a cell, spelled as in `labels.EMOTIONS` where known, in alphabetical order."""
    words = (word.strip().lower() for word in cell.split(";"))
    return ";".join(sorted({_EMOTIONS.get(word, word) for word in words if word}))
