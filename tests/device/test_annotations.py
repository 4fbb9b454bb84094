"""Corpora whose emotions are in annotation tables, on generated trees in the layout of KEMDy19 and KEMDy20."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

import numpy as np
import pytest
import soundfile
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from edgeemo.cli.data import data_command
from edgeemo.corpora.annotations import Annotation, merge, read_table
from edgeemo.corpora.labels import EMOTIONS
from edgeemo.corpora.manifest import COLUMNS, Clip, Manifest, Skipped, read_csv, scan
from edgeemo.corpora.names import ClipName, recognise
from edgeemo.errors import CorpusError

Rows = Sequence[tuple[str, str]]
"""Segment ID and final emotion, as in a table."""

RATERS = ("Eval01F", "Eval02M", "Eval03M")
SCORES = ["Emotion", "Valence", "Arousal"]


def write_table(path: Path, header: Iterable[list[str]], before: list[str], rows: Rows) -> Path:
    """A table with `before` as the cells between the number of a row and its segment ID."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(header)
        for n, (segment, emotion) in enumerate(rows, start=1):
            writer.writerow([n, *before, segment, emotion, 3.1, 2.8, *["fear", 3, 2] * len(RATERS)])
    return path


def groups(names: Iterable[str]) -> list[str]:
    """A header's first row: a name over its first column, nothing over the other two."""
    return [cell for name in names for cell in (name, "", "")]


def write_table_19(path: Path, rows: Rows) -> Path:
    first = ["Numb", "Wav", "", "ECG", "", "E4-EDA", "", "E4-TEMP", "", "Segment ID"]
    second = ["", *["start", "end"] * 4, ""]
    header = [
        first + groups(["Total Evaluation", *RATERS]),
        second + SCORES * (1 + len(RATERS)),
    ]
    return write_table(path, header, ["0.1", "2.3", "", "", "1", "2", "3", "4"], rows)


def write_table_20(path: Path, rows: Rows) -> Path:
    header = [
        ["Numb", "Wav", " ", "Segment ID", *groups(["Total Evaluation", *RATERS])],
        [" ", "start", "end", " ", *SCORES * (1 + len(RATERS))],
    ]
    return write_table(path, header, ["0.1", "2.3"], rows)


def write_noise(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(path.stem.encode()[-6:])
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, 1600), 16_000)
    return path


def write_clip(root: Path, segment: str) -> Path:
    """The clip of a segment and its transcript, where KEMDy19 or KEMDy20 has them."""
    session = root / "wav" / segment.split("_")[0].replace("Sess", "Session")
    folder = session if "User" in segment else session / segment.rpartition("_")[0]
    path = write_noise(folder / f"{segment}.wav")
    path.with_suffix(".txt").write_text("c/ 아 친구들도?\n", encoding="cp949")
    return path


SESSION_19 = [
    ("Sess01_impro04_F013", "neutral"),
    ("Sess01_impro04_M001", "disqust"),
    ("Sess01_script01_F001", "Happy"),
    ("Sess01_script01_M001", "neutral;happy"),
]
SESSION_20 = [
    ("Sess01_script01_User001F_001", "surprise"),
    ("Sess01_script01_User002M_001", "sad;neutral;angry"),
    ("Sess01_script06_User002M_014", "fear"),
]


@pytest.fixture
def kemdy19(tmp_path: Path) -> Path:
    """One session: a table of each speaker, both with all segments; bio-signals beside them."""
    root = tmp_path / "corpora" / "KEMDy19"
    for speaker in "FM":
        write_table_19(root / "annotation" / f"Session01_{speaker}_res.csv", SESSION_19)
    for segment, _ in SESSION_19:
        write_clip(root, segment)
    signal = root / "EDA" / "Session01" / "Original" / "Sess01F.csv"
    signal.parent.mkdir(parents=True)
    signal.write_text("0.31,a,b\n0.32,a,b,Sess01_impro04_F013\n")
    return root


