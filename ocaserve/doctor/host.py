"""Reads what checks ask for, of the host below a root folder (`/`, but for tests)."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from ocaserve.doctor.checks import HostSource, HostValue
from ocaserve.doctor.stores import User, count_files
from ocaserve.doctor.system import System
from ocaserve.host.memory import lockable_bytes


class Host(ABC):
    """What all systems have in common. Each kind of source has a method that reads it."""

    def __init__(
        self, stores: Sequence[str], user: User, system: System, root: Path = Path("/")
    ) -> None:
        self.stores = tuple(dict.fromkeys(os.path.realpath(store) for store in stores))
        self.user = user
        self.system = system
        self.root = root

    def read(self, source: HostSource) -> Sequence[HostValue]:
        """The readings of a source; none where the host has nothing of the kind."""
        return self._kinds()[source.kind](source.key)

    def _kinds(self) -> dict[str, Callable[[str], Sequence[HostValue]]]:
        return {
            "sysctl": self._read_sysctls,
            "kernel": lambda _: one(self.system.kernel()),
            "openssl": lambda _: one(self.system.openssl()),
            "distribution": lambda name: one(self.system.distribution(name)),
            "time-zones": lambda _: one(f"{self.system.zone_count()} zones"),
            "clock": lambda _: one(self.system.clock()),
            "ipv6": lambda _: one("an address" if self.has_ipv6() else "no address"),
            "limit": lambda what: one(self.limit(what)),
            "lockable-memory": lambda _: one(self._lockable_memory()),
            "store": self._read_stores,
        }

    def _read_sysctls(self, keys: str) -> Sequence[HostValue]:
        """One key, or several that are judged together."""
        values = [self.sysctl(key) for key in keys.split()]
        return one(None if None in values else " ".join(map(str, values)))

    def _read_stores(self, what: str) -> Sequence[HostValue]:
        ask: dict[str, Callable[[str], str | None]] = {
            "owned by others": lambda store: count_files(store, lambda s: not self.user.owns(s)),
            "unreadable": lambda store: count_files(store, lambda s: not self.user.may_read(s)),
            "writable by the user": self._user_may_write,
            "writable by the unit": self.unit_may_write,
            "mount options": self.mount_options,
            "file system": self.file_system,
        }
        return [HostValue(ask[what](store), store) for store in self.stores]

    def _user_may_write(self, store: str) -> str | None:
        try:
            return "yes" if self.user.may_write(os.stat(store)) else "no"
        except OSError:
            return None

    def unit_may_write(self, _: str) -> str | None:
        """Whether the service manager lets the appliance write there; None if that is not known."""
        return None

    @abstractmethod
    def sysctl(self, key: str) -> str | None:
        """The value of a kernel variable, words parted by single spaces."""

    @abstractmethod
    def has_ipv6(self) -> bool:
        """Whether the host has a global address."""

    @abstractmethod
    def limit(self, what: str) -> str | None:
        """Of a process of the appliance: its "descriptors", the bytes of "locked-memory"."""

    @abstractmethod
    def memory(self) -> int | None:
        """Bytes that there are for the appliance."""

    def _lockable_memory(self) -> str | None:
        number = lockable_bytes(self.memory())
        return None if number is None else str(number)

    @abstractmethod
    def mount_options(self, store: str) -> str | None:
        """Parted by commas."""

    @abstractmethod
    def file_system(self, store: str) -> str | None:
        """The type of the file system that a store lies on."""


def one(value: str | None) -> Sequence[HostValue]:
    """The reading of what there is one of."""
    return [HostValue(value)]


class FreeBsdHost(Host):
    """FreeBSD tells by commands, so the root folder is of no use."""

    def sysctl(self, key: str) -> str | None:
        return self.system.run(["/sbin/sysctl", "-n", key])

    def has_ipv6(self) -> bool:
        addresses = self.system.run(["/sbin/ifconfig", "-a", "inet6"]) or ""
        return re.search(r"^\s*inet6 [23]", addresses, re.MULTILINE) is not None

    def limit(self, what: str) -> str | None:
        """Of this process: what a login class or the service's rc.conf gives is not known."""
        if what == "locked-memory":  # in kilobytes, or "unlimited"
            found = self.system.run(["/bin/sh", "-c", "ulimit -H -l"])
            return str(1024 * int(found)) if found and found.isdigit() else found
        return self.system.run(["/bin/sh", "-c", "ulimit -H -n"])

    def memory(self) -> int | None:
        found = self.sysctl("hw.physmem")
        return int(found) if found else None

    def mount_options(self, store: str) -> str | None:
        return None

    def file_system(self, store: str) -> str | None:
        lines = (self.system.run(["/bin/df", "-T", store]) or "").splitlines()
        return lines[-1].split()[1] if len(lines) > 1 else None
