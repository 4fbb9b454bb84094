"""The corpora: names, label maps, scanning, duplicates, CSV."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections import Counter
from pathlib import Path, PurePath

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from edgeemo.corpora.find import find_clips
from edgeemo.corpora.labels import EMOTIONS, FASHION_MNIST_CLASSES, FER2013_CLASSES, LABEL_MAPS
from edgeemo.corpora.manifest import (
    COLUMNS,
    SEGMENT_COLUMNS,
    Clip,
    Manifest,
    Skipped,
    read_csv,
    scan,
)
from edgeemo.corpora.names import CORPORA, ClipName, Unwanted, is_of, recognise
from edgeemo.errors import CorpusError, OutputError


def write_noise(
    path: Path,
    seed: int,
    *,
    sample_rate: int = 16_000,
    n_samples: int = 800,
    n_channels: int = 1,
    subtype: str = "PCM_16",
) -> Path:
    """A short file of noise; another `seed` gives other samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = np.random.default_rng(seed).uniform(-0.5, 0.5, (n_samples, n_channels)).astype(np.float32)
    soundfile.write(path, audio, sample_rate, subtype=subtype, format=path.suffix[1:].upper())
    return path


def reasons(manifest: Manifest) -> dict[str, str]:
    return {item.path.name: item.reason for item in manifest.skipped}


# --- names ---------------------------------------------------------------------------------------------

NAMES = {
    "03-01-06-01-02-01-12.wav": ClipName("ravdess", "fear", "ravdess-12", "02", "normal"),
    "a/b c/Actor_24/03-01-08-02-01-02-24.FLAC": ClipName("ravdess", "surprise", "ravdess-24", "01", "strong"),
    "03-02-06-01-02-01-12.wav": ClipName("ravdess_song", "fear", "ravdess-12", "02", "normal"),
    "Ses01F_impro01_M003.wav": ClipName("iemocap", "", "iemocap-1M", "impro01", session="iemocap-1"),
    "Ses05M_script03_2b_F000.wav": ClipName("iemocap", "", "iemocap-5F", "script03_2b", session="iemocap-5"),
    "OAF_back_angry.wav": ClipName("tess", "angry", "tess-OAF", "back"),
    "yaf_BACK_Ps.WAV": ClipName("tess", "surprise", "tess-YAF", "back"),
    "OAF_tell_pleasant_surprise.flac": ClipName("tess", "surprise", "tess-OAF", "tell"),
    "OAF_neutral/OA_bite_neutral.wav": ClipName("tess", "neutral", "tess-OAF", "bite"),
    "YAF_Pleasant_Surprised/x/YAF_tell.wav": ClipName("tess", "surprise", "tess-YAF", "tell"),
    "DC_a01.wav": ClipName("savee", "angry", "savee-DC", "a01"),
    "ALL/kl_SU15.wav": ClipName("savee", "surprise", "savee-KL", "su15"),
    "AudioData/DC/sa03.wav": ClipName("savee", "sad", "savee-DC", "sa03"),
    "DC/je/Audio/n30.WAV": ClipName("savee", "neutral", "savee-JE", "n30"),
    "wav/03a01Fa.wav": ClipName("emodb", "happy", "emodb-03", "a01"),
    "16B10LB.WAV": ClipName("emodb", "boredom", "emodb-16", "b10"),
    "1001_DFA_ANG_XX.wav": ClipName("crema_d", "angry", "crema_d-1001", "DFA"),
    "1091_ieo_hap_hi.wav": ClipName("crema_d", "happy", "crema_d-1091", "IEO", "high"),
    "samples/WR0_surprised_64.wav": ClipName("nemo", "surprise", "nemo-WR0", "64"),
    "mk0_HAPPINESS_7.flac": ClipName("nemo", "happy", "nemo-MK0", "7"),
    "1040_ITH_SAD_X.wav": ClipName("crema_d", "sad", "crema_d-1040", "ITH"),
}


@pytest.mark.parametrize("path", NAMES)
def test_names_of_the_corpora(path):
    assert recognise(PurePath(path)) == NAMES[path]


@pytest.mark.parametrize(
    "path",
    [
        "speech.wav",
        "03-01-09-01-02-01-12.wav",  # no ninth emotion
        "03-01-06-01-02-01-25.wav",  # no actor 25
        "03-01-06-01-02-01-12 (1).wav",
        "._03-01-06-01-02-01-12.wav",  # macOS puts these beside the files of a zip
        "OAF_back.wav",  # no emotion, in the name or above it
        "OAF_back_bored.wav",
        "a01.wav",  # no speaker, in the name or above it
        "XX_a01.wav",
        "17a01Fa.wav",
        "03a01Xa.wav",
        "1092_DFA_ANG_XX.wav",
        "1000_DFA_ANG_XX.wav",
        "1001_DFA_BOR_XX.wav",
        "WR0_surprise_64.wav",
        "WR_surprised_64.wav",
        "٠٣-01-06-01-02-01-12.wav",  # digits, but not ASCII ones
    ],
)
def test_names_of_no_corpus(path):
    assert recognise(PurePath(path)) is None


