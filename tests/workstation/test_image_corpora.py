"""Fashion-MNIST and FER-2013: every form they are downloaded in, and what is said of broken ones."""

from __future__ import annotations

import csv
import gzip
import io
import os
import tempfile
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeemo.corpora.labels import FASHION_MNIST_CLASSES, FER2013_CLASSES, LABEL_MAPS
from edgeemo.corpora.names import CORPORA
from edgeemo.errors import CorpusError
from edgeemo.workstation.image_corpora import IMAGE_CORPORA, LabelledImage, read_images
from support.corpora import IDX_FILES, idx, write_fashion

USAGES = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}


def noise(side: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)


def noisy_fashion(
    folder: Path, *, labels: Mapping[str, list[int]] | None = None, zipped: bool = True
) -> dict[str, np.ndarray]:
    """The four files; the images of each part, shape `(n, 28, 28)`."""
    labels = labels or {"train": [9, 0, 3], "test": [2, 1]}
    images = {
        part: np.stack([noise(28, 100 * len(of) + i) for i in range(len(of))]) for part, of in labels.items()
    }
    arrays = [array for part in ("train", "test") for array in (images[part], np.array(labels[part]))]
    write_fashion(folder, *arrays, zipped=zipped)
    return images


def encoded(pixels: np.ndarray, *, mode: str = "L", suffix: str = ".png") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, {".png": "PNG", ".jpg": "JPEG", ".gif": "GIF"}[suffix])
    return stream.getvalue()


FACES = {
    "train/angry/Training_1.png": noise(48, 1),
    "train/angry/Training_2.png": noise(48, 2),
    "train/neutral/Training_3.png": noise(48, 3),
    "test/disgust/PublicTest_4.png": noise(48, 4),
    "test/surprise/PrivateTest_5.png": noise(48, 5),
}
FACE_FILES = {name: encoded(pixels) for name, pixels in FACES.items()}


