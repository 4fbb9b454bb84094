"""What listeners heard in clips, beside what actors meant: the votes of CREMA-D on voices alone.

The table `processedResults/tabulatedVotes.csv` of its release counts, for each clip, how many of about ten
listeners chose which emotion; the first digit of a row's number says whether they heard the voice, saw the face, or
both (Cao et al. 2014, "CREMA-D: Crowd-sourced emotional multimodal actors dataset").
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from edgeemo.corpora.manifest import Clip
from edgeemo.errors import CorpusError

TABLE = "tabulatedVotes.csv"
EMOTION_OF = {"A": "angry", "D": "disgust", "F": "fear", "H": "happy", "N": "neutral", "S": "sad"}
"""Column -> emotion."""

_FOLDERS = ("processedResults", ".")
_PARENTS = 3  # how far up from a clip a table is looked for
_VOICE_ALONE = 1
_PER_KIND = 100_000

Votes = dict[str, dict[str, float]]
"""Name of a clip, without its suffix -> emotion -> number of votes."""


def read_votes(path: Path) -> Votes:
    """The votes on voices alone.

    Args:
        path: the table.

    Raises:
        CorpusError: it cannot be read, or is another table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {
                row["fileName"]: {emotion: float(row[key]) for key, emotion in EMOTION_OF.items()}
                for row in csv.DictReader(file)
                if int(row[""]) // _PER_KIND == _VOICE_ALONE
            }
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise CorpusError(
            f"{path}: not CREMA-D's table of votes ({type(error).__name__}: {error}); download it again"
        ) from error


def votes_on(clips: Iterable[Clip]) -> Votes:
    """The votes on clips, by the tables that lie in the folders around them.

    Raises:
        CorpusError: as `read_votes`.
    """
    folders = {clip.path.parent for clip in clips if clip.corpus == "crema_d"}
    tables = {
        table
        for folder in folders
        for parent in [folder, *folder.parents][:_PARENTS]
        for inside in _FOLDERS
        if (table := parent / inside / TABLE).is_file()
    }
    return {name: given for table in sorted(tables) for name, given in read_votes(table).items()}
