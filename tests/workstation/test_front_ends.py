"""Front ends of others: against their libraries on speech, as streams, as presets, and what is refused."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeemo.audio import read_audio
from edgeemo.errors import RecipeError
from edgeemo.features import (
    COMPRESSIONS,
    DELTA_METHODS,
    FRAMINGS,
    MEL_NORMS,
    MEL_SCALES,
    PREEMPHASES,
    PRESETS,
    WINDOW_FUNCTIONS,
    Features,
    preset_values,
)
from edgeemo.places import EXPORT_DIR, sample_path
from edgeemo.workstation.graphs.editing import OPSET, as_model, open_session
from edgeemo.workstation.graphs.frontend import FrontEnd, add_frontend
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.past import Carried
from edgeemo.workstation.training.recipe import load_recipe
from support.signals import speech_like

BENCHMARK: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "front_ends.py"))
CASES = BENCHMARK["cases"]()


def of(preset: str, **values: object) -> Features:
    return Features.from_dict(preset_values(preset, values))


def streamed(features: Features, audio: np.ndarray, step_frames: int) -> np.ndarray:
    """What a stream graph gives, step by step."""
    step = step_frames * features.hop_samples
    given = ir.val("audio", dtype=ir.DataType.FLOAT, shape=(1, step))
    nodes, past = Nodes("frontend/"), Carried("state")
    out = add_frontend(nodes, given, features.causal, past).features
    out.name, out.type = "features", given.type
    graph = ir.Graph(
        [given, *past.inputs],
        [out, *past.outputs],
        nodes=nodes.tape.nodes,
        initializers=nodes.tape.initializers,
        opset_imports={"": OPSET},
    )
    session = open_session(as_model(graph))
    carried = {state.name: np.zeros(state.shape, np.float32) for state in past.states}
    found = []
    for part in audio[: len(audio) // step * step].reshape(-1, 1, step):
        frames, *following = session.run(None, {"audio": part, **carried})
        carried = dict(zip(carried, following, strict=True))
        found.append(frames[0])
    return np.concatenate(found)


# --- against the libraries -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:Empty filters detected")
def test_equals_its_library(name: str) -> None:
    case = CASES[name]
    assert BENCHMARK["differences"](case, [sample_path()]).max() <= case.tolerance


@pytest.mark.corpora
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Empty filters detected")
def test_equals_their_libraries_on_real_clips(corpora_dir: Path) -> None:
    clips = [
        path for path in sorted((corpora_dir / "ravdess").rglob("*.*")) if path.suffix in (".wav", ".flac")
    ]
    for name, case in CASES.items():
        assert BENCHMARK["differences"](case, clips[:: len(clips) // 3]).max() <= case.tolerance, name


def test_one_other_key_is_seen() -> None:
    """Each key of a preset counts: the comparison with the library can fail."""
    audio = read_audio(sample_path(), 16000)[:32000]
    whole = FrontEnd(of("kaldi"))(audio[np.newaxis])
    for key in ("preemphasis", "remove_mean", "window_function", "mel_scale", "scale", "fmin_hz"):
        default = getattr(Features(), key)
        other = FrontEnd(dataclasses.replace(of("kaldi"), **{key: default}))(audio[np.newaxis])
        assert np.abs(whole - other).max() > 0.01, key


# --- frames --------------------------------------------------------------------------------------------


@st.composite
def front_ends(draw: st.DrawFn) -> Features:
    n_fft = draw(st.one_of(st.sampled_from([256, 400, 551]), st.integers(100, 600).filter(_divides)))
    frame = draw(st.integers(n_fft // 2, n_fft))
    compression = draw(st.sampled_from(COMPRESSIONS))
    framing = draw(st.sampled_from(FRAMINGS))
    mel_scale = draw(st.sampled_from(MEL_SCALES))
    return Features(
        n_fft=n_fft,
        win_length=frame,
        hop_samples=draw(st.integers(frame // 4, frame)),
        framing=framing,
        drop_last=framing.startswith("centre") and draw(st.booleans()),
        window_function=draw(st.sampled_from(WINDOW_FUNCTIONS)),
        window_symmetric=draw(st.booleans()),
        remove_mean=draw(st.booleans()),
        preemphasis=draw(st.sampled_from([0.0, 0.97])),
        preemphasis_of=draw(st.sampled_from(PREEMPHASES)),
        power=draw(st.sampled_from([1, 2])),
        n_mels=n_fft // 2 + 1 if mel_scale == "linear" else draw(st.integers(13, 40)),
        mel_scale=mel_scale,
        mel_norm=draw(st.sampled_from(MEL_NORMS)),
        compression=compression,
        offset=1.0 if compression == "ln" else 0.0,
        level="none",
        n_mfcc=draw(st.sampled_from([0, 13])),
        energy=compression == "ln" and draw(st.booleans()),
        deltas=draw(st.integers(0, 2)),
        delta_width=draw(st.sampled_from([3, 5, 9])),
        delta_method=draw(st.sampled_from(DELTA_METHODS)),
        mean=(-3.0,),
        std=(2.0,),
    )


def _divides(n: int) -> bool:
    try:
        Features(n_fft=n, hop_samples=10)
    except ValueError:
        return False
    return True


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    features=front_ends(), more=st.integers(0, 2000), step_frames=st.integers(1, 4), seed=st.integers(0, 99)
)
def test_a_stream_is_the_causal_whole_and_a_window_later(
    features: Features, more: int, step_frames: int, seed: int
) -> None:
    audio = speech_like(features.least_samples + 40 * features.hop_samples + more, seed=seed)
    window = FrontEnd(features)(audio[np.newaxis])[0]
    assert window.shape == (features.n_frames(len(audio)), features.n_columns)
    whole = FrontEnd(features.causal)(audio[np.newaxis])[0]
    allowed = 1e-4 * max(1.0, float(np.abs(whole).max()))
    found = streamed(features, audio, step_frames)
    np.testing.assert_allclose(found, whole[: len(found)], rtol=0, atol=allowed)
    if features.compression == "pcen":
        return  # its smoothing remembers edges for longer than a clip
    late = features.delay_samples
    from_there = audio[late:] if late >= 0 else np.pad(audio, (-late, 0))
    shifted = FrontEnd(features.causal)(from_there[np.newaxis])[0]
    edge = 4 + features.n_fft // features.hop_samples + 2 * features.delta_frames
    n = min(len(window), len(shifted)) - edge
    np.testing.assert_allclose(shifted[edge:n], window[edge:n], rtol=0, atol=allowed)


@pytest.mark.parametrize(
    ("preset", "late"),
    [
        ("edgeemo", 0),
        ("whisper", 400 - 200 - 160),
        ("librosa", 1024 - 512),
        ("torchaudio", 0),
        ("kaldi", 240),
    ],
)
def test_how_much_later_a_stream_is(preset: str, late: int) -> None:
    assert of(preset).delay_samples == late


def test_slopes_come_later() -> None:
    once, twice = (
        dataclasses.replace(of("kaldi"), deltas=2, delta_width=5, delta_method=method)
        for method in DELTA_METHODS
    )
    assert (once.delay_samples, twice.delay_samples) == (240 + 2 * 160, 240 + 4 * 160)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("deltas", [0, 1])
def test_the_shortest_audio_has_a_frame(framing: str, deltas: int) -> None:
    features = Features(framing=framing, win_length=400, n_fft=500, level="none", deltas=deltas)
    shortest = np.zeros((1, features.least_samples), np.float32)
    assert FrontEnd(features)(shortest).shape[1] == features.n_frames(features.least_samples) > 0


def test_pcen_of_a_long_clip_is_finite() -> None:
    features = of("librosa", sample_rate=16000, compression="pcen", pcen_time_s=0.1, top_db=0.0)
    minute = np.tile(speech_like(16000), 60)
    assert np.isfinite(FrontEnd(features)(minute[np.newaxis])).all()


# --- presets, and what is refused ----------------------------------------------------------------------


def test_presets_are_what_files_hold() -> None:
    assert of("edgeemo") == Features()
    assert all(Features.from_dict(of(preset).to_dict()) == of(preset) for preset in PRESETS)
    assert {"mel_scale", "framing"} <= of("torchaudio").to_dict().keys()
    assert "framing" not in Features().to_dict()


def test_bands_reach_half_the_rate_of_a_preset() -> None:
    assert of("librosa", sample_rate=16000).fmax_hz == 8000
    assert of("kaldi", fmax_hz=7600.0).fmax_hz == 7600


def test_a_recipe_names_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    base = (EXPORT_DIR / "cnn_lstm.toml").read_text(encoding="utf-8")
    head, _, rest = base.partition("[features]")
    tail = rest[rest.index("[window]") :]
    path.write_text(head + '[features]\npreset = "whisper"\nn_mels = 40\n\n' + tail, encoding="utf-8")
    recipe = load_recipe(path)
    assert recipe.features == of("whisper", n_mels=40)
    assert recipe.input_shape == (320, 40)
    with pytest.raises(RecipeError, match=r"preset is 'wisper'.*'whisper'"):
        load_recipe(path, ["features.preset=wisper"])


def test_a_preset_in_place_of_a_recipes_features() -> None:
    path = EXPORT_DIR / "cnn_lstm.toml"
    recipe = load_recipe(path, ["features.n_mels=64"], preset="librosa", trainable=False)
    assert recipe.features == of("librosa", n_mels=64)
    assert recipe.step_samples == 7 * 512  # nearest to 0.16 s
    assert recipe.n_frames == 1 + round(3.2 * 22050) // 512


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"framing": "center"}, "framing is 'center'; it must be 'causal' or 'centre_zero'"),
        ({"compression": "log1p"}, "log1p is ln with offset = 1"),
        ({"drop_last": True}, "drop_last is True; it must be false, but with centred frames"),
        ({"mel_scale": "linear"}, 'n_mels is 64; it must be n_fft / 2 + 1 (257) with mel_scale = "linear"'),
        ({"lifter_first": 2}, "lifter_first is 2; it must be 0 or 1"),
        ({"energy": True}, 'energy is True; it must be false, but with compression = "ln"'),
        ({"n_fft": 2 * 1031}, "a product of small numbers"),
        ({"win_length": 600}, "win_length is 600; it must be from 0 to n_fft (512)"),
        ({"win_length": 100}, "hop_samples is 160; it must be from 1 to win_length (100)"),
        ({"compression": "ln"}, "level is 'running_peak'; it must be 'none'"),
        (
            {"level": "running_mean", "mean_s": 0.01},
            "mean_s is 0.01; it must be positive, and with running_mean at least two hops",
        ),
        ({"level": "running_mean", "deltas": 1}, "'none' or 'running_peak' with n_mfcc, deltas"),
        ({"level": "none", "n_mfcc": 65}, "n_mfcc is 65; it must be from 0 to n_mels (64)"),
        ({"std": (1.0, 0.0)}, "std is (1.0, 0.0); it must be positive"),
        ({"mean": (1.0,) * 63}, "mean is 63 values; it must be one, or one for each of 64 columns"),
        (
            {"level": "none", "compression": "pcen", "top_db": 80.0},
            "top_db is 80.0; it must be 0 or more, with a",
        ),
    ],
)
def test_values_that_no_front_end_has(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="; it must be ") as caught:
        Features(**values)
    assert words in str(caught.value)


def test_what_needs_a_whole_window() -> None:
    assert of("kaldi").window_only == of("edgeemo").window_only == ()
    features = of("librosa", ref_max=True, standardise="bands")
    assert features.window_only == ("ref_max = true", "top_db = 80", 'standardise = "bands"')


def test_a_channel_changes_mel_power_alone() -> None:
    with pytest.raises(RecipeError, match=r"\[channel\].*none with \[features\] n_mfcc, deltas"):
        load_recipe(EXPORT_DIR / "emo_small.toml", [
            "features.level=running_peak", "features.n_mfcc=13", "features.deltas=1",
        ])  # fmt: skip
