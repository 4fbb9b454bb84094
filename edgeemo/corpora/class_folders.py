"""Clips of one's own in folders that are named by their labels: `happy/x.wav`, also below `train/` and `test/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from edgeemo.corpora.labels import EMOTIONS, spelled
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
    """Read clips, each labelled by the name of a folder that it lies in.

    That is the nearest one that is named by an emotion or lies beside such: in `anna/happy/x.wav` and in
    `happy/anna/x.wav`, `anna` is no label, and beside `happy`, `shout` is one. Where no folder is named by an
    emotion, it is the nearest. Others do not matter, but for those that are named `train`, `test`, `validation` or
    the like: they say which part of the data a clip is of.

    Args:
        root: the folder; the clips' corpus has its name.
        paths: audio files below it.
        skipped: what else is there.
        on_error, progress: as for `manifest.scan`.

    Raises:
        CorpusError: no two folders are named by labels, or nothing in them can be read.
    """
    folders = [path.parent for path in paths]
    label_folders = _label_folders(folders, root)
    named = Counter(place.name for folder in folders if (place := label_folders[folder]) is not None)
    if len({spelled(name) for name in named}) < 2:
        raise CorpusError(_no_classes(root, paths, named))
    corpus = own_corpus(root.name)

    def clip_at(path: Path) -> Clip | Skipped:
        if (other := unread(path)) is not None:
            return other
        if (place := label_folders[path.parent]) is None:
            return Skipped(path, "in no folder that is named by a label")
        return clip_of_file(path, corpus=corpus, emotion=spelled(place.name), part=_part(path.parent, root))

    clips, without = each_clip(paths, clip_at, on_error=on_error, progress=progress)
    if not clips:
        raise CorpusError(
            f"no clip in {str(root)!r} can be read; the first: {str(without[0].path)!r}: {without[0].reason}"
        )
    renamed = {name: spelled(name) for name in named if spelled(name) != name}
    return without_copies(clips, [*skipped, *without], (_reading(renamed, _others(label_folders, root)),))


def _label_folders(folders: Iterable[Path], root: Path) -> dict[Path, Path | None]:
    """Folders that clips lie in -> those that name their labels; None: `root`, or one that is named as a part."""
    above = {folder: _up_to(folder, root) for folder in folders}

    def inside(place: Path) -> tuple[str, ...]:
        """What lies in `train/` and in `test/` lies side by side."""
        return tuple(folder.name for folder in _up_to(place.parent, root) if not _is_part(folder))

    places = {place for found in above.values() for place in found if not _is_part(place)}
    with_emotions = {inside(place) for place in places if spelled(place.name) in EMOTIONS}

    def label_folder(folder: Path) -> Path | None:
        for place in above[folder]:
            if place in places and inside(place) in with_emotions:
                return place
        return folder if folder in places else None

    return {folder: label_folder(folder) for folder in above}


def _up_to(folder: Path, root: Path) -> list[Path]:
    """A folder and those above it, below `root`."""
    return [place for place in (folder, *folder.parents) if place.is_relative_to(root) and place != root]


def _is_part(folder: Path) -> bool:
    return folder.name.lower() in PART_NAMES


def _part(folder: Path, root: Path) -> str:
    """The part by the nearest folder that is named as one."""
    return next((PART_NAMES[place.name.lower()] for place in _up_to(folder, root) if _is_part(place)), "")


def _others(label_folders: Mapping[Path, Path | None], root: Path) -> list[str]:
    """The names of folders that say neither label nor part."""
    places = (
        place for folder in label_folders for place in _up_to(folder, root) if place != label_folders[folder]
    )
    return sorted({place.name for place in places if not _is_part(place)})


def _reading(renamed: Mapping[str, str], others: Sequence[str]) -> str:
    words = "".join(f"; {printable(name)} counts as {label}" for name, label in sorted(renamed.items()))
    more = ", ..." if len(others) > _SHOWN else ""
    passed = f"; no labels: {', '.join(map(printable, others[:_SHOWN]))}{more}" if others else ""
    return f"no clip of a known corpus: each clip is labelled by the name of its folder{words}{passed}"


def _no_classes(root: Path, paths: Sequence[Path], named: Counter[str]) -> str:
    seen = ", ".join(f"{printable(name)} ({n})" for name, n in named.most_common(_SHOWN))
    files = f"{len(paths)} audio files, in folders {seen}" if seen else f"{len(paths)} audio files"
    return (
        f"no clip of a known corpus in {str(root)!r} and no two folders named by labels, only {files}; sort your "
        "clips into folders such as happy/x.wav and sad/y.wav, or give a table with the columns path and label"
    )
