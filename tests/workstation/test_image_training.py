"""Training networks over images, and over cached features of speech: batches, whole runs, what is written."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgeemo.corpora.manifest import scan
from edgeemo.errors import CorpusError, RecipeError
from edgeemo.workstation.image_corpora import read_images
from edgeemo.workstation.training import caches, speech
from edgeemo.workstation.training.cells import open_dataset
from edgeemo.workstation.training.folder import load_run, read_history
from edgeemo.workstation.training.images import ImageDataset
from edgeemo.workstation.training.recipe import Recipe, load_recipe, recipe_from_dict
from edgeemo.workstation.training.run import train
from edgeemo.workstation.training.speech import SpeechDataset
from support.corpora import bars, write_corpus, write_fashion
from support.recipes import TINY_RECIPE


@pytest.fixture(scope="module")
def fashion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fashion(tmp_path_factory.mktemp("fashion"), *bars(120, 28, 10), *bars(40, 28, 10, seed=1))


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return recipe_from_dict({
        "name": "tiny_mlp",
        "summary": "for tests",
        "architecture": {"builder": "fer_mlp", "units": [16]},
        "image": {"height": 28, "width": 28},
        "data": {"corpora": ["fashion_mnist"], "labels": "fashion10"},
        "protocol": {"kind": "holdout", "folds": 4},
        "training": {"epochs": 6, "patience": 3, "batch_size": 16, "learning_rate": 0.01, "schedule": "constant"},
    })  # fmt: skip


def test_batches_hold_every_image_once(fashion: Path, recipe: Recipe) -> None:
    dataset = open_dataset(recipe, fashion)
    split = dataset.splits()[0]
    batches = dataset.batches(split.train, mask=None, seed=3)
    orders = []
    for epoch in (0, 1, 0):
        batches.start_epoch(epoch)
        pixels, labels, weights = (
            np.concatenate(part) for part in zip(*(batches[i] for i in range(len(batches))), strict=True)
        )
        assert pixels.shape == (90, 28, 28)
        assert pixels.dtype == labels.dtype == weights.dtype == np.float32
        assert pixels.max() == 250, "scaling is the network's"
        assert Counter(p.tobytes() for p in pixels) == Counter(
            p.pixels.astype(np.float32).tobytes() for p in split.train
        )
        columns = pixels.mean(axis=1)[:, :20].reshape(-1, 10, 2).mean(axis=2)
        assert (columns.argmax(axis=1) - labels.argmax(axis=1)).max() <= 1, "labels are of other images"
        orders.append(pixels)
    assert not np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[0], orders[2])


@pytest.mark.slow
def test_run_over_images(fashion: Path, recipe: Recipe, tmp_path: Path) -> None:
    summary = train(recipe, open_dataset(recipe, fashion), tmp_path, folds=[1])
    cell = tmp_path / "fold-1_seed-0"
    assert {p.name for p in cell.iterdir()} == {
        *("history.csv", "model.keras", "history.png", "confusion.png", "samples.png", "metrics.json")
    }
    assert (cell / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert summary.test.uar.mean > 0.5
    assert summary.n_test_speakers == 0
    assert load_run(tmp_path) == (recipe, summary)
    (metrics,) = summary.cells
    assert metrics.test.scores.n_clips == 40
    assert (metrics.train_speakers, metrics.test.speakers) == ((), ())
    rates = [row.learning_rate for row in read_history(cell)]
    assert rates == pytest.approx([0.01] * metrics.epochs)


def test_images_that_do_not_fit_the_recipe(fashion: Path, recipe: Recipe) -> None:
    values = recipe.to_dict()
    with pytest.raises(RecipeError, match=r"\[image\] is 48 x 48 pixels, fashion_mnist has 28 x 28"):
        open_dataset(recipe_from_dict(values | {"image": {"height": 48, "width": 48}}), fashion)
    other = values | {"data": {"corpora": ["fashion_mnist"], "labels": "fer7"}}
    with pytest.raises(RecipeError, match="has none of the images' classes; they have: ankle boot, bag"):
        ImageDataset(recipe_from_dict(other), read_images(fashion, ["fashion_mnist"]))


def test_data_absent(recipe: Recipe, tmp_path: Path) -> None:
    """One line says what to download and where to put it."""
    with pytest.raises(CorpusError, match=r"download .*train-images-idx3-ubyte.gz") as caught:
        open_dataset(recipe, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


# --- cached features -----------------------------------------------------------------------------------


@pytest.fixture
def cached_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setattr(speech, "CACHE_DIR", tmp_path / "cache")
    path = tmp_path / "cached.toml"
    text = TINY_RECIPE.replace('corpora = ["ravdess"]', 'corpora = ["ravdess"]\ncached = true')
    for key in ("speed = 0.1", "shift_s = 0.02", "gain_db = 6", "noise_share = 0.5", "mixup = 0.3"):
        assert key in text
        text = text.replace(f"{key}\n", "")
    path.write_text(text)
    return load_recipe(path)


def test_features_are_computed_once(
    cached_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = scan(write_corpus(tmp_path / "corpus", n_actors=3))
    dataset = SpeechDataset(cached_recipe, manifest)
    plain = SpeechDataset(
        recipe_from_dict({**cached_recipe.to_dict(), "data": {"corpora": ["ravdess"]}}), manifest
    )
    expected = plain.fixed(manifest.clips)
    first = dataset.fixed(manifest.clips[:10])  # an extraction that was interrupted
    whole = dataset.fixed(manifest.clips)
    np.testing.assert_array_equal(whole.features, expected.features)
    np.testing.assert_array_equal(whole.clip_index, expected.clip_index)
    np.testing.assert_array_equal(first.features, expected.features[: len(first.features)])
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == len(manifest.clips)

    def refuse(*_: object) -> None:
        pytest.fail("read again")

    monkeypatch.setattr(caches, "clip_audio", refuse)
    again = SpeechDataset(cached_recipe, manifest)
    np.testing.assert_array_equal(again.fixed(manifest.clips).features, expected.features)
    batches = again.batches(manifest.clips, mask=np.full(8, -50, np.float32), seed=0)
    batches.start_epoch(0)
    features, *_ = batches[0]
    assert features.shape[1:] == (16, 8)
    masked = features == -50
    assert 0 < masked.mean() < 0.5
    for window, hidden in zip(features, masked, strict=True):
        same = (window == expected.features) | hidden
        assert same.all(axis=(1, 2)).any(), "no window that a clip is scored by"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_cached_clips_hold_no_file_open(cached_recipe: Recipe, tmp_path: Path) -> None:
    import resource

    manifest = scan(write_corpus(tmp_path / "corpus", n_actors=4, n_takes=4))
    dataset = SpeechDataset(cached_recipe, manifest)
    expected = dataset.fixed(manifest.clips)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = len(list(Path("/dev/fd").iterdir())) + len(manifest.clips) // 4
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        found = dataset.fixed(manifest.clips)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    np.testing.assert_array_equal(found.features, expected.features)


def test_another_front_end_has_its_own_features(cached_recipe: Recipe, tmp_path: Path) -> None:
    manifest = scan(write_corpus(tmp_path / "corpus", n_actors=1))
    values = cached_recipe.to_dict()
    SpeechDataset(cached_recipe, manifest).fixed(manifest.clips)
    values["features"] = {**values["features"], "level": "none"}
    other = SpeechDataset(recipe_from_dict(values), manifest).fixed(manifest.clips)
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 2
    assert not np.array_equal(
        other.features, SpeechDataset(cached_recipe, manifest).fixed(manifest.clips).features
    )


def test_cached_with_augmented_audio_is_refused(cached_recipe: Recipe) -> None:
    values = cached_recipe.to_dict()
    values["augmentation"] = {**values["augmentation"], "gain_db": 3.0}
    with pytest.raises(
        RecipeError, match=r"\[data\] cached is True, expected false with augmentation of the audio"
    ):
        recipe_from_dict(values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"features": {"n_mels": 32}}, r"\[features\] is for audio and \[image\] for images"),
        ({"image": {"height": 0, "width": 28}}, "1 or more"),
        ({"image": {"height": 28}}, "width is missing"),
        ({"training": {"optimizer": "lion"}}, "optimizer is 'lion', expected adam or rmsprop or sgd"),
        ({"training": {"schedule": "step"}}, "schedule is 'step'"),
        ({"training": {"clip_norm": -1.0}}, "clip_norm is -1.0"),
        ({"published": {"accuracy": 0.9}}, "source is missing"),
        ({"published": {"source": "x", "accuracy": "high"}}, "accuracy is 'high', expected a number"),
    ],
)
def test_recipes_refused(values: dict[str, object], words: str, recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match=words):
        recipe_from_dict({**recipe.to_dict(), **values})


def test_recipe_there_and_back(recipe: Recipe) -> None:
    assert recipe_from_dict(recipe.to_dict()) == recipe
    published = recipe_from_dict({**recipe.to_dict(), "published": {"source": "x", "accuracy": 1}})
    assert published.published.accuracy == 1.0
    assert published.published.loss is None
    assert recipe_from_dict(published.to_dict()) == published
    assert published.trained_by == recipe.trained_by
