"""Headless browsers, Debian's: Chromium by its driver and WebDriver, Firefox by the same commands over Marionette."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

DRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium")
FIREFOX = shutil.which("firefox-esr")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PREFERENCES = {
    "app.normandy.enabled": False,
    "browser.download.folderList": 2,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "marionette.port": 0,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}
_PATHS = {
    "Navigate": ("POST", "url"),
    "ExecuteScript": ("POST", "execute/sync"),
    "FindElement": ("POST", "element"),
    "GetElementText": ("GET", "element/{id}/text"),
    "ElementClick": ("POST", "element/{id}/click"),
    "ElementSendKeys": ("POST", "element/{id}/value"),
    "PerformActions": ("POST", "actions"),
    "TakeScreenshot": ("GET", "screenshot"),
    "Chromium": ("POST", "goog/cdp/execute"),
}
"""Where a driver has each command that Marionette knows by name, and Chromium's own protocol."""
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_WAIT_S = 300.0  # only so that a page that never gets there ends the test


class Page:
    """A browser that is driven.

    Args:
        call: gives what a command returns, by its name and its parameters.
        downloads: the folder for what it saves.
    """

    def __init__(self, call: Callable[[str, Mapping[str, Any]], Any], downloads: Path) -> None:
        self._call = call
        self.downloads = downloads

    def open(self, url: str) -> Self:
        """Go to a page and wait until it has loaded."""
        self._call("Navigate", {"url": url})
        return self

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a script returns, of a promise the one that it gives."""
        return self._call("ExecuteScript", {"script": script, "args": list(arguments), "sandbox": None})

    def text(self, selector: str) -> str:
        """What an element shows; empty where it is hidden."""
        return str(self._call("GetElementText", self._element(selector)))

    def click(self, selector: str) -> None:
        """Click an element."""
        self._call("ElementClick", self._element(selector))

    def type(self, selector: str, text: str) -> None:
        """Type into an element; of one for files, the path of one."""
        self._call("ElementSendKeys", self._element(selector) | {"text": text})

    def key(self, code: str) -> None:
        """Press a key."""
        actions = [{"type": kind, "value": code} for kind in ("keyDown", "keyUp")]
        self._call("PerformActions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def screenshot(self) -> bytes:
        """The window, as PNG."""
        return base64.b64decode(self._call("TakeScreenshot", {"full": False}))

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self._call("Chromium", {"cmd": name, "params": parameters})

    def until(self, script: str, *arguments: Any) -> Any:
        """Wait until a script returns something that is true, and give it."""
        end = time.monotonic() + _WAIT_S
        while not (found := self.run(script, *arguments)):
            assert time.monotonic() < end, f"never: {script}; the page shows: {self.text('body')}"
            time.sleep(0.05)
        return found

    def _element(self, selector: str) -> dict[str, Any]:
        found = self._call("FindElement", {"using": "css selector", "value": selector})
        return {"id": found[_ELEMENT]}


@contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[Page]:
    """A new Chromium.

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
            session = _request(
                "POST", root, {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
            )
            address = f"{root}/{session['sessionId']}"

            def call(name: str, parameters: Mapping[str, Any]) -> Any:
                method, path = _PATHS[name]
                body = None if method == "GET" else parameters
                return _request(method, f"{address}/{path.format_map(parameters)}", body)

            try:
                page = Page(call, profile / "downloads")
                page.command("Page.setDownloadBehavior", behavior="allow", downloadPath=str(page.downloads))
                yield page
            finally:
                _request("DELETE", address)
        finally:
            driver.terminate()


@contextmanager
def firefox(
    profile: Path, environment: Mapping[str, str] = os.environ, **preferences: bool | int | str
) -> Iterator[Page]:
    """A new Firefox.

    Args:
        profile: an empty folder for what it keeps.
        environment: of its process.
        preferences: more of its settings, `__` for the dots in their names.
    """
    assert FIREFOX
    downloads = profile / "downloads"
    downloads.mkdir()
    given = {name.replace("__", "."): value for name, value in preferences.items()}
    settings = PREFERENCES | {"browser.download.dir": str(downloads)} | given
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in settings.items()]
    (profile / "user.js").write_text("".join(lines))
    with subprocess.Popen(
        [FIREFOX, "--headless", "--marionette", "--no-remote", "--profile", profile],
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            port = _port(profile, process)
            with socket.create_connection(("127.0.0.1", port), timeout=2 * _WAIT_S) as connection:
                marionette = _Marionette(connection)
                marionette.call("WebDriver:NewSession", {})

                def call(name: str, parameters: Mapping[str, Any]) -> Any:
                    return marionette.call(f"WebDriver:{name}", parameters)["value"]

                yield Page(call, downloads)
                with suppress(OSError, RuntimeError):
                    marionette.call("Marionette:Quit", {"flags": ["eForceQuit"]})
        finally:
            process.terminate()


def _port(profile: Path, process: subprocess.Popen[bytes]) -> int:
    """Of Marionette, which writes it into the profile once it listens."""
    end = time.monotonic() + _WAIT_S
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError, ValueError):
            return int((profile / "MarionetteActivePort").read_text())
        time.sleep(0.05)
    raise RuntimeError(f"Firefox does not start (exit code {process.poll()})")


class _Marionette:
    """Firefox's protocol: messages of JSON, each after its length and a colon."""

    def __init__(self, connection: socket.socket) -> None:
        self._stream = connection.makefile("rwb")
        self._n_sent = 0
        self._receive()  # its greeting

    def call(self, name: str, parameters: Mapping[str, Any]) -> Any:
        """What a command returns."""
        self._n_sent += 1
        message = json.dumps([0, self._n_sent, name, parameters]).encode()
        self._stream.write(b"%d:%s" % (len(message), message))
        self._stream.flush()
        _, _, problem, found = self._receive()
        if problem:
            raise RuntimeError(f"{problem['error']}: {problem['message'].splitlines()[0]}")
        return found

    def _receive(self) -> Any:
        length = b""
        while (byte := self._stream.read(1)) != b":":
            if not byte:
                raise ConnectionError("Firefox is gone")
            length += byte
        return json.loads(self._stream.read(int(length)))


def _request(method: str, url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=2 * _WAIT_S) as response:
            return json.load(response)["value"]
    except urllib.error.HTTPError as error:
        problem = json.load(error)["value"]
        raise RuntimeError(f"{problem['error']}: {problem['message'].splitlines()[0]}") from None
