"""Walking through folders: linked ones are followed like any other, and each is entered once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def walk(folder: Path, on_error: Callable[[OSError], None]) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Like `os.walk` from the top down, in alphabetical order.

    People link corpora together from other disks; a link that leads back to a parent does not send the walk in
    circles, and what two links lead to is met once.

    Args:
        folder: where to start.
        on_error: called with the error, which names the folder, for each folder that cannot be listed.

    Yields:
        each folder, the names of the folders in it (which may be changed, to leave some out), and of its files.
    """
    entered: set[tuple[int, int]] = set()
    for name, folders, files in os.walk(folder, onerror=on_error, followlinks=True):
        status = Path(name).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders.sort()
        yield Path(name), folders, sorted(files)
