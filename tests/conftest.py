"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def corpora_dir() -> Path:
    """The folder that holds the real corpora (`ravdess/`, `tess/`); skips the test where there is none."""
    folder = Path(os.environ.get("EDGEEMO_CORPORA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"corpora absent: set EDGEEMO_CORPORA to the folder that holds them (looked at {folder})")
    return folder
