"""The cards in models/ are what the code writes of the files beside them."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

from edgeemo.evidence import Training
from edgeemo.metadata import Metadata
from edgeemo.model import EmotionModel
from edgeemo.places import MODELS_DIR, model_path
from edgeemo.workstation.export.card import model_card

ROOT = Path(__file__).parents[2]


def test_shipped_cards() -> None:
    """After another export or measurement: `python benchmarks/cards.py`."""
    expected = runpy.run_path(str(ROOT / "benchmarks" / "cards.py"))["cards"]()
    assert len(expected) == 11
    assert {path: path.read_text(encoding="utf-8") for path in MODELS_DIR.glob("*.md")} == expected


def shipped() -> tuple[Metadata, Training]:
    """A shipped model's metadata, and what they say of its training."""
    m = EmotionModel(model_path("cnn_lstm")).metadata
    assert m.training is not None
    return m, m.training


def card(m: Metadata) -> str:
    return model_card([m], n_bytes={m.variant: 1234}, listen=m.variant)


def test_a_corpus_of_ones_own_has_unknown_terms() -> None:
    m, training = shipped()
    own = dataclasses.replace(m, training=dataclasses.replace(training, corpora=("mine",)))
    assert "- mine: a corpus of the maker's own" in card(own)


def test_a_card_says_where_speakers_are_shared() -> None:
    m, training = shipped()
    assert "None of them is in the training clips." in card(m)
    shared = dataclasses.replace(training, protocol="session", train_speakers=training.test_speakers)
    text = card(dataclasses.replace(m, training=shared))
    assert "Session split: the same speakers are in training, validation and test." in text
    assert "whose speakers are in the training clips too" in text
    assert "held-out speakers" not in text


def test_a_card_says_what_is_known_of_the_corpora() -> None:
    m, training = shipped()
    assert "acted emotion" in card(m)
    assert "in English" in card(m)
    assert "a third of what people say is neutral" in card(m)
    assert "a third of what people say" not in card(EmotionModel(model_path("emo_open")).metadata)
    for corpora in (("emodb",), ("ravdess", "mine")):
        text = card(dataclasses.replace(m, training=dataclasses.replace(training, corpora=corpora)))
        assert "Expect less on speech unlike its training clips" in text
        assert "English" not in text.partition("## Limits")[2]


def test_a_size_is_the_files_own() -> None:
    m, _ = shipped()
    assert f"| {m.variant} | 1,234 |" in card(m)


def test_one_of_a_thing_is_singular() -> None:
    m, _ = shipped()
    verdict = m.verdict
    assert verdict
    assert verdict.parity
    assert verdict.recognition
    one = dataclasses.replace(
        verdict,
        parity=dataclasses.replace(verdict.parity, n_windows=5, n_clips=1),
        recognition=dataclasses.replace(verdict.recognition, n_speakers=1, n_clips=2),
    )
    text = card(dataclasses.replace(m, verdict=one))
    assert "UAR: 1 speaker, 2 clips. Differences: 5 windows of 1 clip. " in text


def test_terms_that_are_not_known_are_not_stated() -> None:
    m, _ = shipped()
    text = card(dataclasses.replace(m, licence="not stated"))
    assert "\n## Terms\n\nNot stated.\n\n## Variants\n" in text
    assert "Apache" not in text.partition("## Terms")[2]