def write_tree(folder: Path, files: Mapping[str, bytes] = FACE_FILES) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_zip(path: Path, files: Mapping[str, bytes] = FACE_FILES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def row(
    emotion: object = 3,
    pixels: np.ndarray | str = FACES["train/angry/Training_1.png"],
    usage: str = "Training",
):
    text = pixels if isinstance(pixels, str) else " ".join(map(str, pixels.ravel()))
    return [str(emotion), text, usage]


HEADER = ["emotion", "pixels", "Usage"]
TEST_ROW = row(6, noise(48, 6), "PublicTest")


def write_table(path: Path, rows: list[list[str]], *, header: list[str] = HEADER) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def assert_faces(found: tuple[LabelledImage, ...], *, faces: Mapping[str, np.ndarray] = FACES) -> None:
    assert [image.name for image in found] == sorted(faces)
    for image in found:
        part, label, _ = image.name.lower().split("/")
        assert (image.corpus, image.part, image.label) == ("fer2013", part, label)
        assert image.pixels.dtype == np.uint8
        np.testing.assert_array_equal(image.pixels, faces[image.name])


def duplicates(images: Iterable[LabelledImage]) -> list[list[LabelledImage]]:
    """Groups of two or more images with the same digest, in the order of their first ones."""
    groups: dict[str, list[LabelledImage]] = defaultdict(list)
    for image in images:
        groups[image.sha256].append(image)
    return [group for group in groups.values() if len(group) > 1]


def message_of(folder: Path, corpus: str) -> str:
    """What is said of a corpus that cannot be read: one line."""
    with pytest.raises(CorpusError) as caught:
        read_images(folder, [corpus])
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the registry and the call -------------------------------------------------------------------------


def test_the_registry_says_what_to_download():
    assert not set(IMAGE_CORPORA) & set(CORPORA)
    assert {name: corpus.classes for name, corpus in IMAGE_CORPORA.items()} == {
        "fashion_mnist": LABEL_MAPS["fashion10"].labels,
        "fer2013": LABEL_MAPS["fer7"].labels,
    }
    for name, corpus in IMAGE_CORPORA.items():
        assert corpus.name == name
        assert corpus.source.startswith("https://")
        assert all((corpus.title, corpus.files, corpus.licence, corpus.citation))


@pytest.mark.parametrize("corpus", IMAGE_CORPORA)
def test_an_absent_corpus_says_what_to_put_where(tmp_path, corpus):
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech" / "OAF_back_angry.wav").write_bytes(b"")
    known = IMAGE_CORPORA[corpus]
    assert message_of(tmp_path, corpus) == (
        f"no {known.title} in {str(tmp_path)!r}: download {known.files} from {known.source} into this folder"
    )


def test_the_four_files_are_named():
    assert all(f"{name}.gz" in IMAGE_CORPORA["fashion_mnist"].files for name in IDX_FILES)


def test_no_folder_and_no_such_corpus(tmp_path):
    assert message_of(tmp_path / "gone", "fer2013").startswith(
        f"no folder at {str(tmp_path / 'gone')!r}; give"
    )
    assert message_of(tmp_path, "ravdess") == "no image corpus 'ravdess'; known: fashion_mnist, fer2013"
    with pytest.raises(CorpusError, match="names no corpus of images; known: fashion_mnist, fer2013"):
        read_images(tmp_path, [])


def test_corpora_come_in_the_order_asked_for_and_once(tmp_path):
    noisy_fashion(tmp_path)
    write_tree(tmp_path)
    found = read_images(tmp_path, ["fer2013", "fashion_mnist", "fer2013"])
    assert [image.corpus for image in found] == ["fer2013"] * 5 + ["fashion_mnist"] * 5
    assert len({image.name for image in found}) == 10
    assert {(image.speaker, image.session) for image in found} == {("", "")}


def test_links_to_folders_are_followed_once(tmp_path):
    disc = write_tree(tmp_path / "disc")
    root = tmp_path / "root"
    root.mkdir()
    (root / "one").symlink_to(disc, target_is_directory=True)
    (root / "two").symlink_to(disc, target_is_directory=True)
    (disc / "loop").symlink_to(root, target_is_directory=True)
    assert_faces(read_images(root, ["fer2013"]))


def test_a_folder_that_cannot_be_listed_stops(tmp_path, monkeypatch):
    write_tree(tmp_path)
    locked = tmp_path / "train" / "angry"
    really_scandir = os.scandir

    def refuse(path):
        # The tests may run as root, whom no mode of a folder stops.
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return really_scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert message_of(tmp_path, "fer2013").startswith(
        f"cannot list the folder {str(locked)!r}: Permission denied"
    )


# --- duplicates ----------------------------------------------------------------------------------------


def test_duplicates_have_equal_pixels_whatever_their_part_and_label(tmp_path):
    twice, once = noise(48, 1), noise(48, 2)
    other = twice.copy()
    other[47, 47] ^= 1
    faces = {
        "train/sad/a.png": twice,
        "train/sad/b.png": once,
        "train/fear/c.png": other,
        "test/happy/d.png": twice,
        "test/happy/e.png": noise(48, 3),
    }
    write_tree(tmp_path, {name: encoded(pixels) for name, pixels in faces.items()})
    [group] = duplicates(read_images(tmp_path, ["fer2013"]))
    assert [image.name for image in group] == ["test/happy/d.png", "train/sad/a.png"]
    assert len({image.sha256 for image in group}) == 1
    assert duplicates([]) == []


def test_the_same_pixels_are_the_same_image_in_every_form(tmp_path):
    write_tree(tmp_path / "tree")
    name, pixels = "train/angry/Training_1.png", FACES["train/angry/Training_1.png"]
    write_table(tmp_path / "table" / "fer2013.csv", [row(0, pixels), TEST_ROW])
    in_tree = {p.name: p for p in read_images(tmp_path / "tree", ["fer2013"])}[name]
    in_table = read_images(tmp_path / "table", ["fer2013"])[0]
    assert duplicates([in_tree, in_table]) == [[in_tree, in_table]]


# --- Fashion-MNIST -------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", [".", "data/fashion-mnist", "a b/FashionMNIST/raw"])
def test_the_four_files_are_read_wherever_they_are(tmp_path, place, zipped):
    images = noisy_fashion(tmp_path / place, zipped=zipped)
    found = read_images(tmp_path, ["fashion_mnist"])
    assert [(p.part, p.name, p.label) for p in found] == [
        ("train", "train-00000", "ankle boot"),
        ("train", "train-00001", "t-shirt/top"),
        ("train", "train-00002", "dress"),
        ("test", "test-00000", "pullover"),
        ("test", "test-00001", "trouser"),
    ]
    assert {image.corpus for image in found} == {"fashion_mnist"}
    np.testing.assert_array_equal([p.pixels for p in found], [*images["train"], *images["test"]])
    assert found[0].pixels.dtype == np.uint8
    assert len({image.sha256 for image in found}) == 5
    assert read_images(tmp_path, ["fashion_mnist"]) == found
    with pytest.raises(ValueError, match="read-only"):
        found[0].pixels[0, 0] = 0


def test_each_file_may_lie_in_a_folder_of_its_own(tmp_path):
    noisy_fashion(tmp_path)
    expected = read_images(tmp_path, ["fashion_mnist"])
    for name in IDX_FILES:
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.gz").rename(tmp_path / name / f"{name}.gz")
    assert read_images(tmp_path, ["fashion_mnist"]) == expected


def test_the_unzipped_file_beside_the_zipped_one_is_read(tmp_path):
    noisy_fashion(tmp_path, zipped=False)
    expected = read_images(tmp_path, ["fashion_mnist"])
    for name in IDX_FILES:
        (tmp_path / f"{name}.gz").write_bytes(b"not gzip")
    assert read_images(tmp_path, ["fashion_mnist"]) == expected


LABELS = st.lists(st.integers(0, 9), min_size=1, max_size=12)


@settings(deadline=None, max_examples=25)
@given(train=LABELS, test=LABELS, zipped=st.booleans())
def test_idx_files_round_trip(train, test, zipped):
    with tempfile.TemporaryDirectory() as name:
        images = noisy_fashion(Path(name), labels={"train": train, "test": test}, zipped=zipped)
        found = read_images(Path(name), ["fashion_mnist"])
    for part, labels in (("train", train), ("test", test)):
        of_part = [image for image in found if image.part == part]
        assert [image.label for image in of_part] == [FASHION_MNIST_CLASSES[label] for label in labels]
        np.testing.assert_array_equal([image.pixels for image in of_part], images[part])


def test_files_that_are_missing_are_named(tmp_path):
    noisy_fashion(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    assert message_of(tmp_path, "fashion_mnist").startswith(
        f"no train-labels-idx1-ubyte, t10k-images-idx3-ubyte of Fashion-MNIST in {str(tmp_path)!r}: download"
    )


def test_two_copies_of_the_files_are_refused(tmp_path):
    noisy_fashion(tmp_path / "FashionMNIST")
    noisy_fashion(tmp_path / "MNIST")
    message = message_of(tmp_path, "fashion_mnist")
    assert "train-images-idx3-ubyte of Fashion-MNIST was found 2 times" in message
    assert repr(str(tmp_path / "MNIST")) in message
    assert "give a folder that holds it once" in message
    assert len(read_images(tmp_path / "FashionMNIST", ["fashion_mnist"])) == 5


def test_the_digits_of_mnist_are_refused(tmp_path):
    noisy_fashion(tmp_path, labels={"train": [5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3], "test": [7]})
    assert "the labels of MNIST's digits" in message_of(tmp_path, "fashion_mnist")


def test_no_images_of_a_part(tmp_path):
    noisy_fashion(tmp_path)
    for name, shape in (("t10k-images-idx3-ubyte", (0, 28, 28)), ("t10k-labels-idx1-ubyte", (0,))):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(np.zeros(shape))))
    assert message_of(tmp_path, "fashion_mnist").startswith("no test images of Fashion-MNIST in")


