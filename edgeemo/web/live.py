"""The live page's files, as `edgeemo listen --serve` hands them out."""

from __future__ import annotations

import json
from pathlib import Path

from edgeemo.features import Features

_SOURCES = Path(__file__).resolve().parent
_FILES = {
    "/": "live.html",
    "/live.js": "live.js",
    "/view.js": "view.js",
    "/draw.js": "draw.js",
    "/mel.js": "mel.js",
    "/style.css": "style.css",
    "/icon.svg": "icon.svg",
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


def live_files(features: Features) -> dict[str, tuple[str, bytes]]:
    """Path on the server -> content type and content.

    Args:
        features: of the model: what the page computes a spectrogram by. They are served as `/features.json`, where
            programs find the rate of the audio, too.
    """
    files = {
        path: (_TYPES[Path(name).suffix], (_SOURCES / name).read_bytes()) for path, name in _FILES.items()
    }
    return files | {"/features.json": ("application/json", json.dumps(features.to_dict()).encode())}
