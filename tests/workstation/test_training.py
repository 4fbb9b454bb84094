"""Training: augmentation, batches, and whole runs on a little made-up audio, interrupted and resumed."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from edgeemo.audio import clip_audio, read_audio
from edgeemo.classify import Classifier
from edgeemo.cli import app
from edgeemo.clip import spoken
from edgeemo.corpora.manifest import Clip, Manifest, scan
from edgeemo.errors import CorpusError, RecipeError, TrainingError
from edgeemo.features import Features
from edgeemo.high_pass import without_constant
from edgeemo.model import EmotionModel
from edgeemo.windows import clip_windows, window_bounds
from edgeemo.workstation.graphs.frontend import FrontEnd
from edgeemo.workstation.training import caches, speech, windows
from edgeemo.workstation.training import fit as fit_module
from edgeemo.workstation.training import run as run_module
from edgeemo.workstation.training.caches import AudioCache
from edgeemo.workstation.training.cells import Cell, planned_cells
from edgeemo.workstation.training.dataset import Batch, FixedExamples
from edgeemo.workstation.training.epochs import balanced
from edgeemo.workstation.training.fit import averaged, build_network, compile_model, predict
from edgeemo.workstation.training.folder import (
    claim_cell,
    finish_cell,
    load_run,
    read_cell,
    read_history,
)
from edgeemo.workstation.training.metrics import CellMetrics, HistoryRow, RunMetrics
from edgeemo.workstation.training.protocols import Split
from edgeemo.workstation.training.recipe import (
    Architecture,
    Augmentation,
    Channel,
    Data,
    Recipe,
    load_recipe,
    recipe_from_dict,
)
from edgeemo.workstation.training.run import train
from edgeemo.workstation.training.scores import scores
from edgeemo.workstation.training.speech import SpeechBatches, SpeechDataset, mask, soft_labels
from edgeemo.workstation.training.windows import AudioWindows, augmented_window
from support.corpora import write_corpus
from support.recipes import TINY_RECIPE
from support.runs import make_cell, make_scores
from support.signals import noise, speech_like

# --- augmentation --------------------------------------------------------------------------------------

RATE = 16000
OFF = Augmentation()


def draw(
    audio: np.ndarray, n: int, augmentation: Augmentation, *, seed: int = 0, times: int = 200
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([augmented_window(audio, n, RATE, augmentation, rng) for _ in range(times)])


@settings(max_examples=100, deadline=None)
@given(
    n_samples=st.integers(1, 6000),
    window=st.integers(1, 3000),
    speed=st.floats(0, 0.49),
    shift_s=st.floats(0, 0.5),
    gain_db=st.floats(0, 40),
    noise_share=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_any_window_has_shape_type_and_range(
    n_samples: int, window: int, speed: float, shift_s: float, gain_db: float, noise_share: float, seed: int
) -> None:
    augmentation = Augmentation(speed=speed, shift_s=shift_s, gain_db=gain_db, noise_share=noise_share)
    found = draw(noise(n_samples, peak=1.0), window, augmentation, seed=seed, times=3)
    assert found.shape == (3, window)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1


def test_silence_stays_silent() -> None:
    loud = Augmentation(speed=0.1, shift_s=0.1, gain_db=20, noise_share=1)
    assert not draw(np.zeros(2000, np.float32), 1000, loud).any()


def test_all_off_changes_nothing() -> None:
    audio = noise(1000)
    assert (draw(audio, 1000, OFF) == audio).all()


def test_long_clip_gives_any_of_its_stretches() -> None:
    audio = noise(1200)
    starts = Counter()
    for window in draw(audio, 1000, OFF, times=2000):
        (start,) = np.flatnonzero(audio == window[0])
        np.testing.assert_array_equal(window, audio[start : start + 1000])
        starts[int(start)] += 1
    assert min(starts) == 0
    assert max(starts) == 200
    assert max(starts.values()) < 40


def test_short_clip_is_whole_and_anywhere() -> None:
    audio = noise(800)
    starts = set()
    for window in draw(audio, 1000, OFF, times=2000):
        (start,) = np.flatnonzero(window == audio[0])
        np.testing.assert_array_equal(window[start : start + 800], audio)
        assert np.count_nonzero(window) == np.count_nonzero(audio)
        starts.add(int(start))
    assert starts <= set(range(201))
    assert {0, 200} <= starts


def test_shift() -> None:
    audio = noise(1000)
    shifts = set()
    for window in draw(audio, 1000, Augmentation(shift_s=0.01), times=2000):
        shift = int(np.argmax(np.correlate(window, audio, "full"))) - 999
        expected = np.zeros(1000, np.float32)
        expected[max(shift, 0) : 1000 + min(shift, 0)] = audio[max(-shift, 0) : 1000 - max(shift, 0)]
        np.testing.assert_array_equal(window, expected)
        shifts.add(shift)
    assert (min(shifts), max(shifts)) == (-160, 160)


def test_gain() -> None:
    audio = noise(1000, peak=0.05)
    ratio = draw(audio, 1000, Augmentation(gain_db=10)) / audio
    gains = 20 * np.log10(np.median(ratio, axis=1))
    np.testing.assert_allclose(ratio, np.median(ratio, axis=1)[:, np.newaxis] * np.ones(1000), rtol=1e-5)
    assert -10 <= gains.min() < -9
    assert 9 < gains.max() <= 10
    assert abs(gains.mean()) < 1.5
    clipped = draw(noise(1000, peak=0.9), 1000, Augmentation(gain_db=20))
    assert np.abs(clipped).max() == 1


def test_noise() -> None:
    audio = speech_like(8000)
    added = draw(audio, 8000, Augmentation(noise_share=1.0, noise_snr_db=(10, 30))) - audio
    snr = 10 * np.log10(np.mean(audio**2) / np.mean(added**2, axis=1))
    assert 9.9 < snr.min() < 12
    assert 28 < snr.max() < 30.1
    spectrum = np.abs(np.fft.rfft(added)) ** 2
    slope = np.log10(spectrum[:, 10:100].mean(axis=1) / spectrum[:, 1000:].mean(axis=1))
    assert slope.min() < 0.4, "none is white"
    assert slope.max() > 2.5, "none is brown"
    some = draw(audio, 8000, Augmentation(noise_share=0.3), times=500)
    assert 0.22 < (some != audio).any(axis=1).mean() < 0.38


def test_speed_changes_pitch_and_length() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / RATE).astype(np.float32)
    windows = draw(tone, 16000, Augmentation(speed=0.1), times=100)
    pitch_hz = np.abs(np.fft.rfft(windows)).argmax(axis=1) * RATE / 16000
    assert 898 <= pitch_hz.min() < 920
    assert 1080 < pitch_hz.max() <= 1102
    heard = np.abs(windows) > 0.3
    length = windows.shape[1] - heard[:, ::-1].argmax(axis=1) - heard.argmax(axis=1)
    np.testing.assert_allclose(length, 8000 * 1000 / pitch_hz, rtol=0.005)


@pytest.mark.parametrize(("n_frames", "n_mels"), [(50, 20), (6, 3)])
def test_masks(n_frames: int, n_mels: int) -> None:
    augmentation = Augmentation(time_masks=2, time_mask_frames=6, mel_masks=1, mel_mask_bands=3)
    mask_db = -np.arange(1, n_mels + 1, dtype=np.float32)
    rng = np.random.default_rng(0)
    masked_frames, masked_bands = [], []
    for _ in range(300):
        features = np.ones((n_frames, n_mels), np.float32)
        mask(features, augmentation, mask_db, rng)
        masked = features != 1
        np.testing.assert_array_equal(features[masked], np.broadcast_to(mask_db, features.shape)[masked])
        frames, bands = masked.all(axis=1), masked.all(axis=0)
        assert (masked == (frames[:, np.newaxis] | bands)).all(), "whole frames and whole bands only"
        masked_frames.append(int(frames.sum()))
        masked_bands.append(int(bands.sum()))
    if n_frames == 50:
        assert (min(masked_frames), max(masked_frames)) == (0, 12)
        assert (min(masked_bands), max(masked_bands)) == (0, 3)
    features = np.ones((n_frames, n_mels), np.float32)
    mask(features, OFF, mask_db, rng)
    assert (features == 1).all()


# --- batches -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def manifest(corpus: Path) -> Manifest:
    return scan(corpus)


@pytest.fixture(scope="module")
def cache() -> AudioCache:
    return AudioCache(Features(sample_rate=8000, fmax_hz=4000))


@pytest.fixture(scope="module")
def frontend(small_recipe: Recipe) -> FrontEnd:
    return FrontEnd(small_recipe.features)


ALL_ON = {
    "speed": 0.1,
    "shift_s": 0.02,
    "gain_db": 6.0,
    "noise_share": 0.5,
    "time_masks": 1,
    "mel_masks": 1,
    "mixup": 0.3,
}

Make = Callable[..., SpeechBatches]


@pytest.fixture
def make_examples(manifest: Manifest, cache: AudioCache, frontend: FrontEnd, small_recipe: Recipe) -> Make:
    def make(
        seed: int = 0, clips: tuple[Clip, ...] | None = None, training: Any = None, **augmentation: float
    ) -> SpeechBatches:
        recipe = dataclasses.replace(
            small_recipe,
            training=dataclasses.replace(small_recipe.training, **({"batch_size": 8} | (training or {}))),
            augmentation=dataclasses.replace(small_recipe.augmentation, **augmentation),
        )
        mask_db = np.full(8, -50, np.float32)
        return SpeechBatches(
            clips or manifest.clips,
            AudioWindows(cache, frontend, recipe),
            recipe,
            mask_db=mask_db,
            seed=seed,
        )

    return make


def batches(examples: SpeechBatches, epoch: int) -> list[Batch]:
    examples.start_epoch(epoch)
    return [examples[i] for i in range(len(examples))]


def equal(a: list[Batch], b: list[Batch]) -> bool:
    return all(np.array_equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True))


def test_epoch_depends_on_seed_and_number_alone(make_examples: Make) -> None:
    first, second = make_examples(3, **ALL_ON), make_examples(3, **ALL_ON)
    batches(first, 0)
    batches(first, 1)
    _ = (second.start_epoch(7), second[0])  # a training that was interrupted in the middle of an epoch
    assert equal(batches(first, 2), batches(second, 2))
    assert not equal(batches(first, 2), batches(first, 3))
    assert not equal(batches(first, 2), batches(make_examples(4, **ALL_ON), 2))


def test_batches_hold_every_clip_once(make_examples: Make, manifest: Manifest, cache: AudioCache) -> None:
    found = batches(make_examples(), 0)
    assert [len(batch.labels) for batch in found] == [8, 8, 8, 8, 8, 8]
    features, labels, weights = (np.concatenate(part) for part in zip(*found, strict=True))
    assert len(features) == 48
    assert features.shape == (48, 16, 8)
    assert features.dtype == labels.dtype == weights.dtype == np.float32
    assert labels.sum(axis=0).tolist() == [12, 12, 0, 0, 12, 12, 0]  # neutral, angry, ..., happy, sad, ...
    assert (labels.max(axis=1) == 1).all()
    # 48 clips, 7 labels, 12 clips each
    np.testing.assert_allclose(weights, 48 / 7 / 12, rtol=1e-6)


def test_class_weights(make_examples: Make, manifest: Manifest) -> None:
    clips = [c for c in manifest.clips if c.emotion == "sad"] + [
        c for c in manifest.clips if c.emotion == "angry"
    ][:2]
    _, labels, weights = (
        np.concatenate(p) for p in zip(*batches(make_examples(clips=tuple(clips)), 0), strict=True)
    )
    sad, angry = labels[:, 5] == 1, labels[:, 1] == 1
    assert (sad.sum(), angry.sum()) == (12, 2)
    assert weights[sad].sum() == pytest.approx(weights[angry].sum()), "each class weighs the same"
    plain = make_examples(clips=tuple(clips), training={"class_weights": False})
    assert all((batch.weights == 1).all() for batch in batches(plain, 0))


def test_clips_per_speaker(make_examples: Make, manifest: Manifest) -> None:
    clips = [c for c in manifest.clips if c.speaker == "ravdess-01"] + [
        c for c in manifest.clips if c.speaker == "ravdess-02"
    ][:2]
    limited = make_examples(clips=tuple(clips), training={"clips_per_speaker": 3, "batch_size": 100})
    orders = []
    for epoch in range(20):
        limited.start_epoch(epoch)
        chosen = [clips[i] for i in limited._order]
        assert Counter(c.speaker for c in chosen) == {"ravdess-01": 3, "ravdess-02": 2}
        assert len({c.path for c in chosen}) == 5
        orders.append(limited._order.tolist())
    assert {i for order in orders for i in order} == set(range(10)), (
        "over the epochs, every clip has its turn"
    )


def test_clips_per_epoch(make_examples: Make) -> None:
    limited = make_examples(training={"clips_per_epoch": 10})
    assert [len(batch.labels) for batch in batches(limited, 0)] == [8, 2]
    orders = []
    for epoch in range(20):
        limited.start_epoch(epoch)
        orders.append(limited._order.tolist())
        assert len(set(orders[-1])) == 10
    assert {i for order in orders for i in order} == set(range(48))
    assert len(batches(make_examples(training={"clips_per_epoch": 100}), 0)) == 6, "no more than there are"


def test_balance(make_examples: Make, manifest: Manifest) -> None:
    """Every label weighs the same, and in it every corpus; one of few speakers less, by the root of their number."""
    speakers = {"large": 100, "other": 25, "small": 4, "plain": 1000}
    clips = [
        dataclasses.replace(manifest.clips[0], corpus=corpus, speaker=f"{corpus}{i % n}")
        for corpus, n in speakers.items()
        for i in range(1000)
    ]
    labels = np.arange(4000) % 10 // 9  # one in ten is of the second label
    labels[3000:] = 0
    chances = balanced(clips, labels)
    assert chances.sum() == pytest.approx(1)
    cells: Counter[tuple[str, int]] = Counter()
    for clip, label, chance in zip(clips, labels.tolist(), chances, strict=True):
        cells[clip.corpus, label] += chance
    first = {("large", 0): 1, ("other", 0): 1, ("small", 0): 0.4, ("plain", 0): 1}
    second = {("large", 1): 1, ("other", 1): 1, ("small", 1): 0.4}
    expected = {cell: weight / sum(of.values()) / 2 for of in (first, second) for cell, weight in of.items()}
    assert cells == pytest.approx(expected)

    sad = [c for c in manifest.clips if c.emotion == "sad"]
    clips = (*sad, next(c for c in manifest.clips if c.emotion == "angry"))
    drawn = make_examples(clips=clips, training={"balance": "corpus", "clips_per_epoch": 400})
    drawn.start_epoch(0)
    assert len(drawn._order) == 400
    assert 160 < np.count_nonzero(drawn._order == len(sad)) < 240
    assert len(make_examples(clips=clips, training={"balance": "corpus"})._order) == len(clips)


def test_votes_are_part_of_the_label(make_examples: Make, manifest: Manifest, tmp_path: Path) -> None:
    folder = tmp_path / "crema_d"
    (folder / "processedResults").mkdir(parents=True)
    (folder / "processedResults" / "tabulatedVotes.csv").write_text(
        '"","A","D","F","H","N","S","fileName"\n'
        '"100001",0,0,1,0,3,0,"1001_IEO_HAP_LO"\n'
        '"200001",9,0,0,0,0,0,"1001_IEO_HAP_LO"\n'  # of those who saw the face
        '"100002",0,0,0,0,0,0,"1002_IEO_HAP_LO"\n',
        encoding="utf-8",
    )
    clip = dataclasses.replace(
        manifest.clips[0], corpus="crema_d", emotion="happy", path=folder / "AudioWAV" / "1001_IEO_HAP_LO.wav"
    )
    clips = (
        clip,
        dataclasses.replace(clip, path=folder / "AudioWAV" / "1002_IEO_HAP_LO.wav"),
        dataclasses.replace(clip, corpus="ravdess"),
    )
    recipe = make_examples(training={"votes": 0.5})._recipe
    happy = np.eye(7)[4]
    heard = 0.25 * np.eye(7)[3] + 0.75 * np.eye(7)[0]
    np.testing.assert_allclose(soft_labels(clips, recipe), [(happy + heard) / 2, happy, happy])
    recipe = make_examples()._recipe
    np.testing.assert_allclose(soft_labels(clips, recipe), [happy, happy, happy])


def test_mixup_mixes_features_and_labels_alike(
    make_examples: Make, manifest: Manifest, frontend: FrontEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = [next(c for c in manifest.clips if c.emotion == e and c.n_samples < 2048) for e in ("sad", "angry")]
    made = make_examples(clips=tuple(one), mixup=1.0)
    audio = {c: np.full(2048, v, np.float32) for c, v in zip(one, (0.1, 0.9), strict=True)}
    monkeypatch.setattr(AudioCache, "__getitem__", lambda _, clip: audio[clip])
    sad, angry = frontend(np.stack([audio[c] for c in one]))
    mixed = 0
    for epoch in range(10):
        features, labels, *_ = batches(made, epoch)[0]
        share = labels[:, 5, np.newaxis, np.newaxis]
        np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
        np.testing.assert_allclose(features, share * sad + (1 - share) * angry, rtol=0, atol=1e-3)
        mixed += int(((labels > 0.01) & (labels < 0.99)).any())
    assert mixed > 2


def test_fixed_examples_are_never_augmented(
    manifest: Manifest,
    frontend: FrontEnd,
    small_recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("augmented what is scored")

    for module, name in ((windows, "augmented_window"), (speech, "mask"), (speech, "_mix")):
        monkeypatch.setattr(module, name, refuse)
    recipe = dataclasses.replace(
        small_recipe,
        augmentation=dataclasses.replace(small_recipe.augmentation, **ALL_ON),
        data=Data(corpora=("ravdess",)),
    )
    clips = manifest.clips[:6]
    found = SpeechDataset(recipe, manifest).fixed(clips)
    heard = [without_constant(read_audio(c.path, 8000), 8000) for c in clips]
    audio = [clip_windows(each, recipe.window_samples) for each in heard]
    assert found.clip_index.tolist() == [i for i, w in enumerate(audio) for _ in w]
    assert len(found.features) > len(clips), "no clip of several windows"
    expected = frontend(np.concatenate(audio))
    np.testing.assert_allclose(found.features, expected, rtol=0, atol=0.5)
    assert np.abs(found.features - expected).mean() < 0.01  # 16-bit audio in the cache
    assert found.labels.tolist() == [recipe.label_map.index(c.emotion) for c in clips]


@pytest.mark.parametrize("cached", [False, True])
def test_a_running_mean_goes_on_from_window_to_window(
    manifest: Manifest, small_recipe: Recipe, cached: bool
) -> None:
    recipe = dataclasses.replace(
        small_recipe,
        features=dataclasses.replace(small_recipe.features, level="running_mean"),
        data=Data(corpora=("ravdess",), cached=cached),
    )
    clips = [clip for clip in manifest.clips if clip.corpus == "ravdess"][:4]
    found = SpeechDataset(recipe, manifest).fixed(clips)
    n = recipe.n_frames
    frontend = FrontEnd(recipe.features)
    for i, clip in enumerate(clips):
        audio = spoken(without_constant(read_audio(clip.path, 8000), 8000), 8000)
        bounds = list(window_bounds(len(audio) // recipe.features.hop_samples, n))
        windows = found.features[found.clip_index == i]
        assert len(windows) == len(bounds)
        for (start, _), (again, _), one, other in zip(bounds, bounds[1:], windows, windows[1:], strict=False):
            np.testing.assert_array_equal(one[again - start :], other[: n - again + start])
        assert len(bounds) > 1
        afresh = frontend(audio[np.newaxis, -recipe.window_samples :])[0]
        assert np.abs(windows[-1] - afresh).mean() > 0.5


def test_clip_probabilities_are_the_mean_over_windows() -> None:
    fixed = FixedExamples(np.zeros((3, 1, 1)), np.array([0, 0, 1]), np.array([0, 1]))
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [0.2, 0.8]])
    np.testing.assert_allclose(fixed.clip_probabilities(probabilities), [[0.75, 0.25], [0.2, 0.8]])


def test_cache_reads_each_sound_once(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(caches, "clip_audio", lambda c, rate: read.append(c.path) or clip_audio(c, rate))
    fresh, clip = AudioCache(Features(sample_rate=8000, fmax_hz=4000)), manifest.clips[0]
    copy = dataclasses.replace(clip, path=clip.path.with_name("a copy.wav"))
    expected = without_constant(read_audio(clip.path, 8000), 8000)
    np.testing.assert_allclose(fresh[clip], expected, rtol=0, atol=2 / 32768)
    assert fresh[copy] is not None
    assert read == [clip.path]


# --- a whole run ---------------------------------------------------------------------------------------


class Run(NamedTuple):
    recipe: Recipe
    folder: Path
    summary: RunMetrics
    split: Split[Clip]

    @property
    def cell(self) -> Path:
        return self.folder / "fold-1_seed-0"

    @property
    def metrics(self) -> CellMetrics:
        found = read_cell(self.cell)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY_RECIPE)
    return path


@pytest.fixture(scope="module")
def run(recipe_file: Path, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The first fold, trained without interruption."""
    recipe, folder = load_recipe(recipe_file), tmp_path_factory.mktemp("run")
    epochs: list[int] = []
    summary = train(
        recipe,
        SpeechDataset(recipe, manifest),
        folder,
        folds=[1],
        progress=lambda cell, row: epochs.append(row.epoch),
    )
    assert epochs == [1, 2, 3]
    (cell,) = planned_cells(recipe, SpeechDataset(recipe, manifest), folder, [1])
    return Run(recipe, folder, summary, cell.split)


