"""Reading files, finding them, and the streaming resampler."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeemo.audio import CONTAINERS, Resampler, find_audio, native_rate, read_audio, read_blocks, to_mono
from edgeemo.errors import AudioError

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")

RATES = [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000]


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return 0.3 * np.random.default_rng(seed).standard_normal(n_samples).astype(np.float32)


def cut(audio: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Blocks of the given sizes, over and over."""
    blocks, start = [], 0
    while start < len(audio):
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(audio[start : start + size])
        start += size
    return blocks


# --- Resampler


@settings(deadline=None, max_examples=60)
@given(
    source_rate=st.sampled_from(RATES),
    target_rate=st.sampled_from([8000, 16000, 22050]),
    n_samples=st.integers(1, 30_000),
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=6).filter(lambda s: sum(s) >= 20 * len(s)),
)
def test_stream_equals_one_shot_for_any_blocks(
    source_rate: int, target_rate: int, n_samples: int, sizes: list[int]
) -> None:
    audio = noise(n_samples)
    resampler = Resampler(source_rate, target_rate)
    streamed = np.concatenate([*map(resampler.push, cut(audio, sizes)), resampler.flush()])
    expected = audio if source_rate == target_rate else soxr.resample(audio, source_rate, target_rate, "HQ")
    np.testing.assert_array_equal(streamed, expected)
    assert streamed.dtype == np.float32


def test_empty_blocks_change_nothing() -> None:
    audio = noise(4800)
    resampler = Resampler(48000, 16000)
    parts = []
    for block in cut(audio, [100]):
        parts += [resampler.push(block), resampler.push(np.zeros(0, np.float32))]
    streamed = np.concatenate([*parts, resampler.flush()])
    np.testing.assert_array_equal(streamed, soxr.resample(audio, 48000, 16000))


def test_equal_rates_pass_through() -> None:
    resampler = Resampler(16000, 16000)
    block = noise(321)
    assert resampler.push(block) is block
    assert len(resampler.flush()) == 0


def test_frequencies_above_the_target_are_removed_not_folded() -> None:
    time_s = np.arange(48000) / 48000
    resampler = Resampler(48000, 16000)
    tone = np.sin(2 * np.pi * 11_000 * time_s).astype(np.float32)
    out = np.concatenate([*map(resampler.push, cut(tone, [960])), resampler.flush()])
    assert np.abs(out[1000:-1000]).max() < 1e-4
    assert np.abs(tone[::3]).max() > 0.5  # what the common shortcut would leave at 5 kHz


@pytest.mark.parametrize("end", ["flush", "reset"])
def test_a_new_stream_knows_nothing_of_the_old(end: str) -> None:
    audio = noise(9600)
    resampler = Resampler(48000, 16000)
    first = np.concatenate([*map(resampler.push, cut(audio, [480])), resampler.flush()])
    resampler.push(noise(5000, seed=1))
    getattr(resampler, end)()
    second = np.concatenate([*map(resampler.push, cut(audio, [480])), resampler.flush()])
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("rates", [(0, 16000), (16000, 0), (-1, 16000)])
def test_impossible_rates(rates: tuple[int, int]) -> None:
    with pytest.raises(AudioError, match="positive"):
        Resampler(*rates)


# --- Reading


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_what_libsndfile_reads(tmp_path: Path, suffix: str) -> None:
    time_s = np.arange(24000) / 24000
    soundfile.write(tmp_path / f"clip.{suffix}", 0.5 * np.sin(2 * np.pi * 440 * time_s), 24000)
    audio = read_audio(tmp_path / f"clip.{suffix}", 16000)
    assert audio.dtype == np.float32
    assert audio.ndim == 1
    assert abs(len(audio) - 16000) < 2000  # MP3 pads
    spectrum = np.abs(np.fft.rfft(audio))
    assert spectrum.argmax() * 16000 / len(audio) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("block_samples", [1, 77, 2400, 1_000_000])
def test_blocks_are_the_file(tmp_path: Path, block_samples: int) -> None:
    audio = noise(2400)
    soundfile.write(tmp_path / "a.wav", audio, 24000, subtype="FLOAT")
    blocks = list(read_blocks(tmp_path / "a.wav", block_samples))
    np.testing.assert_array_equal(np.concatenate(blocks), audio)
    assert {len(b) for b in blocks[:-1]} <= {block_samples}


