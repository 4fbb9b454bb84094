"""The cards in models/ are what the code writes of the files beside them."""

from __future__ import annotations

from edgeemo.images import ImageModel, load_model
from edgeemo.metadata import MODES, PRECISIONS
from edgeemo.places import MODELS_DIR, shipped_models, stands_for
from edgeemo.workstation.card import image_card, model_card


def test_shipped_cards() -> None:
    models = [load_model(path) for path in shipped_models()]
    expected = {m.metadata.name: image_card(m.metadata) for m in models if isinstance(m, ImageModel)}
    for name in {m.metadata.name for m in models} - set(expected):
        variants = [m.metadata for m in models if m.metadata.name == name]
        variants.sort(key=lambda m: (MODES.index(m.mode), PRECISIONS.index(m.precision)))
        expected[name] = model_card(variants, listen=stands_for(name))
        for m in models:
            if m.metadata.name == name:
                assert m.metadata.verdict["n_bytes"] == m.path.stat().st_size, m.path
    assert len(expected) == 7
    assert {path.stem: path.read_text(encoding="utf-8") for path in MODELS_DIR.glob("*.md")} == expected