@pytest.fixture(scope="module")
def kept(run: Run) -> keras.Model:
    return keras.saving.load_model(run.cell / "model.keras", compile=False)


@pytest.mark.slow
def test_run_folder(run: Run) -> None:
    assert sorted(p.name for p in run.folder.iterdir()) == ["fold-1_seed-0", "metrics.json", "recipe.json"]
    files = ["confusion.png", "history.csv", "history.png", "metrics.json", "model.keras"]
    assert sorted(p.name for p in run.cell.iterdir()) == files, (
        "checkpoints are gone, nothing temporary is left"
    )
    for plot in ("confusion.png", "history.png"):
        assert (run.cell / plot).read_bytes().startswith(b"\x89PNG")
    assert load_run(run.folder) == (run.recipe, run.summary)
    assert run.summary.cells == (dataclasses.replace(run.metrics, test_answers=None),)


@pytest.mark.slow
def test_history(run: Run) -> None:
    history = read_history(run.cell)
    assert [row.epoch for row in history] == [1, 2, 3]
    assert all(np.isfinite(value) for row in history for value in row.to_dict().values())
    rates = [row.learning_rate for row in history]
    assert 0.01 > rates[0] > rates[1] > rates[2] == pytest.approx(0.0002, rel=0.01)
    best = min(history, key=lambda row: row.val_loss)
    assert (run.metrics.best_epoch, run.metrics.epochs) == (best.epoch, 3)
    validation = run.metrics.validation.scores
    assert validation.loss == pytest.approx(best.val_loss, rel=1e-4), "of the kept epoch"
    assert validation.uar == pytest.approx(best.val_uar, rel=1e-4)


