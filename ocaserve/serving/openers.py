"""Opening a file below a store, wherever its symbolic links point.

A link may lead to another place of the same store (relative links only); it never leads out of it.
Linux and FreeBSD check that in the kernel while they resolve the path, so nobody can swap a folder
for a link in between. Where the kernel can't, no link is followed at all.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # non-blocking: it may be a FIFO
_OPENAT2 = 437  # the same number on every architecture (openat2(2), Linux 5.6)
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_RESOLVE_CACHED = 0x20  # since Linux 5.12
_O_PATH = 0o10000000
_FREEBSD_RESOLVE_BENEATH = 0x00800000  # O_RESOLVE_BENEATH, open(2), FreeBSD 13

Opener = Callable[[int, bytes], int]


_OpenHow = ctypes.c_uint64 * 3  # struct open_how: flags, mode, resolve

_libc = ctypes.CDLL(None, use_errno=True)
_how = _OpenHow(_FLAGS, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
_cached_how = _OpenHow(
    _O_PATH | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS | _RESOLVE_CACHED
)
# PyDLL keeps the interpreter's lock: the call takes a microsecond and never waits for I/O.
_quick = ctypes.PyDLL(None, use_errno=True)


def open_cached(folder: int, path: bytes) -> int:
    """Linux: a descriptor that shows the file's status, found in memory alone.

    Raises OSError; EAGAIN: the disk would have to be asked; EINVAL, ENOSYS: an older kernel.
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return _call_openat2(_quick, folder, path, _cached_how)


def open_openat2(folder: int, path: bytes) -> int:
    """Linux: resolve beneath `folder` in the kernel. Raises OSError; EXDEV: a link led out."""
    return _call_openat2(_libc, folder, path, _how)


def _call_openat2(
    library: ctypes.CDLL, folder: int, path: bytes, how: ctypes.Array[ctypes.c_uint64]
) -> int:
    file: int = library.syscall(
        ctypes.c_long(_OPENAT2),
        ctypes.c_int(folder),
        ctypes.c_char_p(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if file < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return file


def open_resolve_beneath(folder: int, path: bytes) -> int:
    """FreeBSD: the same by a flag of openat(2). Raises OSError."""
    return os.open(path, _FLAGS | _FREEBSD_RESOLVE_BENEATH, dir_fd=folder)


def open_without_links(folder: int, path: bytes) -> int:
    """Anywhere: one component after the other, following no link. Raises OSError."""
    *folders, name = path.split(b"/")
    current = folder
    try:
        for component in folders:
            below = os.open(component, _FLAGS | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=current)
            if current != folder:
                os.close(current)
            current = below
        return os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=current)
    finally:
        if current != folder:
            os.close(current)


def choose_opener(folder: int) -> Opener:
    """The best opener that works here, tried on `folder` itself."""
    if sys.platform.startswith("freebsd"):
        return open_resolve_beneath
    if sys.platform == "linux":
        try:
            os.close(open_openat2(folder, b"."))
        except OSError as error:  # an old kernel, or a system-call filter
            if error.errno not in (errno.ENOSYS, errno.EPERM):
                raise
        else:
            return open_openat2
    return open_without_links
