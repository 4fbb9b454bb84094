"""A recipe: everything that makes one trained model, as one checked TOML file.

The classes below are the tables of the file, their attributes its keys; a key that is left out has the default
given here.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeemo.corpora.labels import LABEL_MAPS, OWN, LabelMap, also, listed, spelled
from edgeemo.errors import RecipeError
from edgeemo.features import Features, preset_values

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from edgeemo.corpora.manifest import Clip

PROTOCOLS = ("random", "speaker", "corpus", "session", "clips", "holdout")
FOLDED_PROTOCOLS = ("speaker", "session", "clips", "holdout")
OPTIMIZERS = ("adam", "rmsprop", "sgd")
SCHEDULES = ("cosine", "constant")
BALANCES = ("", "corpus")
_OF_TRAINING = ("architecture", "training", "augmentation", "channel", "published")
_AUDIO_TABLES = ("features", "window", "augmentation", "channel")
_NAME = re.compile(r"[\w-]+")  # a file's and a folder's too
_MAX_WINDOW_S = 60
_MAX_DB = 120
_MAX_SEED = 2**32 - 1  # of numpy's global generator, which keras seeds
TableT = TypeVar("TableT", bound="DataclassInstance")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """`[architecture]`: the builder, and every other key as a setting of it.

    Attributes:
        builder: name of the network's builder.
        settings: the other keys.
    """

    builder: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Window:
    """`[window]`: how much audio a model sees, and how often.

    Attributes:
        window_s: seconds of audio that a model sees.
        step_s: seconds from one inference of the live loop to the next.
    """

    window_s: float = 3.2
    step_s: float = 0.16

    def __post_init__(self) -> None:
        if max(self.window_s, self.step_s) > _MAX_WINDOW_S:
            raise ValueError(
                f"window_s is {self.window_s:g}, step_s {self.step_s:g}, expected at most {_MAX_WINDOW_S} s"
            )


@dataclass(frozen=True, kw_only=True)
class Image:
    """`[image]`: in place of `[features]` and `[window]`, for a network over grey images instead of audio.

    Attributes:
        height, width: pixels; a network reads an image as `height` steps of `width` values.
    """

    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Data:
    """`[data]`: corpora by name, and the label map.

    Attributes:
        corpora: names of `edgeemo data`, or of the image corpora; none: all that the data hold.
        labels: name of the label map; or a list of labels, each of which stands for itself; or `own`: all labels that
            the data have, in alphabetical order.
        cached: train on the windows that clips are scored by, their features computed once and kept on disk, instead
            of on windows drawn and augmented anew in each epoch. For networks so large that this costs little.
    """

    corpora: tuple[str, ...] = ()
    labels: str | tuple[str, ...] = "published7"
    cached: bool = False


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """`[protocol]`: which clips train, validate and test; see `edgeemo.workstation.training.protocols`.

    Attributes:
        kind: `random`, `speaker`, `corpus`, `session`, `clips` or `holdout`.
        folds: of the speaker, session, clips and holdout protocols.
        validation_share: of the items, for validation (random, session).
        test_share: of the items, for the test (random).
        validation_speakers: per corpus (speaker, corpus).
        seed: of the split; training seeds are another matter.
    """

    kind: str = "speaker"
    folds: int = 5
    validation_share: float = 0.1
    test_share: float = 0.1
    validation_speakers: int = 3
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Training:
    """`[training]`: early stopping on validation loss; the weights of its minimum are kept.

    Attributes:
        epochs: at most.
        patience: epochs without a lower validation loss before training stops.
        batch_size: windows.
        optimizer: `adam` (betas 0.9 and 0.999), `rmsprop` or `sgd` (no momentum).
        learning_rate: at the start.
        schedule: `cosine`: the learning rate decays to 2 % over `epochs`; `constant`: it does not.
        clip_norm: gradients longer than this are shortened to it; 0: never.
        class_weights: weigh the loss against class imbalance.
        label_smoothing: in [0, 1).
        clips_per_speaker: at most so many clips of a speaker in an epoch (drawn anew each epoch), so that a
            corpus of two speakers does not outweigh one of twenty-four; 0 for all.
        clips_per_epoch: clips in an epoch, drawn anew each time; 0 for all.
        balance: `""`: every clip alike. `"corpus"`: every label alike, and within it every corpus, however many clips
            it has; but one with fewer than 25 speakers less, by the root of their number. Clips are then drawn with
            replacement.
        votes: where listeners' votes on a clip are known (CREMA-D), the share of its soft label that is theirs; the
            rest is what the actor meant.
        averaging: the kept weights are an exponential moving average over the batches, with this decay; 0: they are
            those of the last batch.
        start: a shipped model, or a run folder of the same network, whose weights are started from, as far as labels
            are the same; its normalisation stays. Empty: they are drawn at random.
        seeds: of the weights and the augmentation; one training each.
    """

    epochs: int = 40
    patience: int = 15
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    clip_norm: float = 1.0
    class_weights: bool = True
    label_smoothing: float = 0.0
    clips_per_speaker: int = 0
    clips_per_epoch: int = 0
    balance: str = ""
    votes: float = 0.0
    averaging: float = 0.0
    start: str = ""
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """`[augmentation]`: of training clips only, drawn anew for every clip and epoch; 0 switches a kind off.

    Attributes:
        speed: playback speed between `1 - speed` and `1 + speed` (pitch follows; Ko et al. 2015, "Audio
            augmentation for speech recognition").
        shift_s: seconds by which a window is moved at random beyond the clip's own slack.
        gain_db: gain between minus and plus this many dB.
        noise_share: share of the windows with noise added, white to brown.
        noise_snr_db: lowest and highest signal-to-noise ratio of those.
        time_masks, time_mask_frames: SpecAugment (Park et al. 2019): number and largest length.
        mel_masks, mel_mask_bands: likewise over mel bands.
        mixup: alpha of mixup (Zhang et al. 2018) on features.
    """

    speed: float = 0.0
    shift_s: float = 0.0
    gain_db: float = 0.0
    noise_share: float = 0.0
    noise_snr_db: tuple[float, float] = (10.0, 40.0)
    time_masks: int = 0
    time_mask_frames: int = 24
    mel_masks: int = 0
    mel_mask_bands: int = 8
    mixup: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Channel:
    """`[channel]`: train on mel power that other speakers, rooms, lines and microphones might have given.

    A clip's mel power is computed once; what is done to it is drawn anew for every clip and epoch, in a fraction of
    the time that the same changes to audio take. A share of 0 switches a kind off. Of `[augmentation]`, `shift_s`,
    the masks and `mixup` apply too.

    Attributes:
        history: share of the windows before which one or two other clips of the speaker are heard, so that the
            running mean starts from what a stream heard before.
        partial_share: share of the windows in which an utterance is heard in part, from its beginning, as a stream
            hears it.
        partial: least and largest part.
        unchanged_share: share of the windows to which nothing of what follows is done.
        speed_share: share of the windows spoken faster or slower, at the same pitch.
        speed: slowest and fastest of those, 1 being as recorded.
        vocal_tract_share: share of the windows with another vocal tract (Jaitly and Hinton 2013, "Vocal tract length
            perturbation").
        vocal_tract: smallest and largest factor by which it moves what is heard along the mel scale.
        equaliser_share: share of the windows with another gain in each band.
        equaliser_db: standard deviation of the gain at six points of the mel scale, with straight lines between them.
        tilt_db: standard deviation of one more straight line, at its ends.
        room_share: share of the windows with reverberation.
        room_s: shortest and longest reverberation time (to -60 dB).
        room_db: lowest and highest power of the reverberation, relative to the direct sound.
        noise_share: share of the windows with noise of some colour, which comes and goes.
        noise_snr_db: lowest and highest signal-to-noise ratio of those.
        hum_share: share of the windows with hum in the lowest two to four bands.
        hum_snr_db: lowest and highest signal-to-noise ratio of those.
        telephone_share: share of the windows of which nothing is heard below one frequency and above another.
        telephone_low_hz, telephone_high_hz: lowest and highest value of each of the two.
    """

    history: float = 0.0
    partial_share: float = 0.0
    partial: tuple[float, float] = (0.2, 1.0)
    unchanged_share: float = 0.0
    speed_share: float = 0.0
    speed: tuple[float, float] = (0.8, 1.25)
    vocal_tract_share: float = 0.0
    vocal_tract: tuple[float, float] = (0.88, 1.14)
    equaliser_share: float = 0.0
    equaliser_db: float = 4.0
    tilt_db: float = 3.0
    room_share: float = 0.0
    room_s: tuple[float, float] = (0.15, 0.9)
    room_db: tuple[float, float] = (-15.0, 0.0)
    noise_share: float = 0.0
    noise_snr_db: tuple[float, float] = (0.0, 35.0)
    hum_share: float = 0.0
    hum_snr_db: tuple[float, float] = (-5.0, 30.0)
    telephone_share: float = 0.0
    telephone_low_hz: tuple[float, float] = (0.0, 330.0)
    telephone_high_hz: tuple[float, float] = (2500.0, 7000.0)

    def __post_init__(self) -> None:
        shares = ("history", *(f.name for f in dataclasses.fields(self) if f.name.endswith("_share")))
        spans = {
            "partial": (0.01, 1),
            "speed": (0.5, 2),
            "vocal_tract": (0.5, 2),
            "room_s": (0.01, 10),
            "room_db": (-_MAX_DB, _MAX_DB),
            "noise_snr_db": (-_MAX_DB, _MAX_DB),
            "hum_snr_db": (-_MAX_DB, _MAX_DB),
            "telephone_low_hz": (0, math.inf),
            "telephone_high_hz": (0, math.inf),
        }
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected a share in [0, 1]")
        for name in ("equaliser_db", "tilt_db"):
            if not 0 <= getattr(self, name) <= _MAX_DB:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected 0 to {_MAX_DB} dB")
        for name, (least, most) in spans.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ValueError(
                    f"{name} is {(low, high)!r}, expected two values from {least:g} to {most:g}, lowest first"
                )


@dataclass(frozen=True, kw_only=True)
class Export:
    """`[export]`: what parity with Keras allows, and the weights' terms.

    Attributes:
        tolerance: largest difference of a probability in fp32.
        quantized_tolerance: mean difference of a probability in int8 and fp16.
        precision: the share of named labels that are to be right on corpora that were left out; below the probability
            that gives it, a model is unsure. Fitted by a run of the protocol `corpus`.
        usual: answers are adjusted half of the way from labels alike often, as a balanced training has them, to how
            often people say them; see `graphs/usual.py`. It supposes that a third is neutral, and the rest alike.
        baseline: streams remember what they usually answer a voice, and say that less; see `graphs/baseline.py`. It
            supposes the same.
        licence: of the weights.
    """

    tolerance: float = 1e-4
    quantized_tolerance: float = 0.02
    precision: float = 0.5
    usual: bool = False
    baseline: bool = False
    licence: str = "not stated"


@dataclass(frozen=True, kw_only=True)
class Published:
    """`[published]`: figures of others that tables put beside ours; a key that is left out was not published.

    Attributes:
        source: who published them, and on what.
        accuracy: on the validation part, from 0 to 1.
        loss: likewise.
        uar: on the test part, from 0 to 1.
        training_step_ms: milliseconds per training step.
        n_parameters: weights.
    """

    source: str
    accuracy: float | None = None
    loss: float | None = None
    uar: float | None = None
    training_step_ms: float | None = None
    n_parameters: int | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One recipe file: of a network over audio, or, with `[image]`, over grey images.

    Attributes:
        name: what the model and its files are called.
        summary: one line on the architecture.
        labels: `[labels]`: what clips are labelled in the data -> which label they are trained as, for those that the
            labels of `[data]` do not say, such as `anger = "angry"`. What has no label is left out.
    """

    name: str
    summary: str
    architecture: Architecture
    features: Features = field(default_factory=Features)
    window: Window = field(default_factory=Window)
    image: Image | None = None
    data: Data = field(default_factory=Data)
    labels: dict[str, str] = field(default_factory=dict)
    protocol: Protocol = field(default_factory=Protocol)
    training: Training = field(default_factory=Training)
    augmentation: Augmentation = field(default_factory=Augmentation)
    channel: Channel | None = None
    export: Export = field(default_factory=Export)
    published: Published | None = None

    @property
    def input_shape(self) -> tuple[int, int]:
        """What the network takes: `(n_frames, n_columns)`, or `(height, width)` in pixel values, 0 to 255."""
        if self.image is not None:
            return self.image.height, self.image.width
        return self.n_frames, self.features.n_columns

    @property
    def window_samples(self) -> int:
        """Samples in a window."""
        return round(self.window.window_s * self.features.sample_rate)

    @property
    def step_samples(self) -> int:
        """Samples from one inference of the live loop to the next."""
        return round(self.window.step_s * self.features.sample_rate)

    @property
    def n_frames(self) -> int:
        """Frames in a window."""
        return self.features.n_frames(self.window_samples)

    @property
    def label_map(self) -> LabelMap:
        """What each label of the data is trained as, by `[data]` and `[labels]`.

        Raises:
            RecipeError: only the data say it; see `with_data`.
        """
        labels = self.data.labels
        if labels == OWN:
            raise RecipeError(
                f"[data] labels is {OWN!r}: which those are, only the data say; give --data, or list the labels"
            )
        known = listed(labels) if isinstance(labels, tuple) else LABEL_MAPS[labels]
        return also(known, self.labels) if self.labels else known

    @property
    def trained_by(self) -> dict[str, Any]:
        """What determines the weights of a given seed: `to_dict` without what only describes them, and without the
        seeds, so that a finished run can be given more of them.
        """
        values = {k: v for k, v in self.to_dict().items() if k not in ("summary", "export", "published")}
        if "features" in values:
            values["features"] = dataclasses.asdict(self.features)
        return values | {"training": {k: v for k, v in values["training"].items() if k != "seeds"}}

    def to_dict(self) -> dict[str, Any]:
        """The tables of the file as plain values; optional ones that it does not have are left out."""
        values = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        values["features"] = self.features.to_dict()
        if self.image is not None:
            for table in _AUDIO_TABLES:
                values.pop(table, None)
        if not self.labels:
            del values["labels"]
        if self.published is not None:
            values["published"] = {k: v for k, v in values["published"].items() if v is not None}
        architecture = values.pop("architecture")
        return {**values, "architecture": {"builder": architecture["builder"], **architecture["settings"]}}


def load_recipe(
    path: Path, overrides: Sequence[str] = (), *, trainable: bool = True, preset: str | None = None
) -> Recipe:
    """Read and check a recipe.

    Args:
        path: a TOML file.
        overrides: `section.key=value` each, the value as in TOML (a bare word counts as a string).
        trainable: it must name a builder; where a network is there already, nothing of the training counts.
        preset: features in place of the recipe's; its step becomes the nearest number of hops.

    Raises:
        RecipeError: not TOML; an unknown or missing key; a value of the wrong type or out of range.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not a TOML file ({error})") from error
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from error
    given = copy.deepcopy(values)
    if preset is not None:
        given["features"] = {"preset": preset}
    for override in overrides:
        _apply(given, override)
    if preset is not None and not any(o.partition("=")[0].strip() == "window.step_s" for o in overrides):
        _step_in_hops(given)
    try:
        return recipe_from_dict(given, trainable=trainable)
    except RecipeError as error:
        where = (
            str(path)
            if not (overrides or preset) or _fault(values, trainable=trainable)
            else "on the command line"
        )
        raise RecipeError(f"{where}: {error}") from error


def overridden(values: dict[str, Any], overrides: Sequence[str]) -> Recipe:
    """Plain values, as `Recipe.to_dict` gives them, with some others in their place.

    Raises:
        RecipeError: as `load_recipe`.
    """
    given = copy.deepcopy(values)
    for override in overrides:
        _apply(given, override)
    return recipe_from_dict(given)


def differences(recipe: Recipe, other: Recipe) -> list[str]:
    """What makes other weights of two recipes: `[training] epochs is 40, 30 in the other` for each value."""
    ours, theirs = _flat(recipe.trained_by), _flat(other.trained_by)
    return [
        f"{key} is {ours.get(key)!r}, {theirs.get(key)!r} in the other"
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key) != theirs.get(key)
    ]


def with_step(recipe: Recipe, step_s: float) -> Recipe:
    """The same recipe with another step of the live loop.

    Raises:
        RecipeError: the step is no multiple of the hop, or longer than the window.
    """
    values = recipe.to_dict()
    values["window"] = {**values["window"], "step_s": step_s}
    return recipe_from_dict(values)


def with_data(recipe: Recipe, clips: Iterable[Clip]) -> Recipe:
    """The same recipe with the corpora and labels of the data, where it leaves them to the data.

    Raises:
        RecipeError: the data have one label alone.
    """
    if recipe.data.corpora and recipe.data.labels != OWN:
        return recipe
    values = recipe.to_dict()
    if not recipe.data.corpora:
        values["data"]["corpora"] = sorted({clip.corpus for clip in clips})
    if recipe.data.labels == OWN:
        of = {spelled(emotion): label for emotion, label in recipe.labels.items()}
        wanted = values["data"]["corpora"]
        values["data"]["labels"] = sorted({of.get(c.emotion, c.emotion) for c in clips if c.corpus in wanted})
    return recipe_from_dict(values)


def recipe_from_dict(values: dict[str, Any], *, trainable: bool = True) -> Recipe:
    """Check plain values, as `Recipe.to_dict` gives them.

    Raises:
        RecipeError: as `load_recipe`.
    """
    values = dict(values)
    if not trainable:
        values = {k: v for k, v in values.items() if k not in _OF_TRAINING} | {
            "architecture": {"builder": ""}
        }
    architecture = values.get("architecture")
    if not isinstance(architecture, dict) or "builder" not in architecture:
        others = _missing(Recipe, {**values, "architecture": {"builder": "", "settings": {}}}, "")
        raise RecipeError(
            f'{_are_missing([*others, "[architecture] builder"])}; name a builder, such as builder = "cnn_lstm"'
        )
    settings = {k: v for k, v in architecture.items() if k != "builder"}
    for key, value in settings.items():
        try:
            json.dumps(value)
        except TypeError as error:
            raise RecipeError(
                f"[architecture] {key} is {value!r}, expected numbers, text and lists"
            ) from error
    values["architecture"] = {"builder": architecture["builder"], "settings": settings}
    if "image" in values and (given := [name for name in _AUDIO_TABLES if name in values]):
        raise RecipeError(f"[{given[0]}] is for audio and [image] for images; leave one of them out")
    if isinstance(features := values.get("features"), dict) and "preset" in features:
        values["features"] = _of_preset(**features)
    recipe = _checked(Recipe, values, "")
    _check_ranges(recipe)
    return recipe


def _of_preset(*, preset: Any, **given: Any) -> dict[str, Any]:
    """`[features]` with a preset: all values that it stands for, and what else is given."""
    try:
        return preset_values(preset, given)
    except ValueError as error:
        raise RecipeError(f"[features] {error}") from error


def _step_in_hops(values: dict[str, Any]) -> None:
    """Make the step of plain values the nearest number of whole hops, where both are numbers."""
    features = _of_preset(**values["features"])
    rate, hop = (features.get(key, getattr(Features, key)) for key in ("sample_rate", "hop_samples"))
    window = values.setdefault("window", {})
    step_s = window.get("step_s", Window.step_s)
    if all(isinstance(value, int | float) and value > 0 for value in (rate, hop, step_s)):
        window["step_s"] = max(1, round(step_s * rate / hop)) * hop / rate


def _flat(tables: dict[str, Any]) -> dict[str, Any]:
    """Values by their place in the file, such as `[training] epochs`."""
    flat: dict[str, Any] = {}
    for name, value in tables.items():
        if isinstance(value, dict):
            flat |= {f"[{name}] {key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat


def _fault(values: dict[str, Any], *, trainable: bool) -> str | None:
    """What is wrong with a file's own values."""
    try:
        recipe_from_dict(values, trainable=trainable)
    except RecipeError as error:
        return str(error)
    return None


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not equals or not dot:
        raise RecipeError(f"override {override!r}; expected section.key=value, such as training.epochs=10")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = values.setdefault(section, {})
    if not isinstance(table, dict):
        raise RecipeError(f"override {override!r}: {section} is not a table of the recipe")
    table[name] = value


def _checked(cls: type[TableT], values: dict[str, Any], where: str) -> TableT:
    """Make a dataclass of plain values, refusing unknown, missing and wrongly typed ones."""
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            raise RecipeError(f"{where}unknown key {name!r}; known: {', '.join(fields)}")
    if missing := _missing(cls, values, where):
        raise RecipeError(_are_missing(missing))
    made = {name: _converted(value, hints[name], f"{where}{name}") for name, value in values.items()}
    try:
        return cls(**made)
    except ValueError as error:
        raise RecipeError(f"{where}{error}") from error


def _missing(cls: Any, values: dict[str, Any], where: str) -> list[str]:
    """All keys that a file lacks, those of its tables too."""
    hints = typing.get_type_hints(cls)
    missing = []
    for f in dataclasses.fields(cls):
        if f.name not in values:
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
                missing.append(f"{where}{f.name}")
        elif dataclasses.is_dataclass(table := _without_none(hints[f.name])) and isinstance(
            values[f.name], dict
        ):
            missing += _missing(table, values[f.name], f"[{f.name}] ")
    return missing


def _are_missing(names: Sequence[str]) -> str:
    return ", ".join(names) + (" is missing" if len(names) == 1 else " are missing")


def _without_none(hint: Any, value: Any = None) -> Any:
    """What a value may be that may be left out; of several choices, what fits it: a list or not."""
    if isinstance(hint, types.UnionType):
        choices = [h for h in typing.get_args(hint) if h is not types.NoneType]
        is_list = isinstance(value, list | tuple)
        return next((h for h in choices if (typing.get_origin(h) is tuple) == is_list), choices[0])
    return hint


def _converted(value: Any, hint: Any, where: str) -> Any:
    hint = _without_none(hint, value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise RecipeError(f"{where} is {value!r}, expected a table")
        return _checked(hint, value, f"[{where}] ")
    if typing.get_origin(hint) is tuple:
        arguments = typing.get_args(hint)
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{where} is {value!r}, expected a list")
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise RecipeError(f"{where} is {value!r}, expected {len(arguments)} values")
        return tuple(_converted(v, arguments[0], where) for v in value)
    if typing.get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise RecipeError(f"{where} is {value!r}, expected a table")
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    kinds = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if isinstance(hint, types.GenericAlias) or type(value) is not hint:
        raise RecipeError(f"{where} is {value!r}, expected {kinds.get(hint, hint)}")
    if hint is float and not math.isfinite(value):
        raise RecipeError(f"{where} is {value!r}, expected a finite number")
    return value


def _check_ranges(recipe: Recipe) -> None:
    features, window, t = recipe.features, recipe.window, recipe.training
    protocol, a, labels = recipe.protocol, recipe.augmentation, recipe.data.labels
    hop_s = features.hop_samples / features.sample_rate
    checks = [
        (
            labels in LABEL_MAPS or labels == OWN or _are_labels(labels),
            "[data] labels",
            labels,
            f"{' or '.join(LABEL_MAPS)} or {OWN}, or a list of two or more different labels",
        ),
        (
            all(isinstance(label, str) and label.strip() for label in recipe.labels.values()),
            "[labels]",
            recipe.labels,
            'labels in quotes, such as anger = "angry"',
        ),
        (_NAME.fullmatch(recipe.name) is not None, "name", recipe.name, "letters, digits, _ and -"),
        (
            recipe.step_samples > 0 and recipe.step_samples % features.hop_samples == 0,
            "[window] step_s",
            window.step_s,
            f"a multiple of the hop ({hop_s:g} s)",
        ),
        (
            recipe.window_samples > 0
            and (features.framing != "causal" or recipe.window_samples % max(recipe.step_samples, 1) == 0),
            "[window] window_s",
            window.window_s,
            f"a multiple of step_s ({window.step_s:g} s)",
        ),
        (
            recipe.window_samples >= max(recipe.step_samples, features.least_samples),
            "[window] window_s",
            window.window_s,
            f"at least step_s ({window.step_s:g} s), and {features.least_samples} samples",
        ),
        (protocol.kind in PROTOCOLS, "[protocol] kind", protocol.kind, " or ".join(PROTOCOLS)),
        (protocol.folds >= 2, "[protocol] folds", protocol.folds, "2 or more"),
        (
            protocol.validation_speakers >= 1,
            "[protocol] validation_speakers",
            protocol.validation_speakers,
            "1 or more",
        ),
        (
            0 < protocol.validation_share < 0.5,
            "[protocol] validation_share",
            protocol.validation_share,
            "in (0, 0.5)",
        ),
        (0 < protocol.test_share < 0.5, "[protocol] test_share", protocol.test_share, "in (0, 0.5)"),
        (protocol.seed >= 0, "[protocol] seed", protocol.seed, "0 or more"),
        (t.epochs >= 1, "[training] epochs", t.epochs, "1 or more"),
        (t.patience >= 1, "[training] patience", t.patience, "1 or more"),
        (t.batch_size >= 1, "[training] batch_size", t.batch_size, "1 or more"),
        (t.optimizer in OPTIMIZERS, "[training] optimizer", t.optimizer, " or ".join(OPTIMIZERS)),
        (t.schedule in SCHEDULES, "[training] schedule", t.schedule, " or ".join(SCHEDULES)),
        (t.learning_rate > 0, "[training] learning_rate", t.learning_rate, "positive"),
        (t.clip_norm >= 0, "[training] clip_norm", t.clip_norm, "0 (never) or more"),
        (0 <= t.label_smoothing < 1, "[training] label_smoothing", t.label_smoothing, "in [0, 1)"),
        (t.clips_per_speaker >= 0, "[training] clips_per_speaker", t.clips_per_speaker, "0 (all) or more"),
        (t.clips_per_epoch >= 0, "[training] clips_per_epoch", t.clips_per_epoch, "0 (all) or more"),
        (t.balance in BALANCES, "[training] balance", t.balance, " or ".join(map(repr, BALANCES))),
        (
            not t.balance or not t.clips_per_speaker,
            "[training] balance",
            t.balance,
            "'' with clips_per_speaker",
        ),
        (0 <= t.votes <= 1, "[training] votes", t.votes, "in [0, 1]"),
        (0 <= t.averaging < 1, "[training] averaging", t.averaging, "in [0, 1)"),
        (bool(t.seeds), "[training] seeds", t.seeds, "at least one"),
        (
            len(set(t.seeds)) == len(t.seeds) and all(0 <= seed <= _MAX_SEED for seed in t.seeds),
            "[training] seeds",
            t.seeds,
            f"different ones from 0 to {_MAX_SEED}",
        ),
        (0 <= a.speed < 0.5, "[augmentation] speed", a.speed, "in [0, 0.5)"),
        (a.shift_s <= _MAX_WINDOW_S, "[augmentation] shift_s", a.shift_s, f"at most {_MAX_WINDOW_S} s"),
        (a.gain_db <= _MAX_DB, "[augmentation] gain_db", a.gain_db, f"at most {_MAX_DB} dB"),
        (
            recipe.export.quantized_tolerance > 0,
            "[export] quantized_tolerance",
            recipe.export.quantized_tolerance,
            "positive",
        ),
        (0 <= a.noise_share <= 1, "[augmentation] noise_share", a.noise_share, "in [0, 1]"),
        (
            a.noise_snr_db[0] <= a.noise_snr_db[1],
            "[augmentation] noise_snr_db",
            a.noise_snr_db,
            "lowest first",
        ),
        (
            not a.mel_masks or 0 <= a.mel_mask_bands <= features.n_spectral,
            "[augmentation] mel_mask_bands",
            a.mel_mask_bands,
            f"0 to {features.n_spectral}: n_mels, or the coefficients and slopes in their place",
        ),
        (
            not a.time_masks or 0 <= a.time_mask_frames <= recipe.n_frames,
            "[augmentation] time_mask_frames",
            a.time_mask_frames,
            "0 to the number of frames",
        ),
        *(
            (getattr(a, name) >= 0, f"[augmentation] {name}", getattr(a, name), "0 or more")
            for name in ("shift_s", "gain_db", "mixup", "time_masks", "mel_masks")
        ),
        (
            recipe.channel is None or not (a.speed or a.gain_db or a.noise_share),
            "[channel]",
            "there",
            "none with augmentation of the audio (speed, gain_db, noise_share)",
        ),
        (
            recipe.channel is None or not features.besides_levelling,
            "[channel]",
            "there",
            f"none with [features] {', '.join(features.besides_levelling)}: it changes mel power in causal frames",
        ),
        (
            recipe.channel is None or not recipe.data.cached,
            "[data] cached",
            recipe.data.cached,
            "false with [channel]",
        ),
        (
            not recipe.data.cached or not (a.speed or a.shift_s or a.gain_db or a.noise_share),
            "[data] cached",
            recipe.data.cached,
            "false with augmentation of the audio (speed, shift_s, gain_db, noise_share)",
        ),
        (min(recipe.input_shape) >= 1, "[image] height, width", recipe.input_shape, "1 or more"),
        (0 < recipe.export.precision < 1, "[export] precision", recipe.export.precision, "between 0 and 1"),
        (
            not recipe.export.baseline or recipe.features.level != "none",
            "[export] baseline",
            recipe.export.baseline,
            "false with [features] level = 'none': a level tells where utterances begin",
        ),
        (recipe.export.tolerance > 0, "[export] tolerance", recipe.export.tolerance, "positive"),
    ]
    for ok, name, got, expected in checks:
        if not ok:
            raise RecipeError(f"{name} is {got!r}, expected {expected}")
    if labels == OWN:
        return
    known = recipe.label_map.labels
    if strange := [label for label in recipe.labels.values() if label not in known]:
        raise RecipeError(f"[labels] maps to {strange[0]!r}, expected one of {', '.join(known)}")


def _are_labels(labels: str | tuple[str, ...]) -> bool:
    """Whether labels are listed: two or more, and no two that mean the same."""
    return isinstance(labels, tuple) and all(labels) and len({*map(spelled, labels)}) == len(labels) > 1
