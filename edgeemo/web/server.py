"""Serving a page to this machine alone."""

from __future__ import annotations

import functools
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from edgeemo.errors import OutputError

HOST = "127.0.0.1"
_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def site_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of a folder on loopback; `serve_forever` runs it.

    Args:
        folder: what `write_site` wrote.
        port: 0 for any that is free.

    Raises:
        OutputError: the port is taken, or needs other rights.
    """
    try:
        return ThreadingHTTPServer((HOST, port), functools.partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise OutputError(
            f"port {port} cannot be used ({error.strerror}); give another with --port"
        ) from error


class _Handler(SimpleHTTPRequestHandler):
    """Files of a folder, under a strict policy, without a line for each request."""

    extensions_map = {  # noqa: RUF012 (so it is declared there)
        "": "application/octet-stream",
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".md": "text/plain; charset=utf-8",
        ".mjs": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
