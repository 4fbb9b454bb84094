"""`edgeemo models` and `edgeemo info`: what is shipped, and what is inside a model file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeemo.cli.tables import stdout_console

if TYPE_CHECKING:
    from rich.table import Table

    from edgeemo.evidence import ScoreRow
    from edgeemo.model import Model

_MOST_ITEMS = 100  # of a list, such as the bands of a front end or the speakers of a training
_PIPE_COLUMNS = 1000


def models_command() -> None:
    """List the shipped models."""
    from rich.table import Table
    from rich.text import Text

    from edgeemo.images import load_model
    from edgeemo.places import DEFAULT_MODEL, MODELS_DIR, shipped_models, stands_for

    console = stdout_console(_PIPE_COLUMNS)
    paths = shipped_models()
    if not paths:
        console.print(f"no models in {MODELS_DIR}", markup=False, highlight=False)
        return
    table = Table(box=None, pad_edge=False, row_styles=["", "dim"])
    for name in ("name", "what it is"):
        table.add_column(name, overflow="fold")
    for name in ("parameters", "KiB", "takes"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("labels", "score"):
        table.add_column(name, overflow="fold")
    for path in paths:
        m = load_model(path).metadata
        mark = "" if path.stem != stands_for(m.name) else " **" if m.name == DEFAULT_MODEL else " *"
        table.add_row(
            Text(path.stem + mark, style="bold"),
            Text(m.summary),
            f"{m.n_parameters:,}",
            f"{path.stat().st_size / 1024:,.0f}",
            m.takes,
            Text(", ".join(m.labels)),
            Text(headline(m.scores)),
        )
    console.print(table)
    console.print(
        "* what the model's name alone stands for, ** and the default; `edgeemo info NAME` shows all of a file",
        style="dim",
        highlight=False,
    )


def info_command(
    model: Annotated[str, typer.Argument(help="A shipped model's name or an ONNX file.", show_default=False)],
    json_: Annotated[
        bool,
        typer.Option("--json", help="The metadata as it is in the file, and facts about the file, as JSON."),
    ] = False,
) -> None:
    """Show everything a model file says about itself."""
    from rich.text import Text

    from edgeemo.images import load_model
    from edgeemo.metadata import KEY, Metadata
    from edgeemo.places import model_path

    loaded = load_model(model_path(model))
    metadata = json.loads(loaded.session.get_modelmeta().custom_metadata_map[KEY])
    facts = _facts(loaded)
    if json_:
        typer.echo(json.dumps({"metadata": metadata, "file": facts}, ensure_ascii=False, indent=2))
        return
    console = stdout_console(_PIPE_COLUMNS)
    console.print(Text(metadata["name"], style="bold"), Text(metadata["summary"]))
    scores = metadata.pop("scores", [])
    if isinstance(loaded.metadata, Metadata):  # of images, a key of this name is anybody's
        metadata["states"] = {s.name: f"{list(s.shape)}, {s.holds}" for s in loaded.metadata.states}
        if late_s := loaded.metadata.late_s:
            metadata["frames"] = f"{1000 * late_s:.0f} ms later than those of a window"
    # Single values before tables, which may be pages long.
    metadata = dict(sorted(metadata.items(), key=lambda item: isinstance(item[1], dict)))
    for title, values in {"file": facts, "model": metadata}.items():
        console.print()
        console.print(Text(title, style="bold"))
        console.print(_pairs(values))
    console.print()
    console.print(Text("scores", style="bold"))
    if not scores:
        console.print("none in the file")
    for row in scores:
        console.print(_pairs(row))
        console.print()


def headline(scores: Sequence[ScoreRow]) -> str:
    """The first score of a model, which its recipe puts first, with the protocol it was measured by.

    Returns:
        such as `UAR 0.610 (ravdess, speaker, 24 speakers)`; `not scored` where there is none.
    """
    if not scores:
        return "not scored"
    row = scores[0]
    speakers = f", {row.n_speakers} speakers" if row.n_speakers else ""
    return f"UAR {row.uar:.3f} ({row.corpus}, {row.protocol}{speakers})"


def _facts(model: Model) -> dict[str, Any]:
    import hashlib

    with model.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()

    def tensors(values: list[Any]) -> dict[str, str]:
        return {v.name: f"{v.type.removeprefix('tensor(').removesuffix(')')} {v.shape}" for v in values}

    return {
        "path": str(model.path),
        "bytes": model.path.stat().st_size,
        "sha256": digest,
        "inputs": tensors(model.session.get_inputs()),
        "outputs": tensors(model.session.get_outputs()),
    }


def _pairs(values: dict[str, Any]) -> Table:
    """Names and values; a table inside a table is indented under its name."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="cyan")
    table.add_column(overflow="fold")

    def add(values: dict[str, Any], indent: str) -> None:
        for name, value in values.items():
            if isinstance(value, dict) and value:
                table.add_row(Text(f"{indent}{name}"), "")
                add(value, indent + "  ")
            else:
                table.add_row(Text(f"{indent}{name}"), Text(_readable(value)))

    add(values, "  ")
    return table


def _readable(value: Any) -> str:
    """A value on one line; of a list too long to read, the beginning: `--json` has all."""
    if isinstance(value, list):
        rest = len(value) - _MOST_ITEMS
        more = [f"and {rest:,} more (--json shows all)"] if rest > 0 else []
        return ", ".join([*map(_readable, value[:_MOST_ITEMS]), *more])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
