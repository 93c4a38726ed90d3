"""Linux tells by files: /proc and /sys."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from ocaserve.checking.unit import UNIT_FOLDERS, Unit, read_unit
from ocaserve.doctor.checks import HostValue
from ocaserve.doctor.host import Host, one
from ocaserve.doctor.rules import numbers
from ocaserve.doctor.stores import Mount, find_mount
from ocaserve.host.memory import find_group_limit

_VIRTUAL = ("vd", "xvd")  # disks that their host sorts, and says nothing of


_LIMITS = {
    "descriptors": ("LimitNOFILE", "Max open files"),
    "locked-memory": ("LimitMEMLOCK", "Max locked memory"),
}
"""What a unit and the kernel call them; both with names of three words there."""
_UNITS = "BKMGTPE"  # each 1024 times the one before (systemd's parse_size)


def _find_unit(root: Path) -> Unit | None:
    """The appliance's unit of the host whose files lie below `root`."""
    return read_unit(tuple(str(root / path[1:]) for path in UNIT_FOLDERS))


def _in_units(limit: str) -> str:
    """As the kernel says it: a whole number, or "unlimited"."""
    if limit == "infinity":
        return "unlimited"
    read = re.fullmatch(rf"(\d+(?:\.\d+)?)([{_UNITS}]?)", limit)
    if read is None:
        return limit
    return str(int(Decimal(read[1]) * 1024 ** max(0, _UNITS.find(read[2]))))


