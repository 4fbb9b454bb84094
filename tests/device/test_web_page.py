"""The page of `edgeemo web` in headless Chromium and Firefox, with files and with a microphone that plays one."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import edgeemo
from edgeemo.events import SCHEMA_PATH
from edgeemo.places import sample_path
from edgeemo.web import runtime
from edgeemo.web.site import write_site
from support.browser import CHROMIUM, DRIVER, FIREFOX, Page, chromium, firefox
from support.site import HEARD, PROBLEM, READY, saved, shown
from support.virtual_microphone import VirtualMicrophone

pytestmark = [pytest.mark.slow, pytest.mark.browser]
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="Debian's chromium and chromium-driver absent"
)
needs_firefox = pytest.mark.skipif(not FIREFOX, reason="Debian's firefox-esr absent")
Browser = Callable[..., AbstractContextManager[Page]]
TOLERANCE = {
    "emo_small.stream": 1e-5,
    "emo_small.stream.int8": 1e-2,  # roundings of eight bits fall either way
}
ALLOWED = ("--use-fake-ui-for-media-stream",)
AT_16_KHZ = "AudioContext = class extends AudioContext { constructor() { super({ sampleRate: 16000 }); } };"


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a model's page."""
    try:
        files = runtime.runtime_files()
    except edgeemo.EdgeEmoError as error:
        pytest.skip(str(error))

    def site(model: str) -> Path:
        folder = tmp_path_factory.mktemp("site")
        write_site(folder, model, files)
        return folder

    return site


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(chromium, id="chromium", marks=needs_chromium),
        pytest.param(firefox, id="firefox", marks=needs_firefox),
    ],
)
def browser(request: pytest.FixtureRequest) -> Browser:
    """A test with this runs in each browser."""
    found: Browser = request.param
    return found


@pytest.fixture(scope="module")
def page(sites: Callable[[str], Path], browser: Browser) -> Iterator[Page]:
    """The default model's page, that is ready."""
    with shown(sites("emo_small.stream.int8"), browser=browser) as page:
        page.until(READY)
        yield page


@pytest.fixture(scope="module")
def chromium_page(sites: Callable[[str], Path]) -> Iterator[Page]:
    """The same in Chromium, which can be told more than Firefox."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("Debian's chromium and chromium-driver absent")
    with shown(sites("emo_small.stream.int8")) as page:
        page.until(READY)
        yield page


def steps(page: Page) -> list[dict[str, Any]]:
    return [event for event in saved(page) if event["event"] == "step"]


def in_python(audio: np.ndarray, rate: int, model: str) -> list[edgeemo.Step]:
    listener = edgeemo.Listener(edgeemo.load(model), sample_rate=rate)
    return [step for step in listener.push(audio) if isinstance(step, edgeemo.Step)]


def agree(found: list[dict[str, Any]], expected: list[edgeemo.Step], tolerance: float) -> None:
    said = ("utterance", "paused", "label", "reason")
    assert [[s[k] for k in said] for s in found] == [[getattr(s, k) for k in said] for s in expected]
    assert {s.label for s in expected} - {None}, "it heard something"
    differences = [
        abs(f["probabilities"][label] - p)
        for f, e in zip(found, expected, strict=True)
        for label, p in e.probabilities.items()
    ]
    assert max(differences) <= tolerance


@pytest.fixture(scope="module")
def voice_48k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled sample for Chromium's microphone."""
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    audio, _ = soundfile.read(sample_path(), dtype="float32")
    resampler = edgeemo.audio.Resampler(16000, 48000)
    soundfile.write(path, np.concatenate([resampler.push(audio), resampler.flush()]), 48000, subtype="PCM_16")
    return path


def plays(path: Path) -> tuple[str, ...]:
    return ("--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={path}", *ALLOWED)


# --- it says what Python says --------------------------------------------------------------------------------


def test_a_file(page: Page, tmp_path: Path) -> None:
    page.type("#file", str(sample_path()))
    page.until(HEARD)
    audio, rate = soundfile.read(sample_path(), dtype="float32")
    agree(steps(page), in_python(audio, rate, "emo_small.stream.int8"), TOLERANCE["emo_small.stream.int8"])
    assert page.text("#status") == "Heard 59 steps and 3 utterances."
    assert len(page.text("#utterances").splitlines()) == 3


