"""What the workstation's tests share: audio, the shipped recipes, and models built and exported once."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile

from edgeemo.metadata import Features, Metadata
from edgeemo.places import EXPORT_DIR
from edgeemo.workstation.training.recipe import Recipe, load_recipe, recipe_from_dict

RECIPES = tuple(sorted(path.stem for path in EXPORT_DIR.glob("*.toml")))
IMAGES = tuple(name for name in RECIPES if load_recipe(EXPORT_DIR / f"{name}.toml").image is not None)
SPEECH = tuple(name for name in RECIPES if name not in IMAGES)
SHIPPED = tuple(name for name in SPEECH if (EXPORT_DIR / name).is_dir())
"""Models of speech with the run that they ship from."""


def noise(n_samples: int, *, seed: int = 0, peak: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-peak, peak, n_samples).astype(np.float32)


def speech_like(n_samples: int, sample_rate: int = 16000, *, seed: int = 0) -> np.ndarray:
    """Gliding harmonics in syllables over a little noise: 40 dB between loud and quiet frames."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(n_samples) / sample_rate
    pitch_hz = rng.uniform(100, 250) + 50 * np.sin(2 * np.pi * rng.uniform(0.2, 1.0) * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / sample_rate
    voice = sum(np.sin(k * phase) * rng.uniform(0.3, 1) / k for k in range(1, 16))
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(2, 5) * time_s + rng.uniform(0, 6)), 0, 1)
    return (0.15 * voice * syllables + 0.003 * rng.standard_normal(n_samples)).astype(np.float32)


def librosa_power(audio: np.ndarray, features: Features) -> np.ndarray:
    """Mel power by librosa in double precision, shape `(n_frames, n_mels)`: what the front end must equal."""
    import librosa

    return librosa.feature.melspectrogram(
        y=np.pad(audio.astype(np.float64), (features.n_fft - features.hop_samples, 0)),
        sr=features.sample_rate,
        n_fft=features.n_fft,
        hop_length=features.hop_samples,
        n_mels=features.n_mels,
        fmin=features.fmin_hz,
        fmax=features.fmax_hz,
        center=False,
        dtype=np.float64,
    ).T


def reference_features(audio: np.ndarray, features: Features) -> np.ndarray:
    """The whole front end in librosa and plain numpy, shape `(n_frames, n_mels)`."""
    import librosa

    power = librosa_power(audio, features)
    logmel = librosa.power_to_db(power, top_db=None)
    if features.level == "none":
        return logmel
    level = 10 * np.log10(np.maximum(power.mean(axis=1), 1e-10))
    peak = np.array([
        max(level[max(0, t - features.level_frames + 1) : t + 1].max(), features.level_floor_db)
        for t in range(len(level))
    ])  # fmt: skip
    return np.maximum(logmel - peak[:, np.newaxis], -features.range_db)


def randomise(model: Any, *, seed: int = 0) -> Any:
    """Give every bias, batch statistic and normalisation constant a random value: none is trivially zero or one."""
    import keras

    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.adapt(rng.normal(-30, 15, (4, *model.input_shape[1:])).astype(np.float32))
            continue
        for weight in layer.weights:
            shape, name = tuple(weight.shape), weight.path.rpartition("/")[2]
            if name == "bias":
                weight.assign(rng.normal(0, 0.2, shape))
            elif name in ("beta", "moving_mean"):
                weight.assign(rng.normal(0, 0.3, shape))
            elif name in ("gamma", "moving_variance"):
                weight.assign(rng.uniform(0.5, 2, shape))
            # Larger than at the start of a training: the answer depends on the audio.
            elif isinstance(layer, keras.layers.LSTM) and name == "kernel":
                weight.assign(rng.normal(0, 3 / np.sqrt(shape[0]), shape))
            elif isinstance(layer, keras.layers.Dense):
                weight.assign(rng.normal(0, 2 / np.sqrt(shape[0]), shape))
    return model


def narrow_resnet50(*, input_shape: tuple[int, int, int], **_: Any) -> Any:
    """ResNet50 with an eighth of its channels: every layer of it, without the half minute that converting a hundred
    megabytes takes. To stand in for `keras.applications.ResNet50`.
    """
    from keras.src.applications import resnet

    def stacks(x: Any) -> Any:
        for i, (filters, blocks) in enumerate([(8, 3), (16, 4), (32, 6), (64, 3)]):
            stride = 2 if i else 1
            x = resnet.stack_residual_blocks_v1(x, filters, blocks, stride, name=f"conv{i + 2}")
        return x

    return resnet.ResNet(
        stacks, preact=False, use_bias=True, include_top=False, weights=None, input_shape=input_shape
    )


EMOTION_CODES = {"neutral": 1, "happy": 3, "sad": 4, "angry": 5}


