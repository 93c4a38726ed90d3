"""A server that calls sendfile on its event loop whether the bytes are in memory or not.

It is what the appliance would be without residency tests and threads, and is measured beside it to
show what those are for. `python -m tests.support.inline_server DIR` prints its port and serves.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from pathlib import Path

_TARGET = re.compile(rb"GET /([\w.-]+) ")
_RANGE = re.compile(rb"\r\nRange: bytes=(\d+)-(\d+)\r\n", re.IGNORECASE)
_STEP = 512 * 1024


class _Client:
    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, folder: Path) -> None:
        self._loop, self._sock, self._folder = loop, sock, folder
        loop.add_reader(sock, self._on_readable)

    def _on_readable(self) -> None:
        try:
            head = self._sock.recv(16384)  # one segment holds the head of the clients used here
            named = _TARGET.match(head)
        except OSError:
            named = None
        if named is None:
            self._close()
            return
        self._loop.remove_reader(self._sock)
        self._file = os.open(self._folder / named[1].decode(), os.O_RDONLY)
        asked = _RANGE.search(head)
        size = os.fstat(self._file).st_size
        self._at, self._stop = (int(asked[1]), int(asked[2]) + 1) if asked else (0, size)
        fields = b"HTTP/1.1 %d \r\nContent-Length: %d\r\n\r\n"
        self._sock.send(fields % (206 if asked else 200, self._stop - self._at), 0x8000)
        self._loop.add_writer(self._sock, self._on_writable)

    def _on_writable(self) -> None:
        try:
            count = min(self._stop - self._at, _STEP)
            self._at += os.sendfile(self._sock.fileno(), self._file, self._at, count)
        except BlockingIOError:
            return
        except OSError:
            self._close()
            return
        if self._at == self._stop:
            self._loop.remove_writer(self._sock)
            os.close(self._file)
            self._loop.add_reader(self._sock, self._on_readable)

    def _close(self) -> None:
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()


async def serve(folder: Path) -> None:
    """Serve the files of a folder until the process is ended."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        print(listener.getsockname()[1], flush=True)
        while True:
            sock, _ = await loop.sock_accept(listener)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _Client(loop, sock, folder)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