def test_what_it_saves_is_what_the_schema_of_events_says(page: Page, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    page.type("#file", str(sample_path()))
    page.until("return document.getElementById('status').textContent.startsWith('Reading')")
    page.until(HEARD)
    schema = jsonschema.Draft202012Validator(json.loads(SCHEMA_PATH.read_text()))
    events = saved(page)
    assert {event["event"] for event in events} == {"step", "utterance"}
    for event in events:
        schema.validate(event)


def test_files_are_heard_to_the_bit(sites: Callable[[str], Path], browser: Browser, tmp_path: Path) -> None:
    """In float, samples of 16 bits in WAV are Python's."""
    samples, rate = soundfile.read(sample_path(), dtype="int16")
    soundfile.write(tmp_path / "both.wav", np.stack([samples, samples], 1), rate, subtype="PCM_16")
    with shown(sites("emo_small.stream"), browser=browser) as page:
        page.until(READY)
        page.type("#file", str(tmp_path / "both.wav"))
        page.until(HEARD)
        audio = (samples / 32768).astype(np.float32)
        agree(steps(page), in_python(audio, rate, "emo_small.stream"), 1e-5)


def test_a_stereo_file_of_another_rate(page: Page, tmp_path: Path, voice_48k: Path) -> None:
    """At its own rate, by the page's resampler; its channels are averaged."""
    audio, rate = soundfile.read(voice_48k, dtype="float32")
    soundfile.write(tmp_path / "both.wav", np.stack([1.2 * audio, 0.8 * audio], 1), rate, subtype="FLOAT")
    page.type("#file", str(tmp_path / "both.wav"))
    page.until("return document.getElementById('status').textContent.startsWith('Reading')")
    page.until(HEARD)
    expected = in_python(np.concatenate([audio, np.zeros(4800, np.float32)]), rate, "emo_small.stream.int8")
    found = steps(page)
    agree(found, expected[: len(found)], 0.01)


def test_what_is_chosen_last_is_heard(page: Page, tmp_path: Path) -> None:
    audio, rate = soundfile.read(sample_path(), dtype="int16")
    soundfile.write(tmp_path / "long.wav", np.tile(audio, 30), rate)
    page.type("#file", str(tmp_path / "long.wav"))
    page.until("return document.getElementById('detail').textContent.includes('utterance')")
    page.type("#file", str(sample_path()))
    page.until("return document.getElementById('status').textContent === 'Heard 59 steps and 3 utterances.'")
    assert saved(page)[0]["time_s"] == pytest.approx(0.16)


def test_no_audio_file(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("no audio")
    page.type("#file", str(tmp_path / "notes.wav"))
    assert page.until(PROBLEM) == "notes.wav cannot be read as audio; expected WAV, FLAC, MP3 or Ogg."


@needs_chromium
@pytest.mark.parametrize("model", TOLERANCE)
def test_a_microphone(sites: Callable[[str], Path], voice_48k: Path, model: str) -> None:
    """Audio worklet and worker give what Python says of the same samples, at 16 kHz, where nothing is resampled."""
    with shown(sites(model), *plays(voice_48k), before=AT_16_KHZ) as page:
        page.until(READY)
        page.click("#microphone")
        page.until("return window.blocks.length > 8 * 16000 && !document.getElementById('save').disabled")
        page.click("#microphone")
        audio = np.array(page.run("return window.blocks"), np.float32)
        n_steps = len(audio) // 2560
        last = f"return document.getElementById('detail').textContent.startsWith('{n_steps * 0.16:.1f} s')"
        page.until(last)
        agree(steps(page), in_python(audio, 16000, model), TOLERANCE[model])
        assert page.text("#latency-text").endswith("0.0 s of audio lost.")


@needs_firefox
@pytest.mark.microphone
@pytest.mark.parametrize("model", TOLERANCE)
def test_a_microphone_in_firefox(
    sites: Callable[[str], Path], microphone: VirtualMicrophone, model: str
) -> None:
    """At the rate that Firefox opens it with, which the page resamples from."""
    at_microphone = partial(
        firefox, environment=microphone.environment, media__navigator__permission__disabled=True
    )
    with shown(sites(model), browser=at_microphone) as page:
        page.until(READY)
        page.click("#microphone")
        page.until("return window.blocks.length > 0")
        microphone.play(sample_path())
        page.click("#microphone")
        page.until(HEARD)
        audio = np.array(page.run("return window.blocks"), np.float32)
        rate = page.run("return new AudioContext().sampleRate")
        assert rate > 16000
        found, expected = steps(page), in_python(audio, rate, model)
        assert len(expected) <= len(found)  # the page has ended its stream, and so the last utterance
        told = [event["utterance"] for event in saved(page) if event["event"] == "utterance"]
        assert told == list(range(1, found[-1]["utterance"] + 1))
        agree(found[: len(expected)], expected, TOLERANCE[model])
        assert page.text("#latency-text").endswith("0.0 s of audio lost.")


@needs_chromium
def test_a_voice_is_learnt_and_kept(sites: Callable[[str], Path], voice_48k: Path) -> None:
    """From 20 s of speech at the browser's own rate; a page that is loaded again knows it, until it forgets."""
    with shown(sites("emo_small"), *plays(voice_48k)) as page:
        page.until(READY)
        assert page.text("#voice-status") == "Your voice is not known."
        page.click("#learn")
        page.until(
            "return document.getElementById('voice-status').textContent.startsWith('Your voice is known')"
        )
        assert page.text("#microphone") == "Start microphone"
        kept = json.loads(page.run("return localStorage.getItem(localStorage.key(0))"))
        profile = edgeemo.Profile.from_dict(kept)
        model = edgeemo.load("emo_small")
        edgeemo.Listener(model, sample_rate=16000, profile=profile)
        assert profile.n_utterances > 5
        page.run("location.reload()")
        page.until(READY)
        assert page.text("#voice-status").startswith("Your voice is known from")
        page.click("#forget")
        assert page.text("#voice-status") == "Your voice is not known."
        assert page.run("return localStorage.length") == 0


# --- a sentence instead of a blank page ----------------------------------------------------------------------


@needs_chromium
def test_a_microphone_that_is_not_allowed(sites: Callable[[str], Path]) -> None:
    with shown(sites("emo_small"), "--use-fake-device-for-media-stream") as page:
        page.until(READY)
        page.command("Browser.setPermission", permission={"name": "microphone"}, setting="denied")
        page.click("#microphone")
        assert page.until(PROBLEM).startswith("The microphone is not allowed: allow it for this page")
        assert page.text("#microphone") == "Start microphone"


@needs_chromium
def test_no_microphone(sites: Callable[[str], Path]) -> None:
    with shown(sites("emo_small"), *ALLOWED) as page:
        page.until(READY)
        page.click("#microphone")
        assert page.until(PROBLEM) == "There is no microphone: plug one in, or choose a file."


@needs_firefox
@pytest.mark.parametrize(
    ("preferences", "sentence"),
    [
        (
            {"media__navigator__streams__fake": True, "permissions__default__microphone": 2},
            "The microphone is not allowed: allow it for this page",
        ),
        ({"media__navigator__permission__disabled": True}, "There is no microphone: plug one in"),
    ],
)
def test_no_microphone_in_firefox(
    sites: Callable[[str], Path], tmp_path: Path, preferences: dict[str, bool | int], sentence: str
) -> None:
    nothing = {name: value for name, value in os.environ.items() if not name.startswith(("PULSE_", "ALSA_"))}
    environment = nothing | {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    with shown(sites("emo_small"), browser=partial(firefox, environment=environment, **preferences)) as page:
        page.until(READY)
        page.click("#microphone")
        assert page.until(PROBLEM).startswith(sentence)
        assert page.text("#microphone") == "Start microphone"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"<html>404</html>", "The model cannot be loaded: model.onnx is not an ONNX model."),
        (None, "The model cannot be loaded: model.onnx cannot be read: 404 File not found."),
        ("tiny.image.onnx", "The model cannot be loaded: a model of images; expected one of audio."),
    ],
)
def test_a_wrong_model(
    sites: Callable[[str], Path], browser: Browser, content: bytes | str | None, sentence: str
) -> None:
    folder = sites("emo_small")
    (folder / "model.onnx").unlink()
    if isinstance(content, str):
        shutil.copy(Path(__file__).with_name(content), folder / "model.onnx")
    elif content is not None:
        (folder / "model.onnx").write_bytes(content)
    with shown(folder, browser=browser) as page:
        assert page.until(PROBLEM) == sentence
        assert page.text("#status") == ""


