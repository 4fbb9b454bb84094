"""Models of images: loaded and checked, measured, looked at, and refused where audio is wanted."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from edgeemo import places
from edgeemo.bench import report as bench_module
from edgeemo.bench import turns
from edgeemo.bench.report import BenchReport, bench
from edgeemo.cli import app
from edgeemo.cli.bench import tables
from edgeemo.cli.models import headline
from edgeemo.errors import ModelError
from edgeemo.images import ImageModel, load_model
from edgeemo.metadata import ImageMetadata, Metadata, read_metadata
from edgeemo.model import EmotionModel
from support.evidence import score_row
from support.models import patched

IMAGE = Path(__file__).parent / "tiny.image.onnx"
STEPS = 30


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return ImageModel(IMAGE)


# --- the file ------------------------------------------------------------------------------------------


def test_pixels_in_probabilities_out(model: ImageModel) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (6, 5), np.uint8)
    found = model.predict(pixels)
    assert (found.shape, found.dtype) == ((3,), np.float32)
    assert found.sum() == pytest.approx(1)
    np.testing.assert_array_equal(found, model.predict(pixels.astype(np.float32)))
    assert np.abs(found - model.predict(np.zeros((6, 5)))).max() > 0.1, "the same whatever it sees"


@pytest.mark.parametrize("shape", [(5, 6), (1, 6, 5), (30,)])
def test_other_shapes_are_refused(model: ImageModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(6, 5\)"):
        model.predict(np.zeros(shape, np.float32))


def test_what_it_says_of_itself(model: ImageModel) -> None:
    expected = "ImageModel(tiny.image.onnx: image (1, 6, 5) -> probabilities (1, 3): low, middle, high)"
    assert repr(model) == expected
    assert model.labels == model.metadata.labels == ("low", "middle", "high")
    assert model.metadata.variant == IMAGE.stem


def test_either_kind_is_loaded_as_what_it_is(tiny_model_path: Path, stream_model_path: Path) -> None:
    kinds = [type(load_model(path)) for path in (IMAGE, tiny_model_path, str(stream_model_path))]
    assert kinds == [ImageModel, EmotionModel, EmotionModel]


def test_each_class_takes_its_kind_alone(tiny_model_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"tiny\.image\.onnx: an image model of 6 x 5 pixels; `edgeemo bench`"
    ):
        EmotionModel(IMAGE)
    with pytest.raises(ModelError, match=r"tiny\.onnx: a model of audio \(0\.64 s\); expected one of images"):
        ImageModel(tiny_model_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"height": 6', '"height": 7', r"graph has inputs image: .*\[1, 6, 5\], its metadata says .*7, 5"),
        ('"height": 6', '"height": 0', "broken edgeemo metadata .images of 0 x 5 pixels"),
        ('"width": 5', '"wIdth": 5', "broken edgeemo metadata .*width"),
        ('"low", "middle"', '"a", "b", "cde"', r"graph has outputs .*\[1, 3\].*metadata says .*\[1, 4\]"),
        (
            '"kind": "image"',
            '"kind": "video"',
            "a model of the kind 'video', this edgeemo knows audio, image",
        ),
        ('"kind": "image"', '"kinX": "image"', "broken edgeemo metadata .'window_samples' is missing"),
        ('"format": 1', '"format": 2', "model format 2"),
    ],
)
def test_metadata_that_does_not_fit(old: str, new: str, words: str, tmp_path: Path) -> None:
    path = patched(IMAGE, tmp_path, (old, new))
    with pytest.raises(ModelError, match=words) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_files_that_are_not_models(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "some.onnx"
    if content is not None:
        path.write_bytes(content)
    for load in (load_model, ImageModel):
        with pytest.raises(ModelError, match=r"some\.onnx"):
            load(path)


def test_json_round_trip(model: ImageModel, tiny_model: EmotionModel) -> None:
    m = model.metadata
    assert ImageMetadata.from_json(m.to_json(), source="x") == m
    assert json.loads(m.to_json())["kind"] == "image"
    later = json.loads(m.to_json()) | {"added_later": 1}
    assert read_metadata(json.dumps(later), source="x") == m
    assert "kind" not in json.loads(tiny_model.metadata.to_json()), "files of audio stay as they are"
    assert read_metadata(tiny_model.metadata.to_json(), source="x") == tiny_model.metadata
    with pytest.raises(ModelError, match="an image model"):
        Metadata.from_json(m.to_json(), source="x")


# --- bench ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> BenchReport:
    """Two models of images, of which the second is called a CNN, and one of audio."""
    folder = tmp_path_factory.mktemp("models")
    paths = [Path(shutil.copy(IMAGE, folder / name)) for name in ("fashion_lstm.onnx", "fashion_cnn.onnx")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_module, "COLD_STARTS", 1)
        return bench([*paths, tiny_model_path], n_steps=STEPS)


def test_images_are_measured_beside_audio(report: BenchReport) -> None:
    *images, audio = json.loads(report.to_json())["models"]
    for m in images:
        assert m["step_ms"]["n"] == m["model_ms"]["n"] == STEPS
        assert m["warm_up_ms"]["n"] == turns.WARM_UP_STEPS
        assert m["cold"]["first_label_ms"]["n"] == 1
        assert m["network_ms"] == m["model_ms"]["p50"] == m["step_ms"]["p50"]
        blank = ("window_s", "step_s", "real_time_factor", "resample_ms", "frontend_ms", "frontend_share")
        assert {m[key] for key in blank} == {None}
    assert audio["resample_ms"]["n"] == STEPS
    assert audio["real_time_factor"] > 0


def test_ratios_of_a_published_comparison_are_to_its_cnn(report: BenchReport) -> None:
    lstm, cnn, audio = report.models
    assert report.baselines == {"image": cnn, "audio": audio}
    assert report.ratio(lstm) == lstm.step_ms.p50_ms / cnn.step_ms.p50_ms
    assert report.ratio(audio) == 1, "compared with an image model"


def test_the_table_leaves_blank_what_images_do_not_have(report: BenchReport) -> None:
    header, _, *rows = [line for line in report.to_markdown().splitlines() if line.startswith("|")]
    names = [cell.strip() for cell in header.strip("|").split("|")]
    image, _, audio = [
        dict(zip(names, (c.strip() for c in row[1:-1].split("|")), strict=True)) for row in rows
    ]
    blank = {"resample ms", "front end ms", "real-time factor"}
    blank |= {"at cadence p50 ms", "at cadence p99", "x back to back"}
    assert {name for name, cell in image.items() if not cell} - {"peak MiB"} == blank
    assert all(audio[name] for name in blank)
    *whole, at_cadence = tables(report)
    assert [table.row_count for table in whole] == [3, 3]
    assert at_cadence.row_count == 1, "the model of audio"


def test_the_caption_says_what_a_step_is(report: BenchReport) -> None:
    images, audio = (dataclasses.replace(report, models=m) for m in (report.models[:2], report.models[2:]))
    of_images, of_audio = "one image", "resamples 48000 Hz audio"
    assert [text in report.caption() for text in (of_images, of_audio)] == [True, True]
    assert [text in images.caption() for text in (of_images, of_audio)] == [True, False]
    assert [text in audio.caption() for text in (of_images, of_audio)] == [False, True]


def test_bench_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "COLD_STARTS", 1)
    result = run("bench", "--model", IMAGE, "--steps", "5", "--markdown", tmp_path / "bench.md")
    assert result.exit_code == 0, result.output
    assert "tiny.image" in result.stdout
    assert "x baseline: to tiny.image." in (tmp_path / "bench.md").read_text(encoding="utf-8")


# --- the other commands --------------------------------------------------------------------------------


@pytest.mark.parametrize("states", ["5", "null", "[1]", '[{"name": "a"}]', '{"a": 1}'])
def test_info_of_an_image_model_takes_a_stray_key_as_it_is(tmp_path: Path, states: str) -> None:
    tools = json.dumps(ImageModel(IMAGE).metadata.tools)
    stray = f'"states": {states}'
    path = patched(IMAGE, tmp_path, (f'"tools": {tools}', stray.ljust(len(f'"tools": {tools}'))))
    result = run("info", path)
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines() if "states" in line] == ["states"]


def test_info_shows_every_field(model: ImageModel) -> None:
    result = run("info", IMAGE)
    assert result.exit_code == 0, result.output
    for name in json.loads(model.metadata.to_json()):
        assert name in result.stdout
    for absent in ("states", "window", "features"):
        assert absent not in result.stdout
    shown = json.loads(run("info", IMAGE, "--json").stdout)
    assert shown["metadata"] == json.loads(model.metadata.to_json())
    assert shown["file"]["inputs"] == {"image": "float [1, 6, 5]"}


def test_models_lists_one_that_was_exported_among_the_shipped(
    tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (IMAGE, tiny_model_path):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(places, "MODELS_DIR", tmp_path)
    result = run("models")
    assert result.exit_code == 0, result.output
    assert "6 x 5" in result.stdout
    assert "0.64 s" in result.stdout


def test_a_score_on_images_has_no_speakers() -> None:
    row = score_row(protocol="holdout", corpus="fashion_mnist", n_speakers=0, uar=0.9)
    assert headline([row]) == "UAR 0.900 (fashion_mnist, holdout)"


def test_commands_for_audio_say_what_to_do(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.ones(16000) / 2, 16000)
    for arguments in (
        ["listen", "--sample", "--fast", "--model", IMAGE],
        ["classify", tmp_path / "a.wav", "--model", IMAGE],
    ):
        result = run(*arguments)
        assert result.exit_code == 3
        assert result.stderr.count("\n") == 1
        assert "listen and classify need one of audio" in result.stderr
