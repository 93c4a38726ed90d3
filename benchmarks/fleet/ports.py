"""Ports of this machine that nobody uses."""

from __future__ import annotations

import socket


def find_free_ports(count: int) -> list[int]:
    """All of them others."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
