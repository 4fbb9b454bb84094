"""Recordings of one's own: class folders, tables, segments, labels, speakers that are not known."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from edgeemo.audio import clip_audio, read_audio
from edgeemo.cli import app
from edgeemo.corpora.find import find_clips, understood
from edgeemo.corpora.labels import EMOTIONS, also, as_label, listed, spelled
from edgeemo.corpora.manifest import COLUMNS, SEGMENT_COLUMNS, Manifest, read_csv, scan
from edgeemo.corpora.tables import HEADINGS, _columns
from edgeemo.errors import CorpusError
from edgeemo.evaluation.material import gather, has_heard
from support.corpora import clip
from support.evidence import training
from support.own import RATE, tone, write_class_folders


def write_clip(path: Path, n: int = 0, label: str = "joy") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(label, n), RATE)
    return path


def write_table(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# --- class folders -------------------------------------------------------------------------------------


def test_a_label_is_the_name_of_the_folder_that_a_clip_lies_in(tmp_path):
    root = write_class_folders(tmp_path / "my voice", n_clips=3)
    manifest = find_clips(root)
    assert Counter((c.emotion, c.corpus, c.speaker, c.part) for c in manifest.clips) == {
        ("happy", "my_voice", "", ""): 3,
        ("shout", "my_voice", "", ""): 3,
    }
    assert understood(manifest) == [
        "no clip of a known corpus: each clip is labelled by the name of its folder; joy counts as happy",
        "6 clips: happy 3, shout 3",
        "SPEAKERS UNKNOWN: use --protocol random (or holdout, where the data have a test part), whose score is not "
        "speaker-independent, or name them with --speaker-pattern, such as '(\\d+)_'",
    ]


def test_folders_above_say_the_part_and_wrappers_say_nothing(tmp_path):
    """As an archive unpacked twice leaves it, with what macOS puts in."""
    root = write_class_folders(tmp_path / "k", n_clips=2, parts=("Data/Train", "Data/dev/old", "Data/test"))
    write_clip(root / "__MACOSX" / "Data" / "Train" / "joy" / "s0_0.wav")
    write_clip(root / "Data" / "Train" / "joy" / "._s0_0.wav")
    shutil.copytree(root / "Data", root / "Data" / "Data")
    manifest = find_clips(root)
    assert Counter((clip.part, clip.emotion) for clip in manifest.clips) == {
        (part, label): 2 for part in ("train", "validation", "test") for label in ("happy", "shout")
    }
    assert len(manifest.copies()) == 12
    assert not any(item.broken for item in manifest.skipped)
    assert sum("macOS" in item.reason for item in manifest.skipped) == 3
    assert "parts: test 4, train 4, validation 4; --protocol holdout tests on the test part" in understood(
        manifest
    )


@pytest.mark.parametrize(
    ("folders", "labels", "others"),
    [
        (("happy/anna", "happy/ben", "shout/anna"), {"happy": 2, "shout": 1}, "anna, ben"),
        (("anna/happy", "ben/shout", "ben/happy"), {"happy": 2, "shout": 1}, "anna, ben"),
        (("happy", "shout/anna/loud"), {"happy": 1, "shout": 1}, "anna, loud"),
        (("all/anger/high", "all/anger/low", "all/sad/high"), {"angry": 2, "sad": 1}, "all, high, low"),
        (("train/happy/anna", "Test/shout/ben", "happy/test"), {"happy": 2, "shout": 1}, "anna, ben"),
        # No emotion says which folders are labels.
        (("shout/anna", "shout/ben", "whisper/anna"), {"anna": 2, "ben": 1}, "shout, whisper"),
        (("anna/shout", "anna/whisper", "ben/shout"), {"shout": 2, "whisper": 1}, "anna, ben"),
    ],
)
def test_labels_are_beside_emotions_and_other_folders_are_named(tmp_path, folders, labels, others):
    for n, folder in enumerate(folders):
        write_clip(tmp_path / "k" / folder / "x.wav", n)
    manifest = find_clips(tmp_path / "k")
    assert Counter(clip.emotion for clip in manifest.clips) == labels
    assert understood(manifest)[0].endswith(f"; no labels: {others}")
    assert [clip.part for clip in manifest.clips if "est" in str(clip.path.relative_to(tmp_path))] == [
        "test"
    ] * sum("est" in folder for folder in folders)


def test_clips_in_no_class_are_counted(tmp_path):
    root = write_class_folders(tmp_path / "k", n_clips=1)
    write_clip(root / "intro.wav", 1)
    write_clip(root / "test" / "x.wav", 2)
    manifest = find_clips(root)
    assert len(manifest.clips) == 2
    assert {item.path.name: item.reason for item in manifest.skipped} == {
        "intro.wav": "in no folder that is named by a label",
        "x.wav": "in no folder that is named by a label",
    }


@pytest.mark.parametrize(
    ("files", "seen"),
    [
        (["x.wav", "y.wav"], "only 2 audio files; sort"),
        (["happy/x.wav", "happy/y.wav"], "only 2 audio files, in folders happy (2); sort"),
        (["joy/x.wav", "happy/y.wav"], "only 2 audio files, in folders happy (1), joy (1); sort"),
        (["train/x.wav", "test/y.wav"], "only 2 audio files; sort"),
    ],
)
def test_fewer_than_two_classes_say_what_was_seen(tmp_path, files, seen):
    for n, name in enumerate(files):
        write_clip(tmp_path / name, n)
    with pytest.raises(CorpusError) as caught:
        find_clips(tmp_path)
    assert seen in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_known_corpus_beside_own_folders_stays_known(tmp_path):
    root = write_class_folders(tmp_path / "k", n_clips=2)
    write_clip(root / "Actor_01" / "03-01-03-01-01-01-01.wav", 50)
    manifest = find_clips(root)
    assert [clip.corpus for clip in manifest.clips] == ["ravdess"]
    assert manifest == scan(root)
    assert understood(manifest) == []


def test_a_corpus_of_ones_own_is_never_called_like_a_known_one(tmp_path):
    root = write_class_folders(tmp_path / "ravdess", n_clips=1)
    assert {clip.corpus for clip in find_clips(root).clips} == {"own_ravdess"}


def test_a_broken_clip_is_skipped_or_stops(tmp_path):
    root = write_class_folders(tmp_path / "k", n_clips=1)
    (root / "joy" / "broken.wav").write_bytes(b"")
    (item,) = find_clips(root).skipped
    assert (item.reason, item.broken) == ("empty file", True)
    with pytest.raises(CorpusError, match="empty file"):
        find_clips(root, on_error="stop")


# --- tables --------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(seed=st.integers(0, 2**32))
def test_headings_in_any_case_and_punctuation(seed):
    random = Random(seed)
    expected = {}
    for what, names in HEADINGS.items():
        if what in ("path", "label") or random.random() < 0.5:
            name = random.choice([str.upper, str.title, str.lower])(random.choice(names))
            i = random.randint(0, len(name))
            expected[what] = name[:i] + random.choice(["", "_", " ", "-", "."]) + name[i:]
    heading = [*expected.values(), "notes"]
    random.shuffle(heading)
    assert _columns(heading) == expected


def test_a_table_with_everything(tmp_path):
    long = np.concatenate([tone("joy", 1, 1.0), tone("shout", 2, 1.0)])
    soundfile.write(tmp_path / "long.wav", long, RATE)
    write_clip(tmp_path / "clips" / "a.wav", 3)
    table = write_table(
        tmp_path / "mine.csv",
        "File Name,Emotion,Speaker ID,Start,end_s,Set,corpus,notes",
        "long.wav,Joy,anna,0.25,1.0,Train,one,",
        "long.wav,shout,anna,1.0,,test,one,x",
        "clips/a.wav,Angry,,,,dev,,",
    )
    manifest = find_clips(table)
    said = [(c.path.name, c.corpus, c.emotion, c.speaker, c.start_s, c.end_s, c.part) for c in manifest.clips]
    assert said == [
        ("a.wav", "mine", "angry", "", 0, None, "validation"),
        ("long.wav", "one", "happy", "one-anna", 0.25, 1.0, "train"),
        ("long.wav", "one", "shout", "one-anna", 1.0, None, "test"),
    ]
    assert [clip.duration_s for clip in manifest.clips] == [0.4, 0.75, 1.0]
    reading, words, counts, speakers, parts = understood(manifest)
    assert reading == (
        f"{table}: read 'File Name' as path, 'Emotion' as label, 'Speaker ID' as speaker, 'Start' as start_s, "
        "'end_s' as end_s, 'Set' as split, 'corpus' as corpus; not used: notes"
    )
    assert words == "Angry counts as angry, Joy counts as happy"
    assert counts == "3 clips: angry 1, happy 1, shout 1"
    assert speakers.startswith("SPEAKERS UNKNOWN of 1 of 3 clips: use --protocol random")
    assert parts.startswith("parts: test 1, train 1, validation 1")

    manifest.write_csv(tmp_path / "m" / "manifest.csv")
    assert (tmp_path / "m" / "manifest.csv").read_text().splitlines()[0] == ",".join(
        COLUMNS + SEGMENT_COLUMNS
    )
    again = find_clips(tmp_path / "m" / "manifest.csv")
    assert again.clips == manifest.clips
    assert understood(again)[0] == counts


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3"])
def test_a_segment_sounds_as_the_file_that_is_cut_out(tmp_path, suffix):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / f"long{suffix}", rng.uniform(-0.5, 0.5, 700_000), 44_100)
    decoded, _ = soundfile.read(tmp_path / f"long{suffix}", dtype="float32")
    first, last = round(1.2345 * 44_100), round(11.5 * 44_100)
    soundfile.write(tmp_path / "cut.wav", decoded[first:last], 44_100, subtype="FLOAT")
    lines = [f"long{suffix},1.2345,11.5,sad", "cut.wav,,,sad"]
    cut, segment = find_clips(write_table(tmp_path / "t.csv", "path,start,end,label", *lines)).clips
    assert (segment.sha256, segment.n_samples) == (cut.sha256, cut.n_samples)
    for rate in (44_100, 16_000):
        np.testing.assert_array_equal(clip_audio(segment, rate), read_audio(cut.path, rate))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".ogg"])
def test_segments_anywhere(tmp_path, suffix):
    """Wherever they begin and end, on two channels, at three rates."""
    rng = np.random.default_rng(1)
    n_samples, rate = 300_000, 22_050
    soundfile.write(tmp_path / f"x{suffix}", rng.uniform(-0.5, 0.5, (n_samples, 2)), rate)
    decoded, _ = soundfile.read(tmp_path / f"x{suffix}", dtype="float32")
    bounds = np.sort(rng.integers(0, n_samples, (12, 2)))
    bounds[0] = 0, n_samples
    bounds[1] = n_samples - 1, n_samples
    lines = []
    for n, (first, last) in enumerate(bounds):
        soundfile.write(tmp_path / f"{n}.wav", decoded[first:last], rate, subtype="FLOAT")
        lines += [f"x{suffix},{first / rate},{last / rate},x{n}", f"{n}.wav,,,x{n}"]
    clips = find_clips(write_table(tmp_path / "t.csv", "path,start,end,label", *lines)).clips
    cut = {clip.emotion: clip for clip in clips if clip.end_s is None}
    segments = [clip for clip in clips if clip.end_s is not None]
    assert len(segments) == len(cut) == len(bounds)
    for segment in segments:
        other = cut[segment.emotion]
        assert (segment.sha256, segment.n_samples) == (other.sha256, other.n_samples)
        for to_rate in (rate, 16_000, 48_000):
            np.testing.assert_array_equal(clip_audio(segment, to_rate), read_audio(other.path, to_rate))


def test_what_lies_before_a_segment_is_not_read(tmp_path):
    """Nor decoded: thousands of segments of a long recording are read once each."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000).astype(np.float32)
    samples[100] = np.nan
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="FLOAT")
    table = write_table(tmp_path / "t.csv", "path,start,end,label", "x.wav,1,2,a", "x.wav,0,1,b")
    manifest = find_clips(table)
    (clip,) = manifest.clips
    np.testing.assert_array_equal(clip_audio(clip, 16_000), samples[16_000:32_000])
    assert [item.reason for item in manifest.skipped] == ["NaN or infinite samples"]


