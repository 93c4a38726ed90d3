"""The files of a store as the service's user sees them, and where a store lies."""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

_MOST_FILES = 20_000  # of a store that are looked at: a wrong owner is rarely that of one file


class User(NamedTuple):
    """Whom the kernel takes the appliance for."""

    name: str
    uid: int
    groups: frozenset[int]

    @classmethod
    def named(cls, name: str) -> User:
        """Raises KeyError when there is none."""
        entry = pwd.getpwnam(name)
        return cls(name, entry.pw_uid, frozenset(os.getgrouplist(name, entry.pw_gid)))

    @classmethod
    def current(cls) -> User:
        """Who runs this program."""
        uid = os.geteuid()
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = str(uid)
        return cls(name, uid, frozenset({os.getegid(), *os.getgroups()}))

    def owns(self, status: os.stat_result) -> bool:
        """Whether mincore(2) tells this user the truth about a file. It does to root."""
        return self.uid in (0, status.st_uid)

    def may_read(self, status: os.stat_result) -> bool:
        """By owner, group and mode: a folder must be searchable too. Access lists are not seen."""
        return self._may(status, 0o5 if stat.S_ISDIR(status.st_mode) else 0o4)

    def may_write(self, status: os.stat_result) -> bool:
        """The same, to make files in a folder."""
        return self._may(status, 0o3)

    def _may(self, status: os.stat_result, wanted: int) -> bool:
        if self.uid == 0:
            return True
        others = 3 if status.st_gid in self.groups else 0
        shift = 6 if self.uid == status.st_uid else others
        return (status.st_mode >> shift) & wanted == wanted


Judge = Callable[[os.stat_result], bool]


def count_files(store: str, is_bad: Judge) -> str | None:
    """ "3 of 200 files, one is /srv/oca/disk1/a"; None when the store cannot be read."""
    if not os.path.isdir(store):
        return None
    total = bad = 0
    example = ""
    for path, status in islice(_walk(store), _MOST_FILES):
        total += 1
        if is_bad(status):
            bad += 1
            example = example or f", one is {path}"
    return f"{bad} of {total} files and folders{example}"


def _walk(store: str) -> Iterator[tuple[str, os.stat_result]]:
    """The store itself and all below it, breadth first; links are not followed."""
    yield store, os.stat(store)
    folders = [store]
    for folder in folders:
        with suppress(PermissionError, FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_symlink():
                    yield entry.path, entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)


class Mount(NamedTuple):
    """Where a path lies: a line of /proc/self/mountinfo (proc(5))."""

    point: str
    device: str  # major:minor
    options: str
    system: str


def find_mount(mountinfo: str, path: str) -> Mount | None:
    """The mount that holds a path: the last of the longest that lead to it."""
    found = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal.group(1), 8)), fields[4])
        if Path(path).is_relative_to(point) and (not found or len(point) >= len(found.point)):
            found = Mount(point, fields[2], fields[5], right.split()[0])
    return found
