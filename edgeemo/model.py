"""A model: one ONNX file, raw PCM in, emotion probabilities out, checked when it is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgeemo.errors import ModelError
from edgeemo.metadata import KEY, Metadata

Audio = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float32]


class EmotionModel:
    """A loaded model.

    Args:
        path: an ONNX file made by `edgeemo export`.
        n_threads: onnxruntime's intra-op threads. One is right for these small graphs on an edge device.
        options: onnxruntime session options to use instead of the defaults (for profiling).
        session: of this file, where it is open already; `n_threads` and `options` are then the session's.

    Raises:
        ModelError: the file is missing, is not ONNX, has no edgeemo metadata, or the two disagree; it is a model of
            images.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        n_threads: int = 1,
        options: ort.SessionOptions | None = None,
        session: ort.InferenceSession | None = None,
    ) -> None:
        self.path = Path(path)
        self.session = session or open_session(self.path, options or session_options(n_threads))
        self.metadata = Metadata.from_json(stored_metadata(self.session, self.path), source=str(self.path))
        self._check_graph()

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return self.metadata.labels

    def predict(self, window: Audio) -> Probabilities:
        """Classify one window, with a window graph. `edgeemo.stepper` runs graphs of both modes over a stream.

        Args:
            window: mono float32 in [-1, 1] at the model's sample rate, shape `(window_samples,)`.

        Returns:
            probabilities, shape `(n_labels,)`, summing to 1.

        Raises:
            ModelError: the graph is a stream graph.
            ValueError: another shape.
        """
        if self.metadata.mode != "window":
            raise ModelError(
                f"{self.path}: a {self.metadata.mode} graph, which carries state from step to step; "
                "use edgeemo.stepper.stepper(model)"
            )
        if window.shape != (self.metadata.window_samples,):
            raise ValueError(f"window of shape {window.shape}, expected ({self.metadata.window_samples},)")
        (probabilities,) = self.session.run(None, {"audio": window[np.newaxis]})
        result: Probabilities = probabilities[0]
        return result

    def __repr__(self) -> str:
        m = self.metadata
        states = ", ".join(f"{state.name} {state.shape}" for state in m.states)
        return (
            f"EmotionModel({self.path.name}: audio {self._audio_shape} at {m.features.sample_rate} Hz"
            f" -> probabilities (1, {len(m.labels)}): {', '.join(m.labels)}"
            f"{'; carries ' if states else ''}{states})"
        )

    @property
    def _audio_shape(self) -> tuple[int, int]:
        """What the graph takes in one run."""
        m = self.metadata
        return (1, m.step_samples if m.mode == "stream" else m.window_samples)

    def _check_graph(self) -> None:
        """Validation at load, never at the first inference."""
        m = self.metadata
        if m.states and m.mode != "stream":
            raise ModelError(
                f"{self.path}: its metadata lists states of a {m.mode} graph, which has none; "
                "export the model again"
            )
        inputs = [("audio", self._audio_shape), *((state.name, state.shape) for state in m.states)]
        states = [(state.next_name, state.shape) for state in m.states]
        check_graph(self.session, self.path, inputs, [("probabilities", (1, len(m.labels))), *states])


def open_session(path: Path, options: ort.SessionOptions) -> ort.InferenceSession:
    """Let onnxruntime load a model file.

    Raises:
        ModelError: the file is missing, or is not ONNX.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model file; `edgeemo models` lists the shipped ones")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: onnxruntime cannot load it as a model ({reason})") from error


def stored_metadata(session: ort.InferenceSession, path: Path) -> str:
    """The JSON that a model file carries; `path` is only for the error.

    Raises:
        ModelError: there is none.
    """
    value: str | None = session.get_modelmeta().custom_metadata_map.get(KEY)
    if value is None:
        raise ModelError(f"{path}: an ONNX file without edgeemo metadata; make one with `edgeemo export`")
    return value


def check_graph(
    session: ort.InferenceSession,
    path: Path,
    inputs: Iterable[tuple[str, tuple[int, ...]]],
    outputs: Iterable[tuple[str, tuple[int, ...]]],
) -> None:
    """Check names and shapes of a graph's inputs and outputs, all float32, against those that its metadata says.

    Raises:
        ModelError: they differ.
    """
    for what, values, expected in (
        ("inputs", session.get_inputs(), inputs),
        ("outputs", session.get_outputs(), outputs),
    ):
        found = _described((v.name, v.type, v.shape) for v in values)
        wanted = _described((name, "tensor(float)", shape) for name, shape in expected)
        if found != wanted:
            raise ModelError(
                f"{path}: graph has {what} {', '.join(found)}, its metadata says {', '.join(wanted)}; "
                "export the model again"
            )


def _described(values: Iterable[tuple[str, str, Iterable[int | str]]]) -> list[str]:
    """Name, type and shape of graph inputs or outputs as text, in an order of its own: they go by name."""
    return sorted(f"{name}: {kind} {list(shape)}" for name, kind, shape in values)


def session_options(n_threads: int = 1) -> ort.SessionOptions:
    """onnxruntime options for an always-on loop: few threads, none of them spinning, no log chatter."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
