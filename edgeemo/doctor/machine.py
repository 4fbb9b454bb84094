"""The machine itself: its processor, memory and disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import edgeemo
from edgeemo.bench.machine import Machine, describe
from edgeemo.doctor.findings import Check, Finding, Verdict

_FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX512-VNNI",
    "asimddp": "dot product",
    "i8mm": "i8mm",
}
"""What makes the models faster: Linux' name of it, and the usual one."""
_NEEDED_MIB = 150
_MEMINFO = Path("/proc/meminfo")
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def examine_machine() -> Iterator[Finding]:
    """The findings on this machine."""
    machine = describe()
    yield Finding(
        check=Check.EDGEEMO,
        verdict=Verdict.OK,
        found=f"{edgeemo.__version__}, {machine.python}, {machine.os}",
        facts={"version": edgeemo.__version__, "python": machine.python, "os": machine.os},
    )
    yield _processor(machine)
    yield _memory(machine)
    yield _disk(Path.home())


def cpu_features(cpuinfo: str) -> list[str] | None:
    """Which of the instructions that make models faster a processor has.

    Args:
        cpuinfo: the text of Linux' /proc/cpuinfo.

    Returns:
        of AVX2, AVX512, AVX-VNNI, AVX512-VNNI, dot product and i8mm; None where the text does not tell.
    """
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            has = value.split()
            return [usual for flag, usual in _FEATURES.items() if flag in has]
    return None


def _processor(machine: Machine) -> Finding:
    features = cpu_features(_text(Path("/proc/cpuinfo")))
    has = "unknown instructions" if features is None else ", ".join(features) or "none that makes int8 faster"
    cores = f"{machine.usable_cores or machine.cores} cores"
    return Finding(
        check=Check.PROCESSOR,
        verdict=Verdict.OK,
        found=f"{machine.board or machine.cpu or machine.architecture}, {cores}, {has}",
        facts={
            "architecture": machine.architecture,
            "cpu": machine.cpu,
            "cores": machine.cores,
            "features": features,
        },
    )


def _memory(machine: Machine) -> Finding:
    known = [mib for mib in (_available_mib(), _limit_mib()) if mib is not None]
    free_mib = min(known) if known else None
    facts = {"ram_mib": machine.ram_mib, "available_mib": free_mib}
    total = "unknown" if machine.ram_mib is None else f"{machine.ram_mib:,} MiB"
    found = total if free_mib is None else f"{free_mib:,} MiB of {total} free"
    if free_mib is not None and free_mib < _NEEDED_MIB:
        mend = f"end other programs, or allow more: {_NEEDED_MIB} MiB are enough"
        return Finding(check=Check.MEMORY, verdict=Verdict.WARNING, found=found, mend=mend, facts=facts)
    return Finding(check=Check.MEMORY, verdict=Verdict.OK, found=found, facts=facts)


def _disk(home: Path) -> Finding:
    """Nothing has to be written, so that nothing can be wrong."""
    try:
        free_mib = shutil.disk_usage(home).free // 2**20
    except OSError:
        return Finding(
            check=Check.DISK, verdict=Verdict.OK, found=f"no home at {home}: profiles need another place"
        )
    writable = os.access(home, os.W_OK)
    found = f"{free_mib:,} MiB free at {home}, " + (
        "for profiles" if writable else "which is read-only: profiles need another place"
    )
    facts = {"free_mib": free_mib, "writable": writable}
    return Finding(check=Check.DISK, verdict=Verdict.OK, found=found, facts=facts)


def _available_mib() -> int | None:
    for line in _text(_MEMINFO).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return None


def _limit_mib() -> int | None:
    """What a container may use."""
    limits = [int(text) // 2**20 for path in _LIMITS if (text := _text(path)).isdecimal()]
    return min(limits, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
