"""Which microphone is meant where the system has several interfaces to each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgeemo.errors import DeviceError
from edgeemo.sources import Microphone

Install = Callable[..., Any]
WHOLE = "Microphone (Realtek High Definition Audio)"
CUT = WHOLE[:31]
APIS = ["MME", "Windows DirectSound", "Windows WASAPI"]


@pytest.mark.parametrize("wanted", ["realtek", WHOLE, CUT, CUT.upper()])
def test_a_microphone_that_several_host_apis_have_is_one(install_portaudio: Install, wanted: str) -> None:
    install_portaudio([(name, 2, 44100.0) for name in (CUT, WHOLE, WHOLE)], host_apis=APIS)
    assert Microphone(wanted).device.host_api == ("Windows DirectSound" if wanted == WHOLE else "MME")


def test_the_first_host_api_that_has_it_once(install_portaudio: Install) -> None:
    """MME shows two microphones under one cut name: only in the other APIs is it clear which is meant."""
    other = WHOLE.replace("Audio", "Radio")
    devices = [(name, 2, 44100.0) for name in (CUT, CUT, WHOLE, other)]
    install_portaudio(devices, host_apis=["MME", "MME", "WASAPI", "WASAPI"])
    assert Microphone(WHOLE).device.index == 2
    for wanted in (CUT, "realtek"):
        with pytest.raises(DeviceError, match=r"(2|4) input devices match .*, 2 '.*Audio\)' \(WASAPI\), 3 "):
            Microphone(wanted)


def test_names_that_only_begin_alike_are_of_two_microphones(install_portaudio: Install) -> None:
    install_portaudio([("Mic", 1, 48000.0), ("Mic 2", 1, 48000.0)], host_apis=["MME", "WASAPI"])
    with pytest.raises(DeviceError, match="2 input devices match 'mic'"):
        Microphone("mic")
