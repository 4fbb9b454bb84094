"""Damaged and hostile model files, and what comes of each: a seeded mutator, and a process that loads what it makes.

A mutant's number and the seed say all about it: any one can be made again.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT_S = 5.0
"""Processor time for each mutant."""
LIMIT_BYTES = 500 << 20
"""Memory that a mutant may take beyond what the process has after its imports."""
WORTHLESS = (None, -1, 0, 1.5, 10**15, 1e308, "", "x" * 100_000, "\x1b[2J", "[red]", [], {}, [[[[]]]], True)
RAW = (b"1e400", b"NaN", b"[" * 5000, b"\x80", b'"\\ud800"', b"9" * 5000, b"-Infinity", b"\x00")


@dataclass
class Outcomes:
    """What came of many mutants.

    Attributes:
        counts: outcome -> how many; `model` ran, `error` gave one line.
        failures: number of a mutant -> what it did instead.
        slowest_s: the most processor time that one took.
        largest_bytes: the most memory that one added.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    slowest_s: float = 0.0
    largest_bytes: int = 0

    def add(self, other: Outcomes) -> None:
        """Count others too."""
        self.counts += other.counts
        self.failures |= other.failures
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.largest_bytes = max(self.largest_bytes, other.largest_bytes)


def mutant(files: Sequence[bytes], seed: int, number: int) -> bytes:
    """One damaged copy of one of some model files."""
    draw = random.Random(f"{seed} {number}")
    content = bytearray(draw.choice(files))
    damages = (_flip, _flip, _cut, _edit_json, _edit_json, _raw_json, _repeat)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        draw.choice(damages)(draw, content)
    return bytes(content)


def _flip(draw: random.Random, content: bytearray) -> None:
    for _ in range(draw.choice((1, 1, 2, 10))):
        content[draw.randrange(len(content))] = draw.randrange(256)


def _cut(draw: random.Random, content: bytearray) -> None:
    start = draw.randrange(len(content))
    del content[start : draw.choice((len(content), start + draw.randrange(1, 64)))]
    content += b"\x00" * (not content)


def _repeat(draw: random.Random, content: bytearray) -> None:
    """A stretch again, somewhere: where it begins with a field, a field twice."""
    start = draw.randrange(len(content))
    stretch = content[start : start + draw.choice((2, 8, 40, 400))]
    where = draw.choice((start, len(content), draw.randrange(len(content))))
    content[where:where] = stretch


