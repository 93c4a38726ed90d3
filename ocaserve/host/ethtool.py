"""What a network driver says of itself: ioctl SIOCETHTOOL (linux/ethtool.h), which anyone may ask.

Elsewhere, and of interfaces without a driver, nothing is known.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import sys
from collections.abc import Mapping

_SIOCETHTOOL = 0x8946
_GDRVINFO = 0x03
_DRVINFO = struct.Struct("=I32s32s32s32s32s12sIIIII")
_VALUE = struct.Struct("=II")
_FLAGS = 0x25  # ETHTOOL_GFLAGS: a set of bits
_FLAG_LRO = 1 << 15
_OFFLOADS = {
    "rx_checksum": 0x14,
    "tx_checksum": 0x16,
    "scatter_gather": 0x18,
    "tso": 0x1E,
    "gso": 0x23,
    "gro": 0x2B,
}


def ask_driver(interface: str) -> tuple[str, str] | None:
    """(driver, firmware) of an interface; None: not told."""
    answer = _ask(interface, _DRVINFO.pack(_GDRVINFO, *[b""] * 6, *[0] * 5))
    if answer is None:
        return None
    _, driver, _, firmware, *_ = _DRVINFO.unpack(answer)
    return _text(driver), _text(firmware)


def ask_offloads(interface: str) -> Mapping[str, bool]:
    """Which offloads are on; those that the driver does not tell are left out."""
    told = {name: _ask_value(interface, command) for name, command in _OFFLOADS.items()}
    found = {name: bool(value) for name, value in told.items() if value is not None}
    flags = _ask_value(interface, _FLAGS)
    return found if flags is None else {**found, "lro": bool(flags & _FLAG_LRO)}


def _ask_value(interface: str, command: int) -> int | None:
    answer = _ask(interface, _VALUE.pack(command, 0))
    return None if answer is None else int(_VALUE.unpack(answer)[1])


def _ask(interface: str, question: bytes) -> bytes | None:
    """The kernel writes the answer over the question. A struct ifreq holds name and address."""
    if not sys.platform.startswith("linux"):
        return None
    buffer = array.array("B", question)
    address, _ = buffer.buffer_info()
    request = struct.pack("16sP16x", interface.encode()[:15], address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, _SIOCETHTOOL, request)
        except OSError:
            return None
    return buffer.tobytes()


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("ascii", "replace")