IMAGES = idx(np.stack([noise(28, i) for i in range(3)]))
BAD_CHECKSUM = bytearray(gzip.compress(IMAGES))
BAD_CHECKSUM[-8] ^= 1
BROKEN_IDX = {
    "empty gz": (IDX_FILES[0], b"", "begins with nothing, expected 00 00 08 03"),
    "web page": (IDX_FILES[0], b"<html>404</html>", "cannot be read: Not a gzipped file"),
    "half a gz": (IDX_FILES[0], gzip.compress(IMAGES)[:1000], "cannot be read: Compressed file ended"),
    "gz with a wrong checksum": (IDX_FILES[0], bytes(BAD_CHECKSUM), "cannot be read: CRC check failed"),
    "gz with wrong data": (
        IDX_FILES[0],
        gzip.compress(IMAGES)[:10] + b"\xff" * 50,
        "cannot be read: Error -3",
    ),
    "no header": (IDX_FILES[0], gzip.compress(IMAGES[:7]), "7 bytes, expected at least 16"),
    "short": (IDX_FILES[0], gzip.compress(IMAGES[:-1]), "2351 bytes of data, its header says 2352"),
    "long": (IDX_FILES[0], gzip.compress(IMAGES + b"\0"), "2353 bytes of data, its header says 2352"),
    "labels for images": (
        IDX_FILES[0],
        gzip.compress(idx(np.zeros(3))),
        "begins with 00 00 08 01, expected 00 00 08 03",
    ),
    "images for labels": (
        IDX_FILES[1],
        gzip.compress(IMAGES),
        "begins with 00 00 08 03, expected 00 00 08 01",
    ),
    "floats": (IDX_FILES[0], gzip.compress(b"\0\0\x0d" + IMAGES[3:]), "begins with 00 00 0d 03"),
    "another size": (
        IDX_FILES[0],
        gzip.compress(idx(np.zeros((3, 32, 30)))),
        "images of 32 x 30, expected 28 x 28",
    ),
    "labels missing": (IDX_FILES[1], gzip.compress(idx(np.zeros(2))), "2 labels for the 3 images of"),
    "label 10": (
        IDX_FILES[3],
        gzip.compress(idx(np.array([9, 10]))),
        "label 10 at image 1, expected 0 to 9",
    ),
}


