"""The stores: can they be read, do they answer, is there room.

Each store has a thread that looks at it again and again, with a read that goes to the disk: pages
in memory answer even when the disk is dead. A store that stalls holds up its own thread alone, and
how long it has done so is what is judged.
"""

from __future__ import annotations

import errno
import mmap
import os
import secrets
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

from ocaserve.health.judging import Thresholds, problems_of
from ocaserve.health.model import Level, Observation, Problem, Timing, worst_level
from ocaserve.health.words import amount, duration, percent
from ocaserve.settings.health import HealthSettings

_PAGE_BYTES = 4096  # what reads past the page cache must be aligned to, on any disk
_MOST_FOLDERS = 100  # looked through for an object to read
_LOOK_EVERY_S = 1.0
_SAYS_NOTHING = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP})


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What a look at a store found. `failure`: why it could not be read; empty if it could.

    free, total: bytes. waited_s: since when it has not answered, 0 between two looks.
    """

    path: str
    free: int = 0
    total: int = 0
    failure: str = ""
    waited_s: float = 0.0


def look_at(path: str) -> StoreFacts:
    """Look, and wait for the disk as long as it takes. Raises no OSError: it is a finding."""
    try:
        room = os.statvfs(path)
        sample = find_object(path)
        if sample is not None:
            read_from_disk(sample)
    except OSError as error:
        return StoreFacts(path, failure=error.strerror or str(error))
    if room.f_flag & os.ST_RDONLY:  # full on purpose
        return StoreFacts(path)
    return StoreFacts(path, room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize)


def find_object(path: str) -> str | None:
    """Some regular file with bytes in it; None if there is none in the first folders."""
    folders = [path]
    for _ in range(_MOST_FOLDERS):
        if not folders:
            return None
        with os.scandir(folders.pop(0)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and entry.stat().st_size:
                    return entry.path
    return None


def read_from_disk(file: str) -> None:
    """Read a page from the disk itself; the page cache is neither asked nor disturbed.

    Where the file system cannot do that, as one in memory, it is an ordinary read. A file that is
    gone meanwhile, or may not be read, says nothing about the disk.
    """
    try:
        _read_page(file, os.O_DIRECT)
    except OSError as error:
        if error.errno in _SAYS_NOTHING:
            return
        if error.errno != errno.EINVAL:
            raise
        _read_page(file, 0)


def _read_page(file: str, flags: int) -> None:
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | flags)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            # Another page each time, since a disk may remember the last ones it has read.
            page = secrets.randbelow(status.st_size // _PAGE_BYTES + 1)
            with mmap.mmap(-1, _PAGE_BYTES) as aligned:
                os.preadv(descriptor, [aligned], page * _PAGE_BYTES)
    finally:
        os.close(descriptor)


class StoreWatch:
    """Looks at one store from a thread of its own until told to end."""

    def __init__(self, path: str, look: Callable[[str], StoreFacts] = look_at) -> None:
        self.path = path
        self._look = look
        self._latest: StoreFacts | None = None
        self._began: float | None = None  # the look that is under way
        self._over = threading.Event()
        # A daemon, because a thread inside a dead disk must not keep the process from ending.
        threading.Thread(target=self._run, name=f"health {path}", daemon=True).start()

    def _run(self) -> None:
        while not self._over.is_set():
            self._began = monotonic()
            self._latest = self._look(self.path)
            self._began = None
            self._over.wait(_LOOK_EVERY_S)

    def end(self) -> None:
        """Look no more; does not wait."""
        self._over.set()

    def facts(self, now: float) -> StoreFacts | None:
        """The latest, and how long the present look takes; None before the first has ended."""
        began, latest = self._began, self._latest
        waited_s = 0.0 if began is None else max(0.0, now - began)
        if latest is None:
            return StoreFacts(self.path, waited_s=waited_s) if waited_s > _LOOK_EVERY_S else None
        return StoreFacts(latest.path, latest.free, latest.total, latest.failure, waited_s)


class StoresComponent:
    """All stores. `failed`: how many the workers hold for failed, each worker for itself."""

    name = "stores"

    def __init__(
        self,
        timing: Timing,
        settings: HealthSettings,
        stores: Sequence[StoreWatch],
        failed: Callable[[], int],
    ) -> None:
        self.timing = timing
        self._settings = settings
        self._stores = stores
        self._failed = failed

    def observe(self, now: float) -> Observation:
        known = [facts for store in self._stores if (facts := store.facts(now)) is not None]
        problems = [problem for facts in known for problem in store_problems(facts, self._settings)]
        failed = self._failed()
        if failed and not any(problem.level is Level.ERROR for problem in problems):
            problems.append(Problem(Level.ERROR, "failed", "workers met I/O errors in a store"))
        free = sum(facts.free for facts in known)
        return Observation(
            f"{len(self._stores)} readable, {amount(free, 'B')} free", tuple(problems)
        )


def store_problems(facts: StoreFacts, settings: HealthSettings) -> list[Problem]:
    """What is wrong with one store. One that stalls is not judged by what it told before."""
    path = facts.path
    stall = Thresholds(settings.store_stall_warning_s, settings.store_stall_error_s)
    if stall.of_high(facts.waited_s):
        reason = f"{path} has not answered for {duration(facts.waited_s)}"
        return [Problem(stall.of_high(facts.waited_s), f"{path} stall", reason)]
    if facts.failure:
        return [Problem(Level.ERROR, path, f"{path} cannot be read: {facts.failure}")]
    if not facts.total:  # read-only, or of no size
        return []
    share = facts.free / facts.total
    room = Thresholds(settings.store_free_warning, settings.store_free_error)
    reason = f"{path} has {percent(share)} free ({amount(facts.free, 'B')})"
    return list(problems_of((room.of_low(share), f"{path} room", reason)))


class StoreShown(NamedTuple):
    """A store for people. free, total: bytes; None where that means nothing or is not known."""

    path: str
    level: Level | None
    reason: str
    free: int | None
    total: int | None


def show_store(path: str, facts: StoreFacts | None, settings: HealthSettings) -> StoreShown:
    """What its latest look found; no level before the first."""
    if facts is None:
        return StoreShown(path, None, "not looked at yet", None, None)
    problems = store_problems(facts, settings)
    room = (facts.free, facts.total) if facts.total else (None, None)
    reason = "; ".join(problem.reason for problem in problems)
    return StoreShown(path, worst_level(problem.level for problem in problems), reason, *room)
