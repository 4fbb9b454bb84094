"""Scoring whole clips, as a library and as `edgeemo classify`."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

import edgeemo
from edgeemo.audio import read_audio
from edgeemo.bench.signals import speech_like
from edgeemo.classify import Classifier, ClipFailure, ClipScore
from edgeemo.cli import app
from edgeemo.errors import AudioError, ModelError
from edgeemo.high_pass import without_constant
from edgeemo.live import Listener
from edgeemo.model import EmotionModel
from edgeemo.places import DEFAULT_MODEL, sample_path
from edgeemo.stepper import StreamStepper
from edgeemo.windows import clip_windows
from support.events import steps_in


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> EmotionModel:
    return EmotionModel(tiny_model_path)


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Three clips of other lengths, rates and numbers of channels; their order is not alphabetical."""
    made = []
    for i, (name, seconds, rate) in enumerate(
        [("c.wav", 9.3, 16000), ("a.flac", 0.4, 44100), ("b.wav", 5, 8000)]
    ):
        audio = speech_like(round(seconds * rate), rate, seed=i)
        soundfile.write(tmp_path / name, np.stack([audio, 0.5 * audio], axis=1) if i == 1 else audio, rate)
        made.append(tmp_path / name)
    return made


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["classify", *map(str, arguments)])


def test_score_is_the_mean_over_the_windows(model: EmotionModel) -> None:
    window_samples = model.metadata.window_samples
    audio = speech_like(round(3.3 * window_samples), model.metadata.features.sample_rate)
    heard = without_constant(audio, model.sample_rate)
    by_hand = [model.predict(window) for window in clip_windows(heard, window_samples)]
    assert np.ptp(by_hand, axis=0).max() > 1e-6, "all windows score alike: the test cannot fail"
    probabilities, n_windows = Classifier([model]).score_audio(audio)
    np.testing.assert_allclose(probabilities, np.mean(by_hand, axis=0), atol=1e-6)
    assert n_windows == len(by_hand)


