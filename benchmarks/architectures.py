"""What becomes of networks that others published: how exact windows and streams are, or why there is no stream.

    python benchmarks/architectures.py

It builds the architectures of `tests/support/architectures.py`, small and with random weights, exports each, and runs
it beside Keras. It writes `results/architectures.md` beside this file.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from edgeemo.files import write_text
from edgeemo.markdown import markdown_table
from edgeemo.workstation.graphs.stream import DEFAULT_FRAME_MS

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.architectures import N_MELS, STEP, WINDOW, bodies, outcome  # noqa: E402

RESULT = Path(__file__).parent / "results" / "architectures.md"


def main() -> None:
    """Measure all, and write the table."""
    rows = []
    for name, body in bodies().items():
        found = outcome(name)
        late = f"{found.n_late * DEFAULT_FRAME_MS:g} ms" if found.n_late else ""
        rows.append({
            "architecture": name.replace("_", " "),
            "what it is": (inspect.getdoc(body) or "").replace("\n", " "),
            "weights": f"{found.n_weights:,}",
            "window": f"{found.window:.0e}",
            "stream": found.refusal or "" if found.stream is None else f"{found.stream:.0e}",
            "late": late,
        })  # fmt: skip
        print(f"{name}: {rows[-1]['window']}, {rows[-1]['stream']} {late}")
    lines = [
        "# Architectures of others",
        "",
        f"Made by `python benchmarks/architectures.py`: small networks over {N_MELS} bands with random weights, made "
        f"in Keras from their descriptions, a window of {WINDOW} frames, steps of {STEP}. *Window*: the largest "
        "difference of a probability between the window graph and Keras. *Stream*: likewise, after the last step, of "
        f"utterances of {WINDOW} and {WINDOW + 2 * STEP} frames, or why there is no stream. *Late*: by how much its "
        f"answers come later, with `--delay` and frames of {DEFAULT_FRAME_MS:g} ms; without it there is no stream.",
        "",
        *markdown_table(rows, left=["what it is", "stream"]),
    ]
    write_text(RESULT, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
