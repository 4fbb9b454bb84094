"""The options that say how a model's probabilities become answers, where its file is not to say so."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeemo import EmotionModel

UnsureBelow = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Name no label that is less probable than this, from 0 to below 1.  "
        r"\[default: as the model's file says, else 0]",
        show_default=False,
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        metavar="T",
        help="Calibrate probabilities by this: above 1, they claim less.  "
        r"\[default: as the model's file says, else 1]",
        show_default=False,
    ),
]
AnySound = Annotated[
    bool,
    typer.Option("--any-sound", help="Judge any sound, also where nobody speaks."),
]


def loaded(
    names: Sequence[str], *, unsure_below: float | None, temperature: float | None, any_sound: bool
) -> list[EmotionModel]:
    """Load models, and have them judged as the options say.

    Raises:
        ModelError: as `edgeemo.load`.
        typer.BadParameter: an option has an impossible value.
    """
    import edgeemo

    models = [edgeemo.load(name) for name in names]
    options = {"unsure_below": unsure_below, "temperature": temperature}
    given = {name: value for name, value in options.items() if value is not None}
    if any_sound:
        given["needs_voice"] = False
    for model in models:
        try:
            model.judgement = dataclasses.replace(model.judgement, **given)  # type: ignore[arg-type]
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    return models