@pytest.mark.parametrize(("name", "content", "reason"), BROKEN_IDX.values(), ids=BROKEN_IDX)
def test_a_broken_idx_file_is_named(tmp_path, name, content, reason):
    noisy_fashion(tmp_path)
    path = tmp_path / f"{name}.gz"
    path.write_bytes(content)
    message = message_of(tmp_path, "fashion_mnist")
    assert message.startswith(f"{str(path)!r}: {reason}")
    assert message.endswith(
        "; download Fashion-MNIST again from https://github.com/zalandoresearch/fashion-mnist"
    )


def test_an_idx_file_that_cannot_be_opened_is_named(tmp_path):
    noisy_fashion(tmp_path, zipped=False)
    path = tmp_path / IDX_FILES[0]
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    assert message_of(tmp_path, "fashion_mnist").startswith(f"{str(path)!r}: cannot be read: No such file")


# --- FER-2013: folders and archives --------------------------------------------------------------------


def in_a_tree(folder: Path, files: Mapping[str, bytes]) -> Path:
    return write_tree(folder / "unpacked", files)


def in_a_zip(folder: Path, files: Mapping[str, bytes]) -> Path:
    return write_zip(folder / "downloads" / "archive.zip", files)


in_each = pytest.mark.parametrize("place", [in_a_tree, in_a_zip])
"""A test of both: returns the root that the files are shown below in errors."""


@in_each
def test_train_and_test_folders_are_read(tmp_path, place):
    place(tmp_path, FACE_FILES)
    found = read_images(tmp_path, ["fer2013"])
    assert_faces(found)
    with pytest.raises(ValueError, match="read-only"):
        found[0].pixels[0, 0] = 0


def test_an_archive_is_what_is_unpacked_from_it(tmp_path):
    with zipfile.ZipFile(write_zip(tmp_path / "zip" / "archive.zip")) as archive:
        archive.extractall(tmp_path / "tree")
    assert read_images(tmp_path / "zip", ["fer2013"]) == read_images(tmp_path / "tree", ["fer2013"])


@in_each
def test_nesting_case_and_other_files_do_not_matter(tmp_path, place):
    faces = {"Train/ANGRY/a b.PNG": noise(48, 1), "test/Happy/é.png": noise(48, 2)}
    files = {f"FER 2013/{name}": encoded(pixels) for name, pixels in faces.items()}
    place(
        tmp_path,
        files
        | {
            "__MACOSX/FER 2013/Train/ANGRY/._a b.png": b"Finder's",
            "FER 2013/Train/ANGRY/.DS_Store": b"Finder's",
            "FER 2013/Train/ANGRY/Thumbs.db": b"Windows'",
            "FER 2013/Train/readme.txt": b"",
            "FER 2013/train.png": b"a plot",
            "pets/train/cats/1.jpg": b"another data set",
        },
    )
    assert_faces(read_images(tmp_path, ["fer2013"]), faces=faces)


