"""Waking consumers in other processes of the machine, without asking again and again.

Each process that waits has a datagram socket in a folder beside the database. Who has made a
message ready sends a byte to all of them. A socket whose process is gone refuses, and is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from pathlib import Path

_MOST_BYTES = 64  # of a ring: the number of a queue


class Bells:
    """One end of it: rings others, and hears them.

    Raises OSError when the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._path: Path | None = None
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def ring(self, queue: str) -> None:
        """Something may be ready. Never waits: a process whose socket is full is awake."""
        self._wake(queue)
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._folder):
                if self._path is None or name != self._path.name:
                    self._ring_one(self._folder / name, queue.encode())

    def _ring_one(self, path: Path, word: bytes) -> None:
        try:
            self._socket.sendto(word, str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:  # full, or gone meanwhile; a consumer looks again by itself now and then
            return

    def _wake(self, queue: str) -> None:
        for event in self._waiting.get(queue, ()):
            event.set()

    async def wait(self, queue: str, event: asyncio.Event, timeout_s: float) -> None:
        """Until it rings, `timeout_s` at most. event: from `listen`."""
        with contextlib.suppress(TimeoutError):
            # asyncio.wait_for of Python 3.11 forgets a cancellation that meets the bell.
            async with asyncio.timeout(timeout_s):
                await event.wait()
        event.clear()

    def listen(self, queue: str) -> asyncio.Event:
        """Hear this queue's bell from now on: before looking, so that nothing is missed."""
        if self._path is None:
            self._bind()
        event = asyncio.Event()
        self._waiting.setdefault(queue, set()).add(event)
        return event

    def leave(self, queue: str, event: asyncio.Event) -> None:
        """No longer."""
        waiting = self._waiting[queue]
        waiting.discard(event)
        if not waiting:
            del self._waiting[queue]

    def _bind(self) -> None:
        path = self._folder / f"{os.getpid():x}{secrets.token_hex(2)}"
        self._socket.bind(str(path))  # raises OSError where the folder's path is too long
        self._path = path
        asyncio.get_running_loop().add_reader(self._socket, self._hear)

    def _hear(self) -> None:
        while True:
            try:
                self._wake(self._socket.recv(_MOST_BYTES).decode("ascii", "replace"))
            except OSError:  # no more of them
                return

    def close(self) -> None:
        """No longer hear or be rung."""
        if self._path is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._path.unlink(missing_ok=True)
            self._path = None
        self._socket.close()
