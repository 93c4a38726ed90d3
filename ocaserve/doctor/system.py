"""What only a call tells, and no file: the clock, a card's offloads, versions, other commands."""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import socket
import ssl
import struct
import subprocess
import zoneinfo
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata

_SIOCETHTOOL = 0x8946  # linux/sockios.h
_OFFLOADS = {"sg": 0x18, "tso": 0x1E, "gso": 0x23, "gro": 0x2B}  # linux/ethtool.h: ETHTOOL_G...
_TIMEX_BYTES = 512  # more than struct timex has anywhere; its first field says what to set: nothing
_TIME_ERROR = 5  # ntp_adjtime(2): the clock is not synchronised
_COMMAND_S = 10.0


class System:
    """The host that we run on. A test has one of its own."""

    def kernel(self) -> str:
        """The release of the kernel."""
        return os.uname().release

    def openssl(self) -> str:
        """The version of the library that Python has."""
        return ".".join(str(part) for part in ssl.OPENSSL_VERSION_INFO[:3])

    def distribution(self, name: str) -> str:
        """The version of an installed Python package, or that it is not installed."""
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return "not installed"

    def zone_count(self) -> int:
        """How many time zones are known."""
        return len(zoneinfo.available_timezones())

    def clock(self) -> str | None:
        """Whether something keeps the clock right; None where the C library does not tell."""
        with suppress(AttributeError):
            state = ctypes.CDLL(None).ntp_adjtime(ctypes.create_string_buffer(_TIMEX_BYTES))
            if state >= 0:
                return "not synchronised" if state == _TIME_ERROR else "synchronised"
        return None

    def offload(self, card: str, name: str) -> str | None:
        """ "on" or "off" (Linux); None where the card does not tell."""
        answer = array.array("I", [_OFFLOADS[name], 0])
        address, _ = answer.buffer_info()
        request = struct.pack("16sP", card.encode(), address)
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, _SIOCETHTOOL, request)
            return "on" if answer[1] else "off"
        return None

    def run(self, command: Sequence[str]) -> str | None:
        """What a command that only reads prints; None if it fails or is not there."""
        with suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(  # noqa: S603 - the commands stand in this package
                command, capture_output=True, text=True, timeout=_COMMAND_S, check=False
            )
            return done.stdout.strip() if done.returncode == 0 else None
        return None