@in_each
def test_jpeg_and_colour_become_grey(tmp_path, place):
    ramp = np.add.outer(np.arange(48), np.arange(48)).astype(np.uint8) * 2
    files = {
        "train/sad/grey.jpg": encoded(ramp, suffix=".jpg"),
        "train/sad/colour.jpeg": encoded(ramp, mode="RGB", suffix=".jpg"),
        "train/sad/colour.png": encoded(ramp, mode="RGB"),
        "train/sad/alpha.png": encoded(ramp, mode="RGBA"),
        "test/sad/palette.png": encoded(ramp, mode="P"),
    }
    place(tmp_path, files)
    found = {image.name: image for image in read_images(tmp_path, ["fer2013"])}
    assert set(found) == set(files)
    for name, image in found.items():
        assert image.pixels.shape == (48, 48)
        tolerance = 0 if name.endswith(".png") else 4
        np.testing.assert_allclose(image.pixels.astype(int), ramp.astype(int), atol=tolerance)


FACE = "train/angry/Training_1.png"
PNG = FACE_FILES[FACE]
JPG = encoded(FACES[FACE], suffix=".jpg")
BROKEN_IMAGES = {
    "no bytes": (b"", "not a JPEG or PNG image"),
    "text": (b"<html>404</html>", "not a JPEG or PNG image"),
    "gif": (encoded(FACES[FACE], suffix=".gif"), "not a JPEG or PNG image"),
    "half a png": (PNG[: len(PNG) // 2], "corrupt image: image file is truncated"),
    "half a jpg": (JPG[: len(JPG) // 2], "corrupt image: image file is truncated"),
    "png with wrong data": (PNG[:100] + b"\xff" * 100 + PNG[200:], "corrupt image: "),
    "larger": (encoded(noise(224, 1)), "224 x 224 pixels, expected 48 x 48"),
    "not square": (encoded(noise(48, 1)[:47]), "47 x 48 pixels, expected 48 x 48"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN_IMAGES.values(), ids=BROKEN_IMAGES)
@in_each
def test_a_broken_image_is_named(tmp_path, place, content, reason):
    root = place(tmp_path, FACE_FILES | {FACE: content})
    message = message_of(tmp_path, "fer2013")
    assert message.startswith(f"{str(root / FACE)!r}: {reason}")
    assert message.endswith("; download FER-2013 again from https://www.kaggle.com/datasets/msambare/fer2013")


@settings(deadline=None, max_examples=100)
@given(
    content=st.sampled_from([PNG, JPG]),
    changes=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=5),
    kept=st.floats(0, 1),
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_damage_to_an_image_is_one_line_or_harmless(content, changes, kept):
    damaged = bytearray(content)
    for position, value in changes:
        damaged[position] = value
    with tempfile.TemporaryDirectory() as name:
        write_tree(Path(name), {"train/sad/1.png": bytes(damaged[: round(kept * len(damaged))]), FACE: PNG})
        write_tree(Path(name), {"test/sad/2.png": PNG})
        try:
            said = ""
            assert read_images(Path(name), ["fer2013"])[-1].pixels.shape == (48, 48)
        except CorpusError as error:
            said = str(error)
        assert not said or said.startswith(repr(str(Path(name, "train/sad/1.png"))))
        assert "\n" not in said


@in_each
def test_a_class_of_another_edition_is_not_left_out(tmp_path, place):
    root = place(tmp_path, FACE_FILES | {"train/fearful/Training_6.png": PNG})
    message = message_of(tmp_path, "fer2013")
    assert message.startswith(
        f"{str(root / 'train/fearful/Training_6.png')!r}: folder 'fearful', expected one of"
    )
    assert all(label in message for label in FER2013_CLASSES)


@in_each
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_that_is_missing_is_named(tmp_path, place, part):
    place(tmp_path, {name: content for name, content in FACE_FILES.items() if not name.startswith(part)})
    assert message_of(tmp_path, "fer2013").startswith(f"no {part} images of FER-2013 in {str(tmp_path)!r}: ")


@in_each
def test_two_copies_of_the_folders_are_refused(tmp_path, place):
    root = place(tmp_path, {f"{copy}/{name}": PNG for copy in ("images", "copy") for name in FACE_FILES})
    message = message_of(tmp_path, "fer2013")
    assert (
        f"FER-2013 was found 2 times: {str(root / 'copy')!r}, {str(root / 'images')!r}; give a folder"
        in message
    )


def test_two_archives_are_refused(tmp_path):
    write_zip(tmp_path / "archive.zip")
    write_zip(tmp_path / "archive (1).zip")
    assert "FER-2013 was found 2 times" in message_of(tmp_path, "fer2013")


def test_other_archives_are_left_alone(tmp_path):
    write_zip(tmp_path / "speech.zip", {"Actor_01/03-01-01-01-01-01-01.wav": b""})
    write_zip(tmp_path / "pets.zip", {"train/cats/1.jpg": b"", "test/dogs/2.jpg": b""})
    write_zip(tmp_path / "empty.zip", {})
    assert message_of(tmp_path, "fer2013").startswith("no FER-2013 in")
    (tmp_path / "broken.zip").write_bytes(b"not a zip")
    write_zip(tmp_path / "z.ZIP")
    assert_faces(read_images(tmp_path, ["fer2013"]))


def test_an_archive_that_cannot_be_opened_is_named_where_no_other_is_there(tmp_path):
    path = write_zip(tmp_path / "archive.zip")
    path.write_bytes(path.read_bytes()[:-30])
    assert message_of(tmp_path, "fer2013").startswith(
        f"{str(path)!r}: cannot be read: File is not a zip file"
    )


def test_a_damaged_file_in_an_archive_is_named(tmp_path):
    path = write_zip(tmp_path / "archive.zip")
    content = bytearray(path.read_bytes())
    middle = content.index(FACE.encode()) + 500
    content[middle] ^= 0xFF
    path.write_bytes(content)
    assert message_of(tmp_path, "fer2013").startswith(f"{str(path / FACE)!r}: cannot be read: ")


def test_an_encrypted_archive_is_named(tmp_path):
    path = write_zip(tmp_path / "archive.zip")
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + flags] |= 1
            start = content.find(signature, start + 4)
    path.write_bytes(content)
    message = message_of(tmp_path, "fer2013")
    assert str(path / "test/disgust/PublicTest_4.png") in message
    assert "password" in message


def test_an_image_that_cannot_be_opened_is_named(tmp_path):
    write_tree(tmp_path)
    (tmp_path / FACE).unlink()
    (tmp_path / FACE).symlink_to(tmp_path / "gone")
    assert message_of(tmp_path, "fer2013").startswith(
        f"{str(tmp_path / FACE)!r}: cannot be read: No such file"
    )


# --- FER-2013: the CSV file ----------------------------------------------------------------------------


def test_the_table_is_read(tmp_path):
    rows = [
        row(number, noise(48, number), usage) for number, usage in enumerate([*USAGES, *USAGES, "Training"])
    ]
    write_table(tmp_path / "fer2013" / "fer2013.csv", rows)
    found = read_images(tmp_path, ["fer2013"])
    assert [(p.corpus, p.part, p.label, p.name) for p in found] == [
        ("fer2013", "train", "angry", "row-00000"),
        ("fer2013", "test", "disgust", "row-00001"),
        ("fer2013", "test", "fear", "row-00002"),
        ("fer2013", "train", "happy", "row-00003"),
        ("fer2013", "test", "sad", "row-00004"),
        ("fer2013", "test", "surprise", "row-00005"),
        ("fer2013", "train", "neutral", "row-00006"),
    ]
    np.testing.assert_array_equal([p.pixels for p in found], [noise(48, number) for number in range(7)])
    assert found[0].pixels.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        found[0].pixels[0, 0] = 0


def test_the_table_in_other_dialects_is_read(tmp_path):
    path = write_table(tmp_path / "plain" / "fer2013.csv", [row(), TEST_ROW])
    expected = read_images(path.parent, ["fer2013"])
    text = path.read_text()
    (tmp_path / "FER2013.CSV").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    path.unlink()
    assert read_images(tmp_path, ["fer2013"]) == expected
    # As icml_face_data.csv of the challenge: another order, and spaces in the header.
    rows = [[values[0], values[2], values[1]] for values in (row(), TEST_ROW)]
    write_table(tmp_path / "FER2013.CSV", rows, header=["emotion", " Usage", " pixels"])
    assert read_images(tmp_path, ["fer2013"]) == expected


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from(sorted(USAGES)), st.integers(0, 99)), max_size=8)
)
def test_the_table_round_trips(content):
    content = [*content, (0, "Training", 0), (0, "PublicTest", 0)]
    with tempfile.TemporaryDirectory() as name:
        write_table(Path(name, "fer2013.csv"), [row(e, noise(48, seed), usage) for e, usage, seed in content])
        found = read_images(Path(name), ["fer2013"])
    assert [(p.label, p.part) for p in found] == [(FER2013_CLASSES[e], USAGES[u]) for e, u, _ in content]
    np.testing.assert_array_equal([p.pixels for p in found], [noise(48, seed) for _, _, seed in content])
    same = Counter(seed for _, _, seed in content)
    assert sorted(map(len, duplicates(found))) == sorted(n for n in same.values() if n > 1)


def test_the_table_comes_before_folders_and_folders_before_archives(tmp_path):
    write_zip(tmp_path / "archive.zip", {f"{part}/sad/zip.png": PNG for part in ("train", "test")})
    assert {p.label for p in read_images(tmp_path, ["fer2013"])} == {"sad"}
    write_tree(tmp_path, {f"{part}/fear/tree.png": PNG for part in ("train", "test")})
    assert {p.label for p in read_images(tmp_path, ["fer2013"])} == {"fear"}
    write_table(tmp_path / "fer2013.csv", [row(0), row(0, usage="PrivateTest")])
    assert {p.label for p in read_images(tmp_path, ["fer2013"])} == {"angry"}


def test_two_tables_are_refused(tmp_path):
    for place in ("a", "b"):
        write_table(tmp_path / place / "fer2013.csv", [row(), TEST_ROW])
    assert "FER-2013 was found 2 times" in message_of(tmp_path, "fer2013")


WHOLE = row()[1]
BROKEN_ROWS = {
    "emotion 7": (row(7), "emotion '7', expected one of 0, 1, 2, 3, 4, 5, 6"),
    "emotion by name": (row("happy"), "emotion 'happy', expected one of 0,"),
    "no emotion": (row(""), "emotion '', expected one of 0,"),
    "another digit": (row("\u0663"), "emotion '\u0663', expected one of 0,"),
    "another usage": (row(usage="Validation"), "Usage 'Validation', expected one of Training, PublicTest,"),
    "pixel missing": (row(pixels=WHOLE.rpartition(" ")[0]), "2303 pixels, expected 48 x 48"),
    "pixel too many": (row(pixels=WHOLE + " 0"), "2305 pixels, expected 48 x 48"),
    "no pixels": (row(pixels=""), "0 pixels, expected 48 x 48"),
    "256": (row(pixels=WHOLE + " 256"), "pixels that are not whole numbers from 0 to 255"),
    "negative": (row(pixels="-1 " + WHOLE), "pixels that are not whole numbers from 0 to 255"),
    "fraction": (row(pixels="0.5 " + WHOLE), "pixels that are not whole numbers from 0 to 255"),
    "very large": (row(pixels="9" * 5000), "pixels that are not whole numbers from 0 to 255"),
    "cut short": (row()[:2], "2 values, expected 3"),
    "one too many": ([*row(), ""], "4 values, expected 3"),
}


@pytest.mark.parametrize(("values", "reason"), BROKEN_ROWS.values(), ids=BROKEN_ROWS)
def test_a_broken_row_is_named_by_its_line(tmp_path, values, reason):
    path = write_table(tmp_path / "fer2013.csv", [row(), TEST_ROW, values])
    message = message_of(tmp_path, "fer2013")
    assert message.startswith(f"{str(path)!r}: line 4: {reason}")
    assert "; download FER-2013 again from " in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "its first line is 'nothing', expected 'emotion,pixels,Usage'"),
        (b"emotion,pixels\n", "its first line is 'emotion,pixels', expected"),
        (b"\x89PNG\xff\xfe" * 50, "its first line is "),
        (b"x" * 200_000, "line 1: not CSV (field larger than field limit"),
        (b'emotion,pixels,Usage\n0,"1 2' + b" 3" * 99_999, "line 2: not CSV (field larger than field limit"),
        (b'emotion,pixels,Usage\n0,"1 2"3,Training\n', "line 2: not CSV ("),
        (b'emotion,pixels,Usage\n0,"1 2', "line 2: not CSV (unexpected end"),
    ],
)
def test_a_table_of_something_else_is_named(tmp_path, content, reason):
    path = tmp_path / "fer2013.csv"
    path.write_bytes(content)
    assert message_of(tmp_path, "fer2013").startswith(f"{str(path)!r}: {reason}")


