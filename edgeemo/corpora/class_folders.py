"""Clips of one's own in folders that are named by their labels: `happy/x.wav`, also below `train/` and `test/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edgeemo.corpora.labels import spelled
from edgeemo.corpora.manifest import (
    PART_NAMES,
    Clip,
    Manifest,
    OnError,
    Progress,
    Skipped,
    clip_of_file,
    each_clip,
    own_corpus,
    unread,
    without_copies,
)
from edgeemo.errors import CorpusError
from edgeemo.wording import printable

_SHOWN = 8


def read_class_folders(
    root: Path,
    paths: Sequence[Path],
    skipped: Sequence[Skipped],
    *,
    on_error: OnError = "skip",
    progress: Progress | None = None,
) -> Manifest:
    """Read clips, each labelled by the name of the folder that it lies in.

    Folders further up do not matter, but for those that are named `train`, `test`, `validation` or the like: they say
    which part of the data a clip is of.

    Args:
        root: the folder; the clips' corpus has its name.
        paths: audio files below it.
        skipped: what else is there.
        on_error, progress: as for `manifest.scan`.

    Raises:
        CorpusError: no two folders are named by labels, or nothing in them can be read.
    """
    named = Counter(path.parent.name for path in paths if _label(path, root))
    if len({spelled(name) for name in named}) < 2:
        raise CorpusError(_no_classes(root, paths, named))
    corpus = own_corpus(root.name)

    def clip_at(path: Path) -> Clip | Skipped:
        if (other := unread(path)) is not None:
            return other
        if not (label := _label(path, root)):
            return Skipped(path, "in no folder that is named by a label")
        return clip_of_file(path, corpus=corpus, emotion=label, part=_part(path, root))

    clips, without = each_clip(paths, clip_at, on_error=on_error, progress=progress)
    if not clips:
        raise CorpusError(
            f"no clip in {str(root)!r} can be read; the first: {str(without[0].path)!r}: {without[0].reason}"
        )
    renamed = {name: spelled(name) for name in named if spelled(name) != name}
    return without_copies(clips, [*skipped, *without], (_reading(renamed),))


def _label(path: Path, root: Path) -> str:
    """The label of a clip; empty where it lies in no folder below `root`, or in a part's."""
    folder = path.parent
    return "" if folder == root or folder.name.lower() in PART_NAMES else spelled(folder.name)


def _part(path: Path, root: Path) -> str:
    """The part by the nearest folder above that of the label."""
    above = path.parent.relative_to(root).parts[:-1]
    return next((PART_NAMES[name.lower()] for name in reversed(above) if name.lower() in PART_NAMES), "")


def _reading(renamed: dict[str, str]) -> str:
    words = "".join(f"; {printable(name)} counts as {label}" for name, label in sorted(renamed.items()))
    return f"no clip of a known corpus: each clip is labelled by the name of its folder{words}"


def _no_classes(root: Path, paths: Sequence[Path], named: Counter[str]) -> str:
    seen = ", ".join(f"{printable(name)} ({n})" for name, n in named.most_common(_SHOWN))
    files = f"{len(paths)} audio files, in folders {seen}" if seen else f"{len(paths)} audio files"
    return (
        f"no clip of a known corpus in {str(root)!r} and no two folders named by labels, only {files}; sort your "
        "clips into folders such as happy/x.wav and sad/y.wav, or give a table with the columns path and label"
    )
