"""Reads what checks ask for, of the host below a root folder (`/`, but for tests)."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from ocaserve.doctor.checks import Reading, Source
from ocaserve.doctor.stores import User, count_files
from ocaserve.doctor.system import System


class Host(ABC):
    """What all systems have in common. Each kind of source has a method that reads it."""

    def __init__(
        self, stores: Sequence[str], user: User, system: System, root: Path = Path("/")
    ) -> None:
        self.stores = tuple(dict.fromkeys(os.path.realpath(store) for store in stores))
        self.user = user
        self.system = system
        self.root = root

    def read(self, source: Source) -> Sequence[Reading]:
        """The readings of a source; none where the host has nothing of the kind."""
        return self._kinds()[source.kind](source.key)

    def _kinds(self) -> dict[str, Callable[[str], Sequence[Reading]]]:
        return {
            "sysctl": self._read_sysctls,
            "kernel": lambda _: one(self.system.kernel()),
            "openssl": lambda _: one(self.system.openssl()),
            "distribution": lambda name: one(self.system.distribution(name)),
            "time-zones": lambda _: one(f"{self.system.zone_count()} zones"),
            "clock": lambda _: one(self.system.clock()),
            "ipv6": lambda _: one("an address" if self.has_ipv6() else "no address"),
            "limit": lambda _: one(self.descriptor_limit()),
            "store": self._read_stores,
        }

    def _read_sysctls(self, keys: str) -> Sequence[Reading]:
        """One key, or several that are judged together."""
        values = [self.sysctl(key) for key in keys.split()]
        return one(None if None in values else " ".join(map(str, values)))

    def _read_stores(self, what: str) -> Sequence[Reading]:
        ask: dict[str, Callable[[str], str | None]] = {
            "owned by others": lambda store: count_files(store, lambda s: not self.user.owns(s)),
            "unreadable": lambda store: count_files(store, lambda s: not self.user.may_read(s)),
            "mount options": self.mount_options,
            "file system": self.file_system,
        }
        return [Reading(ask[what](store), store) for store in self.stores]

    @abstractmethod
    def sysctl(self, key: str) -> str | None:
        """The value of a kernel variable, words parted by single spaces."""

    @abstractmethod
    def has_ipv6(self) -> bool:
        """Whether the host has a global address."""

    @abstractmethod
    def descriptor_limit(self) -> str | None:
        """How many descriptors a process of the appliance may have."""

    @abstractmethod
    def mount_options(self, store: str) -> str | None:
        """Parted by commas."""

    @abstractmethod
    def file_system(self, store: str) -> str | None:
        """The type of the file system that a store lies on."""


def one(value: str | None) -> Sequence[Reading]:
    """The reading of what there is one of."""
    return [Reading(value)]


class FreeBsdHost(Host):
    """FreeBSD tells by commands, so the root folder is of no use."""

    def sysctl(self, key: str) -> str | None:
        return self.system.run(["/sbin/sysctl", "-n", key])

    def has_ipv6(self) -> bool:
        addresses = self.system.run(["/sbin/ifconfig", "-a", "inet6"]) or ""
        return re.search(r"^\s*inet6 [23]", addresses, re.MULTILINE) is not None

    def descriptor_limit(self) -> str | None:
        """Of this process: what a login class or the service's rc.conf gives is not known."""
        return self.system.run(["/bin/sh", "-c", "ulimit -H -n"])

    def mount_options(self, store: str) -> str | None:
        return None

    def file_system(self, store: str) -> str | None:
        lines = (self.system.run(["/bin/df", "-T", store]) or "").splitlines()
        return lines[-1].split()[1] if len(lines) > 1 else None
