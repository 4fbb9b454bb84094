"""`edgeemo models` and `edgeemo info`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edgeemo import places
from edgeemo.cli import app
from edgeemo.cli.models import headline
from edgeemo.errors import ModelError
from edgeemo.metadata import KEY
from edgeemo.model import EmotionModel
from support.evidence import score_row


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def shipped(tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A models folder with two models in it."""
    names = ["alpha_net", "beta_net"]
    for name in names:
        shutil.copy(tiny_model_path, tmp_path / f"{name}.onnx")
    monkeypatch.setattr(places, "MODELS_DIR", tmp_path)
    return names


def test_models_lists_each_with_its_facts(shipped: list[str], tiny_model_path: Path) -> None:
    result = run("models")
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    metadata = EmotionModel(tiny_model_path).metadata
    for name in shipped:
        assert metadata.summary in rows[name]
        assert f"{metadata.n_parameters:,}" in rows[name]
        assert f"{metadata.window_s:g} s" in rows[name]
        assert ", ".join(metadata.labels) in rows[name]
        assert headline(metadata.scores) in rows[name]


def test_models_says_where_it_looked_when_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MODELS_DIR", tmp_path)
    result = run("models")
    assert result.exit_code == 0
    assert str(tmp_path) in result.stdout


def test_info_json_is_what_is_in_the_file(tiny_model_path: Path) -> None:
    result = run("info", tiny_model_path, "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    model = EmotionModel(tiny_model_path)
    assert shown["metadata"] == json.loads(model.session.get_modelmeta().custom_metadata_map[KEY])
    content = tiny_model_path.read_bytes()
    assert shown["file"]["bytes"] == len(content)
    assert shown["file"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert shown["file"]["inputs"] == {"audio": f"float [1, {model.metadata.window_samples}]"}
    assert shown["file"]["outputs"] == {"probabilities": f"float [1, {len(model.labels)}]"}


def test_info_shows_every_field(shipped: list[str], tiny_model_path: Path) -> None:
    result = run("info", shipped[0])
    assert result.exit_code == 0, result.output
    shown = result.stdout
    metadata = json.loads(EmotionModel(tiny_model_path).metadata.to_json())
    for name in {*metadata, *metadata["features"]}:
        assert name in shown
    for value in (metadata["summary"], metadata["licence"], ", ".join(metadata["labels"])):
        assert value in shown
    assert hashlib.sha256(tiny_model_path.read_bytes()).hexdigest() in shown


def test_info_shows_the_beginning_of_what_is_too_long_to_read() -> None:
    metadata = EmotionModel(places.model_path("emo_small")).metadata
    assert metadata.training is not None
    speakers = metadata.training.train_speakers
    shown = " ".join(run("info", "emo_small").stdout.split())
    assert f"{speakers[99]}, and {len(speakers) - 100:,} more (--json shows all)" in shown
    assert speakers[101] not in shown


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_info_on_something_else_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "some.onnx"
    if content is not None:
        path.write_bytes(content)
    result = run("info", path)
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1
    assert "some.onnx" in result.stderr


def test_headline_is_the_first_score_with_its_protocol() -> None:
    assert headline([]) == "not scored"
    rows = [score_row(uar=0.6104, n_speakers=24), score_row(uar=0.9)]
    assert headline(rows) == "UAR 0.610 (ravdess, speaker, 24 speakers)"


def test_a_name_alone_stands_for_what_its_index_names(shipped: list[str], tmp_path: Path) -> None:
    (tmp_path / "beta.json").write_text('{"name": "beta", "listen": "beta_net"}')
    assert places.model_path("beta") == tmp_path / "beta_net.onnx"
    assert places.model_path("alpha_net") == tmp_path / "alpha_net.onnx"
    (tmp_path / "tiny.json").write_text('{"name": "tiny", "listen": "alpha_net"}')
    rows = run("models").stdout.splitlines()
    assert any(line.startswith("alpha_net * ") for line in rows)
    assert any(line.startswith("beta_net  ") for line in rows)


def test_readers_finish_what_an_export_began(shipped: list[str], tmp_path: Path) -> None:
    """The name, the variant's name, its path and the list of models: whichever comes first."""
    paths = {"alpha_net", str(tmp_path / "alpha_net.window.onnx"), "alpha_net.window"}
    (tmp_path / ".edgeemo-0c.onnx").write_bytes(b"left by an older export")
    for read in (*(lambda name=name: places.model_path(name) for name in paths), places.shipped_models):
        shutil.copy(tmp_path / "beta_net.onnx", tmp_path / ".edgeemo-0a.onnx")
        (tmp_path / ".edgeemo-0b.json").write_text('{"name": "alpha_net", "listen": "alpha_net.window"}')
        put = {".edgeemo-0a.onnx": "alpha_net.window.onnx", ".edgeemo-0b.json": "alpha_net.json"}
        journal = {"put": put, "remove": ["alpha_net.onnx"]}
        (tmp_path / ".edgeemo-set-alpha_net.json").write_text(json.dumps(journal))
        found = read()
        assert found in (tmp_path / "alpha_net.window.onnx", [tmp_path / n for n in NAMES_AFTER])
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {".edgeemo-0c.onnx", "alpha_net.json", *NAMES_AFTER}
        (tmp_path / "alpha_net.window.onnx").rename(tmp_path / "alpha_net.onnx")
        (tmp_path / "alpha_net.json").unlink()


NAMES_AFTER = ["alpha_net.window.onnx", "beta_net.onnx"]


def test_a_path_has_no_index(tiny_model_path: Path, tmp_path: Path) -> None:
    model = tmp_path / "v.onnx"
    model.write_bytes(tiny_model_path.read_bytes())
    (tmp_path / "v.onnx.json").write_text("{}")
    assert places.model_path(str(model)) == model


def test_an_unknown_name_is_answered_with_the_known_ones(shipped: list[str], tmp_path: Path) -> None:
    (tmp_path / "beta.json").write_text('{"name": "beta", "listen": "beta_net"}')
    with pytest.raises(ModelError, match="known: alpha_net, beta, beta_net"):
        places.model_path("gamma")
    with pytest.raises(ModelError, match="cannot be read"):
        places.model_path("x" * 300)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
@pytest.mark.parametrize("arguments", [["models"], ["info", "cnn_lstm"]])
def test_a_closed_pipe_ends_quietly(arguments: list[str], edgeemo: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([*edgeemo, *arguments], stdout=write, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX shell")
def test_closed_streams_are_like_no_reader(edgeemo: list[str], tiny_model_path: Path) -> None:
    command = [*edgeemo, "listen", "--sample", "--fast", "--json", "--model", str(tiny_model_path)]
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'"$@" {closed}', "sh", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert all("time_s" in json.loads(line) for line in lines)
        assert (len(lines) > 50) == (closed == "2>&-"), "what is open must be written to"
        assert "Traceback" not in done.stderr


def test_every_shipped_index_names_a_shipped_file() -> None:
    names = [path.stem for path in places.MODELS_DIR.glob("*.json")]
    assert places.DEFAULT_MODEL in names
    for name in names:
        metadata = EmotionModel(places.model_path(name)).metadata
        assert metadata.variant == places.stands_for(name)
        assert metadata.verdict is not None
        assert metadata.verdict.accepted
