"""The steps among the events of a live loop."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from edgeemo.events import Event, Step


def steps_in(events: Iterable[Event]) -> list[Step]:
    """The steps."""
    return [event for event in events if isinstance(event, Step)]


def steps_in_lines(text: str) -> list[dict[str, Any]]:
    """The steps among lines of JSON."""
    return [line for line in map(json.loads, text.splitlines()) if line["event"] == "step"]
