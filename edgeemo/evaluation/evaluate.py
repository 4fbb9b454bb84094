"""The whole of an evaluation: clips are heard, answers kept, results written."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from edgeemo import __version__
from edgeemo.answer import Judgement
from edgeemo.audio import find_audio
from edgeemo.clip import Clip
from edgeemo.corpora.labels import NEUTRAL
from edgeemo.errors import CorpusError, ModelError
from edgeemo.evaluation import conclusions
from edgeemo.evaluation.answers import Answer, Journal
from edgeemo.evaluation.degradations import Condition, conditions
from edgeemo.evaluation.hearing import (
    CLEAN,
    STEPS,
    Task,
    after,
    after_alike,
    after_neutral,
    after_two,
    hear_all,
    whole,
)
from edgeemo.evaluation.material import Material, gather
from edgeemo.evaluation.measures import Indices
from edgeemo.evaluation.no_voice import SOUNDS, named_in_file, named_in_sound
from edgeemo.evaluation.results import Difference, Evaluation, ModelResult, NoVoice, PlainSpeech, Robustness
from edgeemo.files import write_text
from edgeemo.model import EmotionModel

N_ROBUSTNESS_CLIPS = 500

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be evaluated, and how thoroughly.

    Attributes:
        data: a folder, a manifest or a table, see `corpora.find`.
        output: the folder that the journals and the results go to.
        heard_too: judge by clips of speakers that trained a model or chose its epoch, too.
        n_robustness: clips that are heard under conditions and step by step, the same number of every corpus, speaker
            and emotion as far as there are; 0 for none.
        history: numbers of other utterances of the speaker, after each of which those clips are heard again;
            after as many in one emotion, and after as many of the speaker and of somebody else in turn.
        enrolled: seconds of the speaker's neutral speech, likewise.
        no_voice: a folder of sounds without a voice, besides those that are made here.
        plain: a folder of ordinary speech.
        n_jobs: how many processes hear.
        command: what was typed, for the results.
        speaker_pattern: finds speakers in paths, as `corpora.find` has it.
    """

    data: Path
    output: Path
    heard_too: bool = False
    n_robustness: int = N_ROBUSTNESS_CLIPS
    history: tuple[int, ...] = ()
    enrolled: tuple[float, ...] = ()
    no_voice: Path | None = None
    plain: Path | None = None
    n_jobs: int = 1
    command: str = ""
    speaker_pattern: str | None = None