@pytest.fixture
def kemdy20(tmp_path: Path) -> Path:
    """One session, in one table."""
    root = tmp_path / "corpora" / "KEMDy20_v1_1"
    write_table_20(root / "annotation" / "Sess01_eval.csv", SESSION_20)
    for segment, _ in SESSION_20:
        write_clip(root, segment)
    return root


def said(manifest: Manifest) -> dict[str, tuple[str, str, str, str]]:
    """What the manifest says about each clip, but for its audio."""
    return {c.path.stem: (c.emotion, c.speaker, c.session, c.sentence) for c in manifest.clips}


def reasons(manifest: Manifest) -> dict[str, str]:
    return {item.path.name: item.reason for item in manifest.skipped}


TIE = "a tie between raters: no emotion has the majority"


# --- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (
            "Sess01_impro04_F013.wav",
            ClipName("kemdy", "", "kemdy-01F", "impro04", session="kemdy19-01"),
        ),
        (
            "wav/sess20_SCRIPT06_m113.WAV",
            ClipName("kemdy", "", "kemdy-20M", "script06", session="kemdy19-20"),
        ),
        (
            "Sess36_script03_User072F_001.wav",
            ClipName("kemdy", "", "kemdy-User072", "script03", session="kemdy20-36"),
        ),
    ],
)
def test_names(path, name):
    assert recognise(PurePath(path)) == name


@pytest.mark.parametrize(
    "path",
    [
        "Sess01_impro04.wav",
        "Sess01_impro04_X013.wav",
        "Sess01_script01_User001_001.wav",
        "Sess01_impro04_F013 (1).wav",
    ],
)
def test_names_of_other_files(path):
    assert recognise(PurePath(path)) is None


# --- the two layouts -----------------------------------------------------------------------------------


def test_kemdy19(kemdy19):
    manifest = scan(kemdy19)
    assert said(manifest) == {
        "Sess01_impro04_F013": ("neutral", "kemdy-01F", "kemdy19-01", "impro04"),
        "Sess01_impro04_M001": ("disgust", "kemdy-01M", "kemdy19-01", "impro04"),
        "Sess01_script01_F001": ("happy", "kemdy-01F", "kemdy19-01", "script01"),
    }
    assert {(c.corpus, c.intensity, c.sample_rate) for c in manifest.clips} == {("kemdy", "", 16_000)}
    assert reasons(manifest) == {"Sess01_script01_M001.wav": TIE}
    assert not manifest.skipped[0].broken


def test_kemdy20(kemdy20):
    manifest = scan(kemdy20)
    assert said(manifest) == {
        "Sess01_script01_User001F_001": ("surprise", "kemdy-User001", "kemdy20-01", "script01"),
        "Sess01_script06_User002M_014": ("fear", "kemdy-User002", "kemdy20-01", "script06"),
    }
    assert reasons(manifest) == {"Sess01_script01_User002M_001.wav": TIE}


def test_both_beside_another_corpus(kemdy19, kemdy20):
    root = kemdy19.parent
    write_noise(root / "RAVDESS" / "Actor_12" / "03-01-06-01-02-01-12.wav")
    manifest = scan(root, on_error="stop")
    assert [clip.path for clip in manifest.clips] == sorted(clip.path for clip in manifest.clips)
    assert len(manifest.select(corpora=["kemdy"])) == 5
    # Both have a session 01, but not the same one.
    assert {clip.session for clip in manifest.clips} == {"kemdy19-01", "kemdy20-01", ""}
    [ravdess] = manifest.select(corpora=["ravdess"])
    assert (ravdess.emotion, ravdess.session) == ("fear", "")


