"""The cards of the shipped models: what their files say, and what was measured of these very files.

    python benchmarks/cards.py

writes `models/*.md` anew: as `edgeemo export` does, with robustness from the evaluations in `results/` and latency by
client from `results/clients.json`. What `belief.py` wrote into them stays. A measurement of an older file is none.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeemo.evaluation.results import Evaluation
from edgeemo.files import write_text
from edgeemo.images import load_model
from edgeemo.markdown import markdown_table
from edgeemo.metadata import ImageMetadata, Metadata
from edgeemo.places import MODELS_DIR, model_path, shipped_models, stands_for
from edgeemo.workstation.export.card import image_card, model_card
from edgeemo.workstation.export.variants import VARIANTS

RESULTS = Path(__file__).parent / "results"
EVALUATIONS = ("belief", "belief_emo_open", "belief_conv1d_lstm", "stranger")
"""Of these, the first that has a file counts."""
CONDITIONS = ("white noise at 10 dB", "room of 0.6 s", "8 kHz")
CLIENTS = {"Python": "x86", "C": "x86", "node": "wasm", "Chromium": "wasm", "Firefox": "wasm"}
BELIEF = re.compile(r"<!-- belief -->\n.*?<!-- /belief -->\n\n", re.DOTALL)
NOT_MEASURED = "Not measured."


def main() -> None:
    """Write them."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    for path, text in cards().items():
        write_text(path, text)
        print(f"wrote {path}")


def cards() -> dict[Path, str]:
    """The text of each card, by its path."""
    found = {}
    variants: dict[str, list[Metadata]] = {}
    n_bytes = {}
    for path in shipped_models():
        m = load_model(path).metadata
        if isinstance(m, ImageMetadata):
            found[MODELS_DIR / f"{m.name}.md"] = image_card(m)
        else:
            variants.setdefault(m.name, []).append(m)
            n_bytes[m.variant] = path.stat().st_size
    evaluations = [
        Evaluation.from_dict(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))
        for name in EVALUATIONS
    ]
    clients = json.loads((RESULTS / "clients.json").read_text(encoding="utf-8"))
    for name, of_model in variants.items():
        listen = stands_for(name)
        digest = hashlib.sha256(model_path(listen).read_bytes()).hexdigest()
        of_model.sort(key=lambda m: VARIANTS.index((m.mode, m.precision)))
        card = model_card(of_model, n_bytes=n_bytes, listen=listen)
        path = MODELS_DIR / f"{name}.md"
        belief = BELIEF.search(path.read_text(encoding="utf-8")) if path.is_file() else None
        sections = [
            belief[0] if belief else "",
            f"## Robustness\n\n{robustness(digest, evaluations)}\n\n",
            f"## Latency by client\n\n{latency(digest, clients)}\n\n",
        ]
        found[path] = card.replace("## Limits\n", f"{''.join(sections)}## Limits\n", 1)
    return found


def robustness(digest: str, evaluations: Sequence[Evaluation]) -> str:
    """What noise, a room and a telephone's line do to a file, by its SHA-256."""
    for evaluation in evaluations:
        for model in evaluation.models:
            rows = [r for r in model.robustness if r.condition in CONDITIONS]
            if model.checksum == digest and rows:
                changes = "; ".join(
                    f"{r.condition} {100 * (r.change.value or 0):+.1f} ({100 * (r.change.low or 0):+.1f} to "
                    f"{100 * (r.change.high or 0):+.1f})"
                    for r in rows
                )
                return (
                    f"UAR in points, against the same {rows[0].n_clips} clips as they are, which have "
                    f"{100 * rows[0].clean:.1f} %: {changes}. In brackets: 95 %, bootstrap over speakers. "
                    f"By `{evaluation.command}`."
                )
    return NOT_MEASURED


def latency(digest: str, found: dict[str, Any]) -> str:
    """A step of a file in each client."""
    for model in found["models"]:
        if model["checksum"] == digest:
            rows = [
                {
                    "client": client,
                    "machine": CLIENTS[client],
                    "median ms": f"{of['median_ms']:.2f}",
                    "one in ten below, ms": f"{of['p10_ms']:.2f}",
                    "probabilities apart": f"{max(of['apart'], 1e-6):.0e}" if "apart" in of else "",
                }
                for client, of in model["clients"].items()
            ]
            return "\n".join(
                [
                    f"A step of `{model['name']}` in which somebody speaks, with voice detector; the load of the two "
                    f"cores was {found['load']:g} meanwhile. By `python benchmarks/clients.py`.",
                    "",
                    *markdown_table(rows, left=["client", "machine"]),
                ]
            )
    return NOT_MEASURED


if __name__ == "__main__":
    main()
