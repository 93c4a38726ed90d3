"""The PROXY protocol: what a balancer in front says of the client before the client's first byte.

Versions 1 (a line of text) and 2 (binary): "The PROXY protocol, versions 1 & 2", section 2, in
HAProxy's documentation (doc/proxy-protocol.txt).
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

MOST_BYTES = 4_096  # version 2 may carry a client's certificate; version 1 has 107 at most
_LONGEST_LINE = 107
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED_BYTES = 16  # of version 2: signature, version and command, family, length
_LINE = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n"
)
_LOCAL, _PROXY = 0x20, 0x21  # version 2 in the upper half
_ADDRESS_BYTES = {0x11: 4, 0x21: 16}  # of TCP over IPv4 and IPv6
_LAST_FAMILY, _LAST_TRANSPORT = 0x3, 0x2  # beyond them "must be rejected as invalid by receivers"


class ProxyHeaderError(ValueError):
    """What came is no header of either version; nothing behind it can be trusted."""


class ProxyHeader(NamedTuple):
    """`size`: its bytes. `source`: the client's address, None where the balancer names none: of its
    own checks (LOCAL), and of what is no TCP over IP (UNKNOWN).
    """

    size: int
    source: bytes | None


def maybe_parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header that `data` begins with; None if more must come. Raises ProxyHeaderError."""
    if data.startswith(_SIGNATURE[: len(data)]):
        return _parse_binary(data)
    if data.startswith(b"PROXY "[: len(data)]):
        return _parse_line(data)
    raise ProxyHeaderError("neither version of the PROXY protocol")


def _parse_line(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _LONGEST_LINE) + 2
    if end < 2:
        if len(data) >= _LONGEST_LINE:
            raise ProxyHeaderError(f"version 1: no end of line in {_LONGEST_LINE} bytes")
        return None
    line = data[:end]
    if line.startswith((b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ")):
        return ProxyHeader(end, None)
    match = _LINE.fullmatch(line)
    if match is None or max(int(match[4]), int(match[5])) > 65_535:
        raise ProxyHeaderError("version 1: malformed")
    kind = ipaddress.IPv4Address if match[1] == b"TCP4" else ipaddress.IPv6Address
    try:
        source = kind(match[2].decode())
        kind(match[3].decode())
    except ValueError:
        raise ProxyHeaderError("version 1: malformed address") from None
    return ProxyHeader(end, _text(source))


def _parse_binary(data: bytes) -> ProxyHeader | None:
    if len(data) < _FIXED_BYTES:
        return None
    command, protocol = data[12], data[13]
    size = _FIXED_BYTES + int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError(f"version 2: unknown version and command {command:#04x}")
    if command == _PROXY and (
        protocol >> 4 > _LAST_FAMILY or protocol & 0xF > _LAST_TRANSPORT
    ):  # of LOCAL it is ignored
        raise ProxyHeaderError(f"version 2: unknown family and transport {protocol:#04x}")
    if size > MOST_BYTES:
        raise ProxyHeaderError(f"version 2: {size} bytes, more than {MOST_BYTES}")
    length = _ADDRESS_BYTES.get(protocol, 0)
    if command == _PROXY and length and size < _FIXED_BYTES + 2 * length + 4:
        raise ProxyHeaderError("version 2: too short for its addresses")
    if len(data) < size:
        return None
    if command == _LOCAL or not length:
        return ProxyHeader(size, None)
    packed = data[_FIXED_BYTES : _FIXED_BYTES + length]
    return ProxyHeader(size, _text(ipaddress.ip_address(packed)))


def _text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    """As an address of a socket is counted and logged."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address).encode()
