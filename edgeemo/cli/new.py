"""`edgeemo new`: a recipe of one's own, every key with what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeemo.places import DEFAULT_MODEL


def new_command(
    name: Annotated[str, typer.Argument(help="What the model is to be called; the file is NAME.toml.")],
    like: Annotated[
        str, typer.Option(help="The recipe to start from: a name in export/, or a TOML file.")
    ] = DEFAULT_MODEL,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write.  \\[default: NAME.toml]")
    ] = None,
) -> None:
    """Write a recipe to edit: every value of another one, with what it means."""
    from edgeemo.errors import OutputError
    from edgeemo.files import write_text
    from edgeemo.places import recipe_path
    from edgeemo.workstation.training.commented import commented
    from edgeemo.workstation.training.recipe import load_recipe, recipe_from_dict

    base = load_recipe(recipe_path(like))
    recipe = recipe_from_dict({**base.to_dict(), "name": name, "summary": f"like {base.name}"})
    path = output or Path(f"{name}.toml")
    if path.exists():
        raise OutputError(f"{path} is there already; delete it, or give another --output")
    write_text(path, commented(recipe))
    typer.echo(f"wrote {path}: edgeemo train --model {path} --data CORPORA")
