"""Viewers who pause: each has been answered once, keeps its connection, and says nothing."""

from __future__ import annotations

import json
import socket
import struct
import sys

from benchmarks.clients.wire import BadAnswer, ask, body_bytes, tell

_BATCH = 250  # at once, far below any backlog
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # leaves no TIME_WAIT behind for the next scenario


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 10.0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    return sock


def _read_answer(sock: socket.socket) -> None:
    """Read an answer whole, with a body as small as its head. Raises BadAnswer, OSError."""
    data = b""
    while True:
        piece = sock.recv(8192)
        if not piece:
            raise BadAnswer("the connection ended inside an answer")
        data += piece
        head, end, body = data.partition(b"\r\n\r\n")
        if end and len(body) >= body_bytes(head):
            return


def main(port: int, clients: int, key: str, range_bytes: int) -> None:
    """Connect and ask once; tell how many were answered; stay until standard input ends."""
    request = ask(port, key, 0, range_bytes - 1)
    answered: list[socket.socket] = []
    failures = 0
    for start in range(0, clients, _BATCH):
        batch = [_connect(port) for _ in range(min(_BATCH, clients - start))]
        for sock in batch:
            sock.sendall(request)
        for sock in batch:
            try:
                _read_answer(sock)
            except (BadAnswer, OSError):
                failures += 1
        answered += batch
    tell("begin")
    sys.stdin.read()
    tell({"failures": failures})


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