def test_names_of_tables_and_case_of_clips_do_not_matter(kemdy20):
    (kemdy20 / "annotation" / "Sess01_eval.csv").rename(kemdy20 / "wav" / "labels of session 1.CSV")
    clip = kemdy20 / "wav" / "Session01" / "Sess01_script01_User001F_001.wav"
    clip.rename(clip.with_name("SESS01_SCRIPT01_USER001F_001.WAV"))
    speakers = {(clip.path.name, clip.speaker) for clip in scan(kemdy20).clips}
    assert ("SESS01_SCRIPT01_USER001F_001.WAV", "kemdy-User001") in speakers


# --- tables and files that do not match ----------------------------------------------------------------


def test_a_clip_without_annotation(kemdy19):
    write_clip(kemdy19, "Sess01_impro04_F014")
    write_clip(kemdy19, "Sess02_impro01_M001")
    skipped = {item.path.name: item for item in scan(kemdy19, on_error="stop").skipped}
    for name in ("Sess01_impro04_F014.wav", "Sess02_impro01_M001.wav"):
        assert "in no annotation table" in skipped[name].reason
        assert not skipped[name].broken


def test_clips_without_any_table(kemdy19):
    with pytest.raises(
        CorpusError, match="4 x in no annotation table: scan a folder that also holds"
    ) as caught:
        scan(kemdy19 / "wav")
    assert "KEMDy19" in str(caught.value)


def test_segments_without_a_file_are_counted_once_a_table(kemdy19):
    (kemdy19 / "wav" / "Session01" / "Sess01_impro04" / "Sess01_impro04_F013.wav").unlink()
    write_table_19(kemdy19 / "annotation" / "Session02_F_res.csv", [("Sess02_impro01_F001", "sad")])
    manifest = scan(kemdy19, on_error="stop")
    assert len(manifest.clips) == 2
    assert [item for item in manifest.skipped if item.path.suffix == ".csv"] == [
        Skipped(
            kemdy19 / "annotation" / f"{name}_res.csv",
            f"{n} segments in this annotation table have no audio file",
        )
        for name, n in [("Session01_F", "1 of 4"), ("Session01_M", "1 of 4"), ("Session02_F", "1 of 1")]
    ]


def test_tables_alone(kemdy19):
    for path in kemdy19.glob("wav/**/*.wav"):
        path.unlink()
    with pytest.raises(CorpusError, match="2 x 4 of 4 segments in this annotation table have no audio file"):
        scan(kemdy19)


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        ([("Sess01_impro04_F013", "angry")], "Session01_F_res.csv and Session01_M_res.csv"),
        ([("Sess01_impro04_M001", "sad"), ("Sess01_impro04_M001", "fear")], "Session01_M_res.csv"),
    ],
)
def test_tables_that_contradict_each_other(kemdy19, rows, where):
    write_table_19(kemdy19 / "annotation" / "Session01_M_res.csv", rows)
    if len(rows) > 1:
        write_table_19(kemdy19 / "annotation" / "Session01_F_res.csv", SESSION_19[:1])
    manifest = scan(kemdy19)
    [skipped] = [item for item in manifest.skipped if item.path.stem == rows[0][0]]
    assert skipped.reason == f"listed with different emotions in {where}"
    assert skipped.broken
    assert manifest.clips
    with pytest.raises(CorpusError, match=f"{rows[0][0]}.*listed with different emotions in {where}"):
        scan(kemdy19, on_error="stop")


@pytest.mark.parametrize(
    ("cell", "annotation"),
    [
        *((emotion, Annotation(emotion)) for emotion in EMOTIONS if emotion not in ("calm", "boredom")),
        (" Disqust ", Annotation("disgust")),
        ("sad;", Annotation("sad")),
        ("disgust;disqust", Annotation("disgust")),
        ("angry; sad", Annotation(reason=TIE)),
        ("", Annotation(reason="no emotion in its annotation table")),
        (" ; ", Annotation(reason="no emotion in its annotation table")),
        (
            "Joyful",
            Annotation(
                reason="annotated as 'joyful', expected one of neutral, happy, sad, angry, fear, disgust, surprise",
                broken=True,
            ),
        ),
    ],
)
def test_cells(tmp_path, cell, annotation):
    path = write_table_20(tmp_path / "Sess01_eval.csv", [("Sess01_script01_User001F_001", cell)])
    assert merge({path: read_table(path)}) == {"sess01_script01_user001f_001": annotation}


