"""What a command ends with, so that a supervisor can tell what to do: `docs/device.md` has the table.

0 is the end that was asked for, 1 any other error, 2 a wrong use of the command line, 128 + N signal N.
"""

from __future__ import annotations

from edgeemo.errors import DeviceError, EdgeEmoError, ModelError

FAILED = 1
_EXIT_CODES: dict[type[EdgeEmoError], int] = {ModelError: 3, DeviceError: 4}


def exit_code(error: EdgeEmoError) -> int:
    """The code of a command that ends with this error."""
    return next((code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)), FAILED)
