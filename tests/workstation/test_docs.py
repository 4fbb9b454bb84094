"""The documentation: its programs run, its commands parse, its links lead somewhere, its tables are complete."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import json
import re
import shlex
import subprocess
import sys
import tomllib
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import soundfile
import typer
from typer.exceptions import TyperException

import edgeemo
from edgeemo.cli import app
from edgeemo.events import SCHEMA_PATH, Event
from edgeemo.features import Features
from edgeemo.places import sample_path
from edgeemo.workstation.training.recipe import Channel, load_recipe, recipe_from_dict

ROOT = Path(__file__).parents[2]
README, BENCHMARKS = ROOT / "README.md", ROOT / "benchmarks" / "README.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), BENCHMARKS]
ROOT_COMMAND: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = ROOT_COMMAND.commands
LIVE = "<!-- microphone -->\n"
FENCE = re.compile(rf"^(?P<live>{LIVE})?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: of the page, on which its text starts.
        text: what is between the fences.
        live: whether it is marked as one that opens a microphone.
    """

    line: int
    text: str
    live: bool


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    return FENCE.sub("", read(page))


def blocks(page: Path, language: str) -> list[Block]:
    text = read(page)
    return [
        Block(text.count("\n", 0, found.start("text")) + 1, found["text"], found["live"] is not None)
        for found in FENCE.finditer(text)
        if found["language"] == language
    ]


def programs(page: Path) -> list[Block]:
    """The Python blocks; not those that are a file of `examples/`, which has tests of its own."""
    return [block for block in blocks(page, "python") if not block.text.startswith("--8<--")]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=name)


