"""Listening on a path: what may lie there already, and whose it is when it is given up.

The name of a local socket is a file, which outlives its process, and which another program may have
replaced by its own. A file is ours if it has the device and inode that it had when we bound it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

FileId = tuple[int, int]


class LocalListener(socket.socket):
    """A socket that listens on a path. `file_id`: device and inode of the file; None if unknown."""

    file_id: FileId | None = None

    def remove_file(self) -> None:
        """If it is ours still. Raises nothing: what stays is taken over by whoever comes next.

        Of a socket that was closed it stays: a new version has both by then.
        """
        if self.fileno() < 0:
            return
        path = self.getsockname()
        with suppress(OSError):
            if self.file_id is not None and _find_id(path) == self.file_id:
                os.unlink(path)


def listen_on_path(path: str, backlog: int) -> LocalListener:
    """Bind, in place of a socket that was left behind. Raises OSError, whose text is for people."""
    sock = LocalListener(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_left_behind(path)
        sock.bind(path)
        sock.file_id = _find_id(path)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def adopt_local_listener(sock: socket.socket, file_id: FileId | None) -> LocalListener:
    """One that was passed in, and the file that it has according to who bound it."""
    adopted = LocalListener(fileno=sock.detach())
    adopted.file_id = file_id
    return adopted


def _remove_left_behind(path: str) -> None:
    """Remove the socket of a process that was killed. Raises OSError if something else is there."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
    if is_answered(path):
        raise OSError(errno.EADDRINUSE, "Address already in use")
    if _find_id(path) == (status.st_dev, status.st_ino):  # nobody has replaced it meanwhile
        os.unlink(path)


def is_answered(path: str) -> bool:
    """Whether a process listens on a socket's file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a living one whose queue is full answers EAGAIN
        return probe.connect_ex(path) != errno.ECONNREFUSED


def _find_id(path: str) -> FileId:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
