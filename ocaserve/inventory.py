"""What the appliance is made of: hardware and software, as one document without secrets.

Linux tells it in sysfs and procfs, FreeBSD by sysctl and psutil. Serial numbers of the machine are
for root's eyes on Linux. What is not told is null.
"""

from __future__ import annotations

import importlib.metadata
import platform
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
from msgspec import Struct

from ocaserve import __version__
from ocaserve.host.ethtool import ask_driver, ask_offloads
from ocaserve.host.sysctl import sysctl_text

_SYS = Path("/sys")
_PROC = Path("/proc")
_SECTOR_BYTES = 512  # of the `size` of a block device, whatever its own sectors are
_MEGABIT = 1_000_000
_LIBRARIES = (
    "aiohttp", "click", "exabgp", "msgspec", "prometheus-client", "psutil", "redis", "rich",
    "uvloop",
)  # fmt: skip
_NO_DISKS = ("loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd")


class Machine(Struct, frozen=True, kw_only=True):
    """The computer as its firmware describes it."""

    vendor: str | None
    model: str | None
    serial: str | None
    board: str | None
    firmware: str | None
    firmware_date: str | None


class Cpu(Struct, frozen=True, kw_only=True):
    """All processors together."""

    model: str | None
    architecture: str
    cores: int | None
    threads: int | None
    most_mhz: float | None


class Disk(Struct, frozen=True, kw_only=True):
    """One disk. `read_ahead_bytes` is the kernel's."""

    name: str
    model: str | None
    serial: str | None
    firmware: str | None
    size_bytes: int | None
    is_rotational: bool | None
    scheduler: str | None
    read_ahead_bytes: int | None


class Interface(Struct, frozen=True, kw_only=True):
    """One network interface."""

    name: str
    mac: str | None
    is_up: bool
    speed_bits_per_s: int | None
    mtu: int
    driver: str | None
    firmware: str | None
    offloads: dict[str, bool]


class Software(Struct, frozen=True, kw_only=True):
    """Versions."""

    ocaserve: str
    system: str
    kernel: str
    python: str
    openssl: str
    libraries: dict[str, str]


class Inventory(Struct, frozen=True, kw_only=True):
    """All of it."""

    host: str
    machine: Machine
    cpu: Cpu
    memory_bytes: int
    swap_bytes: int
    disks: list[Disk]
    interfaces: list[Interface]
    software: Software


def take_inventory(sys_folder: Path = _SYS, proc: Path = _PROC) -> Inventory:
    """Look at everything. May take some tens of milliseconds."""
    return Inventory(
        host=platform.node(),
        machine=_find_machine(sys_folder / "class" / "dmi" / "id"),
        cpu=_find_cpu(proc),
        memory_bytes=psutil.virtual_memory().total,
        swap_bytes=psutil.swap_memory().total,
        disks=list(_find_disks(sys_folder / "block")),
        interfaces=list(_find_interfaces()),
        software=_find_software(),
    )


def _find_machine(dmi: Path) -> Machine:
    if dmi.exists():
        return Machine(
            vendor=_read(dmi / "sys_vendor"),
            model=_read(dmi / "product_name"),
            serial=_read(dmi / "product_serial"),
            board=_read(dmi / "board_name"),
            firmware=_read(dmi / "bios_version"),
            firmware_date=_read(dmi / "bios_date"),
        )
    return Machine(
        vendor=_kernel_environment("smbios.system.maker"),
        model=_kernel_environment("smbios.system.product"),
        serial=_kernel_environment("smbios.system.serial"),
        board=_kernel_environment("smbios.planar.product"),
        firmware=_kernel_environment("smbios.bios.version"),
        firmware_date=_kernel_environment("smbios.bios.reldate"),
    )


def _kernel_environment(name: str) -> str | None:
    """A variable of FreeBSD's loader, kenv(2): KENV_GET is 0."""
    if not sys.platform.startswith("freebsd"):
        return None
    import ctypes

    value = ctypes.create_string_buffer(128)
    if ctypes.CDLL(None).kenv(0, name.encode(), value, len(value)) < 0:
        return None
    return value.value.decode("utf-8", "replace") or None


def _find_cpu(proc: Path) -> Cpu:
    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    return Cpu(
        model=sysctl_text("hw.model") or _cpu_model(proc / "cpuinfo"),
        architecture=platform.machine(),
        cores=psutil.cpu_count(logical=False),
        threads=psutil.cpu_count(),
        most_mhz=(frequency.max or None) if frequency else None,
    )


def _cpu_model(cpuinfo: Path) -> str | None:
    for line in (_read(cpuinfo) or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return None


def _find_disks(block: Path) -> Iterator[Disk]:
    if not block.exists():
        names = (sysctl_text("kern.disks") or "").split()
        yield from (_as_disk(name, None) for name in sorted(names))
        return
    for name in sorted(entry.name for entry in block.iterdir()):
        if not name.startswith(_NO_DISKS):
            yield _as_disk(name, block / name)


def _as_disk(name: str, folder: Path | None) -> Disk:
    """`folder`: where sysfs describes it; None without sysfs."""

    def told(*places: str) -> str | None:
        found = (_read(folder / place) for place in places) if folder else iter(())
        return next(filter(None, found), None)

    def number(place: str) -> int | None:
        text = told(place)
        return int(text) if text is not None and text.isdigit() else None

    size, rotational = number("size"), number("queue/rotational")
    read_ahead_kb = number("queue/read_ahead_kb")
    return Disk(
        name=name,
        model=told("device/model"),
        serial=told("device/serial", "serial"),
        firmware=told("device/firmware_rev", "device/rev"),
        size_bytes=None if size is None else size * _SECTOR_BYTES,
        is_rotational=None if rotational is None else bool(rotational),
        scheduler=_chosen(told("queue/scheduler")),
        read_ahead_bytes=None if read_ahead_kb is None else read_ahead_kb * 1024,
    )


def _chosen(schedulers: str | None) -> str | None:
    """ "none [mq-deadline]" is mq-deadline."""
    if schedulers is None:
        return None
    return next((word[1:-1] for word in schedulers.split() if word.startswith("[")), schedulers)


def _find_interfaces() -> Iterator[Interface]:
    addresses = psutil.net_if_addrs()
    for name, about in sorted(psutil.net_if_stats().items()):
        macs = [a.address for a in addresses.get(name, ()) if a.family == psutil.AF_LINK]
        driver, firmware = ask_driver(name) or ("", "")
        yield Interface(
            name=name,
            mac=macs[0] if macs else None,
            is_up=about.isup,
            speed_bits_per_s=about.speed * _MEGABIT or None,
            mtu=about.mtu,
            driver=driver or None,
            firmware=firmware or None,
            offloads=dict(ask_offloads(name)),
        )


def _find_software() -> Software:
    return Software(
        ocaserve=__version__,
        system=_system_name(),
        kernel=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        openssl=ssl.OPENSSL_VERSION,
        libraries=dict(_library_versions()),
    )


def _system_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _library_versions() -> Iterator[tuple[str, str]]:
    for name in _LIBRARIES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def _read(file: Path) -> str | None:
    """What a file says, without its line end; None if it may not be read or says nothing."""
    try:
        return file.read_text("utf-8", "replace").strip() or None
    except OSError:
        return None
