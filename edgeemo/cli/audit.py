"""`edgeemo audit`: what leaks from training to test, and what else makes a score look better than it is."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeemo.cli.extras import workstation
from edgeemo.cli.progress import progress_bar
from edgeemo.cli.tables import screen_table, stdout_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeemo.cli.progress import Report
    from edgeemo.workstation.audit.findings import Audit, Price
    from edgeemo.workstation.audit.sides import Material
    from edgeemo.workstation.training.recipe import Recipe

_PIPE_COLUMNS = 200
_PRICED = "conv1d_lstm"


def audit_command(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN|DATA]",
            help="A finished training run, a folder of corpora, or a manifest of `edgeemo data`.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", "-d", help="The clips that the run was trained on; else only its record is read."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", "-m", help="Split by this recipe's protocol: a name in export/, or a TOML file."
        ),
    ] = None,
    corpora: Annotated[
        str | None, typer.Option(help="Corpora, comma-separated, instead of the recipe's.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="random, speaker, corpus or session, instead of the recipe's.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any value of the recipe; repeatable."),
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help="With --test: a folder or manifest that a model is trained on.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="With --train: what it is tested on.")] = None,
    price: Annotated[
        bool,
        typer.Option(
            "--price",
            help="Train the recipe (conv1d_lstm) on the random and on the speaker-independent split of DATA, "
            "and show both scores.",
        ),
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="FINDING",
            help="A finding that you know of and accept, such as 'few speakers'; repeatable.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a page in Markdown.", show_default=False)
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the findings as JSON; - for stdout.")
    ] = None,
) -> None:
    """Find what leaks from training to test, and cues that give the class away without speech.

    The exit code is 1 where something was found that --allow does not name.
    """
    if (source is None) == (train is None) or (train is None) != (test is None):
        raise typer.BadParameter("give a run, a folder or a manifest, or --train A --test B")
    with workstation():
        from edgeemo.files import check_writable, write_text
        from edgeemo.workstation.audit import page, sides
        from edgeemo.workstation.audit.audit import audit
        from edgeemo.workstation.audit.findings import Kind
        from edgeemo.workstation.audit.hearing import hear

    allowed = set(allow or ())
    if unknown := sorted(allowed.difference(Kind)):
        raise typer.BadParameter(
            f"no finding {unknown[0]!r}; there are {', '.join(Kind)}", param_hint="--allow"
        )
    overrides = list(override or [])
    if corpora:
        overrides.append(f"data.corpora={json.dumps([word.strip() for word in corpora.split(',')])}")
    if protocol:
        overrides.append(f"protocol.kind={protocol}")
    is_run = source is not None and sides.is_run(source)
    if (recipe or overrides or price) and source is None:
        raise typer.BadParameter(
            "--train and --test are compared as they are; leave out --recipe, --price and the like"
        )
    if (recipe or overrides) and is_run:
        raise typer.BadParameter("a run has its own recipe; leave out --recipe and the like")
    if overrides and not recipe and not price:
        raise typer.BadParameter("values for a recipe need --recipe NAME")
    if data is not None and not is_run:
        raise typer.BadParameter("goes with a training run only", param_hint="--data")
    if price and is_run and data is None:
        raise typer.BadParameter("trains: give the clips of the run with --data DIR", param_hint="--price")
    to_stdout = json_path == Path("-")
    for path in (output, None if to_stdout else json_path):
        if path is not None:
            check_writable(path)

    with progress_bar() as report:
        if source is None:
            material = sides.of_two(train, test)  # type: ignore[arg-type]  # both are given
        elif is_run:
            material = sides.of_run(source, data)
        else:
            material = sides.of_data(source, _recipe(recipe, overrides) if recipe else None)
        result = audit(material, hear(material.clips, report))
        if price and source is not None:
            result = dataclasses.replace(
                result, price=_price(source, data, recipe, overrides, material, report)
            )

    if json_path is not None:
        text = json.dumps(result.to_dict(), indent=1) + "\n"
        if to_stdout:
            typer.echo(text, nl=False)
        else:
            write_text(json_path, text)
    if output is not None:
        write_text(output, "\n".join([f"# Audit of {result.source}", "", *page.markdown(result)]) + "\n")
    if not to_stdout:
        _show(result)
    if {finding.kind for finding in result.findings} - allowed:
        raise typer.Exit(1)


def _recipe(name: str, overrides: Sequence[str]) -> Recipe:
    from edgeemo.places import recipe_path
    from edgeemo.workstation.training.recipe import load_recipe

    return load_recipe(recipe_path(name), overrides)


def _price(
    source: Path,
    data: Path | None,
    recipe: str | None,
    overrides: Sequence[str],
    material: Material,
    report: Report,
) -> Price:
    """Of a run, by its recipe; of data, by the recipe named, or by the smallest on all their corpora."""
    with workstation():
        from edgeemo.workstation.audit.price import price
        from edgeemo.workstation.training.folder import load_run

    if data is not None:
        chosen = load_run(source)[0]
    elif recipe:
        chosen = _recipe(recipe, overrides)
    else:
        corpora = json.dumps(sorted({clip.corpus for clip in material.clips}))
        chosen = _recipe(_PRICED, [f"data.corpora={corpora}", *overrides])
    with tempfile.TemporaryDirectory(prefix="edgeemo-audit-") as folder:
        return price(chosen, data or source, Path(folder), report)


def _show(result: Audit) -> None:
    from edgeemo.workstation.audit import page

    typer.echo(page.summary(result))
    if result.findings:
        console = stdout_console(_PIPE_COLUMNS)
        console.print(screen_table(page.table_rows(result), left=page.LEFT), markup=False)
        for finding in result.findings:
            typer.echo(f"\n{finding.kind}")
            for line in page.details(finding):
                typer.echo(f"  {line}")
    else:
        typer.echo("nothing was found")
    for line in page.unchecked(result):
        typer.echo(f"\nnot checked: {line}")
    if result.price is not None:
        typer.echo("")
        typer.echo(page.price_line(result.price))
