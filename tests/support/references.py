"""The front end in librosa and plain numpy, and what comes after a network, which graphs must equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeemo.features import Features

if TYPE_CHECKING:  # tests of the device go without the workstation
    from edgeemo.workstation.training.recipe import Recipe


def librosa_power(audio: np.ndarray, features: Features) -> np.ndarray:
    """Mel power by librosa in double precision, shape `(n_frames, n_mels)`."""
    import librosa

    power: np.ndarray = librosa.feature.melspectrogram(
        y=np.pad(audio.astype(np.float64), (features.n_fft - features.hop_samples, 0)),
        sr=features.sample_rate,
        n_fft=features.n_fft,
        hop_length=features.hop_samples,
        n_mels=features.n_mels,
        fmin=features.fmin_hz,
        fmax=features.fmax_hz,
        center=False,
        dtype=np.float64,
    )
    return power.T


def reference_features(audio: np.ndarray, features: Features) -> np.ndarray:
    """The whole front end in librosa and plain numpy, shape `(n_frames, n_columns)`."""
    import librosa

    power = librosa_power(audio, features)
    logmel: np.ndarray = librosa.power_to_db(power, top_db=None)
    if features.level == "none":
        return logmel
    level = 10 * np.log10(np.maximum(power.mean(axis=1), 1e-10))
    peak = np.array([
        max(level[max(0, t - features.level_frames + 1) : t + 1].max(), features.level_floor_db)
        for t in range(len(level))
    ])  # fmt: skip
    above: np.ndarray = (logmel - peak[:, np.newaxis]).clip(-features.range_db)
    if features.level == "running_peak":
        return above
    voiced = level > np.maximum(peak - features.voiced_db, features.level_floor_db)
    return np.column_stack([above - running_mean(above, voiced, features), voiced])


def running_mean(above: np.ndarray, voiced: np.ndarray, features: Features) -> np.ndarray:
    """Each band's mean over the voiced frames so far, one frame after the other, shape `(n_frames, n_mels)`."""
    per_s = features.sample_rate / features.hop_samples
    mean, count = (
        np.resize(features.mean_start_db, above.shape[1]).astype(np.float64),
        features.mean_start_s * per_s,
    )
    means = np.empty_like(above)
    for t in range(len(above)):
        if voiced[t]:
            mean = mean + max(1 / (features.mean_s * per_s), 1 / (count + 1)) * (above[t] - mean)
            count += 1
        means[t] = mean
    return means


def as_usually_said(answers: np.ndarray, recipe: Recipe) -> np.ndarray:
    """A network's answers, shape `(n_answers, n_labels)`, where the recipe supposes that a third is neutral."""
    if not recipe.export.usual:
        return answers
    neutral = np.array([label == "neutral" for label in recipe.label_map.labels])
    odds = (1 / 3) / (2 / 3 / (len(neutral) - 1))
    raised = answers * np.where(neutral, np.sqrt(odds), 1)
    shares: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return shares