class LinuxHost(Host):
    """Reads below `root`; what is not there, or not for us to read, is None."""

    def _kinds(self) -> dict[str, Callable[[str], Sequence[HostValue]]]:
        return super()._kinds() | {
            "tcp-memory": lambda _: one(self._tcp_memory()),
            "swap": lambda _: one(self._swap()),
            "dirty-bytes": lambda _: one(self._dirty_bytes()),
            "processor-clock": lambda _: one(self._processor_clock()),
            "volume": self._read_volumes,
            "disk": self._read_disks,
            "card": self._read_cards,
            "offload": self._read_offloads,
            "queues": lambda _: [HostValue(self._queues(name), name) for name in self._cards()],
        }

    def _text(self, path: str | Path) -> str | None:
        try:
            return " ".join((self.root / path).read_text().split())
        except OSError:
            return None

    def _lines(self, path: str) -> list[str]:
        try:
            return (self.root / path).read_text().splitlines()
        except OSError:
            return []

    def sysctl(self, key: str) -> str | None:
        return self._text("proc/sys/" + key.replace(".", "/"))

    # -- the network -----------------------------------------------------------------------------

    def has_ipv6(self) -> bool:
        """A line of if_inet6: address, interface, length, scope (00 is global), flags, name."""
        rows = [line.split() for line in self._lines("proc/net/if_inet6")]
        return any(row[3] == "00" and row[0][0] in "23" for row in rows)

    def _tcp_memory(self) -> str | None:
        """Pages in use, as a percentage of where the kernel begins to save."""
        marks = self.sysctl("net.ipv4.tcp_mem")
        rows = [line for line in self._lines("proc/net/sockstat") if line.startswith("TCP:")]
        if not marks or not rows:
            return None
        words = rows[0].split()
        used = int(words[words.index("mem") + 1])
        return f"{100 * used // int(marks.split()[1])} percent"

    def _cards(self) -> Iterator[str]:
        """Network cards that are up: a bond or a bridge is none, its parts are."""
        folder = self.root / "sys/class/net"
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        for name in names:
            state = self._text(f"sys/class/net/{name}/operstate")
            if (folder / name / "device").exists() and state in ("up", "unknown"):
                yield name

    def _read_cards(self, what: str) -> Sequence[HostValue]:
        return [
            HostValue(self._text(f"sys/class/net/{name}/{what}"), name) for name in self._cards()
        ]

    def _read_offloads(self, what: str) -> Sequence[HostValue]:
        return [HostValue(self.system.offload(name, what), name) for name in self._cards()]

    def _queues(self, card: str) -> str:
        queues = list((self.root / "sys/class/net" / card / "queues").glob("rx-*"))
        masks = [self._text(queue / "rps_cpus") or "" for queue in queues]
        steered = sum(bool(mask.strip("0,")) for mask in masks)
        cores = sum(line.startswith("processor") for line in self._lines("proc/cpuinfo"))
        return f"{len(queues)} queues, {cores} cores, steering in {steered} queues"

    # -- memory and processor --------------------------------------------------------------------

    def limit(self, what: str) -> str | None:
        """Of the appliance that runs, otherwise of its unit, otherwise of this process."""
        setting, name = _LIMITS[what]
        running = self._running()
        unit = None if running else _find_unit(self.root)
        limit = unit.said.get(setting, "").rpartition(":")[2] if unit else ""
        if limit:
            return _in_units(limit)
        for line in self._lines(f"proc/{running or 'self'}/limits"):
            if line.startswith(name):
                return line.split()[4]  # name of three words, soft limit, hard limit
        return None

    def memory(self) -> int | None:
        """What the machine has, or the group of the running appliance, or else of its unit, may."""
        machine = self._machine_memory()
        running = self._running()
        unit = None if running else _find_unit(self.root)
        limits = [] if machine is None else [machine]
        if running and (limit := find_group_limit(running, self.root)) is not None:
            limits.append(limit)
        for setting in ("MemoryMax", "MemoryHigh"):
            said = _in_units(unit.said.get(setting, "") or "infinity") if unit else "unlimited"
            share = re.fullmatch(r"(\d+(?:\.\d+)?)%", said)  # systemd.resource-control(5)
            if share and machine is not None:
                limits.append(int(machine * Decimal(share[1]) / 100))
            elif said.isdigit():
                limits.append(int(said))
        return min(limits, default=None)

    def _machine_memory(self) -> int | None:
        sizes = [line for line in self._lines("proc/meminfo") if line.startswith("MemTotal:")]
        return numbers(sizes[0])[0] * 1024 if sizes else None

    def unit_may_write(self, store: str) -> str | None:
        unit = _find_unit(self.root)
        return "no" if unit is not None and unit.read_only_by(store) else "yes"

    def _running(self) -> str | None:
        folder = self.root / "proc"
        for path in sorted(folder.glob("[0-9]*/cmdline")):
            words = (self._text(path) or "").replace("\0", " ").split()
            names = [os.path.basename(word) for word in words[:4]]
            if "ocaserve" in names and "serve" in names:
                return path.parent.name
        return None

    def _swap(self) -> str | None:
        swappiness = self.sysctl("vm.swappiness")
        devices = max(0, len(self._lines("proc/swaps")) - 1)  # its first line is a heading
        return None if swappiness is None else f"{devices} swap devices, swappiness {swappiness}"

    def _dirty_bytes(self) -> str | None:
        """What may wait to be written: set in bytes, or as a share of memory."""
        fixed = self.sysctl("vm.dirty_bytes")
        share = self.sysctl("vm.dirty_ratio")
        memory = self._machine_memory()
        if fixed is None or share is None or memory is None:
            return None
        return fixed if fixed != "0" else str(memory * int(share) // 100)

    def _processor_clock(self) -> str | None:
        policy = "sys/devices/system/cpu/cpufreq/policy0"
        driver = self._text(f"{policy}/scaling_driver")
        governor = self._text(f"{policy}/scaling_governor")
        return f"{driver} {governor}" if driver and governor else None

    # -- disks -----------------------------------------------------------------------------------

    def _mount(self, store: str) -> Mount | None:
        return find_mount("\n".join(self._lines("proc/self/mountinfo")), store)

    def mount_options(self, store: str) -> str | None:
        mount = self._mount(store)
        return mount.options if mount else None

    def file_system(self, store: str) -> str | None:
        mount = self._mount(store)
        return mount.system if mount else None

    def _volumes(self) -> list[str]:
        """The block devices that the stores' file systems lie on: disks, RAID, LVM."""
        names = []
        for store in self.stores:
            mount = self._mount(store)
            link = self.root / "sys/dev/block" / (mount.device if mount else "")
            if mount and link.exists():
                device = link.resolve()
                names.append((device.parent if (device / "partition").exists() else device).name)
        return sorted(set(names))

    def _disks(self, volume: str) -> Iterator[str]:
        """The disks below a volume, which is one itself if nothing is below it."""
        slaves = self.root / "sys/block" / volume / "slaves"
        below = sorted(path.resolve() for path in slaves.iterdir()) if slaves.is_dir() else []
        if not below:
            yield volume
        for device in below:
            yield from self._disks(
                (device.parent if (device / "partition").exists() else device).name
            )

    def _read_volumes(self, what: str) -> Sequence[HostValue]:
        return [HostValue(self._text(f"sys/block/{name}/{what}"), name) for name in self._volumes()]

    def _read_disks(self, what: str) -> Sequence[HostValue]:
        """`what` begins with the sort of disks that are asked for: flash or spinning."""
        sort, _, attribute = what.partition(" ")
        wanted = "1" if sort == "spinning" else "0"
        names = dict.fromkeys(disk for volume in self._volumes() for disk in self._disks(volume))
        return [
            HostValue(self._text(f"sys/block/{name}/{attribute}"), name)
            for name in names
            if not name.startswith(_VIRTUAL)
            and self._text(f"sys/block/{name}/queue/rotational") == wanted
        ]
