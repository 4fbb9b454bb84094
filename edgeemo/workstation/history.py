"""What a voice usually sounds like, as a network meets it in training: other clips of the speaker in the same batch.

A network with a history has a second input, `speaker`, and three layers of these names: `own`, over the embedding of
a clip; `history`, which gives the embedding less the mean embedding of other clips of the speaker; `relative`, over
that. The logits are the sum of both; in a committee, those of its first member, and the others have no history.
Outside training there is no history, and only `own` speaks; a stream graph makes one of the utterances that it has
heard (`graphs/baseline.py`).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import KerasTensor, layers, ops

from edgeemo.workstation.committee import Committee, members
from edgeemo.workstation.speakers import UNKNOWN


@keras.saving.register_keras_serializable(package="edgeemo")
class History(layers.Layer):  # type: ignore[misc] # keras has no types
    """Embeddings less the mean embedding of what was heard before of the speaker; zeros where nothing was.

    In training, that is any other clips of the speaker in the batch: of each clip, a share drawn anew decides how
    many, and some clips have none. The mean is a given: no gradient flows through it. Outside training all are zeros.

    Args:
        without_share: share of the clips that have no history.
    """

    def __init__(self, without_share: float = 0.3, **settings: Any) -> None:
        super().__init__(**settings)
        self.without_share = without_share
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, embedding: KerasTensor, speaker: KerasTensor, training: bool = False) -> KerasTensor:
        """Of embeddings `(n, n_values)` and numbers of speakers `(n,)`; of the embeddings' shape."""
        if not training:
            return ops.zeros_like(embedding)
        n = ops.shape(embedding)[0]
        same = ops.logical_and(speaker[:, None] == speaker[None, :], speaker[:, None] != UNKNOWN)
        others = ops.logical_and(same, ops.logical_not(ops.eye(n, dtype="bool")))
        share = keras.random.uniform((n, 1), seed=self.seed_generator)
        heard = ops.logical_and(others, keras.random.uniform((n, n), seed=self.seed_generator) < share)
        has = keras.random.uniform((n, 1), seed=self.seed_generator) >= self.without_share
        weights = ops.cast(ops.logical_and(heard, has), embedding.dtype)
        count = ops.sum(weights, axis=1, keepdims=True)
        mean = ops.matmul(weights, ops.stop_gradient(embedding)) / ops.maximum(count, 1)
        return ops.where(count > 0, embedding - mean, 0.0)

    def compute_output_shape(
        self, embedding_shape: tuple[int | None, ...], speaker_shape: object
    ) -> tuple[int | None, ...]:
        """The embeddings'."""
        del speaker_shape
        return embedding_shape

    def get_config(self) -> dict[str, Any]:
        """What the layer is made from."""
        return {**super().get_config(), "without_share": self.without_share}


def own_and_relative(
    embedding: KerasTensor, n_labels: int, dropout: float
) -> tuple[KerasTensor, KerasTensor, KerasTensor]:
    """The input `speaker`, and the logits that the layers `own` and `relative` make of an embedding.

    Args:
        embedding: shape `(n_values,)`.
        n_labels: classes.
        dropout: rate before each of the two.
    """
    speaker = layers.Input((), name="speaker", dtype="int32")
    own = layers.Dense(n_labels, name="own")(layers.Dropout(dropout)(embedding))
    difference = layers.Dropout(dropout)(History(name="history")(embedding, speaker))
    # Zeros, so that it starts as a network without.
    relative = layers.Dense(n_labels, use_bias=False, kernel_initializer="zeros", name="relative")(difference)
    return speaker, own, relative


def has_history(model: keras.Model) -> bool:
    """Whether a network tells speakers' usual from their unusual."""
    return any(isinstance(layer, History) for layer in model.layers)


def without_history(model: keras.Model) -> keras.Model:
    """The network as it is where nothing was heard before: `features` -> `probabilities`; it shares the weights."""
    if not has_history(model):
        return model
    own = model.get_layer("own").output
    answer = layers.Softmax(name="probabilities")(own)
    if members(model) > 1:
        answer = Committee(name="probabilities")([own, *model.layers[-1].input[1:]])
    return keras.Model(model.inputs[0], answer, name=model.name)


def relative_weights(model: keras.Model) -> npt.NDArray[np.float32] | None:
    """What a difference adds to the logits, shape `(n_values, n_labels)`; None of a network without a history."""
    if not has_history(model):
        return None
    kernel: npt.NDArray[np.float32] = model.get_layer("relative").kernel.numpy()
    return kernel / np.float32(members(model))
