"""Models of grey images: the networks of published comparisons, for `edgeemo bench` and `edgeemo info`.

Each is one ONNX file, like a model of audio: pixels in, class probabilities out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeemo.metadata import ImageMetadata, read_metadata
from edgeemo.model import EmotionModel, Model, Probabilities
from edgeemo.session import ModelFile, check_graph, open_session, read_model_file, session_options
from edgeemo.trial import try_silence


class ImageModel:
    """A loaded model of images.

    Args:
        path: an ONNX file made by `edgeemo export` of a recipe with `[image]`.
        n_threads: onnxruntime's intra-op threads.
        file: what `path` holds, where it has been read already.

    Raises:
        ModelError: the file is missing, is not ONNX, has no edgeemo metadata, or the two disagree; its graph is
            refused, or makes no probabilities; it is a model of audio.
    """

    def __init__(self, path: Path | str, *, n_threads: int = 1, file: ModelFile | None = None) -> None:
        self.path = Path(path)
        file = file or read_model_file(self.path)
        self.metadata = m = ImageMetadata.from_json(file.metadata, source=str(self.path))
        self.session = open_session(file, session_options(n_threads))
        image = (1, m.height, m.width)
        check_graph(self.session, self.path, [("image", image)], [("probabilities", (1, len(m.labels)))])
        try_silence(self.session, self.path, {"image": image}, n_labels=len(m.labels))

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return self.metadata.labels

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of what one step takes: `(height, width)`."""
        return (self.metadata.height, self.metadata.width)

    def start(self) -> Callable[[npt.NDArray[Any]], Probabilities]:
        """`predict`: each image stands alone."""
        return self.predict

    def predict(self, image: npt.NDArray[Any]) -> Probabilities:
        """Classify one image.

        Args:
            image: grey values from 0 (black) to 255, of any numeric type, shape `(height, width)`.

        Returns:
            probabilities, shape `(n_labels,)`, summing to 1.

        Raises:
            ValueError: another shape.
        """
        if image.shape != self.input_shape:
            raise ValueError(f"image of shape {image.shape}, expected {self.input_shape}")
        (probabilities,) = self.session.run(None, {"image": image[np.newaxis].astype(np.float32, copy=False)})
        result: Probabilities = probabilities[0]
        return result

    def __repr__(self) -> str:
        m = self.metadata
        shape = (1, m.height, m.width)
        return (
            f"ImageModel({self.path.name}: image {shape} -> probabilities (1, {len(m.labels)}): "
            f"{', '.join(m.labels)})"
        )


def load_model(path: Path | str, *, n_threads: int = 1) -> Model:
    """Load a model of audio or of images, whichever the file says it is.

    Args:
        path: an ONNX file made by `edgeemo export`.
        n_threads: onnxruntime's intra-op threads.

    Raises:
        ModelError: as `EmotionModel` and `ImageModel`.
    """
    file = read_model_file(Path(path))
    metadata = read_metadata(file.metadata, source=str(path))
    kind = ImageModel if isinstance(metadata, ImageMetadata) else EmotionModel
    return kind(path, n_threads=n_threads, file=file)
