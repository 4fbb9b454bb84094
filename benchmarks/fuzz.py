"""Loads damaged model files and counts what comes of each: a model that runs, one line of error, or a failure.

    python benchmarks/fuzz.py [--number 20000] [--seed 1]

The mutants are copies of the tests' tiny models, one of them also with its checksum, with bytes changed, cut out and
repeated, and with other values in the metadata. Each is loaded and run for one step, in a process that may take 500
MB more than it has after its imports, and 5 s for each. It keeps `results/fuzz.md` beside this file up to date as it
goes, and ends with 1 if there was a failure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from edgeemo.bench import machine
from edgeemo.files import write_text

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.mutants import LIMIT_S, Outcomes, run_mutants, without_checksum  # noqa: E402

CHUNK = 500


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--number", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    whole = [path.read_bytes() for path in sorted((ROOT / "tests" / "device").glob("tiny*.onnx"))]
    files = [*map(without_checksum, whole), whole[-1]]
    total, start = Outcomes(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgeemo-fuzz-") as folder:
        for first in range(0, arguments.number, CHUNK):
            numbers = range(first, min(first + CHUNK, arguments.number))
            total.add(run_mutants(files, Path(folder), seed=arguments.seed, numbers=numbers))
            print(f"{total.counts.total()} mutants: {dict(total.counts)}", flush=True)
            text = report(total, arguments.seed, time.monotonic() - start)
            write_text(ROOT / "benchmarks" / "results" / "fuzz.md", text)
    sys.exit(bool(total.failures))


def report(found: Outcomes, seed: int, took_s: float) -> str:
    """What was counted, as Markdown."""
    here = machine.describe()
    lines = [
        f"`python benchmarks/fuzz.py --number {found.counts.total()} --seed {seed}`: {found.counts.total()} damaged "
        f"copies of the tests' tiny models, onnxruntime {here.onnxruntime}, in {took_s / 60:.0f} minutes on "
        f"{here.cpu}, {here.cores} cores.",
        "",
        "| outcome | mutants |",
        "|---|--:|",
        f"| one line of error | {found.counts['error']} |",
        f"| loaded and run: the change does no harm | {found.counts['model']} |",
        f"| anything else (traceback, killed, longer than {LIMIT_S:g} s, more than 500 MB) | {len(found.failures)} |",
        "",
        f"The slowest took {found.slowest_s:.2f} s of processor time; none added more than "
        f"{found.largest_bytes / 1e6:.0f} MB to its process.",
        *(f"\nMutant {number}: {what}" for number, what in found.failures.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