def test_a_table_without_rows_or_without_a_part(tmp_path):
    path = write_table(tmp_path / "fer2013.csv", [])
    assert message_of(tmp_path, "fer2013").startswith("no train images of FER-2013 in")
    write_table(path, [row()])
    assert message_of(tmp_path, "fer2013").startswith("no test images of FER-2013 in")


def test_a_table_that_cannot_be_opened_is_named(tmp_path):
    path = tmp_path / "fer2013.csv"
    path.symlink_to(tmp_path / "gone")
    assert message_of(tmp_path, "fer2013").startswith(f"{str(path)!r}: cannot be read: No such file")


# --- the real corpora ----------------------------------------------------------------------------------


def read_real(corpora_dir: Path, corpus: str, folder: str) -> tuple[LabelledImage, ...]:
    if not (corpora_dir / folder).is_dir():
        pytest.skip(f"corpora absent: no {folder} in {corpora_dir}")
    started_s = time.perf_counter()
    found = read_images(corpora_dir, [corpus])
    # A second or two; a minute would be an image at a time through something slow.
    assert time.perf_counter() - started_s < 60
    return found


@pytest.fixture(scope="module")
def real_fashion(corpora_dir: Path) -> tuple[LabelledImage, ...]:
    return read_real(corpora_dir, "fashion_mnist", "fashion-mnist")