def test_videos_and_dialogues_say_why_they_are_left_out():
    for name, corpus, word in [
        ("01-01-06-01-02-01-12.wav", "ravdess", "video"),
        ("02-02-06-01-02-01-12.wav", "ravdess_song", "video"),
        ("dialog/wav/Ses01F_impro01.wav", "iemocap", "dialogue"),
    ]:
        unwanted = recognise(PurePath(name))
        assert isinstance(unwanted, Unwanted)
        assert unwanted.corpus == corpus
        assert word in unwanted.reason


RAVDESS_CODES = {f"{n:02}": emotion for n, emotion in enumerate(LABEL_MAPS["ravdess8"].labels, start=1)}
SAVEE_CODES = {
    "a": "angry",
    "d": "disgust",
    "f": "fear",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprise",
}
NEMO_CODES = {
    "anger": "angry",
    "fear": "fear",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprise",
}
EMODB_CODES = {
    "W": "angry",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
CREMA_D_CODES = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
TESS_CODES = {e: e for e in ("angry", "disgust", "fear", "happy", "neutral", "sad")} | {"ps": "surprise"}


NAMED_BY_FOLDERS = {"wake_words", "coffee_commands"}


@st.composite
def stems_and_names(draw) -> tuple[str, ClipName]:
    """The stem of a file of any corpus, and what it has to be read as."""
    corpus = draw(st.sampled_from(sorted(CORPORA.keys() - NAMED_BY_FOLDERS)))
    two_digits = st.integers(0, 99).map("{:02}".format)
    if corpus in ("ravdess", "ravdess_song"):
        code, actor = draw(st.sampled_from(sorted(RAVDESS_CODES))), draw(st.integers(1, 24))
        strong, statement, repetition = draw(st.booleans()), draw(st.integers(1, 2)), draw(st.integers(1, 2))
        channel = "01" if corpus == "ravdess" else "02"
        stem = f"03-{channel}-{code}-{1 + strong:02}-{statement:02}-{repetition:02}-{actor:02}"
        intensity = "strong" if strong else "normal"
        name = (RAVDESS_CODES[code], f"ravdess-{actor:02}", f"{statement:02}", intensity)
    elif corpus == "tess":
        speaker, code = draw(st.sampled_from(["OAF", "YAF"])), draw(st.sampled_from(sorted(TESS_CODES)))
        word = draw(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8))
        stem, name = f"{speaker}_{word}_{code}", (TESS_CODES[code], f"tess-{speaker}", word, "")
    elif corpus == "savee":
        speaker = draw(st.sampled_from(["DC", "JE", "JK", "KL"]))
        code, number = draw(st.sampled_from(sorted(SAVEE_CODES))), draw(two_digits)
        stem = f"{speaker}_{code}{number}"
        name = (SAVEE_CODES[code], f"savee-{speaker}", f"{code}{number}", "")
    elif corpus == "kemdy":
        session, number = draw(st.integers(1, 40)), draw(st.integers(1, 200))
        part = draw(st.sampled_from(["impro", "script"])) + draw(two_digits)
        sex, user = draw(st.sampled_from("FM")), draw(st.integers(0, 80))
        if user:
            stem = f"Sess{session:02}_{part}_User{user:03}{sex}_{number:03}"
            name = ("", f"kemdy-User{user:03}", part, "", f"kemdy20-{session:02}")
        else:
            stem = f"Sess{session:02}_{part}_{sex}{number:03}"
            name = ("", f"kemdy-{session:02}{sex}", part, "", f"kemdy19-{session:02}")
    elif corpus == "iemocap":
        session, sex, markers = (
            draw(st.integers(1, 5)),
            draw(st.sampled_from("FM")),
            draw(st.sampled_from("FM")),
        )
        dialogue = draw(st.sampled_from(["impro01", "impro05a", "script01_1", "script03_2b"]))
        stem = f"Ses{session:02}{markers}_{dialogue}_{sex}{draw(st.integers(0, 200)):03}"
        name = ("", f"iemocap-{session}{sex}", dialogue, "", f"iemocap-{session}")
    elif corpus == "nemo":
        speaker, number = draw(st.sampled_from(["WR0", "KD0"])), draw(st.integers(1, 90))
        code = draw(st.sampled_from(sorted(NEMO_CODES)))
        stem, name = f"{speaker}_{code}_{number}", (NEMO_CODES[code], f"nemo-{speaker}", str(number), "")
    elif corpus == "emodb":
        speaker, text = draw(st.integers(3, 16)), draw(st.sampled_from("ab")) + draw(two_digits)
        code, version = draw(st.sampled_from(sorted(EMODB_CODES))), draw(st.sampled_from(["", *"abcdef"]))
        stem = f"{speaker:02}{text}{code}{version}"
        name = (EMODB_CODES[code], f"emodb-{speaker:02}", text, "")
    else:
        speaker, code = draw(st.integers(1001, 1091)), draw(st.sampled_from(sorted(CREMA_D_CODES)))
        sentence = draw(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3))
        levels = {"LO": "low", "MD": "medium", "HI": "high", "XX": ""}
        level = draw(st.sampled_from(sorted(levels)))
        stem = f"{speaker}_{sentence}_{code}_{level}"
        name = (CREMA_D_CODES[code], f"crema_d-{speaker}", sentence, levels[level])
    return stem, ClipName(corpus, *name)


