"""Telling the service manager (sd_notify(3)): one datagram to the socket named in NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Does nothing where no service manager listens."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = _watchdog_s(environment)

    def tell(self, *facts: str) -> None:
        """Send assignments such as "READY=1". That nobody listens must not stop the service."""
        if not self._address:
            return
        said = "\n".join(fact.replace("\n", " ") for fact in facts)  # a path may have any character
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(os.fsencode(said), socket.MSG_DONTWAIT, self._address)


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Seconds within which the manager wants a sign of life (sd_watchdog_enabled(3))."""
    usec = environment.get("WATCHDOG_USEC", "")
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 1e6 or None if usec.isascii() and usec.isdigit() else None
