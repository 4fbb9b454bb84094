"""The README's picture of `edgeemo web`: the page in Chromium, after it has heard the bundled sample of speech.

    python benchmarks/web_picture.py

writes `results/web.png` beside this file. It needs Debian's chromium and chromium-driver. The numbers in it are those
of that run on this machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from edgeemo.files import replacing
from edgeemo.places import DEFAULT_MODEL, sample_path
from edgeemo.web.runtime import runtime_files
from edgeemo.web.site import write_site

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.site import HEARD, READY, shown

RESULT = Path(__file__).parent / "results" / "web.png"
DRAWN = "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"


def main() -> None:
    """Show the page, and write what is seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or path (default: %(default)s)")
    parser.add_argument(
        "--width", type=int, default=720, help="of the window, in pixels (default: %(default)s)"
    )
    parser.add_argument("--height", type=int, default=1160, help="likewise (default: %(default)s)")
    parser.add_argument("--dark", action="store_true", help="in dark colours")
    parser.add_argument("--output", type=Path, default=RESULT, help="the PNG file")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        site = Path(name) / "site"
        write_site(site, arguments.model, runtime_files())
        with shown(site) as page:
            size = {"width": arguments.width, "height": arguments.height}
            page.command("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=True)
            scheme = "dark" if arguments.dark else "light"
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            page.command("Emulation.setEmulatedMedia", features=features)
            page.until(READY)
            page.type("#file", str(sample_path()))
            page.until(HEARD)
            page.until(DRAWN)
            picture = page.screenshot()
    with replacing(arguments.output) as temporary:
        temporary.write_bytes(picture)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
