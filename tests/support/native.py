"""What examples/c/ is built with: a compiler, onnxruntime's header, and the library inside its Python package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import onnxruntime

SOURCE = Path(__file__).parents[2] / "examples" / "c"
HEADER = "onnxruntime_c_api.h"


def why_not() -> str | None:
    """Why it cannot be built here; None where it can."""
    if not (shutil.which("cmake") and (shutil.which("cc") or shutil.which("gcc"))):
        return "cmake or a C compiler absent"
    if (folder := include()) is None:
        return f"{HEADER} absent: install libonnxruntime-dev, or set ONNXRUNTIME_INCLUDE to its folder"
    if library() is None:
        return "this onnxruntime has no library of its own in its package"
    wanted = int(re.findall(r"#define ORT_API_VERSION (\d+)", (folder / HEADER).read_text())[0])
    found = int(onnxruntime.__version__.split(".")[1])
    return None if found >= wanted else f"onnxruntime 1.{found} is older than its header, of 1.{wanted}"


def include() -> Path | None:
    """The folder of the header."""
    folders = [
        os.environ.get("ONNXRUNTIME_INCLUDE", ""),
        "/usr/include/onnxruntime",
        "/usr/local/include/onnxruntime",
    ]
    return next((Path(folder) for folder in folders if folder and (Path(folder) / HEADER).is_file()), None)


def library() -> Path | None:
    """The library of onnxruntime's Python package."""
    return next(iter(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.[0-9]*")), None)


def built(folder: Path) -> Path:
    """Build the program in a folder, and give its path."""
    found = library()
    assert found
    link = folder / "libonnxruntime.so.1"  # the name that programs look for
    link.symlink_to(found)
    settings = {"ONNXRUNTIME_INCLUDE": include(), "ONNXRUNTIME_LIBRARY": link, "CMAKE_C_FLAGS": "-Werror"}
    given = [f"-D{name}={value}" for name, value in settings.items()]
    for command in (
        ["cmake", "-S", SOURCE, "-B", folder / "build", *given],
        ["cmake", "--build", folder / "build"],
    ):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    return folder / "build" / "listen"
