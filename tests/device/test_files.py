"""Files appear whole or not at all; what cannot be written is one line, before the work."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from edgeemo.errors import OutputError
from edgeemo.files import check_writable, replacing, write_text

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
