"""The README's image of `edgeemo listen`, drawn by the real loop.

    python benchmarks/listen_picture.py

listens to the bundled sample of speech without waiting for real time, stops after `--seconds` of it and writes
what a terminal would then show to `results/listen.svg` beside this file. The numbers in it are those of that run
on this machine.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from rich.console import Console

import edgeemo
from edgeemo.files import write_text
from edgeemo.live import LoopStatistics
from edgeemo.places import DEFAULT_MODEL, sample_path
from edgeemo.view import Picture, render

RESULT = Path(__file__).parent / "results" / "listen.svg"


def main() -> None:
    """Listen, then write what the view shows of the last step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or path (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=6.0, help="where to stop (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULT, help="the SVG file")
    arguments = parser.parse_args()

    model = edgeemo.load(arguments.model)
    source = edgeemo.AudioFile(sample_path(), realtime=False)
    statistics = LoopStatistics()
    start, *events = edgeemo.listen(source, model, seconds=arguments.seconds)
    for event in events:
        statistics.add(event)
    steps = [event for event in events if isinstance(event, edgeemo.Step)]
    if not steps or not isinstance(start, edgeemo.Start):
        parser.error(f"--seconds {arguments.seconds:g} is less than one step")

    console = Console(record=True, width=80, file=io.StringIO())
    console.print(render(Picture.of(start, steps[-1], statistics)))
    write_text(arguments.output, console.export_svg(title="edgeemo listen"))
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