FOLDERS = st.lists(st.text("abcXYZ 01_-.é", min_size=1, max_size=6), max_size=4)


@given(
    case=stems_and_names(), folders=FOLDERS, how=st.sampled_from([str, str.upper, str.lower, str.swapcase])
)
def test_a_name_is_read_back_in_any_folder_case_and_suffix(case, folders, how):
    stem, name = case
    for suffix in (".wav", ".WAV", ".Flac"):
        path = PurePath(*folders, how(stem) + suffix)
        assert recognise(path) == name
        assert [key for key, corpus in CORPORA.items() if corpus.parse(path) is not None] == [name.corpus]


@given(stem=st.text(st.characters(exclude_characters="/\0", exclude_categories=()), min_size=1, max_size=24))
def test_any_name_is_read_or_refused_without_an_error(stem):
    parsed = recognise(PurePath("DC") / f"{stem}.wav")
    if isinstance(parsed, ClipName):
        assert parsed.emotion in EMOTIONS or parsed.corpus in ("kemdy", "iemocap")
        assert is_of(parsed.speaker, parsed.corpus)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("x/audio/alexa/12.flac", ("wake_words", "wake_words-alexa-12", "alexa")),
        (
            "audio/View Glass/0386DA81-9db7-499c-b4f8-910beec53c23.wav",
            ("wake_words", "wake_words-view glass-0386da81", "view glass"),
        ),
        (
            "speech/noisy_6db/79256bc0-1729-4b22-acbc-7c8da2a63b83.wav",
            (
                "coffee_commands",
                "coffee_commands-79256bc0",
                "79256bc0-1729-4b22-acbc-7c8da2a63b83",
            ),
        ),
    ],
)
def test_ordinary_speech_is_named_by_its_folders(path: str, name: tuple[str, str, str]) -> None:
    corpus, speaker, sentence = name
    assert recognise(PurePath(path)) == ClipName(corpus, "neutral", speaker, sentence)


@pytest.mark.parametrize(
    "path",
    ["12.flac", "alexa/12.flac", "audio/12.flac", "audio/alexa/alexa.flac", "audio/alexa/1234.flac",
     "79256bc0-1729-4b22-acbc-7c8da2a63b83.wav", "x/noise/79256bc0-1729-4b22-acbc-7c8da2a63b83.wav"],
)  # fmt: skip
def test_numbers_elsewhere_are_no_ordinary_speech(path: str) -> None:
    assert recognise(PurePath(path)) is None


def test_every_corpus_has_an_example_that_it_reads():
    for key, corpus in CORPORA.items():
        assert key == corpus.name
        for example in corpus.example.split(" or "):
            parsed = corpus.parse(PurePath(example))
            assert isinstance(parsed, ClipName)
            assert parsed.corpus == key


# --- label maps ----------------------------------------------------------------------------------------


def test_label_maps_are_the_published_ones():
    assert LABEL_MAPS["ravdess8"].labels == (
        "neutral",
        "calm",
        "happy",
        "sad",
        "angry",
        "fear",
        "disgust",
        "surprise",
    )
    assert LABEL_MAPS["published7"].labels == (
        "neutral",
        "angry",
        "disgust",
        "fear",
        "happy",
        "sad",
        "surprise",
    )


@pytest.mark.parametrize("label_map", LABEL_MAPS.values(), ids=LABEL_MAPS)
def test_label_maps_are_consistent(label_map):
    assert LABEL_MAPS[label_map.name] is label_map
    images = {"fashion10": FASHION_MNIST_CLASSES, "fer7": FER2013_CLASSES}
    if classes := images.get(label_map.name):
        assert label_map.labels == classes
        assert label_map.of == {name: name for name in classes}
    else:
        assert set(label_map.of) <= set(EMOTIONS)
    assert set(label_map.of.values()) == set(label_map.labels)
    assert {label_map.index(emotion) for emotion in label_map.of} == set(range(len(label_map.labels)))
    assert label_map.index("boredom") is None
    hash(label_map)


def test_calm_is_neutral_in_the_published_map_only():
    published, ravdess = LABEL_MAPS["published7"], LABEL_MAPS["ravdess8"]
    assert published.index("calm") == published.index("neutral") == 0
    assert (ravdess.index("neutral"), ravdess.index("calm")) == (0, 1)
    for emotion in published.labels[1:]:
        assert published.labels[published.index(emotion)] == emotion