@pytest.mark.parametrize("n_samples", [1, 2559, 2560, 2561, 10239, 10240, 10241, 12800, 40000])
def test_score_of_a_stream_graph_is_the_mean_over_the_steps_that_heard_a_window(
    stream_model: EmotionModel, n_samples: int
) -> None:
    window, step = stream_model.metadata.window_samples, stream_model.metadata.step_samples
    audio = speech_like(40000, stream_model.metadata.features.sample_rate)[:n_samples]
    n_steps = -(-n_samples // step)
    heard = without_constant(audio, stream_model.sample_rate)
    padded = np.concatenate([np.zeros(n_steps * step - n_samples, np.float32), heard])
    steps = stream_model.stepper()
    ends = range(n_samples - (n_steps - 1) * step, n_samples + 1, step)  # in the clip
    by_hand = [
        (end, steps.step(piece)) for end, piece in zip(ends, padded.reshape(n_steps, step), strict=True)
    ]
    expected = [p for end, p in by_hand if end >= window] or [by_hand[-1][1]]
    probabilities, n_windows = Classifier([stream_model]).score_audio(audio)
    np.testing.assert_allclose(probabilities, np.mean(expected, axis=0), atol=1e-6)
    assert n_windows == len(expected) == max(1, (n_samples - window) // step + 1)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_pauses_in_a_clip_reset_nothing(stream_model: EmotionModel) -> None:
    """Unlike in the live loop: the score of a clip is that of the whole clip."""
    m = stream_model.metadata
    voice = speech_like(12 * m.step_samples, m.features.sample_rate)
    audio = np.concatenate([voice, 0.01 * voice, voice])
    steps = stream_model.stepper()
    first = m.window_samples // m.step_samples - 1
    heard = without_constant(audio, m.features.sample_rate)
    expected = [steps.step(piece) for piece in heard.reshape(-1, m.step_samples)][first:]
    np.testing.assert_allclose(
        Classifier([stream_model]).score_audio(audio)[0], np.mean(expected, axis=0), atol=1e-6
    )

    live = steps_in(Listener(stream_model, sample_rate=stream_model.sample_rate).push(audio))[first:]
    assert live[-1].utterance == 2
    means = np.mean([list(step.probabilities.values()) for step in live], axis=0)
    assert np.abs(means - np.mean(expected, axis=0)).max() > 1e-6, "resets must be seen"


def test_clip_of_any_rate_is_scored_at_the_models_rate(either_model: EmotionModel, clips: list[Path]) -> None:
    model = either_model
    classifier = Classifier([model])
    for path in clips:
        score = classifier.score_clip(path)
        audio = read_audio(path, model.metadata.features.sample_rate)
        assert list(score.probabilities.values()) == classifier.score_audio(audio)[0].tolist()
        assert score.label == max(score.probabilities, key=score.probabilities.__getitem__)
        assert score.duration_s == pytest.approx(soundfile.info(path).duration, abs=0.001)
        assert sum(score.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_unreadable_file_does_not_stop_the_rest(
    model: EmotionModel, clips: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"not audio at all")
    unopenable = tmp_path / f"{'long' * 100}.wav"  # an OSError of the file system, before libsndfile
    classifier = Classifier([model])
    with pytest.raises(AudioError):
        classifier.score_clip(bad)
    results = list(classifier.classify([clips[0], bad, unopenable, clips[1]]))
    assert [type(result) for result in results] == [ClipScore, ClipFailure, ClipFailure, ClipScore]
    assert [result.path for result in results] == [clips[0], bad, unopenable, clips[1]]
    for failure in results[1:3]:
        assert failure.error.startswith(f"{failure.path}: ")
        assert failure.error.count("\n") == 0


@pytest.fixture
def unheard(tmp_path: Path) -> dict[str, Path]:
    """Clips without an emotion, by the reason that a row gives."""
    voice = speech_like(16000 * 2, 16000)
    made = {
        "silence": 1e-4 * voice,
        "the channels cancel in their mean": np.stack([voice, -voice], axis=1),
        "shorter than a step of 0.16 s": voice[:1] + 0.5,
    }
    for i, audio in enumerate(made.values()):
        soundfile.write(tmp_path / f"unheard {i}.wav", audio, 16000, subtype="FLOAT")
    return {reason: tmp_path / f"unheard {i}.wav" for i, reason in enumerate(made)}


def test_no_emotion_where_there_is_none(
    either_model: EmotionModel, unheard: dict[str, Path], clips: list[Path]
) -> None:
    paths = [clips[0], *unheard.values()]
    for format_ in "json", "csv", "table":
        result = run("-m", either_model.path, "-f", format_, *paths)
        assert (result.exit_code, result.stderr) == (0, "3 of 4 got no label: silent, too short or unsure\n")
        if format_ == "json":
            rows = json.loads(result.stdout)
            assert [row["reason"] for row in rows] == [None, *unheard]
            assert [row["label"] is None for row in rows] == [False, True, True, True]
            assert [row["probabilities"] is None for row in rows] == [False, True, True, True]
        elif format_ == "csv":
            of_csv = list(csv.DictReader(io.StringIO(result.stdout)))
            assert [row["reason"] for row in of_csv] == ["", *unheard]
            assert [row["label"] == row["p_low"] == "" for row in of_csv] == [False, True, True, True]
            assert {row["error"] for row in of_csv} == {""}
        else:
            assert all(f"({reason})" in result.stdout for reason in unheard)


# --- Timelines


def test_a_timeline_is_what_the_score_is_the_mean_of(either_model: EmotionModel, clips: list[Path]) -> None:
    m = either_model.metadata
    classifier = Classifier([either_model])
    for path in clips:
        moments, score = list(classifier.timeline(path)), classifier.score_clip(path)
        mean = np.mean([list(moment.probabilities.values()) for moment in moments], axis=0)
        np.testing.assert_allclose(mean, list(score.probabilities.values()), atol=1e-6)
        assert len(moments) == score.n_windows
        assert moments[-1].end_s == score.duration_s
        length = min(m.window_s if m.mode == "window" else m.step_s, score.duration_s)
        for moment in moments:
            assert moment.end_s - moment.start_s == pytest.approx(length)
            assert moment.label == max(moment.probabilities, key=moment.probabilities.__getitem__)


def test_a_timeline_names_no_emotion_for_its_silence(either_model: EmotionModel, tmp_path: Path) -> None:
    m = either_model.metadata
    voice = speech_like(either_model.sample_rate, either_model.sample_rate)
    silence = np.zeros(3 * m.window_samples, np.float32)
    soundfile.write(tmp_path / "a.wav", np.concatenate([silence, voice, silence]), either_model.sample_rate)
    voice_s = (
        len(silence) / either_model.sample_rate,
        (len(silence) + len(voice)) / either_model.sample_rate,
    )
    moments = list(Classifier([either_model]).timeline(tmp_path / "a.wav"))
    for moment in moments:
        heard_from = moment.end_s - m.window_s
        if moment.end_s <= voice_s[0] or heard_from >= voice_s[1] + 0.2:  # the high-pass fades
            assert (moment.label, moment.reason) == (None, "silence")
    assert {moment.reason for moment in moments} == {None, "silence"}


def test_timelines_of_models_that_hear_the_same(
    model: EmotionModel, stream_model: EmotionModel, clips: list[Path]
) -> None:
    (one, of_two) = (list(Classifier(models).timeline(clips[0])) for models in ([model], [model, model]))
    for a, b in zip(one, of_two, strict=True):
        assert (a.start_s, a.end_s, a.label) == (b.start_s, b.end_s, b.label)
        assert a.probabilities == pytest.approx(b.probabilities, abs=1e-7)
    with pytest.raises(ModelError, match="2 models that differ in mode"):
        list(Classifier([model, stream_model]).timeline(clips[0]))


@pytest.mark.parametrize("format_", ["csv", "json", "table"])
def test_the_command_writes_timelines(
    either_model: EmotionModel, clips: list[Path], tmp_path: Path, format_: str
) -> None:
    bad = tmp_path / "bad.wav"
    bad.touch()
    result = run(
        "-m", either_model.path, "--timeline", "-f", format_, clips[0], bad, tmp_path / "gone", clips[1]
    )
    assert result.exit_code == 1
    assert result.stderr.endswith("2 of 4 could not be scored\n")
    classifier = Classifier([either_model])
    of_clips = [[*classifier.timeline(path)] for path in (clips[0], clips[1])]
    n_rows = len(of_clips[0]) + 2 + len(of_clips[1])
    if format_ == "table":
        assert len(result.stdout.splitlines()) == 1 + n_rows
        return
    rows = json.loads(result.stdout) if format_ == "json" else [*csv.DictReader(io.StringIO(result.stdout))]
    assert len(rows) == n_rows
    assert len({tuple(row) for row in rows}) == 1, "rows differ in their keys"
    times = [(row["path"], float(row["start_s"]), float(row["end_s"])) for row in rows if not row["error"]]
    expected = [(str(m.path), round(m.start_s, 3), round(m.end_s, 3)) for ms in of_clips for m in ms]
    assert times == expected
    assert [bool(row["label"]) for row in rows].count(False) == 2


def scores(classifier: Classifier, clips: list[np.ndarray]) -> list[np.ndarray]:
    return [classifier.score_audio(clip)[0] for clip in clips]


def test_clips_leave_no_trace_in_the_next(
    stream_model: EmotionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stepper for all clips: the same bits as a new one for each."""
    sample_rate = stream_model.metadata.features.sample_rate
    clips = [speech_like(n_samples, sample_rate, seed=n_samples) for n_samples in (5000, 40000, 2560, 5000)]
    of_new = [Classifier([stream_model]).score_audio(clip)[0] for clip in clips]
    classifier = Classifier([stream_model])
    np.testing.assert_array_equal(scores(classifier, clips), of_new)
    np.testing.assert_array_equal(scores(classifier, clips[::-1]), of_new[::-1])

    monkeypatch.setattr(StreamStepper, "reset", lambda self: None)
    assert not np.array_equal(scores(classifier, clips), of_new), "the test cannot fail"


def test_several_models_are_averaged(model: EmotionModel, stream_model: EmotionModel) -> None:
    """A window graph and a stream graph of other numbers of windows: each weighs the same."""
    audio = speech_like(40000, model.metadata.features.sample_rate)
    (of_window, n_windows), (of_stream, n_steps) = (
        Classifier([one]).score_audio(audio) for one in (model, stream_model)
    )
    assert n_windows != n_steps
    assert np.abs(of_window - of_stream).max() > 1e-4, "the test cannot fail"
    probabilities, n_all = Classifier([model, stream_model]).score_audio(audio)
    np.testing.assert_allclose(probabilities, (of_window + of_stream) / 2, atol=1e-6)
    assert n_all == n_windows + n_steps
    np.testing.assert_array_equal(Classifier([model, model]).score_audio(audio)[0], of_window)


def test_the_command_averages_models(
    tiny_model_path: Path, stream_model_path: Path, clips: list[Path]
) -> None:
    rows = json.loads(run("-m", tiny_model_path, "-m", stream_model_path, "-f", "json", *clips).stdout)
    classifier = Classifier([EmotionModel(tiny_model_path), EmotionModel(stream_model_path)])
    for row, path in zip(rows, clips, strict=True):
        assert row == classifier.score_clip(path).to_dict()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'["low", "middle", "high"]', b'["low", "high", "middle"]'),
        (b'["low", "middle", "high"]', b'["low", "middle", "hush"]'),
        (b'"sample_rate": 16000', b'"sample_rate": 22050'),
    ],
)
def test_models_that_differ_are_not_averaged(
    tiny_model_path: Path, clips: list[Path], tmp_path: Path, old: bytes, new: bytes
) -> None:
    content = tiny_model_path.read_bytes()
    assert content.count(old) == 1
    other = tmp_path / "other.onnx"
    other.write_bytes(content.replace(old, new))
    with pytest.raises(ModelError):
        Classifier([EmotionModel(tiny_model_path), EmotionModel(other)])
    result = run("-m", tiny_model_path, "-m", other, clips[0])
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (3, "", 1)
    assert "other.onnx has labels low, " in result.stderr
    assert "same labels in the same order" in result.stderr


def test_csv_has_a_row_per_file_in_the_order_given(
    model: EmotionModel, tiny_model_path: Path, clips: list[Path]
) -> None:
    result = run("--model", tiny_model_path, "--format", "csv", *clips)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [Path(row["path"]) for row in rows] == clips
    for row in rows:
        probabilities = {name: float(row[f"p_{name}"]) for name in model.labels}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert row["label"] == max(probabilities, key=probabilities.__getitem__)
        assert row["error"] == ""


def test_json_is_indented_by_one(tiny_model_path: Path, clips: list[Path]) -> None:
    text = run("-m", tiny_model_path, "-f", "json", *clips).stdout
    assert text == json.dumps(json.loads(text), indent=1) + "\n"


def test_json_says_what_the_library_says(either_model: EmotionModel, clips: list[Path]) -> None:
    rows = json.loads(run("-m", either_model.path, "-f", "json", *clips).stdout)
    classifier = Classifier([either_model])
    for row, path in zip(rows, clips, strict=True):
        score = classifier.score_clip(path)
        assert list(row["probabilities"]) == list(either_model.labels)
        assert row["probabilities"] == pytest.approx(score.probabilities, abs=1e-6)
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert (row["label"], row["n_windows"], row["error"]) == (score.label, score.n_windows, None)


@pytest.mark.parametrize("format_", ["csv", "json"])
def test_failures_are_rows_too_and_end_in_exit_code_1(
    tiny_model_path: Path, clips: list[Path], tmp_path: Path, format_: str
) -> None:
    bad, missing = tmp_path / "bad.wav", tmp_path / "missing.wav"
    bad.write_bytes(b"not audio at all")
    result = run("-m", tiny_model_path, "-f", format_, clips[0], bad, missing, clips[1])
    assert result.exit_code == 1
    assert "bad.wav" in result.stderr
    assert "missing.wav" in result.stderr
    assert "2 of 4" in result.stderr
    text = result.stdout
    rows = json.loads(text) if format_ == "json" else list(csv.DictReader(io.StringIO(text)))
    assert [Path(row["path"]) for row in rows] == [clips[0], bad, missing, clips[1]]
    assert [bool(row["error"]) for row in rows] == [False, True, True, False]
    assert [bool(row["label"]) for row in rows] == [True, False, False, True]


def test_folder_gives_its_files_and_a_file_named_twice_counts_once(
    tiny_model_path: Path, clips: list[Path], tmp_path: Path
) -> None:
    rows = json.loads(run("-m", tiny_model_path, "-f", "json", clips[0], tmp_path).stdout)
    assert [Path(row["path"]).name for row in rows] == ["c.wav", "a.flac", "b.wav"]


def test_table_names_every_file_and_label(
    tiny_model_path: Path, clips: list[Path], model: EmotionModel
) -> None:
    result = run("-m", tiny_model_path, *clips)
    assert result.exit_code == 0, result.output
    header, *rows = result.stdout.splitlines()
    assert all(name in header for name in model.labels)
    assert [row.split()[0] for row in rows] == [str(path) for path in clips]


def test_output_file_takes_its_format_from_its_suffix(
    tiny_model_path: Path, clips: list[Path], tmp_path: Path
) -> None:
    target = tmp_path / "out" / "scores.json"
    result = run("-m", tiny_model_path, "-o", target, clips[0])
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(target.read_text(encoding="utf-8"))[0]["path"] == str(clips[0])
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("options", [["-o", "scores", "--format", "csv"], []])
def test_ray_writes_parquet_to_a_folder(options: list[str], tiny_model_path: Path, clips: list[Path]) -> None:
    result = run("-m", tiny_model_path, "--ray", "local", *options, clips[0])
    assert result.exit_code == 2
    expected = "--ray writes Parquet" if options else "needs --output"
    assert expected in " ".join(result.stderr.split())


def test_missing_model_is_one_line(clips: list[Path]) -> None:
    result = run("-m", "no_such_model", clips[0])
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1
    assert "no_such_model" in result.stderr


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model_path: Path
) -> None:
    monkeypatch.setattr(Classifier, "score_clip", lambda *_: pytest.fail("scored in vain"))
    result = run("-m", tiny_model_path, clips[0], "-o", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"edgeemo: {tmp_path}: cannot be written (a folder; expected a file)\n"


@pytest.mark.skipif(sys.platform == "win32", reason="names are text there")
@pytest.mark.parametrize("content", ["speech", "nothing"])
def test_a_name_that_is_not_utf8(
    content: str, clips: list[Path], tmp_path: Path, edgeemo: list[str], tiny_model_path: Path
) -> None:
    odd = os.fsencode(tmp_path) + b"/b\xe4d.wav"
    Path(os.fsdecode(odd)).write_bytes(clips[0].read_bytes() if content == "speech" else b"")
    for output in ("-o", str(tmp_path / "scores.json")), ("-f", "json"):
        done = subprocess.run(
            [*edgeemo, "classify", "-m", str(tiny_model_path), *output, str(clips[2]), odd],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == (content == "nothing")
        text = (tmp_path / "scores.json").read_text() if output[0] == "-o" else done.stdout
        assert [(row["label"] is None) for row in json.loads(text)] == [False, content == "nothing"]
        assert os.fsencode(json.loads(text)[1]["path"]) == odd


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_is_one_line(
    tiny_model_path: Path, clips: list[Path], edgeemo: list[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        command = [*edgeemo, "classify", "-m", str(tiny_model_path), str(clips[1])]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "edgeemo: no space left for the output; free some space or send it elsewhere\n"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_closed_pipe_ends_quietly(tiny_model_path: Path, clips: list[Path]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, "-c", "from edgeemo.cli import main; main()", "classify", "-f", "csv"]
        arguments = ["-m", str(tiny_model_path), *map(str, clips)]
        done = subprocess.run(
            [*command, *arguments], stdout=write, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(write)
    assert done.stderr == ""
    assert done.returncode == 0


def test_parquet_needs_ray(tiny_model_path: Path, clips: list[Path], tmp_path: Path) -> None:
    result = run("-m", tiny_model_path, "-o", tmp_path / "out.parquet", *clips)
    assert result.exit_code == 2
    assert "Parquet is written with --ray alone" in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "out.parquet").exists()


def test_a_microphone_that_is_much_too_quiet_is_heard() -> None:
    """40 dB below the sample, in 16 bits, as a digital microphone without gain gives it: no level decides."""
    model, voice = edgeemo.load(DEFAULT_MODEL), read_audio(sample_path(), 16000)[:48000]
    loud, quiet = (
        model.classify(np.round(voice * gain * 32767).astype(np.int16), sample_rate=16000)
        for gain in (1, 0.01)
    )
    assert quiet.reason is loud.reason is None
    assert quiet.probabilities == pytest.approx(loud.probabilities, abs=0.1)


def test_a_channel_of_a_file(tiny_model_path: Path, tmp_path: Path) -> None:
    """One party of a call, where the mean of both is silence."""
    voice = speech_like(32000, 16000)
    soundfile.write(tmp_path / "pair.wav", np.stack([voice, -voice], axis=1), 16000)
    soundfile.write(tmp_path / "one.wav", voice, 16000)

    def said(*arguments: str) -> dict[str, Any]:
        command = ["classify", "-m", str(tiny_model_path), "--any-sound", "-f", "json", *arguments]
        result = CliRunner().invoke(app, command)
        [found] = json.loads(result.stdout)
        return found

    pair, one = str(tmp_path / "pair.wav"), str(tmp_path / "one.wav")
    assert said(pair)["reason"] == "the channels cancel in their mean"
    chosen, alone = said(pair, "--channel", "1"), said(one)
    assert chosen | {"path": one} == alone
    assert chosen["label"] is not None
    assert said(pair, "--channel", "3")["error"].endswith(
        "it has 2 channels; give --channel from 1 to 2, or none"
    )
