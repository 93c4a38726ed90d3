"""The store that all servers serve: objects of one size, in the page cache or out of it."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Store:
    """A folder of objects named `keys`, each of `object_bytes`, owned by the user who serves."""

    folder: Path
    keys: Sequence[str]
    object_bytes: int

    def warm(self, keys: Sequence[str] | None = None) -> None:
        """Bring objects (all, if none are named) into the page cache."""
        block = bytearray(_BLOCK_BYTES)
        for key in self.keys if keys is None else keys:
            with (self.folder / key).open("rb", buffering=0) as file:
                while file.readinto(block):
                    pass

    @contextmanager
    def locked(self, keys: Sequence[str] | None = None) -> Iterator[str | None]:
        """Keep objects (all, if none are named) in memory. Gives None, or why it cannot be done.

        Some kernels reclaim pages that were not used for seconds. What is measured as hot would
        then be, for a part of its requests, a measurement of the disk.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        problem = None
        with ExitStack() as mappings:
            for key in self.keys if keys is None else keys:
                file = mappings.enter_context((self.folder / key).open("r+b"))
                mapped = mappings.enter_context(closing(mmap.mmap(file.fileno(), 0)))
                view = ctypes.c_char.from_buffer(mapped)
                if libc.mlock(ctypes.addressof(view), len(mapped)):
                    problem = f"objects are not locked in memory: {os.strerror(ctypes.get_errno())}"
                del view  # a mapping that is looked at cannot be closed
            yield problem

    def cool(self) -> None:
        """Take all objects out of the page cache."""
        for key in self.keys:
            descriptor = os.open(self.folder / key, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # pages that wait to be written stay otherwise
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def create_store(folder: Path, count: int, object_bytes: int) -> Store:
    """Write the objects. Raises OSError if the disk does not take them.

    One random block again and again: nothing on the way to a client looks at the bytes, and no
    layer below can compress a megabyte of noise.
    """
    folder.mkdir()
    block = os.urandom(_BLOCK_BYTES)
    keys = [f"title{number:02}.mp4" for number in range(count)]
    for key in keys:
        with (folder / key).open("wb", buffering=0) as file:
            for _ in range(object_bytes // _BLOCK_BYTES):
                file.write(block)
    return Store(folder, keys, object_bytes)
