"""The front-end graph against librosa and plain numpy: logmel, level, causality, operators, size."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeemo.audio import read_audio
from edgeemo.features import LEVELS, Features
from edgeemo.metadata import Metadata
from edgeemo.workstation.graphs.assemble import assemble
from edgeemo.workstation.graphs.editing import open_session, to_bytes
from edgeemo.workstation.graphs.frontend import PREFIX, FrontEnd, Levelling, frontend_model, mel_frequencies
from support.references import librosa_power, reference_features
from support.signals import noise, speech_like

TOLERANCE_DB = 1e-4
PLAIN = Features(level="none")
LEVELLED = Features()
CENTRED = Features(level="running_mean", range_db=45.0, mean_s=0.4, mean_start_s=0.1)
MAX_BYTES = 25_000


@pytest.fixture(scope="module")
def plain() -> FrontEnd:
    return FrontEnd(PLAIN)


@pytest.fixture(scope="module")
def levelled() -> FrontEnd:
    return FrontEnd(LEVELLED)


@pytest.fixture(scope="module")
def centred() -> FrontEnd:
    return FrontEnd(CENTRED)


def assert_same(frontend: FrontEnd, audio: np.ndarray) -> None:
    found = frontend(audio[np.newaxis])
    whole_hops = audio[: len(audio) // frontend.features.hop_samples * frontend.features.hop_samples]
    expected = reference_features(whole_hops, frontend.features)
    assert found.dtype == np.float32
    assert found.shape == (1, *expected.shape)
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=TOLERANCE_DB)


# --- log-mel -------------------------------------------------------------------------------------------

SIGNALS = {
    "noise": noise(16000),
    "quiet noise": noise(16000, peak=1e-4),
    "speech": speech_like(32000),
    "silence": np.zeros(8000, np.float32),
    "full-scale square": np.where(np.arange(16000) // 40 % 2, 1, -1).astype(np.float32),
    "full-scale noise": noise(16000, peak=1.0),
    "tone": np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32),
    "tone between bins": (0.9 * np.sin(2 * np.pi * 3333.3 * np.arange(16000) / 16000)).astype(np.float32),
    "tone at the Nyquist frequency": np.tile(np.float32([1, -1]), 4000),
    "constant": np.full(8000, 0.7, np.float32),
    "one sample": np.eye(1, 4000, 2000, dtype=np.float32)[0],
    "silence, then speech": np.concatenate([np.zeros(8000, np.float32), speech_like(8000)]),
    "one hop": noise(160),
    "not a whole hop more": noise(160 + 159),
}


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.slow
def test_equals_librosa(
    signal: str, level: str, plain: FrontEnd, levelled: FrontEnd, centred: FrontEnd
) -> None:
    assert_same({"none": plain, "running_peak": levelled, "running_mean": centred}[level], SIGNALS[signal])


@pytest.mark.corpora
@pytest.mark.parametrize("corpus", ["ravdess", "tess"])
def test_equals_librosa_on_real_clips(
    corpus: str, corpora_dir: Path, plain: FrontEnd, levelled: FrontEnd, centred: FrontEnd
) -> None:
    paths = sorted(p for p in (corpora_dir / corpus).rglob("*") if p.suffix.lower() in (".wav", ".flac"))
    assert len(paths) > 100, f"{corpora_dir / corpus} holds no corpus"
    for path in paths[:: len(paths) // 8]:
        audio = read_audio(path, PLAIN.sample_rate)
        assert_same(plain, audio)
        assert_same(levelled, audio)
        assert_same(centred, audio)


@pytest.mark.parametrize("level", LEVELS)
def test_the_last_stage_alone_gives_the_same(level: str) -> None:
    features = dataclasses.replace(CENTRED, level=level)
    audio = SIGNALS["silence, then speech"]
    found = Levelling(features)(librosa_power(audio, features).astype(np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference_features(audio, features), rtol=0, atol=TOLERANCE_DB)


@pytest.mark.parametrize("n_hops", [1, 3, 50])
def test_silence_before_speech_moves_no_mean(n_hops: int, centred: FrontEnd) -> None:
    """As zeros before a clip that is shorter than a window, and the pause before a stream's first word."""
    speech = speech_like(6400)
    hop = CENTRED.hop_samples
    padded = np.concatenate([np.zeros(n_hops * hop, np.float32), speech])
    found, expected = centred(padded[np.newaxis])[0, n_hops:], centred(speech[np.newaxis])[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE_DB)


def test_silence_is_the_floor(plain: FrontEnd, levelled: FrontEnd) -> None:
    silence = np.zeros((1, 3200), np.float32)
    assert plain(silence).shape == (1, 20, 64)
    np.testing.assert_allclose(plain(silence), -100, atol=1e-4)
    # The peak is taken to be level_floor_db: -100 - (-60).
    np.testing.assert_allclose(levelled(silence), -40, atol=1e-4)


