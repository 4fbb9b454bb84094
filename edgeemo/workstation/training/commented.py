"""A recipe as a file for people to edit: every key with its value and, from the code's documentation, its meaning."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any

from edgeemo.workstation.training.recipe import Recipe

BUILDERS = Path(__file__).parents[1] / "architectures"
"""A file each, of the builder's name."""

_WIDTH = 100
_OTHERS = "published"
_OF_AUDIO = ("features", "window", "augmentation")


def commented(recipe: Recipe) -> str:
    """The text of a TOML file that makes the same recipe, without what others published of it."""
    lines = [
        f"# Train it: edgeemo train --model {recipe.name}.toml --data CORPORA",
        "# A key that you delete has its default.",
        "",
        *_keys(recipe),
    ]
    for f in dataclasses.fields(Recipe):
        table = getattr(recipe, f.name)
        audio_of_image = recipe.image is not None and f.name in _OF_AUDIO
        if dataclasses.is_dataclass(table) and f.name != _OTHERS and not audio_of_image:
            about = _documentation(table).partition("Attributes:")[0].strip()
            lines += [
                "",
                "",
                *_comment(_sentence(about.removeprefix(f"`[{f.name}]`: "))),
                f"[{f.name}]",
                *_keys(table),
            ]
        if isinstance(table, dict) and table:
            about = meanings(_documentation(recipe), "Attributes")[f.name]
            lines += [
                "",
                "",
                *_comment(about),
                f"[{f.name}]",
                *(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in table.items()),
            ]
        if table is recipe.architecture:
            of_settings = settings_meanings(recipe.architecture.builder)
            for name, value in recipe.architecture.settings.items():
                lines += _key(name, value, of_settings.get(name, ""))
    return "\n".join(lines) + "\n"


def meanings(documentation: str, section: str) -> dict[str, str]:
    """Name -> meaning, from a section of a docstring; one entry may be of several names."""
    section_text = documentation.partition(f"{section}:\n")[2]
    indented = re.split(r"^(?=\S)", section_text, maxsplit=1, flags=re.MULTILINE)[0]
    found: dict[str, str] = {}
    for entry in re.split(r"^ {4}(?=\S)", indented, flags=re.MULTILINE)[1:]:
        names, _, meaning = entry.partition(":")
        found |= {name.strip(): _sentence(" ".join(meaning.split())) for name in names.split(",")}
    return found


def settings_meanings(builder: str) -> dict[str, str]:
    """What the settings of a builder mean. It is read, not run: that would load TensorFlow."""
    path = BUILDERS / f"{builder}.py"
    if not path.is_file():
        return {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == builder:
            return meanings(ast.get_docstring(node) or "", "Args")
    return {}


def _keys(table: Any) -> list[str]:
    of_keys = meanings(_documentation(table), "Attributes")
    return [
        line
        for f in dataclasses.fields(table)
        if not isinstance(value := getattr(table, f.name), dict)
        and value is not None
        and not dataclasses.is_dataclass(value)
        for line in _key(f.name, value, of_keys[f.name])
    ]


def _key(name: str, value: Any, meaning: str) -> list[str]:
    return [
        *_comment(meaning),
        f"{name} = {json.dumps(value, ensure_ascii=False)}",
    ]  # TOML writes these as JSON does


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.replace("`", "").split()), _WIDTH)]


def _documentation(table: Any) -> str:
    return inspect.getdoc(type(table)) or ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
