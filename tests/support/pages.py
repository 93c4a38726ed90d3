"""What of a file is in memory, and making it cold."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
_PROT_NONE = 0


def resident_bytes(path: Path) -> int:
    """How many bytes of a file are in the page cache, in whole pages. Raises OSError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        address = _libc.mmap(None, size, _PROT_NONE, mmap.MAP_SHARED, file.fileno(), 0)
        pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        failed = _libc.mincore(address, size, pages)
        code = ctypes.get_errno()
        _libc.munmap(address, size)
    if failed:
        raise OSError(code, os.strerror(code), str(path))
    return sum(page & 1 for page in pages) * mmap.PAGESIZE


def make_cold(path: Path) -> None:
    """Drop the file's pages from memory."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())  # a dirty page would stay
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def free_sent_pages() -> None:
    """Have each processor free the packets that others left to it.

    Linux frees what a socket held on the processor that sent it, and not before something comes in
    there: until then the pages of a sent file cannot go.
    """
    allowed = os.sched_getaffinity(0)
    try:
        for processor in allowed:
            os.sched_setaffinity(0, {processor})
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as to_itself:
                to_itself.bind(("127.0.0.1", 0))
                to_itself.sendto(b".", to_itself.getsockname())
                to_itself.recv(1)
    finally:
        os.sched_setaffinity(0, allowed)
