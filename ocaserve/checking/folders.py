"""How stores' folders are, asked of disks that may not answer.

A call that waits for a dead disk cannot be ended. So another process makes it, which is left behind
then: the supervisor, which asks at each reload, has all others to look after.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

PATIENCE_S = 2.0
"""As long as a worker waits for its first look, before it serves."""

_CHUNK_BYTES = 1 << 16


class FolderSight(NamedTuple):
    """real: the path without links. fault: why it cannot be read; empty where it can."""

    real: str
    fault: str
    is_writable: bool


def look_at_folders(paths: Sequence[str]) -> Mapping[str, FolderSight]:
    """Each by its path, but for those that gave no answer. Raises OSError: nobody could be sent."""
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0):
        try:
            looker = _send(paths, writing)
        finally:
            os.close(writing)
        told, is_whole = _read(reading, time.monotonic() + PATIENCE_S)
    if is_whole:
        os.waitpid(looker, 0)
    else:  # it ends when the disk answers, and is reaped then as what others leave behind
        os.kill(looker, signal.SIGKILL)
    rows = (json.loads(line) for line in told.splitlines(keepends=True) if line.endswith(b"\n"))
    return {path: FolderSight(*sight) for path, *sight in rows}


def _send(paths: Sequence[str], writing: int) -> int:
    """Fork who looks; returns its pid. Raises OSError."""
    held_back = signal.valid_signals()  # or the child would tell of them as if we had had them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held_back)
    try:
        with warnings.catch_warnings():
            # Python warns of other threads' locks, and the child wants none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            looker = os.fork()
        if not looker:
            _look_at_all(paths, writing)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return looker


def _look_at_all(paths: Sequence[str], writing: int) -> NoReturn:
    """In the child: a thread for each, so that a disk that does not answer holds up no other."""
    try:
        os.dup2(writing, 0)
        os.closerange(1, os.sysconf("SC_OPEN_MAX"))  # sockets that others shall be able to close
        lock = threading.Lock()
        threads = [threading.Thread(target=_look, args=(path, lock)) for path in paths]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        os._exit(0)


def _look(path: str, lock: threading.Lock) -> None:
    real, fault = "", ""
    try:
        os.scandir(path).close()
        real = os.path.realpath(path)
    except OSError as error:
        fault = error.strerror or str(error)
    told = json.dumps([path, real, fault, os.access(path, os.W_OK)]) + "\n"
    with lock:
        os.write(0, told.encode())


def _read(descriptor: int, deadline: float) -> tuple[bytes, bool]:
    """What came until then, and whether it is all that there is."""
    told = bytearray()
    answers = select.poll()
    answers.register(descriptor, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0 and answers.poll(left * 1000):
        chunk = os.read(descriptor, _CHUNK_BYTES)
        if not chunk:
            return bytes(told), True
        told += chunk
    return bytes(told), False