# --- scanning ------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """All five corpora in one folder: odd nesting, case, formats, rates, channels; and a text file."""
    root = tmp_path / "corpora"
    write_noise(root / "RAVDESS (1)" / "x" / "Actor_07" / "03-01-02-01-02-01-07.WAV", 1, sample_rate=48_000)
    write_noise(root / "RAVDESS (1)" / "03-01-05-02-01-02-08.wav", 2, sample_rate=48_000, n_channels=2)
    write_noise(
        root / "tess" / "TESS data" / "OAF_Pleasant_surprise" / "oaf_back_ps.wav", 3, sample_rate=24_414
    )
    write_noise(root / "savee" / "AudioData" / "DC" / "a01.wav", 4, sample_rate=44_100)
    write_noise(root / "savee" / "ALL" / "KL_su02.flac", 5, sample_rate=44_100, subtype="PCM_24")
    write_noise(root / "03a01La.wav", 6, sample_rate=8_000)
    write_noise(root / "AudioWAV" / "1001_DFA_ANG_XX.FLAC", 7, n_samples=16_000)
    write_noise(root / "AudioWAV" / "1002_IEO_SAD_LO.wav", 8, subtype="FLOAT")
    (root / "savee" / "Info.txt").write_text("not audio, and not counted")
    return root


def test_scan_finds_all_corpora(mixed):
    manifest = scan(mixed)
    assert manifest.skipped == ()
    assert [clip.path for clip in manifest.clips] == sorted(clip.path for clip in manifest.clips)
    assert {
        (c.corpus, c.speaker, c.emotion, c.intensity, c.sample_rate, c.n_channels) for c in manifest.clips
    } == {
        ("ravdess", "ravdess-07", "calm", "normal", 48_000, 1),
        ("ravdess", "ravdess-08", "angry", "strong", 48_000, 2),
        ("tess", "tess-OAF", "surprise", "", 24_414, 1),
        ("savee", "savee-DC", "angry", "", 44_100, 1),
        ("savee", "savee-KL", "surprise", "", 44_100, 1),
        ("emodb", "emodb-03", "boredom", "", 8_000, 1),
        ("crema_d", "crema_d-1001", "angry", "", 16_000, 1),
        ("crema_d", "crema_d-1002", "sad", "low", 16_000, 1),
    }
    assert all(clip.path.is_absolute() for clip in manifest.clips)
    assert next(clip for clip in manifest.clips if clip.speaker == "crema_d-1001").duration_s == 1.0
    assert manifest.duplicates() == []
    assert scan(mixed) == manifest


def test_scan_reports_progress_for_every_file(mixed):
    calls = []
    scan(mixed, progress=lambda n_done, n_files: calls.append((n_done, n_files)))
    assert calls == [(n, 8) for n in range(1, 9)]


def test_the_name_of_the_scanned_folder_counts(tmp_path, monkeypatch):
    write_noise(tmp_path / "JE" / "h07.wav", 1)
    monkeypatch.chdir(tmp_path / "JE")
    assert scan(Path()).clips[0].speaker == "savee-JE"


def test_folders_above_the_scanned_one_do_not_count(tmp_path):
    write_noise(tmp_path / "JE" / "mine" / "h07.wav", 1)
    with pytest.raises(CorpusError, match="1 x not named like a clip of a known corpus"):
        scan(tmp_path / "JE" / "mine")


def test_links_to_folders_are_followed_once(tmp_path):
    clip = write_noise(tmp_path / "disc" / "DC_a01.wav", 1)
    root = tmp_path / "root"
    root.mkdir()
    for name in ("one", "two"):
        (root / name).symlink_to(clip.parent, target_is_directory=True)
    (clip.parent / "loop").symlink_to(root, target_is_directory=True)
    assert [found.path for found in scan(root).clips] == [root / "one" / "DC_a01.wav"]


GOOD = "DC_a01.wav"


def spoil_with_bytes(content: bytes):
    return lambda path: path.write_bytes(content)


def spoil_half(path: Path) -> None:
    whole = write_noise(path, 2, n_samples=8000).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def spoil_nan(path: Path) -> None:
    soundfile.write(path, np.array([0.1, np.nan, 0.2], np.float32), 16_000, subtype="FLOAT")


def spoil_infinite(path: Path) -> None:
    soundfile.write(path, np.array([0.1, -np.inf, 0.2], np.float32), 16_000, subtype="FLOAT")


def spoil_link(path: Path) -> None:
    path.symlink_to(path.with_name("gone.wav"))


