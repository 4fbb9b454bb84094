"""Model files to test with, made from committed ones."""

from __future__ import annotations

from pathlib import Path


def patched(path: Path, folder: Path, *replacements: tuple[str, str]) -> Path:
    """A copy of a model file with other metadata, of the same length: no library needed to rewrite the file."""
    content = path.read_bytes()
    for old, new in replacements:
        assert len(old) == len(new)
        assert old.encode() in content, "nothing to replace: the test cannot fail"
        content = content.replace(old.encode(), new.encode(), 1)
    copy = folder / path.name
    copy.write_bytes(content)
    return copy
