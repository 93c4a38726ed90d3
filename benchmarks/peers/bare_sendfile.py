"""The limit for a Python server: an event loop, a head made beforehand, and sendfile.

It reads nothing of a request but its end, checks nothing, logs nothing, and sends ranges of its own
choice (spread over the store, so that the caches of the processor see what they see with the
others). Arguments: PORT STORE RANGE_BYTES.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
from asyncio import AbstractEventLoop
from itertools import cycle
from pathlib import Path

import uvloop

_CHOICES = 8192
_STEP_BYTES = 1024 * 1024


class Connection:
    """Answers each empty line with a range."""

    def __init__(self, loop: AbstractEventLoop, sock: socket.socket, server: Server) -> None:
        self._loop = loop
        self._sock = sock
        self._server = server
        self._owed = 0
        self._left = 0
        self._file = self._offset = 0
        self._waiting = False
        loop.add_reader(sock, self._on_readable)

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(16384)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()
            return
        self._owed += data.count(b"\r\n\r\n")
        if not self._left:
            self._send()

    def _send(self) -> None:
        try:
            while self._left or self._owed:
                if not self._left:
                    self._begin()
                sent = os.sendfile(
                    self._sock.fileno(), self._file, self._offset, min(self._left, _STEP_BYTES)
                )
                self._offset += sent
                self._left -= sent
                if self._left:
                    break
        except BlockingIOError:
            pass
        except OSError:
            self._close()
            return
        self._wait(self._left > 0)

    def _begin(self) -> None:
        server = self._server
        self._sock.send(server.head, socket.MSG_MORE)
        self._file, self._offset = next(server.choices)
        self._left = server.range_bytes
        self._owed -= 1

    def _wait(self, wanted: bool) -> None:
        if wanted and not self._waiting:
            self._loop.add_writer(self._sock, self._send)
        elif self._waiting and not wanted:
            self._loop.remove_writer(self._sock)
        self._waiting = wanted

    def _close(self) -> None:
        self._wait(False)
        self._loop.remove_reader(self._sock)
        self._sock.close()


class Server:
    """The listening socket, the head, and the ranges in the order in which they are sent."""

    def __init__(self, loop: AbstractEventLoop, port: int, store: Path, range_bytes: int) -> None:
        self.range_bytes = range_bytes
        self.head = f"HTTP/1.1 206 OK\r\nContent-Length: {range_bytes}\r\n\r\n".encode()
        files = [os.open(path, os.O_RDONLY) for path in sorted(store.iterdir())]
        size = os.fstat(files[0]).st_size
        chance = random.Random(range_bytes)  # noqa: S311 - repeatable is what is wanted
        choices = [
            (chance.choice(files), chance.randrange(size // range_bytes) * range_bytes)
            for _ in range(_CHOICES)
        ]
        self.choices = cycle(choices)
        self._loop = loop
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        loop.add_reader(self._listener, self._on_connection)

    def _on_connection(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Connection(self._loop, sock, self)


def main(port: int, store: Path, range_bytes: int) -> None:
    """Serve until terminated."""
    loop = uvloop.new_event_loop()
    Server(loop, port, store, range_bytes)
    loop.add_signal_handler(signal.SIGTERM, loop.stop)
    loop.run_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
