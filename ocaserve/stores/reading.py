"""Opening and reading a file of a store, where every error of the file system is an answer.

Python repeats a call that says EINTR until it says something else. A disk's server that says so for
good would hold the thread, and a processor, for as long. Here it is repeated a few times.
"""

from __future__ import annotations

import ctypes
import os
from functools import partial

from ocaserve.stores.answers import insist

_libc = ctypes.CDLL(None, use_errno=True)  # it gives the interpreter's lock away
_pread = _libc.pread
_pread.restype = ctypes.c_ssize_t
_pread.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long]
_open = _libc.open
_open.argtypes = [ctypes.c_char_p, ctypes.c_int]


def open_file(path: str, flags: int) -> int:
    """As open(2). Raises OSError."""
    return insist(partial(_open_once, os.fsencode(path), flags))


def _open_once(path: bytes, flags: int) -> int:
    return check(_open(path, flags))


def read_at(file: int, buffer: ctypes.Array[ctypes.c_char], offset: int) -> int:
    """Fill the buffer from there on; returns how many bytes there were. Raises OSError."""
    return insist(partial(_read_once, file, buffer, offset))


def _read_once(file: int, buffer: ctypes.Array[ctypes.c_char], offset: int) -> int:
    return check(_pread(file, ctypes.addressof(buffer), ctypes.sizeof(buffer), offset))


def read_bytes(file: int, size: int, offset: int) -> bytes:
    """Up to so many bytes from there on. Raises OSError."""
    buffer = ctypes.create_string_buffer(size)
    count = read_at(file, buffer, offset)
    return buffer.raw[:count]


def check(result: int) -> int:
    """What a call of the C library returned. Raises OSError where that was -1."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
