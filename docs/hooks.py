"""What `mkdocs build` adds to the pages: tables made from the code that checks a recipe, and README's image.

Neither this nor the rest of the build imports TensorFlow: the builders are read, not run.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from edgeemo.corpora.labels import LABEL_MAPS
from edgeemo.evaluation import results
from edgeemo.events import SCHEMA_PATH
from edgeemo.markdown import markdown_table
from edgeemo.workstation.training.commented import BUILDERS, meanings
from edgeemo.workstation.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SHOWN = (RESULTS / "listen.svg", *sorted(RESULTS.glob("belief*.html")))
"""What pages show or link to, beside them in the site."""

_TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Put results beside the pages."""
    for path in SHOWN:
        files.append(File.generated(config, path.name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace comments such as `<!-- generated: recipe_tables -->` by what the function of that name returns."""
    return re.sub(r"<!-- generated: (\w+) -->", lambda match: GENERATED[match[1]](), markdown)


def recipe_tables() -> str:
    """A section for each table of a recipe: what it is, and each key's type, default and meaning."""
    tables = {name: _table_of(hint) for name, hint in typing.get_type_hints(Recipe).items()}
    sections = ["### Top level", _keys(Recipe)]
    for name, cls in tables.items():
        if cls is not None:
            about = _documentation(cls).partition("Attributes:")[0].strip()
            sections += [f"### `[{name}]`", _sentence(about.removeprefix(f"`[{name}]`: ")), _keys(cls)]
    return "\n\n".join(sections)


def builder_tables() -> str:
    """A section for each builder: what it builds, and each setting's default and meaning."""
    sections = []
    for path in sorted(BUILDERS.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == path.stem:
                about = (ast.get_docstring(node) or "").partition("Args:")[0].strip()
                sections += [f"### `{node.name}`", about, _settings(node)]
    return "\n\n".join(sections)


def label_maps() -> str:
    """A table of the label maps."""
    return _text_table(
        {"label map": f"`{name}`", "labels, in the order of the probabilities": ", ".join(label_map.labels)}
        for name, label_map in LABEL_MAPS.items()
    )


def evaluation_records() -> str:
    """A section for each table of `evaluation.json`, from the outermost in: each key's type and meaning."""
    sections = []
    for cls in reversed(
        [x for x in vars(results).values() if inspect.isclass(x) and x.__module__ == results.__name__]
    ):
        about, hints = _documentation(cls).partition("Attributes:")[0].strip(), typing.get_type_hints(cls)
        rows = (
            {"key": f"`{f.name}`", "type": _json_type(hints[f.name]), "meaning": meaning}
            for f, meaning in zip(
                dataclasses.fields(cls), meanings(_documentation(cls), "Attributes").values(), strict=True
            )
        )
        sections += [f"### {cls.__name__}", about, _text_table(rows)]
    return "\n\n".join(sections)


def event_tables() -> str:
    """A section for each kind of event, from its JSON Schema: each key's type and meaning."""
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    kinds = [name["$ref"].rpartition("/")[2] for name in schema["oneOf"]]
    sections = []
    for name in [*kinds, "turn"]:
        kind = schema["$defs"][name]
        rows = _schema_rows(kind["properties"], schema["$defs"])
        sections += [f"### `{name}`", kind["description"], _text_table(rows)]
    return "\n\n".join(sections)


def _schema_rows(
    properties: dict[str, Any], known: dict[str, Any], before: str = ""
) -> typing.Iterator[dict[str, str]]:
    for key, given in properties.items():
        of = known[given["$ref"].rpartition("/")[2]] if "$ref" in given else given
        yield {"key": f"`{before}{key}`", "type": _schema_type(of), "meaning": of["description"]}
        yield from _schema_rows(of.get("properties", {}), known, f"{before}{key}.")


def _schema_type(of: dict[str, Any]) -> str:
    """In words: its type, or the values that it may have."""
    if "const" in of:
        return f"`{json.dumps(of['const'])}`"
    if "enum" in of:
        return ", ".join(f"`{json.dumps(value)}`" for value in of["enum"])
    if of["type"] == "array":
        return f"list: {of['items'].get('type', '[turn](#turn)')}"
    return " or ".join([of["type"]] if isinstance(of["type"], str) else of["type"])


GENERATED = {
    make.__name__: make
    for make in (recipe_tables, builder_tables, label_maps, evaluation_records, event_tables)
}


def _keys(cls: type[Any]) -> str:
    hints, of_keys = typing.get_type_hints(cls), meanings(_documentation(cls), "Attributes")
    return _text_table(
        {
            "key": f"`{f.name}`",
            "type": _toml_type(hints[f.name]),
            "default": _default(f),
            "meaning": of_keys[f.name],
        }
        for f in dataclasses.fields(cls)
        if _is_key(hints[f.name])
    )


def _settings(builder: ast.FunctionDef) -> str:
    of_settings = meanings(ast.get_docstring(builder) or "", "Args")
    return _text_table(
        {
            "setting": f"`{argument.arg}`",
            "default": f"`{json.dumps(ast.literal_eval(default))}`",
            "meaning": of_settings[argument.arg],
        }
        for argument, default in zip(builder.args.kwonlyargs, builder.args.kw_defaults, strict=True)
        if default is not None
    )


def _documentation(cls: type[Any]) -> str:
    return inspect.getdoc(cls) or ""


def _table_of(hint: Any) -> Any:
    """The dataclass of a key that is a table; None for a key that is a value."""
    hint = _without_none(hint)
    return hint if dataclasses.is_dataclass(hint) else None


def _is_key(hint: Any) -> bool:
    return _table_of(hint) is None and typing.get_origin(hint) is not dict


def _without_none(hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        return next(h for h in typing.get_args(hint) if h is not types.NoneType)
    return hint


def _toml_type(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        return " or ".join(_toml_type(h) for h in typing.get_args(hint) if h is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        first, *others = typing.get_args(hint)
        return f"{'list of' if others == [...] else 'two'} {_TYPES[first]}s"
    return _TYPES[hint]


def _json_type(hint: Any) -> str:
    """In words; another table by its name, with a link to its section."""
    if isinstance(hint, types.UnionType):
        return f"{_json_type(_without_none(hint))} or null"
    origin, of = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return f"list: {_json_type(of[0])}"
    if origin is dict:
        return f"table: {_json_type(of[1])}"
    return _TYPES.get(hint) or f"[{hint.__name__}](#{hint.__name__.lower()})"


def _default(f: dataclasses.Field[Any]) -> str:
    if f.default is dataclasses.MISSING:
        return "required"
    return "none" if f.default is None else f"`{json.dumps(f.default)}`"  # TOML writes these as JSON does


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _text_table(rows: typing.Iterable[dict[str, str]]) -> str:
    rows = list(rows)
    return "\n".join(markdown_table(rows, left=rows[0])) if rows else ""
