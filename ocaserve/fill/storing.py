"""Objects on their way in a store, and how they become visible.

What is not whole and verified lies in the store's folder `.fill`, which is not served; it becomes
visible by one rename. All functions wait for the disk and raise OSError.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from ocaserve.fill.manifest import Entry

FOLDER = ".fill"
_DAMAGED = "damaged"
_READ_BYTES = 1 << 20
_DAMAGED_KEPT = 8  # in each store, to be looked at, as long as they take little room
_DAMAGED_SHARE = 0.01
_CANNOT_PREALLOCATE = frozenset({errno.EINVAL, errno.EOPNOTSUPP})  # ZFS; some servers


def part_of(store: Path, entry: Entry) -> Path:
    """Where an object on its way is."""
    return store / FOLDER / f"{entry.id}.part"


class Partial:
    """The file of an object that is being fetched.

    Its room is taken at once, so that a full disk says so at once. is_new: nothing that was fetched
    before is in it.
    """

    def __init__(self, store: Path, entry: Entry) -> None:
        folder = store / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        self.path = part_of(store, entry)
        self._lock = threading.Lock()
        self._is_closed = False
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self.descriptor = os.open(self.path, flags, 0o644)
        try:
            self.is_new = os.fstat(self.descriptor).st_size != entry.size
            if self.is_new:
                os.ftruncate(self.descriptor, 0)
                _take_room(self.descriptor, entry.size)
        except BaseException:
            self.close()
            self.discard()
            raise

    def write(self, offset: int, data: bytes) -> None:
        """All of `data`. Raises ValueError when it has been closed."""
        left = memoryview(data)
        # A thread may be late: whoever was cancelled does not wait for it, and the number of a
        # descriptor that is closed is soon another file's.
        with self._lock:
            if self._is_closed:
                raise ValueError(f"{self.path} is closed")
            while left:
                written = os.pwrite(self.descriptor, left, offset)
                left, offset = left[written:], offset + written

    def close(self) -> None:
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self.descriptor)

    def discard(self) -> None:
        """It is not wanted, or not right."""
        self.path.unlink(missing_ok=True)


def _take_room(descriptor: int, size: int) -> None:
    if not size:
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _CANNOT_PREALLOCATE:
            raise
        os.ftruncate(descriptor, size)


def digest_of(descriptor: int, size: int, paced: Callable[[int], None] = lambda _: None) -> str:
    """SHA-256 of the first `size` bytes of an open file; `paced` is told of each part that is read.

    A file that is shorter has another digest.
    """
    digest = hashlib.sha256()
    offset = 0
    while offset < size:
        data = os.pread(descriptor, min(_READ_BYTES, size - offset), offset)
        if not data:
            break
        digest.update(data)
        offset += len(data)
        paced(len(data))
    return digest.hexdigest()


def digest_on_disk(file: Path, size: int, paced: Callable[[int], None]) -> str:
    """SHA-256 of a stored file, past the page cache where the file system lets us: what clients
    want stays in memory, and what is on the disk is what is judged.

    A file of another size has another digest.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return _digest_of_file(file, size, flags | getattr(os, "O_DIRECT", 0), paced)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return _digest_of_file(file, size, flags, paced)  # a file system that has no such reading


def _digest_of_file(file: Path, size: int, flags: int, paced: Callable[[int], None]) -> str:
    descriptor = os.open(file, flags)
    try:
        if os.fstat(descriptor).st_size != size:
            return ""
        digest, offset = hashlib.sha256(), 0
        # Memory of its own begins with a page, as reading past the cache asks for.
        with mmap.mmap(-1, _READ_BYTES) as buffer, memoryview(buffer) as view:
            while offset < size:
                count = min(os.preadv(descriptor, [view], offset), size - offset)
                if not count:
                    return ""
                with view[:count] as read:
                    digest.update(read)
                offset += count
                paced(count)
        return digest.hexdigest()
    finally:
        os.close(descriptor)


def publish(store: Path, partial: Partial, entry: Entry) -> os.stat_result:
    """Make it visible under its key; returns what the file is now. The caller has verified it."""
    target = store / entry.key
    _make_folders(store, target.parent)
    if entry.mtime_ns is not None:
        os.utime(partial.descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
    os.fsync(partial.descriptor)
    partial.path.rename(target)
    _sync_folder(target.parent)
    return os.fstat(partial.descriptor)


def _make_folders(store: Path, folder: Path) -> None:
    """Those that are missing, each on the disk before what is in it. Nothing behind a link that
    leads out of the store.
    """
    missing = []
    while folder != store and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    if not folder.resolve().is_relative_to(store.resolve()):
        raise OSError(errno.ELOOP, "a link leads out of the store", str(folder))
    for each in reversed(missing):
        with suppress(FileExistsError):
            each.mkdir(mode=0o755)
        _sync_folder(each.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def evict(store: Path, key: str) -> None:
    """It is not visible any more; folders that are empty by it go too."""
    target = store / key
    target.unlink(missing_ok=True)
    folder = target.parent
    while folder != store:
        try:
            folder.rmdir()
        except OSError:  # something else is in it
            return
        folder = folder.parent


def quarantine(store: Path, key: str, sha256: str) -> Path:
    """Put a damaged object aside, where nobody is served from; returns where.

    The last few are kept, as long as they take a hundredth of the store at the most.
    """
    folder = store / FOLDER / _DAMAGED
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = folder / (sha256 or hashlib.sha256(key.encode()).hexdigest())
    (store / key).rename(target)
    os.utime(target)  # when it was found
    _forget_damaged(folder)
    return target


def _forget_damaged(folder: Path) -> None:
    room = os.statvfs(folder)
    left = int(_DAMAGED_SHARE * room.f_frsize * room.f_blocks)
    found = sorted(os.scandir(folder), key=lambda each: -each.stat().st_mtime_ns)
    for place, each in enumerate(found):
        left -= each.stat().st_size
        if place >= _DAMAGED_KEPT or left < 0:
            Path(each.path).unlink(missing_ok=True)


def find_started(store: Path) -> dict[str, int]:
    """Objects that are on their way in a store, and the bytes of room that each has taken."""
    found = {}
    with suppress(FileNotFoundError), os.scandir(store / FOLDER) as entries:
        for each in entries:
            name, dot, ending = each.name.partition(".")
            if dot and ending == "part" and each.is_file(follow_symlinks=False):
                status = each.stat(follow_symlinks=False)
                found[name] = min(status.st_size, 512 * status.st_blocks)
    return found


def forget_started(store: Path, names: Iterable[str]) -> None:
    """They are not wanted here any more."""
    for name in names:
        (store / FOLDER / f"{name}.part").unlink(missing_ok=True)
