"""Running a model over a stream, step by step."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeemo.model import EmotionModel
from edgeemo.stepper import Stepper, StreamStepper, WindowStepper

LEVELS = [0.0, 1e-4, 0.2]  # digital silence, below the front end's level floor, a voice


def noise_steps(model: EmotionModel, n_steps: int, *, level: float = 0.2, seed: int = 0) -> np.ndarray:
    """Noise that swells, shape `(n_steps, step_samples)`."""
    n_samples = n_steps * model.metadata.step_samples
    noise = np.random.default_rng(seed).standard_normal(n_samples) * np.linspace(0.1, 1, n_samples)
    return (level * noise).astype(np.float32).reshape(n_steps, -1)


def stepped(steps: Stepper, audio: np.ndarray) -> np.ndarray:
    """Probabilities of each step, shape `(n_steps, n_labels)`."""
    return np.stack([steps.step(step) for step in audio])


def by_hand(model: EmotionModel, audio: np.ndarray) -> np.ndarray:
    """The definition: a stream graph from states of zeros, which are handed on by name."""
    names = [output.name for output in model.session.get_outputs()]
    states = {state.name: np.zeros(state.shape, np.float32) for state in model.metadata.states}
    probabilities = []
    for step in audio:
        found = dict(zip(names, model.session.run(None, {"audio": step[np.newaxis], **states}), strict=True))
        states = {state.name: found[state.next_name] for state in model.metadata.states}
        probabilities.append(found["probabilities"][0])
    return np.stack(probabilities)


def n_silent(model: EmotionModel) -> int:
    return math.ceil(model.metadata.window_samples / model.metadata.step_samples)


def test_the_mode_chooses(tiny_model: EmotionModel, stream_model: EmotionModel) -> None:
    assert isinstance(tiny_model.stepper(), WindowStepper)
    assert isinstance(stream_model.stepper(), StreamStepper)


@pytest.mark.parametrize("level", LEVELS)
def test_a_stream_from_nothing_is_its_window(
    tiny_model: EmotionModel, stream_model: EmotionModel, level: float
) -> None:
    """The two test models have the same weights, and states of zeros are what precedes a window."""
    audio = noise_steps(tiny_model, n_silent(tiny_model), level=level)
    streamed = by_hand(stream_model, audio)
    np.testing.assert_allclose(streamed[-1], tiny_model.predict(audio.ravel()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_window_steps_are_windows(tiny_model: EmotionModel, level: float) -> None:
    audio = noise_steps(tiny_model, 9, level=level)
    window, step = tiny_model.metadata.window_samples, tiny_model.metadata.step_samples
    padded = np.concatenate([np.zeros(window, np.float32), audio.ravel()])
    expected = [tiny_model.predict(padded[end : end + window]) for end in range(step, 9 * step + 1, step)]
    np.testing.assert_array_equal(stepped(tiny_model.stepper(), audio), expected)


@pytest.mark.parametrize("level", LEVELS)
def test_stream_steps_follow_a_window_of_silence(stream_model: EmotionModel, level: float) -> None:
    audio = noise_steps(stream_model, 9, level=level)
    silence = np.zeros((n_silent(stream_model), audio.shape[1]), np.float32)
    expected = by_hand(stream_model, np.concatenate([silence, audio]))[len(silence) :]
    np.testing.assert_allclose(stepped(stream_model.stepper(), audio), expected, rtol=0, atol=1e-6)
    if level == LEVELS[1]:
        assert np.abs(expected - by_hand(stream_model, audio)).max() > 1e-4, "silence must matter"


@pytest.mark.parametrize("n_before", [1, 2, 7])
def test_reset_starts_afresh_bit_by_bit(either_model: EmotionModel, n_before: int) -> None:
    audio = noise_steps(either_model, 9)
    steps = either_model.stepper()
    new = stepped(steps, audio)
    steps.reset()
    stepped(steps, noise_steps(either_model, n_before, seed=1))
    assert not np.array_equal(steps.step(audio[0]), new[0]), (
        "the old stream does not show: the test cannot fail"
    )
    steps.reset()
    np.testing.assert_array_equal(stepped(steps, audio), new)


def test_results_and_audio_are_the_callers_own(either_model: EmotionModel) -> None:
    audio = noise_steps(either_model, 6)
    expected = stepped(either_model.stepper(), audio)
    steps, buffer, found = either_model.stepper(), np.empty_like(audio[0]), []
    for step in audio:
        buffer[:] = step
        found.append(steps.step(buffer))
        buffer[:] = np.nan
    np.testing.assert_array_equal(found, expected)
    assert len({result.tobytes() for result in found}) == len(found), "the model must react"


def test_two_streams_of_one_model_are_apart(either_model: EmotionModel) -> None:
    audio, other = noise_steps(either_model, 6), noise_steps(either_model, 6, seed=1)
    expected = stepped(either_model.stepper(), audio), stepped(either_model.stepper(), other)
    first, second = either_model.stepper(), either_model.stepper()
    found = [(first.step(a), second.step(b)) for a, b in zip(audio, other, strict=True)]
    np.testing.assert_array_equal([a for a, _ in found], expected[0])
    np.testing.assert_array_equal([b for _, b in found], expected[1])


def test_refused_steps_leave_the_stream_as_it_was(either_model: EmotionModel) -> None:
    audio = noise_steps(either_model, 4)
    expected = stepped(either_model.stepper(), audio)
    steps = either_model.stepper()
    found = [steps.step(audio[0])]
    for wrong in (audio[0][:-1], audio[:1], np.zeros(0, np.float32), np.float32(0)):
        with pytest.raises(ValueError, match=rf"expected \({audio.shape[1]},\)"):
            steps.step(wrong)
    found += [steps.step(step) for step in audio[1:]]
    np.testing.assert_array_equal(found, expected)


def test_what_was_learnt_outlives_utterances_and_resets(learning_model: EmotionModel) -> None:
    steps, audio = learning_model.stepper(), noise_steps(learning_model, 30)
    fresh = stepped(steps, audio[:6])
    steps.begin_utterance()
    second = stepped(steps, audio[:6])
    steps.begin_utterance()
    learnt = steps.learnt
    assert learnt.keys() == {state.name for state in learning_model.metadata.states if state.lasting}
    third = stepped(steps, audio[:6])
    assert np.abs(second - fresh).max() > 1e-3, "the first utterance is not part of the baseline yet"
    steps.reset(learnt)
    np.testing.assert_array_equal(stepped(steps, audio[:6]), third)
    steps.reset()
    np.testing.assert_array_equal(stepped(steps, audio[:6]), fresh)
    assert any((learnt[name] != now).any() for name, now in steps.learnt.items())


def test_what_was_learnt_is_the_callers_own(learning_model: EmotionModel) -> None:
    steps, audio = learning_model.stepper(), noise_steps(learning_model, 6)
    stepped(steps, audio)
    expected = {name: state.copy() for name, state in steps.learnt.items()}
    for state in steps.learnt.values():
        state[...] = np.nan
    for name, state in steps.learnt.items():
        np.testing.assert_array_equal(state, expected[name])


def test_other_models_learn_nothing(either_model: EmotionModel) -> None:
    steps = either_model.stepper()
    stepped(steps, noise_steps(either_model, 3))
    assert steps.learnt == {}


# Run in a process of its own: what else a test run keeps in memory comes and goes by megabytes.
TEN_THOUSAND_STEPS = """
import sys, tracemalloc
from pathlib import Path
import numpy as np
from edgeemo.model import EmotionModel

def resident_bytes():
    try:
        return 4096 * int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0  # where the system does not tell

model = EmotionModel(sys.argv[1])
audio = 0.2 * np.random.default_rng(0).standard_normal((100, model.metadata.step_samples)).astype(np.float32)
steps = model.stepper()
tracemalloc.start()
for _ in range(2):  # what is made once, in the first round, is no leak
    before, resident = tracemalloc.get_traced_memory()[0], resident_bytes()
    for i in range(10_000):
        steps.step(audio[i % len(audio)])
    kept = [tracemalloc.get_traced_memory()[0] - before, resident_bytes() - resident]
print(*kept)
"""


def test_ten_thousand_steps_keep_nothing(stream_model_path: Path) -> None:
    command = [sys.executable, "-P", "-c", TEN_THOUSAND_STEPS, stream_model_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    traced, resident = map(int, done.stdout.split())
    assert traced < 10_000, "a byte a step is a leak"
    # One state set of this model is 1.7 KB: 17 MB, were every step's kept.
    assert resident < 4_000_000
