"""Is it the disk, or an object? Some objects are read, from the disk itself, and counted.

One bad sector, or one file that cannot be opened, is that object's misfortune. A store is held for
failed when most of what is tried on it can't be read, and comes back when most of it can.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from ocaserve.stores.answers import EXHAUSTED, FORBIDDEN
from ocaserve.stores.reading import open_file, read_at

_PAGE_BYTES = 4096  # what reads past the page cache must be aligned to, on any disk
_MOST_FOLDERS = 100  # looked through for objects
_MOST_FOUND = 256  # of which some are tried
_LEAST_UNREADABLE = 4  # unless it is all that there is: three bad files are no bad disk
_SAYS_NOTHING = EXHAUSTED | FORBIDDEN | {errno.ENOENT, errno.ELOOP}
"""About the disk: what is gone meanwhile, may not be read, or the machine has no means for."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How many objects were tried, how many of them could not be read, and one reason."""

    tried: int
    unreadable: int
    error: OSError | None = None

    def fails(self, share: float) -> bool:
        """Whether more than this share of what was tried could not be read. Pure."""
        if not self.unreadable:
            return False
        if self.unreadable == self.tried:
            return True
        return self.unreadable >= _LEAST_UNREADABLE and self.unreadable > share * self.tried


def try_objects(path: str, most: int) -> Trial:
    """Read a page of each of up to `most` objects below the path; waits for the disk.

    Raises OSError when the folder itself cannot be read.
    """
    errors: list[OSError] = []
    found = list(_find_objects(path, errors))
    chosen = random.sample(found, min(most, len(found)))
    tried = len(chosen) + len(errors)
    for file in chosen:
        try:
            read_from_disk(file)
        except OSError as error:
            errors.append(error)
    return Trial(tried, len(errors), errors[0] if errors else None)


def _find_objects(path: str, errors: list[OSError]) -> Iterator[str]:
    """Regular files with bytes in them, from the first folders; `errors` of what is below."""
    folders = [path]
    found = looked = 0
    while folders and looked < _MOST_FOLDERS and found < _MOST_FOUND:
        folder = folders.pop(0)
        looked += 1
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif _is_object(entry, errors):
                        found += 1
                        yield entry.path
                    if found >= _MOST_FOUND:
                        return
        except OSError as error:
            if folder == path:
                raise
            _note(error, errors)


def _is_object(entry: os.DirEntry[str], errors: list[OSError]) -> bool:
    try:
        return entry.is_file(follow_symlinks=False) and entry.stat().st_size > 0
    except OSError as error:
        _note(error, errors)
        return False


def _note(error: OSError, errors: list[OSError]) -> None:
    if error.errno not in _SAYS_NOTHING and len(errors) < _MOST_FOUND:
        errors.append(error)


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
    flags |= os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = open_file(file, flags)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            # Another page each time, since a disk may remember the last ones it has read.
            page = secrets.randbelow(status.st_size // _PAGE_BYTES + 1)
            aligned = mmap.mmap(-1, _PAGE_BYTES)  # given back with the buffer over it
            buffer = (ctypes.c_char * _PAGE_BYTES).from_buffer(aligned)
            read_at(descriptor, buffer, page * _PAGE_BYTES)
    finally:
        os.close(descriptor)
