"""Export of networks over images: one file each, compared with Keras on images of the corpus."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from typer.testing import CliRunner, Result

from edgeemo.cli import app
from edgeemo.errors import ExportError, ParityError
from edgeemo.images import ImageModel
from edgeemo.metadata import Mode, Precision
from edgeemo.workstation.architectures import build as build_network
from edgeemo.workstation.export import policy, request
from edgeemo.workstation.export.build import build
from edgeemo.workstation.export.file import export, write
from edgeemo.workstation.export.source import Source, prepare
from edgeemo.workstation.image_corpora import read_images
from edgeemo.workstation.training.folder import claim_run, write_run_metrics
from edgeemo.workstation.training.metrics import CellMetrics, summarise
from edgeemo.workstation.training.recipe import Recipe, recipe_from_dict
from support.corpora import write_fashion
from support.evidence import score_row, training
from support.networks import randomise
from support.runs import make_cell, make_scores

LABELS = ("yes", "no", "peut-être")
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 6), np.uint8)
OLD = b"the model that was here before"


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return recipe_from_dict({
        "name": "tiny_image",
        "summary": "for tests",
        "architecture": {"builder": "fashion_lstm"},
        "image": {"height": 8, "width": 6},
    })  # fmt: skip


def lstm() -> keras.Model:
    pixels = layers.Input((8, 6), name="features")
    x = layers.LSTM(4)(layers.Rescaling(1 / 255)(pixels))
    return randomise(keras.Model(pixels, layers.Dense(3, activation="softmax")(x), name="lstm"))


def cnn() -> keras.Model:
    pixels = layers.Input((8, 6), name="features")
    x = layers.Reshape((8, 6, 1))(layers.Rescaling(1 / 255)(pixels))
    x = layers.Conv2D(3, 3, padding="same", activation="relu")(x)
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    return randomise(keras.Model(pixels, layers.Dense(3, activation="softmax")(x), name="cnn"))


@pytest.fixture(scope="module")
def source(recipe: Recipe) -> Source:
    return prepare(lstm(), recipe, clips=IMAGES, labels=LABELS)


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_image.onnx"
    path.write_bytes(OLD)
    return path


def assert_untouched(path: Path) -> None:
    assert path.read_bytes() == OLD
    assert [p.name for p in path.parent.iterdir()] == [path.name], "left something behind"


# --- one file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "native"), [(lstm, "LSTM"), (cnn, "Conv")])
def test_the_file_computes_what_keras_computes(
    make: Callable[[], keras.Model], native: str, recipe: Recipe, old_file: Path
) -> None:
    model = make()
    facts, scores = training(), (score_row(),)
    metadata = export(model, recipe, old_file, clips=IMAGES, labels=LABELS, training=facts, scores=scores)
    loaded = ImageModel(old_file)
    assert loaded.metadata == metadata
    assert (metadata.name, metadata.height, metadata.width, metadata.labels) == ("tiny_image", 8, 6, LABELS)
    assert (metadata.training, metadata.scores) == (facts, scores)
    assert metadata.n_parameters == model.count_params()
    parity = metadata.parity
    assert (parity.reference, parity.n_images, parity.same_label) == ("Keras", 5, 1)
    assert parity.mean_difference <= parity.max_difference < 1e-5
    assert (parity.n_clips, parity.n_windows) == (None, None)

    others = np.random.default_rng(9).uniform(0, 255, (4, 8, 6)).astype(np.float32)
    expected = model.predict(others, verbose=0)
    assert np.ptp(expected, axis=0).max() > 0.01, "it says the same of all images"
    np.testing.assert_allclose([loaded.predict(x) for x in others], expected, rtol=0, atol=1e-5)
    count = Counter(node.op_type for node in onnx.load(old_file).graph.node)
    assert count[native] == 1
    assert not {"Loop", "Scan", "If", "Mul", "Div"} & set(count), "not simplified"


def test_an_onnx_file_of_another_tool(source: Source, recipe: Recipe, old_file: Path, tmp_path: Path) -> None:
    weights = tmp_path / "theirs.onnx"
    write(source, weights)
    metadata = export(weights, recipe, old_file, clips=IMAGES, labels=LABELS)
    assert metadata.parity.reference == "theirs.onnx"
    for image in IMAGES:
        np.testing.assert_allclose(
            ImageModel(old_file).predict(image), ImageModel(weights).predict(image), rtol=0, atol=1e-6
        )


def test_broken_parity_leaves_the_old_file(source: Source, recipe: Recipe, old_file: Path) -> None:
    other = dataclasses.replace(source, expected=source.expected[::-1])
    with pytest.raises(
        ParityError, match=r"differs from Keras by up to .* on 5 images.*nothing was replaced"
    ):
        write(other, old_file)
    assert_untouched(old_file)
    strict = dataclasses.replace(recipe, export=dataclasses.replace(recipe.export, tolerance=1e-12))
    with pytest.raises(ParityError, match="1e-12"):
        write(dataclasses.replace(source, recipe=strict), old_file)
    assert_untouched(old_file)


@pytest.mark.parametrize(
    ("mode", "precision"),
    [
        (Mode.STREAM, Precision.FP32),
        (Mode.WINDOW, Precision.INT8),
        (Mode.WINDOW, Precision.FP16),
    ],
)
def test_there_is_one_variant(mode: Mode, precision: Precision, source: Source, old_file: Path) -> None:
    with pytest.raises(ExportError, match="tiny_image is a network over images, which has one variant"):
        build(source, mode, precision)
    if precision is Precision.FP32:
        with pytest.raises(ExportError, match="one variant"):
            write(source, old_file, mode=mode)
        assert_untouched(old_file)


@pytest.mark.parametrize(
    ("labels", "words"),
    [(LABELS[:2], r"\(batch, 3\), expected \(batch, 2\)"), (("a", "a", "b"), "each must be a name")],
)
def test_labels_that_do_not_fit(labels: tuple[str, ...], words: str, recipe: Recipe, old_file: Path) -> None:
    with pytest.raises(ExportError, match=words):
        export(lstm(), recipe, old_file, clips=IMAGES, labels=labels)
    assert_untouched(old_file)


# --- by command, from a run ----------------------------------------------------------------------------

VALIDATION_UAR = {("fold-1", 0): 0.5, ("fold-1", 1): 0.6, ("fold-2", 0): 0.9}


def cell(fold: str, seed: int) -> CellMetrics:
    """One training."""
    validation = make_scores(VALIDATION_UAR[fold, seed])
    return make_cell(
        fold,
        seed,
        test=make_scores(0.4 + seed),
        validation=validation,
        corpus="fashion_mnist",
        has_speakers=False,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, a finished `run` of two folds, and its recipe, `r.toml`."""
    folder = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(5)
    parts = [part for _ in range(2) for part in (rng.integers(0, 256, (10, 28, 28)), np.arange(10))]
    write_fashion(folder / "data", *parts)
    text = (
        'name = "rows"\nsummary = "an LSTM"\n[architecture]\nbuilder = "fashion_lstm"\nunits = [3]\n'
        '[image]\nheight = 28\nwidth = 28\n[data]\ncorpora = ["fashion_mnist"]\nlabels = "fashion10"\n'
        '[protocol]\nkind = "holdout"\nfolds = 2\n'
    )
    (folder / "r.toml").write_text(text)
    values = {
        "name": "rows",
        "summary": "an LSTM",
        "architecture": {"builder": "fashion_lstm", "units": [3]},
        "image": {"height": 28, "width": 28},
        "data": {"corpora": ["fashion_mnist"], "labels": "fashion10"},
        "protocol": {"kind": "holdout", "folds": 2},
    }
    recipe = recipe_from_dict(values)
    claim_run(folder / "run", recipe)
    write_run_metrics(folder / "run", summarise(recipe, [cell(*of) for of in VALIDATION_UAR]))
    for seed, name in enumerate(("fold-1_seed-1", "fold-2_seed-0")):
        sizes = {"n_frames": 28, "n_mels": 28, "n_labels": 10}
        model = randomise(build_network("fashion_lstm", {"units": (3,)}, **sizes), seed=seed)
        (folder / "run" / name).mkdir()
        model.save(folder / "run" / name / "model.keras")
    return folder


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