def _edit_json(draw: random.Random, content: bytearray) -> None:
    """Another value somewhere in the metadata, the file intact around it."""
    found = _json_in(content)
    if found is None:
        return
    start, end = found
    values = json.loads(content[start:end])
    table: Any = values
    while True:
        keys = list(table) if isinstance(table, dict) else list(range(len(table)))
        if not keys:
            return
        key = draw.choice(keys)
        inner = table[key]
        if not (isinstance(inner, dict | list) and inner) or draw.random() < 0.3:
            break
        table = inner
    what = draw.randrange(4)
    if what == 0:
        del table[key]
    elif what == 1 and isinstance(table, dict):
        table[draw.choice(("\x1b[31m", "[bold]x[/]", "k" * 50_000))] = table.pop(key)
    elif what == 2 and isinstance(inner, int | float) and not isinstance(inner, bool):
        table[key] = draw.choice((inner + 0.5, -inner, inner * 10**12, inner + 1, float("nan")))
    else:
        table[key] = draw.choice(WORTHLESS)
    with_metadata(content, json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _raw_json(draw: random.Random, content: bytearray) -> None:
    """Something that is no JSON, or not this JSON, in place of a value in the metadata."""
    found = _json_in(content)
    if found is None:
        return
    start, end = found
    text = bytes(content[start:end])
    values = list(re.finditer(rb'(?<=: )("[^"]*"|[-0-9.e]+|null|true|false)', text))
    if values:
        value = draw.choice(values)
        with_metadata(content, text[: value.start()] + draw.choice(RAW) + text[value.end() :])


def with_metadata(content: bytearray, text: bytes) -> None:
    """Put other metadata into a file whose last field it is, as it is in what edgeemo writes."""
    start = content.rfind(b"\x72", 0, content.rfind(b"\x0a\x07edgeemo\x12"))
    entry = b"\x0a\x07edgeemo\x12" + varint(len(text)) + text
    content[start:] = b"\x72" + varint(len(entry)) + entry


def varint(value: int) -> bytes:
    """A whole number of the wire format."""
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def without_checksum(content: bytes) -> bytes:
    """A model file without the checksum of its graph, so that what is changed in it is read."""
    from edgeemo.metadata import CHECKSUM_KEY
    from edgeemo.onnx_file import read_onnx

    digest = read_onnx(content).graph_sha256().encode()
    key = CHECKSUM_KEY.encode()
    entry = b"\x0a" + varint(len(key)) + key + b"\x12" + varint(len(digest)) + digest
    field = b"\x72" + varint(len(entry)) + entry
    assert content.count(field) == 1
    return content.replace(field, b"")


def _json_in(content: bytearray) -> tuple[int, int] | None:
    """Where the metadata's JSON is, if it is intact and the file's last field."""
    key = content.rfind(b"\x0a\x07edgeemo\x12")
    start = content.find(b"{", key)
    if key < 0 or start < 0:
        return None
    try:
        json.loads(content[start:])
    except (ValueError, RecursionError):
        return None
    return start, len(content)


def run_mutants(
    files: Sequence[bytes], folder: Path, *, seed: int, numbers: Sequence[int], limit_s: float = LIMIT_S
) -> Outcomes:
    """Load mutants and run one step of each, in processes with a limit on memory and time.

    A process goes on from mutant to mutant until one ends it; the next begins after that one.
    """
    outcomes, todo = Outcomes(), list(numbers)
    for i, content in enumerate(files):
        (folder / f"{i}.base").write_bytes(content)
    while todo:
        process = subprocess.Popen(
            [sys.executable, "-m", "support.mutants", str(folder), str(len(files)), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parents[1],
            env={**os.environ, "PYTHONPATH": f"{Path(__file__).parents[1]}{os.pathsep}{_package()}"},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            process.stdin.write("\n".join(map(str, todo)) + "\n")
            process.stdin.close()
            n_done = 0
            for line in process.stdout:
                if not line.startswith('{"number"'):  # a library's
                    continue
                answer = json.loads(line)
                n_done += 1
                _count(outcomes, answer, limit_s)
        if n_done < len(todo):
            outcomes.counts["process ended"] += 1
            outcomes.failures[todo[n_done]] = f"process ended with {process.returncode}"
            n_done += 1
        todo = todo[n_done:]
    return outcomes


def _count(outcomes: Outcomes, answer: dict[str, Any], limit_s: float) -> None:
    outcome, seconds = answer["outcome"], answer["seconds"]
    if outcome in ("model", "error") and seconds > limit_s:
        outcome, answer["what"] = "too slow", f"{seconds:.1f} s"
    outcomes.counts[outcome] += 1
    outcomes.slowest_s = max(outcomes.slowest_s, seconds)
    outcomes.largest_bytes = max(outcomes.largest_bytes, answer["bytes"])
    if outcome not in ("model", "error"):
        outcomes.failures[answer["number"]] = f"{outcome}: {answer['what']}"


def _package() -> Path:
    import edgeemo

    return Path(edgeemo.__file__).parents[1]


def _outcome(path: Path) -> tuple[str, str]:
    """What loading a file and running one step of it gives."""
    import numpy as np

    from edgeemo.errors import EdgeEmoError
    from edgeemo.images import load_model

    try:
        model = load_model(path)
        probabilities = model.start()(np.zeros(model.input_shape, np.float32))
        if not abs(float(probabilities.sum()) - 1) < 1e-2:
            return "no probabilities", str(probabilities)
    except EdgeEmoError as error:
        text = str(error)
        is_line = text.isprintable() and len(text) < 4000
        return ("error", text) if is_line else ("not one line", repr(text)[:300])
    except Exception as error:  # noqa: BLE001  # what must not happen is counted
        return "traceback", f"{type(error).__name__}: {str(error)[:200]}"
    return "model", ""


def _main(folder: Path, n_files: int, seed: int) -> None:
    """Take numbers of mutants from stdin; say of each on stdout what came of it."""
    import edgeemo.images

    assert edgeemo.images
    files = [(folder / f"{i}.base").read_bytes() for i in range(n_files)]
    path = folder / f"mutant-{os.getpid()}.onnx"
    now_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now_bytes + LIMIT_BYTES, resource.RLIM_INFINITY))
    for line in sys.stdin:
        path.write_bytes(mutant(files, seed, int(line)))
        spent_s = int(time.process_time() + LIMIT_S) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (spent_s, resource.RLIM_INFINITY))
        start, before = time.process_time(), _peak_bytes()
        outcome, what = _outcome(path)
        answer = {
            "number": int(line),
            "outcome": outcome,
            "what": what,
            "seconds": time.process_time() - start,
            "bytes": _peak_bytes() - before,
        }
        print(json.dumps(answer), flush=True)  # noqa: T201
    path.unlink(missing_ok=True)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
