"""onnxruntime-web: the two files of it that a page needs, from npm or a folder, checked by their digests."""

from __future__ import annotations

import hashlib
import io
import tarfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from edgeemo.errors import DownloadError
from edgeemo.files import replacing
from edgeemo.places import CACHE_DIR

VERSION = "1.30.0"
FILES: Mapping[str, str] = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""Name in the package's folder `dist` -> SHA-256."""

_ADDRESS = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
_MAX_BYTES = 100_000_000
_WAIT_S = 30.0


def runtime_files(folder: Path | None = None) -> dict[str, bytes]:
    """The files, by name.

    Args:
        folder: of the unpacked npm package, or its `dist`; without, they are downloaded once and kept.

    Raises:
        DownloadError: a file is missing in the folder or is of another version; or npm cannot be reached.
        OutputError: what was downloaded cannot be kept.
    """
    if folder is not None:
        dist = folder / "dist" if (folder / "dist").is_dir() else folder
        return {name: _checked(name, _read(dist / name)) for name in FILES}
    cache = CACHE_DIR / f"onnxruntime-web-{VERSION}"
    if not all(_is_whole(cache / name, digest) for name, digest in FILES.items()):
        for name, content in _downloaded().items():
            with replacing(cache / name) as temporary:
                temporary.write_bytes(content)
    return {name: _checked(name, _read(cache / name)) for name in FILES}


def _downloaded() -> dict[str, bytes]:
    try:
        with urllib.request.urlopen(_ADDRESS, timeout=_WAIT_S) as response:
            package = response.read(_MAX_BYTES)
        with tarfile.open(fileobj=io.BytesIO(package)) as archive:
            found = {name: archive.extractfile(f"package/dist/{name}") for name in FILES}
            return {name: _checked(name, file.read() if file else b"") for name, file in found.items()}
    except (OSError, KeyError, tarfile.TarError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DownloadError(
            f"onnxruntime-web {VERSION} cannot be had from npm ({reason}); where npm can be reached, "
            f"`npm pack onnxruntime-web@{VERSION}` and unpack it, then give that folder with --runtime"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DownloadError(
            f"{path}: cannot be read ({error.strerror or error}); expected the folder of onnxruntime-web {VERSION}"
        ) from error


def _is_whole(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def _checked(name: str, content: bytes) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != FILES[name]:
        raise DownloadError(
            f"{name} has the SHA-256 {found[:12]}..., expected {FILES[name][:12]}... of onnxruntime-web {VERSION}"
        )
    return content
