"""Models hear clips: whole, under a condition, or step by step; in this process or in several."""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeemo.audio import clip_audio
from edgeemo.clip import Clip as WholeClip
from edgeemo.clip import spoken
from edgeemo.corpora.labels import NEUTRAL
from edgeemo.corpora.manifest import Clip
from edgeemo.evaluation.answers import Answer
from edgeemo.evaluation.degradations import Random, Surroundings, conditions
from edgeemo.high_pass import without_constant
from edgeemo.model import EmotionModel, load, why_unlabelled
from edgeemo.profile import Profile
from edgeemo.windows import stretches

Audio = npt.NDArray[np.float32]

CLEAN = "clean"
STEPS = "steps"
_AFTER = "after "
_SECONDS = " s of neutral speech"
_IN_TURN = " of two people in turn"
_IN_ONE_EMOTION = " in one emotion"
_DIGITS = 6
"""Significant ones: a small probability may be raised by calibration."""
_CHUNK = 8
_MAX_DRAWS = 100


@dataclass(frozen=True)
class Task:
    """What is to be heard of a clip.

    Attributes:
        clip: which.
        wanted: the positions of the models, by condition: `CLEAN`, `STEPS`, what `after`, `after_alike`,
            `after_two` and `after_neutral` give, or a `Condition`'s name.
    """

    clip: Clip
    wanted: Mapping[str, tuple[int, ...]]


Heard = tuple[int, str, Answer]
"""The position of the model, the condition, and what it answered."""


def after(n_utterances: int) -> str:
    """The condition under which so many other utterances of the speaker were heard before."""
    return f"{_AFTER}{n_utterances} utterance{'s' * (n_utterances != 1)}"


def after_neutral(seconds: float) -> str:
    """The condition under which so many seconds of the speaker's neutral speech were heard before, as if enrolled."""
    return f"{_AFTER}{seconds:g}{_SECONDS}"


def after_two(n_utterances: int) -> str:
    """The condition under which so many utterances were heard before, in turn of the speaker and of somebody else."""
    return after(n_utterances) + _IN_TURN


def after_alike(n_utterances: int) -> str:
    """The condition under which so many utterances of the speaker were heard before, all in one emotion, any one."""
    return after(n_utterances) + _IN_ONE_EMOTION


class Hearer:
    """Hears clips with all models.

    Args:
        models: what hears.
        others: clips that babble is made of, and what is heard before.
    """

    def __init__(self, models: Sequence[EmotionModel], others: Sequence[Clip]) -> None:
        self._models = models
        self._others = others
        self._apply = {condition.name: condition.apply for condition in conditions()[0]}
        self._read = functools.lru_cache(maxsize=256)(clip_audio)
        self._of_speaker: dict[str, list[Clip]] = defaultdict(list)
        for clip in others:
            self._of_speaker[clip.speaker].append(clip)

    def hear(self, task: Task) -> list[Heard]:
        """Hear a clip.

        Raises:
            AudioError: it cannot be read.
        """
        heard: list[Heard] = []
        for condition, positions in task.wanted.items():
            # What several models hear is made once, and the voice detector hears it once.
            audio: dict[int, WholeClip] = {}
            for position in positions:
                model = self._models[position]
                rate = model.sample_rate
                if rate not in audio:
                    audio[rate] = WholeClip.of_samples(self._under(condition, task.clip, rate), rate, rate)
                heard.append((position, condition, self._answer(model, condition, task.clip, audio[rate])))
        return heard

    def _answer(self, model: EmotionModel, condition: str, clip: Clip, audio: WholeClip) -> Answer:
        if condition == STEPS:
            return steps_of(model, audio)
        if not condition.startswith(_AFTER):
            return whole(model, audio)
        profile = learnt_from(model, list(self._before(clip, condition, model.sample_rate)))
        if condition.endswith(_SECONDS):
            profile = profile.of_voice(model.metadata)
        return whole(model, audio, profile)

    def _before(self, clip: Clip, condition: str, rate: int) -> Iterator[Audio]:
        """What is spoken before a clip, in an order that depends on the clip alone."""
        random = _random_of(f"{_AFTER}{clip.sha256}")
        others = [other for other in self._of_speaker[clip.speaker] if other.sha256 != clip.sha256]
        others = [others[i] for i in random.permutation(len(others))]
        asked, heard_s = condition.removeprefix(_AFTER), 0.0
        if not asked.endswith(_SECONDS):
            if asked.endswith(_IN_TURN):
                others = self._in_turn(others, clip.speaker, random)
            elif asked.endswith(_IN_ONE_EMOTION) and others:
                emotion = random.choice(sorted({other.emotion for other in others}))
                others = [other for other in others if other.emotion == emotion]
            for other in others[: int(asked.split()[0])]:
                yield spoken(self._read(other, rate), rate)
            return
        for other in others:
            if heard_s >= float(asked.removesuffix(_SECONDS)):
                break
            if other.label in NEUTRAL:
                audio = spoken(self._read(other, rate), rate)
                heard_s += len(audio) / rate
                yield audio

    def _in_turn(self, clips: Sequence[Clip], speaker: str, random: Random) -> list[Clip]:
        """A speaker's clips, each followed by one of somebody else, the same person throughout."""
        theirs = self._of_speaker[self._other(speaker, random).speaker]
        order = random.permutation(len(theirs))
        return [c for own, i in zip(clips, order, strict=False) for c in (own, theirs[i])]

    def _under(self, condition: str, clip: Clip, rate: int) -> Audio:
        audio = self._read(clip, rate)
        if condition in (CLEAN, STEPS) or condition.startswith(_AFTER):
            return audio
        random = _random_of(f"{condition} {clip.sha256}")

        def others(random: Random) -> Audio:
            return self._read(self._other(clip.speaker, random), rate)

        return self._apply[condition](audio, Surroundings(rate, random, others))

    def _other(self, speaker: str, random: Random) -> Clip:
        """A clip of another speaker, where there is one."""
        for _ in range(_MAX_DRAWS):
            clip = self._others[int(random.integers(len(self._others)))]
            if clip.speaker != speaker:
                break
        return clip