@pytest.mark.parametrize(
    ("options", "fold", "seed"), [([], "fold-2", 0), (["--fold", "fold-1"], "fold-1", 1)]
)
def test_the_best_cell_of_a_run_or_of_a_fold(
    options: list[str], fold: str, seed: int, trained: Path, tmp_path: Path
) -> None:
    result = command("--run", trained / "run", "--data", trained / "data", "-o", tmp_path / "new", *options)
    assert result.exit_code == 0, result.output
    path = tmp_path / "new" / "rows.onnx"
    assert sorted(p.name for p in path.parent.iterdir()) == ["rows.md", "rows.onnx"]
    model = ImageModel(path)
    m = model.metadata
    assert (m.training.fold, m.training.seed, m.training.n_clips) == (fold, seed, 7)
    assert m.training.recipe == json.loads((trained / "run" / "recipe.json").read_text())
    assert (m.scores[0].part, m.scores[0].uar, m.scores[0].seeds) == ("test", 0.4 + seed, (seed,))
    card = path.with_suffix(".md").read_text()
    for said in (
        "# rows\n\nan LSTM: ",
        "`image (1, 28, 28)`",
        "Trained on 7 images (holdout protocol",
        "**Fashion-MNIST** (MIT)",
        "The test part is the corpus' own",
        f"| test | holdout, {fold} | fashion_mnist | 10 | {seed} | {0.4 + seed:.3f} |",
    ):
        assert said in card
    for shown in (f"wrote {path}", f"{path.stat().st_size:,} bytes", "on 10 images", "same label for 100"):
        assert shown in result.stdout

    of_corpus = [p.pixels for p in read_images(trained / "data", ["fashion_mnist"])][:3]
    kept = keras.saving.load_model(trained / "run" / f"{fold}_seed-{seed}" / "model.keras")
    expected = kept.predict(np.stack(of_corpus).astype(np.float32), verbose=0)
    np.testing.assert_allclose([model.predict(x) for x in of_corpus], expected, rtol=0, atol=1e-5)

    result = CliRunner().invoke(app, ["info", str(path)])
    assert result.exit_code == 0, result.output
    assert "fashion_mnist" in result.stdout