@pytest.mark.slow
def test_metrics_are_of_the_kept_model_on_plain_test_clips(run: Run, kept: keras.Model) -> None:
    frontend = FrontEnd(run.recipe.features)
    cell = run.metrics
    for part, clips in ((cell.test, run.split.test), (cell.validation, run.split.validation)):
        probabilities = np.stack(
            [clip_probabilities(kept, frontend, run.recipe, clip.path) for clip in clips]
        )
        truth = np.array([run.recipe.label_map.index(clip.emotion) for clip in clips])
        expected = scores(truth, probabilities, run.recipe.label_map.labels)
        assert part.scores.confusion == expected.confusion
        assert part.scores.loss == pytest.approx(expected.loss, abs=1e-3)
        assert part.by_corpus == {"ravdess": part.scores}
        assert part.speakers == tuple(sorted({clip.speaker for clip in clips}))
        if part is cell.test:
            assert cell.test_answers is not None
            np.testing.assert_allclose(cell.test_answers.probabilities, probabilities, rtol=0, atol=1e-3)
            assert cell.test_answers.truth == tuple(truth)
    assert cell.train_speakers == tuple(sorted({clip.speaker for clip in run.split.train}))
    assert not set(cell.train_speakers) & {*cell.validation.speakers, *cell.test.speakers}
    assert (cell.fold, cell.seed, cell.split) == ("fold-1", 0, run.split.digest)
    assert cell.n_train == len(run.split.train)
    # Convolutions with their normalisation, LSTMs, dense layers.
    assert cell.n_parameters == (40 + 16 + 148 + 16) + (360 + 312) + (896 + 8256 + 455)


