"""What ships in models/: every file loads, has its card, and computes what it does elsewhere, as do its siblings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeemo.images import ImageModel, load_model
from edgeemo.metadata import CHECKSUM_KEY, KEY, Precision
from edgeemo.onnx_file import read_onnx
from edgeemo.places import shipped_models
from support.shipped import TOLERANCE, probabilities, stored

FILES = shipped_models()
STORED = stored()
SIBLINGS = {Precision.FP32: 1e-5, Precision.FP16: 5e-3, Precision.INT8: 0.15}  # of seven bits
"""How far a variant may be from the same model's window graph in fp32."""


def test_there_is_something() -> None:
    assert len(FILES) >= 6
    assert {path.stem for path in FILES} <= STORED.keys(), "run `python tests/support/shipped.py --write`"


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_file_its_card_and_its_siblings(path: Path) -> None:
    model = load_model(path)
    m = model.metadata
    assert m.variant == path.stem
    card = (path.parent / f"{m.name}.md").read_text(encoding="utf-8")
    assert m.licence in card
    assert m.training is not None
    assert f"Trained on {m.training.n_clips} " in card
    found = probabilities(model)
    np.testing.assert_allclose(found, STORED[path.stem], rtol=0, atol=TOLERANCE[m.precision])
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 1e-6, "it says the same of everything"
    if isinstance(model, ImageModel):
        return
    assert m.verdict is not None
    assert m.verdict.accepted
    np.testing.assert_allclose(found, STORED[f"{m.name}.window"], rtol=0, atol=SIBLINGS[m.precision])


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_what_is_read_is_written_again(path: Path) -> None:
    """Nothing that a file says is lost or changed, but its own size, which older files carry."""
    model = load_model(path)
    stored = json.loads(model.session.get_modelmeta().custom_metadata_map[KEY])
    assert json.loads(model.metadata.to_json()) == as_of_today(stored)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_checksum_names_a_damaged_file_as_such(path: Path) -> None:
    file = read_onnx(path.read_bytes())
    assert file.metadata.get(CHECKSUM_KEY) == file.graph_sha256()


def as_of_today(stored: dict[str, Any]) -> dict[str, Any]:
    """What an older file says, as it would be written now."""
    stored["verdict"].pop("n_bytes", None)
    stored["training"].setdefault("split", None)
    if "features" in stored:  # of audio: files from before `running_mean` and lasting states
        defaults = {"voiced_db": 25.0, "mean_s": 5.0, "mean_start_s": 0.5, "mean_start_db": [-25.0]}
        stored["features"] = defaults | stored["features"]
        said = stored.get("judgement")
        stored["judgement"] = {"needs_voice": True} | said if said else {}
        stored["states"] = [{"lasting": False, "voice": False} | state for state in stored["states"]]
    return stored
