"""The live page of `edgeemo listen --serve` in headless Chromium."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

import edgeemo
from edgeemo.events import Event, Gap, State, Status, Utterance, Why
from edgeemo.features import Features
from edgeemo.places import sample_path
from edgeemo.sinks.server import Address, Server
from edgeemo.web.live import live_files
from support import event_samples as events
from support.browser import CHROMIUM, DRIVER, Page, chromium
from support.live_page import listening

pytest.importorskip("websockets", reason="the extra `serve` is not installed")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Debian's chromium and chromium-driver absent"),
]
WATCHING = """
    window.broken = [];
    document.addEventListener("securitypolicyviolation", (event) => window.broken.push(event.blockedURI));
"""
SHOWS = "return document.querySelector(arguments[0]).textContent.includes(arguments[1])"
N_COLOURS = """
    const canvas = document.getElementById(arguments[0]);
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
"""
END = events.each_kind()[-1]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("browser")) as page:
        page.command("Page.addScriptToEvaluateOnNewDocument", source=WATCHING)
        yield page


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def telling(*told: Event, port: int = 0) -> Iterator[Server]:
    """A server in this process, with events of a stream."""
    features = Features()
    address = Address("127.0.0.1", port)
    rate = features.sample_rate
    with Server(address, live_files(features), source_rate=rate, sample_rate=rate) as server:
        for event in told:
            server.take(event, events.AT)
        yield server


def test_it_shows_what_listen_hears(page: Page) -> None:
    with edgeemo.AudioFile(sample_path(), realtime=False) as source:
        expected = [e for e in edgeemo.listen(source, edgeemo.load("emo_small")) if isinstance(e, Utterance)]
    with listening("--sample", "--model", "emo_small") as url:
        page.open(url)
        page.until(SHOWS, "#status", "Listening to speech.flac; emo_small")
        label = page.until(
            "const l = document.getElementById('label'); return !l.className && l.textContent.trim()"
        )
        assert label in edgeemo.load("emo_small").labels
        assert page.run("return document.querySelector('#probabilities .named').textContent")
        for canvas, least in (("waveform", 3), ("spectrogram", 100), ("history", 10), ("latency", 2)):
            page.until(f"return (() => {{ {N_COLOURS} }})() >= arguments[1]", canvas, least)
        page.until(SHOWS, "#utterances", "1. ")
        page.until(SHOWS, "#status", "The stream has ended.")
    shown = [
        f"{e.utterance}. {e.start_s:.1f} to {e.end_s:.1f} s: {e.label or f'({e.reason})'}, arousal {e.arousal:.2f}"
        for e in reversed(expected)
    ]
    assert page.text("#utterances").splitlines() == shown
    assert page.text("#label") == "(ended)"
    said = r"A step of 160 ms of audio takes [\d.]+ ms, 99 % at most [\d.]+ ms; 0\.0 s of audio lost\."
    assert re.fullmatch(said, page.text("#latency-text"))
    assert page.run("return window.broken") == []
    found = page.run("return performance.getEntriesByType('resource').map((e) => new URL(e.name).host)")
    assert set(found) == {page.run("return location.host")}


def test_it_connects_again(page: Page, port: int) -> None:
    """With the next stream it starts afresh."""
    with telling(events.start(), events.step(label="angry"), events.utterance(7), port=port) as server:
        page.open(server.url)
        page.until(SHOWS, "#label", "angry")
        page.until(SHOWS, "#utterances", "7. ")
    page.until(SHOWS, "#label", "(no connection)")
    assert page.text("#status") == "No connection to edgeemo. Trying again."
    assert page.text("#detail")
    later = replace(events.start(), source="another one")
    with telling(port=port) as server:
        server.take(later, events.AT + timedelta(seconds=9))
        page.until(SHOWS, "#status", "Listening to another one, channel 1; tiny.window.")
        page.until("return document.querySelectorAll('#utterances li').length === 0")
        server.take(events.step(label="sad"), events.AT)
        page.until(SHOWS, "#label", "sad")
        server.take(END, events.AT)
    page.until(SHOWS, "#label", "(ended)")


def test_the_same_stream_goes_on(page: Page, port: int) -> None:
    """What is told again after a connection was lost is not shown twice."""
    told = [events.start(), events.step(0.16), events.utterance(1)]
    with telling(*told, port=port) as server:
        page.open(server.url)
        page.until(SHOWS, "#utterances", "1. ")
    page.until(SHOWS, "#label", "(no connection)")
    with telling(*told, events.step(3.8, label="sad"), port=port):
        page.until(SHOWS, "#label", "sad")
        assert len(page.text("#utterances").splitlines()) == 1


def test_a_reload_shows_what_was_told_before(page: Page) -> None:
    steps = [events.step(0.16 * n, label=("angry", "sad")[n // 30 % 2]) for n in range(1, 101)]
    utterances = [events.utterance(n) for n in range(1, 4)]
    with telling(events.start(), *steps, *utterances) as server:
        shown = []
        for _ in range(2):
            page.open(server.url)
            page.until(SHOWS, "#utterances", "3. ")
            page.until(SHOWS, "#latency-text", "A step of 160 ms")
            shown.append((page.text("#utterances"), page.text("#label"), page.run(N_COLOURS, "history")))
    assert len(shown[0][0].splitlines()) == 3
    assert shown[0] == shown[1]
    assert shown[1][2] > 5


def test_what_is_wrong(page: Page) -> None:
    with telling(events.start(), events.step(0.16)) as server:
        page.open(server.url)
        page.until(SHOWS, "#label", "angry")
        assert page.text("#wrong") == ""
        text = "only zeros come; <b>unmute</b> the microphone"
        server.take(Status(time_s=1.0, state=State.MUTED, active=True, text=text), events.AT)
        page.until(SHOWS, "#wrong", text)
        server.take(Gap(time_s=4.5, start_s=3.0, length_s=1.5, why=Why.STALLED), events.AT)
        page.until(SHOWS, "#wrong", "1.5 s of audio are missing at 3.0 s (stalled).")
        page.until(SHOWS, "#latency-text", "1.5 s of audio lost.")
        server.take(Status(time_s=5.0, state=State.MUTED, active=False, text="again"), events.AT)
        page.until("return document.querySelectorAll('#wrong li').length === 1")
        assert page.run("return document.querySelectorAll('#wrong b').length") == 0


def test_audio_is_drawn(page: Page) -> None:
    with telling(events.start()) as server:
        page.open(server.url)
        page.until(SHOWS, "#status", "Listening")
        assert page.run(N_COLOURS, "spectrogram") == 1
        noise = np.random.default_rng(0).normal(0, 0.2, 16000).astype(np.float32)
        server.hear(noise)
        page.until(f"return (() => {{ {N_COLOURS} }})() > 100", "spectrogram")
        page.until(f"return (() => {{ {N_COLOURS} }})() > 1", "waveform")


def test_another_schema(page: Page) -> None:
    with telling(replace(events.start(), schema=2)) as server:
        page.open(server.url)
        page.until(SHOWS, "#status", "This page reads schema 1; the server speaks 2.")


def test_narrow_screens_and_screen_readers(page: Page, tmp_path: Path) -> None:
    size = {"width": 360, "height": 740}
    page.command("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=2, mobile=True)
    text = "a_very_long_name_of_a_device_without_a_space" * 2
    wrong = Status(time_s=1.0, state=State.MUTED, active=True, text=text)
    start = replace(events.start(), source=text)
    with telling(start, wrong, events.step(1.0), events.utterance(1)) as server:
        page.open(server.url)
        page.until(SHOWS, "#utterances", "1. ")
        page.until(SHOWS, "#label", "angry")
        assert page.run("return document.documentElement.scrollWidth") <= 360
        nodes = page.command("Accessibility.getFullAXTree")["nodes"]
    page.command("Emulation.clearDeviceMetricsOverride")
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and "role" in node
    }
    assert {("image", "Waveform of the last seconds"), ("meter", "angry")} <= named
    assert not {name for role, name in named if role in ("image", "meter", "list") and not name}
    for element in ("label", "status", "wrong"):
        assert page.run("return document.getElementById(arguments[0]).ariaLive", element) == "polite"
