"""Networks with features of one's own, from the file to a verified model: the journeys of docs/deployment.md."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgeemo.audio import read_audio
from edgeemo.cli import app
from edgeemo.model import EmotionModel
from edgeemo.places import sample_path
from edgeemo.workstation.training.folder import load_run
from support.own import write_class_folders
from support.recipes import TINY_RECIPE

pytestmark = pytest.mark.slow
BENCHMARK: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "front_ends.py"))
LABELS = ("calm", "happy", "angry")


def network(path: Path, n_frames: int, n_columns: int, *, recurrent: bool = True) -> Any:
    """A small network of somebody else, with random weights."""
    import keras

    keras.utils.set_random_seed(3)
    layers: list[Any] = [
        keras.layers.Input((n_frames, n_columns)),
        keras.layers.LayerNormalization(),
        keras.layers.Conv1D(8, 5, padding="causal", activation="relu"),
        keras.layers.GRU(8) if recurrent else keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(len(LABELS), activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.save(path)
    return model


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Three seconds of speech."""
    import soundfile

    path = tmp_path / "clip.wav"
    soundfile.write(path, read_audio(sample_path(), 16000)[16000:64000], 16000, subtype="FLOAT")
    return path


def export(folder: Path, *arguments: object) -> Any:
    fixed = [
        "export",
        "--weights",
        folder / "net.keras",
        "--labels",
        ",".join(LABELS),
        "--output",
        folder / "out",
    ]
    fixed += ["--set", "window.window_s=3"]
    return CliRunner().invoke(app, [str(a) for a in (*fixed, "--precision", "fp32", *arguments)])


def test_a_network_with_features_as_whispers_becomes_a_verified_stream(tmp_path: Path, clip: Path) -> None:
    import librosa

    model, audio = network(tmp_path / "net.keras", 300, 80), read_audio(clip, 16000)
    # As people stream it: without the clip at the window's maximum.
    mel = librosa.feature.melspectrogram(
        y=audio, sr=16000, n_fft=400, hop_length=160, n_mels=80, pad_mode="reflect"
    )[:, :-1]
    features = (np.log10(np.maximum(mel, 1e-10)).T + 4) / 4
    np.save(tmp_path / "features.npy", features)
    np.save(tmp_path / "predictions.npy", model.predict(features[np.newaxis], verbose=0))

    whole = ["--features", "whisper", "--set", "window.step_s=0.2"]
    check = ["--check", clip, tmp_path / "features.npy"]
    other = export(tmp_path, *whole, *check)
    assert other.exit_code == 1
    assert "the features are not yours (300 frames of 80 values; " in other.output
    assert not (tmp_path / "out").exists()

    found = export(
        tmp_path, *whole, "--set", "features.top_db=0", *check, "--predictions", tmp_path / "predictions.npy"
    )
    assert found.exit_code == 0, found.output
    assert "the features are yours: 300 frames of 80 values" in found.output
    assert "the predictions are yours" in found.output
    window, stream = (EmotionModel(tmp_path / "out" / f"net.{mode}.onnx") for mode in ("window", "stream"))
    np.testing.assert_allclose(
        window.predict(audio), model.predict(features[np.newaxis], verbose=0)[0], atol=1e-4
    )
    assert stream.metadata.parity is not None
    assert stream.metadata.parity.max_difference < 1e-4
    assert stream.metadata.late_s == pytest.approx(0.0025)
    info = CliRunner().invoke(app, ["info", str(stream.path)])
    assert "2 ms later than those of a window" in info.output


def test_what_whisper_clips_at_a_windows_maximum_has_no_stream(tmp_path: Path) -> None:
    network(tmp_path / "net.keras", 300, 80, recurrent=False)
    found = export(tmp_path, "--features", "whisper", "--set", "window.step_s=0.2")
    assert found.exit_code == 0, found.output
    assert "note: features are as the recipe says, and were not compared with yours" in found.output
    assert "[features] top_db = 80 needs a whole window at once" in " ".join(found.output.split())
    assert [path.name for path in (tmp_path / "out").glob("*.onnx")] == ["net.window.onnx"]


def test_an_mfcc_network_is_checked_against_librosa(tmp_path: Path, clip: Path) -> None:
    import librosa

    model, audio = network(tmp_path / "net.keras", 1 + 48000 // 256, 26), read_audio(clip, 16000)
    mfcc = librosa.feature.mfcc(y=audio, sr=16000, n_mfcc=13, n_fft=1024, hop_length=256, n_mels=40)
    features = np.concatenate([mfcc, librosa.feature.delta(mfcc)]).T
    np.save(tmp_path / "features.npy", features)
    sizes = {"sample_rate": 16000, "n_fft": 1024, "hop_samples": 256, "n_mels": 40, "n_mfcc": 13, "deltas": 1}
    keys = [part for key, value in sizes.items() for part in ("--set", f"features.{key}={value}")]
    found = export(
        tmp_path,
        "--features",
        "librosa",
        *keys,
        "--mode",
        "window",
        "--check",
        clip,
        tmp_path / "features.npy",
    )
    assert found.exit_code == 0, found.output
    assert "the features are yours: 188 frames of 26 values" in found.output
    exported = EmotionModel(tmp_path / "out" / "net.window.onnx")
    expected = model.predict(features[np.newaxis], verbose=0)[0]
    np.testing.assert_allclose(exported.predict(audio), expected, atol=1e-4)


def test_steps_that_a_window_is_no_number_of_are_refused_with_others(tmp_path: Path) -> None:
    network(tmp_path / "net.keras", 1 + 48000 // 200, 128)
    found = export(tmp_path, "--features", "torchaudio", "--mode", "stream")
    assert found.exit_code == 1
    text = " ".join(found.output.split())
    assert "a window of 241 frames is no whole number of steps of 13; give --step-ms, such as 12.5" in text


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' variables
def test_a_recipe_with_such_features_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_class_folders(tmp_path / "mine", n_clips=8)
    recipe = TINY_RECIPE.replace('corpora = ["ravdess"]', 'corpora = []\nlabels = "own"')
    (tmp_path / "tiny.toml").write_text(recipe, encoding="utf-8")
    keys = {
        "level": "none",
        "n_mfcc": 8,
        "deltas": 1,
        "delta_width": 3,
        "standardise": "bands",
    }
    trained = CliRunner().invoke(
        app,
        [
            *(
                "train",
                "--model",
                "tiny.toml",
                "--data",
                "mine",
                "--epochs",
                "1",
                "--output",
                "run",
                "--fold",
                "1",
            ),
            *("--speaker-pattern", r"(s\d)_"),
            *(part for key, value in keys.items() for part in ("--set", f"features.{key}={value}")),
        ],
    )
    assert trained.exit_code == 0, trained.output
    kept = load_run(tmp_path / "run")[0]
    assert kept.features.besides_levelling == ("n_mfcc", "deltas", "delta_width", "standardise")
    assert kept.input_shape == (kept.n_frames, 16)


def test_options_that_go_together(tmp_path: Path) -> None:
    alone = CliRunner().invoke(app, ["export", "--features", "whisper"])
    assert alone.exit_code == 2
    assert "--features goes with --weights" in alone.output
    network(tmp_path / "net.keras", 300, 80)
    unknown = export(tmp_path, "--features", "wisper")
    assert unknown.exit_code == 1
    assert "preset is 'wisper'; it must be 'edgeemo'" in unknown.output
    lonely = export(tmp_path, "--predictions", tmp_path / "p.npy")
    assert lonely.exit_code == 2
    assert "--predictions goes with --check" in lonely.output
