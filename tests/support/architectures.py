"""Architectures that others published, small, from their descriptions; and how they come out as windows and streams.

A test holds what comes out, and `benchmarks/architectures.py` tabulates it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from edgeemo.errors import ExportError
from edgeemo.workstation.graphs.network import network_graph
from edgeemo.workstation.graphs.simplify import simplify
from edgeemo.workstation.graphs.stream import delayed_stream, stream
from edgeemo.workstation.graphs.walk import EXTENT
from support.graphs import run, runner
from support.networks import randomise

N_MELS, WINDOW, STEP = 8, 16, 4
Body = Callable[[Any], Any]
STREAMED: dict[str, Body] = {}
DELAYED: dict[str, tuple[Body, int]] = {}
"""What looks ahead, and by how many frames its answers come late."""
REFUSED: dict[str, tuple[Body, str]] = {}
"""With what the refusal says: the operator, the layer, and the remedy."""


def streamed(body: Body) -> Body:
    STREAMED[body.__name__] = body
    return body


def delayed(n_frames: int) -> Callable[[Body], Body]:
    def register(body: Body) -> Body:
        DELAYED[body.__name__] = (body, n_frames)
        return body

    return register


def refused(words: str) -> Callable[[Body], Body]:
    def register(body: Body) -> Body:
        REFUSED[body.__name__] = (body, words)
        return body

    return register


def bodies() -> dict[str, Body]:
    """All architectures by name."""
    with_more = {name: body for name, (body, _) in {**DELAYED, **REFUSED}.items()}
    return {**STREAMED, **with_more}


@dataclass(frozen=True)
class Outcome:
    """What comes of an architecture.

    Attributes:
        n_weights: of the small network that is built here.
        window: the largest difference of a probability between the window graph and Keras.
        stream: likewise of the stream's last answers and Keras on the whole utterance, of a window's length and
            longer; None where it is refused.
        range: how far the answers differ from step to step.
        n_late: frames by which the answers come late.
        refusal: why there is no stream without a delay; None where there is one.
    """

    n_weights: int
    window: float
    stream: float | None = None
    range: float = 0.0
    n_late: int = 0
    refusal: str | None = None


def outcome(name: str) -> Outcome:
    """Build an architecture with random weights, convert it, and run it beside Keras."""
    body = bodies()[name]
    keras.utils.set_random_seed(len(name))
    model = randomise(network(body, WINDOW), seed=len(name))
    graph = network_graph(model, n_frames=WINDOW, n_mels=N_MELS, n_labels=3)
    simplify(graph)
    features = np.random.default_rng(0).normal(0, 1, (WINDOW + 2 * STEP, N_MELS)).astype(np.float32)
    of_window = model(features[np.newaxis, :WINDOW], training=False).numpy()
    window = float(np.abs(run(graph, features[:WINDOW]) - of_window).max())
    refusal = None
    try:
        stream(graph, step_frames=STEP)
    except ExportError as error:
        refusal = str(error)
    try:
        streamed, states, n_late = delayed_stream(graph, step_frames=STEP)
    except ExportError:
        return Outcome(model.count_params(), window, refusal=refusal)
    longer = network(body, len(features))
    longer.set_weights(model.get_weights())
    differences, step = [], runner(streamed)
    for of_keras, heard in ((of_window, features[:WINDOW]), (longer(features[np.newaxis]).numpy(), features)):
        carried = {state.name: np.zeros(state.shape, np.float32) for state in states}
        if n_late:
            carried[EXTENT][1] = len(heard)
        answers = []
        for part in np.split(np.pad(heard, ((0, n_late), (0, 0))), (len(heard) + n_late) // STEP):
            answer, *following = step(part[np.newaxis], *carried.values())
            carried = dict(zip(carried, following, strict=True))
            answers.append(answer)
        differences.append(float(np.abs(answers[-1] - of_keras).max()))
    return Outcome(
        model.count_params(),
        window,
        stream=max(differences),
        range=float(np.ptp(answers, axis=0).max()),
        n_late=n_late,
        refusal=refusal,
    )


def network(body: Body, n_frames: int) -> keras.Model:
    inputs = layers.Input((n_frames, N_MELS))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(body(inputs)), name="public")


def conv(x: Any, n: int, kernel: int, *, dilation: int = 1, stride: int = 1, groups: int = 1) -> Any:
    return layers.Conv1D(
        n, kernel, padding="causal", dilation_rate=dilation, strides=stride, groups=groups
    )(x)  # fmt: skip


def depthwise(x: Any, kernel: int, *, dilation: int = 1) -> Any:
    past = layers.ZeroPadding1D(((kernel - 1) * dilation, 0))(x)
    return layers.DepthwiseConv1D(kernel, dilation_rate=dilation)(past)


def causal2d(x: Any, layer: Any) -> Any:
    """A convolution of three frames and three bands: past frames, and bands on both sides."""
    return layer(layers.ZeroPadding2D(((2, 0), (1, 1)))(x))


def normal(x: Any) -> Any:
    return layers.ReLU()(layers.BatchNormalization()(x))


def image(x: Any) -> Any:
    return layers.Reshape((-1, N_MELS, 1))(x)


@streamed
def tc_resnet8(x: Any) -> Any:
    """Choi and others 2019: bands are channels; temporal convolutions of 9, with stride 2 and a shortcut."""
    x = conv(x, 6, 3)
    for n in (8, 10):
        y = normal(conv(x, n, 9, stride=2 if n == 8 else 1))
        y = layers.BatchNormalization()(conv(y, n, 9))
        x = layers.ReLU()(layers.Add()([y, normal(conv(x, n, 1, stride=2 if n == 8 else 1))]))
    return layers.GlobalAveragePooling1D()(x)


@streamed
def ds_cnn(x: Any) -> Any:
    """Zhang and others 2017: depthwise separable convolutions over frames and bands."""
    x = normal(causal2d(image(x), layers.Conv2D(4, 3)))
    x = normal(layers.Conv2D(6, 1)(normal(causal2d(x, layers.DepthwiseConv2D(3)))))
    return layers.GlobalAveragePooling2D()(x)


@streamed
def bc_resnet(x: Any) -> Any:
    """Kim and others 2021: what is computed of the mean of the bands is added to every band."""
    x = layers.Conv2D(4, 1)(image(x))
    bands = layers.BatchNormalization()(layers.DepthwiseConv2D((1, 3), padding="same")(x))
    frames = ops.mean(bands, axis=2, keepdims=True)
    frames = layers.DepthwiseConv2D((3, 1))(layers.ZeroPadding2D(((2, 0), (0, 0)))(frames))
    frames = layers.Conv2D(4, 1)(layers.Activation("swish")(layers.BatchNormalization()(frames)))
    return layers.GlobalAveragePooling2D()(layers.ReLU()(x + bands + frames))


@streamed
def matchboxnet(x: Any) -> Any:
    """Majumdar and Ginsburg 2020: separable convolutions over time, a residual of a pointwise one."""
    y = x
    for dilation in (1, 2):
        y = normal(conv(depthwise(y, 3, dilation=dilation), 6, 1))
    return layers.GlobalAveragePooling1D()(layers.Add()([y, layers.BatchNormalization()(conv(x, 6, 1))]))


@streamed
def svdf(x: Any) -> Any:
    """Alvarez and Park 2019: a product with the bands, then one filter over time for each unit."""
    for n in (8, 6):
        x = layers.ReLU()(depthwise(layers.Dense(n, use_bias=False)(x), 5))
    return layers.Lambda(lambda v: v[:, -1, :])(x)


@streamed
def tim_net_block(x: Any) -> Any:
    """Ye and others 2023: two dilated causal convolutions give the gate of what went in."""
    x, pooled = conv(x, 6, 1), []
    for dilation in (1, 2, 4):
        y = x
        for _ in range(2):
            y = layers.SpatialDropout1D(0.1)(normal(conv(y, 6, 2, dilation=dilation)))
        x = layers.Multiply()([layers.Activation("sigmoid")(y), x])
        pooled.append(layers.GlobalAveragePooling1D()(x))
    return layers.Average()(pooled)


@streamed
def light_sernet(x: Any) -> Any:
    """Aftab and others 2022: three parallel convolutions, of time, of bands, and of both."""
    x = image(x)
    time = layers.Conv2D(3, (5, 1))(layers.ZeroPadding2D(((4, 0), (0, 0)))(x))
    bands = layers.Conv2D(3, (1, 5), padding="same")(x)
    both = causal2d(x, layers.Conv2D(3, 3))
    x = layers.Concatenate()([layers.AveragePooling2D(2)(normal(branch)) for branch in (time, bands, both)])
    return layers.GlobalAveragePooling2D()(normal(causal2d(x, layers.Conv2D(6, 3))))


@streamed
def res_lstm(x: Any) -> Any:
    """LSTM layers with a residual each, and attention pooling."""
    x = layers.Dense(6)(x)
    for _ in range(2):
        x = layers.LayerNormalization()(layers.Add()([x, layers.LSTM(6, return_sequences=True)(x)]))
    weights = layers.Softmax(axis=1)(layers.Dense(1)(layers.Dense(4, activation="tanh")(x)))
    return ops.sum(x * weights, axis=1)


@streamed
def crnn(x: Any) -> Any:
    """Convolutions, then a recurrent layer over time."""
    x = layers.MaxPooling2D((2, 2))(layers.ELU(alpha=0.5)(causal2d(image(x), layers.Conv2D(4, 3))))
    x = layers.TimeDistributed(layers.Flatten())(x)
    return layers.GRU(5)(layers.TimeDistributed(layers.Dense(6, activation="relu"))(x))


@streamed
def tcn(x: Any) -> Any:
    """Bai and others 2018: padded on both sides, the end cut off; the last position is the answer."""
    for dilation in (1, 2, 4):
        y, n = x, 2 * dilation
        for _ in range(2):
            y = layers.Conv1D(8, 3, dilation_rate=dilation)(layers.ZeroPadding1D(n)(y))
            y = layers.ReLU()(layers.Cropping1D((0, n))(y))
        x = layers.ReLU()(layers.Add()([x, y]))
    return x[:, -1]


@streamed
def squeeze_excite_of_frames(x: Any) -> Any:
    """A gate for each frame, of that frame's bands."""
    x = causal2d(image(x), layers.Conv2D(4, 3))
    gate = layers.Dense(4, activation="hard_sigmoid")(layers.Dense(2, activation="relu")(ops.mean(x, axis=2)))
    return layers.GlobalMaxPooling2D()(x * layers.Reshape((-1, 1, 4))(gate))


