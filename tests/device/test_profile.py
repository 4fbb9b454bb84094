"""Profiles: what was learnt of a voice, in a file."""

from __future__ import annotations

import dataclasses
import json
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeemo.errors import OutputError, ProfileError
from edgeemo.model import EmotionModel
from edgeemo.profile import Profile, read_profile

GRAPH = "a" * 64


@pytest.fixture
def profile(learning_model: EmotionModel) -> Profile:
    steps = learning_model.stepper()
    noise = 0.1 * np.random.default_rng(0).standard_normal((12, learning_model.metadata.step_samples))
    for i, step in enumerate(noise.astype(np.float32)):
        if i % 6 == 0:
            steps.begin_utterance()
        steps.step(step)
    return Profile.of(learning_model.metadata, GRAPH, steps.learnt, n_utterances=2)


def test_a_profile_comes_back_as_it_was(
    profile: Profile, learning_model: EmotionModel, tmp_path: Path
) -> None:
    path = tmp_path / "me.json"
    profile.save(path)
    again = read_profile(path)
    assert again == profile
    learnt = again.learnt(learning_model.metadata, GRAPH)
    shapes = {state.name: state.shape for state in learning_model.metadata.states if state.lasting}
    assert {name: state.shape for name, state in learnt.items()} == shapes
    steps = learning_model.stepper()
    steps.reset(learnt)
    assert learning_model.profile(steps.learnt, n_utterances=2).states == profile.states


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_only_its_owner_can_read_it(profile: Profile, tmp_path: Path) -> None:
    path = tmp_path / "me.json"
    path.touch(mode=0o666)
    path.chmod(0o666)
    profile.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_holds_few_numbers(profile: Profile, tmp_path: Path) -> None:
    """As many as the states, not as many as were heard."""
    assert sum(map(len, profile.states.values())) < 50


def test_a_profile_of_another_model(profile: Profile, learning_model: EmotionModel) -> None:
    with pytest.raises(ProfileError, match=r"of another model \(tiny.learning.stream\).*edgeemo enrol"):
        profile.learnt(learning_model.metadata, "b" * 64)


def test_a_model_that_learns_nothing(profile: Profile, stream_model: EmotionModel) -> None:
    with pytest.raises(ProfileError, match=r"tiny\.stream learns nothing of a voice"):
        profile.learnt(stream_model.metadata, GRAPH)
    with pytest.raises(ProfileError, match=r"tiny\.stream learns nothing of a voice"):
        Profile.of(stream_model.metadata, GRAPH, {}, n_utterances=0)


def test_what_is_of_the_voice(profile: Profile, learning_model: EmotionModel) -> None:
    """The rest is as at the start: the network's mean stays, the bands' does not."""
    voice = profile.of_voice(learning_model.metadata)
    of_voice = {state.name for state in learning_model.metadata.states if state.voice}
    holds = {state.name: state.holds for state in learning_model.metadata.states}
    assert {holds[name] for name in profile.states.keys() - of_voice} == {
        "voiced frames heard",
        "bands' running mean",
    }
    for name, numbers in voice.states.items():
        assert any(profile.states[name]), "was learnt"
        assert numbers == (profile.states[name] if name in of_voice else (0.0,) * len(numbers))


def test_of_a_model_that_knows_no_voice_everything_is_kept(
    profile: Profile, learning_model: EmotionModel
) -> None:
    metadata = learning_model.metadata
    states = tuple(dataclasses.replace(state, voice=False) for state in metadata.states)
    assert profile.of_voice(dataclasses.replace(metadata, states=states)) is profile


def changed(profile: Profile, **values: object) -> str:
    return json.dumps({**profile.to_dict(), **values})


def test_damaged_profiles(profile: Profile, learning_model: EmotionModel, tmp_path: Path) -> None:
    path = tmp_path / "me.json"
    one = next(iter(profile.states))
    for text, words in [
        ("", "not a profile"),
        ("[" * 100_000, "not a profile"),
        ("[]", "not a profile"),
        ("{}", "'model' is missing"),
        (changed(profile, format=2), "format 2, expected 1"),
        (changed(profile, states=3), "not a profile"),
        (changed(profile, states={one: ["x"]}), "not a profile"),
    ]:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ProfileError, match=words) as caught:
            read_profile(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
    for states in [
        {},
        {**profile.states, one: profile.states[one][:-1]},
        {**profile.states, "other": (0.0,)},
        {**profile.states, one: (float("nan"),) * len(profile.states[one])},
    ]:
        path.write_text(changed(profile, states=states), encoding="utf-8")
        with pytest.raises(ProfileError, match="all finite; make one with `edgeemo enrol`"):
            read_profile(path).learnt(learning_model.metadata, GRAPH)
    with pytest.raises(ProfileError, match="No such file"):
        read_profile(tmp_path / "none.json")


def test_where_nothing_can_be_written(profile: Profile, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder"):
        profile.save(tmp_path)
    assert not list(tmp_path.iterdir())
