"""A model: one ONNX file, raw PCM in, emotion probabilities out, checked when it is loaded."""

from __future__ import annotations

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

    Raises:
        ModelError: the file is missing, is not ONNX, has no edgeemo metadata, or the two disagree.
    """

    def __init__(
        self, path: Path | str, *, n_threads: int = 1, options: ort.SessionOptions | None = None
    ) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ModelError(f"{self.path}: no such model file; `edgeemo models` lists the shipped ones")
        try:
            self.session = ort.InferenceSession(
                str(self.path), options or session_options(n_threads), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"{self.path}: onnxruntime cannot load it as a model ({reason})") from error
        value = self.session.get_modelmeta().custom_metadata_map.get(KEY)
        if value is None:
            raise ModelError(
                f"{self.path}: an ONNX file without edgeemo metadata; make one with `edgeemo export`"
            )
        self.metadata = Metadata.from_json(value, source=str(self.path))
        self._check_graph()

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return self.metadata.labels

    def predict(self, window: Audio) -> Probabilities:
        """Classify one window.

        Args:
            window: mono float32 in [-1, 1] at the model's sample rate, shape `(window_samples,)`.

        Returns:
            probabilities, shape `(n_labels,)`, summing to 1.

        Raises:
            ValueError: another shape.
        """
        if window.shape != (self.metadata.window_samples,):
            raise ValueError(f"window of shape {window.shape}, expected ({self.metadata.window_samples},)")
        (probabilities,) = self.session.run(None, {"audio": window[np.newaxis]})
        result: Probabilities = probabilities[0]
        return result

    def __repr__(self) -> str:
        m = self.metadata
        return (
            f"EmotionModel({self.path.name}: audio (1, {m.window_samples}) at {m.features.sample_rate} Hz"
            f" -> probabilities (1, {len(m.labels)}): {', '.join(m.labels)})"
        )

    def _check_graph(self) -> None:
        """Validation at load, never at the first inference."""
        m = self.metadata
        kind = "tensor(float)"
        expected = {"audio": (kind, [1, m.window_samples]), "probabilities": (kind, [1, len(m.labels)])}
        found = {v.name: (v.type, v.shape) for v in [*self.session.get_inputs(), *self.session.get_outputs()]}
        if found != expected:
            raise ModelError(
                f"{self.path}: graph has {found}, its metadata says {expected}; export the model again"
            )


def session_options(n_threads: int = 1) -> ort.SessionOptions:
    """onnxruntime options for an always-on loop: few threads, none of them spinning, no log chatter."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
