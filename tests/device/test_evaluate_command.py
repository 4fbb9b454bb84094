"""`edgeemo evaluate`, as a person types it."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import soundfile
from typer.testing import CliRunner, Result

from edgeemo.answer import Judgement
from edgeemo.cli import app
from edgeemo.errors import EdgeEmoError, ModelError
from edgeemo.evaluation import evaluate as whole
from edgeemo.evaluation.evaluate import Plan, evaluate
from edgeemo.evaluation.page import html_page
from edgeemo.evaluation.results import Evaluation
from edgeemo.evaluation.tables import tables
from edgeemo.model import load
from edgeemo.places import sample_path
from support.corpora import write_crema_d

N_CONDITIONS = 27
"""At least so many, whatever the installed libsndfile writes."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    # Of CREMA-D's speakers, some whom no shipped model has heard.
    return write_crema_d(folder, speakers=(1004, 1008, 1017), emotions=("ANG", "NEU", "SAD"), seconds=0.8)


def edgeemo(*arguments: object) -> Result:
    """Of made-up voices, in which the voice detector hears none."""
    return CliRunner().invoke(app, ["evaluate", "--any-sound", *map(str, arguments)])


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    output = tmp_path_factory.mktemp("done")
    return output, edgeemo("conv1d_lstm", "cnn_lstm", "-d", data, "-o", output, "--robustness", 4)


def read(output: Path) -> Evaluation:
    return Evaluation.from_dict(json.loads((output / "evaluation.json").read_text()))


def test_tables_a_page_and_json(done: tuple[Path, Result], data: Path) -> None:
    output, result = done
    assert result.exit_code == 0, result.output
    found = read(output)
    assert [m.name for m in found.models] == ["conv1d_lstm.stream.int8", "cnn_lstm.stream.int8"]
    assert found.interval == "speakers"
    assert [m.corpora["crema_d"].exposure for m in found.models] == ["never heard", "speakers never heard"]
    for m in found.models:
        assert (m.scores.n_clips, m.scores.n_speakers) == (9, 3)
        assert sum(map(sum, m.confusion)) == 9
        assert len(m.robustness) >= N_CONDITIONS
        assert {row.n_clips for row in m.robustness} == {4}
        assert m.heard[-1].n_clips == 4
        assert m.plain is None
    [difference] = found.differences
    values = [m.scores.uar.value or 0 for m in found.models]
    assert difference.uar.value == pytest.approx(values[1] - values[0], abs=2e-6)
    for table in tables(found):
        assert table.title in result.stdout
    assert str(output / "evaluation.html") in result.stdout


def test_the_page_stands_alone(done: tuple[Path, Result]) -> None:
    output, _ = done
    page = (output / "evaluation.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!#)""", page), "something is fetched"
    assert "<script" not in page
    assert "url(http" not in page
    found = read(output)
    for fact in (*(m.checksum for m in found.models), found.clips, found.edgeemo, "bootstrap over speakers"):
        assert fact in page
    # As strict as XML: every element is closed.
    ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>|<meta [^>]*>", "", page))
    pytest.importorskip("matplotlib")
    assert page.count("<svg") == 6


def test_a_page_without_matplotlib(done: tuple[Path, Result]) -> None:
    page = html_page(read(done[0]), None)
    assert "<svg" not in page
    assert "edgeemo[plots]" in page
    ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>|<meta [^>]*>", "", page))


def test_what_a_file_calls_itself_is_no_html(done: tuple[Path, Result]) -> None:
    values = read(done[0]).to_dict()
    values["models"][0]["name"] = values["data"] = "<script>alert(1)</script>"
    assert "<script" not in html_page(Evaluation.from_dict(values), None)