@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        ("delete globalThis.WebAssembly;", "This browser has no WebAssembly, or has it switched off"),
        (
            "WebAssembly.validate = () => false;",
            "This browser's WebAssembly has no SIMD, which the model needs",
        ),
        ("delete globalThis.AudioContext;", "This browser lacks workers or Web Audio"),
    ],
)
def test_an_old_browser(sites: Callable[[str], Path], browser: Browser, before: str, sentence: str) -> None:
    with shown(sites("emo_small"), before=before, browser=browser) as page:
        assert page.until(PROBLEM).startswith(sentence)


# --- for everybody -------------------------------------------------------------------------------------------


def test_it_needs_nothing_from_elsewhere(chromium_page: Page) -> None:
    """Everything comes from where the page is, under its policy, and files are heard without a network."""
    found = chromium_page.run(
        "return performance.getEntriesByType('resource').map((e) => new URL(e.name).origin)"
    )
    assert set(found) == {chromium_page.run("return location.origin")}
    chromium_page.command("Network.enable")
    chromium_page.command(
        "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
    )
    chromium_page.type("#file", str(sample_path()))
    chromium_page.until("return !document.getElementById('status').textContent.startsWith('Heard')")
    chromium_page.until(HEARD)
    chromium_page.command(
        "Network.emulateNetworkConditions",
        offline=False,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )
    assert chromium_page.run("return window.broken") == []


