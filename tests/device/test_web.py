"""`edgeemo web`: the folder that it writes, and the live loop in JavaScript against the one in Python."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import edgeemo as package
from edgeemo.answer import Judgement
from edgeemo.audio import Resampler
from edgeemo.corpora.labels import AROUSAL
from edgeemo.errors import DownloadError, OutputError
from edgeemo.places import model_path, sample_path
from edgeemo.web import runtime
from edgeemo.web.server import site_server
from edgeemo.web.site import PAGE_FILES, write_site
from support.models import patched
from support.node import NODE, Refused, in_node
from support.signals import voice_like

TOLERANCE = {"fp32": 1e-5, "int8": 5e-3}
VARIANTS = (
    "emo_small.stream",
    "emo_small.stream.int8",
    "emo_small.window",
    "cnn_lstm.stream.int8",
    "cnn_lstm.window.int8",
    "pure_lstm.stream.int8",
    "conv1d_lstm.stream",
)


def needs_node(test: Callable[..., None]) -> Callable[..., None]:
    """Loading the runtime takes node seconds."""
    return pytest.mark.slow(pytest.mark.skipif(NODE is None, reason="node absent")(test))


STEPS = """
    const listener = await edgeemo.Listener.load(given.model, { sampleRate: given.rate, profile: given.profile });
    const steps = [];
    for (let i = 0; i < audio.length; i += given.block)
      steps.push(...(await listener.push(audio.subarray(i, i + given.block))));
    steps.push(...(await listener.flush()));
    return steps;