def clip_probabilities(model: keras.Model, frontend: FrontEnd, recipe: Recipe, path: Path) -> np.ndarray:
    audio = without_constant(read_audio(path, recipe.features.sample_rate), recipe.features.sample_rate)
    return predict(model, frontend(clip_windows(audio, recipe.window_samples))).mean(axis=0)


@pytest.mark.slow
def test_normalisation_is_fitted_on_training_clips_alone(run: Run, kept: keras.Model) -> None:
    frontend = FrontEnd(run.recipe.features)

    def mean_db(clips: tuple[Clip, ...]) -> np.ndarray:
        windows = [clip_windows(read_audio(c.path, 8000), run.recipe.window_samples) for c in clips]
        return frontend(np.concatenate(windows)).mean(axis=(0, 1))

    layer = kept.get_layer("normalisation")
    found = np.asarray(layer.mean).ravel()
    np.testing.assert_allclose(found, mean_db(run.split.train), rtol=0, atol=0.02)
    everything = run.split.train + run.split.validation + run.split.test
    assert np.abs(mean_db(everything) - mean_db(run.split.train)).max() > 0.1, "the test could not tell"
    assert (np.asarray(layer.variance) > 1).all()


@pytest.mark.slow
def test_second_call_trains_nothing(run: Run, manifest: Manifest) -> None:
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.cell.iterdir()}
    again = train(
        run.recipe,
        SpeechDataset(run.recipe, manifest),
        run.folder,
        folds=[1],
        progress=lambda *_: pytest.fail("trained"),
    )
    assert again == run.summary
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.cell.iterdir()} == before


