"""Addresses as settings write them."""

from __future__ import annotations

import socket

import pytest

from ocaserve.addresses import Address, bound_address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param("127.0.0.1:8080", Address("127.0.0.1", 8080), id="ipv4"),
        pytest.param("0.0.0.0:0", Address("0.0.0.0", 0), id="any_host_free_port"),
        pytest.param("[::]:80", Address("::", 80), id="ipv6"),
        pytest.param("unix:/run/x.sock", Address(path="/run/x.sock"), id="unix"),
        pytest.param("unix:/" + "x" * 102, Address(path="/" + "x" * 102), id="longest_path"),
    ],
)
def test_address_that_is_allowed(text: str, address: Address) -> None:
    """It reads, and is written as it was read."""
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "family", "name", "url"),
    [
        pytest.param("127.0.0.1:80", "AF_INET", ("127.0.0.1", 80), "http://127.0.0.1:80", id="4"),
        pytest.param("[::1]:80", "AF_INET6", ("::1", 80), "http://[::1]:80", id="6"),
        pytest.param("unix:/run/x", "AF_UNIX", "/run/x", "unix:/run/x", id="unix"),
    ],
)
def test_address_as_others_need_it(text: str, family: str, name: object, url: str) -> None:
    """The system's words for it, and those of a person's browser."""
    address = parse_address(text)
    assert (address.family.name, address.name, address.url) == (family, name, url)


def test_ipv6_is_written_in_its_shortest_form() -> None:
    """Two spellings of one address are one address."""
    assert parse_address("[0:0:0:0:0:0:0:1]:80") == parse_address("[::1]:80")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("8080", id="port_alone"),
        pytest.param(":8080", id="no_host"),
        pytest.param("localhost:8080", id="name"),
        pytest.param("127.0.0.1", id="no_port"),
        pytest.param("127.0.0.1:", id="empty_port"),
        pytest.param("127.0.0.1:http", id="port_name"),
        pytest.param("127.0.0.1:65536", id="port_too_large"),
        pytest.param("127.0.0.1:-1", id="negative_port"),
        pytest.param("127.0.0.1:\u0661", id="port_of_other_digits"),
        pytest.param("::1:80", id="ipv6_without_brackets"),
        pytest.param("[127.0.0.1]:80", id="ipv4_in_brackets"),
        pytest.param("unix:run/x.sock", id="relative_path"),
        pytest.param("unix:", id="no_path"),
        pytest.param("unix:/" + "x" * 103, id="path_too_long"),
    ],
)
def test_address_that_is_not_allowed(text: str) -> None:
    """The error says what is."""
    with pytest.raises(ValueError, match="must be"):
        parse_address(text)


@pytest.mark.parametrize(
    ("one", "other", "overlaps"),
    [
        pytest.param("127.0.0.1:80", "127.0.0.1:80", True, id="same"),
        pytest.param("127.0.0.1:80", "127.0.0.1:81", False, id="other_port"),
        pytest.param("127.0.0.1:80", "127.0.0.2:80", False, id="other_host"),
        pytest.param("127.0.0.1:80", "0.0.0.0:80", True, id="every_ipv4_host"),
        pytest.param("[::1]:80", "[::]:80", True, id="every_ipv6_host"),
        pytest.param("0.0.0.0:80", "[::]:80", False, id="the_families_are_apart"),
        pytest.param("127.0.0.1:0", "127.0.0.1:0", False, id="two_free_ports"),
        pytest.param("unix:/x", "unix:/x", True, id="same_path"),
        pytest.param("unix:/x", "unix:/y", False, id="other_path"),
        pytest.param("unix:/x", "127.0.0.1:80", False, id="path_and_host"),
    ],
)
def test_overlap(one: str, other: str, overlaps: bool) -> None:
    """Whether two addresses could be bound side by side, asked from either side."""
    first, second = parse_address(one), parse_address(other)
    assert first.overlaps(second) is overlaps
    assert second.overlaps(first) is overlaps


def test_bound_address_tells_the_port_that_was_free() -> None:
    """Port 0 becomes a real one."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert bound_address(sock) == Address("127.0.0.1", sock.getsockname()[1])