def write_corpus(folder: Path, *, n_actors: int = 6, n_takes: int = 2) -> Path:
    """Audio under RAVDESS' names: an emotion is a pitch, so that there is something to learn."""
    for actor in range(1, n_actors + 1):
        for code in EMOTION_CODES.values():
            for take in range(1, n_takes + 1):
                seed = actor * 100 + code * 10 + take
                rng = np.random.default_rng(seed)
                n = int(rng.integers(1500, 6000))
                time_s = np.arange(n) / 8000
                tone = np.sin(2 * np.pi * (200 + 300 * code + 20 * actor) * time_s)
                audio = 0.3 * tone * rng.uniform(0.5, 1) + 0.01 * rng.standard_normal(n)
                name = f"Actor_{actor:02d}/03-01-{code:02d}-01-01-{take:02d}-{actor:02d}.wav"
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(folder / name, audio, 8000, subtype="PCM_16")
    return folder


IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""Fashion-MNIST's files."""


def idx(array: np.ndarray) -> bytes:
    """An idx file, by its description: magic, lengths of the axes, bytes."""
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.astype(np.uint8).tobytes()


def write_fashion(folder: Path, *arrays: np.ndarray, zipped: bool = True) -> Path:
    """Fashion-MNIST under its names: training images and labels, test images and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(IDX_FILES, arrays, strict=True):
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return folder


def bars(n: int, size: int, n_labels: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Square pictures to learn from, and their labels: a class is the place of a bright bar."""
    labels = np.arange(n) % n_labels
    pixels = np.random.default_rng(seed).integers(0, 60, (n, size, size))
    width = size // n_labels
    for image, label in zip(pixels, labels, strict=True):
        image[:, width * label : width * label + 3] = 250
    return pixels.astype(np.uint8), labels


TINY_RECIPE = """
name = "tiny"
summary = "a tiny CNN-LSTM"
[architecture]
builder = "cnn_lstm"
filters = [4, 4]
pools = [[2, 2], [2, 2]]
units = [6, 6]
dropout = 0.2
[features]
sample_rate = 8000
n_fft = 256
hop_samples = 128
n_mels = 8
fmax_hz = 4000
[window]
window_s = 0.256
step_s = 0.032
[data]
corpora = ["ravdess"]
[protocol]
folds = 3
validation_speakers = 1
[training]
epochs = 3
batch_size = 8
learning_rate = 0.01
[augmentation]
speed = 0.1
shift_s = 0.02
gain_db = 6
noise_share = 0.5
time_masks = 1
time_mask_frames = 4
mel_masks = 1
mel_mask_bands = 2
mixup = 0.3
"""
"""To train in a second on `write_corpus`."""


@pytest.fixture(scope="session")
def shipped_recipe() -> Callable[[str], Recipe]:
    """The recipe `export/NAME.toml` by its name."""
    return functools.cache(lambda name: load_recipe(EXPORT_DIR / f"{name}.toml"))


@pytest.fixture(scope="session")
def random_model(shipped_recipe: Callable[[str], Recipe]) -> Callable[[str], Any]:
    """The Keras model of a recipe in `export/` with random weights, by the recipe's name; not to be changed."""

    @functools.cache
    def make(name: str) -> Any:
        import keras

        from edgeemo.workstation.architectures import build

        recipe = shipped_recipe(name)
        keras.utils.set_random_seed(len(name))
        model = build(
            recipe.architecture.builder,
            recipe.architecture.settings,
            n_frames=recipe.input_shape[0],
            n_mels=recipe.input_shape[1],
            n_labels=len(recipe.label_map.labels),
        )
        return randomise(model, seed=len(name))

    return make


class Exported(NamedTuple):
    recipe: Recipe
    keras: Any
    path: Path
    metadata: Metadata


@pytest.fixture(scope="session")
def exported(
    shipped_recipe: Callable[[str], Recipe],
    random_model: Callable[[str], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Exported]:
    """The exported file of `random_model(name)`."""

    @functools.cache
    def make(name: str) -> Exported:
        from edgeemo.workstation.export import export

        recipe, model = shipped_recipe(name), random_model(name)
        path = tmp_path_factory.mktemp("exported") / f"{name}.onnx"
        metadata = export(
            model,
            recipe,
            path,
            clips=[speech_like(60000, seed=1), noise(20000, seed=1)],
            training={"seed": 3, "train_speakers": ["ravdess-01", "täss-Ä"]},
            scores=[{"protocol": "speaker", "uar": 0.5}],
        )
        return Exported(recipe, model, path, metadata)

    return make


@pytest.fixture(scope="session")
def small_recipe() -> Recipe:
    """Sixteen frames of eight bands: quick to build, train and export."""
    return recipe_from_dict({
        "name": "small",
        "summary": "for tests",
        "architecture": {"builder": "pure_cnn"},
        "features": {"sample_rate": 8000, "n_fft": 256, "hop_samples": 128, "n_mels": 8, "fmax_hz": 4000.0},
        "window": {"window_s": 0.256, "step_s": 0.032},
        "augmentation": {"time_mask_frames": 4, "mel_mask_bands": 2},
    })  # fmt: skip