@pytest.fixture(scope="module")
def real_faces(corpora_dir: Path) -> tuple[LabelledImage, ...]:
    return read_real(corpora_dir, "fer2013", "fer2013")


@pytest.mark.corpora
def test_real_fashion_mnist(real_fashion):
    assert Counter((image.part, image.label) for image in real_fashion) == {
        (part, label): n for part, n in (("train", 6000), ("test", 1000)) for label in FASHION_MNIST_CLASSES
    }
    assert [p.label for p in real_fashion[:3]] == ["ankle boot", "t-shirt/top", "t-shirt/top"]
    assert duplicates(real_fashion) == []
    pixels = np.stack([image.pixels for image in real_fashion if image.part == "train"])
    assert pixels.shape == (60_000, 28, 28)
    # The published mean and standard deviation of the training images.
    assert pixels.mean() / 255 == pytest.approx(0.2860, abs=1e-4)
    assert pixels.std() / 255 == pytest.approx(0.3530, abs=1e-4)


@pytest.mark.corpora
def test_real_fer2013(real_faces):
    parts = Counter(image.part for image in real_faces)
    # The copy in use is a sample; the original has the other numbers.
    assert parts in ({"train": 10_000, "test": 2_000}, {"train": 28_709, "test": 7_178})
    assert all(image.pixels.shape == (48, 48) for image in real_faces)
    for part in parts:
        labels = [image.label for image in real_faces if image.part == part]
        assert set(labels) == set(FER2013_CLASSES)
        assert Counter(labels).most_common()[0][0] == "happy"
        assert Counter(labels).most_common()[-1][0] == "disgust"


@pytest.mark.corpora
def test_real_fer2013_repeats_images_across_its_parts_and_labels(real_faces):
    groups = duplicates(real_faces)
    across = [group for group in groups if len({image.part for image in group}) > 1]
    contradictory = [group for group in groups if len({image.label for image in group}) > 1]
    assert all((group[0].pixels == image.pixels).all() for group in groups for image in group)
    if len(real_faces) == 12_000:
        assert (len(groups), len(across), len(contradictory)) == (233, 70, 8)
    assert across
    assert contradictory
