"""The calls that find an object on a disk, and compare what is there with what is open."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from functools import partial

from ocaserve.serving.openers import Opener, open_cached
from ocaserve.serving.residency import Residency, can_tell_residency, tells_truth
from ocaserve.serving.store import Identity, OpenFile
from ocaserve.stores.answers import insist, says_absent
from ocaserve.stores.folder import Folder
from ocaserve.stores.reading import read_bytes


@dataclass(frozen=True, slots=True)
class OpenedObject:
    """What a thread found for a key."""

    descriptor: int
    status: os.stat_result
    residency: Residency | None
    content: bytes | None

    def close(self) -> None:
        """Nobody wants it."""
        if self.residency is not None:
            self.residency.close()
        os.close(self.descriptor)


def open_object(
    folder: Folder, opener: Opener, key: bytes, small_object_bytes: int
) -> OpenedObject | None:
    """Open a regular file below the folder; runs in a thread. None: there is no such object.

    Raises OSError when it can't be had now: the disk, its rights or the machine stand in the way.
    """
    try:
        descriptor = insist(partial(opener, folder.descriptor, key))
    except OSError as error:
        if says_absent(folder.descriptor, key, error):
            return None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            return None
        size = status.st_size
        content = read_bytes(descriptor, size, 0) if 0 < size <= small_object_bytes else None
        if content is not None and len(content) < size:
            content = None
    except OSError:
        os.close(descriptor)
        raise
    return OpenedObject(descriptor, status, _map(descriptor, status), content)


def _map(descriptor: int, status: os.stat_result) -> Residency | None:
    """None: its pages are not to be known, so threads send all of it."""
    if not status.st_size or not can_tell_residency() or not tells_truth(descriptor, status):
        return None
    try:
        return Residency(descriptor, status.st_size)
    except OSError:  # no room for a mapping, or a file system that has none
        return None


def compare(folder: Folder, file: OpenFile) -> bool | None:
    """Whether the path still leads to the version that is open; runs in a thread.

    None: that can't be known now.
    """
    try:
        return Identity.of(os.stat(file.key, dir_fd=folder.descriptor)) == file.identity
    except OSError as error:
        return False if says_absent(folder.descriptor, file.key, error) else None


def compare_cached(folder: Folder, file: OpenFile) -> bool:
    """The same without waiting for a disk: False where the kernel can't tell from memory.

    An open file keeps the names that lead to it in memory, so it nearly always can. For local
    stores alone, since a server would be asked for the status.
    """
    try:
        descriptor = open_cached(folder.descriptor, file.key)
    except OSError:
        return False
    try:
        return Identity.of(os.fstat(descriptor)) == file.identity
    except OSError:
        return False
    finally:
        os.close(descriptor)
