"""Recipes: the shipped ones, wrong values, overrides, round trip."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeemo.errors import RecipeError
from edgeemo.places import EXPORT_DIR, recipe_path
from edgeemo.workstation.training.recipe import Channel, Recipe, load_recipe, recipe_from_dict
from support.recipes import SHIPPED

MINIMAL: dict[str, Any] = {"name": "mine", "summary": "", "architecture": {"builder": "pure_cnn"}}
KEYS = [
    (table.name, key.name)
    for table in dataclasses.fields(Recipe)
    if dataclasses.is_dataclass(table.default_factory)
    for key in dataclasses.fields(table.default_factory)
]


def with_value(section: str, key: str, value: object) -> dict[str, Any]:
    masks = {"time_masks": 1, "mel_masks": 1} if section == "augmentation" else {}
    return {**MINIMAL, section: {**MINIMAL.get(section, {}), **masks, key: value}}


# --- shipped recipes -----------------------------------------------------------------------------------


def test_what_is_shipped() -> None:
    assert SHIPPED == (
        "cnn_lstm",
        "conv1d_lstm",
        "emo_open",
        "emo_small",
        "emo_tiny",
        "pure_cnn",
        "pure_lstm",
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipe_loads_and_builds(
    name: str, shipped_recipe: Callable[[str], Recipe], random_model: Callable[[str], Any]
) -> None:
    recipe = shipped_recipe(name)
    assert recipe.name == name == recipe_path(name).stem
    assert recipe.architecture.builder == ("attentive_cnn" if name.startswith("emo_") else name)
    assert (recipe.window_samples, recipe.step_samples) == (51200, 2560)
    assert recipe.n_frames == 51200 // recipe.features.hop_samples
    assert random_model(name).output_shape == (None, len(recipe.label_map.labels))


def test_compared_recipes_differ_in_the_architecture_alone(shipped_recipe: Callable[[str], Recipe]) -> None:
    """The three published models see the same features, data and training."""
    rest = []
    for name in ("cnn_lstm", "pure_cnn", "pure_lstm"):
        values = shipped_recipe(name).to_dict()
        rest.append(
            {k: v for k, v in values.items() if k not in ("name", "summary", "architecture", "published")}
        )
    assert rest[0] == rest[1] == rest[2]


@pytest.mark.parametrize("name", SHIPPED)
def test_round_trip(name: str, shipped_recipe: Callable[[str], Recipe]) -> None:
    recipe = shipped_recipe(name)
    assert recipe_from_dict(recipe.to_dict()) == recipe
    assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_left_out_keys_have_the_defaults() -> None:
    recipe = recipe_from_dict(MINIMAL)
    for field in dataclasses.fields(Recipe):
        if field.default_factory is not dataclasses.MISSING:
            assert getattr(recipe, field.name) == field.default_factory()
    assert MINIMAL == {"name": "mine", "summary": "", "architecture": {"builder": "pure_cnn"}}, "was changed"


# --- wrong values --------------------------------------------------------------------------------------

WRONG = [
    ("features", "sample_rate", 0, ["0", "a whole number of Hz"]),
    ("features", "hop_samples", 600, ["600", "n_fft (512)"]),
    ("features", "hop_samples", 0, ["0", "1 to n_fft"]),
    ("features", "n_fft", 2 * 1031, ["2062", "product of small numbers"]),
    ("features", "n_mels", 0, ["0", "at least 1"]),
    ("features", "fmin_hz", -1.0, ["-1.0", "between 0"]),
    ("features", "fmax_hz", 8001.0, ["8001.0", "8000 Hz"]),
    ("features", "level", "loud", ["'loud'", "running_peak"]),
    ("features", "level_frames", 0, ["0", "at least 1"]),
    ("features", "range_db", 0.0, ["0.0", "positive"]),
    ("window", "step_s", 0.165, ["0.165", "multiple of the hop (0.01 s)"]),
    ("window", "step_s", 0.0, ["0.0", "multiple of the hop"]),
    ("window", "step_s", -0.16, ["-0.16", "multiple of the hop"]),
    ("window", "window_s", 3.25, ["3.25", "multiple of step_s (0.16 s)"]),
    ("window", "window_s", 0.0, ["0.0", "multiple of step_s"]),
    ("window", "window_s", math.inf, ["inf"]),
    ("window", "window_s", 1e308, ["1e+308", "at most 60 s"]),
    ("window", "step_s", 1e308, ["1e+308", "at most 60 s"]),
    ("window", "window_s", math.nan, ["nan"]),
    ("data", "labels", "seven", ["'seven'", "published7"]),
    ("protocol", "kind", "loso", ["'loso'", "random or speaker or corpus"]),
    ("protocol", "folds", 1, ["1", "2 or more"]),
    ("protocol", "validation_share", 0.5, ["0.5", "(0, 0.5)"]),
    ("protocol", "test_share", 0.0, ["0.0", "(0, 0.5)"]),
    ("protocol", "validation_speakers", 0, ["0", "1 or more"]),
    ("protocol", "seed", -1, ["-1", "0 or more"]),
    ("training", "epochs", 0, ["0", "1 or more"]),
    ("training", "patience", 0, ["0", "1 or more"]),
    ("training", "batch_size", 0, ["0", "1 or more"]),
    ("training", "learning_rate", 0.0, ["0.0", "positive"]),
    ("training", "learning_rate", math.inf, ["inf"]),
    ("training", "label_smoothing", 1.0, ["1.0", "[0, 1)"]),
    ("training", "clips_per_speaker", -1, ["-1", "0 (all) or more"]),
    ("training", "clips_per_epoch", -1, ["-1", "0 (all) or more"]),
    ("training", "balance", "label", ["'label'", "'' or 'corpus'"]),
    ("training", "averaging", 1.0, ["1.0", "[0, 1)"]),
    ("training", "seeds", [], ["()", "at least one"]),
    ("training", "seeds", [0, -1], ["-1"]),
    ("training", "seeds", [1, 1], ["(1, 1)"]),
    ("augmentation", "speed", 0.5, ["0.5", "[0, 0.5)"]),
    ("augmentation", "noise_share", 1.5, ["1.5", "[0, 1]"]),
    ("augmentation", "noise_snr_db", [40.0, 10.0], ["(40.0, 10.0)", "lowest first"]),
    ("augmentation", "mel_mask_bands", 65, ["65", "n_mels"]),
    ("augmentation", "time_mask_frames", 321, ["321", "frames"]),
    ("augmentation", "shift_s", -0.1, ["-0.1", "0 or more"]),
    ("augmentation", "shift_s", 1e30, ["1e+30", "at most 60 s"]),
    ("augmentation", "gain_db", 1e5, ["100000.0", "at most 120 dB"]),
    ("augmentation", "gain_db", -1.0, ["-1.0", "0 or more"]),
    ("augmentation", "gain_db", math.nan, ["nan"]),
    ("augmentation", "mixup", -0.3, ["-0.3", "0 or more"]),
    ("augmentation", "time_masks", -1, ["-1", "0 or more"]),
    ("augmentation", "mel_masks", -2, ["-2", "0 or more"]),
    ("export", "tolerance", 0.0, ["0.0", "positive"]),
    ("channel", "history", 1.5, ["1.5", "[0, 1]"]),
    ("channel", "noise_share", -0.1, ["-0.1", "[0, 1]"]),
    ("channel", "equaliser_db", 1e4, ["10000.0", "0 to 120 dB"]),
    ("channel", "tilt_db", -1.0, ["-1.0", "0 to 120 dB"]),
    ("channel", "speed", [1.25, 0.8], ["(1.25, 0.8)", "lowest first"]),
    ("channel", "vocal_tract", [0.1, 1.0], ["(0.1, 1.0)", "from 0.5 to 2"]),
    ("channel", "room_s", [0.0, 1.0], ["(0.0, 1.0)", "from 0.01 to 10"]),
    ("channel", "noise_snr_db", [-500.0, 0.0], ["(-500.0, 0.0)", "from -120 to 120"]),
    ("channel", "telephone_low_hz", [-1.0, 0.0], ["(-1.0, 0.0)", "from 0"]),
    # types
    ("features", "n_mels", 64.0, ["64.0", "a whole number"]),
    ("features", "n_mels", "64", ["'64'", "a whole number"]),
    ("training", "epochs", True, ["True", "a whole number"]),
    ("training", "learning_rate", "fast", ["'fast'", "a number"]),
    ("training", "learning_rate", True, ["True", "a number"]),
    ("training", "class_weights", 1, ["1", "true or false"]),
    ("training", "seeds", 3, ["3", "a list"]),
    ("training", "seeds", ["a"], ["'a'", "a whole number"]),
    ("data", "corpora", "ravdess", ["'ravdess'", "a list"]),
    ("data", "labels", 7, ["7", "expected text"]),
    ("augmentation", "noise_snr_db", [1.0], ["[1.0]", "2 values"]),
    ("export", "licence", [], ["[]", "expected text"]),
    ("architecture", "builder", 3, ["3", "expected text"]),
    ("export", "quantized_tolerance", -0.1, ["-0.1", "positive"]),
]


@pytest.mark.parametrize("name", ["", "a/b", "a.b", "a b"])
def test_a_name_is_a_files_name(name: str) -> None:
    with pytest.raises(RecipeError, match=r"name is .*letters, digits"):
        recipe_from_dict({**with_value("training", "epochs", 1), "name": name})


def test_a_date_is_no_setting() -> None:
    with pytest.raises(
        RecipeError, match=r"\[architecture\] filters is .*date.*, expected numbers, text and lists"
    ):
        recipe_from_dict(with_value("architecture", "filters", datetime.date(2020, 1, 1)))


@pytest.mark.parametrize(("section", "key", "value", "words"), WRONG, ids=lambda v: str(v)[:20])
def test_wrong_value_is_named(section: str, key: str, value: object, words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_from_dict(with_value(section, key, value))
    message = str(caught.value)
    assert f"[{section}] " in message
    assert key in message
    assert all(word in message for word in words), message
    assert "\n" not in message


@settings(max_examples=300, deadline=None)
@given(
    place=st.sampled_from(KEYS),
    value=st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**9), 10**9),
        st.floats(-1e9, 1e9) | st.sampled_from([math.nan, math.inf, -math.inf]),
        st.text(max_size=5),
        st.lists(st.integers(-3, 3) | st.floats(-3, 3) | st.text(max_size=2), max_size=3),
        st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
    ),
)
def test_any_value_is_taken_or_named(place: tuple[str, str], value: object) -> None:
    """No value ends in another error, and a recipe that is taken survives being written down."""
    section, key = place
    try:
        recipe = recipe_from_dict(with_value(section, key, value))
    except RecipeError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
        return
    assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@settings(max_examples=100, deadline=None)
@given(place=st.sampled_from(KEYS), value=st.sampled_from([None, {}, {"a": 1}, [[]], object]))
def test_impossible_type_names_section_and_key(place: tuple[str, str], value: object) -> None:
    section, key = place
    with pytest.raises(RecipeError) as caught:
        recipe_from_dict(with_value(section, key, value))
    assert str(caught.value).startswith(f"[{section}] {key} ")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({**MINIMAL, "trainin": {}}, ["unknown key 'trainin'", "training"]),
        (with_value("training", "epoch", 3), ["[training] unknown key 'epoch'", "epochs"]),
        ({**MINIMAL, "training": 3}, ["training is 3", "a table"]),
        ({"summary": "", "architecture": {"builder": "pure_cnn"}}, ["name is missing"]),
        ({"name": "a", "architecture": {"builder": "pure_cnn"}}, ["summary is missing"]),
        ({"name": "a", "summary": ""}, ["[architecture] builder is missing"]),
        ({}, ["name, summary, [architecture] builder are missing"]),
        (
            {**MINIMAL, "image": {}, "published": {}},
            ["[image] height, [image] width, [published] source are missing"],
        ),
        ({**MINIMAL, "architecture": {"filters": [1]}}, ["[architecture] builder is missing"]),
        ({**MINIMAL, "architecture": "pure_cnn"}, ["[architecture] builder is missing"]),
    ],
)
def test_wrong_keys(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_from_dict(values)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"augmentation": {"speed": 0.1}}, ["[channel]", "speed, gain_db, noise_share"]),
        ({"augmentation": {"noise_share": 0.1}}, ["[channel]", "speed, gain_db, noise_share"]),
        ({"data": {"cached": True}}, ["[data] cached", "false with [channel]"]),
        ({"image": {"height": 8, "width": 8}}, ["[channel] is for audio"]),
        ({"training": {"balance": "corpus", "clips_per_speaker": 3}}, ["[training] balance"]),
    ],
)
def test_what_does_not_go_together(tables: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_from_dict({**MINIMAL, "channel": {}, **tables})
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_channel_is_there_or_not() -> None:
    """What it holds determines the weights."""
    without, plain, noisy = (
        recipe_from_dict({**MINIMAL, **table})
        for table in ({}, {"channel": {}}, {"channel": {"noise_share": 0.5}})
    )
    assert without.channel is None
    assert "channel" not in without.to_dict()
    assert plain.channel == Channel()
    assert len({json.dumps(r.trained_by) for r in (without, plain, noisy)}) == 3
    assert recipe_from_dict(json.loads(json.dumps(noisy.to_dict()))) == noisy


def test_masks_that_are_off_are_not_in_the_way() -> None:
    """A window shorter than the default mask lengths."""
    recipe = recipe_from_dict(
        {**MINIMAL, "window": {"window_s": 0.16, "step_s": 0.16}, "features": {"n_mels": 4}}
    )
    assert recipe.n_frames == 16


# --- files and overrides -------------------------------------------------------------------------------


def test_who_is_to_blame(tmp_path: Path) -> None:
    """A slip on the command line is none in the file, and the other way round."""
    path = EXPORT_DIR / "cnn_lstm.toml"
    with pytest.raises(RecipeError, match=r"^on the command line: \[training\] epochs is 0"):
        load_recipe(path, ["training.epochs=0"])
    broken = tmp_path / "broken.toml"
    broken.write_text(path.read_text().replace("window_s", "windows"))
    with pytest.raises(RecipeError, match=rf"^{re.escape(str(broken))}: \[window\] unknown key 'windows'"):
        load_recipe(broken, ["training.epochs=3"])


def test_file_and_overrides(tmp_path: Path) -> None:
    source = EXPORT_DIR / "cnn_lstm.toml"
    plain = load_recipe(source)
    recipe = load_recipe(
        source,
        [
            "training.epochs=3",
            "training.learning_rate=2e-3",
            "protocol.kind=corpus",
            'data.labels="ravdess8"',
            'data.corpora=["ravdess"]',
            " training.class_weights = false ",
            "training.seeds=[1, 2]",
            "architecture.units=[16, 8]",
            "architecture.builder=pure_lstm",
            "training.epochs=4",
        ],
    )
    assert (recipe.training.epochs, recipe.training.learning_rate) == (4, 2e-3)
    assert (recipe.protocol.kind, recipe.data.labels, recipe.data.corpora) == (
        "corpus",
        "ravdess8",
        ("ravdess",),
    )
    assert recipe.training.class_weights is False
    assert recipe.training.seeds == (1, 2)
    assert recipe.architecture.builder == "pure_lstm"
    assert recipe.architecture.settings == {**plain.architecture.settings, "units": [16, 8]}
    assert recipe.features == plain.features
    assert recipe.augmentation == plain.augmentation
    assert load_recipe(source) == plain


def test_override_makes_a_missing_table(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nsummary = ""\n[architecture]\nbuilder = "pure_cnn"\n')
    assert load_recipe(path, ["training.epochs=2"]).training.epochs == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epochs", ["'training.epochs'", "section.key=value"]),
        ("epochs=3", ["'epochs=3'", "section.key=value"]),
        ("training.epochs=many", ["[training] epochs", "'many'", "a whole number"]),
        ("training.epoch=3", ["[training]", "'epoch'"]),
        ("trainin.epochs=3", ["'trainin'"]),
        ("training.epochs=", ["[training] epochs", "''"]),
        ("name.first=3", ["name"]),
        (".=3", ["''"]),
        ("window.step_s=0", ["[window] step_s", "0.0"]),
    ],
)
def test_wrong_override(override: str, words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(EXPORT_DIR / "cnn_lstm.toml", [override])
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name = ", ["not a TOML file"]),
        (b"\xff\xfe\x00", ["not a TOML file"]),
        (b"", ["name, summary, [architecture] builder are missing"]),
        (None, ["cannot be read", "No such file"]),
    ],
)
def test_file_that_is_no_recipe(content: bytes | None, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert all(word in message for word in words), message
