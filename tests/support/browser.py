"""Headless Chromium, by the WebDriver protocol: Debian's `chromium` and `chromium-driver`, and nothing else."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

DRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_WAIT_S = 300.0  # only so that a page that never gets there ends the test


class Page:
    """A browser that is driven.

    Args:
        address: of the driver's session.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def open(self, url: str) -> Self:
        """Go to a page and wait until it has loaded."""
        _call("POST", f"{self._address}/url", {"url": url})
        return self

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a script returns, of a promise the one that it gives."""
        return _call("POST", f"{self._address}/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """What an element shows; empty where it is hidden."""
        return str(_call("GET", f"{self._element(selector)}/text"))

    def click(self, selector: str) -> None:
        """Click an element."""
        _call("POST", f"{self._element(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type into an element; of one for files, the path of one."""
        _call("POST", f"{self._element(selector)}/value", {"text": text})

    def key(self, code: str) -> None:
        """Press a key."""
        actions = [{"type": kind, "value": code} for kind in ("keyDown", "keyUp")]
        body = {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}
        _call("POST", f"{self._address}/actions", body)

    def screenshot(self) -> bytes:
        """The window, as PNG."""
        return base64.b64decode(_call("GET", f"{self._address}/screenshot"))

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        body = {"cmd": name, "params": parameters}
        return _call("POST", f"{self._address}/goog/cdp/execute", body)

    def until(self, script: str, *arguments: Any) -> Any:
        """Wait until a script returns something that is true, and give it."""
        end = time.monotonic() + _WAIT_S
        while not (found := self.run(script, *arguments)):
            assert time.monotonic() < end, f"never: {script}; the page shows: {self.text('body')}"
            time.sleep(0.05)
        return found

    def _element(self, selector: str) -> str:
        found = _call("POST", f"{self._address}/element", {"using": "css selector", "value": selector})
        return f"{self._address}/element/{found[_ELEMENT]}"


@contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[Page]:
    """A new browser.

    Args:
        profile: an empty folder for what it keeps.
        flags: more of its command line.
    """
    assert DRIVER
    with subprocess.Popen(
        [DRIVER, "--port=0", "--allowed-ips=127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as driver:
        try:
            assert driver.stdout
            started = next(line for line in driver.stdout if "started successfully on port" in line)
            port = started.rstrip(". \n").rpartition(" ")[2]
            root = f"http://127.0.0.1:{port}/session"
            options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}", *flags]}
            session = _call("POST", root, {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
            page = Page(f"{root}/{session['sessionId']}")
            try:
                yield page
            finally:
                _call("DELETE", f"{root}/{session['sessionId']}")
        finally:
            driver.terminate()


def _call(method: str, url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=2 * _WAIT_S) as response:
            return json.load(response)["value"]
    except urllib.error.HTTPError as error:
        problem = json.load(error)["value"]
        raise RuntimeError(f"{problem['error']}: {problem['message'].splitlines()[0]}") from None
