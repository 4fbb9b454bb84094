"""Which clips a model is judged by, as which of its labels, and whether it has heard them in training."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgeemo.corpora.find import find_clips, understood
from edgeemo.corpora.labels import as_label, spelled
from edgeemo.corpora.manifest import Clip
from edgeemo.corpora.names import is_of
from edgeemo.errors import CorpusError
from edgeemo.evaluation.measures import Indices
from edgeemo.evidence import Training

UNKNOWN_SPEAKERS = frozenset({"", "unknown"})
"""What manifests say where nobody knows who speaks."""


@dataclass(frozen=True, eq=False)
class Material:
    """Clips with the labels that are right.

    Attributes:
        clips: what is judged by.
        truth: the index of the right label of each, shape `(n_clips,)`.
        labels: the model's.
        left_out: why clips of the data are not among them, and how many.
    """

    clips: tuple[Clip, ...]
    truth: Indices
    labels: tuple[str, ...]
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def speakers(self) -> list[str]:
        """Who speaks in each clip."""
        return [clip.speaker for clip in self.clips]

    @property
    def over_speakers(self) -> bool:
        """Whether intervals can be over speakers: all are known, and there are at least two."""
        return self.n_speakers > 1

    @property
    def n_speakers(self) -> int:
        """How many people speak; 0 where that is not known of every clip."""
        speakers = set(self.speakers)
        return 0 if speakers & UNKNOWN_SPEAKERS else len(speakers)

    def of(self, indices: Indices) -> Material:
        """Some of the clips."""
        return Material(tuple(self.clips[i] for i in indices), self.truth[indices], self.labels)

    def sample(self, n_clips: int) -> Indices:
        """Indices of `n_clips` of them, or of all; every corpus, speaker and emotion alike, the same each time."""
        groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for i in sorted(range(len(self.clips)), key=lambda i: self.clips[i].sha256):
            clip = self.clips[i]
            groups[clip.corpus, clip.speaker, clip.emotion].append(i)
        places = [
            (rank, self.clips[i].sha256, i) for group in groups.values() for rank, i in enumerate(group)
        ]
        return np.array(sorted(i for *_, i in sorted(places)[:n_clips]), np.int64)


def has_heard(training: Training | None, clip: Clip) -> bool:
    """Whether the speaker of a clip has trained a model, or chosen its epoch; of one who is unknown, whether that may
    be.
    """
    if training is None:
        return False
    known = any(clip.corpus == corpus or is_of(clip.speaker, corpus) for corpus in training.corpora)
    return known and clip.speaker not in training.test_speakers


def exposure(training: Training | None, corpus: str) -> str:
    """What a model knows of a corpus, in words."""
    if training is None:
        return "training not stated"
    if corpus not in training.corpora:
        return "never heard"
    return "speakers never heard"


def _mapped(training: Training | None) -> Mapping[str, str]:
    """What a model's recipe trained as something else: what the data call it -> a label of the model."""
    table = (training.recipe or {}).get("labels") if training is not None else None
    return {spelled(emotion): str(label) for emotion, label in (table or {}).items()}


def gather(
    data: Path,
    labels: tuple[str, ...],
    trainings: Sequence[Training | None],
    *,
    heard_too: bool,
    speaker_pattern: str | None = None,
    notice: Callable[[str], None] = lambda line: None,
) -> Material:
    """The clips of whatever `corpora.find` finds.

    Args:
        data: a folder, a manifest or a table.
        labels: of the models.
        trainings: of the models.
        heard_too: keep clips of speakers that trained a model or chose its epoch.
        speaker_pattern: finds speakers in paths, as `corpora.find` has it.
        notice: told how data of one's own were understood, line by line.

    Raises:
        CorpusError: there are none.
    """
    left_out: Counter[str] = Counter()
    kept = []
    manifest = find_clips(data, speaker_pattern=speaker_pattern)
    for line in understood(manifest):
        notice(line)
    mapped = _mapped(trainings[0])
    for clip in manifest.clips:
        label = as_label(mapped.get(clip.emotion, clip.emotion), labels)
        if label is None:
            left_out[f"{clip.emotion}: not a label of the model"] += 1
        elif not heard_too and any(has_heard(training, clip) for training in trainings):
            heard = "was heard" if clip.speaker else "is unknown, and may have been heard"
            left_out[f"{clip.corpus}: its speaker {heard} in training or validation"] += 1
        else:
            kept.append((clip, labels.index(label)))
    if not kept:
        reasons = "; ".join(f"{n} x {reason}" for reason, n in left_out.items())
        raise CorpusError(
            f"no clip of {str(data)!r} is left to judge by ({reasons}); give data that the model never heard, or "
            "--heard to score it all the same"
        )
    return Material(
        tuple(clip for clip, _ in kept), np.array([i for _, i in kept], np.int64), labels, dict(left_out)
    )
