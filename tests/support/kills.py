"""Kill the last phase of an export before each of its calls to the system, and say what a reader then finds.

`python tests/support/kills.py FOLDER` prints it as JSON. It forks, so it is a small process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from edgeemo.files import complete, replace_set

OLD = dict.fromkeys(
    ("small.window.onnx", "small.stream.onnx", "small.stream.int8.onnx", "small.json", "small.md"), "old"
)
NEW = dict.fromkeys(
    ("small.window.onnx", "small.stream.onnx", "small.window.fp16.onnx", "small.json", "small.md"), "new"
)
BESIDE = {"other.onnx": "not of this model"}


def write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def export(folder: Path, made: Path) -> None:
    replace_set(folder, "small", {name: made / name for name in NEW}, remove=OLD.keys() - NEW.keys())


def one_after_the_other(folder: Path, made: Path) -> None:
    """What exports did before: to show that a mixed set would be found."""
    for name in NEW:
        shutil.copyfile(made / name, folder / name)
    for name in OLD.keys() - NEW.keys():
        (folder / name).unlink()


def killed(work: Callable[[], None], at: int) -> bool:
    """Whether a process is killed when it asks the system for something for the `at`-th time; else it has ended."""
    pid = os.fork()
    if not pid:
        n = 0

        def count(event: str, arguments: object) -> None:
            nonlocal n
            n += event.startswith(("os.", "open", "fcntl."))
            if n == at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        work()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise SystemExit("the export failed")
    return os.WIFSIGNALED(status)


def found(folder: Path) -> str:
    """Which set is in the folder."""
    files = {path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith(".")}
    return {
        json.dumps(OLD | BESIDE, sort_keys=True): "old",
        json.dumps(NEW | BESIDE, sort_keys=True): "new",
    }.get(json.dumps(files, sort_keys=True), "mixed")


def outcomes(work: Path, put_in_place: Callable[[Path, Path], None]) -> Counter[str]:
    """What readers find after each kill, whether they are killed too or not."""
    made, seen = work / "made", Counter[str]()
    write(made, NEW)
    at, alive = 1, False
    while not alive:
        folder, copy = work / "folder", work / "copy"
        write(folder, OLD | BESIDE)
        alive = not killed(lambda: put_in_place(folder, made), at)  # noqa: B023
        reader, reader_alive = 1, False
        while not reader_alive:
            shutil.copytree(folder, copy)
            reader_alive = not killed(lambda: complete(copy, "small"), reader)  # noqa: B023
            complete(copy, "small")
            seen[found(copy)] += 1
            shutil.rmtree(copy)
            reader += 1
        export(folder, made)
        seen["left over"] += sum(path.name.startswith(".") for path in folder.iterdir())
        shutil.rmtree(folder)
        at += 1
    return seen


if __name__ == "__main__":
    root = Path(sys.argv[1])
    os.fsync = lambda descriptor: None  # a killed process loses nothing that it has written
    found_after = {f.__name__: outcomes(root / f.__name__, f) for f in (export, one_after_the_other)}
    sys.stdout.write(json.dumps(found_after))