BROKEN = {
    "no bytes": ("JE_a01.wav", spoil_with_bytes(b""), "empty file"),
    "text": ("JE_a01.wav", spoil_with_bytes(b"<html>404</html>" * 50), "not audio"),
    "text named flac": ("JE_a01.flac", spoil_with_bytes(b"fLaC but no more"), "not audio"),
    "header only": ("JE_a01.wav", lambda path: write_noise(path, 2, n_samples=0), "no samples"),
    "half a wav": ("JE_a01.wav", spoil_half, "cut short"),
    "half a flac": ("JE_a01.flac", spoil_half, "corrupt audio|cut short: 0 of"),
    "git lfs": (
        "JE_a01.wav",
        spoil_with_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "Git LFS pointer",
    ),
    "nan": ("JE_a01.wav", spoil_nan, "NaN or infinite"),
    "infinite": ("JE_a01.wav", spoil_infinite, "NaN or infinite"),
    "low rate": (
        "JE_a01.wav",
        lambda path: write_noise(path, 2, sample_rate=7_999),
        "7999 Hz, expected 8000",
    ),
    "high rate": ("JE_a01.wav", lambda path: write_noise(path, 2, sample_rate=96_000), "96000 Hz, expected"),
    "channels": ("JE_a01.wav", lambda path: write_noise(path, 2, n_channels=3), "3 channels"),
    "dangling link": ("JE_a01.wav", spoil_link, "No such file"),
    "pipe": ("JE_a01.wav", os.mkfifo, "not a regular file"),
}


