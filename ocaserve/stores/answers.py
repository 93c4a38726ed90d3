"""What the kernel's answers say of an object: that there is none, or that it can't be had now.

Only what is known not to be there is absent. All else, errors of the disk, of rights, of a server
behind the file system, of the machine, leaves it open whether the object is there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping

ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EXDEV})
"""There is no such object, for certain. EXDEV: a link leads out of the store."""

_NO_PATH = ABSENT | {errno.ELOOP, errno.EINVAL}
"""What asking for the status of a path may say where there can be nothing: links in a circle, a
name that this file system cannot have."""

_UNCLEAR = frozenset(
    {
        errno.ELOOP, errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENXIO, errno.ENODEV,
        errno.EISDIR,
    }
)  # fmt: skip
"""What opening says of links in a circle, sockets and devices, and of a file that is there."""

FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
"""The object is not for this user: it can't be had, and nothing is wrong with its disk."""

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Errors of the process or the machine, which say nothing about object or disk."""

_TRIES: Mapping[int, int] = {
    errno.EAGAIN: 8,  # openat2(2): the path changed while it was resolved
    errno.EINTR: 8,  # signal(7)
    errno.ESTALE: 2,  # the second look-up asks the server anew (NFS)
}
"""How often a call is made in all that gives this answer, where another may help at once."""


def insist(call: Callable[[], int]) -> int:
    """Make the call, again where its answer asks for that. Raises its last OSError."""
    tries = 0
    while True:
        try:
            return call()
        except OSError as error:
            tries += 1
            if tries >= _TRIES.get(error.errno or 0, 1):
                raise


def says_absent(folder: int, key: bytes, error: OSError) -> bool:
    """Whether an error of opening `key` below `folder` says that there is no such object."""
    if error.errno in ABSENT:
        return True
    if error.errno not in _UNCLEAR:
        return False
    try:
        mode = os.stat(key, dir_fd=folder, follow_symlinks=False).st_mode
    except OSError as again:
        return again.errno in _NO_PATH
    if stat.S_ISLNK(mode):
        return error.errno == errno.ELOOP
    return not stat.S_ISREG(mode)
