"""Keeping objects in memory, whatever else is read: mlock(2) of their files.

The kernel pushes pages out that many want when a scan of others comes by; locked ones stay. Both
locking, which reads what is missing, and looking at files wait for disks: it belongs into a thread.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

_STEP_BYTES = 8 << 20  # between two looks at whether to go on
_ROUND_S = 2.0  # of locking at once: whoever calls has other things to do
_LEFT_ALONE_S = 300.0  # an object that cannot be locked
_LOOKED_AT = 2  # times what may be locked: the rest is not wanted enough
_STAYS = 1.25  # so much less an object that is locked may be wanted before another takes its place

# Not PyDLL: the calls may wait for a disk, and let others run.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_MAP_FAILED = ctypes.c_void_p(-1).value


class PinnedVersion(NamedTuple):
    """What tells one version of a file from another. path: where it was found."""

    path: Path
    inode: int
    mtime_ns: int
    size: int


@dataclass(slots=True)
class _Mapping:
    """Of a file into memory. locked: bytes of it from the beginning, so far."""

    version: PinnedVersion
    address: int
    locked: int = 0

    @property
    def is_whole(self) -> bool:
        return self.locked == self.version.size


class Pinnable(NamedTuple):
    """An object that may be locked. size: of its pages. copies: how much it is wanted."""

    key: str
    size: int
    copies: float


class PinnedShown(Struct, frozen=True, kw_only=True):
    """bytes: that are locked. objects: that are locked whole. allowed: what the system lets us
    lock, null for any number. fault: why not all can be that is to be; empty if it can.
    """

    bytes: int = 0
    objects: int = 0
    allowed: int | None = None
    fault: str = ""


def choose(candidates: Iterable[Pinnable], pinned: Iterable[str], most_bytes: int) -> list[str]:
    """Keys of those that are to be locked, the most wanted first, as many as there is room for.

    Bytes sent by size is also what a locked byte is worth, so whoever comes first is worth most.
    What is locked already needs less, or two of a kind would change places for ever. Pure.
    """
    stays = frozenset(pinned)
    left = most_bytes
    chosen = []
    for each in sorted(
        candidates, key=lambda row: (-row.copies * (_STAYS if row.key in stays else 1.0), row.key)
    ):
        if each.size <= left:
            chosen.append(each.key)
            left -= each.size
    return chosen


class Pins:
    """The files that are locked.

    stores: folders of the objects. clock: seconds that never go back. lockable_bytes: of the
    memory, None if that is not known.
    """

    def __init__(
        self,
        stores: Sequence[Path],
        most_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        lockable_bytes: int | None = None,
    ) -> None:
        self._stores = stores
        self._allowed = _raise_limit()
        self._most_bytes, self._bound = most_bytes, ""
        if self._allowed is not None and self._allowed < self._most_bytes:
            self._most_bytes = self._allowed
            self._bound = f"the system lets {self._allowed} bytes be locked"
        if lockable_bytes is not None and lockable_bytes < self._most_bytes:
            self._most_bytes = lockable_bytes
            self._bound = f"{lockable_bytes} bytes are locked at most: half of the memory"
        self._held: dict[str, _Mapping] = {}
        self._left_alone: dict[PinnedVersion, tuple[float, str]] = {}  # until when, and why
        self._clock = clock
        self._fault = ""

    @property
    def keys(self) -> frozenset[str]:
        """Of objects that are locked whole."""
        return frozenset(key for key, held in self._held.items() if held.is_whole)

    def show(self) -> PinnedShown:
        """What is so now."""
        return PinnedShown(
            bytes=sum(_pages(held.locked) for held in self._held.values()),
            objects=len(self.keys), allowed=self._allowed, fault=self._fault or self._bound,
        )  # fmt: skip

    def adjust(self, wanted: Mapping[str, float], goes_on: Callable[[], bool]) -> bool:
        """Lock the most wanted and let go of others, for about two seconds.

        wanted: copies by key, the most first. goes_on: asked often. Returns whether all of it is
        done; otherwise the next call goes on where this one stopped.
        """
        self._fault = ""
        found = self._look(wanted)
        for key in [key for key, held in self._held.items() if found.get(key) != held.version]:
            self._release(key)
        chosen = choose(
            (Pinnable(key, _pages(version.size), wanted[key]) for key, version in found.items()),
            self._held, self._most_bytes,
        )  # fmt: skip
        for key in self._held.keys() - frozenset(chosen):
            self._release(key)
        stop_at = self._clock() + _ROUND_S
        for key in chosen:
            try:
                if not self._lock(key, found[key], lambda: goes_on() and self._clock() < stop_at):
                    return False
            except OSError as error:
                self._fault = f"{key}: {error.strerror or error}"
                if error.errno in (errno.EPERM, errno.EAGAIN):  # of all
                    return True
                if error.errno == errno.ENOMEM:
                    self._leave_alone(key, found[key])
        return True

    def _look(self, wanted: Mapping[str, float]) -> dict[str, PinnedVersion]:
        """What may be locked of this."""
        now = self._clock()
        self._left_alone = {
            version: row for version, row in self._left_alone.items() if now < row[0]
        }  # fmt: skip
        found: dict[str, PinnedVersion] = {}
        size = 0
        for key in wanted:
            if size > _LOOKED_AT * self._most_bytes:
                break
            version = self._find(key)
            if version in self._left_alone:
                self._fault = self._left_alone[version][1]
            elif version is not None and 0 < version.size <= self._most_bytes:
                found[key] = version
                size += version.size
        return found

    def _leave_alone(self, key: str, version: PinnedVersion) -> None:
        """ENOMEM is also said of a page that cannot be read (mlock(2)), on a bad sector: trying at
        once would read all before it again, each time.
        """
        self._fault = f"{key}: it cannot be read whole, or no more can be locked"
        self._left_alone[version] = self._clock() + _LEFT_ALONE_S, self._fault

    def _find(self, key: str) -> PinnedVersion | None:
        for store in self._stores:
            path = store / key
            try:
                status = os.stat(path)
                is_inside = path.resolve().is_relative_to(store.resolve())
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and is_inside:
                return PinnedVersion(path, status.st_ino, status.st_mtime_ns, status.st_size)
        return None

    def _lock(self, key: str, version: PinnedVersion, goes_on: Callable[[], bool]) -> bool:
        """Whether there was time for it. What is locked by then stays so. Raises OSError."""
        if key not in self._held:
            if not goes_on():
                return False
            address = _map(version)
            if address is None:
                return True  # another one has come: next time
            self._held[key] = _Mapping(version, address)
        held = self._held[key]
        while not held.is_whole:
            if not goes_on():
                return False
            length = min(_STEP_BYTES, version.size - held.locked)
            if _libc.mlock(held.address + held.locked, length):
                error = _last_error()
                self._release(key)
                raise error
            held.locked += length
        return True

    def _release(self, key: str) -> None:
        held = self._held.pop(key)
        _libc.munmap(held.address, held.version.size)  # which unlocks


def _map(version: PinnedVersion) -> int | None:
    """The address; None if another version is there. Raises OSError."""
    descriptor = os.open(version.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if (status.st_ino, status.st_size) != (version.inode, version.size):
            return None
        address: int = _libc.mmap(
            None, version.size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0
        )  # fmt: skip
    finally:
        os.close(descriptor)
    if address == _MAP_FAILED:
        raise _last_error()
    return address


def _pages(size: int) -> int:
    """The bytes of whole pages, which is what is locked."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def _last_error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


def _raise_limit() -> int | None:
    """Lock as much as we may; how much that is, None for any number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
        except OSError:  # a service manager may forbid it
            hard = soft
    # Who may lock all the same (CAP_IPC_LOCK) is bounded by what was asked for alone.
    return None if hard == resource.RLIM_INFINITY or _may_lock_any() else hard


def _may_lock_any() -> bool:
    """Whether this process has CAP_IPC_LOCK (capabilities(7)), or is root where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return os.geteuid() == 0
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> 14 & 1)