"""


@pytest.fixture(scope="session")
def runtime_files() -> dict[str, bytes]:
    """onnxruntime-web, downloaded once per machine."""
    try:
        return runtime.runtime_files()
    except DownloadError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def site(runtime_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "site"
    write_site(folder, "emo_small", runtime_files)
    return folder


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    audio, _ = soundfile.read(sample_path(), dtype="float32")
    return audio


def in_javascript(
    site: Path,
    model: Path,
    audio: np.ndarray,
    *,
    rate: int = 16000,
    block: int = 1000,
    profile: object = None,
) -> list[dict[str, Any]]:
    found = in_node(site, STEPS, audio, model=model, rate=rate, block=block, profile=profile)
    assert isinstance(found, list)
    return found


def in_python(command: list[str], *arguments: str | Path) -> list[dict[str, Any]]:
    """What `edgeemo listen` prints: of its events, those that a listener tells."""
    result = subprocess.run(
        [*command, "listen", "--fast", "--json", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    events = map(json.loads, result.stdout.splitlines())
    return [event for event in events if event["event"] in ("step", "utterance", "gap")]


def heard(listener: package.Listener, audio: np.ndarray) -> list[dict[str, Any]]:
    return [event.to_dict() for event in [*listener.push(audio), *listener.drain()]]


def steps(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == "step"]


MEASURED = {"probabilities", "arousal", "level_db", "peak", "resample_ms", "model_ms"}


def difference(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> float:
    """The largest between two probabilities or arousals; all else is equal, and levels are to what is printed."""
    assert len(found) == len(expected)
    largest = 0.0
    for f, e in zip(found, expected, strict=True):
        e.pop("time", None)
        e.pop("drops", None)
        assert f.keys() == e.keys()
        assert rounded({k: v for k, v in f.items() if k not in MEASURED}) == {
            k: v for k, v in e.items() if k not in MEASURED
        }
        if e["event"] == "step":
            assert f["level_db"] == pytest.approx(e["level_db"], abs=1e-3)
            assert f["peak"] == pytest.approx(e["peak"], abs=1e-5)
        if e["event"] == "gap":
            continue
        assert (f["arousal"] is None) == (e["arousal"] is None)
        pairs = [(f["probabilities"][label], p) for label, p in e["probabilities"].items()]
        pairs += [(f["arousal"], e["arousal"])] if e["arousal"] is not None else []
        largest = max([largest, *(abs(one - other) for one, other in pairs)])
    return largest


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return round(value, 6) if isinstance(value, float) else value


# --- the same steps as in Python -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_variants(site: Path, sample: np.ndarray) -> dict[str, list[dict[str, Any]]]:
    """What each says of the sample, in one process of node: the runtime takes longest to load."""
    models = {variant: model_path(variant) for variant in VARIANTS}
    code = f"""
        const hear = async (model) => {{ given.model = model; {STEPS} }};
        const found = {{}};
        for (const [variant, model] of Object.entries(given.models)) found[variant] = await hear(model);
        return found;
    """
    paths = {variant: str(path) for variant, path in models.items()}
    found: dict[str, list[dict[str, Any]]] = in_node(site, code, sample, models=paths, rate=16000, block=1000)
    return found


@needs_node
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_sample_says_what_it_says_in_python(
    edgeemo: list[str], of_variants: dict[str, list[dict[str, Any]]], variant: str
) -> None:
    expected = in_python(edgeemo, "--model", model_path(variant), "--file", sample_path())
    assert {step["paused"] for step in steps(expected)} == {True, False}
    assert sum(event["event"] == "utterance" for event in expected) == 3
    arousals = [step["arousal"] for step in steps(expected) if step["arousal"] is not None]
    assert max(arousals) > 0.5 > min(arousals)
    precision = "int8" if "int8" in variant else "fp32"
    assert difference(of_variants[variant], expected) <= TOLERANCE[precision]


@needs_node
def test_models_that_judge_any_sound(
    edgeemo: list[str], site: Path, either_model_path: Path, tmp_path: Path
) -> None:
    """Utterances are then found by level: noise, a pause and noise again are two."""
    audio = voice_like(4.0, 16000)
    audio = np.concatenate([audio, audio[:16000] * 0.001, audio]).astype(np.float32)
    soundfile.write(tmp_path / "clip.wav", audio, 16000, subtype="FLOAT")
    expected = in_python(edgeemo, "--model", either_model_path, "--file", tmp_path / "clip.wav")
    assert sum(event["event"] == "utterance" for event in expected) > 1
    assert {step["reason"] for step in steps(expected)} >= {"quiet", None}
    assert difference(in_javascript(site, either_model_path, audio), expected) <= 1e-5


@needs_node
def test_blocks_make_no_difference(site: Path, sample: np.ndarray) -> None:
    """Not even where calls overlap."""
    first = in_javascript(site, model_path("emo_small"), sample[:40000], block=40000)
    other = in_javascript(site, model_path("emo_small"), sample[:40000], block=333)
    overlapping = in_node(
        site,
        """
        const listener = await edgeemo.Listener.load(given.model);
        const pushed = [];
        for (let i = 0; i < audio.length; i += 5000) pushed.push(listener.push(audio.subarray(i, i + 5000)));
        return (await Promise.all(pushed)).flat();
        """,
        sample[:40000],
        model=model_path("emo_small"),
    )
    for step in [*steps(first), *steps(other), *steps(overlapping)]:
        del step["resample_ms"], step["model_ms"]
    assert len(steps(first)) == 15
    assert first == other
    assert first[: len(overlapping)] == overlapping


@needs_node
def test_streams_begin_anew(site: Path, sample: np.ndarray) -> None:
    found = in_node(
        site,
        """
        const listener = await edgeemo.Listener.load(given.model);
        const heard = [];
        for (let i = 0; i < 2; i++) heard.push([...(await listener.push(audio)), ...(await listener.flush())]);
        await listener.push(audio);
        await listener.reset();
        heard.push(await listener.push(Int16Array.from(audio, (x) => Math.round(32768 * x))));
        const steps = heard.map((events) => events.filter((event) => event.event === "step"));
        return steps.map((of) => of.map((step) => [step.time_s, step.utterance, step.probabilities]));
        """,
        sample[:60000],
        model=model_path("emo_small.stream"),
    )
    assert found[0] == found[1] == found[2]


@needs_node
def test_other_rates(site: Path, sample: np.ndarray) -> None:
    """Resamplers differ above 0.9 of what the lower rate can hold; labels do not."""
    up = Resampler(16000, 44100)
    audio = np.concatenate([up.push(sample), up.flush()])
    expected = heard(package.Listener(package.load("emo_small.stream"), sample_rate=44100), audio)
    found = in_javascript(site, model_path("emo_small.stream"), audio, rate=44100)
    for event in [*steps(found), *steps(expected)]:
        event["level_db"] = event["peak"] = 0.0
    assert difference(found, expected) <= 0.01


@needs_node
def test_gaps_and_long_utterances(site: Path, sample: np.ndarray) -> None:
    """What comes after a gap is heard afresh, though not what was learnt; a talk of 33 s is two utterances."""
    model = package.load("emo_small.stream.int8")
    listener = package.Listener(model, sample_rate=16000)
    talk = np.tile(sample[9600:48000], 14)
    expected = [event.to_dict() for event in [*listener.push(sample[:30000]), *listener.gap(0.7, "stalled")]]
    expected += heard(listener, talk)
    assert [event["cut"] for event in expected if event["event"] == "utterance"][:2] == [True, True]
    found = in_node(
        site,
        """
        const listener = await edgeemo.Listener.load(given.model);
        const events = await listener.push(audio.subarray(0, 30000));
        events.push(...(await listener.gap(0.7, "stalled")), ...(await listener.push(audio.subarray(30000))));
        return [...events, ...(await listener.flush())];
        """,
        np.concatenate([sample[:30000], talk]),
        model=model.path,
    )
    assert difference(found, expected) <= TOLERANCE["int8"]


# --- profiles ------------------------------------------------------------------------------------------------


@needs_node
def test_profiles_are_the_same_files(site: Path, sample: np.ndarray) -> None:
    model = package.load("emo_small.stream")
    listener = package.Listener(model, sample_rate=16000)
    listener.push(sample)
    expected = listener.profile
    found = in_node(
        site,
        """
        const listener = await edgeemo.Listener.load(given.model);
        await listener.push(audio);
        return listener.profile;
        """,
        sample,
        model=model.path,
    )
    profile = package.Profile.from_dict(found)
    assert (profile.model, profile.graph, profile.n_utterances) == (
        expected.model,
        expected.graph,
        expected.n_utterances,
    )
    for name, numbers in profile.learnt(model.metadata, expected.graph).items():
        assert np.abs(numbers - np.reshape(expected.states[name], numbers.shape)).max() < 1e-3
    knows = package.Listener(model, sample_rate=16000, profile=expected)
    known = in_javascript(site, model.path, sample, profile=expected.to_dict())
    assert difference(known, heard(knows, sample)) <= 1e-5
    fresh = in_javascript(site, model.path, sample)
    assert known[-1]["probabilities"] != pytest.approx(fresh[-1]["probabilities"], abs=1e-3)
    with pytest.raises(Refused, match=r"another model's \(emo_small.stream\); expected one of cnn_lstm"):
        in_javascript(site, model_path("cnn_lstm"), sample, profile=expected.to_dict())


# --- what is wrong, in a line --------------------------------------------------------------------------------


@needs_node
def test_files_that_are_no_models(site: Path, tiny_model_path: Path, tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(Refused) as error:
            in_javascript(site, path, np.zeros(10, np.float32))
        return str(error.value)

    (tmp_path / "noise.onnx").write_bytes(np.random.default_rng(0).bytes(1000))
    assert refusal(tmp_path / "noise.onnx") == "noise.onnx is not an ONNX model"
    assert refusal(tmp_path / "missing.onnx").startswith(
        f"{tmp_path / 'missing.onnx'} cannot be read: ENOENT"
    )
    assert "images" in refusal(tiny_model_path.with_name("tiny.image.onnx"))
    assert "voice detector" in refusal(site / "voice.onnx")
    other = patched(tiny_model_path, tmp_path, ('"format": 1', '"format": 7'))
    assert refusal(other) == "tiny.onnx has the model format 7; this program reads format 1"
    damaged = bytearray(tiny_model_path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.onnx").write_bytes(damaged)
    assert (
        refusal(tmp_path / "damaged.onnx")
        == "damaged.onnx is damaged: its graph is not what its checksum says"
    )
    anonymous = tiny_model_path.read_bytes().replace(b"\x0a\x07edgeemo\x12", b"\x0a\x07strange\x12")
    (tmp_path / "anonymous.onnx").write_bytes(anonymous)
    assert "without edgeemo metadata" in refusal(tmp_path / "anonymous.onnx")


@needs_node
def test_what_is_no_audio_leaves_the_stream_as_it_was(site: Path, tiny_model_path: Path) -> None:
    found = in_node(
        site,
        """
        const listener = await edgeemo.Listener.load(given.model);
        const refusals = [];
        for (const wrong of [[0, 1], new Float64Array(3), Float32Array.of(0, NaN), Float32Array.of(Infinity)]) {
          try { await listener.push(wrong); } catch (error) { refusals.push(error.message); }
        }
        return [refusals, (await listener.push(new Float32Array(2560))).length];
        """,
        model=tiny_model_path,
    )
    of_type, of_value = (
        "audio must be a Float32Array or an Int16Array",
        "audio holds NaN or infinite values; expected [-1, 1]",
    )
    assert found == [[of_type, of_type, of_value, of_value], 1]


# --- its parts -----------------------------------------------------------------------------------------------


@needs_node
@pytest.mark.parametrize(
    ("source", "target"), [(48000, 16000), (44100, 16000), (8000, 16000), (11025, 16000)]
)
def test_the_resampler_is_as_good_as_soxr(site: Path, source: int, target: int) -> None:
    """On white noise: as long, and within -65 dB below 0.9 of what the lower rate can hold; blocks do not matter."""
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * source).astype(np.float32)
    soxr = Resampler(source, target)
    expected = np.concatenate([soxr.push(noise), soxr.flush()])
    code = """
        const [resampler, found] = [new edgeemo.Resampler(given.source, given.target), []];
        for (let i = 0; i < audio.length; i += given.block)
          found.push(...resampler.push(audio.subarray(i, i + given.block)));
        return [...found, ...resampler.flush()];
    """
    found, other = (
        np.array(in_node(site, code, noise, source=source, target=target, block=block), np.float32)
        for block in (777, 100_000)
    )
    assert np.array_equal(found, other)
    assert len(found) == len(expected)
    hann = np.hanning(len(found))
    error, whole = (np.abs(np.fft.rfft(x * hann)) ** 2 for x in (found - expected, expected))
    hz = np.fft.rfftfreq(len(found), 1 / target)
    heard = hz < 0.9 * min(source, target) / 2
    assert 10 * np.log10(error[heard].sum() / whole[heard].sum()) < -65
    if source < target:  # nothing comes from above what the source could hold
        images = np.abs(np.fft.rfft(found * hann)) ** 2
        assert 10 * np.log10(images[hz > source / 2].sum() / images[heard].sum()) < -60


@needs_node
def test_the_spectrogram_is_the_front_ends(site: Path, sample: np.ndarray) -> None:
    features = package.load("emo_small").metadata.features
    found = in_node(
        site,
        """
        const bands = new mel.LogMel(given.features);
        const columns = [];
        for (let i = 0; i < audio.length; i += 999) columns.push(...bands.push(audio.subarray(i, i + 999)));
        return columns.map(({ low, high, bands }) => [low, high, ...bands]);
        """,
        sample[:32000],
        features=features.to_dict(),
    )
    assert np.allclose(np.array(found)[:, 2:], log_mel(sample[:32000].astype(float), features), atol=2e-3)
    hops = sample[:32000].reshape(-1, features.hop_samples)
    assert np.allclose(np.array(found)[:, :2], np.stack([hops.min(1), hops.max(1)], 1))


def log_mel(audio: np.ndarray, features: Any) -> np.ndarray:
    """By the definition: frames that end with their hop, Slaney's bands, decibels; shape (n_frames, n_mels)."""
    n, hop = features.n_fft, features.hop_samples
    padded = np.concatenate([np.zeros(n - hop), audio])
    frames = np.stack([padded[i : i + n] for i in range(0, len(audio) - hop + 1, hop)])
    power = np.abs(np.fft.rfft(frames * np.hanning(n + 1)[:-1])) ** 2
    mels = np.array([0, *(np.log(f / 1000) for f in (features.fmax_hz,))])
    top = 15 + mels[1] * 27 / np.log(6.4)
    points = np.linspace(features.fmin_hz * 15 / 1000, top, features.n_mels + 2)
    edges = np.where(points < 15, points * 1000 / 15, 1000 * np.exp((points - 15) * np.log(6.4) / 27))
    hz = np.fft.rfftfreq(n, 1 / features.sample_rate)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = np.maximum(0, np.minimum((hz - left) / (centre - left), (right - hz) / (right - centre)))
    return 10 * np.log10(np.maximum(1e-10, power @ (weights * 2 / (right - left)).T))


