"""Fixtures for all tests, and which of them must not be skipped."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

import pytest

# Ray reads these when it is imported. A busy machine may take longer than its 30 s to start a node.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_raylet_start_wait_time_s": "180",
}

# What a script starts in the background, or by nohup, ignores these; so would the commands that tests start, which
# respect that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

REQUIRABLE = ("corpora", "microphone", "cluster", "browser")
"""Marks of tests that not every machine can run; with EDGEEMO_REQUIRE_CORPORA=1, and so on, a skip is a failure."""


@pytest.fixture(scope="session")
def corpora_dir() -> Path:
    """The folder that holds the real corpora (`ravdess/`, `tess/`); skips the test where there is none."""
    folder = Path(os.environ.get("EDGEEMO_CORPORA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"corpora absent: set EDGEEMO_CORPORA to the folder that holds them (looked at {folder})")
    return folder


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cluster") and find_spec("ray") is None:
        pytest.skip("the extra `cluster` is not installed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    for marker in REQUIRABLE:
        variable = f"EDGEEMO_REQUIRE_{marker.upper()}"
        if report.skipped and item.get_closest_marker(marker) and os.environ.get(variable):
            report.outcome = "failed"
            report.longrepr = f"must not be skipped where {variable} is set: {report.longrepr}"
    return report
