"""Training on mel power: the cache, each change that a channel makes, and the windows that come of it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edgeemo.audio import clip_audio, read_audio
from edgeemo.corpora.manifest import Clip
from edgeemo.features import LEVELS, Features
from edgeemo.workstation.graphs.frontend import FrontEnd, mel_frequencies
from edgeemo.workstation.training import caches
from edgeemo.workstation.training.caches import PowerCache
from edgeemo.workstation.training.channel import (
    by_telephone,
    draw_equaliser,
    draw_hum,
    draw_noise,
    draw_speed,
    other_vocal_tract,
    ringing,
    spoken,
    transmitted,
    with_diffuse,
)
from edgeemo.workstation.training.recipe import Augmentation, Channel, Recipe, recipe_from_dict
from edgeemo.workstation.training.windows import PowerWindows
from support.signals import speech_like

FEATURES = Features(
    hop_samples=320,
    fmin_hz=60.0,
    fmax_hz=7600.0,
    level="running_mean",
    level_frames=40,
    range_db=45.0,
    mean_s=0.8,
)
FRAMES_PER_S = 50
CENTRES_HZ = mel_frequencies(66, 60.0, 7600.0)[1:-1]
N_FRAMES = 48
ROUNDING_DB = 0.1  # twice float16's, of a value and of the peak that it is relative to
ALL_ON = {
    f.name: 0.5 for f in dataclasses.fields(Channel) if f.name.endswith("_share") or f.name == "history"
}


def recipe(level: str = "running_mean", shift_s: float = 0.0) -> Recipe:
    plain = recipe_from_dict({
        "name": "mine",
        "summary": "",
        "architecture": {"builder": "attentive_cnn"},
        "window": {"window_s": 0.96, "step_s": 0.16},
        "features": dataclasses.asdict(dataclasses.replace(FEATURES, level=level)),
        "channel": {},
    })  # fmt: skip
    return dataclasses.replace(plain, augmentation=Augmentation(shift_s=shift_s))


@pytest.fixture(scope="module")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Clip]:
    folder = tmp_path_factory.mktemp("clips")

    def make(seed: int, *, n_frames: int = N_FRAMES, speaker: str = "a") -> Clip:
        """The last hop is silent, so that no frame hears two clips."""
        audio = speech_like(n_frames * FEATURES.hop_samples, 16_000, seed=seed)
        audio[-FEATURES.hop_samples :] = 0
        path = folder / f"{seed}-{n_frames}.wav"
        soundfile.write(path, audio, 16_000, subtype="FLOAT")
        return Clip(path, "mine", "sad", speaker, "", "", 16_000, len(audio), 1, path.stem)

    return make


@pytest.fixture(scope="module", autouse=True)
def whole_clips() -> Iterator[None]:
    """Made-up voices are heard whole, wherever the voice detector hears them, and as they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caches, "spoken", lambda audio, rate: audio)
        patch.setattr(caches, "without_constant", lambda audio, rate: audio)
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> PowerCache:
    return PowerCache(FEATURES, tmp_path_factory.mktemp("power"))


@pytest.fixture(scope="module")
def power(cache: PowerCache, make_clip: Callable[..., Clip]) -> np.ndarray:
    return cache[make_clip(1, n_frames=200)]


def audio_of(*clips: Clip) -> np.ndarray:
    return np.concatenate([read_audio(clip.path, 16_000) for clip in clips])


# --- the cache -----------------------------------------------------------------------------------------


def test_power_is_that_of_the_front_end(cache: PowerCache, make_clip: Callable[..., Clip]) -> None:
    clip = make_clip(2)
    (expected,) = FrontEnd(dataclasses.replace(FEATURES, level="none"))(audio_of(clip)[np.newaxis])
    found = cache[clip]
    assert found.dtype == np.float32
    np.testing.assert_allclose(10 * np.log10(found), expected, rtol=0, atol=ROUNDING_DB / 2)
    assert found[-1].max() > 9e-11, "silence has the power of the floor"


