"""The public face: `import edgeemo`, and what its names promise."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

import edgeemo
from edgeemo.audio import read_audio
from edgeemo.classify import Classifier
from edgeemo.places import sample_path


def python(code: str) -> str:
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def sound(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate)).astype(np.float32)


# --- What is there


def test_the_names() -> None:
    assert dir(edgeemo) == sorted(edgeemo.__all__)
    for name in edgeemo.__all__:
        assert getattr(edgeemo, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lisen'"):
        edgeemo.lisen  # type: ignore[attr-defined]  # noqa: B018


def test_every_name_is_what_its_module_calls_it() -> None:
    for name in sorted(set(edgeemo.__all__) - {"__version__"}):
        found = getattr(edgeemo, name)
        assert getattr(importlib.import_module(found.__module__), name) is found
        assert found.__doc__


def test_importing_loads_nothing() -> None:
    loaded = python(
        "import sys; before = set(sys.modules); import edgeemo; print(*sorted(set(sys.modules) - before))"
    )
    assert loaded.split() == ["edgeemo"]


def test_a_type_checker_sees_the_names() -> None:
    assert (Path(edgeemo.__file__).parent / "py.typed").is_file()


def public_examples() -> list[doctest.DocTest]:
    finder, found = doctest.DocTestFinder(), []
    for name in sorted(set(edgeemo.__all__) - {"__version__"}):
        for test in finder.find(getattr(edgeemo, name), f"edgeemo.{name}"):
            if test.examples:
                found.append(test)
    return found


@pytest.mark.parametrize("example", public_examples(), ids=lambda example: example.name)
def test_the_examples_in_docstrings(
    example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "call.wav", *soundfile.read(sample_path()))
    monkeypatch.chdir(tmp_path)
    assert doctest.DocTestRunner().run(example).failed == 0


def test_each_public_callable_has_an_example() -> None:
    names = {example.name.split(".")[1] for example in public_examples()}
    errors = {name for name in edgeemo.__all__ if name.endswith("Error")}
    results = {"Answer", "Profile", "Score"}  # shown where they are made
    results |= {"End", "Event", "Gap", "Start", "Status", "Step", "Utterance"}
    assert names == set(edgeemo.__all__) - errors - results - {"__version__", "read_profile"}


# --- Classifying


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_classify_a_file_or_its_samples(
    either_model: edgeemo.EmotionModel, rate: int, tmp_path: Path
) -> None:
    samples = (sound(2.3, rate) * 32767).astype(np.int16)
    path = tmp_path / "clip.wav"
    soundfile.write(path, samples, rate)
    score = either_model.classify(path)
    assert either_model.classify(str(path)) == score
    assert either_model.classify(samples, sample_rate=rate) == score
    assert either_model.classify(samples.astype(np.float32) / 32768, sample_rate=rate) == score
    assert score.label == max(score.probabilities, key=lambda label: score.probabilities[label])
    assert tuple(score.probabilities) == either_model.labels
    assert sum(score.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert score.duration_s == pytest.approx(2.3, abs=1 / 8000)
    expected, n_windows = Classifier([either_model]).score_audio(read_audio(path, 16000))
    assert (list(score.probabilities.values()), score.n_windows) == (expected.tolist(), n_windows)


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.zeros(100), 16000, "audio of type float64; expected .*float32.*int16"),
        (np.zeros(100, np.int32), 16000, "audio of type int32"),
        ([0.0, 0.1], 16000, "audio of type list"),
        (np.zeros((100, 2), np.float32), 16000, r"shape \(100, 2\); expected mono"),
        (np.full(100, np.nan, np.float32), 16000, "NaN or infinite"),
        (np.zeros(0, np.float32), 16000, "no audio"),
        (np.zeros(100, np.float32), None, "give sample_rate"),
        (np.zeros(100, np.float32), 0, "rates are positive"),
        ("missing.wav", None, "no such file"),
        ("missing.wav", 16000, "leave out sample_rate"),
    ],
)
def test_what_is_not_audio(
    tiny_model: edgeemo.EmotionModel, audio: object, rate: int | None, message: str
) -> None:
    with pytest.raises(edgeemo.AudioError, match=message) as error:
        tiny_model.classify(audio, sample_rate=rate)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_silence_has_no_label(either_model: edgeemo.EmotionModel) -> None:
    samples = sound(2.0, 16000)
    for audio, reason in (
        (samples, None),
        (8e-3 * samples, "silence"),  # -62 dB
        (1.25e-2 * samples, None),  # -58 dB
        (np.concatenate([0 * samples, samples[:4000], 0 * samples]), None),
        (samples[:2000], "shorter than a step of 0.16 s"),
    ):
        score = either_model.classify(0.99 * audio, sample_rate=16000)
        assert (score.reason, score.label is None) == (reason, reason is not None)
        assert sum(score.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_a_listener_takes_float32_or_int16(either_model: edgeemo.EmotionModel) -> None:
    samples = (sound(2.0, 16000) * 32767).astype(np.int16)
    of_int = edgeemo.Listener(either_model, sample_rate=16000).push(samples)
    of_float = edgeemo.Listener(either_model, sample_rate=16000).push(samples.astype(np.float32) / 32768)
    assert [step.probabilities for step in of_int] == [step.probabilities for step in of_float]
    with pytest.raises(edgeemo.AudioError, match="float64"):
        edgeemo.Listener(either_model, sample_rate=16000).push(np.zeros(100))


# --- Many models and threads in one process


def test_threads_may_share_a_model(either_model: edgeemo.EmotionModel) -> None:
    """Each has a listener of its own, and finds what it finds alone; others score whole clips meanwhile."""
    streams = [sound(4.0, 48000, seed) for seed in range(6)]

    def listened(audio: np.ndarray) -> list[dict[str, float]]:
        listener = edgeemo.Listener(either_model, sample_rate=48000)
        steps = [step for block in np.split(audio, 100) for step in listener.push(block)]
        return [step.probabilities for step in [*steps, *listener.flush()]]

    def classified(audio: np.ndarray) -> edgeemo.Score:
        return either_model.classify(audio, sample_rate=48000)

    alone = [listened(audio) for audio in streams], [classified(audio) for audio in streams]
    ready = threading.Barrier(12)

    def at_once(work: object, audio: np.ndarray) -> object:
        ready.wait()
        return work(audio)  # type: ignore[operator]

    with ThreadPoolExecutor(12) as pool:
        listening = [pool.submit(at_once, listened, audio) for audio in streams]
        scoring = [pool.submit(at_once, classified, audio) for audio in streams]
        together = [job.result() for job in listening], [job.result() for job in scoring]
    assert together == alone
    assert alone[0][0] != alone[0][1], "the streams must differ"


def test_models_in_one_process_do_not_touch_each_other(
    tiny_model_path: Path, stream_model_path: Path
) -> None:
    audio = sound(3.0, 16000)
    models = [edgeemo.load(path) for path in (tiny_model_path, stream_model_path, tiny_model_path)]
    expected = [[s.probabilities for s in edgeemo.Listener(m, sample_rate=16000).push(audio)] for m in models]
    listeners = [edgeemo.Listener(model, sample_rate=16000) for model in models]
    found: list[list[dict[str, float]]] = [[] for _ in models]
    for block in np.split(audio, 75):
        for steps, listener in zip(found, listeners, strict=True):
            steps += [step.probabilities for step in listener.push(block)]
    assert found == expected
