"""What is written for characters that an output's encoding lacks, as ASCII lacks those that bars are made of."""

from __future__ import annotations

import codecs

ERRORS = "edgeemo_plain"
"""Name of the error handler: `stream.reconfigure(errors=ERRORS)`."""

_PLAIN = {
    **dict.fromkeys("█▉▊▋▌", "#"),
    **dict.fromkeys("▍▎▏", " "),
    **dict(zip("▁▂▃▄▅▆▇", "_.:-=+*", strict=True)),
    "─": "-",
    "●": "o",
    "…": "~",
}


def _plain(error: UnicodeError) -> tuple[str, int]:
    """One character for one, so that columns stay; others, such as bytes of file names, as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    if (stands_in := _PLAIN.get(error.object[error.start])) is not None:
        return stands_in, error.start + 1
    escaped, _ = codecs.backslashreplace_errors(
        UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason)
    )
    return str(escaped), error.start + 1


codecs.register_error(ERRORS, _plain)