def test_power_is_computed_once(
    make_clip: Callable[..., Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every level; other frames are another folder's."""
    read: list[Path] = []
    monkeypatch.setattr(caches, "clip_audio", lambda c, rate: read.append(c.path) or clip_audio(c, rate))
    clip = make_clip(3)
    first = PowerCache(FEATURES, tmp_path)[clip]
    for level in LEVELS:
        again = PowerCache(dataclasses.replace(FEATURES, level=level, range_db=20.0), tmp_path)[clip]
        np.testing.assert_array_equal(again, first)
    assert read == [clip.path]
    other = PowerCache(dataclasses.replace(FEATURES, hop_samples=160), tmp_path)[clip]
    assert len(other) == 2 * len(first)
    assert len(read) == 2


def test_a_clip_shorter_than_a_hop_has_a_frame(cache: PowerCache, tmp_path: Path) -> None:
    path = tmp_path / "click.wav"
    soundfile.write(path, np.full(100, 0.5), 16_000)
    assert cache[Clip(path, "mine", "sad", "a", "", "", 16_000, 100, 1, "click")].shape == (1, 64)


# --- each change ---------------------------------------------------------------------------------------


def through(power: np.ndarray, seed: int = 0, **channel: Any) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return transmitted(power, Channel(**channel), FEATURES, rng)


def db(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power)


def test_all_off_changes_nothing(power: np.ndarray) -> None:
    np.testing.assert_array_equal(through(power), power)
    assert draw_speed(Channel(), np.random.default_rng(0)) == 1
    np.testing.assert_array_equal(spoken(power, 1.0), power)


@pytest.mark.parametrize(
    "kind",
    [name for name in ALL_ON if name not in ("history", "partial_share", "unchanged_share", "speed_share")],
)
def test_a_share_is_changed_and_what_is_given_stays(kind: str, power: np.ndarray) -> None:
    before = power.copy()
    changed = [not np.array_equal(through(power, seed, **{kind: 0.3}), power) for seed in range(200)]
    assert 0.2 < np.mean(changed) < 0.4
    np.testing.assert_array_equal(power, before)


def test_everything_at_once_is_finite_and_chance_is_the_generators(power: np.ndarray) -> None:
    for seed in range(100):
        found = through(power, seed, **dict.fromkeys(ALL_ON, 1.0))
        assert found.shape == power.shape
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        assert (found >= 0).all()
    np.testing.assert_array_equal(found, through(power, 99, **dict.fromkeys(ALL_ON, 1.0)))


def test_speed_is_the_rate_of_frames() -> None:
    ramp = np.arange(1, 101, dtype=np.float32)[:, np.newaxis] * np.ones(3, np.float32)
    np.testing.assert_array_equal(spoken(ramp, 2.0), ramp[::2])
    slow = spoken(ramp, 0.5)
    assert slow.shape == (200, 3)
    np.testing.assert_allclose(slow[:-2, 0], 1 + 0.5 * np.arange(198))
    assert spoken(ramp[:1], 2.0).shape == (1, 3)
    rng = np.random.default_rng(0)
    speeds = [draw_speed(Channel(speed_share=0.5, speed=(0.8, 1.2)), rng) for _ in range(400)]
    assert 0.4 < np.mean([s != 1 for s in speeds]) < 0.6
    assert 0.8 <= min(speeds) < 0.82
    assert 1.18 < max(speeds) <= 1.2


@pytest.mark.parametrize("factor", [0.88, 1.14])
@pytest.mark.parametrize("band", [8, 30, 50])
def test_another_vocal_tract_moves_formants(factor: float, band: int) -> None:
    formant = np.exp(-0.5 * ((np.arange(64) - band) / 2) ** 2).astype(np.float32)[np.newaxis]
    moved = other_vocal_tract(formant, factor)[0]
    assert (moved * np.arange(64)).sum() / moved.sum() == pytest.approx(factor * band, abs=0.3)


def test_an_equaliser_is_a_gain_of_each_band(power: np.ndarray) -> None:
    offset = db(through(power, equaliser_share=1.0)) - db(power)
    np.testing.assert_allclose(offset, np.broadcast_to(offset[0], offset.shape), rtol=0, atol=1e-3)
    assert np.ptp(offset[0]) > 2
    rng = np.random.default_rng(0)
    curves = db(np.stack([draw_equaliser(Channel(tilt_db=0.0), 64, rng) for _ in range(1000)]))
    assert curves[:, 0].std() == pytest.approx(4, rel=0.1)
    assert abs(np.corrcoef(curves[:, 0], curves[:, -1])[0, 1]) < 0.1
    tilts = db(np.stack([draw_equaliser(Channel(equaliser_db=0.0), 64, rng) for _ in range(1000)]))
    assert tilts[:, -1].std() == pytest.approx(3, rel=0.1)
    np.testing.assert_allclose(np.diff(tilts, n=2), 0, atol=1e-4)


@pytest.mark.parametrize("room_s", [0.15, 0.9])
def test_a_room_rings_on(room_s: float) -> None:
    click = np.zeros((120, 64), np.float32)
    click[5] = 1
    heard = ringing(click, room_s * FRAMES_PER_S)
    assert not heard[:6].any()
    np.testing.assert_allclose(heard[6:].sum(axis=0), 1, rtol=0.02)
    slope_db = db(heard[7]) - db(heard[6])
    decay_s = -60 / slope_db / FRAMES_PER_S
    assert decay_s[0] == pytest.approx(1.2 * room_s, rel=1e-3)
    assert decay_s[-1] == pytest.approx(0.7 * room_s, rel=1e-3)
    later_db = db(heard[16]) - db(heard[6])
    np.testing.assert_allclose(later_db, 10 * slope_db, rtol=1e-3)


@pytest.mark.parametrize(("room_s", "share"), [(0.3, 0.5), (0.3, 10.0), (0.6, 0.5), (0.6, 10.0)])
def test_a_room_is_as_on_audio(room_s: float, share: float) -> None:
    """Beside a convolution with noise that decays: how loud each band is, and how it varies between frames."""
    rng, plain = np.random.default_rng(0), FrontEnd(dataclasses.replace(FEATURES, level="none"))
    found, expected = [], []
    for seed in range(6):
        audio = speech_like(48_000, seed=seed)
        tail = rng.standard_normal(n := round(1.2 * room_s * 16_000)) * 10 ** (
            -3 * np.arange(n) / (room_s * 16_000)
        )
        tail[0] = 0
        response = np.sqrt(share / np.square(tail).sum()) * tail
        response[0] = 1
        heard = np.convolve(audio, response)[:48_000].astype(np.float32)
        power = 10 ** (plain(audio[np.newaxis])[0] / 10)
        expected.append(plain(heard[np.newaxis])[0])
        found.append(db(with_diffuse(power, share * ringing(power, room_s * FRAMES_PER_S), FEATURES, rng)))
    assert np.mean(found) == pytest.approx(np.mean(expected), abs=1)
    varies, as_on_audio = (np.abs(np.diff(x, axis=1)).mean() for x in (found, expected))
    assert varies == pytest.approx(as_on_audio, rel=0.15)


def test_something_diffuse_adds_its_power_on_average(power: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    diffuse = np.full_like(power, power.mean())
    together = np.mean([with_diffuse(power, diffuse, FEATURES, rng) for _ in range(300)], axis=0)
    np.testing.assert_allclose(together.mean(axis=0), (power + diffuse).mean(axis=0), rtol=0.03)
    np.testing.assert_array_equal(with_diffuse(power, 0 * diffuse, FEATURES, rng), np.square(np.sqrt(power)))


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_noise_has_the_ratio_that_was_drawn(power: np.ndarray, snr_db: float) -> None:
    drawn = {"noise_share": 1.0, "noise_snr_db": (snr_db, snr_db)}
    added = np.mean([through(power, seed, **drawn) for seed in range(100)], axis=0) - power
    assert db(power.mean() / added.mean()) == pytest.approx(snr_db, abs=1)


def test_noise_is_of_any_colour_and_random() -> None:
    rng = np.random.default_rng(0)
    noises = np.stack([draw_noise(400, 64, rng) for _ in range(50)])
    np.testing.assert_allclose(noises.mean(axis=(1, 2)), 1, atol=1e-3)
    tilt_db = db(noises[:, :, -8:].mean(axis=(1, 2)) / noises[:, :, :8].mean(axis=(1, 2)))
    assert tilt_db.min() < -10
    assert tilt_db.max() > 10


def test_noise_is_as_steady_as_on_audio() -> None:
    """Deviation of each band's power over its mean, within one stretch of level; beside Gaussian noise on audio."""
    rng = np.random.default_rng(0)
    silence = np.zeros((400, 64), np.float32)
    noises = np.stack([with_diffuse(silence, draw_noise(400, 64, rng), FEATURES, rng) for _ in range(50)])
    noises = noises.reshape(50, 8, 50, 64)
    found = (noises.std(axis=2) / noises.mean(axis=2)).mean(axis=(0, 1))
    audio = rng.standard_normal((1, 16_000 * 20)).astype(np.float32) * 0.1
    (heard,) = FrontEnd(dataclasses.replace(FEATURES, level="none"))(audio)
    power = 10 ** (heard / 10)
    expected = power.std(axis=0) / power.mean(axis=0)
    np.testing.assert_allclose(found, expected, rtol=0.2)
    assert expected[-1] < 0.4 < 0.8 < expected[0]


def test_hum_is_steady_and_low(power: np.ndarray) -> None:
    added = through(power, hum_share=1.0, hum_snr_db=(5.0, 5.0)) - power
    assert db(power.mean() / added.mean()) == pytest.approx(5, abs=0.1)
    assert np.abs(added[:, 4:]).max() == 0
    np.testing.assert_allclose(added[:, 0], added[0, 0], rtol=1e-3)
    rng = np.random.default_rng(0)
    hums = [draw_hum(64, rng) for _ in range(50)]
    assert {int(np.count_nonzero(hum)) for hum in hums} == {2, 3, 4}
    assert draw_hum(1, rng).shape == (1,)


def test_a_telephone_cuts(power: np.ndarray) -> None:
    found = by_telephone(power, 300.0, 3400.0, FEATURES)
    inside = (CENTRES_HZ >= 300) & (CENTRES_HZ <= 3400)
    np.testing.assert_array_equal(found[:, inside], power[:, inside])
    assert not found[:, ~inside].any()
    assert 30 < inside.sum() < 50


# --- windows -------------------------------------------------------------------------------------------


def windows(
    clips: list[Clip], cache: PowerCache, channel: Channel | None = None, **settings: Any
) -> PowerWindows:
    return PowerWindows(clips, cache, channel or Channel(), recipe(**settings))


@pytest.mark.parametrize("level", LEVELS)
def test_without_changes_it_is_the_front_end(
    level: str, cache: PowerCache, make_clip: Callable[..., Clip]
) -> None:
    clip = make_clip(4)
    found = windows([clip], cache, level=level)([clip], np.random.default_rng(0))
    expected = FrontEnd(dataclasses.replace(FEATURES, level=level))(audio_of(clip)[np.newaxis])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING_DB)


@pytest.mark.parametrize("level", ["running_peak", "running_mean"])
def test_a_short_clip_is_anywhere(level: str, cache: PowerCache, make_clip: Callable[..., Clip]) -> None:
    """A clip of 30 frames, shifted by up to 5: at most so late that it is heard to its end."""
    clip = make_clip(5, n_frames=30)
    draw, rng = windows([clip], cache, level=level, shift_s=0.1), np.random.default_rng(0)
    padded = [np.pad(audio_of(clip), (320 * start, 320 * (18 - start))) for start in range(19)]
    expected = FrontEnd(dataclasses.replace(FEATURES, level=level))(np.stack(padded))
    found = set()
    for _ in range(400):
        (place,) = np.flatnonzero(np.abs(draw([clip], rng) - expected).max(axis=(1, 2)) < ROUNDING_DB)
        found.add(int(place))
    assert found == set(range(N_FRAMES - 30 + 1))


def test_nothing_is_heard_behind_a_clip(cache: PowerCache, make_clip: Callable[..., Clip]) -> None:
    """Neither noise nor hum; before it, both."""
    clip = make_clip(5, n_frames=30)
    noisy = Channel(noise_share=1.0, noise_snr_db=(0.0, 0.0), hum_share=1.0, hum_snr_db=(0.0, 0.0))
    (found,) = windows([clip], cache, noisy, shift_s=0.3)([clip], np.random.default_rng(1))
    voiced = found[:, -1] > 0
    n_before = int(np.flatnonzero(~voiced)[0]) - 30
    assert 0 < n_before <= 15, "a pause with noise"
    assert not voiced[n_before + 30 :].any()


def test_a_long_clip_gives_any_of_its_stretches(cache: PowerCache, make_clip: Callable[..., Clip]) -> None:
    clip = make_clip(6, n_frames=60)
    draw, rng = windows([clip], cache, level="none"), np.random.default_rng(0)
    (whole,) = FrontEnd(dataclasses.replace(FEATURES, level="none"))(audio_of(clip)[np.newaxis])
    starts = set()
    for _ in range(100):
        (found,) = draw([clip], rng)
        (near,) = np.flatnonzero([
            np.abs(found - whole[i : i + N_FRAMES]).max() < ROUNDING_DB for i in range(13)
        ])  # fmt: skip
        starts.add(int(near))
    assert {0, 12} <= starts


def test_a_stretch_is_heard_after_what_was_said_before(
    cache: PowerCache, make_clip: Callable[..., Clip]
) -> None:
    """Level and mean are those of the clip so far."""
    clip = make_clip(6, n_frames=60)
    draw, rng = windows([clip], cache), np.random.default_rng(0)
    (whole,) = FrontEnd(FEATURES)(audio_of(clip)[np.newaxis])
    found = [draw([clip], rng)[0] for _ in range(40)]
    ends = [
        [i for i in range(N_FRAMES, 61) if np.abs(x - whole[i - N_FRAMES : i]).max() < ROUNDING_DB]
        for x in found
    ]
    assert all(len(near) == 1 for near in ends)
    assert len({near[0] for near in ends}) > 5


def test_history_is_of_the_same_speaker(cache: PowerCache, make_clip: Callable[..., Clip]) -> None:
    """The running mean starts from one or two other clips, the running peak from none; the window is its own."""
    own, *others = [make_clip(seed) for seed in (7, 8, 9)]
    stranger = make_clip(10, speaker="b")
    draw, rng = (
        windows([own, *others, stranger], cache, Channel(history=1.0)),
        np.random.default_rng(0),
    )
    frontend = FrontEnd(FEATURES)
    silence = np.zeros(FEATURES.level_frames * FEATURES.hop_samples, np.float32)
    candidates = {
        before: frontend(np.concatenate([audio_of(*before), silence, audio_of(own)])[np.newaxis])[
            0, -N_FRAMES:
        ]
        for before in [*itertools.permutations(others, 1), *itertools.permutations(others, 2)]
    }
    seen = set()
    for _ in range(60):
        (found,) = draw([own], rng)
        (before,) = [b for b, x in candidates.items() if np.abs(found - x).max() < ROUNDING_DB]
        seen.add(before)
    assert seen == set(candidates)
    (alone,) = draw([stranger], rng)
    np.testing.assert_allclose(alone, frontend(audio_of(stranger)[np.newaxis])[0], rtol=0, atol=ROUNDING_DB)


def test_an_utterance_is_heard_in_part(cache: PowerCache, make_clip: Callable[..., Clip]) -> None:
    clip = make_clip(7)
    half = windows([clip], cache, Channel(partial_share=1.0, partial=(0.5, 0.5)))
    (found,) = half([clip], np.random.default_rng(0))
    said = audio_of(clip)[: FEATURES.hop_samples * N_FRAMES // 2]
    anywhere = np.stack([np.pad(said, (320 * start, 320 * (24 - start))) for start in range(25)])
    # But for the frame that hears what is cut off.
    apart = np.median(np.abs(FrontEnd(FEATURES)(anywhere) - found), axis=(1, 2))
    assert (apart < ROUNDING_DB).sum() == 1
    rng = np.random.default_rng(0)
    some = windows([clip], cache, Channel(partial_share=0.3))
    whole = windows([clip], cache)([clip], rng)
    assert 0.2 < np.mean([not np.array_equal(some([clip], rng), whole) for _ in range(200)]) < 0.4


def test_a_share_stays_as_recorded(cache: PowerCache, make_clip: Callable[..., Clip]) -> None:
    clip, rng = make_clip(7), np.random.default_rng(0)
    plain = windows([clip], cache)([clip], rng)
    draw = windows([clip], cache, Channel(unchanged_share=0.4, speed_share=1.0, noise_share=1.0))
    assert 0.3 < np.mean([np.array_equal(draw([clip], rng), plain) for _ in range(200)]) < 0.5


def test_a_share_has_a_history(cache: PowerCache, make_clip: Callable[..., Clip]) -> None:
    clips = [make_clip(seed) for seed in (7, 8)]
    draw, rng = windows(clips, cache, Channel(history=0.3)), np.random.default_rng(0)
    plain = windows(clips, cache)(clips[:1], rng)
    found = [not np.array_equal(draw(clips[:1], rng), plain) for _ in range(200)]
    assert 0.2 < np.mean(found) < 0.4


def test_windows_depend_on_the_generator_alone(cache: PowerCache, make_clip: Callable[..., Clip]) -> None:
    clips = [make_clip(seed) for seed in (7, 8, 9)]
    draw = windows(clips, cache, Channel(**ALL_ON), shift_s=0.1)
    first = draw(clips, np.random.default_rng(1))
    assert first.shape == (3, N_FRAMES, 65)
    np.testing.assert_array_equal(draw(clips, np.random.default_rng(1)), first)
    assert not np.array_equal(draw(clips, np.random.default_rng(2)), first)
