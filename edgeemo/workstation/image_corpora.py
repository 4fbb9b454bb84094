"""Fashion-MNIST and FER-2013, read as they are downloaded: nothing has to be unpacked, renamed or converted."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from edgeemo.corpora.labels import FASHION_MNIST_CLASSES, FER2013_CLASSES
from edgeemo.errors import CorpusError
from edgeemo.folders import walk


@dataclass(frozen=True)
class LabelledImage:
    """One grey image: where it comes from, what it shows, its pixels."""

    corpus: str
    """A key of `IMAGE_CORPORA`."""
    part: str
    """"train" or "test": the corpus' own."""
    label: str
    """One of the corpus' `classes`."""
    name: str
    """Unique in the corpus: part and number (`train-00017`), the file (`train/angry/Training_1021836.jpg`) or the
    row of the CSV file (`row-00017`); numbers count from 0."""
    sha256: str
    """Of height, width and pixels: equal for two images that are the same."""
    pixels: npt.NDArray[np.uint8] = field(compare=False, repr=False)
    """uint8, 0 is black, shape `(height, width)`; read-only."""

    session = speaker = ""

    @property
    def place(self) -> str:
        """What splits sort images by."""
        return self.name


@dataclass(frozen=True)
class ImageCorpus:
    """One corpus of grey images: what it holds, where it comes from and under which terms."""

    name: str
    title: str
    classes: tuple[str, ...]
    """In the order of the corpus' numbers."""
    side: int
    """Height and width in pixels."""
    files: str
    """What to download, as the middle of a sentence."""
    source: str
    licence: str
    citation: str


_IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_PARTS = tuple(_IDX_FILES)

_FASHION_MNIST = ImageCorpus(
    name="fashion_mnist",
    title="Fashion-MNIST",
    classes=FASHION_MNIST_CLASSES,
    side=28,
    files="the four files " + ", ".join(f"{name}.gz" for names in _IDX_FILES.values() for name in names),
    source="https://github.com/zalandoresearch/fashion-mnist",
    licence="MIT",
    citation="Xiao, Rasul & Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747",
)
_FER2013 = ImageCorpus(
    name="fer2013",
    title="FER-2013",
    classes=FER2013_CLASSES,
    side=48,
    files="archive.zip (or the folders train/ and test/ that are in it, or the challenge's fer2013.csv)",
    source="https://www.kaggle.com/datasets/msambare/fer2013",
    licence="for research; see its site",
    citation="Goodfellow et al. 2013, Challenges in Representation Learning, arXiv:1307.0414",
)

IMAGE_CORPORA: Mapping[str, ImageCorpus] = MappingProxyType(
    {corpus.name: corpus for corpus in (_FASHION_MNIST, _FER2013)}
)
"""The known image corpora by name."""


def read_images(folder: Path, corpora: Sequence[str]) -> tuple[LabelledImage, ...]:
    """Find image corpora in a folder, at any depth and among anything else, and read all their images.

    Links to folders are followed, each folder once.

    - Fashion-MNIST is its four files; one that lies there with and without `.gz` is read without.
    - FER-2013 is the first of these that is there: `fer2013.csv`, which holds the original pixels and not their
      JPEG; the folders `train/CLASS` and `test/CLASS`; a zip archive that holds such folders. Other archives are
      left alone.

    Args:
        folder: the folder.
        corpora: keys of `IMAGE_CORPORA`.

    Returns:
        The images of one corpus after the other; of one corpus, always in the same order.

    Raises:
        CorpusError: no corpus named; no such folder or corpus; a corpus that is not there, not all there, or there
            more than once; the first file that is broken.
    """
    if not corpora:
        raise CorpusError(f"[data] corpora names no corpus of images; known: {', '.join(IMAGE_CORPORA)}")
    if unknown := [name for name in corpora if name not in IMAGE_CORPORA]:
        raise CorpusError(f"no image corpus {unknown[0]!r}; known: {', '.join(IMAGE_CORPORA)}")
    if not Path(folder).is_dir():
        raise CorpusError(f"no folder at {str(folder)!r}; give the folder that holds the image corpora")
    files = _files(Path(folder))
    readers = {"fashion_mnist": _read_fashion_mnist, "fer2013": _read_fer2013}
    images: list[LabelledImage] = []
    for name in dict.fromkeys(corpora):
        found = readers[name](folder, files)
        for part in _PARTS:
            if not any(image.part == part for image in found):
                raise _absent(IMAGE_CORPORA[name], folder, missing=f"{part} images")
        images += found
    return tuple(images)