def test_tables_that_agree(tmp_path):
    rows = [[("Sess01_impro04_F013", cell)] for cell in ("happy;sad", "sad;happy", "")]
    paths = [write_table_19(tmp_path / f"{n}.csv", row) for n, row in enumerate(rows)]
    assert merge({path: read_table(path) for path in paths}) == {
        "sess01_impro04_f013": Annotation(reason=TIE)
    }


# --- forms of tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "lines",
    [
        ["Segment ID,Total Evaluation,,,비고", ",Emotion,Valence,Arousal,", "{},fear,3.1,2.8,아 친구들도?"],
        ["Numb,Wav,,,Total Evaluation,,비고", ",start,end,Segment ID,Emotion,,", "1,0,1,{},fear,,아"],
        ["비고,segment_id,Emotion", "아,{},fear"],
        ["비고,SegmentID,Eval01F_Emotion,Total Evaluation_Emotion", "아,{},sad,fear"],
        ["비고,Segment ID,Total Evaluation", "아, {} ,fear", "", ",,,", "아"],
    ],
    ids=["two rows", "ID in the second row", "one row", "raters first", "empty rows below"],
)
def test_forms_of_tables(tmp_path, lines, newline, encoding):
    path = tmp_path / "table.csv"
    path.write_bytes(newline.join(lines).format("Sess01_impro04_F013").encode(encoding))
    assert read_table(path) == {"sess01_impro04_f013": {"fear"}}


def test_a_row_that_is_cut_off_has_no_emotion(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("Segment ID,Emotion\nSess01_impro04_F013\n")
    assert read_table(path) == {"sess01_impro04_f013": {""}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00\x01",
        ",".join(COLUMNS).encode(),
        b"0.31,a,b,Sess01_impro04_F013\n" * 3,
        b'x,"unclosed\n' * 3,
        b"Numb,Emotion\n1,Segment ID\n\n2,x".replace(b"1,Segment ID", b"1,sad"),
    ],
)
def test_other_csv_files_are_no_tables(tmp_path, content):
    path = tmp_path / "other.csv"
    path.write_bytes(content)
    assert read_table(path) is None


def test_what_is_no_file_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "gone.csv")
    assert read_table(tmp_path / "pipe.csv") is None
    assert read_table(tmp_path / "link.csv") is None


