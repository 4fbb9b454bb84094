"""What machine this is, for the caption of a table of latencies. Never a host name, never a user name."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

# Linux on ARM names no model in /proc/cpuinfo, only the implementer and the part number of the core.
_ARM_CORES = {
    "0xb76": "ARM1176",
    "0xc07": "Cortex-A7",
    "0xc08": "Cortex-A8",
    "0xc09": "Cortex-A9",
    "0xc0f": "Cortex-A15",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine, and what runs models on it. What could not be found out is None.

    Attributes:
        board: as a Raspberry Pi states it.
        cpu: its name.
        architecture: such as `x86_64`.
        cores: logical ones.
        usable_cores: those that this process may run on.
        clock_mhz: the highest, as the system states it.
        governor: of the CPU's frequency.
        ram_mib: memory, in MiB.
        os: the operating system and its version.
        python, onnxruntime, numpy: their versions.
    """

    board: str | None = None
    cpu: str | None = None
    architecture: str | None = None
    cores: int | None = None
    usable_cores: int | None = None
    clock_mhz: int | None = None
    governor: str | None = None
    ram_mib: int | None = None
    os: str
    python: str
    onnxruntime: str
    numpy: str

    def caption(self) -> str:
        """One line for under a table."""
        clock = "" if self.clock_mhz is None else f" at {self.clock_mhz} MHz"
        parts = (
            self.board,
            f"{self.cpu or 'unknown CPU'}{clock}",
            None if self.cores is None else f"{self.cores} cores",
            self.architecture,
            None if self.governor is None else f"governor {self.governor}",
            None if self.ram_mib is None else f"{self.ram_mib} MiB RAM",
            self.os,
            self.python,
            f"onnxruntime {self.onnxruntime}",
            f"numpy {self.numpy}",
        )
        return ", ".join(part for part in parts if part)

    def to_dict(self) -> dict[str, str | int]:
        """What JSON keeps: what could be found out."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


def describe() -> Machine:
    """Describe this machine."""
    return Machine(
        board=_board(),
        cpu=_cpu(),
        architecture=platform.machine() or None,
        cores=os.cpu_count(),
        usable_cores=_usable_cores(),
        clock_mhz=_clock_mhz() or None,  # some virtual machines state 0
        governor=_text(_CPU0 / "scaling_governor"),
        ram_mib=_ram_mib(),
        os=_os(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        onnxruntime=ort.__version__,
        numpy=np.__version__,
    )


def cpu_in_cpuinfo(text: str) -> str | None:
    """The CPU's name in the text of Linux' /proc/cpuinfo: x86 states it, ARM gives a part number per core."""
    fields = _fields(text)
    for name in ("model name", "cpu model"):
        if fields.get(name):
            numbers = [
                f"{key.split()[-1]} {fields[key][0]}" for key in ("cpu family", "model") if key in fields
            ]
            # A virtual machine may only say "AMD EPYC", of generations that differ by a factor of two.
            return f"{fields[name][0]} ({', '.join(numbers)})" if numbers else fields[name][0]
    parts = [part.lower() for part in fields.get("cpu part", [])]
    names = [_ARM_CORES.get(part, f"ARM core {part}") for part in parts]
    if names:
        return " + ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    return None


def clock_in_cpuinfo(text: str) -> int | None:
    """The clock in MHz in the text of Linux' /proc/cpuinfo: the first core's, at this moment."""
    values = _fields(text).get("cpu mhz")
    return round(float(values[0])) if values else None


_CPU0 = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_CPUINFO = Path("/proc/cpuinfo")


def _fields(text: str) -> dict[str, list[str]]:
    """Lower-case field name -> its values, one per core."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, separator, value = line.partition(":")
        if separator and value.strip():
            fields.setdefault(name.strip().lower(), []).append(" ".join(value.split()))
    return fields


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\n") or None
    except OSError:
        return None


def _board() -> str | None:
    return _text(Path("/proc/device-tree/model"))


def _cpu() -> str | None:
    if sys.platform == "win32":
        name = _windows_registry("ProcessorNameString")
        return str(name).strip() if name else platform.processor() or None
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string")
    return cpu_in_cpuinfo(_text(_CPUINFO) or "")


def _clock_mhz() -> int | None:
    if sys.platform == "win32":
        value = _windows_registry("~MHz")
        return int(value) if value else None
    if sys.platform == "darwin":
        hz = _sysctl("hw.cpufrequency_max")  # Apple silicon does not tell
        return round(int(hz) / 1e6) if hz else None
    khz = _text(_CPU0 / "cpuinfo_max_freq")
    return round(int(khz) / 1000) if khz else clock_in_cpuinfo(_text(_CPUINFO) or "")


def _usable_cores() -> int | None:
    if sys.platform in ("win32", "darwin"):
        return None
    return len(os.sched_getaffinity(0))


def _ram_mib() -> int | None:
    if sys.platform == "win32":
        import ctypes

        class Status(ctypes.Structure):
            _fields_ = (
                ("length", ctypes.c_uint32),
                ("load", ctypes.c_uint32),
                ("total_physical", ctypes.c_uint64),
                ("rest", ctypes.c_uint64 * 6),
            )

        status = Status(length=ctypes.sizeof(Status))
        if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return None
        return int(status.total_physical) // 2**20
    if sys.platform == "darwin":
        value = _sysctl("hw.memsize")
        return int(value) // 2**20 if value else None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20


def _os() -> str:
    if sys.platform == "win32":
        return f"Windows {platform.release()} {platform.version()}"
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"
    # The kernel's version alone: its local suffix may carry whatever name its builder gave it.
    kernel = re.match(r"[\d.]+", platform.release())
    return f"{name}, {platform.system()} {kernel[0] if kernel else ''}".strip()


def _sysctl(name: str) -> str | None:
    try:
        done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _windows_registry(value: str) -> str | int | None:
    if sys.platform != "win32":
        return None
    import winreg

    path = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
            found: str | int = winreg.QueryValueEx(key, value)[0]
            return found
    except OSError:
        return None