@needs_node
@pytest.mark.parametrize(
    "judgement",
    [
        Judgement.of(AROUSAL),
        Judgement(arousal={"angry": 1.0, "sad": 0.0}, temperature=2.5, unsure_below=0.3),
        Judgement(arousal={"happy": 1.0}),
    ],
)
def test_it_judges_as_python_does(site: Path, judgement: Judgement) -> None:
    labels = [*AROUSAL, "disgust"]
    draws = np.random.default_rng(0).dirichlet([0.3] * len(labels), size=200)
    expected = [judgement.answer(dict(zip(labels, row, strict=True))) for row in draws.tolist()]
    found = in_node(
        site,
        "return given.draws.map((row) => edgeemo.judge(given.judgement, given.labels, row));",
        draws=draws.tolist(),
        labels=labels,
        judgement=judgement.to_dict(),
    )
    assert [(f["label"], f["reason"]) for f in found] == [(e.label, e.reason) for e in expected]
    for f, e in zip(found, expected, strict=True):
        assert f["probabilities"] == pytest.approx(e.probabilities)
        assert f["arousal"] == (None if e.arousal is None else pytest.approx(e.arousal))


# --- the folder ----------------------------------------------------------------------------------------------


def test_the_folder(runtime_files: dict[str, bytes], site: Path) -> None:
    given = {"model.onnx", "voice.onnx", "voice.LICENCE", "card.md", *PAGE_FILES, *runtime_files}
    assert {path.name for path in site.iterdir()} == given
    assert (site / "model.onnx").read_bytes() == model_path("emo_small").read_bytes()
    assert json.loads((site / "package.json").read_text())["version"] == package.__version__
    sources = [(site / name).read_text() for name in PAGE_FILES]
    addresses = {address for text in sources for address in re.findall(r"\w+://[\w./]*\w", text)}
    assert addresses == {"http://127.0.0.1", "http://www.w3.org/2000/svg"}, "nothing comes from elsewhere"