BROKEN = {
    "no emotions": (
        b"Numb,Segment ID,Start\n1,Sess01_impro04_F013,0\n",
        "without emotions: its first line is 'Numb,Segment ID,Start', expected a column 'Total Evaluation'",
    ),
    "no segments": (b"Segment ID,Total Evaluation\n,Emotion\n", "without segments: nothing below its header"),
    "neither encoding": (b"Segment ID,Emotion\nSess01_impro04_F013,\xff\xff\n", "neither UTF-8 nor CP949"),
    "utf-16": ("Segment ID,Emotion\nSess01_impro04_F013,sad\n".encode("utf-16"), "neither UTF-8 nor CP949"),
    "not csv": (b'Segment ID,Emotion\n"Sess01_impro04_F013"x,sad\n', "line 2: not CSV"),
    "cut off": (b'Segment ID,Emotion\nSess01_impro04_F013,"sad', "line 2: not CSV"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_table_is_named_and_skipped_or_stops_the_run(kemdy20, content, reason):
    path = kemdy20 / "annotation" / "Sess02_eval.csv"
    path.write_bytes(content)
    manifest = scan(kemdy20)
    assert len(manifest.clips) == 2
    [skipped] = [item for item in manifest.skipped if item.broken]
    assert skipped.path == path
    assert reason in skipped.reason
    with pytest.raises(CorpusError, match=reason) as caught:
        scan(kemdy20, on_error="stop")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_without_permission_is_broken(kemdy20, monkeypatch):
    really_open = Path.open

    def refuse(self, *args, **kwargs):
        # The tests may run as root, whom no mode of a file stops.
        if self.name == "Sess02_eval.csv":
            raise PermissionError(13, "Permission denied", str(self))
        return really_open(self, *args, **kwargs)

    write_table_20(kemdy20 / "annotation" / "Sess02_eval.csv", [])
    monkeypatch.setattr(Path, "open", refuse)
    assert reasons(scan(kemdy20))["Sess02_eval.csv"] == "cannot be read: Permission denied"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=st.sampled_from([b"", b"Segment ID,Emotion\n", b"\xef\xbb\xbfsegment_id\n"]), rest=st.binary())
def test_any_content_is_read_or_refused(tmp_path, header, rest):
    path = tmp_path / "any.csv"
    path.write_bytes(header + rest)
    # Any other error would be a traceback in front of a user.
    with contextlib.suppress(CorpusError):
        assert read_table(path) != {}


# --- the manifest --------------------------------------------------------------------------------------


def test_csv_round_trip_with_sessions(kemdy19, kemdy20):
    path = kemdy19.parent / "manifest.csv"
    manifest = scan(kemdy19.parent)
    manifest.write_csv(path)
    assert read_csv(path).clips == manifest.clips
    assert {clip.session for clip in read_csv(path).clips} == {"kemdy19-01", "kemdy20-01"}
    # The manifest lies where the tables are looked for, and is not one of them.
    assert scan(kemdy19.parent) == manifest


def test_csv_from_before_there_were_sessions(tmp_path):
    write_noise(tmp_path / "DC_a01.wav")
    path = tmp_path / "manifest.csv"
    manifest = scan(tmp_path)
    manifest.write_csv(path)
    lines = path.read_text().splitlines()
    assert lines[0].endswith(",session")
    path.write_text("\n".join(line.rpartition(",")[0] for line in lines))
    assert read_csv(path) == manifest
    path.write_text(f"{lines[0].rpartition(',')[0]}\n{lines[1]}")
    with pytest.raises(CorpusError, match="line 2: 11 values, expected 10"):
        read_csv(path)


def test_a_clip_need_not_have_a_session():
    assert Clip(Path("/a.wav"), "savee", "sad", "savee-DC", "a01", "", 8000, 1, 1, "0" * 64).session == ""


def test_what_edgeemo_data_prints(kemdy19, kemdy20, tmp_path):
    write_noise(kemdy19.parent / "DC_a01.wav")
    write_clip(kemdy19, "Sess01_impro04_F099")
    app = typer.Typer()
    app.command()(data_command)
    arguments = [str(kemdy19.parent), "-o", str(tmp_path / "m.csv")]
    result = CliRunner(env={"COLUMNS": "120"}).invoke(app, arguments)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    cells = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in lines if "│" in line]
    assert ["kemdy", "5", "4", "0.00", "16", "mono", "licence agreement with ETRI"] in cells
    assert ["kemdy", "01F: 2, 01M: 1, User001: 1, User002: 1"] in cells
    assert ["disgust", "1", "-", "1"] in cells
    assert "sessions of kemdy: 2, 2 to 3 clips each" in lines
    assert not any(line.startswith("sessions of savee") for line in lines)
    assert "skipped: 3, of which 0 broken" in lines
    start = lines.index(f"2 x {TIE}")
    assert lines[start + 1 : start + 3] == [
        "  KEMDy19/wav/Session01/Sess01_script01/Sess01_script01_M001.wav",
        "  KEMDy20_v1_1/wav/Session01/Sess01_script01_User002M_001.wav",
    ]
    assert {clip.session for clip in read_csv(tmp_path / "m.csv").clips} == {"", "kemdy19-01", "kemdy20-01"}
