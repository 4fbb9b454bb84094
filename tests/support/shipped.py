"""What the shipped files answer, to be compared on other machines.

python tests/support/shipped.py --write           stores what this machine answers, for all of models/
python tests/support/shipped.py [FILE.onnx ...]   compares: how far each file (default: all that ship) is from it
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from edgeemo import trial
from edgeemo.audio import read_audio
from edgeemo.images import ImageModel, load_model
from edgeemo.metadata import Precision
from edgeemo.model import EmotionModel, Model
from edgeemo.places import sample_path, shipped_models

STORED = Path(__file__).parents[1] / "device" / "shipped_probabilities.json"
"""Variant -> probabilities, shape `(N_INPUTS, n_labels)`, made on x86 without VNNI by onnxruntime 1.31."""
N_INPUTS = 3
TOLERANCE = {Precision.FP32: 1e-5, Precision.FP16: 1e-5, Precision.INT8: 0.01}
"""How far the same file may be from what is stored, on any processor.

Kernels for other processors add the same products in another order: about 1e-6 in fp32, and in fp16, which is widened
to fp32 when it is loaded. In int8 the sums are exact everywhere; but a float between two of the 255 steps
may be rounded to the other one, which a stream hands on to its next step."""


def probabilities(model: Model) -> np.ndarray:
    """What a model says of `N_INPUTS` windows of the bundled sample, a second apart, or of as many random images.

    A stream runs through each window from zero states on; its last step counts.

    Returns:
        shape `(N_INPUTS, n_labels)`.
    """
    if isinstance(model, ImageModel):
        images = np.random.default_rng(0).uniform(0, 255, (N_INPUTS, *model.input_shape))
        return np.stack([model.predict(image) for image in images])
    assert isinstance(model, EmotionModel)
    m = model.metadata
    audio = read_audio(sample_path(), m.features.sample_rate)
    windows = [audio[start : start + m.window_samples] for start in 16_000 * np.arange(N_INPUTS)]
    return np.stack([_of_window(model, window) for window in windows])


def _of_window(model: EmotionModel, window: np.ndarray) -> np.ndarray:
    m = model.metadata
    if m.mode == "window":
        return model.predict(window)
    states = {state.name: np.zeros(state.shape, np.float32) for state in m.states}
    for step in window.reshape(-1, 1, m.step_samples):
        found, *following = model.session.run(
            ["probabilities", *(state.next_name for state in m.states)], {"audio": step, **states}
        )
        states = dict(zip(states, following, strict=True))
    return np.asarray(found[0])


def stored() -> dict[str, np.ndarray]:
    """What `--write` stored."""
    return {name: np.array(values) for name, values in json.loads(STORED.read_text(encoding="utf-8")).items()}


def main() -> None:
    """Write or compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("files", nargs="*", type=Path)
    given = parser.parse_args()
    paths = given.files or shipped_models()
    if given.write:
        rows = (f'"{p.stem}": {np.round(probabilities(load_model(p)), 7).tolist()}' for p in paths)
        STORED.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
        return
    trial.MAX_TRIAL_S = 600  # an emulated processor takes its time
    expected, failed = stored(), False
    for path in paths:
        model, reference = load_model(path), expected[path.stem]
        found, allowed = probabilities(model), TOLERANCE[model.metadata.precision]
        apart = np.abs(found - reference).max()
        n_same = (found.argmax(axis=1) == reference.argmax(axis=1)).sum()
        failed |= not apart <= allowed
        row = f"{path.stem:24} {apart:.1e} apart, {allowed:g} allowed; {n_same} of {N_INPUTS} labels the same"
        sys.stdout.write(row + "\n")
        sys.stdout.flush()
    sys.exit(failed)


if __name__ == "__main__":
    main()
