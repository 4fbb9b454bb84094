"""Keras 3's GRU in the form that tf2onnx recognises.

tf2onnx recognises a GRU by the operators of Keras 2's cell: `Split` of `BiasAdd` of `MatMul`, with the biases as
inputs of the loop. Keras 3 slices instead of splitting, and separates the biases inside the loop; tf2onnx would leave
a `Loop`.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf


def with_convertible_gru(model: keras.Model) -> keras.Model:
    """The same model for inference, with its GRU layers rewritten; the model itself if there is nothing to rewrite.

    Layers with biases and `reset_after=True` (Keras' default, which ONNX calls `linear_before_reset`) are rewritten;
    those inside another layer, such as `Bidirectional`, are not.
    """
    if not any(_is_convertible(layer) for layer in model.layers):
        return model
    clone = keras.models.clone_model(model, clone_function=_rewritten)
    for layer in model.layers:
        if _is_convertible(layer):
            copy = clone.get_layer(layer.name)
            copy.set_weights(layer.get_weights())
            copy.cell.freeze_biases()
    return clone


def _is_convertible(layer: keras.layers.Layer) -> bool:
    return type(layer) is keras.layers.GRU and layer.cell.reset_after and layer.cell.use_bias


def _rewritten(layer: keras.layers.Layer) -> keras.layers.Layer:
    if not _is_convertible(layer):
        return layer
    return _ConvertibleGRU(
        _ConvertibleCell.from_config(layer.cell.get_config()),
        return_sequences=layer.return_sequences,
        return_state=layer.return_state,
        go_backwards=layer.go_backwards,
        name=layer.name,
    )


class _ConvertibleCell(keras.layers.GRUCell):  # type: ignore[misc]  # Keras publishes no types
    def freeze_biases(self) -> None:
        self._frozen = [tf.Variable(bias) for bias in self.bias.numpy()]

    def read_biases(self) -> None:
        """To be called outside the loop: the biases become inputs of its body, and not constants in it."""
        self._biases = [tf.convert_to_tensor(bias) for bias in self._frozen]

    def call(
        self, inputs: tf.Tensor, states: tf.Tensor | Sequence[tf.Tensor], training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor | list[tf.Tensor]]:
        state = states[0] if isinstance(states, list | tuple) else states
        projected = tf.nn.bias_add(tf.matmul(inputs, tf.convert_to_tensor(self.kernel)), self._biases[0])
        recurrent = tf.matmul(state, tf.convert_to_tensor(self.recurrent_kernel))
        recurrent = tf.nn.bias_add(recurrent, self._biases[1])
        x_z, x_r, x_h = tf.split(projected, 3, axis=-1)
        h_z, h_r, h_h = tf.split(recurrent, 3, axis=-1)
        z, r = self.recurrent_activation(x_z + h_z), self.recurrent_activation(x_r + h_r)
        output = z * state + (1 - z) * self.activation(x_h + r * h_h)
        return output, [output] if isinstance(states, list | tuple) else output


class _ConvertibleGRU(keras.layers.RNN):  # type: ignore[misc]  # Keras publishes no types
    def inner_loop(
        self,
        sequences: tf.Tensor,
        initial_state: Sequence[tf.Tensor],
        mask: tf.Tensor | None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        # While Keras clones the model, the weights are not there yet; what it computes then does not matter.
        if not hasattr(self.cell, "_frozen"):
            self.cell.freeze_biases()
        self.cell.read_biases()
        result: tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]] = super().inner_loop(
            sequences, initial_state, mask, training=training
        )
        return result
