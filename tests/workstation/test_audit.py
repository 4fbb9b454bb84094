"""`edgeemo audit`: planted leaks of each kind are found and counted, and in clean data nothing is found."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from typer.testing import CliRunner

from edgeemo.cli import app
from edgeemo.corpora.manifest import Clip, Manifest, scan
from edgeemo.evaluation import degradations
from edgeemo.workstation.audit import page, sides
from edgeemo.workstation.audit.audit import audit
from edgeemo.workstation.audit.checks import altered
from edgeemo.workstation.audit.findings import SCHEMA, Audit, Finding, Kind
from edgeemo.workstation.audit.hearing import hear
from edgeemo.workstation.training.folder import (
    cell_folder,
    claim_run,
    finish_cell,
    write_history,
    write_run_metrics,
)
from edgeemo.workstation.training.metrics import CellMetrics, HistoryRow, summarise
from edgeemo.workstation.training.recipe import load_recipe
from support.recipes import TINY_RECIPE
from support.runs import make_cell, make_scores
from support.voices import spoken

RATE = 16000
EMOTIONS = ("ANG", "HAP", "NEU", "SAD")
CODES = ["".join(letters) for letters in itertools.product("ABCDEFGH", repeat=3)]
N_TAKES = 2
N_SPEAKERS = 6

Change = Callable[[np.ndarray, str], np.ndarray]


def write(path: Path, audio: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, subtype="PCM_16")
    return path


@functools.cache
def sentence_of(speaker: int, number: int) -> np.ndarray:
    """Not to be changed."""
    sentence = speaker * 10 + number
    rng = np.random.default_rng(sentence)
    seconds, level = rng.uniform(1.0, 1.5), 10 ** rng.uniform(-2.2, -1.2)
    return spoken(speaker=speaker, sentence=sentence, take=0, seconds=seconds, level=level)


def write_clean(
    folder: Path, speakers: range = range(1, N_SPEAKERS + 1), change: Change | None = None
) -> Path:
    """Clips under CREMA-D's names: every sentence once, and level and length that say nothing of the emotion."""
    for speaker in speakers:
        for number, emotion in enumerate(EMOTIONS * N_TAKES):
            audio = sentence_of(speaker, number)
            if change is not None:
                audio = change(audio, emotion)
            write(folder / f"{1000 + speaker}_{CODES[speaker * 10 + number]}_{emotion}_XX.wav", audio)
    return folder


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return write_clean(tmp_path_factory.mktemp("clean"))


