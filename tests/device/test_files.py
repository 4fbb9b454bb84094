"""Files appear whole or not at all; what cannot be written is one line, before the work."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgeemo.errors import OutputError
from edgeemo.files import check_writable, complete, replace_set, replacing, sweep, write_text
from support import kills

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text(f"half {1 / 0}")
    assert path.read_text() == "old"
    assert left_over(tmp_path) == []


def test_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "b" / "c" / "a.txt", "new")
    assert (tmp_path / "b" / "c" / "a.txt").read_text() == "new"


@posix
def test_permissions_stay_and_new_files_get_the_usual_ones(tmp_path: Path) -> None:
    (tmp_path / "private.txt").touch(0o600)
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "private.txt", "new")
        write_text(tmp_path / "new.txt", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "private.txt").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new.txt").stat().st_mode) == 0o640


@posix
def test_a_link_goes_on_pointing_where_it_did(tmp_path: Path) -> None:
    (tmp_path / "real.txt").touch()
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


@posix
def test_a_pipe_is_written_to_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    check_writable(pipe)
    write_text(pipe, "through")
    reader.join()
    assert read == ["through"]
    assert pipe.is_fifo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(OutputError, match="/dev/full: cannot be written"):
        write_text(Path("/dev/full"), "lost")
    assert not Path("/dev/full").is_file()


@pytest.mark.parametrize("place", [".", "file/inside.txt", "x" * 300])
def test_where_nothing_can_be_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("kept")
    for write in (check_writable, lambda path: write_text(path, "lost")):
        with pytest.raises(OutputError, match="cannot be written") as caught:
            write(tmp_path / place)
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "kept"


def test_checking_leaves_everything_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("kept")
    check_writable(tmp_path / "a.txt")
    check_writable(tmp_path / "b.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "kept"


def test_a_file_name_that_is_no_text_can_be_written_of(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "name\udce4.wav ä")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "name\\udce4.wav ä"


# --- several files as one


@posix
@pytest.mark.slow
def test_a_killed_export_leaves_the_old_set_or_the_new_one(tmp_path: Path) -> None:
    """Killed before each of its calls to the system, and then its reader before each of its own."""
    command = [sys.executable, kills.__file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    export = seen["export"]
    assert export.keys() == {"old", "new", "left over"}
    assert min(export["old"], export["new"]) > 20, "too few kills to say anything"
    assert export["left over"] == 0
    assert seen["one_after_the_other"]["mixed"] > 0, "a mixed set would not be found"


def small(folder: Path, text: str) -> dict[str, Path]:
    """Two files of a model, to be put in place."""
    folder.mkdir(exist_ok=True)
    files = {name: folder / name for name in ("small.window.onnx", "small.json")}
    for path in files.values():
        path.write_text(text)
    return files


@posix
def test_a_set_that_cannot_be_staged_leaves_the_old_one(tmp_path: Path) -> None:
    models = tmp_path / "models"
    replace_set(models, "small", small(tmp_path / "old", "old"))
    broken = small(tmp_path / "new", "new") | {"small.md": tmp_path / "missing"}
    with pytest.raises(OutputError, match="cannot be written") as caught:
        replace_set(models, "small", broken, remove=["small.json"])
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_text() for path in models.iterdir()} == {
        "small.window.onnx": "old",
        "small.json": "old",
    }


@posix
def test_a_sweep_takes_what_nobody_uses(tmp_path: Path) -> None:
    (tmp_path / ".edgeemo-0123456789ab.onnx").write_text("of a process that was killed")
    (tmp_path / ".hidden").touch()
    with replacing(tmp_path / "a.txt") as in_use:
        sweep(tmp_path)
        assert left_over(tmp_path) == sorted([".hidden", in_use.name])


FOREIGN = {
    "not JSON": "{",
    "deep": "[" * 100_000,
    "no table": "[]",
    "nothing": "{}",
    "another folder": json.dumps({"put": {}, "remove": ["../small.md"]}),
    "another model": json.dumps({"put": {}, "remove": ["taxes.md"]}),
    "another kind of file": json.dumps({"put": {}, "remove": ["small.pdf"]}),
    "from elsewhere": json.dumps({"put": {"../.edgeemo-00.md": "small.md"}, "remove": []}),
    "something else of value": json.dumps({"put": {"taxes.md": "small.md"}, "remove": []}),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_journal_touches_nothing_but_files_of_its_model(case: str, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    kept = [tmp_path / "small.md", *(folder / name for name in ("taxes.md", "small.pdf", "small.md"))]
    for path in kept:
        path.write_text(path.name)
    (folder / ".edgeemo-set-small.json").write_text(FOREIGN[case])
    for name in ("small", None):
        with pytest.raises(OutputError, match="not the journal of an export") as caught:
            complete(folder, name)
        assert "\n" not in str(caught.value)
    complete(folder, "taxes")
    assert all(path.read_text() == path.name for path in kept)


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write everywhere")
def test_a_set_that_a_reader_cannot_put_in_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".edgeemo-0a.md").write_text("new")
    journal = {"put": {".edgeemo-0a.md": "small.md"}, "remove": []}
    (tmp_path / ".edgeemo-set-small.json").write_text(json.dumps(journal))
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            complete(tmp_path, "small")
    finally:
        tmp_path.chmod(0o755)