@streamed
def inception(x: Any) -> Any:
    """Branches of several kernels, joined, with a residual."""
    y = layers.Concatenate()([conv(x, 4, 1), conv(x, 4, 3), conv(conv(x, 3, 1), 4, 5)])
    return layers.GlobalMaxPooling1D()(layers.PReLU(shared_axes=[1])(layers.Add()([y, layers.Dense(12)(x)])))


@streamed
def gru_stack(x: Any) -> Any:
    """Two GRUs with layer normalisation; the last output."""
    for _ in range(2):
        x = layers.LayerNormalization()(layers.GRU(5, return_sequences=True)(x))
    return x[:, -1, :]


@streamed
def lstm_stack(x: Any) -> Any:
    """Two LSTMs with layer normalisation; their mean."""
    for _ in range(2):
        x = layers.LayerNormalization()(layers.LSTM(5, return_sequences=True)(x))
    return layers.GlobalAveragePooling1D()(x)


@streamed
def other_recurrent_layers(x: Any) -> Any:
    """Of Keras 1's GRU, without biases, and the simplest one; their states joined."""
    states = [
        layers.GRU(4, reset_after=False)(x),
        layers.GRU(4, use_bias=False)(x),
        layers.SimpleRNN(4)(x),
    ]
    return layers.Concatenate()(states)


