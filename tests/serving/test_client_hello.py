"""What a client says first: collected until it is whole, and refused by what it claims."""

from __future__ import annotations

import ssl
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.serving.client_hello import HelloReader, HelloRefusedError, asks_again
from tests.support.tls_wire import client_context


def make_hello(name: str | None = "a.example", protocols: tuple[str, ...] = ("http/1.1",)) -> bytes:
    """A record with the hello of a real client."""
    context = client_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def in_records(message: bytes, sizes: list[int]) -> bytes:
    """The message, cut into records of these sizes; the last has the rest."""
    records, at = b"", 0
    for size in [*sizes, len(message)]:
        part = message[at : at + size]
        at += len(part)
        if part:
            records += b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part
    return records


HELLO = make_hello()


@pytest.mark.parametrize("piece", [1, 2, 7, 100, 5000])
def test_hello_is_given_on_when_it_is_whole(piece: int) -> None:
    reader = HelloReader()
    parts = [HELLO[at : at + piece] for at in range(0, len(HELLO), piece)]
    assert [reader.feed(part) for part in parts] == [False] * (len(parts) - 1) + [True]
    assert bytes(reader.received) == HELLO


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(1, 600))
def test_records_may_be_of_any_size(sizes: list[int], piece: int) -> None:
    data = in_records(HELLO[5:], sizes)
    reader = HelloReader()
    for at in range(0, len(data), piece):
        assert 1 <= reader.missing <= len(data) - at
        is_whole = reader.feed(data[at : at + piece])
        assert is_whole == (at + piece >= len(data))


def test_second_hello_may_stand_behind_a_change_of_ciphers() -> None:
    assert HelloReader().feed(b"\x14\x03\x03\x00\x01\x01" + HELLO)


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(b"\x16\x03\x01\x00\x2b\x01\x01\xff\xb8" + bytes(34), id="131,000"),
        pytest.param(b"\x16\x03\x01\x40\x00\x01\x00\x40\x01", id="one_too_many"),
        pytest.param(in_records(b"\x01\xff\xff\xff", [1, 1, 1]), id="a_record_for_each_byte"),
        pytest.param(b"\x14\x03\x03\x00\x01\x01" * 6000, id="nothing_but_changes"),
        pytest.param(in_records(b"\x01\x00\x40\x00" + bytes(8000), [1] * 8004), id="crumbs"),
    ],
)
def test_claims_of_too_much_are_refused(claim: bytes) -> None:
    with pytest.raises(HelloRefusedError) as refused:
        HelloReader().feed(claim)
    assert refused.value.alert == b"\x15\x03\x03\x00\x02\x02\x2f"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x80\x2e\x01\x03\x01" + bytes(41), id="ssl_2"),
        pytest.param(b"\x17\x03\x03\x00\x05hello", id="data"),
        pytest.param(b"\x16\x03\x01\x00\x00", id="empty_record"),
        pytest.param(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", id="another_message"),
        pytest.param(in_records(b"\x01\x00\x00\x05abcde", []), id="a_hello_of_nothing"),
        pytest.param(in_records(b"\x01\x00\x00\x00", []), id="an_empty_hello"),
    ],
)
def test_other_nonsense_is_left_to_openssl(data: bytes) -> None:
    assert HelloReader().feed(data)


@given(st.integers(5, len(HELLO) - 1), st.binary(min_size=1, max_size=3))
def test_no_hello_is_a_defect(at: int, junk: bytes) -> None:
    """Whatever stands in it; the length of the message is left as it was."""
    data = HELLO[:at] + junk + HELLO[at + len(junk) :]
    with suppress(HelloRefusedError):
        HelloReader().feed(data)


def test_name_that_is_not_ascii_is_refused() -> None:
    assert HelloReader().feed(make_hello(None))
    data = make_hello("bucher.example").replace(b"bucher", b"b\xc3\xbcher".ljust(6, b"x"))
    with pytest.raises(HelloRefusedError) as refused:
        HelloReader().feed(data)
    assert refused.value.alert[-1] == 47


@pytest.mark.parametrize("protocols", [(), ("h2", "http/1.1"), ("http/1.0",), ("x", "http/1.0")])
def test_protocols_that_are_spoken(protocols: tuple[str, ...]) -> None:
    assert HelloReader().feed(make_hello(protocols=protocols))


@pytest.mark.parametrize("protocols", [("h2",), ("acme-tls/1",), ("h3", "HTTP/1.1")])
def test_protocols_that_are_not_spoken(protocols: tuple[str, ...]) -> None:
    with pytest.raises(HelloRefusedError) as refused:
        HelloReader().feed(make_hello(protocols=protocols))
    assert refused.value.alert[-1] == 120


def test_only_a_retry_asks_again() -> None:
    retry = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
    assert asks_again(bytes(11) + retry + bytes(40))
    assert not asks_again(bytes(90))
    assert not asks_again(b"")