@pytest.mark.parametrize("read_samples", [1000, 1 << 18])
def test_read_audio_is_the_resampled_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_samples: int
) -> None:
    monkeypatch.setattr("edgeemo.audio._READ_SAMPLES", read_samples)
    audio = noise(44100)
    soundfile.write(tmp_path / "a.wav", audio, 44100, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", 16000), soxr.resample(audio, 44100, 16000))
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", 44100), audio)
    assert native_rate(tmp_path / "a.wav") == 44100


def test_channels_are_averaged(tmp_path: Path) -> None:
    channels = np.stack([noise(800, 1), noise(800, 2), noise(800, 3)], axis=1)
    soundfile.write(tmp_path / "a.wav", channels, 16000, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", 16000), to_mono(channels))
    np.testing.assert_allclose(to_mono(channels), channels.mean(axis=1), atol=1e-7)
    np.testing.assert_array_equal(to_mono(channels[:, :1]), channels[:, 0])
    np.testing.assert_array_equal(to_mono(channels[:, 0]), channels[:, 0])


@pytest.mark.parametrize("shape", [(), (2, 3, 4), (5, 0)])
def test_to_mono_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match="expected"):
        to_mono(np.zeros(shape, np.float32))


def broken_files(folder: Path) -> dict[str, Path]:
    """Each kind of file that is no usable audio."""
    names = ("missing", "no bytes", "no samples", "text", "nan", "inf")
    paths = {name: folder / f"{name}.wav" for name in names}
    paths["no bytes"].touch()
    soundfile.write(paths["no samples"], np.zeros(0, np.float32), 16000)
    paths["text"].write_text("this is not audio, " * 100)
    for name in ("nan", "inf"):
        audio = noise(16000)
        audio[9000] = float(name)
        soundfile.write(paths[name], audio, 16000, subtype="FLOAT")
    paths["headerless"] = folder / "headerless.raw"
    paths["headerless"].write_bytes(bytes(3200))
    paths["a folder"] = folder
    return paths


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file or folder"),
        ("no bytes", "0 bytes"),
        ("no samples", "0 samples"),
        ("text", "cannot read it as audio"),
        ("nan", "NaN or infinite"),
        ("inf", "NaN or infinite"),
        ("headerless", "rate is unknown"),
        ("a folder", "a folder"),
    ],
)
@pytest.mark.parametrize("read", [lambda p: list(read_blocks(p, 512)), lambda p: read_audio(p, 8000)])
def test_errors_are_one_line_with_the_path(tmp_path: Path, kind: str, message: str, read) -> None:
    path = broken_files(tmp_path)[kind]
    with pytest.raises(AudioError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_breaks_off_gives_what_is_there(tmp_path: Path) -> None:
    audio = noise(48000)
    soundfile.write(tmp_path / "whole.wav", audio, 16000, subtype="FLOAT")
    (tmp_path / "cut.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[:80_000])
    found = read_audio(tmp_path / "cut.wav", 16000)
    assert 19_000 < len(found) <= 20_000
    np.testing.assert_array_equal(found, audio[: len(found)])


@pytest.mark.parametrize("hole", [slice(10_000, None), slice(8_000, 8_400)])
def test_a_damaged_mp3_gives_what_can_be_decoded(tmp_path: Path, hole: slice) -> None:
    """And not, up to the length that its header gives, what happened to be in memory."""
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(64000), 16000)
    content = bytearray(path.read_bytes())
    content[hole] = b"" if hole.stop is None else bytes(hole.stop - hole.start)
    path.write_bytes(content)
    assert soundfile.info(path).frames == 64000, "its header"
    blocks = list(read_blocks(path, 320))
    n_samples = sum(map(len, blocks))
    assert 16_000 < n_samples < 64_000
    assert len({block.tobytes() for block in blocks}) == len(blocks), "a block came twice"
    whole = read_audio(path, 16000)
    assert len(whole) == n_samples
    np.testing.assert_array_equal(whole, read_audio(path, 16000))


@pytest.mark.parametrize(("subtype", "suffix"), [("GSM610", "wav"), ("G721_32", "au"), ("G723_24", "au")])
def test_telephony_is_read(tmp_path: Path, subtype: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 8000)
    soundfile.write(path, tone, 8000, subtype=subtype)
    audio = read_audio(path, 8000)
    assert 16000 <= len(audio) < 16400  # whole blocks
    assert np.corrcoef(audio[:16000], tone)[0, 1] > 0.99


def test_samples_too_large_to_average(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full((16000, 2), 3e38, np.float32), 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"a\.wav: holds NaN or infinite"):
        read_audio(tmp_path / "a.wav", 16000)


def test_a_broken_rate_is_not_hours_of_audio(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(64000), 1)
    with pytest.raises(AudioError, match="a rate of 1 Hz, expected at least 1000"):
        native_rate(tmp_path / "a.wav")


@posix
def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xe4d.wav"))
    soundfile.write(os.fsencode(path), noise(1600), 16000)
    assert len(read_audio(path, 16000)) == 1600
    assert find_audio([tmp_path]) == [path]


@posix
def test_a_pipe_is_no_audio_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioError, match="a pipe or device"):
        read_audio(tmp_path / "pipe.wav", 16000)
    (tmp_path / "a.wav").touch()
    assert find_audio([tmp_path]) == [tmp_path / "a.wav"]


def test_a_path_that_cannot_be_looked_at() -> None:
    for call in (native_rate, lambda path: find_audio([path])):
        with pytest.raises(AudioError, match="cannot be read"):
            call(Path("x" * 300))


# --- Finding


