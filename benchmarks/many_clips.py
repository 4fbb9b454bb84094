"""What `edgeemo evaluate` costs with many clips: a corpus several times over, each time by other speakers.

    python benchmarks/many_clips.py --data CREMA_D --times 13

Each time over, the clips count as other sounds of other people: all are heard, kept in the journal and drawn in the
bootstrap; without robustness. Writes `results/many_clips.md` beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgeemo.bench import machine
from edgeemo.corpora.find import find_clips
from edgeemo.corpora.manifest import Manifest
from edgeemo.files import write_text
from edgeemo.markdown import markdown_table

RESULT = Path(__file__).parent / "results" / "many_clips.md"
MODEL = "cnn_lstm"


def main() -> None:
    """Evaluate in a process of its own, and write what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of a corpus")
    parser.add_argument("--times", type=int, default=13)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeemo-many-") as folder:
        clips = times_over(arguments.data.resolve(), arguments.times, Path(folder))
        clips.write_csv(Path(folder) / "clips.csv")
        row = measured(Path(folder), clips)
    here = machine.describe()
    command = f"python benchmarks/many_clips.py --data CREMA_D --times {arguments.times}"
    lines = [
        "# Many clips",
        "",
        f"Made by `{command}`: `edgeemo evaluate {MODEL} --robustness 0` in one process. {here.cpu}.",
        "",
        *markdown_table([row]),
        "",
    ]
    write_text(RESULT, "\n".join(lines))


def times_over(data: Path, n: int, folder: Path) -> Manifest:
    """Each clip of a corpus `n` times, as another file, another sound and another speaker's."""
    manifest = find_clips(data)
    for i in range(n):
        (folder / str(i)).symlink_to(data)
    return Manifest(
        tuple(
            dataclasses.replace(
                clip,
                path=folder / str(i) / clip.path.resolve().relative_to(data),
                speaker=f"{clip.speaker}-{i}",
                sha256=hashlib.sha256(f"{clip.sha256} {i}".encode()).hexdigest(),
            )
            for i in range(n)
            for clip in manifest.clips
        )
    )


def measured(folder: Path, clips: Manifest) -> dict[str, str]:
    """What it takes to evaluate a model on the manifest in a folder."""
    command = [
        sys.executable,
        "-c",
        "from edgeemo.cli import main; main()",
        "evaluate",
        MODEL,
        "--robustness",
        "0",
    ]
    start = time.monotonic()
    with (folder / "tables.txt").open("wb") as tables:
        process = subprocess.Popen(
            [*command, "--data", str(folder / "clips.csv"), "--output", str(folder)], stdout=tables
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("edgeemo evaluate failed")
    n_clips, cpu_s = len(clips.clips), usage.ru_utime + usage.ru_stime
    journal = sum(path.stat().st_size for path in (folder / "answers").iterdir())
    return {
        "clips": f"{n_clips:,}",
        "hours": f"{sum(clip.n_samples / clip.sample_rate for clip in clips.clips) / 3600:.1f}",
        "speakers": f"{len({clip.speaker for clip in clips.clips}):,}",
        "processor time": f"{cpu_s / 60:.1f} min",
        "of it per clip": f"{1000 * cpu_s / n_clips:.1f} ms",
        "elapsed": f"{(time.monotonic() - start) / 60:.1f} min",
        "most memory": f"{usage.ru_maxrss / 1024:.0f} MiB",
        "journal per clip": f"{journal / n_clips / 1024:.2f} KiB",
    }


if __name__ == "__main__":
    main()