@pytest.mark.parametrize(("name", "spoil", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_and_skipped_or_stops_the_run(tmp_path, name, spoil, reason):
    write_noise(tmp_path / GOOD, 1)
    spoil(tmp_path / name)

    manifest = scan(tmp_path)
    assert [clip.path.name for clip in manifest.clips] == [GOOD]
    [skipped] = manifest.skipped
    assert (skipped.path, skipped.broken) == (tmp_path / name, True)
    assert re.search(reason, skipped.reason)
    assert str(tmp_path) not in skipped.reason

    with pytest.raises(CorpusError, match=reason) as caught:
        scan(tmp_path, on_error="stop")
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_permission_is_broken(tmp_path, monkeypatch):
    write_noise(tmp_path / GOOD, 1)
    locked = write_noise(tmp_path / "JE_a01.wav", 2)
    really_open = Path.open

    def refuse(self, *args, **kwargs):
        # The tests may run as root, whom no mode of a file stops.
        if self == locked:
            raise PermissionError(13, "Permission denied", str(self))
        return really_open(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    assert reasons(scan(tmp_path)) == {"JE_a01.wav": "cannot be read: Permission denied"}
    with pytest.raises(CorpusError, match="Permission denied"):
        scan(tmp_path, on_error="stop")


def test_a_folder_that_cannot_be_listed_is_broken(tmp_path, monkeypatch):
    write_noise(tmp_path / GOOD, 1)
    locked = tmp_path / "locked"
    locked.mkdir()
    really_scandir = os.scandir

    def refuse(path):
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return really_scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert scan(tmp_path).skipped == (
        Skipped(locked, "folder cannot be read: Permission denied", broken=True),
    )
    with pytest.raises(CorpusError, match="locked"):
        scan(tmp_path, on_error="stop")


def test_whole_wav_files_with_odd_headers_are_kept(tmp_path):
    piped = write_noise(tmp_path / "JE_a01.wav", 1)
    content = piped.read_bytes()
    start = content.index(b"data") + 4
    piped.write_bytes(content[:start] + b"\xff\xff\xff\xff" + content[start + 4 :])
    slip = write_noise(tmp_path / "JE_a02.wav", 2, n_samples=8000)
    slip.write_bytes(slip.read_bytes()[:-2])
    assert [clip.n_samples for clip in scan(tmp_path, on_error="stop").clips] == [800, 7999]


def test_files_that_are_no_clips_are_counted_but_never_stop_a_run(tmp_path):
    write_noise(tmp_path / GOOD, 1)
    write_noise(tmp_path / "speech.wav", 2)
    write_noise(tmp_path / "03-02-06-01-02-01-12.mp4.wav", 3)
    for name in ("1001_DFA_ANG_XX.wma", "x.ogg", "y.m4a", "z.aif", "._DC_a02.wav", "__MACOSX/JE/a01.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    manifest = scan(tmp_path, on_error="stop")
    assert len(manifest.clips) == 1
    assert not any(item.broken for item in manifest.skipped)
    assert reasons(manifest) == {
        "speech.wav": "not named like a clip of a known corpus",
        "03-02-06-01-02-01-12.mp4.wav": "not named like a clip of a known corpus",
        "1001_DFA_ANG_XX.wma": ".wma is not read: convert it to .wav or .flac",
        "x.ogg": "not named like a clip of a known corpus",
        "y.m4a": ".m4a is not read: convert it to .wav or .flac",
        "z.aif": "not named like a clip of a known corpus",
        "._DC_a02.wav": "made by macOS beside a clip: no audio",
        "a01.wav": "made by macOS beside a clip: no audio",
    }
    assert [item.path for item in manifest.skipped] == sorted(item.path for item in manifest.skipped)


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".opus"])
def test_compressed_clips_are_read_and_count_once_beside_exact_ones(tmp_path, suffix):
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, 24_000).astype(np.float32)
    subtype = {".opus": "OPUS"}.get(suffix)
    kind = {".mp3": "MP3"}.get(suffix, "OGG")
    for name in ("1001_DFA_ANG_XX", "1001_DFA_SAD_XX"):
        soundfile.write(tmp_path / f"{name}{suffix}", audio, 24_000, format=kind, subtype=subtype)
    manifest = scan(tmp_path, on_error="stop")
    assert [(clip.path.suffix, clip.emotion) for clip in manifest.clips] == [
        (suffix, "angry"),
        (suffix, "sad"),
    ]
    soundfile.write(tmp_path / "1001_DFA_ANG_XX.wav", audio, 24_000)
    manifest = scan(tmp_path, on_error="stop")
    assert [clip.path.suffix for clip in manifest.clips if clip.emotion == "angry"] == [".wav"]
    assert "a compressed copy: the same clip is there as .wav or .flac" in reasons(manifest).values()


def test_a_folder_without_a_clip_says_what_is_known(tmp_path):
    with pytest.raises(CorpusError, match="no audio file at all") as caught:
        scan(tmp_path)
    message = str(caught.value)
    for corpus in CORPORA.values():
        assert corpus.title in message
        assert corpus.example in message
        assert corpus.source in message
    assert "\n" not in message

    write_noise(tmp_path / "speech.wav", 1)
    with pytest.raises(CorpusError, match="1 x not named like a clip of a known corpus"):
        scan(tmp_path)


@pytest.mark.parametrize("name", ["gone", "file.txt"])
def test_no_folder(tmp_path, name):
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(CorpusError, match="no folder at"):
        scan(tmp_path / name)


# --- duplicates ----------------------------------------------------------------------------------------


def test_duplicates_are_found_across_formats_and_channels(tmp_path):
    audio = np.random.default_rng(0).integers(-20_000, 20_000, 100_000, np.int16)
    soundfile.write(tmp_path / "DC_a01.wav", audio, 16_000)
    soundfile.write(tmp_path / "DC_a02.flac", audio, 16_000)
    soundfile.write(tmp_path / "DC_a03.wav", np.stack([audio, audio], axis=1), 16_000)
    soundfile.write(tmp_path / "DC_a04.wav", (audio / 32_768).astype(np.float32), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "DC_a05.wav", audio, 22_050)
    nearly = audio.copy()
    nearly[-1] += 1
    soundfile.write(tmp_path / "DC_a06.wav", nearly, 16_000)
    shutil.copy(tmp_path / "DC_a06.wav", tmp_path / "JE_h01.wav")
    groups = [[clip.path.name for clip in group] for group in scan(tmp_path).duplicates()]
    assert groups == [
        ["DC_a01.wav", "DC_a02.flac", "DC_a03.wav", "DC_a04.wav"],
        ["DC_a06.wav", "JE_h01.wav"],
    ]


def test_a_corpus_that_was_unpacked_twice_counts_once(tmp_path, caplog):
    """As archives with an inner folder leave it: the same files side by side with their folder."""
    outer = tmp_path / "archive"
    for n in range(3):
        write_noise(outer / "DC" / f"a0{n + 1}.wav", n)
    assert find_clips(outer).copies() == []
    assert not caplog.records, "a warning without a copy"
    once = scan(outer)
    inner = outer / "SAVEE"
    shutil.copytree(outer / "DC", inner / "DC")

    manifest = find_clips(outer)
    copies = [inner / "DC" / f"a0{n + 1}.wav" for n in range(3)]
    assert manifest.clips == once.clips
    assert manifest.copies() == copies == [item.path for item in manifest.skipped]
    assert not any(item.broken for item in manifest.skipped)
    assert manifest.duplicates() == []
    [record] = caplog.records
    assert record.getMessage() == (
        f"3 files are copies of a clip with the same name and sound, which counts once: such as '{copies[0]}'"
    )
    assert scan(outer, on_error="stop") == manifest


def test_a_copy_in_another_format_counts_once(tmp_path, caplog):
    audio = np.random.default_rng(0).integers(-20_000, 20_000, 1000, np.int16)
    for name in ("DC_a01.wav", "DC_a01.flac"):
        soundfile.write(tmp_path / name, audio, 16_000)
    assert [clip.path.name for clip in find_clips(tmp_path).clips] == ["DC_a01.flac"]
    assert "1 file is a copy of a clip" in caplog.text


def test_the_same_sound_under_two_names_labels_or_speakers_is_kept(tmp_path):
    """Corpora have such takes, and a nested copy of one has them once."""
    for folder in ("archive", "archive/inner"):
        first = write_noise(tmp_path / folder / "1001_DFA_ANG_XX.wav", 1)
        shutil.copy(first, first.with_name("1001_DFA_SAD_XX.wav"))
        shutil.copy(write_noise(first.parent / "DC" / "a01.wav", 2), first.parent / "DC" / "a02.wav")
        (first.parent / "JE").mkdir()
        shutil.copy(first.parent / "DC" / "a01.wav", first.parent / "JE")
    manifest = scan(tmp_path)
    assert Counter((clip.emotion, clip.speaker) for clip in manifest.clips) == {
        ("angry", "crema_d-1001"): 1,
        ("sad", "crema_d-1001"): 1,
        ("angry", "savee-DC"): 2,
        ("angry", "savee-JE"): 1,
    }
    assert sorted(map(len, manifest.duplicates())) == [2, 3]
    assert len(manifest.copies()) == 5


def test_copies_in_an_older_manifest_count_once(tmp_path, caplog):
    clip = scan(write_noise(tmp_path / "DC_a01.wav", 1).parent).clips[0]
    copy = dataclasses.replace(clip, path=tmp_path / "inner" / "DC_a01.wav")
    path = tmp_path / "manifest.csv"
    Manifest((clip, copy)).write_csv(path)
    assert find_clips(path).clips == (clip,)
    assert "1 file is a copy" in caplog.text
    assert str(copy.path) in caplog.text


# --- select --------------------------------------------------------------------------------------------


def test_select_by_corpus_and_label_map(mixed):
    manifest = scan(mixed)
    assert manifest.select() == manifest.clips
    assert {clip.corpus for clip in manifest.select(corpora=["savee", "emodb"])} == {"savee", "emodb"}
    left_out = set(manifest.clips) - set(manifest.select(label_map=LABEL_MAPS["published7"]))
    assert [clip.emotion for clip in left_out] == ["boredom"]
    assert manifest.select(corpora=["emodb"], label_map=LABEL_MAPS["ravdess8"]) == ()


def test_select_of_an_absent_corpus(mixed):
    manifest = Manifest(scan(mixed).select(corpora=["tess", "savee"]))
    with pytest.raises(CorpusError, match="no clip of emodb; it has corpora: savee, tess"):
        manifest.select(corpora=["tess", "emodb"])


# --- CSV -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [".", "..", "corpora/savee", "new/folder"])
def test_csv_round_trip(mixed, place):
    manifest = scan(mixed)
    path = mixed.parent / place / "manifest.csv"
    manifest.write_csv(path)
    assert read_csv(path) == manifest
    assert not list(path.parent.glob(".manifest*"))


def test_csv_moves_with_the_corpora_beside_it(mixed, tmp_path):
    manifest = scan(mixed)
    manifest.write_csv(mixed / "manifest.csv")
    assert str(tmp_path) not in (mixed / "manifest.csv").read_text()
    moved = mixed.rename(tmp_path / "moved")
    assert all(clip.path.is_file() for clip in read_csv(moved / "manifest.csv").clips)


def test_csv_elsewhere_still_finds_the_clips(mixed, tmp_path):
    path = tmp_path / "elsewhere" / "manifest.csv"
    scan(mixed).write_csv(path)
    clips = read_csv(path.rename(tmp_path / "moved.csv")).clips
    assert all(clip.path.is_file() for clip in clips)


@pytest.mark.parametrize("folder", ["comma, quote \" and 'more'", "line\nbreak", "ünïcödé ☂", " spaces "])
def test_csv_keeps_odd_names(tmp_path, folder):
    write_noise(tmp_path / folder / "DC_a01.wav", 1)
    manifest = scan(tmp_path)
    manifest.write_csv(tmp_path / "manifest.csv")
    assert read_csv(tmp_path / "manifest.csv") == manifest


def test_names_that_are_not_utf8(tmp_path):
    folder = tmp_path / os.fsdecode(b"stra\xdfe")
    try:
        write_noise(tmp_path / "DC_a01.wav", 1)
        folder.mkdir()
    except OSError:
        pytest.skip("this file system allows UTF-8 names only")
    (tmp_path / "DC_a01.wav").rename(folder / "DC_a01.wav")
    manifest = scan(tmp_path)
    manifest.write_csv(tmp_path / "manifest.csv")
    [clip] = read_csv(tmp_path / "manifest.csv").clips
    assert clip.path.is_file()


def test_csv_from_a_spreadsheet_is_read(mixed):
    manifest = scan(mixed)
    path = mixed / "manifest.csv"
    manifest.write_csv(path)
    text = path.read_text()
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n")
    assert read_csv(path) == manifest


def test_writing_where_nothing_can_be_written(mixed, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("")
    manifest = scan(mixed)
    for path in (tmp_path / "folder.csv", tmp_path / "file" / "manifest.csv"):
        with pytest.raises(OutputError, match="cannot be written"):
            manifest.write_csv(path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpora", "file", "folder.csv"]


CLIP = Clip(
    path=Path("/data/DC_a01.wav"),
    corpus="savee",
    emotion="angry",
    speaker="savee-DC",
    sentence="a01",
    intensity="",
    sample_rate=44_100,
    n_samples=1000,
    n_channels=1,
    sha256="0" * 64,
)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("path", "", "path is empty"),
        ("corpus", "", "corpus is empty"),
        ("emotion", " ", "emotion is empty"),
        ("start_s", "-1", "start_s '-1', expected seconds"),
        ("end_s", "soon", "end_s 'soon', expected seconds"),
        ("end_s", "0.0", "end_s '0.0', expected more than start_s, 0"),
        ("part", "exam", "part 'exam', expected train, validation, test or nothing"),
        ("sample_rate", "16 kHz", "sample_rate '16 kHz', expected a whole number above 0"),
        ("n_samples", "0", "n_samples '0'"),
        ("n_samples", "1_0", "n_samples '1_0'"),
        ("n_samples", "9" * 5000, "n_samples"),
        ("n_channels", "-1", "n_channels '-1'"),
        ("sha256", "abc", "sha256 'abc', expected 64"),
    ],
)
def test_csv_with_an_impossible_value_names_the_line(tmp_path, column, value, message):
    path = tmp_path / "manifest.csv"
    good = dataclasses.asdict(CLIP) | {"end_s": ""}
    rows = [
        COLUMNS + SEGMENT_COLUMNS,
        good.values(),
        (good | {"path": "/data/b.wav", column: value}).values(),
    ]
    path.write_text("\n".join(",".join(map(str, row)) for row in rows))
    with pytest.raises(CorpusError, match=f"line 3: {message}"):
        read_csv(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a manifest: its first line is 'nothing'"),
        ("path;corpus\n", "is not a manifest: its first line is 'path;corpus', expected 'path,corpus,"),
        (",".join(COLUMNS), "has no rows"),
        (",".join(COLUMNS) + "\na,b\n", "line 2: 2 values, expected 11"),
        (",".join(COLUMNS) + '\n"a"b,c\n', "line 2: not CSV"),
        ("x" * 200_000, "line 1: not CSV"),
    ],
)
def test_csv_that_is_no_manifest(tmp_path, content, message):
    path = tmp_path / "manifest.csv"
    path.write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_csv(path)


