"""What was made for a client and its socket did not take: encrypted, so it cannot be made anew.

Pieces are sent as they were made, and never joined: a client that has the server say something
while its response waits costs no copy of what waits.

`Backlogs` is the bound over all clients of a worker. A client that takes what it was sent has a
backlog for a moment only; so when there is no room, the one that has waited longest goes.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import Protocol

from ocaserve.serving.closing import CloseReason


class Waiting(Protocol):
    """A client with a backlog."""

    def close(self, reason: CloseReason) -> None:
        """End it now, for this reason; its backlog is forgotten."""


class Backlogs:
    """The backlogs of one worker, in the order in which their clients began to wait."""

    def __init__(self, most_bytes: int) -> None:
        self.bytes = 0
        self._most_bytes = most_bytes
        self._waiting: dict[Waiting, None] = {}

    def change(self, client: Waiting, bytes_before: int, bytes_now: int) -> None:
        """The client's backlog has another size."""
        self.bytes += bytes_now - bytes_before
        if not bytes_now:
            self._waiting.pop(client, None)
        elif not bytes_before:
            self._waiting[client] = None

    def shed(self) -> None:
        """Close clients, the first of all first, until there is room for the others.

        To be called when a backlog has grown, and its client knows: it may be the one that goes.
        """
        while self.bytes > self._most_bytes and self._waiting:
            longest = next(iter(self._waiting))
            del self._waiting[longest]  # whatever closing does
            longest.close(CloseReason.BACKLOG_LIMIT)


class Backlog:
    """One client's, in the order in which it must be sent."""

    __slots__ = ("_all", "_client", "_pieces", "bytes")

    def __init__(self, all_of_worker: Backlogs, client: Waiting) -> None:
        self.bytes = 0
        self._all = all_of_worker
        self._client = client
        self._pieces: deque[memoryview] = deque()

    def add(self, piece: bytes) -> None:
        """To be sent after all that waits."""
        if piece:
            self._pieces.append(memoryview(piece))
            self._resize(self.bytes + len(piece))

    def send(self, sock: socket.socket, piece: bytes = b"") -> int:
        """Send what waits, and `piece` behind it; what is not taken waits. Returns what is taken.

        Raises OSError when the socket is not just full.
        """
        taken = 0
        if not self._pieces and piece:  # as nearly always
            taken = _send(sock, piece)
            if taken < len(piece):
                self._pieces.append(memoryview(piece)[taken:])
                self._resize(len(piece) - taken)
            return taken
        if piece:
            self._pieces.append(memoryview(piece))
        left = self.bytes + len(piece)
        while self._pieces:
            first = self._pieces[0]
            count = _send(sock, first)
            taken += count
            if count < len(first):
                self._pieces[0] = first[count:]
                break
            self._pieces.popleft()
        self._resize(left - taken)
        return taken

    def forget(self) -> None:
        """It will not be sent."""
        self._pieces.clear()
        self._resize(0)

    def _resize(self, size: int) -> None:
        before, self.bytes = self.bytes, size
        if before != size:
            self._all.change(self._client, before, size)


def _send(sock: socket.socket, piece: bytes | memoryview) -> int:
    try:
        return sock.send(piece)
    except BlockingIOError:
        return 0