def test_a_segment_of_a_stream_of_unknown_length(tmp_path):
    """As recorders write FLAC into a pipe: no place in it is known."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000)
    soundfile.write(tmp_path / "x.flac", samples, 16_000)
    content = bytearray((tmp_path / "x.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path / "pipe.flac").write_bytes(content)
    lines = [f"{name}.flac,1,2,{name}" for name in ("pipe", "x")]
    pipe, known = find_clips(write_table(tmp_path / "t.csv", "path,start,end,label", *lines)).clips
    assert pipe.sha256 == known.sha256
    np.testing.assert_array_equal(clip_audio(pipe, 16_000), clip_audio(known, 16_000))


def test_a_clip_that_is_a_whole_file_is_read_as_ever(tmp_path):
    (clip,) = scan(write_clip(tmp_path / "DC_a01.wav").parent).clips
    np.testing.assert_array_equal(clip_audio(clip, 16_000), read_audio(clip.path, 16_000))


def test_other_formats_of_a_table(tmp_path):
    for n in range(2):
        write_clip(tmp_path / f"{n}.wav", n)
    rows = [("0.wav", "sad"), ("1.wav", "glad")]
    write_table(tmp_path / "t.tsv", "path\tlabel", *("\t".join(row) for row in rows))
    write_table(tmp_path / "s.csv", "\ufeffpath;label", *(";".join(row) for row in rows))
    lines = [json.dumps({"file_name": path, "label": label}) for path, label in rows]
    write_table(tmp_path / "j.jsonl", *lines)
    for name in ("t.tsv", "s.csv", "j.jsonl"):
        assert [clip.emotion for clip in find_clips(tmp_path / name).clips] == ["sad", "glad"]


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for n in range(2):
        write_clip(tmp_path / f"{n}.wav", n)
    columns = {"path": ["0.wav", "1.wav"], "label": ["sad", "glad"], "start": [0.1, None]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    assert [(c.emotion, c.start_s) for c in find_clips(tmp_path / "t.parquet").clips] == [
        ("sad", 0.1),
        ("glad", 0),
    ]
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match="not a Parquet file"):
        find_clips(tmp_path / "t.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"x")
    with pytest.raises(CorpusError, match="needs pyarrow: pip install pyarrow, or save it as CSV"):
        find_clips(tmp_path / "t.parquet")


def test_an_audio_folder_of_hugging_face(tmp_path):
    for part in ("train", "test"):
        for n in range(2):
            write_clip(tmp_path / "hub" / part / f"{n}.wav", n + 10 * (part == "test"))
        write_table(
            tmp_path / "hub" / part / "metadata.csv",
            "file_name,label,split",
            f"0.wav,a,{part}",
            f"1.wav,b,{part}",
        )
    manifest = find_clips(tmp_path / "hub")
    assert Counter((clip.corpus, clip.emotion, clip.part) for clip in manifest.clips) == {
        ("hub", label, part): 1 for label in "ab" for part in ("train", "test")
    }


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["path,file,label", "a,b,c"],
            "the columns 'path' and 'file' can both be the path; rename or remove one",
        ),
        (["path,Label,emotion", "a,b,c"], "the columns 'Label' and 'emotion' can both be the label"),
        (
            ["path,mood", "0.wav,sad"],
            "no column for the label (label, emotion, class, category, target); its",
        ),
        (["name,label", "0.wav,sad"], "no column for the path (path, file, filename, wav, audio, filepath)"),
        (["path,label,path", "0.wav,sad,x"], "two columns 'path'"),
        (["path,label", "0.wav"], "line 2: 1 values, expected 2"),
        (["path,label", ",sad"], "line 2: no path"),
        (["path,label", '"0"x,sad'], "line 2: not CSV"),
        (["path,label,start", "0.wav,sad,soon"], "line 2: start_s 'soon', expected seconds from the start"),
        (["path,label,start,end", "0.wav,sad,1,1"], "line 2: end_s '1', expected more than start_s, 1"),
        (
            ["path,label,split", "0.wav,sad,7"],
            "line 2: split '7', expected train, validation, test or nothing",
        ),
        (["path,label", "0.wav,sad", "0.wav,glad"], "line 3: '0.wav' occurs twice"),
        (["path,label"], "lists no clip that can be read; it has no rows"),
        (["path,label", "gone.wav,sad"], "gone.wav': cannot be read: No such file or directory"),
        (["path,label", "0.wav,"], "0.wav': no label in its table"),
        (["path,label,start", "0.wav,sad,9"], "a segment from 9 s to its end, but the file lasts 0.4 s"),
        (["path,label,end", "0.wav,sad,9"], "a segment from 0 s to 9 s, but the file lasts 0.4 s"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_one_line(tmp_path, lines, message):
    write_clip(tmp_path / "0.wav")
    with pytest.raises(CorpusError) as caught:
        find_clips(write_table(tmp_path / "t.csv", *lines))
    assert message in str(caught.value)
    assert "t.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1: not JSON"),
        ("[1]", "line 1: expected an object"),
        (
            '{"file_name": {"bytes": 1}, "label": "a"}',
            "line 1: 'file_name' is a dict, expected text or a number",
        ),
    ],
)
def test_lines_of_json_that_are_no_table(tmp_path, content, message):
    with pytest.raises(CorpusError, match=message.replace("[", r"\[")):
        find_clips(write_table(tmp_path / "t.jsonl", content))


# --- labels --------------------------------------------------------------------------------------------


def test_labels_of_ones_own():
    assert [spelled(word) for word in (" Joy", "ANGER", "Surprised", "My Mood ")] == [
        "happy",
        "angry",
        "surprise",
        "My Mood",
    ]
    labels = listed(["anger", "Mood"])
    assert (labels.index("angry"), labels.index("Mood"), labels.index("happy")) == (0, 1, None)
    assert also(labels, {"joy": "Mood"}).index("happy") == 1
    assert as_label("angry", ["Mood", "anger"]) == "anger"
    assert as_label("calm", ["neutral"]) == "neutral"
    assert as_label("joyless", ["neutral"]) is None
    assert all(spelled(emotion) == emotion for emotion in EMOTIONS)


def test_what_has_no_label_is_counted(tmp_path):
    manifest = find_clips(write_class_folders(tmp_path / "k", n_clips=2))
    assert "left out, having no label of the recipe: shout 2" in understood(manifest, listed(["joy", "rage"]))


# --- speakers ------------------------------------------------------------------------------------------


def test_speakers_from_a_pattern_go_into_the_manifest(tmp_path):
    root = write_class_folders(tmp_path / "mine", n_clips=4)
    manifest = find_clips(root, speaker_pattern=r"(s\d+)_")
    assert {clip.speaker for clip in manifest.clips} == {"mine-s0", "mine-s1", "mine-s2", "mine-s3"}
    assert "4 speakers" in understood(manifest)
    result = CliRunner(env={"COLUMNS": "100"}).invoke(
        app, ["data", str(root), "-o", str(tmp_path / "m.csv"), "--speaker-pattern", r"(s\d+)_"]
    )
    assert result.exit_code == 0, result.output
    assert "4 speakers" in result.stdout.splitlines()
    assert read_csv(tmp_path / "m.csv") == Manifest(manifest.clips)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "is not a regular expression"),
        (r"\d+", "has 0 groups, expected one"),
        (r"(\d)(\d)", "has 2 groups, expected one"),
        (r"(actor\d+)", r"finds no speaker in 2 paths, such as 'joy/s0_0\.wav'"),
    ],
)
def test_patterns_that_find_nobody(tmp_path, pattern, message):
    root = write_class_folders(tmp_path / "mine", n_clips=1)
    with pytest.raises(CorpusError, match=message):
        find_clips(root, speaker_pattern=pattern)


def test_data_shows_what_it_understood(tmp_path):
    root = write_class_folders(tmp_path / "mine", n_clips=2)
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["data", str(root), "-o", str(tmp_path / "m.csv")])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[: len(understood(find_clips(root)))] == understood(find_clips(root))
    assert any("your own" in line and "unknown" in line for line in lines)
    assert (tmp_path / "m.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    assert read_csv(tmp_path / "m.csv").clips == find_clips(root).clips


def test_a_singer_was_heard_where_the_speech_was_trained_on():
    made = training(corpora=("ravdess",), test_speakers=("ravdess-02",))
    song = clip(1, corpus="ravdess_song", speaker="ravdess-01")
    assert has_heard(made, song)
    assert not has_heard(made, dataclasses.replace(song, speaker="ravdess-02"))
    assert not has_heard(made, clip(2, corpus="tess", speaker="tess-OAF"))


def test_a_model_is_judged_by_the_labels_that_it_was_trained_on(tmp_path):
    """Also where its recipe mapped the data's labels to others."""
    root = write_class_folders(tmp_path / "mine", n_clips=2)
    made = training(corpora=("other",), recipe={"labels": {"joy": "good"}})
    said: list[str] = []
    material = gather(root, ("good", "Shout"), [made], heard_too=False, notice=said.append)
    assert Counter(material.truth.tolist()) == {0: 2}
    assert material.left_out == {"shout: not a label of the model": 2}
    assert said == understood(find_clips(root))
    assert (material.n_speakers, material.over_speakers) == (0, False)