def test_a_second_call_hears_nothing_again(
    done: tuple[Path, Result], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, _ = done
    before = read(output).to_dict()

    def nothing(models: object, tasks: list[object], *_: object, **__: object) -> list[object]:
        assert not tasks
        return []

    monkeypatch.setattr(whole, "hear_all", nothing)
    assert edgeemo("conv1d_lstm", "cnn_lstm", "-d", data, "-o", output, "--robustness", 4).exit_code == 0
    after = read(output).to_dict()
    for values in (before, after):
        del values["date"]
    assert after == before
    judged = edgeemo(
        *("conv1d_lstm", "-d", data, "-o", output, "--robustness", 4),
        *("--unsure-below", 0.9999, "--temperature", 4),
    )
    assert judged.exit_code == 0, judged.output
    [m], of = read(output).models, before["models"][0]
    assert (m.temperature, m.unsure_below) == (4.0, 0.9999)
    assert (m.scores.unnamed, m.scores.uar.value) == (1.0, 0.0)
    assert of["scores"]["unnamed"] == 0.0
    assert m.arousal_auc.value is not None, "claimed all the same"
    assert {row.named for row in m.no_voice} == {0.0}
    assert m.coverage[0].threshold < of["coverage"][0]["threshold"]


class Stop(KeyboardInterrupt):
    pass


def test_an_interrupted_run_goes_on(data: Path, tmp_path: Path) -> None:
    models = [load("conv1d_lstm")]

    def stop_after_four(what: str, n_done: int, n_all: int) -> None:
        if n_done == 4:
            raise Stop

    with pytest.raises(Stop):
        evaluate(models, Plan(data=data, output=tmp_path / "a", n_robustness=1), stop_after_four)
    seen: list[int] = []
    evaluate(
        models,
        Plan(data=data, output=tmp_path / "a", n_robustness=1),
        lambda what, n_done, n_all: seen.append(n_done) if what == "clips" else None,
    )
    assert seen[0] == 4
    evaluate(models, Plan(data=data, output=tmp_path / "b", n_robustness=1))
    assert read(tmp_path / "a").models == read(tmp_path / "b").models


def test_another_judgement_hears_nothing_again_unless_any_sound_counts(data: Path, tmp_path: Path) -> None:
    """Answers are kept as the graph gives them; but where nobody speaks, `--any-sound` has others."""

    def hears(judgement: Judgement) -> bool:
        seen: list[int] = []
        evaluate(
            [load("conv1d_lstm", judgement=judgement)],
            Plan(data=data, output=tmp_path, n_robustness=1),
            lambda what, n_done, n_all: seen.append(n_done) if what == "clips" else None,
        )
        return seen[0] < seen[-1]

    own = load("conv1d_lstm").judgement
    assert hears(own)
    assert not hears(dataclasses.replace(own, temperature=2.0, unsure_below=0.5))
    assert hears(dataclasses.replace(own, needs_voice=False))


def test_no_voice_and_ordinary_speech(data: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "speech.flac").write_bytes(sample_path().read_bytes())
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    soundfile.write(quiet / "nothing.wav", [0.0] * 32_000, 16_000)
    result = edgeemo(
        *("conv1d_lstm", "-d", data, "-o", tmp_path / "o", "--robustness", 0, "--json"),
        *("--plain", plain, "--no-voice", quiet),
    )
    assert result.exit_code == 0, result.output
    found = Evaluation.from_dict(json.loads(result.stdout))
    assert found == read(tmp_path / "o")
    [m] = found.models
    assert m.plain is not None
    assert m.plain.n_clips == 1
    assert sum(m.plain.shares.values()) == 1
    assert (m.no_voice[-1].sound, m.no_voice[-1].n_steps, m.no_voice[-1].named) == ("quiet", 12, 0)
    assert m.robustness == m.heard == ()
    assert m.decision is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("conv1d_lstm", "-d", "nowhere"), 1, "no folder at 'nowhere'"),
        (("nothing", "-d", "DATA"), 3, "nothing"),
        (("conv1d_lstm", "conv1d_lstm", "-d", "DATA"), 3, "2 models, two of which are the same file"),
        (("conv1d_lstm", "-d", "DATA", "--no-voice", "nowhere"), 1, "nowhere"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = edgeemo(*(str(data) if a == "DATA" else a for a in arguments), "--robustness", 0)
    assert result.exit_code == code
    assert message in (result.stderr or str(result.exception))


def test_models_of_other_labels_are_not_compared(data: Path, tmp_path: Path) -> None:
    tiny = load(Path(__file__).with_name("tiny.onnx"))
    with pytest.raises(ModelError, match=r"low, middle, high.*only models with the same labels"):
        evaluate([load("conv1d_lstm"), tiny], Plan(data=data, output=tmp_path))
    with pytest.raises(EdgeEmoError, match="angry: not a label of the model"):
        evaluate([tiny], Plan(data=data, output=tmp_path))