def test_a_folder_that_cannot_be_searched_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.wav", "closed/b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    access = os.access
    monkeypatch.setattr(  # root may look everywhere
        "os.access", lambda path, mode: Path(path).name != "closed" and access(path, mode)
    )
    unreadable: list[OSError] = []
    assert find_audio([tmp_path], unreadable.append) == [tmp_path / "a.wav"]
    assert [error.filename for error in unreadable] == [str(tmp_path / "closed")]
    with pytest.raises(AudioError, match="closed: this folder cannot be searched"):
        find_audio([tmp_path])


def test_find_audio(tmp_path: Path) -> None:
    names = ["b/2.WAV", "b/1.flac", "a.mp3", "b/deep/er/3.ogg", "b/notes.txt", "b/._1.flac", ".hidden/4.wav"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = [tmp_path / n for n in ("a.mp3", "b/1.flac", "b/2.WAV", "b/deep/er/3.ogg")]
    assert find_audio([tmp_path]) == expected
    assert find_audio([tmp_path / "b", tmp_path / "a.mp3", tmp_path / "b" / "1.flac"]) == expected
    assert find_audio([str(tmp_path / "b" / "notes.txt")]) == [tmp_path / "b" / "notes.txt"]  # named itself
    assert find_audio([tmp_path / ".hidden"]) == [tmp_path / ".hidden" / "4.wav"]


def test_find_audio_finds_nothing(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no audio file in this folder"):
        find_audio([tmp_path])
    with pytest.raises(AudioError, match="no such file or folder"):
        find_audio([tmp_path / "missing"])


@posix
def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere" / "inner").mkdir(parents=True)
    (tmp_path / "elsewhere" / "inner" / "a.wav").touch()
    (tmp_path / "here" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here" / "linked_again").symlink_to(tmp_path / "elsewhere" / "inner")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "here")
    assert find_audio([tmp_path / "here"]) == [tmp_path / "here" / "linked" / "inner" / "a.wav"]


@pytest.mark.parametrize("suffix", sorted(CONTAINERS))
def test_what_libsndfile_cannot_read_is_found_and_says_how_to_convert_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"call{suffix}"
    path.write_bytes(b"\0\0\0\x18ftypM4A " + bytes(100))
    assert find_audio([tmp_path]) == [path]
    with pytest.raises(
        AudioError, match=rf"does not read \{suffix} files; .*ffmpeg -i call\{suffix} call.wav"
    ):
        read_audio(path, 16000)


@pytest.mark.parametrize("n_samples", [1, 4096, 48000])
def test_a_flac_stream_of_unknown_length(tmp_path: Path, n_samples: int) -> None:
    """As recorders and pipes write it: the header says that there are 0 samples."""
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(n_samples), 16000)
    expected = read_audio(path, 16000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # 36 bits of STREAMINFO
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with soundfile.SoundFile(path) as file:
        assert file.frames > 1 << 60, "nothing is unknown: the test cannot fail"
    np.testing.assert_array_equal(read_audio(path, 16000), expected)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
@pytest.mark.parametrize("riff_size", [0, 36, None])
@pytest.mark.parametrize("data_size", [0, 0xFFFFFFFF])
def test_a_wav_of_a_recorder_that_was_switched_off(
    tmp_path: Path, subtype: str, riff_size: int | None, data_size: int
) -> None:
    """Its header, written first, says that it holds nothing."""
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([noise(48000), noise(48000, seed=1)], axis=1), 16000, subtype=subtype)
    expected = read_audio(path, 16000)
    content = bytearray(path.read_bytes())
    if riff_size is not None:
        content[4:8] = riff_size.to_bytes(4, "little")
    start = content.index(b"data") + 4
    content[start : start + 4] = data_size.to_bytes(4, "little")
    path.write_bytes(content[:-1])  # in the middle of a sample
    found = read_audio(path, 16000)
    assert 47_999 <= len(found) <= 48_000
    np.testing.assert_array_equal(found[:47_999], expected[:47_999])
    for block_samples in (100, 48_000):
        np.testing.assert_array_equal(np.concatenate(list(read_blocks(path, block_samples))), found)


@pytest.mark.parametrize("after", [b"", b"LIST\x04\0\0\0INFO", b"id3 \x03\0\0\0abc\0bext\0\0\0\0"])
def test_a_finished_wav_of_no_samples_holds_no_audio(tmp_path: Path, after: bytes) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0, np.float32), 16000, subtype="PCM_16")
    path.write_bytes(path.read_bytes() + after)
    with pytest.raises(AudioError, match="0 samples"):
        read_audio(path, 16000)


@pytest.mark.parametrize("filler", [b"\0\0\0\0\0\0\0\0", b"note\0\0\0\0"])
@pytest.mark.parametrize("start", [b"", b"data\0\0\0\0"])
def test_a_wav_of_endless_chunks_is_given_up(tmp_path: Path, start: bytes, filler: bytes) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0, np.float32), 16000, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:36] + start + 2_000_000 * filler)
    start_s = time.monotonic()
    with contextlib.suppress(AudioError):
        next(read_blocks(path, 100))
    assert time.monotonic() - start_s < 1