# --- Python


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages' programs name."""
    for clip in ("call.wav", "call.flac"):
        soundfile.write(tmp_path / clip, *soundfile.read(sample_path()))
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if programs(page)], ids=name)
def test_programs_run(
    page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of a page run one after the other, as a reader would type them. The microphone hears a file."""
    monkeypatch.setattr(edgeemo, "Microphone", lambda *_: edgeemo.AudioFile("call.wav", realtime=False))
    names: dict[str, Any] = {}
    for block in programs(page):
        exec(compile("\n" * (block.line - 1) + block.text, name(page), "exec"), names)
        printed = capsys.readouterr().out
        assert bool(printed) == ("print(" in block.text), f"{name(page)}:{block.line} printed {printed!r}"


@each_page
def test_programs_that_open_a_microphone_are_marked(page: Path) -> None:
    for block in programs(page):
        assert block.live == ("Microphone(" in block.text), f"{name(page)}:{block.line}"


def test_the_deployed_network_fits_its_recipe(workplace: Path) -> None:
    page = ROOT / "docs" / "deployment.md"
    names: dict[str, Any] = {}
    exec(next(block.text for block in programs(page) if "keras" in block.text), names)
    (recipe,) = blocks(page, "toml")
    Path("mine.toml").write_text(recipe.text, encoding="utf-8")
    assert names["network"].input_shape == (
        None,
        *load_recipe(Path("mine.toml"), trainable=False).input_shape,
    )


def test_the_recipe_of_the_reference_is_one() -> None:
    (example,) = blocks(ROOT / "docs" / "recipe.md", "toml")
    assert recipe_from_dict(tomllib.loads(example.text)).architecture.settings == {"units": 64}


# --- The shell


def calls(text: str) -> Iterator[list[str]]:
    """The arguments of each call of `edgeemo` in shell code."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        call: list[str] = []
        for word in [*words, ";"]:
            if not set(word) <= set("|&;"):
                call.append(word)
                continue
            if call and (call[0] == "edgeemo" or call[0].endswith("/edgeemo")):
                yield call[1:]
            call = []


def parse(call: list[str]) -> None:
    """Parse a call as `edgeemo` would, and run nothing."""
    command, *arguments = call
    assert command in COMMANDS, f"no command {command}"
    try:
        COMMANDS[command].make_context(command, arguments)
    except TyperException as error:
        raise AssertionError(f"edgeemo {shlex.join(call)}: {error}") from error


def check_mention(words: list[str]) -> None:
    """The command that prose names must exist, and have the options; their values may be left out."""
    command = COMMANDS.get(words[0], ROOT_COMMAND)
    known = {"--help", *(option for parameter in command.params for option in parameter.opts)}
    assert words[0] in COMMANDS or words[0] in known
    assert {word for word in words[1:] if word.startswith("-")} <= known


def test_calls_are_found() -> None:
    text = (
        "a && .venv/bin/edgeemo listen --json | jq .  # edgeemo x\nedgeemo study 'a b' \\\n  --seeds 3; b\n"
    )
    assert list(calls(text)) == [["listen", "--json"], ["study", "a b", "--seeds", "3"]]


@pytest.mark.parametrize(
    "call", ["listne", "listen --jsno", "bench --steps many", "info", "listen extra", "train --fold"]
)
def test_a_wrong_call_is_noticed(call: str) -> None:
    with pytest.raises(AssertionError, match=call.split()[0]):
        parse(call.split())


@pytest.mark.parametrize("mention", ["exprt", "export --rnu", "--rnu"])
def test_a_wrong_mention_is_noticed(mention: str) -> None:
    check_mention(["export", "--run"])
    with pytest.raises(AssertionError):
        check_mention(mention.split())


@each_page
def test_commands_parse(page: Path) -> None:
    for block in blocks(page, "sh"):
        for call in calls(block.text):
            parse(call)


@each_page
def test_commands_in_the_text_exist(page: Path) -> None:
    for mention in re.findall(r"`edgeemo ([^`]*)`", prose(page)):
        check_mention(mention.split())


def test_the_journeys_show_every_command() -> None:
    journeys = [ROOT / "docs" / f"{page}.md" for page in ("device", "student", "deployment")]
    shown = {call[0] for page in journeys for block in blocks(page, "sh") for call in calls(block.text)}
    assert shown == set(COMMANDS)


@each_page
def test_scripts_that_commands_run_exist(page: Path) -> None:
    for script in re.findall(r"(?:python|bash) ([\w/]+\.(?:py|sh))\b", read(page)):
        assert (ROOT / script).is_file(), script


# --- Links and figures


@each_page
def test_links_lead_somewhere(page: Path, hooks: ModuleType) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, heading = target.partition("#")
        if target.startswith("http"):
            continue
        if path in [brought.name for brought in hooks.SHOWN]:
            continue
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", prose(linked), re.M)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in slugs, target


def test_figures_are_those_of_the_long_tables() -> None:
    """Every number in README's tables stands in the same model's rows of the benchmarks' tables."""
    short, long = rows_of_models(README), rows_of_models(BENCHMARKS)
    assert set(short) == set(long)
    for model, rows in short.items():
        numbers = set(re.findall(r"\d[\d.,]*(?: ± [\d.]+)?", rows))
        assert len(numbers) >= 5
        assert numbers <= set(re.findall(r"\d[\d.,]*\d(?: ± [\d.]+)?", long[model])), model


def rows_of_models(page: Path) -> dict[str, str]:
    """Model -> its rows in the page's tables without its name; a row without a name is of the model above."""
    rows: dict[str, str] = {}
    model = None
    for line in read(page).splitlines():
        cell = re.match(r"\| *([^|]*?) *\|", line)
        if cell is None:
            model = None
        elif named := re.match(r"(Pure CNN|Pure LSTM|CNN-LSTM|Conv1D-LSTM)\b", cell[1]):
            model = named[1]
        if model is not None:
            rows[model] = rows.get(model, "") + line.replace(model, "", 1) + "\n"
    return rows


# --- References


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sections(reference: str) -> dict[str, dict[str, str]]:
    """Title of a section -> key -> default, of the tables of a generated reference; no cell may be empty."""
    found: dict[str, dict[str, str]] = {}
    for section in reference.split("### ")[1:]:
        title, *lines = section.splitlines()
        _, _, *rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
        assert all(cell for row in rows for cell in row)
        found[title.strip("`[]")] = {row[0].strip("`"): row[-2].strip("`") for row in rows}
    return found


def values(defaults: dict[str, str]) -> dict[str, Any]:
    """What defaults, written as in a recipe, are."""
    given = {key: default for key, default in defaults.items() if default not in ("required", "none")}
    return tomllib.loads("\n".join(f"{key} = {default}" for key, default in given.items()))


def test_the_reference_has_every_key_with_its_default(hooks: ModuleType) -> None:
    """A recipe in which every key has the default of the reference is the recipe without these keys."""
    tables = sections(hooks.recipe_tables())
    least = {"name": "x", "summary": "x", "architecture": {"builder": "cnn_lstm"}}
    recipe = recipe_from_dict(least).to_dict()
    for table in set(recipe) - set(least):
        # Of the features, a recipe's values leave out what others have at its default.
        keys = Features().__dict__ if table == "features" else recipe[table]
        assert set(tables[table]) == set(keys)
    spelt_out = {table: values(tables[table]) for table in set(recipe) - set(least)}
    assert recipe_from_dict(least | spelt_out).to_dict() == recipe
    assert recipe_from_dict(least | {"channel": values(tables["channel"])}).channel == Channel()
    assert tables["Top level"] == {"name": "required", "summary": "required"}
    assert tables["image"] == {"height": "required", "width": "required"}
    assert tables["published"]["source"] == "required"
    assert set(tables) - set(recipe) == {"Top level", "channel", "image", "published"}


def test_the_reference_has_every_setting_with_its_default(hooks: ModuleType) -> None:
    from edgeemo.workstation.architectures import ARCHITECTURES

    found = sections(hooks.builder_tables())
    assert set(found) == set(ARCHITECTURES)
    for builder, build in ARCHITECTURES.items():
        parameters = inspect.signature(build).parameters.values()
        settings = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        assert values(found[builder]) == {key: as_toml(default) for key, default in settings.items()}


def as_toml(default: Any) -> Any:
    return [as_toml(item) for item in default] if isinstance(default, tuple) else default


def test_each_generated_part_is_on_a_page(hooks: ModuleType) -> None:
    pages = "".join(read(page) for page in (ROOT / "docs").glob("*.md"))
    for part in hooks.GENERATED:
        assert pages.count(f"<!-- generated: {part} -->") == 1
    assert "<!-- generated" not in hooks.on_page_markdown(pages)


def test_the_reference_has_every_key_of_an_evaluation(hooks: ModuleType) -> None:
    from edgeemo.evaluation.results import Evaluation
    from edgeemo.records import Record

    def keys(cls: type[Record], found: dict[str, set[str]]) -> dict[str, set[str]]:
        """Every record that can be reached, and its keys."""
        found[cls.__name__] = set(typing.get_type_hints(cls))
        for hint in typing.get_type_hints(cls).values():
            for of in (hint, *typing.get_args(hint)):
                if inspect.isclass(of) and issubclass(of, Record) and of.__name__ not in found:
                    keys(of, found)
        return found

    shown = sections(hooks.evaluation_records())
    assert {name: set(values) for name, values in shown.items()} == keys(Evaluation, {})


def test_the_reference_has_every_key_of_an_event(hooks: ModuleType) -> None:
    shown = sections(hooks.event_tables())
    assert shown.pop("turn").keys() == {"time_s", "label"}
    kinds = {kind.name: kind for kind in Event.__subclasses__()}
    for name, kind in kinds.items():
        fields = {f.name for f in dataclasses.fields(kind) if f.metadata.get("json", True)}
        keys = {key.partition(".")[0] for key in shown[name]}
        assert keys == fields | {"event", "time"}
    assert shown.keys() == kinds.keys()


def test_the_examples_of_events_fit_the_schema() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))
    decoder, seen = json.JSONDecoder(), set()
    for page in ("events", "device"):
        for block in blocks(ROOT / "docs" / f"{page}.md", "json"):
            left = block.text.strip()
            while left:
                values, end = decoder.raw_decode(left)
                validator.validate(values)
                seen.add(values["event"])
                left = left[end:].strip()
    assert seen == {kind.name for kind in Event.__subclasses__()}


def test_the_api_reference_has_every_name() -> None:
    shown = re.findall(r"^::: edgeemo\.(\w+)$", read(ROOT / "docs" / "api.md"), re.M)
    assert sorted(shown) == sorted(set(edgeemo.__all__) - {"__version__"})


def test_the_hook_needs_no_tensorflow() -> None:
    code = (
        "import runpy, sys; hooks = runpy.run_path(sys.argv[1]); [part() for part in hooks['GENERATED'].values()]; "
        "print(*{'tensorflow', 'keras', 'onnx', 'librosa'} & set(sys.modules))"
    )
    hook = ROOT / "docs" / "hooks.py"
    result = subprocess.run([sys.executable, "-c", code, hook], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_each_fault_has_its_test() -> None:
    """The tests that docs/faults.md names are there."""
    text = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", text)
    assert len(named) > 20
    for file, test in named:
        code = (ROOT / "tests" / "device" / file).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in code, f"{file}::{test}"