def evaluate(
    models: Sequence[EmotionModel],
    plan: Plan,
    report: Report = lambda *_: None,
    *,
    notice: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Evaluate models on the same clips; one that was interrupted goes on where it stopped.

    Args:
        models: at least one; of the same labels.
        plan: on what.
        report: called as `report(what, n_done, n_all)`.
        notice: told how data of one's own were understood, line by line.

    Returns:
        the results, which are in `evaluation.json` too.

    Raises:
        CorpusError: no clip is left to judge by.
        ModelError: the models differ in labels, or one is named twice.
        ProfileError: there are clips to be heard after others, and no model learns anything of a voice.
        AudioError: a clip cannot be read.
        OutputError: the results cannot be written.
    """
    labels = models[0].labels
    for model in models[1:]:
        if model.labels != labels:
            raise ModelError(
                f"{model.path} has labels {', '.join(model.labels)}, {models[0].path} {', '.join(labels)}; only "
                "models with the same labels in the same order can be compared"
            )
    checksums = [hashlib.sha256(model.path.read_bytes()).hexdigest() for model in models]
    if len(set(checksums)) < len(models):
        raise ModelError(f"{len(models)} models, two of which are the same file; name each once")
    material = gather(
        plan.data,
        labels,
        [m.metadata.training for m in models],
        heard_too=plan.heard_too,
        speaker_pattern=plan.speaker_pattern,
        notice=notice,
    )
    digest = _digest(material)
    with contextlib.ExitStack() as stack:
        journals = [
            stack.enter_context(_journal(plan.output, checksum, digest, model.judgement))
            for checksum, model in zip(checksums, models, strict=True)
        ]
        return _Evaluation(models, checksums, material, digest, journals, plan, report).run()


class _Evaluation:
    """One call of `evaluate`: what its parts share."""

    def __init__(
        self,
        models: Sequence[EmotionModel],
        checksums: Sequence[str],
        material: Material,
        digest: str,
        journals: Sequence[Journal],
        plan: Plan,
        report: Report,
    ) -> None:
        self._models, self._checksums, self._material = models, checksums, material
        self._digest, self._journals, self._plan, self._report = digest, journals, plan, report
        self._sample: Indices = material.sample(plan.n_robustness)
        self._conditions, self._not_measured = conditions() if len(self._sample) else ([], {})
        self._learning = [k for k, model in enumerate(models) if model.metadata.learns]
        self._before = (
            *map(after, plan.history),
            *(named(n) for n in plan.history if n > 1 for named in (after_alike, after_two)),
            *map(after_neutral, plan.enrolled),
        )
        if self._before and not self._learning:
            models[0].profile({}, n_utterances=0)  # says why not
        if self._before and not material.n_speakers:
            raise CorpusError(
                "what a speaker said before is asked for, but speakers are unknown; leave out --history and "
                "--enrolled, or name them with --speaker-pattern, such as '(\\d+)_'"
            )
        # Before the long work, so that a wrong folder is told at once; once for all models.
        self._no_voice_files = _with_digests(plan.no_voice)
        self._plain_files = _with_digests(plan.plain)

    def run(self) -> Evaluation:
        self._hear()
        answers = [self._answers(i, CLEAN, self._material) for i in range(len(self._models))]
        names = [model.metadata.variant for model in self._models]
        results = [self._result(i, answers[i]) for i in range(len(self._models))]
        evaluation = Evaluation(
            edgeemo=__version__,
            onnxruntime=ort.__version__,
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            command=self._plan.command,
            data=str(self._plan.data),
            clips=self._digest,
            labels=self._material.labels,
            left_out=self._material.left_out,
            interval="speakers" if self._material.over_speakers else "clips",
            not_measured=self._not_measured,
            models=tuple(results),
            differences=tuple(
                Difference(
                    model=name, other=names[0], uar=conclusions.difference(each.always, answers[0].always)
                )
                for name, each in zip(names[1:], answers[1:], strict=True)
            ),
        )
        write_text(self._plan.output / "evaluation.json", json.dumps(evaluation.to_dict(), indent=1) + "\n")
        return evaluation

    def _hear(self) -> None:
        """Have every clip heard that the journals do not know yet."""
        sampled = set(self._sample.tolist())
        all_of_them = range(len(self._models))
        thorough: dict[str, Sequence[int]] = dict.fromkeys(
            [STEPS, *(c.name for c in self._conditions)], all_of_them
        )
        thorough |= dict.fromkeys(self._before, self._learning)
        tasks = []
        for i, clip in enumerate(self._material.clips):
            wanted = {
                name: tuple(k for k in positions if (name, clip.sha256) not in self._journals[k])
                for name, positions in ({CLEAN: all_of_them} | (thorough if i in sampled else {})).items()
            }
            if any(wanted.values()):
                tasks.append(Task(clip, {name: positions for name, positions in wanted.items() if positions}))
        heard = hear_all(self._models, tasks, self._material.clips, n_jobs=self._plan.n_jobs)
        n_done, n_all = len(self._material.clips) - len(tasks), len(self._material.clips)
        self._report("clips", n_done, n_all)
        for n, (task, answers) in enumerate(heard, start=n_done + 1):
            for position, condition, answer in answers:
                self._journals[position].add([(condition, task.clip.sha256, answer)])
            self._report("clips", n, n_all)

    def _result(self, position: int, answers: conclusions.Answers) -> ModelResult:
        model, journal = self._models[position], self._journals[position]
        training = model.metadata.training
        part = answers.of(self._sample)
        raw_steps = [journal[STEPS, clip.sha256] for clip in part.material.clips]
        steps = conclusions.step_labels(raw_steps, model.labels, model.judgement)
        step_s = model.metadata.step_s
        return ModelResult(
            name=model.metadata.variant,
            checksum=self._checksums[position],
            trained_on=training.corpora if training else (),
            temperature=model.judgement.temperature,
            unsure_below=model.judgement.unsure_below,
            scores=conclusions.scores(answers),
            corpora=conclusions.by_corpus(answers, training),
            speakers=conclusions.by_speaker(answers),
            confusion=tuple(tuple(row) for row in answers.counts()[:-1].tolist()),
            arousal_auc=conclusions.arousal_auc(answers),
            calibration=conclusions.calibration(answers),
            coverage=conclusions.coverage(answers),
            heard=conclusions.seconds_heard(steps, part, step_s) if steps else (),
            decision=conclusions.decision(steps, step_s),
            robustness=tuple(self._robustness(position, condition, part) for condition in self._conditions),
            history=tuple(
                conclusions.history(heard, self._answers(position, heard, part.material), part)
                for heard in (self._before if position in self._learning and len(self._sample) else ())
            ),
            no_voice=self._no_voice(model, journal),
            plain=self._plain(model, journal),
        )

    def _robustness(self, position: int, condition: Condition, clean: conclusions.Answers) -> Robustness:
        under = self._answers(position, condition.name, clean.material)
        return conclusions.robustness(condition.group, condition.name, under, clean)

    def _no_voice(self, model: EmotionModel, journal: Journal) -> tuple[NoVoice, ...]:
        j = model.judgement  # what is named depends on it; all other answers are kept as the graph gives them
        judged = f"temperature {j.temperature!r}, unsure below {j.unsure_below!r}"
        made_here, no_voice = f"made here, {judged}", f"no voice, {judged}"
        for n, name in enumerate(SOUNDS, start=1):
            if (made_here, name) not in journal:
                journal.add([(made_here, name, named_in_sound(model, name))])
            self._report("sounds", n, len(SOUNDS))
        rows = [_no_voice(name, [journal[made_here, name]]) for name in SOUNDS]
        if self._plan.no_voice is not None:
            counts = self._each(
                journal, no_voice, self._no_voice_files, lambda path: named_in_file(model, path)
            )
            rows.append(_no_voice(self._plan.no_voice.name, counts))
        return tuple(rows)

    def _plain(self, model: EmotionModel, journal: Journal) -> PlainSpeech | None:
        if self._plan.plain is None:
            return None
        answers = self._each(
            journal,
            "plain speech",
            self._plain_files,
            lambda path: whole(model, Clip.of_file(path, model.sample_rate)),
        )
        labels = [None if p is None else model.answer(np.array(p)).label for p in answers]
        return PlainSpeech(
            n_clips=len(labels),
            neutral_or_unnamed=sum(label is None or label in NEUTRAL for label in labels) / len(labels),
            shares={label: labels.count(label) / len(labels) for label in model.labels},
        )

    def _each(
        self,
        journal: Journal,
        condition: str,
        files: Sequence[tuple[str, Path]],
        answer: Callable[[Path], Answer],
    ) -> list[Any]:
        """An answer to each file."""
        for n, (digest, path) in enumerate(files, start=1):
            if (condition, digest) not in journal:
                journal.add([(condition, digest, answer(path))])
            self._report(condition, n, len(files))
        return [journal[condition, digest] for digest, _ in files]

    def _answers(self, position: int, condition: str, material: Material) -> conclusions.Answers:
        journal, judgement = self._journals[position], self._models[position].judgement
        heard = [journal[condition, clip.sha256] for clip in material.clips]
        return conclusions.Answers.from_lists(material, heard, judgement)


def _journal(output: Path, checksum: str, digest: str, judgement: Judgement) -> Journal:
    circumstances = {
        "model": checksum,
        "clips": digest,
        "needs_voice": judgement.needs_voice,  # of a judgement, the one thing that changes what is heard
        "edgeemo": __version__,
        "onnxruntime": ort.__version__,
    }
    return Journal(output / "answers" / f"{checksum[:16]}.jsonl", circumstances)


def _with_digests(folder: Path | None) -> list[tuple[str, Path]]:
    """The audio files of a folder with the digests of their bytes; none without a folder."""
    paths = [] if folder is None else find_audio([folder])
    return [(hashlib.sha256(path.read_bytes()).hexdigest(), path) for path in paths]


def _digest(material: Material) -> str:
    """Of the clips and what they are judged as, in no order."""
    lines = sorted(
        f"{clip.sha256} {material.labels[truth]} {clip.corpus} {clip.speaker}"
        for clip, truth in zip(material.clips, material.truth, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _no_voice(sound: str, counts: Sequence[dict[str, int]]) -> NoVoice:
    n_steps = sum(count["n_steps"] for count in counts)
    n_named = sum(count["n_named"] for count in counts)
    return NoVoice(sound=sound, n_steps=n_steps, named=n_named / n_steps if n_steps else 0.0)
