"""Networks of different kinds that answer together, as one network.

Two networks of one kind that are trained apart make the same mistakes; of two that hear speech differently, each
knows what the other does not. That only holds if each learns to answer alone: trained by their common answer, they
would share the work. So in training, the common answer is the geometric mean of the members' probabilities, not
normalised, whose cross-entropy is the mean of the members' cross-entropies. Outside training it is normalised: the
softmax of the mean of their logits, which is a logarithmic opinion pool (Heskes 1998, "Selecting weighting factors in
logarithmic opinion pools").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
from keras import KerasTensor, layers, ops

_SMALLEST = 1e-7


@keras.saving.register_keras_serializable(package="edgeemo")
class Committee(layers.Layer):  # type: ignore[misc] # keras has no types
    """The common answer of members, of their logits `(n, n_labels)` each: probabilities of the same shape."""

    def call(self, logits: Sequence[KerasTensor], training: bool = False) -> KerasTensor:
        """In training, the geometric mean of the members' probabilities; their sum is below 1."""
        if training:
            return ops.exp(_mean([ops.log_softmax(one) for one in logits]))
        return ops.softmax(_mean(logits))

    def compute_output_shape(self, logits_shape: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """That of one member's."""
        return logits_shape[0]


def _mean(values: Sequence[KerasTensor]) -> KerasTensor:
    return sum(values[1:], values[0]) / len(values)


def members(model: keras.Model) -> int:
    """How many networks answer together; 1 where it is no committee."""
    layer = model.layers[-1]
    return len(layer.input) if isinstance(layer, Committee) else 1


def cross_entropy(
    model: keras.Model, label_smoothing: float
) -> Callable[[KerasTensor, KerasTensor], KerasTensor]:
    """What a network learns by: Keras' cross-entropy, which would normalise what a committee leaves alone."""
    if members(model) == 1:
        loss: Callable[[KerasTensor, KerasTensor], KerasTensor] = keras.losses.CategoricalCrossentropy(
            label_smoothing=label_smoothing
        )
        return loss
    return CommitteeCrossEntropy(label_smoothing)


@keras.saving.register_keras_serializable(package="edgeemo")
class CommitteeCrossEntropy(keras.losses.Loss):  # type: ignore[misc]
    """The mean of the members' cross-entropies, of what `Committee` gives in training.

    Args:
        label_smoothing: the share of each label that all labels get alike.
    """

    def __init__(self, label_smoothing: float = 0.0, **settings: object) -> None:
        super().__init__(**settings)
        self.label_smoothing = label_smoothing

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Of labels and answers, both `(n, n_labels)`; of shape `(n,)`."""
        smooth = y_true * (1 - self.label_smoothing) + self.label_smoothing / y_true.shape[-1]
        return -ops.sum(smooth * ops.log(ops.clip(y_pred, _SMALLEST, 1.0)), axis=-1)

    def get_config(self) -> dict[str, object]:
        """What the loss is made from."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
