"""The machine: what it is, and the settings a run changes for its time."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_GIB = 1024**3


def describe_machine() -> dict[str, str]:
    """What a reader needs in order to compare: hardware, kernel, and how busy it was."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": parse_cpu_model(Path("/proc/cpuinfo").read_text()),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / _GIB:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "congestion control": _CONGESTION_CONTROL.read_text().strip(),
        "load before the run": f"{os.getloadavg()[0]:.2f}",
    }


def parse_cpu_model(cpuinfo: str) -> str:
    """The model name of the first processor; "unknown" where the architecture gives none."""
    found = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    return found[1] if found else "unknown"


def describe_versions() -> dict[str, str]:
    """The programs and packages that are compared, or that compare."""
    packages = ("ocaserve", "uvloop", "aiohttp")
    return {
        "Python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
        "nginx": _first_match(r"nginx/(\S+)", "nginx", "-v"),
        "wrk": _first_match(r"wrk (\S+)", "wrk", "-v"),
    }


def _first_match(pattern: str, *command: str) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(pattern, said.stdout + said.stderr)
    return found[1] if found else "unknown"


@contextmanager
def congestion_control(name: str) -> Iterator[str | None]:
    """Set the machine's TCP congestion control, and put it back.

    BBR, the default of many cloud images, paces loopback too: every server then looks alike, and
    slow. Gives None, or why it could not be set.
    """
    before = _CONGESTION_CONTROL.read_text().strip()
    if before == name:
        yield None
        return
    try:
        _CONGESTION_CONTROL.write_text(name)
    except OSError as error:
        yield f"TCP congestion control stayed {before} instead of {name}: {error.strerror}"
        return
    try:
        yield None
    finally:
        _CONGESTION_CONTROL.write_text(before)


def raise_descriptor_limit() -> int:
    """Allow this process and those it starts as many open files as there may be; returns that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def disk_of(folder: Path) -> str | None:
    """The disk, as MAJOR:MINOR, that a folder lies on; None if it is on no disk of its own.

    A partition's disk is the whole one: the kernel limits no partitions.
    """
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    entry = Path("/sys/dev/block") / number
    if not entry.exists():
        return None
    if (entry / "partition").exists():
        return (entry.resolve().parent / "dev").read_text().strip()
    return number