@pytest.fixture
def two(clean: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The clips of four speakers to train on, and of two others to test on."""
    train, test = tmp_path / "train", tmp_path / "test"
    for folder in (train, test):
        folder.mkdir()
    for path in clean.iterdir():
        shutil.copy(path, train if path.name < "1005" else test)
    return train, test


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_RECIPE.replace('corpora = ["ravdess"]', 'corpora = ["crema_d"]'))
    return path


def audited(material: sides.Material) -> Audit:
    return audit(material, hear(material.clips, lambda what, done, total: None))


def found(result: Audit, *, but: tuple[Kind, ...] = ()) -> dict[Kind, Finding]:
    kinds = [finding.kind for finding in result.findings]
    assert len(set(kinds)) == len(kinds)
    return {finding.kind: finding for finding in result.findings if finding.kind not in but}


def planted(train: Path, test: Path) -> Finding:
    """The one thing that is found."""
    (finding,) = found(audited(sides.of_two(train, test))).values()
    return finding


# --- from training to test -----------------------------------------------------------------------------


def test_nothing_is_found_in_clean_folders(two: tuple[Path, Path]) -> None:
    result = audited(sides.of_two(*two))
    assert result.findings == ()
    assert (result.n_clips, result.n_speakers, result.n_test_clips) == (48, 6, 16)
    assert set(result.unchecked) == {"normalisation", "epochs"}


def test_nothing_is_found_in_a_clean_split(clean: Path, recipe_file: Path) -> None:
    result = audited(sides.of_data(clean, load_recipe(recipe_file)))
    assert result.findings == ()
    assert result.split == "speaker protocol, 3 folds"
    assert result.n_test_clips == 48


def test_nothing_is_found_in_clean_data_that_are_not_split(clean: Path) -> None:
    result = audited(sides.of_data(clean, None))
    assert result.findings == ()
    assert "speakers" in result.unchecked


def test_speakers_on_both_sides(two: tuple[Path, Path]) -> None:
    train, test = two
    for path in sorted(train.glob("1001_*"))[:2] + sorted(train.glob("1002_*"))[:1]:
        path.rename(test / path.name)
    finding = planted(train, test)
    assert (finding.kind, finding.leaks, finding.n_clips) == (Kind.speakers, True, 3)
    assert finding.share == 3 / 19
    assert "2 speakers" in finding.what
    assert finding.example[0].startswith(f"{test}/100")
    assert finding.example[1].startswith(f"{train}/100")


def test_the_random_protocol_shares_all_speakers(clean: Path, recipe_file: Path) -> None:
    result = audited(sides.of_data(clean, load_recipe(recipe_file, ["protocol.kind=random"])))
    finding = found(result)[Kind.speakers]
    assert finding.n_clips == result.n_test_clips
    assert finding.share == 1


def as_others(
    paths: list[Path], test: Path, change: Callable[[np.ndarray], np.ndarray], rate: int = RATE
) -> None:
    """Clips of the training under names of another speaker and other sentences."""
    for number, path in enumerate(paths):
        audio, _ = soundfile.read(path, dtype="float32")
        emotion = path.name.split("_")[2]
        write(test / f"1006_{CODES[-1 - number]}_{emotion}_XX.wav", change(audio), rate)


def test_the_same_audio_on_both_sides(two: tuple[Path, Path]) -> None:
    train, test = two
    as_others(sorted(train.iterdir())[:2], test, lambda audio: audio)
    finding = planted(train, test)
    assert (finding.kind, finding.leaks, finding.n_clips) == (Kind.same_audio, True, 2)
    copied = [str(path) for path in sorted(train.iterdir())[:2]]
    assert sorted(original for _, original in finding.cases) == copied


@pytest.mark.parametrize(
    ("change", "rate"),
    [
        pytest.param(lambda x: soxr.resample(x, RATE, 44100), 44100, id="44.1 kHz"),
        pytest.param(lambda x: 0.25 * x, RATE, id="quieter"),
        pytest.param(lambda x: x[5000:], RATE, id="cut"),
        pytest.param(
            lambda x: degradations.through_codec(
                x, RATE, "MP3", "MPEG_LAYER_III", coded_rate=RATE, compression_level=0.99
            ),
            RATE,
            id="MP3",
        ),
    ],
)
def test_nearly_the_same_audio_on_both_sides(
    two: tuple[Path, Path], change: Callable[[np.ndarray], np.ndarray], rate: int
) -> None:
    train, test = two
    as_others(sorted(train.iterdir())[:3], test, change, rate)
    result = found(audited(sides.of_two(train, test)), but=(Kind.cue,))  # the rate of three clips may be one
    assert list(result) == [Kind.near_audio]
    assert (result[Kind.near_audio].leaks, result[Kind.near_audio].n_clips) == (True, 3)


def test_sentences_on_both_sides_are_told_and_are_no_leak(two: tuple[Path, Path]) -> None:
    train, test = two
    known = sorted(path.name.split("_")[1] for path in train.iterdir())
    for path, sentence in zip(sorted(test.iterdir())[:4], known, strict=False):
        path.rename(test / path.name.replace(path.name.split("_")[1], sentence))
    finding = planted(train, test)
    assert (finding.kind, finding.leaks, finding.n_clips) == (Kind.sentences, False, 4)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("x_noise", "x"),
        ("x_pitch2", "x"),
        ("x_aug1", "x"),
        ("x_noise_10dB", "x"),
        ("x-stretch0.9_noise", "x"),
        ("copy of x", "x"),
        ("x - Copy", "x"),
        ("x (2)", "x"),
        ("1001_DFA_ANG_XX_speed1.1", "1001_dfa_ang_xx"),
    ],
)
def test_names_of_altered_copies(name: str, base: str) -> None:
    assert altered(name) == (base, True)


@pytest.mark.parametrize(
    "name", ["x", "1001_DFA_ANG_XX", "03-01-06-01-02-01-12", "OAF_fast_angry", "noise", "a01"]
)
def test_names_that_say_nothing_of_copies(name: str) -> None:
    assert altered(name) == (name.lower(), False)


def test_augmented_siblings_on_both_sides(two: tuple[Path, Path], tmp_path: Path) -> None:
    """By their names, in a manifest: at another speed no waveform is the same."""
    train, test = two
    clips = list(scan(test).clips)
    for clip in scan(train).clips[:3]:
        audio, rate = soundfile.read(clip.path, dtype="float32")
        faster = write(
            tmp_path / "augmented" / f"{clip.path.stem}_speed1.2.wav", soxr.resample(audio, rate * 1.2, rate)
        )
        clips.append(dataclasses.replace(clip, path=faster, sha256=f"{len(clips):064x}"))
    Manifest(tuple(clips)).write_csv(tmp_path / "test.csv")
    result = found(audited(sides.of_two(train, tmp_path / "test.csv")), but=(Kind.speakers, Kind.sentences))
    assert list(result) == [Kind.siblings]
    assert (result[Kind.siblings].leaks, result[Kind.siblings].n_clips) == (True, 3)


def test_repeated_audio_in_data_that_are_not_split_is_told(clean: Path, tmp_path: Path) -> None:
    data = shutil.copytree(clean, tmp_path / "data")
    (path,) = data.glob(f"1001_{CODES[10]}_*")
    shutil.copy(path, data / f"1001_{CODES[-1]}_ANG_XX.wav")
    result = found(audited(sides.of_data(data, None)))
    assert list(result) == [Kind.same_audio]
    assert (result[Kind.same_audio].leaks, result[Kind.same_audio].n_clips) == (False, 2)


# --- in the data themselves ----------------------------------------------------------------------------


def test_labels_that_disagree_over_equal_and_nearly_equal_audio(
    clean: Path, tmp_path: Path, recipe_file: Path
) -> None:
    data = shutil.copytree(clean, tmp_path / "data")
    angry = sorted(data.glob("*_ANG_XX.wav"))
    shutil.copy(angry[0], data / angry[0].name.replace("ANG", "SAD"))
    audio, rate = soundfile.read(angry[1], dtype="float32")
    write(data / angry[1].name.replace("ANG", "HAP"), 0.5 * audio[1000:], rate)
    result = found(audited(sides.of_data(data, load_recipe(recipe_file))))
    finding = result[Kind.labels]
    assert (finding.leaks, finding.n_clips) == (False, 4)
    assert finding.example == (angry[0].name, angry[0].name.replace("ANG", "SAD"))
    assert [set(case) for case in finding.cases] == [
        {path.name, path.name.replace("ANG", other)}
        for path, other in zip(angry[:2], ("SAD", "HAP"), strict=True)
    ]
    assert set(result) == {Kind.labels}


def test_labels_that_a_label_map_merges_do_not_disagree(clean: Path) -> None:
    material = sides.of_data(clean, None)
    first, second = material.clips[0], material.clips[1]
    merged = dataclasses.replace(second, sha256=first.sha256)
    clips = (first, merged, *material.clips[2:])
    assert Kind.labels in found(audited(dataclasses.replace(material, clips=clips)))
    agreeing = (first, dataclasses.replace(merged, emotion=first.emotion), *material.clips[2:])
    assert Kind.labels not in found(audited(dataclasses.replace(material, clips=agreeing)))


def test_two_speakers_are_too_few(tmp_path: Path) -> None:
    result = found(audited(sides.of_data(write_clean(tmp_path, range(1, 3)), None)), but=(Kind.cue,))
    assert list(result) == [Kind.few_speakers]
    assert (result[Kind.few_speakers].leaks, result[Kind.few_speakers].n_clips) == (False, 16)
    assert result[Kind.few_speakers].example == ("crema_d-1001", "crema_d-1002")


# --- cues ----------------------------------------------------------------------------------------------


def padded(before: bool) -> Change:
    silence = {"ANG": 0.1, "HAP": 0.3, "NEU": 0.5, "SAD": 0.7}

    def change(audio: np.ndarray, emotion: str) -> np.ndarray:
        n = round(silence[emotion] * RATE)
        return np.pad(audio, (n, 0) if before else (0, n))

    return change


CUES: dict[str, Change] = {
    "level": lambda x, e: x * (0.02 * 2 ** EMOTIONS.index(e)) / np.sqrt(np.mean(x**2)),
    "length": lambda x, e: x[: 6000 + 3000 * EMOTIONS.index(e)],
    "leading silence": padded(True),
    "trailing silence": padded(False),
    "band limit": lambda x, e: degradations.through_rate(
        x.astype(np.float32), RATE, 6000 + 2500 * EMOTIONS.index(e)
    ),
    "constant offset": lambda x, e: x + 0.02 * EMOTIONS.index(e),
}


@pytest.mark.parametrize("fact", CUES)
def test_a_cue_is_found_and_named(fact: str, tmp_path: Path) -> None:
    data = write_clean(tmp_path, change=CUES[fact])
    result = found(audited(sides.of_data(data, None)))
    assert list(result) == [Kind.cue]
    finding = result[Kind.cue]
    assert finding.leaks
    assert finding.scores["uar"] > 0.7
    assert finding.scores["chance"] == 0.25
    assert finding.scores[f"{fact} alone"] > 0.7


def test_a_sample_rate_that_tells_one_class_leaks(clean: Path, tmp_path: Path) -> None:
    """Little of what there is to tell, but no voice has a part in it."""
    data = shutil.copytree(clean, tmp_path / "data")
    for path in data.glob("*_SAD_XX.wav"):
        audio, _ = soundfile.read(path, dtype="float32")
        write(path, soxr.resample(audio, RATE, 22050), 22050)
    finding = found(audited(sides.of_data(data, None)))[Kind.cue]
    assert finding.leaks
    assert finding.scores["sample rate alone"] == 0.5
    assert "sample rate is not speech at all" in finding.what


# --- from the run's record -----------------------------------------------------------------------------


def write_run(folder: Path, recipe_file: Path, cell: CellMetrics, *, lowest: int = 2) -> Path:
    recipe = load_recipe(recipe_file)
    claim_run(folder, recipe)
    path = cell_folder(folder, cell.fold, cell.seed)
    path.mkdir()
    finish_cell(path, cell)
    rows = [
        HistoryRow(
            epoch=epoch,
            loss=1.0,
            accuracy=0.5,
            val_loss=1.0 - 0.1 * (epoch == lowest),
            val_accuracy=0.5,
            val_uar=0.5,
            learning_rate=0.1,
        )
        for epoch in (1, 2, 3)
    ]
    write_history(path, rows)
    write_run_metrics(folder, summarise(recipe, [cell]))
    return folder


def told(**changes: object) -> CellMetrics:
    """A clean cell of ten test clips, and what is wrong with it."""
    cell = make_cell(test=make_scores(0.4), corpus="crema_d")
    return dataclasses.replace(cell, normalised_on="train", stopped_on="validation", **changes)


def test_a_clean_record(tmp_path: Path, recipe_file: Path) -> None:
    result = audited(sides.of_run(write_run(tmp_path / "run", recipe_file, told()), None))
    assert result.findings == ()
    assert not {"speakers", "normalisation", "epochs"} & set(result.unchecked)


def test_a_record_of_an_earlier_version_does_not_say(tmp_path: Path, recipe_file: Path) -> None:
    cell = dataclasses.replace(told(), normalised_on=None, stopped_on=None)
    result = audited(sides.of_run(write_run(tmp_path / "run", recipe_file, cell), None))
    assert result.findings == ()
    assert {"normalisation", "epochs"} <= set(result.unchecked)


@pytest.mark.parametrize(
    ("kind", "cell", "what"),
    [
        (
            Kind.speakers,
            told(train_speakers=("crema_d-01", "crema_d-fold-1-a")),
            "1 speaker in training and test, such as crema_d-fold-1-a",
        ),
        (
            Kind.epochs,
            told(validation=dataclasses.replace(told().validation, scores=told().test.scores)),
            "the same clips",
        ),
        (Kind.epochs, told(best_epoch=3), "weights are of epoch 3, though epoch 2"),
    ],
)
def test_what_a_record_gives_away(
    kind: Kind, cell: CellMetrics, what: str, tmp_path: Path, recipe_file: Path
) -> None:
    result = found(audited(sides.of_run(write_run(tmp_path / "run", recipe_file, cell), None)))
    assert list(result) == [kind]
    assert what in result[kind].what
    assert (result[kind].leaks, result[kind].n_clips, result[kind].share) == (True, 10, 1)


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [("normalised_on", "train and test", Kind.normalisation), ("stopped_on", "test", Kind.epochs)],
)
def test_a_record_that_says_so(key: str, value: str, kind: Kind, tmp_path: Path, recipe_file: Path) -> None:
    run = write_run(tmp_path / "run", recipe_file, told())
    values = json.loads((run / "metrics.json").read_text())
    values["cells"][0][key] = value
    (run / "metrics.json").write_text(json.dumps(values))
    result = found(audited(sides.of_run(run, None)))
    assert list(result) == [kind]
    assert value in result[kind].what


# --- the command ---------------------------------------------------------------------------------------


def run_command(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["audit", *map(str, arguments)])
    assert not result.exception or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_the_command_on_clean_folders(two: tuple[Path, Path], tmp_path: Path) -> None:
    train, test = two
    code, output = run_command("--train", train, "--test", test, "-o", tmp_path / "audit.md")
    assert code == 0
    assert "nothing was found" in output
    assert "Nothing was found." in (tmp_path / "audit.md").read_text()


def test_the_command_on_a_leak(two: tuple[Path, Path], tmp_path: Path) -> None:
    train, test = two
    as_others(sorted(train.iterdir())[:2], test, lambda audio: audio)
    report = tmp_path / "audit.json"
    code, output = run_command(
        "--train", train, "--test", test, "-o", tmp_path / "audit.md", "--json", report
    )
    assert code == 1
    assert "same audio" in output
    result = Audit.from_dict(json.loads(report.read_text()))
    assert result.schema == SCHEMA
    assert [(f.kind, f.n_clips) for f in result.findings] == [(Kind.same_audio, 2)]
    assert Audit.from_dict(result.to_dict()) == result
    text = (tmp_path / "audit.md").read_text()
    assert "| same audio | yes | 2 | 11.1 % |" in text
    assert all(line in text for line in page.details(result.findings[0]))


def test_any_finding_ends_with_1_unless_it_is_allowed(two: tuple[Path, Path]) -> None:
    train, test = two
    path = sorted(test.iterdir())[0]
    known = sorted(train.iterdir())[0].name.split("_")[1]
    path.rename(test / path.name.replace(path.name.split("_")[1], known))
    command = ["--train", train, "--test", test, "--json", "-"]
    code, output = run_command(*command)
    assert code == 1
    assert [finding["kind"] for finding in json.loads(output)["findings"]] == ["sentences"]
    assert run_command(*command, "--allow", "speakers")[0] == 1
    assert run_command(*command, "--allow", "speakers", "--allow", "sentences") == (0, output)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["x", "--train", "a", "--test", "b"],
        ["--train", "a"],
        ["x", "--protocol", "random"],
        ["x", "--data", "y"],
        ["--train", "a", "--test", "b", "--price"],
        ["--train", "a", "--test", "b", "--allow", "anything"],
    ],
)
def test_arguments_that_do_not_go_together(arguments: list[str]) -> None:
    code, output = run_command(*arguments)
    assert code == 2
    assert "Invalid value" in output


def test_images_are_refused() -> None:
    code, _ = run_command("export/fashion_cnn")
    assert code == 1


@pytest.mark.slow
def test_a_run_of_our_own_is_clean_and_the_price_of_a_split_is_shown(
    clean: Path, recipe_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    trained = CliRunner().invoke(
        app,
        ["train", "-m", str(recipe_file), "-d", str(clean), "-o", str(run), "--fold", "1", "--epochs", "1"],
    )
    assert trained.exit_code == 0, trained.output
    code, output = run_command(run, "--data", clean, "--json", "-", "--price")
    assert code == 0, output
    result = json.loads(output)
    assert (result["findings"], result["unchecked"]) == ([], {})
    assert result["n_test_clips"] == 16
    price = result["price"]
    assert (price["epochs"], price["n_test_speakers"], price["n_speaker_clips"]) == (1, 2, 16)
    assert 0 <= price["random_uar"] <= 1
    other = shutil.copytree(clean, tmp_path / "other")
    next(other.iterdir()).unlink()
    assert run_command(run, "--data", other)[0] == 1


@pytest.mark.corpora
@pytest.mark.slow
def test_the_repeated_file_of_ravdess(corpora_dir: Path) -> None:
    """Under the random protocol it stays on one side; split by hand it does not."""
    actor: tuple[Clip, ...] = scan(corpora_dir / "ravdess" / "Actor_07").clips
    (first, second) = (clip for clip in actor if clip.path.stem.startswith("03-01-03-01-02-0"))
    material = sides.Material(
        source="by hand", split="by hand", clips=actor, folds=(sides.Sides("1", (first,), (second,)),)
    )
    assert found(audited(material))[Kind.same_audio].n_clips == 1
