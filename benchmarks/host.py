"""The machine: what it has, what a server's processes cost, and how noise is kept out."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

SERVER_CORE = 0
CLIENT_CORE = 1
NEEDED_BYTES = 3 << 30  # content, logs, the image of the throttled disk

_CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_TOOLS = {"wrk": "wrk", "nginx": "nginx-light", "strace": "strace", "taskset": "util-linux"}


class NotReadyError(Exception):
    """The machine lacks something; the text says what, and what to install."""


def check_needs(folder: Path, ports: Sequence[int]) -> None:
    """Raise NotReadyError for a missing tool, a busy port, too few cores or too full a disk."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [package for tool, package in _TOOLS.items() if not shutil.which(tool, path=path)]
    if missing:
        raise NotReadyError(f"missing: apt-get install {' '.join(missing)}")
    if len(os.sched_getaffinity(0)) < 2:
        raise NotReadyError("two cores are needed: one for the server, one for the client")
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise NotReadyError(f"{folder}: {free >> 20} MiB free, {NEEDED_BYTES >> 20} MiB needed")
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise NotReadyError(f"port {port}: {error.strerror}") from error


def process_tree(pid: int) -> list[int]:
    """The process and all below it."""
    tree = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                tree += process_tree(int(child))
    return tree


def cpu_seconds(pid: int) -> float:
    """What the processes below `pid` that live now have used, in all their threads.

    From schedstat, which counts nanoseconds; the clock ticks of /proc/PID/stat are too coarse.
    """
    total = 0
    for process in process_tree(pid):
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{process}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def resident_bytes(pid: int) -> int:
    """Proportional memory of the process tree, in bytes."""
    total = 0
    for process in process_tree(pid):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


@contextlib.contextmanager
def cubic() -> Iterator[str]:
    """Cubic congestion control while the block runs: BBR paces loopback and hides the server.

    Yields what is in force.
    """
    before = _CONGESTION_CONTROL.read_text().strip()
    try:
        _CONGESTION_CONTROL.write_text("cubic")
    except OSError:
        yield f"{before} (only root can choose cubic)"
        return
    try:
        yield "cubic"
    finally:
        _CONGESTION_CONTROL.write_text(before)


@contextlib.contextmanager
def locked_in_memory(files: Sequence[Path]) -> Iterator[bool]:
    """Keep the files' pages in memory, so that hot stays hot; yields whether it could be done.

    Some systems reclaim pages that were not used for seconds, and a benchmark of memory would then
    be one of the disk, for a part of its requests.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    done = True
    with contextlib.ExitStack() as maps:
        for path in files:
            file = maps.enter_context(path.open("r+b"))
            mapped = maps.enter_context(contextlib.closing(mmap.mmap(file.fileno(), 0)))
            view = ctypes.c_char.from_buffer(mapped)
            done = libc.mlock(ctypes.addressof(view), len(mapped)) == 0 and done
            del view
        yield done


def describe() -> dict[str, str]:
    """The facts without which no figure means anything."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return {
        "CPU": f"{cpu}, {os.cpu_count()} cores",
        "memory": f"{memory / (1 << 30):.0f} GiB",
        "kernel": platform.release(),
        "Python": f"{platform.python_version()} ({platform.python_compiler()})",
        "uvloop": metadata.version("uvloop"),
        "aiohttp": metadata.version("aiohttp"),
        "nginx": nginx.strip().rpartition("/")[2],
        "wrk": wrk.split(" Copyright")[0].strip(),
    }
