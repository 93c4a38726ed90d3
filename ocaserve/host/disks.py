"""Which disks lie under a directory, and how many errors the kernel has counted on them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

_SYS = Path("/sys")


def disk_of(path: str, sys: Path = _SYS) -> str | None:
    """The disk's name as counters of disks have it ("sda", "nvme0n1"); None: not known.

    A partition counts as its disk. File systems over several disks (ZFS, btrfs) have no device of
    their own, and network file systems have no disk here: both are unknown.
    """
    try:
        device = os.stat(path).st_dev
    except OSError:
        return None
    link = sys / "dev" / "block" / f"{os.major(device)}:{os.minor(device)}"
    if not link.exists():
        return _disk_by_mount(path)
    block = link.resolve()
    return block.parent.name if (block / "partition").exists() else block.name


def _disk_by_mount(path: str) -> str | None:
    """From the table of mounts, for systems without sysfs: "/dev/ada0p2" is on "ada0"."""
    if _SYS.exists():
        return None
    mounts = {mount.mountpoint: mount.device for mount in psutil.disk_partitions()}
    folder = os.path.realpath(path)
    while folder not in mounts:
        if folder == "/":
            return None
        folder = os.path.dirname(folder)
    return _disk_in(mounts[folder], psutil.disk_io_counters(perdisk=True))


def _disk_in(device: str, counted: Mapping[str, object]) -> str | None:
    name = device.removeprefix("/dev/")
    found = [disk for disk in counted if name.startswith(disk)]
    return max(found, key=len, default=None)


def count_errors(disk: str, sys: Path = _SYS) -> int | None:
    """Errors of the device (SCSI, SATA) and of the ext4 file systems on it; None: not told."""
    block = sys / "block" / disk
    partitions = [entry.name for entry in _entries(block) if (entry / "partition").exists()]
    told = [_read_number(block / "device" / "ioerr_cnt")]
    told += [
        _read_number(sys / "fs" / "ext4" / name / "errors_count") for name in (disk, *partitions)
    ]
    counts = [count for count in told if count is not None]
    return sum(counts) if counts else None


def _entries(folder: Path) -> Iterable[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return ()


def _read_number(file: Path) -> int | None:
    try:
        return int(file.read_text(), 0)  # the SCSI layer writes hexadecimal numbers
    except (OSError, ValueError):
        return None
