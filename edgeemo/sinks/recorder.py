"""Utterances as files: what was said as FLAC, what was heard in it as JSON beside it."""

from __future__ import annotations

import io
import json
import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import soundfile

from edgeemo.errors import OutputError
from edgeemo.events import Event, Start, Utterance
from edgeemo.files import check_writable, replacing, sweep

TAKEN = (Start, Utterance)
"""The kinds of events that recordings are made of."""
_NAME = re.compile(r"edgeemo-\d{8}T\d{6}\.\d{6}Z-\d+\.(flac|json)")
_KEPT_SHARE = 0.95
"""How much of the limit is left in use where the oldest recordings are deleted: then not each one looks for them."""


class Recorder:
    """Writes each utterance as `edgeemo-TIME-NUMBER.flac`, then `edgeemo-TIME-NUMBER.json` beside it.

    `TIME` is when the utterance was told, in UTC: the names sort by it. The JSON holds the stream's `start` event and
    the `utterance`. Both files appear as a whole; the JSON is the last, so that a recording is complete where it is.

    Where they would grow beyond the limit, the oldest are deleted: files of such names in this folder only.

    Args:
        folder: where to; it is made where it is missing.
        sample_rate: Hz of the utterances' audio: the model's.
        limit_mb: how many MB (10^6 bytes) the recordings in the folder may take.

    Raises:
        OutputError: nothing can be written there.
    """

    def __init__(self, folder: Path, *, sample_rate: int, limit_mb: float) -> None:
        self._folder, self._sample_rate = folder, sample_rate
        self._limit_bytes = limit_mb * 1e6
        self._start: dict[str, Any] = {}
        check_writable(folder / "recording")
        sweep(folder)
        self._used_bytes = sum(_sizes(folder).values())

    def take(self, event: Event, at: datetime) -> None:
        """Write the files of an utterance.

        Raises:
            OutputError: they cannot be written; neither is there.
        """
        if isinstance(event, Start):
            self._start = event.to_dict(at)
        elif isinstance(event, Utterance):
            if event.audio is None:
                raise ValueError("got an utterance without its audio; listen with keep_audio=True")
            told = at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            audio = self._folder / f"edgeemo-{told}-{event.utterance:06}.flac"
            encoded = io.BytesIO()
            soundfile.write(encoded, event.audio, self._sample_rate, format="FLAC", subtype="PCM_16")
            heard = json.dumps({"start": self._start, "utterance": event.to_dict(at)}, indent=1) + "\n"
            files = {audio: encoded.getvalue(), audio.with_suffix(".json"): heard.encode()}
            n_bytes = sum(map(len, files.values()))
            self._make_room(n_bytes)
            self._write(files)
            self._used_bytes += n_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _write(self, files: dict[Path, bytes]) -> None:
        try:
            for path, data in files.items():
                with replacing(path) as temporary:
                    temporary.write_bytes(data)
        except OutputError:
            for path in files:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            raise

    def _make_room(self, n_bytes: int) -> None:
        """Delete the oldest recordings where this many bytes would be too much."""
        if self._used_bytes + n_bytes <= self._limit_bytes:
            return
        sizes = _sizes(self._folder)  # others may have deleted some, or recorded too
        self._used_bytes = sum(sizes.values())
        for name in sorted({path.stem for path in sizes}):
            if self._used_bytes + n_bytes <= _KEPT_SHARE * self._limit_bytes:
                return
            for suffix in (".json", ".flac"):
                path = self._folder / f"{name}{suffix}"
                path.unlink(missing_ok=True)
                self._used_bytes -= sizes.get(path, 0)


def _sizes(folder: Path) -> dict[Path, int]:
    """The files of recordings in a folder, and how many bytes they take."""
    with os.scandir(folder) as entries:
        return {
            folder / entry.name: entry.stat(follow_symlinks=False).st_size
            for entry in entries
            if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        }
