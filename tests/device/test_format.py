"""docs/format.md says what is in the files and what the code does with them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from edgeemo import metadata, stepper, utterances, voice
from edgeemo.answer import Judgement
from edgeemo.corpora.labels import AROUSAL
from edgeemo.high_pass import CUTOFF_HZ
from edgeemo.live.listener import MAX_UTTERANCE_S
from edgeemo.profile import FORMAT as PROFILE_FORMAT
from edgeemo.profile import Profile

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
SCRIPT = Path(voice.__file__).parent / "web" / "edgeemo.js"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="docs/ is in the repository only")


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def keys(page: str, heading: str) -> list[str]:
    """The first column of the table with that heading."""
    rows = page.partition(heading)[2].lstrip().splitlines()[1:]
    found = []
    for row in rows:
        if not row.startswith("|"):
            break
        found.append(re.match(r"\| `(\w+)` \|", row)[1])  # type: ignore[index]
    return found


def names(record: type) -> set[str]:
    return {field.name for field in dataclasses.fields(record)}


def test_it_has_every_key_of_the_metadata(page: str) -> None:
    listed = keys(page, "| key | type | what it is |\n")
    assert len(set(listed)) == len(listed)
    assert set(listed) == names(metadata.Metadata) | {"kind"}


def test_it_has_every_key_of_a_judgement_with_its_default(page: str) -> None:
    heading = "| key of `judgement` | type | default | what it is |\n"
    assert set(keys(page, heading)) == names(Judgement)
    assert "| 1 | calibrates" in page
    assert "| 0 | a label is named only" in page
    assert "| true | nothing is judged" in page
    assert Judgement(arousal={}).to_dict() == {
        "temperature": 1.0,
        "unsure_below": 0.0,
        "needs_voice": True,
        "arousal": {},
    }
    text = " ".join(page.split())
    agitated, calm = ([f"`{label}`" for label, x in AROUSAL.items() if x == side] for side in (1, 0))
    assert f"{', '.join(agitated)} as 1 and {', '.join(calm)} as 0" in text


def test_it_has_every_key_of_a_state_of_the_voice_detector_and_of_a_profile(page: str) -> None:
    states = page.partition("| `states` | list of objects |")[2].partition("\n")[0]
    assert set(re.findall(r"`(\w+)`", states)) == names(metadata.State)
    detector = (
        " ".join(page.split())
        .partition("Its metadata have the keys ")[2]
        .partition(". |")[0]
        .partition("|")[0]
    )
    assert set(re.findall(r"`(\w+)`", detector)) - {"voice"} == names(voice.VoiceMetadata)
    assert set(keys(page.partition("## Profiles")[2], "| key | type | what it is |\n")) == names(Profile)


def test_its_numbers_are_the_codes(page: str) -> None:
    text = " ".join(page.split())
    assert f"The format has version {metadata.FORMAT}." in text
    assert f"| `format` | integer | {PROFILE_FORMAT} |" in page.partition("## Profiles")[2]
    assert f"probability is at least {voice.VOICED}" in text
    assert f"If {voice.LEAST_VOICED} or more of the last {voice.RECENT_CHUNKS} chunks" in text
    assert f"a counter is set to {voice.HANG_CHUNKS}" in text
    assert f"`sample_rate` ({voice.SAMPLE_RATE}), `chunk_samples` ({voice.CHUNK_SAMPLES})" in text
    assert f"`ceil({stepper.ONSET_S} s / step)`" in text
    assert f"`a = exp(-2 pi {CUTOFF_HZ:g} / rate)`" in text
    assert f"gone on for {MAX_UTTERANCE_S:g} s" in text
    assert f"`{metadata.KEY}`" in text
    assert f"`{metadata.CHECKSUM_KEY}`" in text


def test_the_javascript_has_the_same_numbers() -> None:
    script = SCRIPT.read_text(encoding="utf-8")
    found = {name: float(value) for name, value in re.findall(r"const (\w+) = (-?[\d.]+);", script)}
    expected = {
        "VOICED": voice.VOICED,
        "RECENT_CHUNKS": voice.RECENT_CHUNKS,
        "LEAST_VOICED": voice.LEAST_VOICED,
        "HANG_CHUNKS": voice.HANG_CHUNKS,
        "CUTOFF_HZ": CUTOFF_HZ,
        "MARGIN_CHUNKS": voice.MARGIN_CHUNKS,
        "MAX_UTTERANCE_S": MAX_UTTERANCE_S,
        "LEAST_DB": -120.0,
        "ONSET_S": stepper.ONSET_S,
        "PAUSE_S": utterances.PAUSE_S,
        "MARGIN_DB": utterances.MARGIN_DB,
        "MINIMUM_DB": utterances.MINIMUM_DB,
        "RISE_DB_PER_S": utterances.RISE_DB_PER_S,
        "FORMAT": metadata.FORMAT,
        "PROFILE_FORMAT": PROFILE_FORMAT,
    }
    assert found == expected
