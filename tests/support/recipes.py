"""The recipes in `export/` by kind, and a tiny one."""

from __future__ import annotations

from edgeemo.places import EXPORT_DIR
from edgeemo.workstation.training.recipe import load_recipe

RECIPES = tuple(sorted(path.stem for path in EXPORT_DIR.glob("*.toml")))


IMAGES = tuple(name for name in RECIPES if load_recipe(EXPORT_DIR / f"{name}.toml").image is not None)


SPEECH = tuple(name for name in RECIPES if name not in IMAGES)


SHIPPED = tuple(name for name in SPEECH if (EXPORT_DIR / name).is_dir())
"""Models of speech with the run that they ship from."""


TINY_TABLES = """
[features]
sample_rate = 8000
n_fft = 256
hop_samples = 128
n_mels = 8
fmax_hz = 4000
[data]
corpora = ["ravdess"]
[protocol]
folds = 3
validation_speakers = 1
"""
"""Of recipes for `write_corpus` and its like: what is heard of it, and its folds."""


TINY_RECIPE = (
    """
name = "tiny"
summary = "a tiny CNN-LSTM"
[architecture]
builder = "cnn_lstm"
filters = [4, 4]
pools = [[2, 2], [2, 2]]
units = [6, 6]
dropout = 0.2
[window]
window_s = 0.256
step_s = 0.032
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
    + TINY_TABLES
)
"""To train in a second on `write_corpus`."""