def learnt_from(model: EmotionModel, utterances: Sequence[Audio]) -> Profile:
    """What a model has learnt of a voice after utterances, each heard from start to end.

    Args:
        model: what hears; it learns.
        utterances: mono float32 at its rate, shape `(n_samples,)` each.

    Raises:
        ProfileError: the model learns nothing of a voice.
    """
    size, stepper = model.metadata.step_samples, model.stepper()
    for audio in (without_constant(utterance, model.sample_rate) for utterance in utterances):
        stepper.begin_utterance()
        for start in range(0, len(audio) - size + 1, size):
            stepper.step(audio[start : start + size])
    return model.profile(stepper.learnt, n_utterances=len(utterances))


def whole(model: EmotionModel, clip: WholeClip, profile: Profile | None = None) -> list[float] | None:
    """The mean probabilities of a whole clip, as the graph gives them; None where there is nothing to judge.

    Args:
        model: what hears.
        clip: at its rate.
        profile: what it has learnt before.
    """
    mean = model.mean(clip, profile)
    reason = why_unlabelled(clip, model.metadata.step_samples, mean.reason)
    return None if reason is not None else _rounded(mean.probabilities)


def steps_of(model: EmotionModel, clip: WholeClip) -> list[list[float]]:
    """The probabilities after each full step from the clip's start, as the graph gives them in the live loop.

    Args:
        model: what hears.
        clip: at its rate.
    """
    size, stepper = model.metadata.step_samples, model.stepper()
    bounds = [(start, start + size) for start in range(0, clip.n_samples - size + 1, size)]
    return [_rounded(stepper.step(step)) for _, step in stretches(clip.blocks(), bounds)]


def hear_all(
    models: Sequence[EmotionModel], tasks: Sequence[Task], others: Sequence[Clip], *, n_jobs: int = 1
) -> Iterator[tuple[Task, list[Heard]]]:
    """Hear clips, one after another; the answers do not depend on `n_jobs`.

    Args:
        models: what hears.
        tasks: what is to be heard.
        others: clips that babble is made of.
        n_jobs: how many processes.

    Raises:
        AudioError: a clip cannot be read.
    """
    if n_jobs == 1 or len(tasks) <= _CHUNK:
        hearer = Hearer(models, others)
        for task in tasks:
            yield task, hearer.hear(task)
        return
    pool = ProcessPoolExecutor(
        n_jobs,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=([model.path for model in models], others),
    )
    try:
        yield from zip(tasks, pool.map(_hear, tasks, chunksize=_CHUNK), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


_hearer: Hearer
"""Of a process of the pool."""


def _start(paths: Sequence[Path], others: Sequence[Clip]) -> None:
    global _hearer  # how a pool hands something to all of a process' tasks
    _hearer = Hearer([load(path) for path in paths], others)


def _hear(task: Task) -> list[Heard]:
    return _hearer.hear(task)


def _random_of(seed: str) -> Random:
    """Chance that depends on a text alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))


def _rounded(probabilities: npt.NDArray[np.floating]) -> list[float]:
    return [float(f"{p:.{_DIGITS}g}") for p in probabilities.tolist()]