def test_csv_with_a_clip_twice(tmp_path):
    path = tmp_path / "manifest.csv"
    Manifest((CLIP, CLIP)).write_csv(path)
    with pytest.raises(CorpusError, match=r"line 3: path .* occurs twice"):
        read_csv(path)


def test_csv_that_is_absent(tmp_path):
    for path in (tmp_path / "gone.csv", tmp_path):
        with pytest.raises(CorpusError, match="cannot read the manifest"):
            read_csv(path)


# --- the real corpora ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(corpora_dir: Path) -> Manifest:
    """All real corpora, scanned once."""
    for name in ("ravdess", "tess"):
        if not (corpora_dir / name).is_dir():
            pytest.skip(f"corpora absent: no {name} in {corpora_dir}")
    return scan(corpora_dir)


@pytest.mark.corpora
def test_real_ravdess(real):
    clips = real.select(corpora=["ravdess"])
    assert len(clips) == 1440
    assert Counter(clip.emotion for clip in clips) == {
        emotion: 96 if emotion == "neutral" else 192 for emotion in LABEL_MAPS["ravdess8"].labels
    }
    assert Counter(clip.speaker for clip in clips) == {f"ravdess-{n:02}": 60 for n in range(1, 25)}
    assert Counter(clip.sentence for clip in clips) == {"01": 720, "02": 720}
    assert sum(clip.duration_s for clip in clips) / 3600 == pytest.approx(1.48, abs=0.01)


@pytest.mark.corpora
def test_real_tess(real):
    clips = real.select(corpora=["tess"])
    # The copy in use may lack OAF_back_angry and YAF_beg_sad; the original has 2800, 400 of each class.
    assert 2798 <= len(clips) <= 2800
    counts = Counter(clip.emotion for clip in clips)
    assert set(counts) == set(LABEL_MAPS["published7"].labels)
    assert all(399 <= n <= 400 for n in counts.values())
    assert {clip.speaker for clip in clips} == {"tess-OAF", "tess-YAF"}
    assert len({clip.sentence for clip in clips}) == 200


@pytest.mark.corpora
def test_real_duplicates(real):
    ravdess = [
        [clip.path.stem for clip in group] for group in real.duplicates() if group[0].corpus == "ravdess"
    ]
    assert ravdess == [["03-01-03-01-02-01-07", "03-01-03-01-02-02-07"]]


@pytest.mark.corpora
def test_real_corpora_have_no_broken_file(real):
    assert [item for item in real.skipped if item.broken] == []


@pytest.mark.corpora
def test_real_manifest_survives_csv(real, tmp_path):
    real.write_csv(tmp_path / "manifest.csv")
    assert read_csv(tmp_path / "manifest.csv").clips == real.clips
