"""The whole front end, alone or before a network: raw PCM in.

The graph holds no DFT matrix and no mel matrix: together they take over a megabyte, more than most of the networks
that they feed. It holds a cosine table and the edges of the mel bands, and a few operators that compute the matrices
from these; onnxruntime does that once, when it loads the model.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeemo.features import Features
from edgeemo.session import session_options
from edgeemo.workstation.graphs.editing import OPSET, as_model, open_session, remove_unused
from edgeemo.workstation.graphs.frontend.cepstra import add_cepstra, add_deltas, add_energy
from edgeemo.workstation.graphs.frontend.compression import add_compression
from edgeemo.workstation.graphs.frontend.framing import add_frames, add_window_function
from edgeemo.workstation.graphs.frontend.levelling import Frames, Heard, add_levelling
from edgeemo.workstation.graphs.frontend.mel import add_mel
from edgeemo.workstation.graphs.frontend.normalisation import add_normalisation
from edgeemo.workstation.graphs.frontend.transform import Transform
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.past import Past, Zeros

PREFIX = "frontend/"


class FrontEnd:
    """The front-end graph, loaded: what training and tests compute features with.

    Args:
        features: front-end settings.
        n_threads: onnxruntime threads.
    """

    def __init__(self, features: Features, *, n_threads: int = 1) -> None:
        self.features = features
        self._session = open_session(frontend_model(features), session_options(n_threads))

    def __call__(self, audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Compute features.

        Args:
            audio: mono float32, shape `(n_clips, n_samples)`, at least `features.least_samples` long.

        Returns:
            float32, shape `(n_clips, features.n_frames(n_samples), n_columns)`; of causal frames, samples after the
            last whole hop are left out.
        """
        if self.features.framing == "causal":
            audio = audio[:, : audio.shape[1] // self.features.hop_samples * self.features.hop_samples]
        # Clip by clip: the frames of a batch, in double precision, would not fit the processor's cache.
        return np.concatenate([self._session.run(None, {"audio": clip[np.newaxis]})[0] for clip in audio])


class Levelling:
    """The front end's last stage, loaded: from mel power to features, by the same nodes.

    Args:
        features: front-end settings.
    """

    def __init__(self, features: Features) -> None:
        self._session = open_session(levelling_model(features), session_options(1))

    def __call__(self, power: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Compute features.

        Args:
            power: of one clip, shape `(n_frames, n_mels)`.

        Returns:
            dB, float32, shape `(n_frames, n_columns)`.
        """
        features: npt.NDArray[np.float32] = self._session.run(None, {"power": power[np.newaxis]})[0][0]
        return features


def frontend_model(features: Features) -> ir.Model:
    """The front end alone: `audio (n_clips, n_samples)` -> `features (n_clips, n_frames, n_mels)`."""
    audio = ir.val("audio", dtype=ir.DataType.FLOAT, shape=("n_clips", "n_samples"))
    nodes = Nodes(PREFIX)
    return _alone(nodes, audio, add_frontend(nodes, audio, features, Zeros()).features, features)


def levelling_model(features: Features) -> ir.Model:
    """Its last stage alone: `power (n_clips, n_frames, n_mels)` -> `features`, of the same shape."""
    power = ir.val("power", dtype=ir.DataType.FLOAT, shape=("n_clips", "n_frames", features.n_mels))
    nodes = Nodes(PREFIX)
    logmel = add_compression(nodes, power, features, Zeros())
    heard = add_levelling(nodes, power, logmel, ("n_clips", "n_frames"), features, Zeros())
    return _alone(nodes, power, heard.features, features)


def _alone(nodes: Nodes, given: ir.Value, output: ir.Value, features: Features) -> ir.Model:
    output.name = "features"
    output.type, output.shape = given.type, ir.Shape(("n_clips", "n_frames", features.n_columns))
    graph = ir.Graph(
        [given],
        [output],
        nodes=nodes.tape.nodes,
        initializers=nodes.tape.initializers,
        opset_imports={"": OPSET},
        name="frontend",
    )
    remove_unused(graph)
    return as_model(graph)


def add_frontend(nodes: Nodes, audio: ir.Value, features: Features, past: Past) -> Heard:
    """Add the front end's nodes.

    Args:
        nodes: records the nodes and constants.
        audio: shape `(n_clips, n_samples)`.
        features: front-end settings; of a stream, `features.causal`.
        past: what came before `audio`.
    """
    transform = Transform(features)
    audio_frames = add_frames(nodes, audio, features, past)
    spectrum = transform.add(nodes, add_window_function(nodes, audio_frames, features))
    bands = add_mel(nodes, spectrum, features, transform)
    compressed = add_compression(nodes, bands, features, past)
    frames = _frames(audio, features)
    heard = add_levelling(nodes, bands, compressed, frames, features, past)
    columns = add_cepstra(nodes, heard.features, features)
    columns = add_energy(nodes, columns, audio_frames, features)
    shape = ir.Shape((*frames, features.n_static))
    columns = add_deltas(nodes, columns, shape, features, past)
    columns = add_normalisation(nodes, columns, features)
    return dataclasses.replace(heard, features=columns)


def _frames(audio: ir.Value, features: Features) -> Frames:
    assert audio.shape is not None
    n_clips, n_samples = audio.shape
    return n_clips, features.n_frames(n_samples) if isinstance(n_samples, int) else "n_frames"
