"""The PROXY protocol: both versions, every way to be wrong, and any way to be cut."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.protocol.proxied import (
    MOST_BYTES,
    ProxyHeader,
    ProxyHeaderError,
    maybe_parse_proxy_header,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
REQUEST = b"GET / HTTP/1.1\r\n"


def binary(
    source: str = "", *, command: int = 0x21, family: int = 0, more: bytes = b"", length: int = -1
) -> bytes:
    """A header of version 2, as section 2.2 has it; `more`: what follows the addresses."""
    body = b""
    if source:
        packed = ipaddress.ip_address(source).packed
        family = family or (0x11 if len(packed) == 4 else 0x21)
        body = packed + bytes(len(packed)) + struct.pack("!HH", 5, 80)
    body += more
    size = len(body) if length < 0 else length
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", size) + body


GOOD = [
    pytest.param(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", b"192.0.2.7", id="v1_ipv4"),
    pytest.param(b"PROXY TCP6 2001:DB8::7 ::1 56324 443\r\n", b"2001:db8::7", id="v1_ipv6"),
    pytest.param(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 1\r\n", b"192.0.2.7", id="v1_mapped"),
    pytest.param(b"PROXY UNKNOWN\r\n", None, id="v1_unknown"),
    pytest.param(b"PROXY UNKNOWN what ever it says\r\n", None, id="v1_unknown_with_more"),
    pytest.param(
        b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n",
        b"ffff:" * 7 + b"ffff", id="v1_longest",
    ),
    pytest.param(binary("192.0.2.7"), b"192.0.2.7", id="v2_ipv4"),
    pytest.param(binary("2001:db8::7"), b"2001:db8::7", id="v2_ipv6"),
    pytest.param(binary("192.0.2.7", more=b"\x04\x00\x01x"), b"192.0.2.7", id="v2_with_more"),
    pytest.param(binary(command=0x20), None, id="v2_local"),
    pytest.param(binary("192.0.2.7", command=0x20), None, id="v2_local_with_addresses"),
    pytest.param(binary(family=0x31, more=bytes(216)), None, id="v2_unix"),
    pytest.param(binary(), None, id="v2_unspecified"),
    pytest.param(binary("192.0.2.7", family=0x12), None, id="v2_udp"),
    pytest.param(binary("192.0.2.7", command=0x20, family=0xFF), None, id="v2_local_of_anything"),
    pytest.param(binary(more=bytes(MOST_BYTES - 16)), None, id="v2_longest"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "source"), GOOD)
def test_header(header: bytes, source: bytes | None) -> None:
    """Whatever follows; and more must come for as long as it is not whole."""
    assert maybe_parse_proxy_header(header) == ProxyHeader(len(header), source)
    assert maybe_parse_proxy_header(header + REQUEST) == ProxyHeader(len(header), source)
    for count in range(1, len(header)):
        assert maybe_parse_proxy_header(header[:count]) is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(REQUEST, id="http"),
        pytest.param(b"\x16\x03\x01", id="tls"),
        pytest.param(b"proxy TCP4 ", id="lower_case"),
        pytest.param(b"PROXY TCP5 192.0.2.7 192.0.2.1 1 2\r\n", id="family"),
        pytest.param(b"PROXY TCP4 192.0.2.7 192.0.2.1 1\r\n", id="no_port"),
        pytest.param(b"PROXY TCP4 192.0.2.7 192.0.2.1 1 65536\r\n", id="port"),
        pytest.param(b"PROXY TCP4 192.0.2.7 192.0.2.1 01 2\r\n", id="leading_zero"),
        pytest.param(b"PROXY TCP4 192.0.2.700 192.0.2.1 1 2\r\n", id="source"),
        pytest.param(b"PROXY TCP4 192.0.2.7 ::1 1 2\r\n", id="destination"),
        pytest.param(b"PROXY TCP6 192.0.2.7 ::1 1 2\r\n", id="ipv4_for_ipv6"),
        pytest.param(b"PROXY TCP4  192.0.2.7 192.0.2.1 1 2\r\n", id="two_spaces"),
        pytest.param(b"PROXY UNKNOWNS\r\n", id="unknown_with_a_tail"),
        pytest.param(b"PROXY " + b"x" * 101, id="no_end"),
        pytest.param(b"PROXY " + b"x" * 100 + b"\r\n", id="end_too_late"),
        pytest.param(SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12), id="version"),
        pytest.param(binary("192.0.2.7", command=0x22), id="command"),
        *(
            pytest.param(binary("192.0.2.7", family=family), id=f"family_{family:#x}")
            for family in range(0x100)
            if family >> 4 > 3 or family & 0xF > 2
        ),
        pytest.param(binary("192.0.2.7", length=11), id="too_short"),
        pytest.param(binary("2001:db8::7", length=35), id="too_short_for_ipv6"),
        pytest.param(binary(length=MOST_BYTES - 15), id="too_long"),
        pytest.param(SIGNATURE[:-1] + b"x", id="signature"),
    ],
)
def test_malformed(data: bytes) -> None:
    """Refused, as soon as it can be seen."""
    with pytest.raises(ProxyHeaderError):
        maybe_parse_proxy_header(data)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE]))
def test_anything(noise: bytes, begin: bytes) -> None:
    """A header, a refusal, or more to come; never beyond the data, and no other error."""
    data = begin + noise
    try:
        header = maybe_parse_proxy_header(data or b"x")
    except ProxyHeaderError:
        return
    assert header is None or 0 < header.size <= len(data)