def test_clips_of_nobody_known_may_have_been_heard(tmp_path):
    root = write_class_folders(tmp_path / "mine", n_clips=1)
    made = training(corpora=("mine",), train_speakers=(), test_speakers=())
    with pytest.raises(
        CorpusError, match="2 x mine: its speaker is unknown, and may have been heard in training"
    ):
        gather(root, ("happy", "shout"), [made], heard_too=False)


# --- IEMOCAP -------------------------------------------------------------------------------------------


def test_iemocap_by_its_documented_layout(tmp_path):
    root = tmp_path / "IEMOCAP_full_release"
    codes = {"F000": "neu", "F001": "exc", "F002": "fru", "F003": "xxx", "M000": "oth", "M001": "ang"}
    for n, name in enumerate(codes):
        write_clip(root / f"Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_{name}.wav", n)
    write_clip(root / "Session1/dialog/wav/Ses01F_impro01.wav", 20)
    write_table(
        root / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt",
        "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]",
        "",
        *(
            f"[6.2901 - 8.2357]\tSes01F_impro01_{name}\t{code}\t[2.5, 2.5, 2.5]"
            for name, code in codes.items()
        ),
        "C-E2:\tNeutral;\t()",
    )
    write_table(
        root / "Session1/dialog/transcriptions/Ses01F_impro01.txt",
        "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.",
    )
    manifest = find_clips(root, on_error="stop")
    assert {(c.path.stem[-4:], c.emotion, c.speaker, c.session) for c in manifest.clips} == {
        ("F000", "neutral", "iemocap-1F", "iemocap-1"),
        ("F001", "happy", "iemocap-1F", "iemocap-1"),
        ("F002", "frustration", "iemocap-1F", "iemocap-1"),
        ("M001", "angry", "iemocap-1M", "iemocap-1"),
    }
    assert Counter(item.reason for item in manifest.skipped) == {
        "no emotion has a majority of the raters": 1,
        "annotated as another emotion than those asked for": 1,
        "IEMOCAP dialogue: only its sentences are used": 1,
    }
