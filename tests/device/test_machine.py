"""What the machine is called in captions and JSON."""

from __future__ import annotations

import getpass
import json
import platform
import socket

import pytest

from edgeemo.bench import machine
from edgeemo.bench.machine import Machine

UNKNOWN = Machine(os="Linux", python="CPython 3.11", onnxruntime="1.20", numpy="2.0")


def test_machine_is_described() -> None:
    found = machine.describe()
    assert {"cpu", "architecture", "cores", "ram_mib", "os", "python", "onnxruntime", "numpy"} <= set(
        found.to_dict()
    )
    assert Machine(**json.loads(json.dumps(found.to_dict()))) == found
    assert all(str(value) in found.caption() for value in (found.cpu, found.ram_mib, found.os, found.numpy))


def test_nobodys_name_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    names = "a-hosts-name", "a-users-name", "a-builders-name"
    host, user, builder = names
    true = platform.uname()
    given = true._replace(node=host, release=f"{true.release}-{builder}")
    monkeypatch.setattr(platform, "uname", lambda: given)
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, user)
    for variable in ("HOSTNAME", "COMPUTERNAME"):
        monkeypatch.setenv(variable, host)
    # They would be seen, had it asked.
    assert (platform.node(), getpass.getuser()) == (host, user)
    assert platform.release().endswith(builder)

    found = machine.describe()
    shown = json.dumps(found.to_dict()) + found.caption()
    assert [name for name in names if name in shown] == []


PI_4 = "".join(
    f"processor\t: {i}\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n" for i in range(4)
)


@pytest.mark.parametrize(
    ("text", "cpu", "clock_mhz"),
    [
        (PI_4, "4 x Cortex-A72", None),
        ("CPU part\t: 0xd05\nCPU part\t: 0xfff\n", "1 x Cortex-A55 + 1 x ARM core 0xfff", None),
        ("model name\t: Intel(R)  Core(TM) i5\ncpu MHz\t\t: 2100.500\n", "Intel(R) Core(TM) i5", 2100),
        (
            "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n",
            "AMD EPYC (family 25, model 17)",
            None,
        ),
        ("cpu MHz\t\t: 0.000\n", None, 0),
        ("", None, None),
    ],
)
def test_cpuinfo_of_other_machines(text: str, cpu: str | None, clock_mhz: int | None) -> None:
    assert machine.cpu_in_cpuinfo(text) == cpu
    assert machine.clock_in_cpuinfo(text) == clock_mhz


def test_caption_does_without_what_is_unknown() -> None:
    assert UNKNOWN.caption() == "unknown CPU, Linux, CPython 3.11, onnxruntime 1.20, numpy 2.0"
    assert list(UNKNOWN.to_dict()) == ["os", "python", "onnxruntime", "numpy"]