def test_the_command(edgeemo: list[str], runtime_files: dict[str, bytes], tmp_path: Path) -> None:
    dist = tmp_path / "package" / "dist"
    dist.mkdir(parents=True)
    for name, content in runtime_files.items():
        (dist / name).write_bytes(content)
    command = [
        *edgeemo,
        "web",
        "--model",
        "cnn_lstm",
        "-o",
        tmp_path / "site",
        "--runtime",
        tmp_path / "package",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{tmp_path / 'site'}: the page of {model_path('cnn_lstm').stem}\n"
    (dist / "ort.wasm.bundle.min.mjs").write_bytes(b"other")
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("edgeemo: ort.wasm.bundle.min.mjs has the SHA-256 d9298a10d1b0")


def test_without_a_network_it_says_what_to_do(edgeemo: list[str], tmp_path: Path) -> None:
    nowhere = {
        "https_proxy": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "XDG_CACHE_HOME": str(tmp_path),
    }
    result = subprocess.run(
        [*edgeemo, "web", "-o", tmp_path / "site"],
        capture_output=True,
        text=True,
        env=os.environ | nowhere,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith(f"edgeemo: onnxruntime-web {runtime.VERSION} cannot be had from npm (")
    assert result.stderr.endswith("then give that folder with --runtime\n")
    assert not (tmp_path / "site").exists()


def test_it_wants_a_folder_or_to_show_it(edgeemo: list[str]) -> None:
    result = subprocess.run([*edgeemo, "web"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "--serve" in result.stderr


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "page.mjs").write_text("1")
    (tmp_path / "a.wasm").write_bytes(b"\0")
    with site_server(tmp_path, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_server(address: str) -> None:
    for name, kind in (("page.mjs", "text/javascript; charset=utf-8"), ("a.wasm", "application/wasm")):
        with urllib.request.urlopen(f"{address}/{name}") as response:
            assert response.headers["Content-Type"] == kind
            assert response.headers["Content-Security-Policy"].startswith(
                "default-src 'self'; script-src 'self' 'wasm-"
            )
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}/../pyproject.toml")
    with pytest.raises(OutputError, match=r"cannot be used .*; give another with --port"):
        site_server(Path(), int(address.rpartition(":")[2]))


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts differ")
def test_serving_until_it_is_interrupted(edgeemo: list[str], runtime_files: dict[str, bytes]) -> None:
    with subprocess.Popen(
        [*edgeemo, "web", "--serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        url = process.stdout.readline().split()[0]
        with urllib.request.urlopen(f"{url}model.onnx") as response:
            assert response.read() == model_path("emo_small").read_bytes()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
