"""What is compared: which clips a model learned from and which it is tested on, and what a run says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeemo.corpora.find import find_clips
from edgeemo.corpora.labels import LabelMap
from edgeemo.corpora.manifest import Clip
from edgeemo.errors import CorpusError, TrainingError
from edgeemo.wording import counted, printable
from edgeemo.workstation.training.folder import RECIPE_FILE, cell_folder, finished, load_run, read_history
from edgeemo.workstation.training.metrics import CellMetrics, HistoryRow
from edgeemo.workstation.training.protocols import split
from edgeemo.workstation.training.recipe import Recipe, with_data


@dataclass(frozen=True)
class Sides:
    """One fold.

    Attributes:
        name: of the fold.
        learned: clips of its training and validation parts: weights and epochs come from them.
        test: the clips that a score is of.
    """

    name: str
    learned: tuple[Clip, ...]
    test: tuple[Clip, ...]


@dataclass(frozen=True)
class Told:
    """What a run's record says of one cell.

    Attributes:
        path: of the cell.
        metrics: its record.
        history: its epochs; empty where they were not kept.
    """

    path: Path
    metrics: CellMetrics
    history: tuple[HistoryRow, ...]


@dataclass(frozen=True, kw_only=True)
class Material:
    """What is audited.

    Attributes:
        source: what it is, for a person.
        split: how it is split, likewise.
        roots: the folders that clips are below, as they are named to a person; an empty name is left out.
        clips: all of them, each once.
        folds: none where nothing is split, or where only a record is there.
        labels: which label an emotion counts as; None: each is its own.
        told: a run's cells.
    """

    source: str
    split: str
    roots: tuple[tuple[Path, str], ...] = ()
    clips: tuple[Clip, ...] = ()
    folds: tuple[Sides, ...] = ()
    labels: LabelMap | None = None
    told: tuple[Told, ...] = ()

    def label(self, clip: Clip) -> str:
        """What a clip is trained as."""
        return clip.emotion if self.labels is None else self.labels.of[clip.emotion]

    def name(self, clip: Clip) -> str:
        """Where a clip is, for a person; characters that cannot be shown are escaped."""
        for root, name in self.roots:
            if clip.path.is_relative_to(root):
                return printable(str(Path(name) / clip.path.relative_to(root)))
        return printable(str(clip.path))

    @property
    def test(self) -> tuple[Clip, ...]:
        """The clips of all folds' tests, each once."""
        return _each_once([clip for fold in self.folds for clip in fold.test])


def is_run(path: Path) -> bool:
    """Whether a path is the folder of a training run."""
    return (path / RECIPE_FILE).is_file()


def of_data(data: Path, recipe: Recipe | None) -> Material:
    """A folder or manifest: split by a recipe's protocol, or not at all.

    Raises:
        CorpusError: no clips, or too few for the protocol.
    """
    manifest = find_clips(data)
    if recipe is None:
        return Material(
            source=printable(str(data)), split="not split", roots=_roots(data), clips=manifest.clips
        )
    _refuse_images(recipe)
    recipe = with_data(recipe, manifest.select(corpora=recipe.data.corpora))
    clips = manifest.select(corpora=recipe.data.corpora, label_map=recipe.label_map)
    folds = [
        Sides(s.name, (*s.train, *s.validation), s.test)
        for s in split(clips, recipe.protocol, recipe.label_map)
    ]
    return Material(
        source=printable(str(data)),
        split=_protocol(recipe, len(folds)),
        roots=_roots(data),
        clips=clips,
        folds=tuple(folds),
        labels=recipe.label_map,
    )


def of_two(train: Path, test: Path) -> Material:
    """Two folders or manifests.

    Raises:
        CorpusError: no clips in one of them.
    """
    learned, tested = find_clips(train).clips, find_clips(test).clips
    return Material(
        source=printable(f"{train} and {test}"),
        split="training and test as given",
        roots=((_folder(train), str(train)), (_folder(test), str(test))),
        clips=_each_once([*learned, *tested]),
        folds=(Sides("test", learned, tested),),
    )


def of_run(run: Path, data: Path | None) -> Material:
    """A finished run: what its record says and, with the data that it was trained on, its clips.

    Raises:
        CorpusError: the data lack a corpus of it.
        TrainingError: there is no finished run, it was trained on other clips, or it is of images.
    """
    recipe, metrics = load_run(run)
    _refuse_images(recipe)
    told = []
    for cell in metrics.cells:
        folder = cell_folder(run, cell.fold, cell.seed)
        told.append(Told(folder, cell, tuple(read_history(folder))))
    folds: tuple[Sides, ...] = ()
    clips: tuple[Clip, ...] = ()
    if data is not None:
        clips = find_clips(data).select(corpora=recipe.data.corpora, label_map=recipe.label_map)
        splits = {s.name: s for s in split(clips, recipe.protocol, recipe.label_map)}
        for one in told:
            if one.metrics.fold not in splits:
                raise TrainingError(f"{one.path}: the recipe's protocol has no fold {one.metrics.fold!r}")
            finished(one.path, splits[one.metrics.fold])
        chosen = [splits[name] for name in dict.fromkeys(one.metrics.fold for one in told)]
        folds = tuple(Sides(s.name, (*s.train, *s.validation), s.test) for s in chosen)
    return Material(
        source=printable(str(run)),
        split=_protocol(recipe, len({one.metrics.fold for one in told})),
        roots=_roots(data) if data is not None else (),
        clips=clips,
        folds=folds,
        labels=recipe.label_map,
        told=tuple(told),
    )


def _protocol(recipe: Recipe, n_folds: int) -> str:
    return f"{recipe.protocol.kind} protocol, {counted(n_folds, 'fold')}"


def _folder(data: Path) -> Path:
    return (data if data.is_dir() else data.parent).resolve()


def _roots(data: Path) -> tuple[tuple[Path, str], ...]:
    return ((_folder(data), ""),)


def _each_once(clips: Sequence[Clip]) -> tuple[Clip, ...]:
    return tuple(dict.fromkeys(clips))


def _refuse_images(recipe: Recipe) -> None:
    if recipe.image is not None:
        raise CorpusError(f"{recipe.name} is a recipe of images; an audit is of speech")