@streamed
def mb_conv(x: Any) -> Any:
    """EfficientNet's block over time: wide, depthwise, narrow, with swish."""
    y = layers.Activation("swish")(layers.BatchNormalization()(conv(x, 16, 1)))
    y = layers.Activation("swish")(layers.BatchNormalization()(depthwise(y, 3)))
    return layers.GlobalAveragePooling1D()(layers.Add()([x, layers.BatchNormalization()(conv(y, N_MELS, 1))]))


@streamed
def conv_next(x: Any) -> Any:
    """Liu and others 2022, over time: depthwise 7, layer normalisation, GELU."""
    y = layers.LayerNormalization()(depthwise(x, 7))
    y = layers.Dense(N_MELS)(layers.Dense(16, activation="gelu")(y))
    return layers.GlobalAveragePooling1D()(layers.Add()([x, y]))


@streamed
def wavenet(x: Any) -> Any:
    """Van den Oord and others 2016: gated dilated convolutions; the skips are summed."""
    x, skips = conv(x, 6, 1), []
    for dilation in (1, 2, 4):
        y = layers.Activation("tanh")(conv(x, 6, 2, dilation=dilation))
        y = y * layers.Activation("sigmoid")(conv(x, 6, 2, dilation=dilation))
        skips.append(conv(y, 5, 1))
        x = layers.Add()([x, conv(y, 6, 1)])
    return layers.GlobalAveragePooling1D()(layers.ReLU()(layers.Add()(skips)))


@streamed
def grouped_convolutions(x: Any) -> Any:
    """ResNeXt over time."""
    return layers.GlobalAveragePooling1D()(layers.Activation("celu")(conv(conv(x, 8, 1), 8, 3, groups=4)))