def test_a_run_from_python(trained: Path, tmp_path: Path) -> None:
    network = request.trained(trained / "run", fold="1")
    assert network.weights == trained / "run" / "fold-1_seed-1" / "model.keras"
    assert network.training is not None
    assert (network.training.fold, network.training.seed) == ("fold-1", 1)
    assert [row.part for row in network.scores] == ["test", "validation"]
    for options in (request.Options(force=True), request.Options(modes=(Mode.WINDOW,))):
        with pytest.raises(ExportError, match=r"one ONNX file in fp32; leave out --(force|mode)$"):
            policy.plan_export(network, tmp_path, data=trained / "data", options=options)
    plan = policy.plan_export(network, tmp_path, data=trained / "data")
    assert (len(plan.source.inputs), plan.evaluation, plan.unfit) == (10, None, None)
    assert list(tmp_path.iterdir()) == []
    exported = policy.carry_out(plan)
    (verdict,) = exported.verdicts
    path = tmp_path / "rows.onnx"
    assert (exported.listen, exported.n_bytes) == ("rows", {"rows": path.stat().st_size})
    metadata = ImageModel(path).metadata
    assert (metadata.parity, metadata.verdict) == (verdict.parity, None)


def test_own_weights_are_compared_on_the_test_part(trained: Path, tmp_path: Path) -> None:
    weights = trained / "run" / "fold-1_seed-1" / "model.keras"
    arguments = ["-m", trained / "r.toml", "--weights", weights, "--data", trained / "data", "-o", tmp_path]
    result = command(*arguments, "--labels", ",".join("abcdefghij"))
    assert result.exit_code == 0, result.output
    m = ImageModel(tmp_path / "rows.onnx").metadata
    assert m.labels == tuple("abcdefghij")
    assert (m.training, m.scores, m.parity.n_images) == (None, (), 10)


REFUSED = {
    "mode": (["--mode", "window"], "one ONNX file in fp32; leave out --mode"),
    "precision": (["--precision", "fp32"], "leave out --precision"),
    "step": (["--step-ms", "80"], "leave out --step-ms"),
    "format": (["--format", "ort"], "leave out --format"),
    "force": (["--force", "--mode", "stream"], "leave out --mode, --force"),
    "fold": (["--fold", "fold-3"], "has no fold 'fold-3'; it has fold-1, fold-2"),
    "data": ([], "rows is compared with Keras on images; give --data with the folder of fashion_mnist"),
    "no images": (["--data", "."], "no Fashion-MNIST in"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_command(
    case: str, trained: Path, old_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(old_file.parent)
    options, words = REFUSED[case]
    old_file.rename("rows.onnx")
    result = command("--run", trained / "run", "-o", ".", *options)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("edgeemo: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
    assert_untouched(Path("rows.onnx").resolve())
