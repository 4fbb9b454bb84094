"""The page of `edgeemo web` in a browser."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgeemo.web.server import site_server
from support.browser import Page, chromium

RECORDING = """
    window.blocks = []; window.broken = [];
    document.addEventListener("securitypolicyviolation", (event) => window.broken.push(event.blockedURI));
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (message, transfer) {
      if (message.kind === "begin") window.blocks = [];
      if (message.kind === "audio") for (const sample of message.audio) window.blocks.push(sample);
      return post.call(this, message, transfer);
    };
"""
READY = "return !document.getElementById('microphone').disabled"
HEARD = "return document.getElementById('status').textContent.startsWith('Heard')"
PROBLEM = "const shown = document.getElementById('problem'); return !shown.hidden && shown.textContent"


@contextmanager
def shown(
    folder: Path,
    *flags: str,
    before: str = "",
    browser: Callable[..., AbstractContextManager[Page]] = chromium,
) -> Iterator[Page]:
    """The page of a folder in a new browser; `window.blocks` has the audio that it hears.

    Args:
        folder: what `write_site` wrote; a script is put into its page.
        flags: of the browser's command line.
        before: a script that runs before the page's own.
        browser: what starts it, from a folder for its profile.
    """
    (folder / "before.js").write_text(RECORDING + before)
    page_html = folder / "index.html"
    own = '<script type="module" src="page.js">'
    text = page_html.read_text()
    assert own in text
    if "before.js" not in text:
        page_html.write_text(text.replace(own, f'<script src="before.js"></script>{own}'))
    with site_server(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with (
                TemporaryDirectory(ignore_cleanup_errors=True) as profile,
                browser(Path(profile), *flags) as page,
            ):
                yield page.open(f"http://127.0.0.1:{server.server_port}/")
        finally:
            server.shutdown()
            thread.join()


def saved(page: Page) -> list[dict[str, Any]]:
    """The events that the page saves."""
    path = page.downloads / "events.jsonl"
    path.unlink(missing_ok=True)
    page.click("#save")
    for _ in range(600):
        if path.is_file() and path.stat().st_size:
            break
        page.run("return new Promise((done) => setTimeout(done, 50))")
    return [json.loads(line) for line in path.read_text().splitlines()]
