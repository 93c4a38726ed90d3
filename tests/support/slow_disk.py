"""A slow disk: a real block device with a real file system, its reads throttled by the kernel.

A loop device over a file gives the device, the blkio controller (cgroup version 1) the throttle,
which holds for the processes that are put into the group and their children. Needs root.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import descendants

_BLKIO = Path("/sys/fs/cgroup/blkio")


@dataclass(frozen=True, slots=True)
class SlowDisk:
    """The file system is mounted at `path`; only processes in the group are throttled."""

    path: Path
    group: Path

    def throttle(self, pid: int) -> None:
        """Put a process and its children, present and future, behind the throttle."""
        for process in (pid, *descendants(pid)):
            (self.group / "cgroup.procs").write_text(str(process))


def why_no_slow_disk() -> str | None:
    """What is missing on this machine, or None."""
    if os.geteuid() != 0:
        return "mounting a loop device needs root"
    if not Path("/dev/loop-control").exists():
        return "no loop devices here: /dev/loop-control is missing"
    if not (_BLKIO / "blkio.throttle.read_bps_device").exists():
        return f"no blkio controller (cgroup version 1) at {_BLKIO}"
    return None


@contextmanager
def slow_disk(folder: Path, *, size_bytes: int, read_bytes_per_s: int) -> Iterator[SlowDisk]:
    """A disk of `size_bytes` made and mounted below `folder`, and taken away at the end.

    All throttled processes must have ended by then. Raises CalledProcessError, OSError.
    """
    image, mount = folder / "disk.img", folder / "disk"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(size_bytes)
    _run("mkfs.ext4", "-q", "-F", str(image))
    with ExitStack() as undo:
        device = _run("losetup", "--find", "--show", str(image))
        undo.callback(_run, "losetup", "--detach", device)
        _run("mount", device, str(mount))
        undo.callback(_run, "umount", str(mount))
        group = _BLKIO / f"slow-disk-{os.getpid()}"
        group.mkdir()
        undo.callback(group.rmdir)
        number = os.stat(device).st_rdev
        limit = f"{os.major(number)}:{os.minor(number)} {read_bytes_per_s}"
        (group / "blkio.throttle.read_bps_device").write_text(limit)
        yield SlowDisk(mount, group)


def _run(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()
