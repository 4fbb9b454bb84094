"""What a model answered: a journal on disk, so that a run that was interrupted goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgeemo.errors import OutputError

Answer = list[float] | list[list[float]] | dict[str, int] | None
"""Of a whole clip: its mean probabilities, or None where there is nothing to judge. Of its steps: the probabilities
of each. Both are as the graph gives them, so that another judgement needs no clip heard again. Of the live loop: how
many steps there were, and how many named an emotion."""


class Journal:
    """The answers of one model, a line of JSON each, as soon as they are there.

    Args:
        path: the file. One of other circumstances, or none at all, is begun anew.
        circumstances: what the answers depend on besides the condition and the clip.

    Raises:
        OutputError: the file cannot be read or written.
    """

    def __init__(self, path: Path, circumstances: Mapping[str, Any]) -> None:
        self._answers: dict[tuple[str, str], Any] = {}
        header = json.dumps(dict(circumstances), sort_keys=True)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            end = self._read(path, header)
            self._file = path.open("r+" if end else "w", encoding="utf-8")
            if end:
                self._file.seek(end)
                self._file.truncate()  # a line that was cut off
            else:
                self._file.write(f"{header}\n")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._answers

    def __getitem__(self, key: tuple[str, str]) -> Any:
        return self._answers[key]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, answers: Iterable[tuple[str, str, Answer]]) -> None:
        """Keep answers: the condition, the digest of the clip, and what the model said."""
        for condition, clip, answer in answers:
            self._answers[condition, clip] = answer
            self._file.write(json.dumps([condition, clip, answer]) + "\n")
        self._file.flush()

    def _read(self, path: Path, header: str) -> int:
        """Read what is there; the position after the last whole line, 0 where nothing is of use."""
        if not path.is_file():
            return 0
        end = 0
        with path.open("rb") as file:
            for n, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                if n == 0 and line.decode("utf-8", "replace").rstrip("\n") != header:
                    return 0
                if n:
                    try:
                        condition, clip, answer = json.loads(line)
                    except ValueError:
                        break
                    self._answers[condition, clip] = answer
                end += len(line)
        return end
