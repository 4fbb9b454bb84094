"""Connecting to a Ray cluster. Ray is the extra `cluster`, imported inside the functions."""

from __future__ import annotations

import functools
import logging
import os
import re
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from edgeemo.errors import ClusterError

_ADDRESS = re.compile(r"auto|local|(?P<client>ray://)?(?P<host>[^/\s]+):(?P<port>\d{1,5})")
_CONNECT_S = 5.0

# Under `uv run`, Ray would send the current folder to every node and install its project there. It looks at this
# variable once, when it is imported.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a Ray cluster for the length of a `with` block.

    Args:
        address: as `ray.init` takes it. `auto`: the cluster that this machine belongs to; `HOST:PORT`: a particular
            one of several; `ray://HOST:PORT`: a cluster that it does not belong to (needs `ray[client]`); `local`: a
            cluster of this machine alone, started here and stopped afterwards.

    Raises:
        ClusterError: the address is none of these, or there is no such cluster; after a minute at the latest.
        ImportError: Ray is not installed.
    """
    import ray

    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise ClusterError(f"Ray address {address!r}; expected auto, local, HOST:PORT or ray://HOST:PORT")
    init = functools.partial(ray.init, address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        if address == "local":
            init(include_dashboard=False)
        else:
            if parts["host"] and not parts["client"]:
                # Ray itself would take minutes to find that nothing is there. `ray://` knows by itself in 30 s.
                socket.create_connection((parts["host"].strip("[]"), int(parts["port"])), _CONNECT_S).close()
            with _one_attempt(), warnings.catch_warnings(action="ignore"):
                init()
    except Exception as error:
        if address == "local":
            raise ClusterError(f"Ray does not start on this machine: {reason(error)}") from error
        raise ClusterError(
            f"no Ray cluster at {address} ({reason(error)}); `auto` and HOST:PORT need this machine to belong to "
            "it, ray://HOST:10001 does not, and `local` starts one here"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _one_attempt() -> Iterator[None]:
    """Have Ray try once to join a cluster, for 40 s: by itself it tries 20 times."""
    # In spite of its name it is the number of attempts, but for where Ray starts a cluster.
    variable = "RAY_gcs_server_port_wait_time_s"
    before = os.environ.get(variable)
    os.environ.setdefault(variable, "1")
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]


def reason(error: Exception) -> str:
    """The line of an error that says most: what was raised on a node, else its first line."""
    text = str(error).strip()
    raised = re.findall(r"^[\w.]+(?:Error|Exception): .+", text, re.MULTILINE)
    ours = [line for line in raised if line.startswith("edgeemo.")]  # others may be what it was raised from
    line = [*ours, *raised, text.partition("\n")[0]][0]
    return line.rstrip(" .") or type(error).__name__