def test_narrow_screens(chromium_page: Page) -> None:
    chromium_page.command(
        "Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True
    )
    assert chromium_page.run("return document.documentElement.scrollWidth") <= 360
    chromium_page.click("#card summary")
    assert chromium_page.until(
        "return document.getElementById('card-text').textContent.includes('Terms of the weights')"
    )
    chromium_page.until("return document.querySelector('#card-text h3')")
    assert chromium_page.run("return document.documentElement.scrollWidth") <= 360
    chromium_page.click("#card summary")
    chromium_page.command("Emulation.clearDeviceMetricsOverride")


def test_by_keyboard(page: Page) -> None:
    page.run("document.getElementById('microphone').focus()")
    reached = []
    for _ in range(4):
        page.key("\ue004")
        reached.append(page.run("return document.activeElement.id || document.activeElement.tagName"))
    assert {"file", "learn", "SUMMARY"} <= set(reached)  # and "save", where there is something to save


def test_by_screen_reader(chromium_page: Page) -> None:
    """What is pressed and what is shown has a name; the label is told as it changes."""
    nodes = chromium_page.command("Accessibility.getFullAXTree")["nodes"]
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and "role" in node
    }
    assert {("button", "Start microphone"), ("button", "Learn my voice")} <= named
    assert {("image", "Waveform of the last seconds"), ("meter", "angry")} <= named
    assert not {name for role, name in named if role in ("button", "image", "meter") and not name}
    assert chromium_page.run("return document.getElementById('label').getAttribute('aria-live')") == "polite"
    assert "Audio never leaves this machine" in chromium_page.text("body")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(chromium_page: Page, scheme: str) -> None:
    """Text and colours of labels against what is behind them, by WCAG: at least 4.5 and 3."""
    chromium_page.command(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
    )
    names = ["--paper", "--card", "--ink", "--quiet", "--warn", "--accent", "--on-accent"]
    names += [f"--label-{i}" for i in range(8)]
    script = (
        "const s = getComputedStyle(document.body); return arguments[0].map((n) => s.getPropertyValue(n))"
    )
    colours = dict(zip(names, chromium_page.run(script, names), strict=True))
    assert (luminance(colours["--paper"]) < 0.1) == (scheme == "dark")
    for name in ("--ink", "--quiet", "--warn"):
        assert min(contrast(colours[name], colours[behind]) for behind in ("--paper", "--card")) >= 4.5
    assert contrast(colours["--on-accent"], colours["--accent"]) >= 4.5
    for i in range(8):
        assert contrast(colours[f"--label-{i}"], colours["--card"]) >= 3


def luminance(colour: str) -> float:
    digits = colour.strip().lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    parts = [int(part, 16) / 255 for part in re.findall("..", digits)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one: str, other: str) -> float:
    light, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (light + 0.05) / (dark + 0.05)
