"""Giving a process less than the machine has: memory with its page cache, bytes per second from
its disk, processor time, processes.

Both versions of the kernel's control groups are spoken; version 1 is asked first, since a
controller belongs to one of them at a time. Only root may.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.errors import LoadFailure

_REMOVAL_S = 5.0


class Controller(NamedTuple):
    """Where a resource is governed, and which version speaks there."""

    name: str
    version: int
    folder: Path


class Limit(NamedTuple):
    """A resource and its bound: "memory" (bytes), "io" (bytes read per second from the disk), "cpu"
    (per mille of one processor), "pids" (processes and threads)."""

    resource: str
    most: int
    disk: str = ""

    def setting(self, version: int) -> tuple[str, str]:
        """The file of the control group and what to write there."""
        old, new = _WORDS[self.resource]
        setting, value = old if version == 1 else new
        return setting, value.format(most=self.most, disk=self.disk, quota=self.most * 100)


_NAMES = {  # in version 1, in version 2
    "memory": ("memory", "memory"),
    "io": ("blkio", "io"),
    "cpu": ("cpu", "cpu"),
    "pids": ("pids", "pids"),
}
# The period of "cpu" is 100 ms, as the kernel has it by default; `quota`: microseconds of it.
_WORDS = {
    "memory": (("memory.limit_in_bytes", "{most}"), ("memory.max", "{most}")),
    "io": (("blkio.throttle.read_bps_device", "{disk} {most}"), ("io.max", "{disk} rbps={most}")),
    "cpu": (("cpu.cfs_quota_us", "{quota}"), ("cpu.max", "{quota} 100000")),
    "pids": (("pids.max", "{most}"), ("pids.max", "{most}")),
}


def find_controller(resource: str, mounts: str) -> Controller | None:
    """Where the resource is governed, from /proc/self/mounts and the groups themselves."""
    old, new = _NAMES[resource]
    rows = [line.split() for line in mounts.splitlines()]
    for _, folder, kind, options, *_ in rows:
        if kind == "cgroup" and old in options.split(","):
            return Controller(old, 1, Path(folder))
    for _, folder, kind, *_ in rows:
        if kind == "cgroup2" and new in _words(Path(folder) / "cgroup.controllers"):
            return Controller(new, 2, Path(folder))
    return None


def _words(path: Path) -> list[str]:
    return path.read_text().split()


def why_not(resource: str) -> str | None:
    """Why this resource cannot be limited here; None if it can."""
    if os.geteuid() != 0:
        return "control groups are for root: run it as root"
    controller = find_controller(resource, Path("/proc/self/mounts").read_text())
    if controller is None:
        return f"no control group governs {resource!r} here"
    if not os.access(controller.folder, os.W_OK):
        return f"{controller.folder} cannot be written to, as in a container"
    return None


@contextmanager
def limited(pids: Iterable[int], limit: Limit) -> Iterator[None]:
    """Hold processes to a limit, and let them go at the end.

    Raises LoadFailure if the kernel refuses.
    """
    controller = find_controller(limit.resource, Path("/proc/self/mounts").read_text())
    if controller is None:
        raise LoadFailure(f"no control group governs {limit.resource!r} here")
    with _group(controller) as group:
        _put(group, pids, *limit.setting(controller.version))
        yield


def _put(group: Path, pids: Iterable[int], setting: str, value: str) -> None:
    try:
        (group / setting).write_text(value)
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        raise LoadFailure(f"control group: {error}") from error


@contextmanager
def _group(controller: Controller) -> Iterator[Path]:
    group = controller.folder / f"benchmarks-{os.getpid()}-{controller.name}"
    with _enabled(controller):
        try:
            group.mkdir()
        except OSError as error:
            raise LoadFailure(f"control group: {error}") from error
        try:
            yield group
        finally:
            for pid in _words(group / "cgroup.procs"):
                with suppress(ProcessLookupError):
                    (controller.folder / "cgroup.procs").write_text(pid)
            _remove(group)


@contextmanager
def _enabled(controller: Controller) -> Iterator[None]:
    """In version 2 a group governs only what its parent hands down."""
    handed_down = controller.folder / "cgroup.subtree_control"
    if controller.version == 1 or controller.name in _words(handed_down):
        yield
        return
    try:
        handed_down.write_text(f"+{controller.name}")
    except OSError as error:
        raise LoadFailure(f"control group: {error}") from error
    try:
        yield
    finally:
        handed_down.write_text(f"-{controller.name}")


def _remove(group: Path) -> None:
    """Remove a group. The kernel refuses for a moment after its last process ended."""
    deadline = time.monotonic() + _REMOVAL_S
    while True:
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
