"""The emotions of the corpora, and the explicit maps from them to the labels of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise", "boredom")
"""Every emotion a manifest can hold, under one spelling for all corpora."""

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


def _identity(name: str, labels: tuple[str, ...]) -> LabelMap:
    return LabelMap(name, labels, MappingProxyType({label: label for label in labels}))


def as_label(emotion: str, labels: Sequence[str]) -> str | None:
    """The label that is right for an emotion; None where there is none. Calm is neutral where it is no label."""
    for label in (emotion, "neutral" if emotion == "calm" else emotion):
        if label in labels:
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
"""The label maps of speech by name. "boredom" (EmoDB) is in none: such clips are left out, with a count."""

LABEL_MAPS: Mapping[str, LabelMap] = MappingProxyType(
    {
        **SPEECH_LABEL_MAPS,
        # Image corpora: their own classes, in the order of their numbers or folders.
        "fashion10": _identity("fashion10", FASHION_MNIST_CLASSES),
        "fer7": _identity("fer7", FER2013_CLASSES),
    }
)
"""All label maps by name."""
