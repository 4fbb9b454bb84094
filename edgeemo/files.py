"""Writing files so that nothing is ever lost or left half written: one alone, or several as one.

Temporary files are named `.edgeemo-*`: whatever looks through folders passes over names with a dot in front.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from edgeemo.errors import OutputError

if sys.platform != "win32":
    import fcntl

_PREFIX = ".edgeemo-"
_JOURNAL = f"{_PREFIX}set-"  # no temporary file's name begins so: hexadecimal digits follow the prefix
_SET_SUFFIXES = "onnx|ort|config|json|md"
_ABANDONED_AFTER_S = 3600


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it over `path` only if the block ends without an error.

    The temporary name keeps the suffix of `path`, because many writers choose a format by it. A file that is replaced
    keeps its permissions, and a link keeps pointing to the same place. A pipe or a device is never replaced: the
    block then gets `path` itself.

    Args:
        path: the file.
        private: its owner alone can read it, whatever the permissions of one that is there.

    Raises:
        OutputError: nothing can be written there: it is a folder, permission is missing, or the disk is full.
    """
    path = Path(path)
    with _one_line(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            yield path
            return
        path = path.resolve()
        with _temporary(path, private=private) as temporary:
            try:
                yield temporary
                _sync(temporary)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Find out before long work whether its result can be written to `path`.

    Raises:
        OutputError: as `replacing`.
    """
    with suppress(_Unused), replacing(path):
        raise _Unused


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write `text` to `path` atomically, as UTF-8; bytes of file names that are not UTF-8 become `\\udcXX`."""
    with replacing(path, private=private) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def replace_set(folder: Path, name: str, files: Mapping[str, Path], *, remove: Iterable[str] = ()) -> None:
    """Put the files of a model in place as one: who calls `complete` before reading finds all old or all new.

    No system call renames several files at once. So copies of all of them are made beside the old ones first; then
    one rename puts a journal there, which says what becomes what. Before it the old set counts, and from it on the
    new one: whoever comes next, this call, a reader or the next export, does what the journal says.

    Args:
        folder: where they go; it is made where it is missing.
        name: of the model. Its files are called `NAME.SOMETHING`.
        files: what to copy, by the names they get.
        remove: names of files that are not in the new set.

    Raises:
        OutputError: nothing can be written there; the old set stays, unless the journal was written.
    """
    with _one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        try:
            with ExitStack() as in_use:
                put = {}
                for target, source in files.items():
                    temporary = in_use.enter_context(_temporary(folder / target))
                    shutil.copyfile(source, temporary)
                    _sync(temporary)
                    put[temporary.name] = target
                write_text(_journal(folder, name), json.dumps({"put": put, "remove": list(remove)}))
        finally:
            sweep(folder)


def complete(folder: Path, name: str | None = None) -> None:
    """Finish what an interrupted `replace_set` began; most times there is nothing to do.

    Args:
        folder: where the files of models are.
        name: the model; without, all of them.

    Raises:
        OutputError: the files cannot be put in place, or the journal is no journal.
    """
    for journal in sorted(folder.glob(f"{_JOURNAL}*.json")) if name is None else [_journal(folder, name)]:
        if not _is_file(journal):
            continue
        with _one_line(journal):
            try:
                text = journal.read_text(encoding="utf-8", errors="replace")
            except FileNotFoundError:  # another process has just finished it
                continue
            put, remove = _parsed(journal, text)
            for temporary, target in put.items():
                with suppress(FileNotFoundError):  # done already
                    (folder / temporary).replace(folder / target)
            for target in remove:
                (folder / target).unlink(missing_ok=True)
            _sync(folder)
            journal.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """`complete`, and remove the temporary files that killed processes left in `folder`.

    Raises:
        OutputError: as `complete`.
    """
    # In this order: what its process no longer uses is either in a journal by now, or never will be.
    abandoned = [
        path
        for path in folder.glob(f"{_PREFIX}*")
        if not path.name.startswith(_JOURNAL) and path.is_file() and not _in_use(path)
    ]
    complete(folder)
    for path in abandoned:
        with suppress(OSError):  # a nuisance, no more
            path.unlink()


class _Unused(Exception):
    """Leaves `replacing` without a file."""


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn what the system says of writing into one line."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def _temporary(path: Path, *, private: bool = False) -> Iterator[Path]:
    """A new file beside `path`, with its permissions, or those that a new file gets; in use until the block ends."""
    if path.is_dir():
        raise IsADirectoryError(None, "a folder; expected a file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_PREFIX}{os.urandom(6).hex()}{path.suffix}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if private else 0o666)
    try:
        if sys.platform == "win32":  # nobody can rename an open file there
            os.close(descriptor)
        else:
            with suppress(OSError):  # not every file system has locks: then nobody sweeps there
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists() and not private:
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        yield temporary
    finally:
        if sys.platform != "win32":
            os.close(descriptor)


def _in_use(temporary: Path) -> bool:
    """Whether the process that made a temporary file lives: its lock ends with it. On Windows, by age."""
    try:
        if sys.platform == "win32":
            return time.time() - temporary.stat().st_mtime < _ABANDONED_AFTER_S
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
    except OSError:
        return True
    return False


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir():
        if sys.platform != "win32":
            descriptor = os.open(path, os.O_RDONLY)
            with suppress(OSError):  # not every file system can
                os.fsync(descriptor)
            os.close(descriptor)
        return
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _is_file(path: Path) -> bool:
    """Whether there is a file; names that no file can have are none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _journal(folder: Path, name: str) -> Path:
    return folder / f"{_JOURNAL}{name}.json"


def _parsed(journal: Path, text: str) -> tuple[dict[str, str], list[str]]:
    """What becomes what, and what goes; a journal of any origin touches nothing but the model's files beside it."""
    name = journal.stem.removeprefix(_JOURNAL)
    temporary = re.compile(rf"{re.escape(_PREFIX)}[0-9a-f]+\.\w+")
    target = re.compile(rf"{re.escape(name)}\.([\w.-]+\.)?({_SET_SUFFIXES})")
    try:
        values = json.loads(text)
        put, remove = values["put"], values["remove"]
        known = all(map(temporary.fullmatch, put)) and all(map(target.fullmatch, [*put.values(), *remove]))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        known = False
    if not known:
        raise OutputError(f"{journal}: not the journal of an export that was interrupted; delete it")
    return put, remove
