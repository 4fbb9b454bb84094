"""The cards in models/ are what the code writes of the files beside them."""

from __future__ import annotations

import dataclasses

from edgeemo.images import ImageModel, load_model
from edgeemo.metadata import MODES, PRECISIONS
from edgeemo.model import EmotionModel
from edgeemo.places import MODELS_DIR, model_path, shipped_models, stands_for
from edgeemo.workstation.export.card import image_card, model_card


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
    assert len(expected) == 8
    assert {path.stem: path.read_text(encoding="utf-8") for path in MODELS_DIR.glob("*.md")} == expected


def test_a_corpus_of_ones_own_has_unknown_terms() -> None:
    m = EmotionModel(model_path("cnn_lstm")).metadata
    own = dataclasses.replace(m, training={**m.training, "corpora": ["mine"]})
    assert "- mine: a corpus of the maker's own" in model_card([own], listen=m.variant)


def test_a_card_says_where_speakers_are_shared() -> None:
    m = EmotionModel(model_path("cnn_lstm")).metadata
    assert "Neither is in the training clips." in model_card([m], listen=m.variant)
    shared = {"protocol": "session", "train_speakers": m.training["test_speakers"]}
    card = model_card([dataclasses.replace(m, training={**m.training, **shared})], listen=m.variant)
    assert "Session split: the same speakers are in training, validation and test." in card
    assert "whose speakers are in the training clips too" in card
    assert "held-out speakers" not in card