@streamed
def repeated_attention(x: Any) -> Any:
    """The attention of many published LSTMs: a softmax of flattened scores, repeated for each unit."""
    x = layers.LSTM(6, return_sequences=True)(x)
    weights = layers.Activation("softmax")(layers.Flatten()(layers.Dense(1, activation="tanh")(x)))
    weights = layers.Permute((2, 1))(layers.RepeatVector(6)(weights))
    return ops.mean(x * weights, axis=1)


@streamed
def einsum_attention(x: Any) -> Any:
    """Two weighted sums over time, written as one einsum."""
    weights = layers.Softmax(axis=1)(layers.Dense(2)(x))
    return layers.Flatten()(ops.einsum("btd,bth->bhd", x, weights))


@refused("Mul .*: it brings what is known of the whole window into each position; combine positions")
def squeeze_excite(x: Any) -> Any:
    """Hu and others 2018: the gate is of the whole window."""
    gate = layers.Dense(N_MELS, activation="sigmoid")(layers.GlobalAveragePooling1D(keepdims=True)(x))
    return layers.GlobalAveragePooling1D()(layers.Multiply()([x, gate]))


@refused("Sub .*: it brings what is known of the whole window into each position; combine positions")
def x_vector(x: Any) -> Any:
    """Snyder and others 2018: mean and standard deviation over time."""
    x = conv(x, 6, 3)
    return ops.concatenate([ops.mean(x, axis=1), ops.std(x, axis=1)], axis=-1)


@refused(
    "ConvTranspose public[^:]*conv1d_transpose.*: it has no streaming form; leave it out, or export a window graph"
)
def transposed_convolution(x: Any) -> Any:
    """An upsampling layer."""
    return layers.GlobalAveragePooling1D()(layers.Conv1DTranspose(4, 3, strides=2, padding="same")(x))


@refused("LSTM .*: it runs bidirectional; use a forward layer")
def bidirectional(x: Any) -> Any:
    """An LSTM in both directions."""
    return layers.Bidirectional(layers.LSTM(4))(x)


@refused("MatMul .*: it compares positions .*; whole-sequence attention has no streaming")
def transformer(x: Any) -> Any:
    """Vaswani and others 2017: every position is compared with every other."""
    y = layers.MultiHeadAttention(1, 4)(x, x)
    return layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x + y))


@delayed(4)
def same_padding(x: Any) -> Any:
    """A convolution as most people write it."""
    return layers.GlobalAveragePooling1D()(layers.Conv1D(4, 3, padding="same")(x))


@delayed(32)
def tc_resnet8_as_published(x: Any) -> Any:
    """Choi and others 2019: padded on both sides; the shortcut waits for the longer way."""
    x = layers.Conv1D(6, 3, padding="same")(x)
    for n in (8, 10):
        stride = 2 if n == 8 else 1
        y = normal(layers.Conv1D(n, 9, strides=stride, padding="same")(x))
        y = layers.BatchNormalization()(layers.Conv1D(n, 9, padding="same")(y))
        shortcut = normal(layers.Conv1D(n, 1, strides=stride, padding="same")(x))
        x = layers.ReLU()(layers.Add()([y, shortcut]))
    return layers.GlobalAveragePooling1D()(x)


@delayed(8)
def light_sernet_as_published(x: Any) -> Any:
    """Aftab and others 2022: three parallel convolutions, all padded on both sides."""
    x = image(x)
    branches = [layers.Conv2D(3, kernel, padding="same")(x) for kernel in ((9, 1), (1, 5), (3, 3))]
    x = layers.Concatenate()([layers.AveragePooling2D(2)(normal(branch)) for branch in branches])
    return layers.GlobalAveragePooling2D()(normal(layers.Conv2D(6, 3, padding="same")(x)))


@delayed(4)
def crnn_as_published(x: Any) -> Any:
    """Convolutions padded on both sides, then a recurrent layer and attention."""
    x = layers.MaxPooling2D((2, 2))(layers.Conv2D(4, 3, padding="same", activation="relu")(image(x)))
    x = layers.LSTM(5, return_sequences=True)(layers.TimeDistributed(layers.Flatten())(x))
    weights = layers.Softmax(axis=1)(layers.Dense(1)(x))
    return ops.sum(x * weights, axis=1)


@delayed(4)
def matchboxnet_as_published(x: Any) -> Any:
    """Majumdar and Ginsburg 2020: separable convolutions padded on both sides, and a residual."""
    y = x
    for kernel in (3, 5):
        y = normal(layers.SeparableConv1D(6, kernel, padding="same")(y))
    return layers.GlobalAveragePooling1D()(layers.Add()([y, layers.Conv1D(6, 1)(x)]))