@pytest.mark.slow
def test_second_call_by_command_trains_nothing(run: Run, recipe_file: Path, corpus: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in run.cell.iterdir()}
    arguments = ["train", "-m", recipe_file, "-d", corpus, "-o", run.folder, "--fold", 1]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert "fold-1" in result.output
    assert f"{run.summary.test.uar.mean:.3f}" in result.output
    assert {p: p.stat().st_mtime_ns for p in run.cell.iterdir()} == before


@pytest.mark.slow
def test_a_corpus_with_a_copy_of_itself_is_the_same_data(
    run: Run, recipe_file: Path, corpus: Path, tmp_path: Path
) -> None:
    """The command says so in a line, and takes the run on the corpus alone for its own."""
    for place in ("archive", "archive/inner"):
        shutil.copytree(corpus, tmp_path / place, dirs_exist_ok=True)
    command = [sys.executable, "-m", "edgeemo", "train", "-m", recipe_file, "-d", tmp_path / "archive"]
    result = subprocess.run(
        [*map(str, command), "-o", str(run.folder), "--fold", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    n_clips = len(list(corpus.rglob("*.wav")))
    assert f"{n_clips} files are copies of a clip with the same name and sound" in result.stderr


class Stop(KeyboardInterrupt):
    pass


@pytest.mark.slow
def test_interrupted_run_ends_the_same(
    run: Run, manifest: Manifest, tmp_path: Path, monkeypatch: Any
) -> None:
    """Once between two epochs, once in the middle of one."""

    def stop_after(cell: Cell[Clip], row: HistoryRow) -> None:
        if row.epoch == 1:
            raise Stop

    with pytest.raises(Stop):
        train(run.recipe, SpeechDataset(run.recipe, manifest), tmp_path, folds=[1], progress=stop_after)
    cell = tmp_path / "fold-1_seed-0"
    assert not (cell / "metrics.json").exists()
    assert len(read_history(cell)) == 1
    assert [p.name for p in cell.glob("epoch-*")] == ["epoch-001.keras"]

    plain = SpeechBatches.__getitem__

    def stop_in_batch(self: SpeechBatches, index: int) -> Any:
        if index == 1:
            raise Stop
        return plain(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(SpeechBatches, "__getitem__", stop_in_batch)
        with pytest.raises(Stop):
            train(run.recipe, SpeechDataset(run.recipe, manifest), tmp_path, folds=[1])
    assert len(read_history(cell)) == 1

    epochs: list[int] = []
    summary = train(
        run.recipe,
        SpeechDataset(run.recipe, manifest),
        tmp_path,
        folds=[1],
        progress=lambda cell, row: epochs.append(row.epoch),
    )
    assert epochs == [2, 3], "began anew"
    assert read_history(cell) == read_history(run.cell)
    resumed = keras.saving.load_model(cell / "model.keras", compile=False)
    uninterrupted = keras.saving.load_model(run.cell / "model.keras", compile=False)
    for a, b in zip(resumed.weights, uninterrupted.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6, err_msg=a.path)
    assert [p.name for p in cell.glob("epoch-*")] == []
    assert summary.test.uar == run.summary.test.uar
    assert summary.cells[0].best_epoch == run.summary.cells[0].best_epoch


@pytest.mark.slow
def test_interrupted_run_on_mel_power_ends_the_same(
    run: Run, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With averaged weights, whose average is in the checkpoint, and a history of the speaker."""
    monkeypatch.setattr(speech, "CACHE_DIR", tmp_path / "cache")
    recipe = dataclasses.replace(
        run.recipe,
        augmentation=Augmentation(shift_s=0.02, time_masks=1, time_mask_frames=4),
        channel=Channel(history=0.5, speed_share=0.5, room_share=0.5, noise_share=0.5),
        training=dataclasses.replace(
            run.recipe.training,
            averaging=0.9,
            balance="corpus",
            clips_per_epoch=20,
            class_weights=False,
        ),
        architecture=Architecture(
            builder="attentive_cnn",
            settings={"filters": [4], "kernels": [3], "strides": [[2, 4]], "hidden": 4},
        ),
    )

    def stop_after(cell: Cell[Clip], row: HistoryRow) -> None:
        if row.epoch == 2:
            raise Stop

    whole = train(recipe, SpeechDataset(recipe, manifest), tmp_path / "whole", folds=[1])
    with pytest.raises(Stop):
        train(recipe, SpeechDataset(recipe, manifest), tmp_path / "parts", folds=[1], progress=stop_after)
    parts = train(recipe, SpeechDataset(recipe, manifest), tmp_path / "parts", folds=[1])
    cells = [tmp_path / name / "fold-1_seed-0" for name in ("whole", "parts")]
    assert read_history(cells[0]) == read_history(cells[1])
    a, b = (keras.saving.load_model(cell / "model.keras", compile=False).weights for cell in cells)
    for left, right in zip(a, b, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-6, err_msg=left.path)
    assert parts.test.uar == whole.test.uar
    n_clips = len(
        planned_cells(recipe, SpeechDataset(recipe, manifest), tmp_path / "whole", [1])[0].split.train
    )
    assert len(list((tmp_path / "cache").rglob("*.npy"))) <= n_clips, "of training clips alone"


@pytest.fixture
def tiny_recipe() -> Recipe:
    return recipe_from_dict(tomllib.loads(TINY_RECIPE))


def test_weights_are_averaged_over_the_batches(tiny_recipe: Recipe) -> None:
    recipe = dataclasses.replace(
        tiny_recipe, training=dataclasses.replace(tiny_recipe.training, averaging=0.8)
    )
    model = build_network(recipe)
    compile_model(model, recipe, n_batches=5)
    rng = np.random.default_rng(0)
    expected: list[np.ndarray] | None = None
    for _ in range(5):
        features = rng.normal(-50, 10, (8, 16, 8)).astype(np.float32)
        model.train_on_batch(features, np.eye(7, dtype=np.float32)[rng.integers(7, size=8)])
        latest = [v.numpy() for v in model.trainable_variables]
        expected = [0.8 * a + 0.2 * w for a, w in zip(expected or latest, latest, strict=True)]
    assert expected is not None
    with averaged(model):
        for found, value in zip(model.trainable_variables, expected, strict=True):
            np.testing.assert_allclose(found, value, rtol=0, atol=1e-5)
    for found, value in zip(model.trainable_variables, latest, strict=True):
        np.testing.assert_array_equal(found, value)
    assert max(np.abs(a - w).max() for a, w in zip(expected, latest, strict=True)) > 1e-4
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert all(layer.momentum == 0.8 for layer in norms), "statistics of as many batches"


def test_without_averaging_weights_are_the_latest(tiny_recipe: Recipe) -> None:
    model = build_network(tiny_recipe)
    compile_model(model, tiny_recipe, n_batches=5)
    model.train_on_batch(np.full((8, 16, 8), -50, np.float32), np.eye(8, 7, dtype=np.float32))
    latest = [v.numpy() for v in model.trainable_variables]
    with averaged(model):
        for found, value in zip(model.trainable_variables, latest, strict=True):
            np.testing.assert_array_equal(found, value)


@pytest.mark.slow
def test_other_data_are_refused(run: Run, manifest: Manifest, tmp_path: Path) -> None:
    """With other speakers the folds are others: what was trained on would be tested on."""
    clips = tuple(clip for clip in manifest.clips if not clip.speaker.endswith("06"))
    fewer = SpeechDataset(run.recipe, dataclasses.replace(manifest, clips=clips))
    with pytest.raises(TrainingError, match="was trained on other clips"):
        train(run.recipe, fewer, run.folder, folds=[1])
    # The other way round, and interrupted before it was finished.
    claim_cell(tmp_path / "fold-1_seed-0", fewer.splits()[0])
    with pytest.raises(TrainingError, match="was trained on other clips"):
        train(run.recipe, SpeechDataset(run.recipe, manifest), tmp_path, folds=[1])


@pytest.mark.slow
def test_what_an_earlier_call_finished_stays(
    run: Run, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cells are made up: what is looked at is which are trained, and which are in the summary."""
    trained = []

    def pretend(recipe: Recipe, split: Split[Clip], *, seed: int, folder: Path, **_: object) -> None:
        trained.append((split.name, seed))
        finish_cell(folder, make_cell(split.name, seed, split=split.digest))

    monkeypatch.setattr(run_module, "fit", pretend)
    dataset = SpeechDataset(run.recipe, manifest)
    for folds, seeds in (([1], (0,)), ([2, 2], (0,)), ([2], (1,))):
        training = dataclasses.replace(run.recipe.training, seeds=seeds)
        summary = train(dataclasses.replace(run.recipe, training=training), dataset, tmp_path, folds=folds)
    expected = [("fold-1", 0), ("fold-2", 0), ("fold-2", 1)]
    assert trained == expected
    assert [(cell.fold, cell.seed) for cell in summary.cells] == expected
    assert load_run(tmp_path)[1] == summary


@pytest.mark.slow
@pytest.mark.parametrize("patience", [1, 2])
def test_patience_is_epochs_without_a_lower_loss(
    patience: int, run: Run, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the second epoch, which is the best; nothing is trained."""

    def pretend(*_: object, epoch: int, **__: object) -> HistoryRow:
        loss = abs(epoch - 2.0)
        rest = dict.fromkeys(("loss", "accuracy", "val_accuracy", "val_uar", "learning_rate"), 0.5)
        return HistoryRow(epoch=epoch, val_loss=loss, **rest)

    monkeypatch.setattr(fit_module, "_train_epoch", pretend)
    training = dataclasses.replace(run.recipe.training, patience=patience, epochs=10)
    recipe = dataclasses.replace(run.recipe, training=training)
    cell = train(recipe, SpeechDataset(recipe, manifest), tmp_path, folds=[1]).cells[0]
    assert (cell.best_epoch, cell.epochs) == (2, 2 + patience)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_training(
    run: Run, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "_validate", lambda *_: make_scores(loss=1.0))
    monkeypatch.setattr(
        keras.Model, "train_on_batch", lambda *_, **__: {"loss": np.nan, "accuracy": np.float32(0.5)}
    )
    with pytest.raises(TrainingError, match="the loss became nan in epoch 1; lower learning_rate"):
        train(run.recipe, SpeechDataset(run.recipe, manifest), tmp_path, folds=[1])
    assert read_history(tmp_path / "fold-1_seed-0") == []


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "clip_norm"), [("adam", 1.0), ("rmsprop", 0.0), ("sgd", 2.0)])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_optimizers(optimizer: str, clip_norm: float, schedule: str, run: Run, kept: keras.Model) -> None:
    training = dataclasses.replace(
        run.recipe.training, optimizer=optimizer, clip_norm=clip_norm, schedule=schedule
    )
    model = keras.models.clone_model(kept)
    compile_model(model, dataclasses.replace(run.recipe, training=training), n_batches=5)
    found = model.optimizer
    assert type(found).__name__.lower() == optimizer
    assert found.clipnorm == (clip_norm or None)
    rates = []
    for step in (0, 5 * training.epochs):
        found.iterations.assign(step)
        rates.append(float(found.learning_rate))
    last = 0.02 if schedule == "cosine" else 1
    assert rates == pytest.approx([training.learning_rate, last * training.learning_rate])


@pytest.mark.slow
def test_another_recipe_is_refused(run: Run, manifest: Manifest) -> None:
    before = (run.folder / "recipe.json").read_bytes()
    other = dataclasses.replace(run.recipe, training=dataclasses.replace(run.recipe.training, epochs=4))
    with pytest.raises(TrainingError, match="holds a run of another recipe") as caught:
        train(other, SpeechDataset(other, manifest), run.folder, folds=[1])
    assert str(run.folder) in str(caught.value)
    assert (run.folder / "recipe.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"data": {"corpora": ("ravdess", "tess")}}, CorpusError, "no clip of tess"),
        ({"architecture": {"builder": "transformer"}}, RecipeError, "'transformer'"),
        ({"architecture": {"settings": {"unit": 3}}}, RecipeError, "'unit'"),
        ({"architecture": {"settings": {"pools": [[], []]}}}, RecipeError, "cannot be built"),
        ({"protocol": {"folds": 7}}, CorpusError, "7 folds"),
    ],
)
def test_run_that_cannot_start_takes_no_folder(
    change: dict[str, dict[str, Any]],
    error: type[Exception],
    words: str,
    run: Run,
    manifest: Manifest,
    tmp_path: Path,
) -> None:
    """So that the corrected recipe can be trained there."""
    tables = {
        table: dataclasses.replace(getattr(run.recipe, table), **values) for table, values in change.items()
    }
    recipe = dataclasses.replace(run.recipe, **tables)
    with pytest.raises(error, match=words):
        train(recipe, SpeechDataset(recipe, manifest), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_no_such_fold(run: Run, manifest: Manifest, tmp_path: Path) -> None:
    for number in (0, 4):
        with pytest.raises(CorpusError, match=f"no fold {number}; the speaker protocol has 1 to 3"):
            train(run.recipe, SpeechDataset(run.recipe, manifest), tmp_path / "run", folds=[number])


# --- from the run to the device ------------------------------------------------------------------------


@pytest.mark.slow
def test_exported_run_classifies_as_keras_does(
    run: Run, kept: keras.Model, corpus: Path, tmp_path: Path
) -> None:
    runner = CliRunner()
    arguments = [
        "export",
        "-m",
        "pure_lstm",
        "--run",
        run.folder,
        "--data",
        corpus,
        "-o",
        tmp_path,
        "--force",
    ]
    result = runner.invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    output = tmp_path / "tiny.window.onnx"
    assert "tiny.stream rejected: MaxPool" in result.output, "its steps are shorter than its pooling"
    verdict = EmotionModel(tmp_path / "tiny.window.int8.onnx").metadata.verdict
    assert verdict.parity.n_clips == 24, "48 clips, at most 32: every second"
    assert verdict.recognition.n_clips == len(run.split.test)
    assert verdict.recognition.n_speakers == len({clip.speaker for clip in run.split.test})

    model, cell = EmotionModel(output), run.metrics
    assert model.metadata.name == "tiny", "the run's recipe, not that of --model"
    assert model.metadata.training.test_speakers == cell.test.speakers
    assert model.metadata.training.recipe == json.loads((run.folder / "recipe.json").read_text())
    row = model.metadata.scores[0]
    assert (row.part, row.protocol, row.corpus, row.fold) == (
        "test",
        "speaker",
        "ravdess",
        "fold-1",
    )
    assert (row.uar, row.n_clips) == (cell.test.scores.uar, cell.test.scores.n_clips)
    assert row.n_speakers == len(cell.test.speakers)

    frontend = FrontEnd(run.recipe.features)
    clips = run.split.test[:4]
    expected = np.stack([clip_probabilities(kept, frontend, run.recipe, clip.path) for clip in clips])
    classifier = Classifier([model])
    found = [list(classifier.score_clip(clip.path).probabilities.values()) for clip in clips]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)

    options = ["-m", str(output), "-f", "json", "--any-sound"]  # made-up voices
    result = runner.invoke(app, ["classify", *(str(c.path) for c in clips), *options])
    assert result.exit_code == 0, result.output
    for row, probabilities in zip(json.loads(result.stdout), expected, strict=True):
        assert list(row["probabilities"]) == list(run.recipe.label_map.labels)
        np.testing.assert_allclose(list(row["probabilities"].values()), probabilities, rtol=0, atol=2e-5)
        assert row["label"] == run.recipe.label_map.labels[probabilities.argmax()]


@pytest.mark.slow
def test_export_is_not_tested_on_training_clips(run: Run, corpus: Path, tmp_path: Path) -> None:
    """Without one speaker the folds are others: no UAR rather than a wrong one."""
    fewer = tmp_path / "corpus"
    shutil.copytree(corpus, fewer, ignore=shutil.ignore_patterns("Actor_06"))
    arguments = [
        "export",
        "--run",
        run.folder,
        "-o",
        tmp_path / "out",
        "--mode",
        "window",
        "--precision",
        "fp32",
    ]
    result = CliRunner().invoke(app, list(map(str, [*arguments, "--data", fewer])))
    assert result.exit_code == 0, result.output
    assert "the data are not those that fold-1 was trained on" in result.stderr
    assert EmotionModel(tmp_path / "out" / "tiny.window.onnx").metadata.verdict.recognition is None


@pytest.mark.slow
def test_export_of_own_weights_is_scored_by_the_names_of_its_labels(
    run: Run, corpus: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """The same network with its outputs in another order says the same."""
    labels = list(run.recipe.label_map.labels)
    for name, order in (("as is", slice(None)), ("reversed", slice(None, None, -1))):
        model = keras.saving.load_model(run.cell / "model.keras", compile=False)
        last = model.layers[-1]
        kernel, bias = last.get_weights()
        last.set_weights([kernel[:, order], bias[order]])
        model.save(tmp_path / "own.keras")
        arguments = ["export", "--weights", tmp_path / "own.keras", "--labels", ",".join(labels[order])]
        arguments += ["-m", recipe_file, "--data", corpus, "-o", tmp_path / name]
        arguments += ["--mode", "window", "--precision", "fp32"]
        result = CliRunner().invoke(app, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        found = EmotionModel(tmp_path / name / "tiny.window.onnx").metadata.verdict.recognition
        assert found.uar == pytest.approx(run.summary.cells[0].test.scores.uar)
        card = (tmp_path / name / "tiny.md").read_text()
        assert "which may have been in the weights' training" in card
        assert "held-out speakers" not in card