def test_clips_of_a_batch_are_independent(plain: FrontEnd, levelled: FrontEnd) -> None:
    batch = np.stack([speech_like(6400, seed=1), np.zeros(6400, np.float32), noise(6400, peak=1.0)])
    for frontend in (plain, levelled):
        together = frontend(batch)
        alone = np.concatenate([frontend(clip[np.newaxis]) for clip in batch])
        np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


@st.composite
def front_ends(draw: st.DrawFn) -> Features:
    n_fft = draw(st.one_of(st.sampled_from([256, 400, 512, 1024]), st.integers(4, 300).map(lambda n: 4 * n)))
    sample_rate = draw(
        st.one_of(st.sampled_from([8000, 16000, 22050, 44100, 48000]), st.integers(8000, 48000))
    )
    nyquist = sample_rate / 2
    fmin = draw(st.one_of(st.just(0.0), st.floats(0, nyquist * 0.5)))
    hop_samples = draw(
        st.one_of(st.sampled_from([n_fft // 4, n_fft // 2, n_fft]), st.integers(1 + n_fft // 8, n_fft))
    )
    level = draw(st.sampled_from(LEVELS))
    return Features(
        sample_rate=sample_rate,
        n_fft=n_fft,
        hop_samples=hop_samples,
        n_mels=draw(st.integers(1, 128)),
        fmin_hz=fmin,
        fmax_hz=draw(st.one_of(st.just(nyquist), st.floats(fmin + nyquist * 0.1, nyquist))),
        level=level,
        level_frames=draw(st.integers(1, 30)),
        level_floor_db=draw(st.floats(-90, 0)),
        range_db=draw(st.floats(1, 100)),
        voiced_db=draw(st.floats(1, 60)),
        mean_s=draw(st.floats(2.01 * hop_samples / sample_rate, 10)),
        mean_start_s=draw(st.floats(0.01, 2)),
    )


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(features=front_ends(), n_hops=st.integers(1, 25), seed=st.integers(0, 99), speech=st.booleans())
@pytest.mark.filterwarnings("ignore:Empty filters detected")
def test_equals_librosa_for_any_settings(features: Features, n_hops: int, seed: int, speech: bool) -> None:
    n_samples = n_hops * features.hop_samples
    audio = speech_like(n_samples, features.sample_rate, seed=seed) if speech else noise(n_samples, seed=seed)
    assert_same(FrontEnd(features), audio)


# --- level ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level_frames", [1, 2, 7, 1000])
def test_peak_is_of_the_last_level_frames(level_frames: int) -> None:
    """A burst is the peak for exactly `level_frames` frames, then it is forgotten."""
    features = dataclasses.replace(LEVELLED, level_frames=level_frames, level_floor_db=-90.0)
    audio = noise(16000, peak=0.01)
    audio[1600:1760] = noise(160, seed=1, peak=1.0)  # frames 10 to 12 hold some of it
    assert_same(FrontEnd(features), audio)
    below_plain = (
        reference_features(audio, dataclasses.replace(PLAIN)) - FrontEnd(features)(audio[np.newaxis])[0]
    )
    peak = below_plain.max(axis=1)
    remembered = slice(10, min(12 + level_frames, 100))
    assert (peak[remembered] > peak[:10].max() + 20).all()
    assert (peak[12 + level_frames + 1 :] < peak[10] - 20).all()


@pytest.mark.parametrize("gain_db", [-20, -7.5, 20])
@pytest.mark.parametrize("signal", ["speech", "noise"])
def test_gain_changes_nothing(gain_db: float, signal: str, levelled: FrontEnd) -> None:
    audio = SIGNALS[signal] * np.float32(0.1)
    gain = np.float32(10 ** (gain_db / 20))
    assert np.abs(audio * gain).max() <= 1
    # Neither floor: 1e-10 in a band's power, level_floor_db in the peak.
    power = librosa_power(audio, LEVELLED) * min(1.0, float(gain) ** 2)
    heard = power > 1.01e-10
    peak_db = 10 * np.log10(np.maximum.accumulate(power.mean(axis=1)))
    heard &= (peak_db > LEVELLED.level_floor_db)[:, np.newaxis]
    assert heard.mean() > 0.9
    found, expected = levelled((audio * gain)[np.newaxis])[0], levelled(audio[np.newaxis])[0]
    np.testing.assert_allclose(found[heard], expected[heard], rtol=0, atol=1e-3)


def test_gain_changes_absolute_levels(plain: FrontEnd) -> None:
    audio = speech_like(6400)[np.newaxis]
    difference = plain(audio) - plain(audio / 10)
    assert np.median(difference) == pytest.approx(20, abs=1e-3)


def test_range_and_floor(plain: FrontEnd, levelled: FrontEnd) -> None:
    loud_low_tone = np.sin(2 * np.pi * 200 * np.arange(16000) / 16000).astype(np.float32)
    assert levelled(loud_low_tone[np.newaxis]).min() == -LEVELLED.range_db
    # A peak below level_floor_db is not taken off: silence is not amplified into noise.
    never_loud = FrontEnd(dataclasses.replace(LEVELLED, level_floor_db=20.0, range_db=110.0))
    audio = speech_like(16000)[np.newaxis]
    np.testing.assert_allclose(never_loud(audio), plain(audio) - 20, rtol=0, atol=1e-4)


# --- causality -----------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(frame=st.integers(0, 38), seed=st.integers(0, 999), loud=st.floats(0.001, 1.0), levels=st.booleans())
def test_no_frame_hears_the_future(frame: int, seed: int, loud: float, levels: bool) -> None:
    frontend = _causal_frontends()[levels]
    audio = speech_like(6400, seed=seed)
    changed = audio.copy()
    end = (frame + 1) * 160
    changed[end:] = noise(6400 - end, seed=seed, peak=loud)
    before, after = frontend(np.stack([audio, changed]))
    np.testing.assert_array_equal(before[: frame + 1], after[: frame + 1])
    assert not np.allclose(before[frame + 1 :], after[frame + 1 :], atol=0.01)


def _causal_frontends(made: list[FrontEnd] = []) -> list[FrontEnd]:  # noqa: B006 - made once
    if not made:
        made += [FrontEnd(PLAIN), FrontEnd(LEVELLED)]
    return made


def test_frame_hears_its_last_hop(plain: FrontEnd) -> None:
    """Frame t ends at sample (t + 1) hop: a sample there is in it, and in none before."""
    impulse = np.zeros((1, 3200), np.float32)
    impulse[0, 1600 + 80] = 1
    heard = plain(impulse)[0].max(axis=1) > -99
    assert np.flatnonzero(heard).tolist() == [10, 11, 12]  # frame 13 starts 48 samples later


# --- the graph -----------------------------------------------------------------------------------------

GRAPHS = {
    "shipped": LEVELLED,
    "no level": PLAIN,
    "400 points": dataclasses.replace(LEVELLED, n_fft=400),
    "128 bands": dataclasses.replace(LEVELLED, n_mels=128),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_standard_operators_of_opset_18(name: str) -> None:
    proto = ir.to_proto(frontend_model(GRAPHS[name]))
    onnx.checker.check_model(proto, full_check=True)
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 18)]
    assert {node.domain for node in proto.graph.node} == {""}
    assert all(node.name.startswith(PREFIX) for node in proto.graph.node)


@pytest.mark.parametrize("name", GRAPHS)
def test_graph_is_small(name: str) -> None:
    assert len(to_bytes(frontend_model(GRAPHS[name]))) < MAX_BYTES


def as_loaded(model: ir.Model, folder: Path) -> onnx.ModelProto:
    """The graph that onnxruntime runs after its basic optimisations, constant folding among them."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    open_session(model, options)
    return onnx.load(options.optimized_model_filepath)


def operators(proto: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in proto.graph.node)


def test_matrices_are_folded_at_load(tmp_path: Path) -> None:
    """No operator that makes a table is left: only what depends on the length of the audio."""
    model = frontend_model(LEVELLED)
    stored, loaded = operators(ir.to_proto(model)), operators(as_loaded(model, tmp_path))
    assert stored["Mod"] > 0
    assert stored["Gather"] > 2
    assert loaded["Mod"] == loaded["Neg"] == loaded["Min"] == 0
    assert loaded["Range"] == 1  # over the frames
    assert loaded["Gather"] == 2  # n_samples of the shape; the frames
    assert loaded["MatMul"] == 3


def test_all_but_the_audio_is_folded_in_a_model_file(tmp_path: Path) -> None:
    loaded = operators(as_loaded(_assembled_mean(), tmp_path))
    assert loaded["Mod"] == loaded["Range"] == loaded["Shape"] == loaded["Concat"] == 0
    assert loaded["Gather"] == 1  # the frames
    assert sum(loaded.values()) < 32, loaded


def _assembled_mean() -> ir.Model:
    """The front end in front of a network that takes the mean."""
    features = ir.val("features", dtype=ir.DataType.FLOAT, shape=(1, 320, 64))
    axes = ir.Value(
        name="axes", const_value=ir.tensor(np.array([1], np.int64)), type=ir.TensorType(ir.DataType.INT64)
    )
    mean = ir.node("ReduceMean", [features, axes], {"keepdims": 0})
    out: Any = mean.outputs[0]
    out.name, out.type, out.shape = "mean", ir.TensorType(ir.DataType.FLOAT), ir.Shape((1, 64))
    graph = ir.Graph(
        [features], [out], nodes=[mean], initializers=[axes], opset_imports={"": 18}, name="mean"
    )
    return assemble(
        graph,
        Metadata(
            name="mean",
            summary="",
            labels=tuple(str(i) for i in range(64)),
            window_samples=51200,
            step_samples=2560,
            features=LEVELLED,
            n_parameters=0,
            licence="",
        ),
    )


@given(n=st.integers(3, 200), low_hz=st.floats(0, 3000), width_hz=st.floats(50, 20_000))
def test_mel_frequencies_are_librosas(n: int, low_hz: float, width_hz: float) -> None:
    expected = librosa.mel_frequencies(n, fmin=low_hz, fmax=low_hz + width_hz)
    np.testing.assert_array_equal(mel_frequencies(n, low_hz, low_hz + width_hz), expected)
