"""The emotions of the corpora, and the explicit maps from them to the labels of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

EMOTIONS = (
    "neutral",
    "calm",
    "happy",
    "sad",
    "angry",
    "fear",
    "disgust",
    "surprise",
    "boredom",
    "frustration",
)
"""Every emotion of the known corpora, under one spelling for all; recordings of one's own may have other labels."""

_WORDS = {
    **{emotion: emotion for emotion in EMOTIONS},
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "anger": "angry",
    "fearful": "fear",
    "disgusted": "disgust",
    "surprised": "surprise",
    "bored": "boredom",
    "frustrated": "frustration",
}

OWN = "own"
"""In place of a label map: all labels that the data have."""

NEUTRAL = ("neutral", "calm")
"""Those that ordinary speech may be called."""

AROUSAL: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("angry", "fear", "happy", "surprise"), 1.0),
        **dict.fromkeys(("neutral", "calm", "sad"), 0.0),
    }
)
"""Which emotions are agitated (1), and which are calm (0). Those that are neither, such as disgust, are absent."""


@dataclass(frozen=True)
class LabelMap:
    """Which label of a model each emotion of a manifest is trained as."""

    name: str
    labels: tuple[str, ...]
    """The labels in the order of the model's output."""
    of: Mapping[str, str] = field(hash=False)
    """Emotion (of an image corpus: its class) -> label. One that is not a key is left out."""

    def index(self, emotion: str) -> int | None:
        """The position in `labels` that `emotion` is trained as; None if the map leaves that emotion out."""
        label = self.of.get(emotion)
        return None if label is None else self.labels.index(label)


FASHION_MNIST_CLASSES = (
    "t-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
"""Of Fashion-MNIST, in the order of its numbers."""
FER2013_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Of FER-2013, in the order of the numbers in `fer2013.csv`; the folders of the Kaggle archive have these names."""


def spelled(label: str) -> str:
    """A label of one's own as manifests spell it: one of `EMOTIONS` where it means one, else as it is."""
    return _WORDS.get(label.strip().casefold(), label.strip())


def listed(labels: Sequence[str]) -> LabelMap:
    """The label map of labels that someone lists, in that order: each stands for itself."""
    return LabelMap(OWN, tuple(labels), MappingProxyType({spelled(label): label for label in labels}))


def also(label_map: LabelMap, more: Mapping[str, str]) -> LabelMap:
    """A label map that trains further emotions as its labels, or known ones as others.

    Args:
        label_map: the map.
        more: emotion, as anyone spells it -> label.
    """
    of = {**label_map.of, **{spelled(emotion): label for emotion, label in more.items()}}
    return LabelMap(label_map.name, label_map.labels, MappingProxyType(of))


def _identity(name: str, labels: tuple[str, ...]) -> LabelMap:
    return LabelMap(name, labels, MappingProxyType({label: label for label in labels}))


def as_label(emotion: str, labels: Sequence[str]) -> str | None:
    """The label that is right for an emotion; None where there is none. Calm is neutral where it is no label."""
    for wanted in (emotion, "neutral" if emotion == "calm" else emotion):
        for label in labels:
            if spelled(label) == wanted or label == wanted:
                return label
    return None


def _speech(name: str, labels: tuple[str, ...]) -> LabelMap:
    of = {emotion: label for emotion in EMOTIONS if (label := as_label(emotion, labels)) is not None}
    return LabelMap(name, labels, MappingProxyType(of))


_RAVDESS8 = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")

SPEECH_LABEL_MAPS: Mapping[str, LabelMap] = MappingProxyType(
    {
        # The eight classes of RAVDESS in the order of its emotion codes 01 to 08.
        "ravdess8": _speech("ravdess8", _RAVDESS8),
        # The published comparison mixes corpora, and only RAVDESS has "calm".
        "published7": _speech(
            "published7", ("neutral", "angry", "disgust", "fear", "happy", "sad", "surprise")
        ),
        # Those of CREMA-D, which nobody was asked to say surprised.
        "crema6": _speech("crema6", ("neutral", "angry", "disgust", "fear", "happy", "sad")),
    }
)
"""The label maps of speech by name.

"boredom" (EmoDB) and "frustration" (IEMOCAP) are in none: such clips are left out, with a count.
"""

LABEL_MAPS: Mapping[str, LabelMap] = MappingProxyType(
    {
        **SPEECH_LABEL_MAPS,
        # Image corpora: their own classes, in the order of their numbers or folders.
        "fashion10": _identity("fashion10", FASHION_MNIST_CLASSES),
        "fer7": _identity("fer7", FER2013_CLASSES),
    }
)
"""All label maps by name."""