# --- Fashion-MNIST -------------------------------------------------------------------------------------

# MNIST's files have the same names and shapes: its digits would be trained on as clothes, without an error.
_FIRST_LABELS_OF_MNIST = [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


def _read_fashion_mnist(folder: Path, files: list[Path]) -> list[LabelledImage]:
    """All images of the four files, in their order: training images first."""
    corpus = _FASHION_MNIST
    places: dict[str, Path] = {}
    for name in (name for names in _IDX_FILES.values() for name in names):
        # Without .gz first: that is the quicker one to read.
        found = sorted(path for path in files if path.name in (name, f"{name}.gz"))
        if found:
            _only(corpus, [path.parent for path in found], what=f"{name} of {corpus.title}")
            places[name] = found[0]
    if missing := [name for names in _IDX_FILES.values() for name in names if name not in places]:
        raise _absent(corpus, folder, missing=", ".join(missing) if places else "")

    images: list[LabelledImage] = []
    for part, (images_name, labels_name) in _IDX_FILES.items():
        stack = _read_idx(places[images_name], n_axes=3)
        labels = _read_idx(places[labels_name], n_axes=1)
        if stack.shape[1:] != (corpus.side, corpus.side):
            reason = f"images of {stack.shape[1]} x {stack.shape[2]}"
            raise _broken(corpus, places[images_name], f"{reason}, expected {corpus.side} x {corpus.side}")
        if len(labels) != len(stack):
            reason = f"{len(labels)} labels for the {len(stack)} images of {str(places[images_name])!r}"
            raise _broken(corpus, places[labels_name], reason)
        if len(wrong := np.flatnonzero(labels >= len(corpus.classes))):
            row = wrong[0]
            reason = f"label {labels[row]} at image {row}, expected 0 to {len(corpus.classes) - 1}"
            raise _broken(corpus, places[labels_name], reason)
        if labels[: len(_FIRST_LABELS_OF_MNIST)].tolist() == _FIRST_LABELS_OF_MNIST:
            raise _broken(corpus, places[labels_name], "the labels of MNIST's digits, not of Fashion-MNIST")
        images += [
            _labelled(corpus, part, corpus.classes[label], f"{part}-{row:05}", pixels)
            for row, (label, pixels) in enumerate(zip(labels, stack, strict=True))
        ]
    return images


def _read_idx(path: Path, *, n_axes: int) -> npt.NDArray[np.uint8]:
    """The array of bytes in an idx file, uint8, read-only.

    Raises:
        CorpusError: the file cannot be read, or is not what its first bytes say.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(_FASHION_MNIST, path, f"cannot be read: {_cause(error)}") from error
    # Two zeros, 8 for unsigned bytes, the number of axes; then the length of each axis.
    magic, n_header = bytes([0, 0, 8, n_axes]), 4 + 4 * n_axes
    if content[:4] != magic:
        got = content[:4].hex(" ") or "nothing"
        raise _broken(_FASHION_MNIST, path, f"begins with {got}, expected {magic.hex(' ')}")
    if len(content) < n_header:
        raise _broken(_FASHION_MNIST, path, f"{len(content)} bytes, expected at least {n_header}")
    shape = np.frombuffer(content, ">u4", count=n_axes, offset=4).tolist()
    if len(content) - n_header != math.prod(shape):
        reason = f"{len(content) - n_header} bytes of data, its header says {math.prod(shape)}"
        raise _broken(_FASHION_MNIST, path, reason)
    return np.frombuffer(content, np.uint8, offset=n_header).reshape(shape)


# --- FER-2013 ------------------------------------------------------------------------------------------

_COLUMNS = ("emotion", "pixels", "Usage")
_CLASS_OF_NUMBER = {str(number): label for number, label in enumerate(FER2013_CLASSES)}
_PART_OF_USAGE = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}
_IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
# What reading raises: of files, and of damaged, encrypted or oddly compressed archives.
_READ_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError)
# What Pillow raises at damaged JPEG and PNG files.
_IMAGE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def _read_fer2013(folder: Path, files: list[Path]) -> list[LabelledImage]:
    """All images, in the order of the CSV file's rows or of the files' names; see `read_images`."""
    tables = [path for path in files if path.name.lower() == "fer2013.csv"]
    if tables:
        return _read_table(_only(_FER2013, tables))
    trees = _trees(files)
    if trees:
        return _read_tree(trees, read=Path.read_bytes)
    archives, broken = [], None
    for path in files:
        if path.suffix.lower() == ".zip":
            try:
                with zipfile.ZipFile(path) as archive:
                    if _trees(_members(archive, path)):
                        archives.append(path)
            except _READ_ERRORS as error:
                # It may be anything: an error only if no other archive holds FER-2013.
                broken = broken or _broken(_FER2013, path, f"cannot be read: {_cause(error)}")
    if not archives:
        raise broken or _absent(_FER2013, folder)
    path = _only(_FER2013, archives)
    with zipfile.ZipFile(path) as archive:
        members = _members(archive, path)
        return _read_tree(_trees(members), read=lambda member: archive.read(members[member]))


def _read_table(path: Path) -> list[LabelledImage]:
    """The images of `fer2013.csv`, read row by row: the file has 300 MB."""
    images: list[LabelledImage] = []
    try:
        # "replace": what is not text is then reported as a wrong first line or value.
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if not set(_COLUMNS) <= set(header):
                got = ",".join(header)[:80] or "nothing"
                raise _broken(_FER2013, path, f"its first line is {got!r}, expected {','.join(_COLUMNS)!r}")
            for row in reader:
                try:
                    if len(row) != len(header):
                        raise ValueError(f"{len(row)} values, expected {len(header)}")
                    values = dict(zip(header, row, strict=True))
                    images.append(_image_of(values, name=f"row-{len(images):05}"))
                except ValueError as error:
                    raise _broken(_FER2013, path, f"line {reader.line_num}: {error}") from error
    except csv.Error as error:
        raise _broken(_FER2013, path, f"line {reader.line_num}: not CSV ({error})") from error
    except OSError as error:
        raise _broken(_FER2013, path, f"cannot be read: {_cause(error)}") from error
    return images


def _image_of(values: Mapping[str, str], *, name: str) -> LabelledImage:
    """One row of `fer2013.csv` as a LabelledImage. Raises ValueError saying which value is impossible."""
    emotion, usage, side = values["emotion"].strip(), values["Usage"].strip(), _FER2013.side
    if emotion not in _CLASS_OF_NUMBER:
        raise ValueError(f"emotion {emotion[:20]!r}, expected one of {', '.join(_CLASS_OF_NUMBER)}")
    if usage not in _PART_OF_USAGE:
        raise ValueError(f"Usage {usage[:20]!r}, expected one of {', '.join(_PART_OF_USAGE)}")
    try:
        content = bytes(map(int, values["pixels"].split()))
    except ValueError as error:
        raise ValueError("pixels that are not whole numbers from 0 to 255") from error
    if len(content) != side * side:
        raise ValueError(f"{len(content)} pixels, expected {side} x {side}")
    pixels = np.frombuffer(content, np.uint8).reshape(side, side)
    return _labelled(_FER2013, _PART_OF_USAGE[usage], _CLASS_OF_NUMBER[emotion], name, pixels)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[Path, str]:
    """The names in an archive, by the paths they would have if the archive were a folder."""
    return {path / name: name for name in archive.namelist()}


def _trees(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """Images at ROOT/train/CLASS/FILE and ROOT/test/CLASS/FILE by ROOT, where a CLASS is one of FER-2013."""
    trees: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        # macOS puts "._NAME" beside the files of a zip.
        is_image = path.suffix.lower() in _IMAGE_SUFFIXES and not path.name.startswith(".")
        if is_image and len(path.parts) >= 3 and path.parts[-3].lower() in _PARTS:
            trees[path.parents[2]].append(path)
    return {
        root: found
        for root, found in trees.items()
        if any(path.parent.name.lower() in FER2013_CLASSES for path in found)
    }


def _read_tree(trees: Mapping[Path, list[Path]], *, read: Callable[[Path], bytes]) -> list[LabelledImage]:
    """The images of the only one of `trees`, in the order of their names; `read` gives a file's content."""
    root = _only(_FER2013, trees)
    images = []
    for path in sorted(trees[root]):
        part, label = path.parts[-3].lower(), path.parts[-2].lower()
        if label not in FER2013_CLASSES:
            # Left out, nobody would miss them: other editions say "fearful" or "surprised".
            reason = f"folder {path.parts[-2]!r}, expected one of {', '.join(FER2013_CLASSES)}"
            raise _broken(_FER2013, path, reason)
        try:
            content = read(path)
        except _READ_ERRORS as error:
            raise _broken(_FER2013, path, f"cannot be read: {_cause(error)}") from error
        name = path.relative_to(root).as_posix()
        images.append(_labelled(_FER2013, part, label, name, _decode(content, path)))
    return images


def _decode(content: bytes, path: Path) -> npt.NDArray[np.uint8]:
    """The grey pixels of a JPEG or PNG file, uint8, read-only; `path` is only for the error."""
    side = _FER2013.side
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            if image.size != (side, side):
                reason = f"{image.height} x {image.width} pixels, expected {side} x {side}"
                raise _broken(_FER2013, path, reason)
            grey = image.convert("L")
    except UnidentifiedImageError as error:
        # Pillow's own words hold the address of the buffer.
        raise _broken(_FER2013, path, "not a JPEG or PNG image") from error
    except _IMAGE_ERRORS as error:
        raise _broken(_FER2013, path, f"corrupt image: {_cause(error)}") from error
    return np.frombuffer(grey.tobytes(), np.uint8).reshape(side, side)


# --- what both share -----------------------------------------------------------------------------------


def _files(folder: Path) -> list[Path]:
    """All files below a folder, sorted."""
    found: list[Path] = []

    def stop(error: OSError) -> None:
        # Going on could leave out a part of a corpus without a word.
        raise CorpusError(
            f"cannot list the folder {error.filename!r}: {_cause(error)}; allow it, or give another folder"
        ) from error

    for name, _, files in walk(folder, stop):
        found += [name / file for file in files]
    return sorted(found)


def _labelled(
    corpus: ImageCorpus, part: str, label: str, name: str, pixels: npt.NDArray[np.uint8]
) -> LabelledImage:
    content = f"{pixels.shape[0]} x {pixels.shape[1]}\n".encode() + pixels.tobytes()
    return LabelledImage(corpus.name, part, label, name, hashlib.sha256(content).hexdigest(), pixels)


def _only(corpus: ImageCorpus, places: Iterable[Path], *, what: str = "") -> Path:
    """The one place of a corpus, or of a part of it, `what`: of two, one may be wrong, or every image count twice."""
    different = sorted(set(places))
    if len(different) > 1:
        shown = ", ".join(repr(str(place)) for place in different)
        raise CorpusError(
            f"{what or corpus.title} was found {len(different)} times: {shown}; give a folder that holds it once"
        )
    return different[0]


def _absent(corpus: ImageCorpus, folder: Path, *, missing: str = "") -> CorpusError:
    what = f"{missing} of {corpus.title}" if missing else corpus.title
    return CorpusError(
        f"no {what} in {str(folder)!r}: download {corpus.files} from {corpus.source} into this folder"
    )


def _broken(corpus: ImageCorpus, path: Path, reason: str) -> CorpusError:
    return CorpusError(f"{str(path)!r}: {reason}; download {corpus.title} again from {corpus.source}")


def _cause(error: BaseException) -> str:
    """What an error says, on one line, without the path that the message names already."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
