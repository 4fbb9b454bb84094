"""Events as HTTP requests."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.request
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from edgeemo import __version__
from edgeemo.errors import OutputError
from edgeemo.events import Event
from edgeemo.sinks.sink import RefusedError

_TIMEOUT_S = 10.0
_LATER = (408, 425, 429)
"""Statuses by which a server asks for the same request again; those from 500 on do too."""


class Webhook:
    """Sends each event in a POST request of its own, whose body is its JSON form.

    Any status from 200 to 299 means that it arrived. Redirections are not followed: they would lose the body.

    Args:
        url: to send to; a user and password in it are sent as basic authentication.

    Raises:
        ValueError: one line: it is no address of a web server. The address may be a secret, and is not repeated.

    Attributes:
        server: scheme, host and port: of the address, what may be shown.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # whose text repeats parts of it
            known = False
        if not known or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("expected an address such as https://example.org/path")
        host = parts.netloc.rpartition("@")[2]
        self.server = f"{parts.scheme}://{host}"
        self._url = parts._replace(netloc=host).geturl()
        self._headers = {"Content-Type": "application/json", "User-Agent": f"edgeemo/{__version__}"}
        if parts.username is not None:
            who = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(who.encode()).decode()}"
        self._opener = urllib.request.build_opener(_NoRedirection)

    def take(self, event: Event, at: datetime) -> None:
        """Send it.

        Raises:
            OutputError: it did not arrive, or no answer came within 10 s.
            RefusedError: the server will never take it.
        """
        body = json.dumps(event.to_dict(at), allow_nan=False).encode()
        request = urllib.request.Request(self._url, body, self._headers, method="POST")
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S):
                pass
        except urllib.error.HTTPError as error:
            error.close()
            again = error.code >= 500 or error.code in _LATER
            raise (OutputError if again else RefusedError)(
                f"it answers {error.code} ({error.reason})"
            ) from None
        except urllib.error.URLError as error:
            reason = error.reason
            raise OutputError((isinstance(reason, OSError) and reason.strerror) or str(reason)) from None
        except TimeoutError:
            raise OutputError(f"no answer within {_TIMEOUT_S:.0f} s") from None
        except http.client.HTTPException as error:
            raise OutputError(f"no answer in HTTP ({type(error).__name__})") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None
