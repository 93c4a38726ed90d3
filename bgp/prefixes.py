"""Networks as three small numbers, and as text.

A prefix is (family, length, bits): the family's number, the length, and its leading `length` bits.
So all families have one arithmetic, the network of an address is one shift away, and a table
keyed by `bits` needs no mask. Host bits cannot be held, so every prefix is canonical.
"""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

from bgp.address_families import FAMILIES, IPV4, IPV6

WIDTH = {row.number: row.width for row in FAMILIES}  # bits of an address
NAMES = {row.number: row.name for row in FAMILIES}
_AF = {row.number: AF_INET if row.version == IPV4 else AF_INET6 for row in FAMILIES}
_BYTES = {row.number: row.width // 8 for row in FAMILIES}
_MARKS = {row.number: row.mark for row in FAMILIES}
_MAPPED_LENGTH, _MAPPED_BITS = 96, 0xFFFF  # ::ffff:0:0/96


class Prefix(NamedTuple):
    """A network; an address is one of full length."""

    family: int
    length: int
    bits: int

    def __str__(self) -> str:
        return format_prefix(*self)

    @property
    def is_address(self) -> bool:
        return self.length == WIDTH[self.family]

    def covers(self, other: Prefix) -> bool:
        """Whether `other` is this network or lies in it."""
        return (
            self.family == other.family
            and self.length <= other.length
            and other.bits >> (other.length - self.length) == self.bits
        )


def parse_prefix(text: str) -> Prefix:
    """`"10.0.0.0/8"`, or an address as a prefix of full length; host bits are let go.

    Raises ValueError, which quotes the text.
    """
    address, slash, length_text = text.partition("/")
    family = IPV6 if ":" in address else IPV4
    width = WIDTH[family]
    try:
        value = parse_address(family, address)
    except (OSError, ValueError):
        raise ValueError(f"{text[:60]!r} is neither an address nor a prefix") from None
    if not slash:
        return Prefix(family, width, value)
    if not (length_text.isascii() and length_text.isdigit() and len(length_text) <= 3):
        raise ValueError(f"{text[:60]!r}: the length must be 0 to {width}")
    length = int(length_text)
    if length > width:
        raise ValueError(f"{text[:60]!r}: the length must be 0 to {width}")
    return Prefix(family, length, value >> (width - length))


def parse_query(text: str) -> Prefix:
    """As `parse_prefix`; an IPv4 address within IPv6 (`::ffff:192.0.2.1`) is what it holds."""
    prefix = parse_prefix(text)
    length = prefix.length - _MAPPED_LENGTH
    if prefix.family == IPV6 and length >= 0 and prefix.bits >> length == _MAPPED_BITS:
        return Prefix(IPV4, length, prefix.bits & ((1 << length) - 1))
    return prefix


def parse_host(text: str) -> tuple[int, int]:
    """An address alone, in the same way: its family and its number. Raises ValueError."""
    family = IPV6 if ":" in text else IPV4
    try:
        number = parse_address(family, text)
    except (OSError, ValueError):
        raise ValueError(f"{text[:60]!r} is not an address") from None
    if family == IPV6 and number >> WIDTH[IPV4] == _MAPPED_BITS:
        return IPV4, number & ((1 << WIDTH[IPV4]) - 1)
    return family, number


def parse_address(family: int, text: str) -> int:
    """An address as a number. Raises OSError or ValueError where it is none."""
    return int.from_bytes(inet_pton(_AF[family], text), "big")


def format_prefix(family: int, length: int, bits: int) -> str:
    """As RFC 5952 writes it: `"2001:db8::/32"`, with the mark of its family if it has one."""
    address = format_address(family, bits << (WIDTH[family] - length))
    return f"{address}/{length}{_MARKS[family]}"


def format_address(family: int, value: int) -> str:
    """An address from its number."""
    return inet_ntop(_AF[family], value.to_bytes(_BYTES[family], "big"))
