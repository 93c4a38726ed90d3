"""A store's folder: which one is held, and what has become of the path that it was opened by."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import NamedTuple

from ocaserve.stores.answers import insist


class FolderIdentity(NamedTuple):
    """Which folder it is. is_mount: a file system begins there."""

    device: int
    inode: int
    is_mount: bool


class Folder:
    """An open directory. It is closed when nobody has it any more, so no thread that works below it
    ever meets another file under its number.
    """

    __slots__ = ("descriptor", "identity")

    def __init__(self, path: str | bytes) -> None:
        """Raises OSError."""
        self.descriptor = -1
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self.descriptor = insist(partial(os.open, path, flags))
        self.identity = _identify(self.descriptor)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            with suppress(OSError):
                os.close(self.descriptor)


class Sight(Enum):
    """What stands at a store's path, beside what is held of it."""

    SAME = "the folder that is held"
    OTHER = "another folder"
    UNMOUNTED = "the folder that a disk was mounted on"


def compare_folders(held: FolderIdentity | None, found: FolderIdentity) -> Sight:
    """What `found` is to who holds `held`.

    Where a disk was mounted and none is now, its objects are not gone: they can't be had.
    """
    if held is None:
        return Sight.OTHER
    if (held.device, held.inode) == (found.device, found.inode):
        return Sight.SAME
    if held.is_mount and not found.is_mount and held.device != found.device:
        return Sight.UNMOUNTED
    return Sight.OTHER


def look_at_folder(path: str, held: FolderIdentity | None) -> Folder | None:
    """The folder at the path if it is another than `held`, else None; for a thread.

    Raises OSError when it cannot be opened or listed, or its disk is no longer mounted.
    """
    found = Folder(path)
    sight = compare_folders(held, found.identity)
    if sight is Sight.UNMOUNTED:
        raise OSError(errno.ENODEV, "no disk is mounted there any more")
    with os.scandir(found.descriptor) as entries:
        next(entries, None)
    return None if sight is Sight.SAME else found


def _identify(folder: int) -> FolderIdentity:
    status = os.fstat(folder)
    is_mount = False
    with suppress(OSError):  # the folder above is another's
        above = os.stat("..", dir_fd=folder)
        is_mount = above.st_dev != status.st_dev
    return FolderIdentity(status.st_dev, status.st_ino, is_mount)
