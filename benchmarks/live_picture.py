"""The README's picture of `edgeemo listen --serve`: the live page in Chromium, near the end of the bundled sample.

    python benchmarks/live_picture.py

writes `results/live_page.png` beside this file. It needs Debian's chromium and chromium-driver. The numbers in it are
those of that run on this machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from edgeemo.files import replacing
from edgeemo.places import DEFAULT_MODEL

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.browser import chromium
from support.live_page import listening

RESULT = Path(__file__).parent / "results" / "live_page.png"
SEEN_S = 8.0
REACHED = "return parseFloat(document.getElementById('detail').textContent) >= arguments[0]"


def main() -> None:
    """Show the page, and write what is seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or path (default: %(default)s)")
    parser.add_argument(
        "--width", type=int, default=720, help="of the window, in pixels (default: %(default)s)"
    )
    parser.add_argument("--height", type=int, default=1100, help="likewise (default: %(default)s)")
    parser.add_argument("--dark", action="store_true", help="in dark colours")
    parser.add_argument("--output", type=Path, default=RESULT, help="the PNG file")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name, chromium(Path(name)) as page:
        size = {"width": arguments.width, "height": arguments.height}
        page.command("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=True)
        scheme = "dark" if arguments.dark else "light"
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.command("Emulation.setEmulatedMedia", features=features)
        with listening("--sample", "--model", arguments.model) as url:
            page.open(url).until(REACHED, SEEN_S)
            picture = page.screenshot()
    with replacing(arguments.output) as temporary:
        temporary.write_bytes(picture)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
